package bridges

import (
	"strings"

	"github.com/sipedge/sipedge/sip"
)

// within finds the dialog of a request with a tag in To, and holds the request
// against it (RFC 3261 §12.2.2). false: it was refused.
func (e *Endpoint) within(in *Incoming, m *sip.Message) bool {
	d := e.dialogOf(m)
	if d == nil {
		if d = e.notified(in, m); d == nil {
			in.Answer(Response{Status: 481}, "")
			return false
		}
	}
	in.Dialog = d
	if resp := d.take(in, m); resp.Status != 0 {
		in.Answer(resp, "")
		return false
	}
	d.tell(in)
	return true
}

// take holds a request against its dialog and notes what it changes; a Status says
// that it is refused.
func (d *Dialog) take(in *Incoming, m *sip.Message) (refusal Response) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.heard && in.CSeq <= d.remote:
		// RFC 3261 §12.2.2. Nothing repeats requests on the way to us, so that an equal
		// number is another request.
		return Response{Status: 500, Phrase: "CSeq is out of order"}
	case in.Method == "INVITE" && d.pending != nil && d.pending != in:
		// RFC 3261 §14.2
		return Response{Status: 500, Fields: Fields{{"Retry-After", "1"}}}
	case in.Method == "INVITE" && d.asking:
		return Response{Status: 491}
	}
	d.remote, d.heard = in.CSeq, true
	d.used.Store(int64(in.e.clock.now()))
	if in.Method == "INVITE" {
		d.pending = in
	}
	if refreshes(in.Method) {
		if uri := target(m); uri != "" {
			d.target = uri
		}
	}
	if d.byAnswer && isNotify(in.Method) {
		// RFC 6665 §4.4.1: the route set is that of the NOTIFY.
		d.byAnswer = false
		d.routes, _ = routes(m)
	}
	return Response{}
}

// tell ends what the request ends.
func (d *Dialog) tell(in *Incoming) {
	switch {
	case in.Method == "BYE":
		d.End()
		d.mu.Lock()
		pending := d.pending
		d.mu.Unlock()
		if pending != nil {
			pending.withdraw(Response{Status: 487}) // RFC 3261 §15.1.2
		}
	case isNotify(in.Method) && !d.invite && terminated(in.Fields):
		d.End()
	}
}

// served notes that a request of the other side is answered.
func (d *Dialog) served(in *Incoming) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pending == in {
		d.pending = nil
	}
}

// answered notes the final answer to a request of ours.
func (d *Dialog) answered(c *client, status int) {
	if c.invite != nil {
		d.mu.Lock()
		d.asking = false
		d.mu.Unlock()
	}
	// RFC 3261 §12.2.1.2. Whether a call without an answer is over is its owner's
	// question, and a SUBSCRIBE without one ends nothing (RFC 6665 §4.1.2.2).
	if status == 481 || status == 408 && c.method == "NOTIFY" && !d.invite {
		d.End()
	}
}

// refresh takes the remote target of an answer (RFC 3261 §12.2.1.2).
func (d *Dialog) refresh(m *sip.Message, status int) {
	if status < 200 || status >= 300 {
		return
	}
	if uri := target(m); uri != "" {
		d.mu.Lock()
		d.target = uri
		d.mu.Unlock()
	}
}

// refreshes reports whether a request may move the remote target (RFC 3261
// §12.2, RFC 3311 §5.1, RFC 6665 §3.1, §3.2).
func refreshes(method string) bool {
	switch method {
	case "INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "BENOTIFY":
		return true
	}
	return false
}

// isNotify: BENOTIFY is a NOTIFY that wants no answer.
func isNotify(method string) bool { return method == "NOTIFY" || method == "BENOTIFY" }

// terminated reports whether a NOTIFY ends its subscription.
func terminated(list Fields) bool {
	state, _, _ := strings.Cut(list.Get("Subscription-State"), ";")
	return strings.EqualFold(strings.TrimSpace(state), "terminated")
}
