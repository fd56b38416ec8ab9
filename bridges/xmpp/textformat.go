package xmpp

import (
	"encoding/base64"
	"strings"
)

// msTextFormat is the field of an INVITE in which Microsoft's clients put the first
// message of a conversation.
const msTextFormat = "Ms-Text-Format"

// readTextFormat reads such a field: the type of the message and the message itself, in
// base64:
//
//	text/plain; charset=UTF-8;msgr=WAAtAE0A…;ms-body=SGk=
//
// msgr says how it looks, and is for nobody else. ok is false if there is no message, or
// none that crosses; then its sender sends it again in a MESSAGE, unless he is told in
// the answer that he need not (Supported: ms-text-format).
func readTextFormat(value string) (t text, ok bool) {
	m := parseMedia(value)
	if m.kind != "text/plain" && m.kind != "text/html" {
		return text{}, false
	}
	coded := m.param("ms-body")
	if coded == "" || len(coded) > maxBody {
		return text{}, false
	}
	body, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(coded, "="))
	if err != nil {
		return text{}, false
	}
	p := part{media: m, body: body}
	s, err := p.text()
	return text{Text: s}, err == nil && s != ""
}
