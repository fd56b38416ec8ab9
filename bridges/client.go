package bridges

import (
	"encoding/hex"
	"errors"

	"github.com/sipedge/sipedge/sip"
)

// A client is a client transaction (RFC 3261 §17.1).
type client struct {
	e      *Endpoint
	id     branchID
	method string
	callID string
	seq    uint32
	proof  Proof
	answer func(*Response, *Dialog)
	dialog *Dialog       // within which it was sent; nil: none
	sub    *subscription // of a SUBSCRIBE outside dialogs
	invite *invite       // of an INVITE
	timer  timer
	over   bool // has its final answer; Endpoint.mu guards it
}

// Do sends a request outside dialogs. answer gets provisional answers to INVITE
// and exactly one final answer; dialog is that which a 2xx to INVITE or SUBSCRIBE
// has made, else nil. A 2xx to INVITE is acknowledged already.
//
// answer is never called within Do, and not any more when the Endpoint has ended. It
// may be nil.
func (e *Endpoint) Do(r *Request, answer func(resp *Response, dialog *Dialog)) {
	c := &client{e: e, method: r.Method, callID: r.CallID, seq: r.CSeq, proof: r.Proof, answer: answer}
	if c.callID == "" {
		c.callID = e.dice.callID()
	}
	if c.seq == 0 {
		c.seq = e.nextSeq()
	}
	if e.paused.Load() {
		c.local(480, "Bridge is paused")
		return
	}
	s := e.site.Load()
	if s == nil {
		c.local(503, "Bridge is not running")
		return
	}
	tag := r.From.Tag
	if tag == "" {
		tag = e.dice.tag()
	}
	c.id = e.dice.branch()
	o := e.outputs.Get().(*output)
	defer e.done(o)
	from, to, err := c.write(o, s, r, tag)
	if err != nil {
		c.local(status(err))
		return
	}
	switch r.Method {
	case "INVITE":
		c.invite = &invite{raw: append([]byte(nil), o.b...), request: r, tag: tag, from: from, to: to, data: r.Data, target: r.URI, contact: r.Contact}
	case "SUBSCRIBE":
		c.sub = &subscription{e: e, id: subID{c.callID, tag}, event: r.Fields.Get("Event"), from: from, to: to, seq: c.seq, proof: r.Proof, data: r.Data, contact: r.Contact}
	}
	if !e.open(c) {
		c.local(503, "Too many requests are open")
		return
	}
	c.send(o.b)
}

// nextSeq is the number of a request outside dialogs (RFC 3261 §8.1.1.5). Half of
// what numbers there are is left for what follows it in a dialog.
func (e *Endpoint) nextSeq() uint32 { return e.seq.Add(1) & (1<<30 - 1) }

// write makes the message. from and to are the values for a dialog that it may
// make, and cost nothing else where it makes none.
func (c *client) write(o *output, s *site, r *Request, tag string) (from, to string, err error) {
	if err := r.check(false); err != nil {
		return "", "", err
	}
	h := head{method: r.Method, target: r.URI, branch: c.id, callID: c.callID, seq: c.seq, contact: r.Contact, reachable: r.Contact != ""}
	if needsContact(r.Method) && r.Contact == "" {
		h.contact, h.reachable = userOf(r.From.URI), true
	}
	o.b = append(o.b[:0], r.URI...)
	if err := checkURI(o.b); err != nil {
		return "", "", err
	}
	dst := s.appendTop(o.b[:0], &h, r.MaxForwards)
	at := len(dst) + len("From: ")
	if dst, err = appendParty(append(dst, "From: "...), &r.From); err != nil {
		return "", "", err
	}
	fromEnd := len(dst)
	dst = append(append(dst, ";tag="...), tag...)
	toAt := len(dst) + len("\r\nTo: ")
	if dst, err = appendParty(append(dst, "\r\nTo: "...), &r.To); err != nil {
		return "", "", err
	}
	if r.Method == "INVITE" || r.Method == "SUBSCRIBE" {
		from, to = string(dst[at:fromEnd]), string(dst[toAt:])
	}
	dst = s.appendIDs(append(dst, "\r\n"...), &h)
	dst = appendMark(dst, c.e.name, r.Hops)
	o.b, err = appendFields(dst, r.Fields, r.ContentType, r.Body, false)
	return from, to, err
}

// open enters the transaction; false: there is no room, or the Endpoint has ended.
func (e *Endpoint) open(c *client) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended || len(e.clients) >= e.lim.clients {
		return false
	}
	if c.sub != nil {
		if len(e.subs) >= e.lim.subs {
			return false
		}
		e.subs[c.sub.id] = c.sub
		e.clock.answer.start(&c.sub.timer, e.clock.now(), c.sub)
	}
	if c.invite != nil && c.invite.request != nil {
		e.invites[c.invite.request] = c
	}
	e.clients[c.id] = c
	e.clock.answer.start(&c.timer, e.clock.now(), c)
	return true
}

// send sends the request. Its answer may have come before send returns.
func (c *client) send(message []byte) {
	if err := c.e.send(message, c.proof); err != nil {
		c.e.warn("request of a bridge not taken", "method", c.method, "call_id", c.callID, "err", err)
		c.conclude(503, "Not taken")
	}
}

// finish takes the transaction out; false: it had its final answer already.
func (c *client) finish() bool {
	e := c.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.over || c.invite != nil && c.invite.accepted {
		return false
	}
	c.over = true
	e.forget(c)
	return true
}

// forget takes c out of the tables. Endpoint.mu is held.
func (e *Endpoint) forget(c *client) {
	c.timer.stop()
	delete(e.clients, c.id)
	if c.invite != nil && c.invite.request != nil {
		delete(e.invites, c.invite.request)
	}
}

// conclude ends the transaction with an answer of our own.
func (c *client) conclude(status int, phrase string) {
	if c.finish() {
		c.local(status, phrase)
	}
}

// local delivers an answer of our own, in its turn. A bridge that sends faster than
// it takes answers is out of its mind, and would fill the memory.
func (c *client) local(status int, phrase string) {
	e := c.e
	if c.sub != nil {
		c.sub.close()
	}
	if e.local.Add(1) > int64(4*e.lim.clients) {
		e.local.Add(-1)
		e.fail(errFlood)
		return
	}
	ok := e.workerOf([]byte(c.callID)).put(event{call: func() {
		e.local.Add(-1)
		if c.dialog != nil {
			c.dialog.answered(c, status)
		}
		c.deliver(&Response{Status: status, Phrase: phrase, Local: true}, nil)
	}})
	if !ok {
		e.local.Add(-1)
	}
}

// expired ends the transaction for want of an answer: Timer F or B
// (RFC 3261 §17.1.1.2, §17.1.2.2).
func (c *client) expired() {
	if c.invite != nil && c.invite.expired(c) {
		return
	}
	c.conclude(408, "Request Timeout")
}

// response handles what came. What belongs to no transaction of ours is dropped
// (RFC 3261 §18.1.2), and so is what is not one answer to us alone (RFC 3261
// §8.1.3.3).
func (e *Endpoint) response(m *sip.Message) {
	via, err := m.TopVia()
	if err != nil {
		return
	}
	id, ok := parseBranch(via.Branch)
	if !ok {
		return
	}
	e.mu.Lock()
	c := e.clients[id]
	e.mu.Unlock()
	if c == nil {
		return
	}
	if seq, method, _ := m.CSeq(); string(method) != c.method || seq != c.seq {
		return // that to our CANCEL, which has the branch of the INVITE
	}
	switch {
	case m.Fault() != nil || m.Vias() != 1 || (c.invite != nil || c.sub != nil) && !routed(m):
		e.warn("answer for a bridge was malformed", "call_id", c.callID, "fault", m.Fault())
		if m.Status() >= 200 {
			c.conclude(502, "Malformed answer")
		}
	case c.invite != nil:
		c.inviteResponse(m)
	case m.Status() < 200:
		// RFC 3261 §17.1.2.2: proceeding, and Timer F goes on.
	case c.finish():
		c.final(m)
	}
}

// final delivers the final answer to anything but INVITE.
func (c *client) final(m *sip.Message) {
	resp := readResponse(m)
	var made *Dialog
	switch {
	case c.dialog != nil:
		if c.method == "SUBSCRIBE" || c.method == "UPDATE" {
			c.dialog.refresh(m, resp.Status)
		}
		c.dialog.answered(c, resp.Status)
	case c.sub != nil && resp.Status < 300:
		made = c.sub.accepted(m)
	case c.sub != nil:
		c.sub.close()
	}
	c.deliver(resp, made)
}

// deliver hands an answer to the bridge, if it wants to know.
func (c *client) deliver(resp *Response, made *Dialog) {
	if c.answer != nil {
		c.answer(resp, made)
	}
}

// parseBranch reads a branch of ours.
func parseBranch(b []byte) (id branchID, ok bool) {
	if len(b) != len(sip.Cookie)+2*len(id) || string(b[:len(sip.Cookie)]) != sip.Cookie {
		return id, false
	}
	_, err := hex.Decode(id[:], b[len(sip.Cookie):])
	return id, err == nil
}

// errFlood is the end of an Endpoint whose bridge sends without end.
var errFlood = errors.New("bridges: too many requests without room")
