package allowlists

import (
	"errors"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxWritten is how long a domain may be as a person writes it, in octets: 253
// letters of four, and as many as a dot may take.
const maxWritten = 1 << 10

// NormalDomain brings a domain as a person writes it into the one form that
// policy and routing compare: A-labels (RFC 5891 §4), lower case, no trailing
// dot.
func NormalDomain(s string) (string, error) {
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
	if !IsHostname(s) {
		return "", errors.New("not a domain name")
	}
	return s, nil
}

// UnicodeDomain returns a domain in normal form as people read it, or as it is if its
// A-labels mean nothing.
func UnicodeDomain(domain string) string {
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

// IsHostname reports whether s is a host name of RFC 1123 §2.1 in lower case: letters,
// digits and inner hyphens, and not a number at the end, which would be an
// address.
func IsHostname(s string) bool {
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
