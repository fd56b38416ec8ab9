package bridges

import "time"

// An unacked is a 2xx to INVITE that waits for its ACK. It is sent again until that
// comes: somewhere behind the edge there may be a hop that loses messages
// (RFC 3261 §13.3.1.4).
type unacked struct {
	d     *Dialog
	in    *Incoming
	raw   []byte
	seq   uint32
	sent  int
	until time.Duration
	timer timer // Endpoint.mu guards it
}

// await keeps a 2xx until its ACK comes.
func (d *Dialog) await(in *Incoming, raw []byte) {
	e := d.e
	u := &unacked{d: d, in: in, raw: raw, seq: in.CSeq}
	d.mu.Lock()
	last := d.waiting
	d.waiting = u
	d.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if last != nil {
		last.timer.stop()
	}
	now := e.clock.now()
	u.until = now + timerF
	e.clock.again[0].start(&u.timer, now, u)
}

// confirmed takes the ACK.
func (d *Dialog) confirmed(seq uint32) {
	d.mu.Lock()
	u := d.waiting
	if u != nil && u.seq == seq {
		d.waiting = nil
	} else {
		u = nil
	}
	d.mu.Unlock()
	if u != nil {
		d.e.mu.Lock()
		u.timer.stop()
		d.e.mu.Unlock()
	}
}

// expired sends the 2xx again, or ends the call that nobody acknowledged.
func (u *unacked) expired() {
	d, e := u.d, u.d.e
	d.mu.Lock()
	current := d.waiting == u && !d.ended
	d.mu.Unlock()
	if !current {
		return
	}
	e.mu.Lock()
	now := e.clock.now()
	late := now >= u.until
	if !late {
		u.sent++
		e.clock.again[min(u.sent, len(e.clock.again)-1)].start(&u.timer, now, u)
	}
	e.mu.Unlock()
	if !late {
		if err := e.send(u.raw, ProofNone); err != nil {
			e.warn("answer of a bridge not taken", "status", 200, "call_id", d.id.call, "err", err)
		}
		return
	}
	d.Do(&Request{Method: "BYE"}, nil)
	e.workerOf([]byte(d.id.call)).put(event{call: func() {
		if h := e.handler.Load(); h != nil {
			(*h).Canceled(u.in)
		}
	}})
}
