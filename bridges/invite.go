package bridges

import (
	"github.com/sipedge/sipedge/sip"
)

// An invite is what an INVITE transaction of ours has more than others
// (RFC 3261 §17.1.1, RFC 6026). But for what Endpoint.mu guards it belongs to the
// worker of its Call-ID.
type invite struct {
	raw     []byte   // as it was sent, for ACK and CANCEL
	request *Request // by which it is canceled
	tag     string
	from    string
	to      string
	target  string // Request-URI
	data    any
	contact string
	made    *Dialog         // by the first 2xx
	others  map[string]bool // tags of further 2xx

	// Endpoint.mu guards these.
	rings    bool // a provisional answer has come
	cancel   bool // it is to be canceled
	canceled bool // it was
	accepted bool // a 2xx has come; more may
}

// maxOthers bounds the further 2xx that are acknowledged: one for each fork.
const maxOthers = 16

// Cancel takes an INVITE back that [Endpoint.Do] sent with r. Its answer comes as
// always: a 487, mostly, but also a 2xx that was under way; that call is to be
// ended then.
func (e *Endpoint) Cancel(r *Request) {
	e.mu.Lock()
	c := e.invites[r]
	e.mu.Unlock()
	if c != nil {
		c.cancel()
	}
}

// cancel sends CANCEL, or notes that it is to be sent when the first answer has
// come: before that, nobody knows where the INVITE is (RFC 3261 §9.1).
func (c *client) cancel() {
	e, v := c.e, c.invite
	e.mu.Lock()
	v.cancel = true
	now := v.rings && !v.canceled && !v.accepted && !c.over
	if now {
		v.canceled = true
		// RFC 3261 §9.1: without an answer within 64*T1, it is over.
		e.clock.answer.start(&c.timer, e.clock.now(), c)
	}
	e.mu.Unlock()
	if !now {
		return
	}
	var sent sip.Message
	if err := sent.Parse(v.raw, sip.Limits{}); err != nil {
		return
	}
	o := e.outputs.Get().(*output)
	defer e.done(o)
	o.b = sip.AppendCancel(o.b[:0], &sent)
	if err := e.send(o.b, c.proof); err != nil {
		e.warn("request of a bridge not taken", "method", "CANCEL", "call_id", c.callID, "err", err)
	}
}

// expired says whether the transaction is over without another answer. One that
// rings for too long is canceled, and given the time for its 487.
func (v *invite) expired(c *client) bool {
	e := c.e
	e.mu.Lock()
	accepted, late := v.accepted, v.rings && !v.canceled
	if accepted {
		e.forget(c)
	}
	e.mu.Unlock()
	if !accepted && late {
		c.cancel()
	}
	return accepted || late
}

// inviteResponse handles what came to an INVITE.
func (c *client) inviteResponse(m *sip.Message) {
	v, e := c.invite, c.e
	status := m.Status()
	switch {
	case status < 200:
		e.mu.Lock()
		first := !c.over && !v.accepted && !v.rings
		if v.rings = true; first {
			e.clock.ring.start(&c.timer, e.clock.now(), c)
		}
		wanted := !v.cancel
		e.mu.Unlock()
		if first && !wanted {
			c.cancel()
		}
		if status > 100 && !c.settled() {
			c.deliver(readResponse(m), nil)
		}
	case status < 300:
		c.success(m)
	case !c.settled():
		c.acknowledge(m)
		if c.finish() {
			resp := readResponse(m)
			if c.dialog != nil {
				c.dialog.answered(c, resp.Status)
			}
			c.deliver(resp, nil)
		}
	}
}

// settled reports whether the final answer has been given.
func (c *client) settled() bool {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	return c.over || c.invite.accepted
}

// acknowledge sends the ACK to a refusal (RFC 3261 §17.1.1.3).
func (c *client) acknowledge(m *sip.Message) {
	var sent sip.Message
	if err := sent.Parse(c.invite.raw, sip.Limits{}); err != nil {
		return
	}
	o := c.e.outputs.Get().(*output)
	defer c.e.done(o)
	o.b = sip.AppendACK(o.b[:0], &sent, m)
	if err := c.e.send(o.b, c.proof); err != nil {
		c.e.warn("request of a bridge not taken", "method", "ACK", "call_id", c.callID, "err", err)
	}
}

// success handles a 2xx. The first one makes the call; each is acknowledged each
// time it comes (RFC 3261 §13.2.2.4), and what other branches of a fork answer is
// ended at once.
func (c *client) success(m *sip.Message) {
	v, e := c.invite, c.e
	e.mu.Lock()
	first := !v.accepted && !c.over
	if first {
		v.accepted = true
		e.clock.answer.start(&c.timer, e.clock.now(), c) // Timer M
	}
	e.mu.Unlock()
	to, err := m.To()
	if err != nil {
		return
	}
	switch {
	case c.dialog != nil:
		c.dialog.refresh(m, m.Status())
		c.dialog.ack(c.seq, c.proof)
		if first {
			c.dialog.answered(c, m.Status())
			c.deliver(readResponse(m), nil)
		}
	case first:
		var kept bool
		v.made, kept = v.dialog(c, m)
		v.made.ack(c.seq, c.proof)
		if !kept {
			v.made.Do(&Request{Method: "BYE"}, nil)
			c.deliver(&Response{Status: 503, Phrase: "Too many dialogs", Local: true}, nil)
			return
		}
		c.deliver(readResponse(m), v.made)
	case v.made != nil && v.made.id.remote == string(to.Tag()):
		v.made.ack(c.seq, c.proof)
	case v.made != nil:
		c.surplus(m, string(to.Tag()))
	}
}

// surplus acknowledges and ends the call that another branch of a fork accepted.
func (c *client) surplus(m *sip.Message, tag string) {
	v := c.invite
	again := v.others[tag]
	if !again && len(v.others) >= maxOthers {
		return
	}
	d, _ := v.dialog(c, m)
	d.ack(c.seq, c.proof)
	if again {
		d.End()
		return
	}
	if v.others == nil {
		v.others = make(map[string]bool)
	}
	v.others[tag] = true
	d.Do(&Request{Method: "BYE"}, nil)
}

// dialog makes that of a 2xx (RFC 3261 §12.1.2); kept is false if there is no room for
// it. Without a Contact, what comes next goes where the INVITE went.
func (v *invite) dialog(c *client, m *sip.Message) (d *Dialog, kept bool) {
	d = newDialog(c.e, c.callID, v.tag, m, false)
	d.from, d.to = v.from, v.to
	d.seq, d.proof, d.invite, d.Data, d.contact = c.seq, c.proof, true, v.data, v.contact
	if d.target == "" {
		d.target = v.target
	}
	return d, c.e.keepDialog(d)
}
