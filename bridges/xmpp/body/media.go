package body

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/sip"
	"golang.org/x/text/encoding/charmap"
)

// A media is the value of a Content-Type field.
type media struct {
	kind   string // type and subtype in lower case: "text/plain"
	params []byte
}

// MediaType returns type and subtype of a Content-Type field in lower case, without
// parameters: "text/plain". It is that without a field, and "" for what is no type.
func MediaType(contentType string) string { return parseMedia(contentType).kind }

// parseMedia reads a Content-Type. A message without one that has a body is text:
// that is what old clients mean. What is no type has kind "".
func parseMedia(value string) media {
	kind, params, _ := strings.Cut(value, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if kind == "" {
		return media{kind: "text/plain"}
	}
	main, sub, ok := strings.Cut(kind, "/")
	if !ok || !sip.IsToken([]byte(main)) || !sip.IsToken([]byte(sub)) {
		return media{}
	}
	return media{kind: kind, params: []byte(params)}
}

// param returns a parameter without quotes, "" if there is none. A parameter that
// is broken, as the msgr of Microsoft's clients is, does not hide the others.
func (m media) param(name string) string {
	value, _ := sip.Param(m.params, name)
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		value = value[1 : n-1]
		if bytes.IndexByte(value, '\\') >= 0 {
			plain := value[:0:0]
			for i := 0; i < len(value); i++ {
				if value[i] == '\\' && i+1 < len(value) {
					i++
				}
				plain = append(plain, value[i])
			}
			value = plain
		}
	}
	return string(value)
}

// decodeText returns text in a character set as UTF-8. UTF-8 is what is meant if
// none is said (RFC 3261 §7.4.1).
func decodeText(charset string, b []byte) (string, error) {
	switch strings.ToLower(charset) {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return stanza.Clean(string(b)), nil
	case "iso-8859-1", "latin1":
		return charText(charmap.ISO8859_1, b), nil
	case "windows-1252", "cp1252":
		return charText(charmap.Windows1252, b), nil
	}
	return "", errCharset
}

func charText(set *charmap.Charmap, b []byte) string {
	text := make([]byte, 0, len(b)+len(b)/8)
	for _, c := range b {
		text = utf8.AppendRune(text, set.DecodeByte(c))
	}
	return stanza.Clean(string(text))
}

// isLanguage reports whether s may be a tag of a language (RFC 5646 §2.1).
func isLanguage(s string) bool {
	if s == "" || len(s) > 35 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c|0x20-'a' > 'z'-'a' && c-'0' > 9 && c != '-' {
			return false
		}
	}
	return true
}

// Language returns the first tag of a Content-Language field (RFC 5646 §2.1), "" if there
// is none.
func Language(value string) string {
	tag, _, _ := strings.Cut(value, ",")
	if tag = strings.TrimSpace(tag); isLanguage(tag) {
		return tag
	}
	return ""
}
