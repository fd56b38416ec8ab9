package body

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The escapes of RFC 3862 §2.3 that are one letter.
const (
	cpimEscaped  = "btnr\\"
	cpimLiterals = "\b\t\n\r\\"
)

// appendCPIM appends the value of a header with what must be escaped.
func appendCPIM(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	for _, r := range s {
		if i := strings.IndexRune(cpimLiterals, r); i >= 0 {
			dst = append(dst, '\\', cpimEscaped[i])
		} else if r < ' ' || r == 0x7f {
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		} else {
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

// unescapeCPIM undoes it. What is no escape is the character behind the backslash; a
// backslash at the end counts for nothing.
func unescapeCPIM(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	high := rune(-1) // half of a character outside the first plane, waiting for the other
	write := func(r rune) {
		if high >= 0 {
			if whole := utf16.DecodeRune(high, r); whole != utf8.RuneError {
				high = -1
				b.WriteRune(whole)
				return
			}
			high = -1
			b.WriteRune(utf8.RuneError)
		}
		if 0xD800 <= r && r < 0xDC00 {
			high = r
			return
		}
		b.WriteRune(r) // the second half alone is written as U+FFFD
	}
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		if r != '\\' {
			write(r)
			continue
		}
		if i == len(s) {
			break
		}
		r, size = utf8.DecodeRuneInString(s[i:])
		i += size
		if r == 'u' && i+4 <= len(s) {
			if code, err := strconv.ParseUint(s[i:i+4], 16, 16); err == nil {
				write(rune(code))
				i += 4
				continue
			}
		}
		if at := strings.IndexRune(cpimEscaped, r); at >= 0 {
			r = rune(cpimLiterals[at])
		}
		write(r)
	}
	if high >= 0 {
		b.WriteRune(utf8.RuneError)
	}
	return b.String()
}
