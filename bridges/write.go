package bridges

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sipedge/sipedge/sip"
)

// An output is a buffer for one message.
type output struct{ b []byte }

// done gives the buffer back. The Host keeps nothing of a message.
func (e *Endpoint) done(o *output) {
	if cap(o.b) <= keep {
		e.outputs.Put(o)
	}
}

// maxBody and maxHead bound what we send; the edge would refuse more.
const (
	maxHead = 32 << 10
	maxBody = 1 << 20
)

var (
	errTooLarge    = errors.New("message too large")
	errTooManyHops = errors.New("too many hops")
)

// A badValue says which part of a message cannot be written.
type badValue string

func (b badValue) Error() string { return "bad " + string(b) }

// A head is what the head of a request is made of, but for From and To.
type head struct {
	method    string
	target    string
	branch    branchID
	callID    string
	seq       uint32
	contact   string // user part
	reachable bool   // there is a Contact
}

// appendTop appends the Request-Line, Via and Max-Forwards.
func (s *site) appendTop(dst []byte, h *head, maxForwards int) []byte {
	dst = append(append(dst, h.method...), ' ')
	dst = append(append(dst, h.target...), " SIP/2.0\r\nVia: "...)
	dst = append(dst, s.via...)
	dst = hex.AppendEncode(dst, h.branch[:])
	dst = append(dst, "\r\nMax-Forwards: "...)
	if maxForwards == 0 {
		maxForwards = 70 // RFC 3261 §8.1.1.6
	}
	return append(strconv.AppendInt(dst, int64(maxForwards), 10), "\r\n"...)
}

// appendIDs appends Call-ID, CSeq and Contact.
func (s *site) appendIDs(dst []byte, h *head) []byte {
	dst = append(append(dst, "Call-ID: "...), h.callID...)
	dst = append(dst, "\r\nCSeq: "...)
	dst = strconv.AppendUint(dst, uint64(h.seq), 10)
	dst = append(append(append(dst, ' '), h.method...), "\r\n"...)
	if h.reachable {
		dst = append(s.appendContact(append(dst, "Contact: "...), h.contact), "\r\n"...)
	}
	return dst
}

// appendContact appends our Contact with this user part.
func (s *site) appendContact(dst []byte, user string) []byte {
	dst = append(dst, "<sip:"...)
	if user != "" {
		dst = append(append(dst, user...), '@')
	}
	return append(dst, s.contact...)
}

// appendFields appends the bridge's fields and the body.
func appendFields(dst []byte, list Fields, contentType string, body []byte, contact bool) ([]byte, error) {
	start := len(dst)
	for _, f := range list {
		at := len(dst)
		dst = append(dst, f.Name...)
		if !sip.IsToken(dst[at:]) {
			return dst, badValue("header field name")
		}
		id := sip.HeaderNamed(dst[at:])
		if has(ours, id) || id == sip.Contact && !contact || id == sip.SipedgeBridge {
			return dst, badValue("header field " + f.Name)
		}
		dst = append(append(dst, ": "...), f.Value...)
		if !clean(f.Value) {
			return dst, badValue("value of " + f.Name)
		}
		dst = append(dst, "\r\n"...)
	}
	if contentType != "" {
		if !clean(contentType) {
			return dst, badValue("Content-Type")
		}
		dst = append(append(append(dst, "Content-Type: "...), contentType...), "\r\n"...)
	} else if len(body) > 0 {
		return dst, badValue("Content-Type")
	}
	if len(dst)-start > maxHead || len(body) > maxBody {
		return dst, errTooLarge
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	return append(append(dst, "\r\n\r\n"...), body...), nil
}

// clean reports whether a value can stand on one line: text in UTF-8 without
// controls, also those of U+0080 to U+009F, which some take for line ends, and
// without the line and paragraph separators.
func clean(s string) bool {
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 || r < 0xa0 || r == 0x2028 || r == 0x2029 {
				return false
			}
			i += n
			continue
		}
		if c < ' ' || c == 0x7f {
			return false
		}
		i++
	}
	return true
}

// maxDisplay is how many octets of a display name are sent.
const maxDisplay = 256

// appendParty appends a From or To value without its tag.
func appendParty(dst []byte, p *Party) ([]byte, error) {
	if p.Display != "" {
		dst = append(appendQuoted(dst, p.Display), ' ')
	}
	dst = append(dst, '<')
	at := len(dst)
	dst = append(dst, p.URI...)
	if err := checkURI(dst[at:]); err != nil {
		return dst, err
	}
	return append(dst, '>'), nil
}

// checkURI refuses what is not a SIP or tel URI. Headers in it would become
// header fields somewhere (RFC 3261 §19.1.5).
func checkURI(b []byte) error {
	u, err := sip.ParseURI(b)
	if err != nil || !u.IsSIP() && !u.IsTel() || u.Headers != nil {
		return badValue("URI")
	}
	return nil
}

// appendQuoted appends a display name as a quoted string (RFC 3261 §25.1). What
// cannot stand in one becomes a blank: a name is for people, and nothing depends on
// it.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	left := maxDisplay
	for _, r := range s {
		if left -= utf8.RuneLen(r); left < 0 {
			break
		}
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029:
			dst = append(dst, ' ')
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// isCallID reports whether s is word ["@" word] (RFC 3261 §25.1).
func isCallID(s string) bool {
	at := false
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '@':
			if at || i == 0 || i == len(s)-1 {
				return false
			}
			at = true
		default:
			switch c {
			case '-', '.', '!', '%', '*', '_', '+', '`', '\'', '~', '(', ')', '<', '>', ':', '\\', '"', '/', '[', ']', '?', '{', '}':
			default:
				return false
			}
		}
	}
	return len(s) > 0 && len(s) <= 256
}

// isUser reports whether s is a user part of a SIP URI.
func isUser(s string) bool {
	var room [64]byte
	b := append(append(append(room[:0], "sip:"...), s...), "@a"...)
	u, err := sip.ParseURI(b)
	return err == nil && len(u.User) == len(s) && u.Password == nil
}

// check refuses a request that cannot be written. Within a dialog the addresses and
// numbers are the dialog's.
func (r *Request) check(within bool) error {
	switch {
	case !sip.IsToken([]byte(r.Method)) || strings.ToUpper(r.Method) != r.Method:
		return badValue("method")
	case r.Method == "ACK" || r.Method == "CANCEL":
		return badValue("method " + r.Method) // the Endpoint sends them
	case r.Contact != "" && !isUser(r.Contact):
		return badValue("Contact")
	case r.MaxForwards < 0:
		return errTooManyHops
	case r.MaxForwards > 255:
		return badValue("Max-Forwards")
	case within:
		return nil
	case r.CallID != "" && !isCallID(r.CallID):
		return badValue("Call-ID")
	case r.CSeq > 1<<31-1:
		return badValue("CSeq")
	case r.From.Tag != "" && !sip.IsToken([]byte(r.From.Tag)):
		return badValue("tag")
	case r.To.Tag != "":
		return badValue("tag") // only within dialogs
	}
	return nil
}

// needsContact reports whether a request of the method must name where it can be
// reached (RFC 3261 §8.1.1.8, RFC 6665 §4.1.3).
func needsContact(method string) bool {
	switch method {
	case "INVITE", "SUBSCRIBE", "NOTIFY", "REFER", "UPDATE":
		return true
	}
	return false
}

// userOf is the user part of a SIP URI, "" if there is none.
func userOf(uri string) string {
	u, err := sip.ParseURI([]byte(uri))
	if err != nil {
		return ""
	}
	return string(u.User)
}

// status is the local answer to what could not be written.
func status(err error) (int, string) {
	switch {
	case errors.Is(err, errTooLarge):
		return 513, "Message Too Large"
	case errors.Is(err, errTooManyHops):
		return 483, "Too Many Hops"
	}
	return 400, fmt.Sprint(err)
}
