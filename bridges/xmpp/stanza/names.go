package stanza

import (
	"encoding/xml"
	"strings"
	"unicode/utf8"
)

// validName reports whether a name is one with at most one colon, between two names
// (Namespaces in XML 1.0 §3). The decoder has looked at the characters, but takes
// "a:", ":a" and "a:b:c" as names without a prefix.
func validName(n xml.Name) bool {
	return strings.IndexByte(n.Local, ':') < 0 && (n.Space == "" || beginsName(n.Local))
}

func beginsName(s string) bool {
	if s == "" {
		return false
	}
	if c := s[0] | 0x20; s[0] < utf8.RuneSelf {
		return 'a' <= c && c <= 'z' || s[0] == '_'
	}
	first, _ := utf8.DecodeRuneInString(s)
	return nameRune(first, true)
}

// nameRune reports whether a rune that is not ASCII may be in a name, or begin one
// (XML 1.0 §2.3).
func nameRune(r rune, begins bool) bool {
	for _, span := range nameRunes {
		if span[0] <= r && r <= span[1] {
			return true
		}
	}
	return !begins && (r == 0xB7 || 0x300 <= r && r <= 0x36F || r == 0x203F || r == 0x2040)
}

var nameRunes = [...][2]rune{
	{0xC0, 0xD6}, {0xD8, 0xF6}, {0xF8, 0x2FF}, {0x370, 0x37D}, {0x37F, 0x1FFF}, {0x200C, 0x200D},
	{0x2070, 0x218F}, {0x2C00, 0x2FEF}, {0x3001, 0xD7FF}, {0xF900, 0xFDCF}, {0xFDF0, 0xFFFC}, {0x10000, 0xEFFFF},
}
