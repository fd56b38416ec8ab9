package bridges

import (
	"bytes"

	"github.com/sipedge/sipedge/sip"
)

// ours are the header fields that are the Endpoint's, and that a bridge neither
// sets nor is shown among the others.
var ours = sip.NewSet(sip.Via, sip.Route, sip.RecordRoute, sip.From, sip.To, sip.CallID, sip.CSeq, sip.MaxForwards,
	sip.ContentType, sip.ContentLength)

// has reports whether h is in the set.
func has(s *sip.Set, h sip.Header) bool { return s[h/64]>>(h%64)&1 != 0 }

// fields copies the header fields that a bridge may look at, with long names and
// without folds (RFC 3261 §7.3.1).
func fields(m *sip.Message) Fields {
	n := 0
	for i := range m.Fields() {
		if !has(ours, m.Field(i).ID) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	list := make(Fields, 0, n)
	for i := range m.Fields() {
		f := m.Field(i)
		if has(ours, f.ID) {
			continue
		}
		name := f.ID.String()
		if f.ID == sip.HeaderOther {
			name = string(f.Name)
		}
		list = append(list, Field{name, unfold(f.Value)})
	}
	return list
}

// unfold returns a value on one line.
func unfold(b []byte) string {
	if bytes.IndexByte(b, '\n') < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '\r' {
			out = append(out, b[i])
			continue
		}
		for i+1 < len(b) && (b[i+1] == '\n' || b[i+1] == '\r' || b[i+1] == ' ' || b[i+1] == '\t') {
			i++
		}
		out = append(out, ' ')
	}
	return string(out)
}

// party reads From or To.
func party(n sip.NameAddr) Party {
	return Party{Display: display(n.Display), URI: string(n.URI), Tag: string(n.Tag())}
}

// display returns a display name as people read it.
func display(b []byte) string {
	if len(b) < 2 || b[0] != '"' {
		return unfold(b)
	}
	b = b[1 : len(b)-1]
	if bytes.IndexByte(b, '\\') < 0 {
		return unfold(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) {
			i++
		}
		out = append(out, b[i])
	}
	return unfold(out)
}

// methods are those that are not made into a string each time.
var methods = [...]string{
	"MESSAGE", "NOTIFY", "SUBSCRIBE", "INVITE", "BYE", "INFO", "OPTIONS", "UPDATE", "BENOTIFY", "ACK", "CANCEL", "PUBLISH",
	"REGISTER", "REFER", "PRACK", "SERVICE", "NEGOTIATE",
}

func method(b []byte) string {
	for _, m := range methods {
		if string(b) == m {
			return m
		}
	}
	return string(b)
}

// maxForwards is Max-Forwards of what came; a request without one has what we
// would give it (RFC 3261 §16.3 step 3).
func maxForwards(m *sip.Message) int {
	if n, ok, err := m.MaxForwards(); ok && err == nil {
		return n
	}
	return 70
}

// readResponse makes the Response of what came.
func readResponse(m *sip.Message) *Response {
	r := &Response{
		Status:      m.Status(),
		Phrase:      string(m.Reason()),
		Fields:      fields(m),
		ContentType: string(m.Value(sip.ContentType)),
		Body:        bytes.Clone(m.Body()),
	}
	if to, err := m.To(); err == nil {
		r.ToTag = string(to.Tag())
	}
	return r
}

// readRequest fills r with what came; the message has no Fault.
func readRequest(r *Request, m *sip.Message) {
	from, _ := m.From()
	to, _ := m.To()
	seq, _, _ := m.CSeq()
	*r = Request{
		Method:      method(m.Method()),
		URI:         string(m.RequestURI()),
		From:        party(from),
		To:          party(to),
		CallID:      string(m.CallID()),
		CSeq:        seq,
		Fields:      fields(m),
		ContentType: string(m.Value(sip.ContentType)),
		Body:        bytes.Clone(m.Body()),
		MaxForwards: maxForwards(m),
	}
	if mark := r.Fields.Get(LoopMark); mark != "" {
		r.Hops = hops(mark)
	}
}
