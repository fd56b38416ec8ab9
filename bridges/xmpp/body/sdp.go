package body

import (
	"bytes"
	"net/netip"
	"strings"

	"github.com/sipedge/sipedge/sip"
)

// Bounds of a session description.
const (
	maxSDPLines  = 512
	maxSDPMedia  = 16
	maxSDPAccept = 64
)

// A Session is how the messages of a session are to travel.
type Session uint8

const (
	NoSession   Session = iota // no messages, or in a way that is unknown
	SIPSession                 // MESSAGE within the dialog: Microsoft's clients
	MSRPSession                // RFC 4975
)

// An Offer is a session description that offers messages, or answers such an offer.
type Offer struct {
	Kind    Session
	Accepts []string // media types, in lower case; "*" is any
	media   []string // values of all m= lines
	at      int      // which of them is that of the messages
}

// ReadOffer reads a session description (RFC 4566 §5). Of several lines that would do
// the first counts that is not refused already. It is false for what is no
// description.
func ReadOffer(b []byte) (*Offer, bool) {
	o := &Offer{at: -1}
	if !bytes.HasPrefix(b, []byte("v=0")) || len(b) > maxBody {
		return nil, false
	}
	ours := false // the attributes that come are those of the messages
	n := 0
	for line := range bytes.SplitSeq(b, []byte("\n")) {
		if n++; n > maxSDPLines {
			return nil, false
		}
		line := string(bytes.TrimSuffix(line, []byte("\r")))
		if len(line) < 2 || line[1] != '=' {
			if strings.TrimSpace(line) == "" {
				continue
			}
			return nil, false
		}
		switch value := line[2:]; {
		case line[0] == 'm':
			if len(o.media) == maxSDPMedia || !sip.IsText(value) {
				return nil, false
			}
			o.media = append(o.media, value)
			kind := sessionOf(value)
			ours = kind != NoSession && o.at < 0
			if ours {
				o.Kind, o.at = kind, len(o.media)-1
			}
		case ours && line[0] == 'a':
			if types, ok := strings.CutPrefix(value, "accept-types:"); ok {
				o.Accepts = acceptTypes(types)
			}
		}
	}
	return o, true
}

// sessionOf says what a media line offers: name, port, protocol and format
// (RFC 4566 §5.14).
func sessionOf(value string) Session {
	f := strings.Fields(value)
	if len(f) < 4 || f[1] == "0" || f[0] != "message" && f[0] != "x-ms-message" {
		return NoSession
	}
	switch {
	case strings.EqualFold(f[2], "sip"):
		return SIPSession
	case f[0] == "message" && (strings.EqualFold(f[2], "TCP/MSRP") || strings.EqualFold(f[2], "TCP/TLS/MSRP")):
		return MSRPSession
	}
	return NoSession
}

func acceptTypes(s string) (types []string) {
	for _, t := range strings.Fields(strings.ToLower(s)) {
		if len(types) == maxSDPAccept {
			break
		}
		types = append(types, t)
	}
	return types
}

// Takes reports whether the other side takes a media type. Without a list it takes plain
// text.
func (o *Offer) Takes(kind string) bool {
	if len(o.Accepts) == 0 {
		return kind == "text/plain"
	}
	main, _, _ := strings.Cut(kind, "/")
	for _, t := range o.Accepts {
		if t == "*" || t == kind || t == main+"/*" {
			return true
		}
	}
	return false
}

// Answer makes the answer to an offer of kind SIPSession: the same lines, all refused
// but that of the messages (RFC 3264 §6). host is ours, as a name or an address; the
// messages go along the dialog and never there.
func (o *Offer) Answer(host string) []byte {
	b := sessionHead(host)
	for i, line := range o.media {
		f := strings.Fields(line)
		if i == o.at {
			b = messageLines(b, f[0])
			continue
		}
		if len(f) < 4 {
			f = []string{"message", "0", "TCP", "*"} // no line that anybody could take
		}
		f[1] = "0"
		b = append(append(append(b, "m="...), strings.Join(f, " ")...), "\r\n"...)
	}
	return b
}

// NewOffer makes an offer of such a session; host is as for Answer.
func NewOffer(host string) []byte { return messageLines(sessionHead(host), "message") }

// sessionHead begins a description. Nothing of it changes while a session lasts, so
// that its version stays the same, too (RFC 3264 §8).
func sessionHead(host string) []byte {
	family := "IP4"
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		if host = ip.WithZone("").String(); ip.Is6() {
			family = "IP6"
		}
	}
	where := " IN " + family + " " + host + "\r\n"
	return []byte("v=0\r\no=- 0 0" + where + "s=session\r\nc=" + where[1:] + "t=0 0\r\n")
}

// messageLines appends the line for messages. Port and format mean nothing, and are what
// all clients of this dialect write.
func messageLines(b []byte, name string) []byte {
	b = append(append(append(b, "m="...), name...), " 5060 sip null\r\n"...)
	return append(b, "a=accept-types:text/plain text/html multipart/alternative message/cpim "+
		"application/im-iscomposing+xml message/imdn+xml\r\n"...)
}
