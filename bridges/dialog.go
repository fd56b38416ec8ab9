package bridges

import (
	"slices"
	"sync"

	"github.com/sipedge/sipedge/sip"
)

// A dialogID names a dialog (RFC 3261 §12).
type dialogID struct{ call, local, remote string }

// A Dialog is one (RFC 3261 §12), or a subscription's (RFC 6665 §4.1). A NOTIFY
// that comes before the answer to its SUBSCRIBE makes the dialog, and the answer
// brings the same one.
//
// It ends with a BYE, with the NOTIFY that ends its subscription, with a 481, and
// by [Dialog.End].
type Dialog struct {
	Data any // its owner's

	e      *Endpoint
	id     dialogID
	from   string // ours, as a value of From without its tag
	to     string // the other side's
	invite bool   // a call, no subscription

	mu       sync.Mutex // guards what follows; nothing is locked or called under it
	ended    bool
	seq      uint32 // of our last request
	remote   uint32 // of the last one of the other side
	heard    bool   // there was one
	target   string
	routes   []string
	byAnswer bool // made by the 2xx to SUBSCRIBE; the NOTIFY is to come
	proof    Proof
	pending  *Incoming // INVITE of the other side that is not answered
	asking   bool      // an INVITE of ours is not answered
	waiting  *unacked  // a 2xx of ours without its ACK
	out      []posted
	posting  bool
}

// posted is a message that goes out in its turn.
type posted struct {
	o     *output
	c     *client // nil: an ACK
	proof Proof
}

// target returns the URI of Contact, "" if there is none that can be sent to.
func target(m *sip.Message) string {
	n, err := sip.ParseNameAddr(m.Value(sip.Contact))
	if err != nil || checkURI(n.URI) != nil {
		return ""
	}
	return string(n.URI)
}

// routes copies the route set (RFC 3261 §12.1.1, §12.1.2). The message has no
// Fault, so that each can be read.
func routes(m *sip.Message) (list []string) {
	elements := m.Elements(sip.RecordRoute)
	for {
		elem, ok := elements.Next()
		if !ok || len(list) == maxRoutes {
			return list
		}
		list = append(list, unfold(elem))
	}
}

// maxRoutes bounds a route set.
const maxRoutes = 32

// newDialog makes the dialog of a message that came: of a request (as its server),
// or of an answer (as its client).
func newDialog(e *Endpoint, callID, local string, m *sip.Message, server bool) *Dialog {
	d := &Dialog{e: e, target: target(m), routes: routes(m)}
	var n sip.NameAddr
	if server {
		n, _ = m.From()
		d.remote, _, _ = m.CSeq()
		d.heard = true
	} else {
		n, _ = m.To()
		slices.Reverse(d.routes) // RFC 3261 §12.1.2
	}
	d.id = dialogID{callID, local, string(n.Tag())}
	return d
}

// dialog makes the dialog of a request that is answered.
func (in *Incoming) dialog() *Dialog {
	m := &in.raw.m
	d := newDialog(in.e, in.CallID, in.tag, m, true)
	from, _ := m.From()
	to, _ := m.To()
	d.from, d.to = value(to), value(from)
	d.invite = in.Method == "INVITE"
	d.seq = in.e.seq.Add(1) & (1<<31 - 1)
	if d.invite {
		d.pending = in
	}
	if !in.e.keepDialog(d) {
		in.e.log.Warn("too many dialogs of a bridge", "bridge", in.e.name, "call_id", in.CallID)
	}
	return d
}

// value is an address as it came, without the parameters of its field.
func value(n sip.NameAddr) string {
	if len(n.Display) == 0 {
		return "<" + string(n.URI) + ">"
	}
	return unfold(n.Display) + " <" + string(n.URI) + ">"
}

// keepDialog enters a dialog; false: there is no room, and the dialog is over.
func (e *Endpoint) keepDialog(d *Dialog) bool {
	e.mu.Lock()
	ok := !e.ended && len(e.dialogs) < e.lim.dialogs
	if ok {
		e.dialogs[d.id] = d
	}
	e.mu.Unlock()
	if !ok {
		d.mu.Lock()
		d.ended = true
		d.mu.Unlock()
	}
	return ok
}

// dialogOf finds the dialog of a request that came, nil if there is none.
func (e *Endpoint) dialogOf(m *sip.Message) *Dialog {
	to, _ := m.To()
	from, _ := m.From()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dialogs[dialogID{string(m.CallID()), string(to.Tag()), string(from.Tag())}]
}

// CallID returns the dialog's Call-ID.
func (d *Dialog) CallID() string { return d.id.call }

// Ended reports whether the dialog is over.
func (d *Dialog) Ended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ended
}

// End forgets the dialog; nothing is sent.
func (d *Dialog) End() {
	d.mu.Lock()
	over := d.ended
	d.ended = true
	d.mu.Unlock()
	if over {
		return
	}
	e := d.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dialogs[d.id] == d {
		delete(e.dialogs, d.id)
	}
}

// Do sends a request within the dialog; URI, From, To, Call-ID, CSeq and Route
// are the dialog's. answer is called as that of [Endpoint.Do].
//
// A BYE ends the dialog at once (RFC 3261 §15.1.1), and so does a NOTIFY whose
// Subscription-State is terminated.
func (d *Dialog) Do(r *Request, answer func(*Response)) {
	e := d.e
	c := &client{e: e, method: r.Method, callID: d.id.call, dialog: d, answer: func(resp *Response, _ *Dialog) { answer(resp) }}
	if err := r.check(true); err != nil {
		c.local(status(err))
		return
	}
	s := e.site.Load()
	if s == nil {
		c.local(503, "Bridge is not running")
		return
	}
	c.id = e.dice.branch()
	d.mu.Lock()
	switch {
	case d.ended:
		d.mu.Unlock()
		c.local(481, "Dialog is over")
		return
	case r.Method == "INVITE" && (d.asking || d.pending != nil):
		d.mu.Unlock()
		c.local(491, "Request Pending") // RFC 3261 §14.1
		return
	}
	o := e.outputs.Get().(*output)
	d.seq++
	c.seq = d.seq
	if r.Proof != ProofNone {
		d.proof = r.Proof
	}
	c.proof = d.proof
	if err := d.write(o, s, c, r); err != nil {
		d.mu.Unlock()
		e.done(o)
		c.local(status(err))
		return
	}
	if r.Method == "INVITE" {
		d.asking = true
		c.invite = &invite{raw: append([]byte(nil), o.b...), request: r}
	}
	d.out = append(d.out, posted{o, c, c.proof})
	d.mu.Unlock()
	d.post()
	if r.Method == "BYE" || r.Method == "NOTIFY" && !d.invite && terminated(r.Fields) {
		d.End()
	}
}

// write makes a request within the dialog (RFC 3261 §12.2.1.1). Dialog.mu is held.
func (d *Dialog) write(o *output, s *site, c *client, r *Request) (err error) {
	h := head{method: r.Method, branch: c.id, callID: d.id.call, seq: c.seq, contact: r.Contact}
	if h.contact == "" && needsContact(r.Method) {
		h.contact = userOfValue(d.from)
	}
	dst := d.appendStart(o.b[:0], s, &h, r.MaxForwards)
	o.b, err = appendFields(dst, r.Fields, r.ContentType, r.Body, false)
	return err
}

// appendStart appends all that a request has by its dialog. Dialog.mu is held.
func (d *Dialog) appendStart(dst []byte, s *site, h *head, maxForwards int) []byte {
	list, last := d.routes, ""
	if h.target = d.target; len(list) > 0 && !loose(list[0]) {
		// RFC 3261 §12.2.1.1: a strict router wants to be the Request-URI.
		n, _ := sip.ParseNameAddr([]byte(list[0]))
		h.target, last, list = string(n.URI), "<"+d.target+">", list[1:]
	}
	dst = s.appendTop(dst, h, maxForwards)
	for _, r := range list {
		dst = appendLine(dst, "Route", r)
	}
	if last != "" {
		dst = appendLine(dst, "Route", last)
	}
	dst = append(append(append(dst, "From: "...), d.from...), ";tag="...)
	dst = append(append(append(dst, d.id.local...), "\r\nTo: "...), d.to...)
	if d.id.remote != "" {
		dst = append(append(dst, ";tag="...), d.id.remote...)
	}
	return s.appendIDs(append(dst, "\r\n"...), h)
}

// loose reports whether a Route names a loose router (RFC 3261 §19.1.1).
func loose(route string) bool {
	n, err := sip.ParseNameAddr([]byte(route))
	if err != nil {
		return true
	}
	u, err := sip.ParseURI(n.URI)
	_, lr := u.Param("lr")
	return err != nil || lr
}

// userOfValue is the user part of an address with brackets.
func userOfValue(v string) string {
	n, err := sip.ParseNameAddr([]byte(v))
	if err != nil {
		return ""
	}
	return userOf(string(n.URI))
}

// post sends what stands in line, one after the other, so that the numbers in CSeq
// come in their order. Whoever finds a sender leaves it to that one.
func (d *Dialog) post() {
	for {
		d.mu.Lock()
		if len(d.out) == 0 || d.posting {
			d.mu.Unlock()
			return
		}
		p := d.out[0]
		d.out = slices.Delete(d.out, 0, 1)
		d.posting = true
		d.mu.Unlock()
		d.transmit(p)
		d.mu.Lock()
		d.posting = false
		d.mu.Unlock()
	}
}

func (d *Dialog) transmit(p posted) {
	e := d.e
	defer e.done(p.o)
	switch {
	case p.c == nil:
		if err := e.send(p.o.b, p.proof); err != nil {
			e.log.Warn("request of a bridge not taken", "bridge", e.name, "method", "ACK", "call_id", d.id.call, "err", err)
		}
	case !e.open(p.c):
		p.c.local(503, "Too many requests are open")
	default:
		p.c.send(p.o.b)
	}
}

// ack acknowledges a 2xx to our INVITE: a request of its own, with the number of the
// INVITE (RFC 3261 §13.2.2.4).
func (d *Dialog) ack(seq uint32, proof Proof) {
	s := d.e.site.Load()
	if s == nil {
		return
	}
	o := d.e.outputs.Get().(*output)
	h := head{method: "ACK", branch: d.e.dice.branch(), callID: d.id.call, seq: seq}
	d.mu.Lock()
	dst := d.appendStart(o.b[:0], s, &h, 0)
	o.b, _ = appendFields(dst, nil, "", nil, false)
	d.out = append(d.out, posted{o, nil, proof})
	d.mu.Unlock()
	d.post()
}
