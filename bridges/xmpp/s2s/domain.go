package s2s

import (
	"strings"

	"golang.org/x/net/idna"
)

// A pair is one of our domains and a foreign one, in normal form.
type pair struct{ local, remote string }

// profile is IDNA 2008 as JIDs have it (RFC 7622 §3.2): U-labels.
var profile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false), idna.VerifyDNSLength(true))

// Normal returns a domain in the one form in which domains are compared here:
// U-labels in lower case, without trailing dot. Addresses are no domains, since
// nothing could prove them.
func Normal(domain string) (string, bool) {
	domain = strings.TrimSuffix(domain, ".")
	if domain == "" || len(domain) > 1023 { // RFC 7622 §3.1
		return "", false
	}
	plain, upper, ok := octets(domain)
	if !ok {
		return "", false
	}
	if upper && plain {
		domain = strings.ToLower(domain)
	}
	if !plain || strings.Contains(domain, "xn--") {
		if domain, ok = unicode(domain); !ok {
			return "", false
		}
	}
	return domain, plausible(domain)
}

// octets looks at what a name is made of: all ASCII, some of it capital, nothing
// that no name has.
func octets(domain string) (plain, upper, ok bool) {
	plain = true
	for i := range len(domain) {
		switch c := domain[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		case 'A' <= c && c <= 'Z':
			upper = true
		case c >= 0x80:
			plain = false
		default:
			return false, false, false
		}
	}
	return plain, upper, true
}

// unicode returns a name in U-labels. One that does not come back the same from
// A-labels is refused: others would read it differently. What is mapped may become
// anything, such as a slash.
func unicode(domain string) (string, bool) {
	u, err := profile.ToUnicode(domain)
	if err != nil {
		return "", false
	}
	if _, upper, ok := octets(u); !ok || upper {
		return "", false
	}
	a, err := profile.ToASCII(u)
	if err != nil {
		return "", false
	}
	back, err := profile.ToUnicode(a)
	return u, err == nil && back == u
}

// plausible reports whether a name has labels as DNS wants them.
func plausible(domain string) bool {
	a, ok := ascii(domain)
	if !ok || len(a) > 253 {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(a, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		last = label
	}
	// What ends in a number is an address to many resolvers.
	return strings.Trim(last, "0123456789") != ""
}

// ascii returns a domain as DNS, TLS and certificates write it: A-labels.
func ascii(domain string) (string, bool) {
	for i := range len(domain) {
		if domain[i] >= 0x80 {
			a, err := profile.ToASCII(domain)
			return a, err == nil
		}
	}
	return domain, true
}
