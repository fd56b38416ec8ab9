package edge

import (
	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/sip"
)

var methodInvite = []byte("INVITE")

// handleCancel cancels the INVITE that came on the same flow with the same
// branch (RFC 3261 §9.2, §16.10). From any other connection the transaction is
// not found: nobody else can cancel a call.
func (e *Edge) handleCancel(t *turn, r *request) {
	x := e.table.find(e.table.key(r.f.ID, r.branch(), r.via.Host, methodInvite))
	if x == nil {
		e.refuse(t, r, allowlists.Verdict{Status: 481, Reason: allowlists.SIPNoTransaction})
		return
	}
	b := e.buffers.get(editRoom)
	b.b = sip.AppendAnswer(b.b, r.m, 200, sip.Phrase(200), e.tag(r.m), e.appendGenerated(nil, r.f), sip.TopVia{Source: r.f.Remote})
	_ = r.f.queueRaw(t, b.b) // a lost flow ends the call by itself
	e.buffers.put(b)
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.canceled { // said once: saying it again is free for the sender
		e.auditDone(r, logAnswered, 200, allowlists.SIPCanceled)
	}
	x.cancel(t)
}

// cancel gives up on the request. Its answer is the next hop's: 487, or a 2xx
// that crossed the CANCEL. The caller holds x.mu.
func (x *tx) cancel(t *turn) {
	if x.canceled {
		return
	}
	x.canceled = true
	switch x.state {
	case txFinding:
		// Nothing was sent yet: the answer is ours to give.
		x.answer(t, 487, allowlists.SIPCanceled)
	case txProceeding:
		x.cancelHop(t)
	case txCalling:
		// RFC 3261 §9.1: CANCEL waits for a provisional answer.
	}
}

// cancelHop sends CANCEL to where the INVITE went. The caller holds x.mu.
func (x *tx) cancelHop(t *turn) {
	if x.asked || x.out == nil {
		return
	}
	x.asked = true
	sent := x.edge.index(x.sent)
	if sent == nil {
		return
	}
	b := x.edge.buffers.get(len(x.sent.b))
	b.b = sip.AppendCancel(b.b, sent)
	_ = x.out.queueRaw(t, b.b) // a lost flow is noticed by itself
	x.edge.buffers.put(b)
	x.edge.messages.Put(sent)
	x.step = stepCancel
	x.edge.table.after(x, timerB)
}

// handleAck takes an ACK. It is never answered (RFC 3261 §17): what may not
// pass is dropped.
func (e *Edge) handleAck(t *turn, r *request) {
	x := e.table.find(e.table.key(r.f.ID, r.branch(), r.via.Host, methodInvite))
	if x != nil && x.acked() {
		return // RFC 3261 §17.2.1: the ACK to a refusal ends here
	}
	if to, err := r.m.To(); err == nil && string(to.Tag()) == e.tag(r.m) {
		return // as does that to one that we made without a transaction (RFC 3261 §16.2)
	}
	if v := e.judge(r); !v.Allowed() {
		e.auditRefused(r, v, 0, "")
		return
	}
	// The ACK to a 2xx is a request of its own without an answer: it needs no
	// transaction (RFC 3261 §16.11).
	e.locate(r)
	e.forwardStateless(t, r)
}

// acked ends a refused INVITE, and reports whether that is what it was.
func (x *tx) acked() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch x.state {
	case txAccepted:
		return false
	case txCompleted:
		x.end()
	}
	return true
}
