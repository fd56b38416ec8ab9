package xmpp

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/sip"
	"golang.org/x/text/encoding/charmap"
)

// The types of bodies that cross, as an Accept field lists them (RFC 3261 §21.4.13).
const crossing = "text/plain, text/html, message/cpim, application/im-iscomposing+xml, " +
	"message/imdn+xml, multipart/mixed, multipart/alternative"

// The types of bodies that the gateway writes.
const (
	typePlain     = "text/plain;charset=UTF-8"
	typeCPIM      = "message/cpim"
	typeIMDN      = "message/imdn+xml"
	typeComposing = "application/im-iscomposing+xml"
	typeKeyboard  = "application/xml" // typing notices of Microsoft's clients
	typeSDP       = "application/sdp"
)

// maxBody is how many octets of a body are read.
//
// RFC 3428 §8 bounds a MESSAGE to 1300 octets because UDP loses larger ones. That
// rule is none here: all that the edge sends goes over streams with congestion
// control. Where a home server has clients by UDP, max_message is set.
const maxBody = 256 << 10

// A bodyError says why a body cannot cross.
type bodyError struct {
	Status int
	Text   string
}

// Error describes the fault.
func (e *bodyError) Error() string { return "xmpp: " + e.Text }

var (
	errMediaType = &bodyError{415, "no such type of body crosses"}
	errCharset   = &bodyError{415, "no such character set crosses"}
	errCoding    = &bodyError{415, "no such transfer encoding crosses"}
	errRequired  = &bodyError{415, "the message needs what is not understood"}
	errBody      = &bodyError{400, "broken body"}
	errTooLarge  = &bodyError{413, "body too large"}
)

// A media is the value of a Content-Type field.
type media struct {
	kind   string // type and subtype in lower case: "text/plain"
	params []byte
}

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

// languageOf returns the first tag of a Content-Language field, "" if there is none.
func languageOf(value string) string {
	tag, _, _ := strings.Cut(value, ",")
	if tag = strings.TrimSpace(tag); isLanguage(tag) {
		return tag
	}
	return ""
}
