package address

import (
	"strings"

	"github.com/sipedge/sipedge/sip"
	"golang.org/x/text/width"
)

// octets is a set of octets.
type octets [256]bool

const (
	lowerCase    = "abcdefghijklmnopqrstuvwxyz"
	alphanumeric = lowerCase + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "0123456789"
)

var (
	// userOctets may stand in the user part of a SIP URI as they are
	// (RFC 3261 §25.1).
	userOctets = octetSet(alphanumeric + "-_.!~*'()&=+$,;?/")
	// gruuOctets may stand in the value of a URI parameter.
	gruuOctets = octetSet(alphanumeric + "-_.!~*'()[]/:&+$")
	// plainUser are those that are the same in a SIP URI and a local part.
	plainUser = octetSet(lowerCase + "0123456789-_.+")
	// plainLocal and plainResource are ASCII that PRECIS leaves alone.
	plainLocal    = octetSet(lowerCase + "0123456789!#$%()*+,-.;=?[\\]^_`{|}~")
	plainResource = octetSet(alphanumeric + " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
)

func octetSet(chars string) (s octets) {
	for i := range len(chars) {
		s[chars[i]] = true
	}
	return s
}

// isPlain reports whether all octets of s are in the set.
func isPlain(s string, set *octets) bool {
	for i := range len(s) {
		if !set[s[i]] {
			return false
		}
	}
	return true
}

// appendPercent appends s with every octet escaped that is not in the set
// (RFC 3986 §2.1).
func appendPercent(dst []byte, s string, set *octets) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; set[c] {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

// unescapePercent undoes appendPercent; ok is false if a "%" is not followed by two
// digits.
func unescapePercent(s string) (text string, ok bool) {
	if strings.IndexByte(s, '%') < 0 {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	return string(b), true
}

func hexDigit(c byte) int {
	switch {
	case c-'0' <= 9:
		return int(c - '0')
	case c|0x20-'a' <= 5:
		return int(c|0x20-'a') + 10
	}
	return -1
}

// decodeUser decodes the user part of a URI.
func decodeUser(s string) (string, error) {
	user, ok := unescapePercent(s)
	if !ok || !sip.IsText(user) {
		return "", errUserOctets
	}
	return user, nil
}

// escaped returns the character that the three octets at s[i] stand for, 0 if
// they are none of the ten escapes (XEP-0106 §3.3). Case does not count: PRECIS makes
// lower case of all.
func escaped(s string, i int) byte {
	if i+2 >= len(s) || s[i] != '\\' {
		return 0
	}
	hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
	if hi < 0 || lo < 0 {
		return 0
	}
	if c := byte(hi<<4 | lo); strings.IndexByte(escapes, c) >= 0 {
		return c
	}
	return 0
}

// escapes are the characters that a local part cannot have, and the backslash.
const escapes = " \"&'/:<>@\\"

// countEscapes returns how many escapes a local part has.
func countEscapes(local string) (n int) {
	for i := 0; i < len(local); i++ {
		if escaped(local, i) != 0 {
			n++
			i += 2
		}
	}
	return n
}

// escapeUser makes a local part of a decoded user part (XEP-0106 §3.2). All ten
// characters are escaped, not only the three of RFC 7247 §6.4: the others come
// as %xx.
func escapeUser(user string) (string, error) {
	if isPlain(user, &plainUser) {
		return user, nil
	}
	if strings.HasPrefix(user, " ") || strings.HasSuffix(user, " ") {
		return "", errUser // \20 may stand at neither end (XEP-0106 §3.2)
	}
	// PRECIS takes wide letters for narrow ones. A wide "@" must not become one
	// behind our back, nor a wide digit the second half of an escape.
	if narrow := width.Fold.String(user); narrow != user {
		if countAny(narrow, escapes) != countAny(user, escapes) {
			return "", errUser
		}
		user = narrow
	}
	const hex = "0123456789abcdef"
	b := make([]byte, 0, len(user)+8)
	for i := range len(user) {
		c := user[i]
		if c != '\\' && strings.IndexByte(escapes, c) >= 0 || c == '\\' && escaped(user, i) != 0 {
			b = append(b, '\\', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b), nil
}

func countAny(s, chars string) (n int) {
	for i := range len(s) {
		if strings.IndexByte(chars, s[i]) >= 0 {
			n++
		}
	}
	return n
}

// unescapeLocal undoes escapeUser. The local part is in canonical form already: what
// PRECIS makes an escape of is one.
func unescapeLocal(local string) (string, error) {
	if strings.IndexByte(local, '\\') < 0 {
		return local, nil
	}
	b := make([]byte, 0, len(local))
	for i := 0; i < len(local); i++ {
		if c := escaped(local, i); c != 0 {
			b = append(b, c)
			i += 2
		} else {
			b = append(b, local[i])
		}
	}
	if b[0] == ' ' || b[len(b)-1] == ' ' {
		return "", ErrJID
	}
	// \5c where it is not needed does not come back. With letters that are written from
	// right to left, PRECIS may have no place for the backslash alone: then there is
	// no way back, and nobody could answer.
	raw := string(b)
	back, err := escapeUser(raw)
	if err == nil && back != local {
		_, err = join(back, "example.com", "")
	}
	if err != nil {
		return "", errNoSIP
	}
	return raw, nil
}
