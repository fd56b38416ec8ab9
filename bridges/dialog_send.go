package bridges

import (
	"slices"

	"github.com/sipedge/sipedge/sip"
)

// Do sends a request within the dialog; URI, From, To, Call-ID, CSeq and Route
// are the dialog's. answer is called as that of [Endpoint.Do].
//
// A BYE ends the dialog at once (RFC 3261 §15.1.1), and so does a NOTIFY whose
// Subscription-State is terminated.
func (d *Dialog) Do(r *Request, answer func(*Response)) {
	e := d.e
	c := &client{e: e, method: r.Method, callID: d.id.call, dialog: d}
	if answer != nil {
		c.answer = func(resp *Response, _ *Dialog) { answer(resp) }
	}
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
	d.used.Store(int64(e.clock.now()))
	d.post()
	if r.Method == "BYE" || r.Method == "NOTIFY" && !d.invite && terminated(r.Fields) {
		d.End()
	}
}

// write makes a request within the dialog (RFC 3261 §12.2.1.1). Dialog.mu is held.
func (d *Dialog) write(o *output, s *site, c *client, r *Request) (err error) {
	h := head{method: r.Method, branch: c.id, callID: d.id.call, seq: c.seq, contact: r.Contact, reachable: r.Contact != ""}
	if needsContact(r.Method) && r.Contact == "" {
		h.contact, h.reachable = d.user(), true
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

// loose reports whether a Route names a loose router (RFC 3261 §19.1.1). What could
// be no Request-URI counts as one.
func loose(route string) bool {
	n, err := sip.ParseNameAddr([]byte(route))
	if err != nil || checkURI(n.URI) != nil {
		return true
	}
	u, err := sip.ParseURI(n.URI)
	_, lr := u.Param("lr")
	return err != nil || lr
}

// user is the user part of our Contact.
func (d *Dialog) user() string {
	if d.contact != "" {
		return d.contact
	}
	n, err := sip.ParseNameAddr([]byte(d.from))
	if err != nil {
		return ""
	}
	return userOf(string(n.URI))
}

// posted is a message that goes out in its turn.
type posted struct {
	o     *output
	c     *client // nil: an ACK
	proof Proof
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
			e.warn("request of a bridge not taken", "method", "ACK", "call_id", d.id.call, "err", err)
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
