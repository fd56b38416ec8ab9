package federation

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// defaultPort is where a partner's edge listens if nothing else is written
// (RFC 3261 §19.1.2, sips over TLS).
const defaultPort = "5061"

// maxWritten is how long a domain may be as a person writes it, in octets: 253
// letters of four, and as many as a dot may take.
const maxWritten = 1 << 10

// Normal brings a domain as a person writes it into the one form that
// policy and routing compare: A-labels (RFC 5891 §4), lower case, no trailing
// dot.
func Normal(s string) (string, error) {
	if len(s) > maxWritten { // idna's work grows with the square
		return "", errors.New("not a domain name")
	}
	if plain(s) {
		s = strings.ToLower(strings.TrimSuffix(s, "."))
	} else {
		ascii, err := profile.ToASCII(strings.TrimSuffix(s, "."))
		if err != nil || !utf8.ValidString(s) { // idna makes letters of what is no text
			return "", errors.New("not a domain name")
		}
		s = ascii
	}
	if !hostname(s) {
		return "", errors.New("not a domain name")
	}
	return s, nil
}

// Unicode returns a domain in normal form as people read it, or as it is if its
// A-labels mean nothing.
func Unicode(domain string) string {
	if !strings.Contains(domain, "xn--") {
		return domain
	}
	u, err := profile.ToUnicode(domain)
	if err != nil {
		return domain
	}
	return u
}

// profile is the strict one of idna, without its rule on hyphens: names with
// "--" in the middle exist.
var profile = idna.New(
	idna.MapForLookup(),
	idna.BidiRule(),
	idna.StrictDomainName(true),
	idna.CheckHyphens(false),
	idna.VerifyDNSLength(true),
	idna.Transitional(false),
)

// plain reports whether s needs no IDNA: it is most of a list of 100,000.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return !strings.Contains(strings.ToLower(s), "xn--")
}

// hostname reports whether s is a host name of RFC 1123 §2.1 in lower case: letters,
// digits and inner hyphens, and not a number at the end, which would be an
// address.
func hostname(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if !ldh(label) {
			return false
		}
		last = label
	}
	return strings.Trim(last, "0123456789") != "" && !strings.HasPrefix(last, "0x")
}

func ldh(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		if c := label[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// normalHost is Normal for the name of a server, which may be an IP
// address.
func normalHost(s string) (string, error) {
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil && addr.Zone() == "" {
		return addr.Unmap().String(), nil
	}
	host, err := Normal(s)
	if err != nil {
		return "", errors.New("not a host name or address")
	}
	return host, nil
}

// normalServer reads "host", "host:port", "[address]" or "[address]:port" and
// returns the host and the address to dial.
func normalServer(s string) (host, address string, err error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = s, defaultPort
	}
	host, err = normalHost(host)
	if err != nil {
		return "", "", err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", errors.New("port is not a number from 1 to 65535")
	}
	return host, net.JoinHostPort(host, port), nil
}
