package sip

import "unicode/utf8"

// A class is a set of the character sets that RFC 3261 §25.1 names.
type class uint16

const (
	tokenChar   class = 1 << iota // token
	userChar                      // user, without escapes
	passChar                      // password, without escapes
	paramChar                     // paramchar, without escapes, and "="
	queryChar                     // hname and hvalue, without escapes, and "=" and "&"
	valueChar                     // gen-value that is not quoted
	uricChar                      // any URI, without escapes
	alnumChar                     // ALPHA and DIGIT
	visibleChar                   // VCHAR without what bounds a URI from outside
	quotedChar                    // of a quoted string what stands for itself, and ends nothing
)

const (
	alphanum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	mark     = "-_.!~*'()"
	tokens   = alphanum + "-.!%*_+`'~"
)

// classes is the table behind class.has: one load instead of a chain of
// comparisons for each octet.
var classes = classTable()

func classTable() (t [256]class) {
	set := func(c class, chars string) {
		for i := range len(chars) {
			t[chars[i]] |= c
		}
	}
	set(tokenChar, tokens)
	set(userChar, alphanum+mark+"&=+$,;?/")
	set(passChar, alphanum+mark+"&=+$,")
	set(paramChar, alphanum+mark+"[]/:&+$"+"=")
	set(queryChar, alphanum+mark+"[]/?:+$"+"=&")
	// A host may be a value and IPv6 comes with and without brackets (RFC 5118
	// §4.5); "/" and "=" are in no grammar but in the base64 of real tags. "@" is
	// not: `sip:a;x=b@c` reads as host a here and as host c elsewhere.
	set(valueChar, tokens+"[]:/=")
	set(uricChar, alphanum+mark+";/?:@&=+$,[]#")
	set(alnumChar, alphanum)
	for c := byte('!'); c <= '~'; c++ {
		if c != '<' && c != '>' && c != '"' {
			t[c] |= visibleChar
		}
	}
	for c := range t {
		if (c >= ' ' || c == '\t') && c != '"' && c != '\\' && c != 0x7f {
			t[c] |= quotedChar
		}
	}
	return t
}

func (c class) has(b byte) bool { return classes[b]&c != 0 }

// run returns the end of the run of characters of class c that begins at b[i].
func (c class) run(b []byte, i int) int {
	for i < len(b) && classes[b[i]]&c != 0 {
		i++
	}
	return i
}

// escaped returns the end of the run of characters of class c and of "%" HEX HEX
// that begins at b[i].
func (c class) escaped(b []byte, i int) int {
	for i < len(b) {
		switch {
		case classes[b[i]]&c != 0:
			i++
		case b[i] == '%' && i+2 < len(b) && isHex(b[i+1]) && isHex(b[i+2]):
			i += 3
		default:
			return i
		}
	}
	return i
}

func isDigit(b byte) bool { return b-'0' <= 9 }
func isAlpha(b byte) bool { return b|0x20-'a' <= 'z'-'a' }
func isHex(b byte) bool   { return isDigit(b) || b|0x20-'a' <= 'f'-'a' }
func isBlank(b byte) bool { return b == ' ' || b == '\t' }

// isToken reports whether all of b is one token.
func isToken(b []byte) bool { return len(b) > 0 && tokenChar.run(b, 0) == len(b) }

// foldAt reports whether a line fold begins at b[i]: CRLF and a blank
// (RFC 3261 §7.3.1).
func foldAt(b []byte, i int) bool {
	return i+2 < len(b) && b[i] == '\r' && b[i+1] == '\n' && isBlank(b[i+2])
}

// skipLWS returns the first octet at or after i that is not linear white space.
func skipLWS(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' {
		switch {
		case isBlank(b[i]):
			i++
		case foldAt(b, i):
			i += 3
		default:
			return i
		}
	}
	return i
}

// trimLWS cuts linear white space off both ends.
func trimLWS(b []byte) []byte {
	b = b[skipLWS(b, 0):]
	return b[:trimEnd(b, 0, len(b))]
}

// trimEnd returns the end of b[i:j] without the linear white space at its end.
func trimEnd(b []byte, i, j int) int {
	for j > i && b[j-1] <= ' ' {
		switch {
		case !isBlank(b[j-1]):
			return j
		case j-3 >= i && foldAt(b[:j], j-3):
			j -= 3
		default:
			j--
		}
	}
	return j
}

// skipQuoted returns the end of the quoted string that begins at b[i]. A quoted
// pair may hold any ASCII octet but CR and LF, NUL among them (RFC 3261 §25.1).
func skipQuoted(b []byte, i int) (end int, ok bool) {
	for i++; i < len(b); i++ {
		if i = quotedChar.run(b, i); i == len(b) {
			break
		}
		switch b[i] {
		case '"':
			return i + 1, true
		case '\\':
			i++
			if i >= len(b) || b[i] == '\r' || b[i] == '\n' || b[i] >= 0x80 {
				return 0, false
			}
		case '\r':
			if !foldAt(b, i) {
				return 0, false
			}
			i += 2
		default:
			return 0, false
		}
	}
	return 0, false
}

// equalFold reports whether b is the lower-case string s, without regard to case.
// It compares ASCII only: no other letter may pass for one of ours.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range len(b) {
		c := b[i]
		if c-'A' <= 'Z'-'A' {
			c |= 0x20
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

// number reads b as digits, all of it; ok is false above limit.
func number(b []byte, limit uint64) (n uint64, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
		if n = n*10 + uint64(c-'0'); n > limit {
			return 0, false
		}
	}
	return n, true
}

// IsToken reports whether all of b is a token (RFC 3261 §25.1), as the name of a header
// is.
func IsToken(b []byte) bool { return isToken(b) }

// IsText reports whether s may be shown to people on one line: UTF-8 without the control
// characters of ASCII. The empty text may.
func IsText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}
