package edge

import (
	"log/slog"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/sip"
)

// handleResponse takes an answer to the transaction that asked. It passes no
// door: it belongs to a request that we sent on this very flow, or is dropped
// (RFC 3261 §16.7 step 1, §18.1.2).
func (e *Edge) handleResponse(t *turn, f *Flow, m *sip.Message) {
	if m.Fault() != nil {
		e.dropped(f, m)
		return
	}
	via, err := m.TopVia()
	if err != nil {
		e.dropped(f, m)
		return
	}
	id, attempt, ok := parseBranch(via.Branch)
	if !ok {
		e.dropped(f, m)
		return
	}
	if id == 0 {
		f.state.answered(m) // a health check's
		return
	}
	x := e.table.byID(id)
	if x == nil {
		e.dropped(f, m)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.asks(f, attempt, m) {
		e.dropped(f, m)
		return
	}
	x.relay(t, m)
}

// asks reports whether m answers what x sent: on the same flow, the same
// attempt, the same method. An answer to our CANCEL has its branch, too, and
// needs nothing more.
func (x *tx) asks(f *Flow, attempt uint8, m *sip.Message) bool {
	if x.out != f || x.attempt != attempt || x.state == txDone {
		return false
	}
	_, method, err := m.CSeq()
	return err == nil && methodName(method) == x.audit.method
}

// relay handles an answer (RFC 3261 §16.7). The caller holds x.mu.
func (x *tx) relay(t *turn, m *sip.Message) {
	status := m.Status()
	switch {
	case status < 200:
		x.relayProvisional(t, m, status)
	case x.invite:
		x.relayInvite(t, m, status)
	case x.state == txCalling || x.state == txProceeding:
		x.relayFinal(t, m, status)
	}
}

// How many provisional answers and how many more 2xx of one INVITE go back. A
// call that rings for an hour, or a hundred phones that answer at once, have
// fewer; without an end, one INVITE would be leave to send us anything.
const (
	maxEarly = 1000
	maxLate  = 100
)

// relayProvisional forwards what is not 100 and keeps Timer C off
// (RFC 3261 §16.7 step 2).
func (x *tx) relayProvisional(t *turn, m *sip.Message, status int) {
	if x.state != txCalling && x.state != txProceeding {
		return
	}
	first := x.state == txCalling
	x.state = txProceeding
	if !x.invite {
		// RFC 4320 §4.1: nothing but 100 answers such a request provisionally,
		// and that is hop by hop. It keeps us from trying another hop.
		return
	}
	if first && x.canceled {
		x.cancelHop(t)
	}
	if status > 100 && x.early < maxEarly && x.keepsWay(m) {
		x.early++
		x.told = true
		x.forward(t, m)
	}
	if x.step == stepCancel || x.step == stepFirst && status == 100 {
		return
	}
	if status > 100 || x.step != stepC {
		x.step = stepC
		x.edge.table.after(x, timerC)
	}
}

// relayFinal forwards the final answer to a request other than INVITE.
func (x *tx) relayFinal(t *turn, m *sip.Message, status int) {
	if status == 408 && x.way.bridge == nil {
		// RFC 4320 §4.2: a 408 would come too late for its sender. That of a bridge says
		// that a foreign server is silent (RFC 7247 §7), and comes in time.
		x.finish(status)
		return
	}
	if status == 503 && x.again(t) {
		return
	}
	x.tried(m)
	if !x.keepsWay(m) {
		x.audit.reason = allowlists.RouteTokenInvalid
		x.finish(x.instead(t, 502))
		return
	}
	if x.plan.signIn != nil {
		if err := x.registered(m); err != nil {
			x.unregistered(t, err)
			return
		}
	}
	x.subscribed(m)
	x.finish(x.pass(t, m, status))
}

// relayInvite forwards the final answers to INVITE. Every 2xx goes back, also
// after CANCEL and after another 2xx (RFC 3261 §16.7 step 5, RFC 6026 §7.2).
func (x *tx) relayInvite(t *turn, m *sip.Message, status int) {
	if status < 300 {
		x.relayAccepted(t, m, status)
		return
	}
	x.acknowledge(t, m)
	if x.state != txCalling && x.state != txProceeding {
		return
	}
	if status == 503 && !x.canceled && x.again(t) {
		return
	}
	x.tried(m)
	x.finish(x.pass(t, m, status))
}

// relayAccepted forwards a 2xx to INVITE.
func (x *tx) relayAccepted(t *turn, m *sip.Message, status int) {
	way := x.keepsWay(m)
	switch {
	case x.state == txCalling || x.state == txProceeding:
		if !way {
			x.audit.reason = allowlists.RouteTokenInvalid
			x.finish(x.instead(t, 502))
			return
		}
		x.forward(t, m)
		x.finish(status)
	case way && x.late < maxLate:
		x.late++
		x.forward(t, m)
	}
}

// again tries the next hop after this one failed, and reports whether there is
// one (RFC 3261 §16.7 step 6).
func (x *tx) again(t *turn) bool {
	x.edge.log.Warn(logHopFailed, keyTarget, x.link.String(), keyStatus, 503)
	if x.way.empty() {
		return false
	}
	x.forget()
	x.next(t, nil)
	return true
}

// acknowledge sends the ACK that a refusal of INVITE gets from the hop before
// (RFC 3261 §17.1.1.3).
func (x *tx) acknowledge(t *turn, m *sip.Message) {
	sent := x.edge.index(x.sent)
	if sent == nil {
		return
	}
	b := x.edge.buffers.get(len(x.sent.b))
	b.b = sip.AppendACK(b.b, sent, m)
	_ = x.out.queueRaw(t, b.b) // a lost flow needs no ACK
	x.edge.buffers.put(b)
	x.edge.messages.Put(sent)
}

// pass forwards a final answer, or one of ours in its place, and returns the
// status that the sender sees.
func (x *tx) pass(t *turn, m *sip.Message, status int) int {
	switch {
	case status == 503 && !x.way.only():
		// RFC 3261 §16.7 step 6: our peer would believe that all of us is down.
		x.audit.reason = allowlists.RouteUnreachable
		return x.instead(t, 500)
	case (status == 401 || status == 407) && x.plan.outbound:
		// A foreign server's challenge: our user's password is none of its
		// business, and many clients answer without asking.
		x.audit.reason = allowlists.RouteChallenged
		return x.instead(t, 403)
	}
	x.forward(t, m)
	return status
}

// instead answers with a status of our own.
func (x *tx) instead(t *turn, status int) int {
	m := x.edge.index(x.req)
	if m == nil {
		return status
	}
	x.audit.ref = x.edge.reply(t, x.flow, m, status, x.audit.reason)
	x.edge.messages.Put(m)
	return status
}

// forward passes an answer on: without our Via, on the flow that the request
// came on and nowhere else (RFC 3261 §16.7 steps 3 and 9, §18.2.2).
func (x *tx) forward(t *turn, m *sip.Message) {
	s := x.edge.scratch.Get().(*scratch)
	x.plan.editResponse(s, x, m)
	if err := x.flow.queue(t, m, &s.edit); err != nil {
		level := slog.LevelWarn
		if x.flow.Role == RoleRemote {
			level = slog.LevelInfo // a client that signs out hangs up at once
		}
		x.edge.log.Log(x.edge.ctx, level, logResponseLost, keyFlow, x.flow.ID, keyErr, err)
		if x.flow.Role != RoleInternal {
			// Who does not read answers is not worth the memory. Inside, one
			// partner that answers with floods must not cost the others their
			// home server.
			x.flow.close(err)
		}
	}
	x.edge.scratch.Put(s)
}

// lost is called when the flow that the request was sent on has ended, or its
// server counts as down. What got no sign of life goes to the next hop: to a
// transport error a proxy answers as to a 503 (RFC 3261 §16.9).
func (x *tx) lost(t *turn, gone map[*Flow]bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.out == nil || !gone[x.out] {
		return
	}
	switch x.state {
	case txCalling:
		x.forget()
		if x.canceled {
			x.answer(t, 487, allowlists.SIPCanceled)
			return
		}
		// A server that closes an idle connection in the moment that we send
		// is not down: after all others it gets one more chance.
		if !x.retried {
			x.retried, x.way.broken = true, x.link
		}
		x.next(t, nil)
	case txProceeding:
		x.forget()
		v := x.way.lost()
		x.answer(t, v.Code(), v.Reason)
	case txAccepted, txCompleted:
		x.forget()
	}
}
