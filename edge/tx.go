package edge

import (
	"sync"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

// Timers of RFC 3261 §17, with T1 at its default of half a second. On streams
// nothing is sent twice, and Timers I, J and K are zero.
const (
	timerB = 32 * time.Second  // INVITE without any answer (64*T1)
	timerC = 181 * time.Second // INVITE that rings: more than three minutes (RFC 3261 §16.6 step 11)
	timerH = 32 * time.Second  // final answer to INVITE without ACK
	timerL = 32 * time.Second  // accepted INVITE: more 2xx may come (RFC 6026 §8.7)

	// timerF is a little under 64*T1: a request without INVITE must be answered
	// before its sender gives up, or not at all (RFC 4320 §4.2).
	timerF = 30 * time.Second
	// timerTrying is when INVITE gets its 100 if nothing else came: within
	// 200 ms (RFC 3261 §17.2.1), less one tick.
	timerTrying = 50 * time.Millisecond
	// timerWorking is when another request gets a 100: once a client's Timer E
	// would have reached T2 (RFC 4320 §4.1).
	timerWorking = 3500 * time.Millisecond
	// timerHop is how long one of several next hops outside may keep silent
	// before the next is tried. Home servers have health checks instead.
	timerHop = 8 * time.Second
)

// txState is where a transaction stands.
type txState uint8

const (
	txFinding    txState = iota // looking for a way: resolving, connecting
	txCalling                   // sent, nothing came back
	txProceeding                // a provisional answer came
	txCompleted                 // INVITE refused; ACK is awaited
	txAccepted                  // INVITE accepted (RFC 6026 §7)
	txDone
)

// A tx is one request on its way through the edge: the server transaction
// towards its sender, and the client transaction towards the next hop that is
// being tried, one at a time (RFC 3261 §16.2). It lives in the table and has no
// goroutine.
type tx struct {
	edge  *Edge
	shard *shard
	key   serverKey
	id    uint64
	timer timer // guarded by shard.mu

	flow    *Flow // whom to answer
	account *account
	invite  bool
	began   time.Time

	mu       sync.Mutex // guards what follows; taken before link and shard locks
	state    txState
	step     uint8                 // which timer is running, see fire
	attempt  uint8                 // number of the hop being tried
	canceled bool                  // the sender sent CANCEL
	asked    bool                  // CANCEL went to the next hop
	retried  bool                  // a connection ended under it, and its server may be asked again
	told     bool                  // the sender has had a provisional answer
	early    uint16                // provisional answers that went back
	late     uint16                // 2xx that went back after the first
	lingers  bool                  // no longer counted as active
	held     int64                 // octets that count for it
	way      way                   // next hops left to try
	link     *link                 // the hop being tried; nil for a flow that the route names
	out      *Flow                 // where the request was sent
	req      *buffer               // the request as it came
	sent     *buffer               // INVITE as it left, to build CANCEL and ACK from
	plan     plan                  // how the request leaves
	ticket   *ticket               // of a SUBSCRIBE
	waits    *remoteaccess.Attempt // of a trial that has to wait for others
	trial    remoteaccess.Ticket   // of credentials from outside; zero: settled, or none
	audit    auditRecord           // what the log will say of it
}

// begin makes the transaction of a request that passed both doors. It returns
// nil when the request was answered or is a repetition.
func (e *Edge) begin(t *turn, r *request) *tx {
	r.settle(e.tokens)
	if e.draining.Load() {
		e.refuse(t, r, allowlists.Refusal(allowlists.LimitStopping, allowlists.Rule{}))
		return nil
	}
	cost := txCost + int64(len(r.m.Raw()))
	if r.invite {
		cost += int64(len(r.m.Raw())) // as it leaves, it is kept as well
	}
	account := r.account(e)
	if key := e.full(r.f, account, cost); key != "" {
		e.refuse(t, r, allowlists.Refusal(allowlists.LimitTransactions, e.limitsRule(key)))
		return nil
	}
	if p := r.way.partner; p != nil && p.open.Load() >= int64(e.limits.Transactions) {
		// A partner that hangs must not fill up what the others need.
		v := allowlists.Refusal(allowlists.LimitTransactions, e.limitsRule("transactions"))
		v.Status = 504
		e.refuse(t, r, v)
		return nil
	}
	k, v := e.subscribe(r)
	if !v.Allowed() {
		e.refuse(t, r, v)
		return nil
	}
	x := &tx{
		edge:    e,
		key:     r.key,
		flow:    r.f,
		account: account,
		invite:  r.invite,
		began:   r.began,
		way:     r.way,
		plan:    r.plan,
		audit:   r.audit,
		ticket:  k,
		req:     e.buffers.get(len(r.m.Raw())),
	}
	x.req.b = append(x.req.b, r.m.Raw()...)
	x.keep(cost)
	first := timerWorking
	if x.invite {
		first = timerTrying
	}
	if e.table.insert(x, first) != nil {
		x.drop() // a repetition: on a stream its sender is confused; the first one goes on
		return nil
	}
	x.trial, r.trial = r.trial, remoteaccess.Ticket{}
	x.waits = r.attempt
	r.f.begins(account, 1)
	if !x.plan.remote {
		r.f.state.strange = 0 // nobody whom we serve is a stranger
	}
	if p := x.way.partner; p != nil {
		p.open.Add(1)
	}
	return x
}

// txCost is what a transaction takes beside the octets of its request, about.
const txCost = 1 << 10

// keep notes how many octets x keeps from now on. The caller holds x.mu.
func (x *tx) keep(n int64) {
	x.edge.keeps(x.account, n-x.held)
	x.held = n
}

// try sends the request on its way for the first time, at once or when its turn has
// come.
func (x *tx) try(t *turn, m *sip.Message, wait time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.waits != nil:
		x.step = stepTrial
		x.edge.table.after(x, trialEvery)
	case wait > 0:
		x.step = stepTurn
		x.edge.table.after(x, wait)
	default:
		x.next(t, m)
	}
}

// next sends the request to the next hop that is left. m is the indexed
// request, or nil to index the copy again. The caller holds x.mu.
func (x *tx) next(t *turn, m *sip.Message) {
	for {
		// Also after the connection of a dialog turned out to be gone.
		if x.way.unknown() {
			x.link, x.state = nil, txFinding // before anybody can find it waiting
			links, waiting := x.way.partner.wait(x)
			if waiting {
				return
			}
			x.way.links = links
		}
		if x.way.astray() {
			x.answer(t, 403, allowlists.RoutePreloaded)
			return
		}
		l, f := x.way.next()
		if l == nil && f == nil {
			x.unreachable(t)
			return
		}
		x.attempt++
		x.link, x.out, x.state = l, nil, txFinding
		if f != nil {
			if x.send(t, f, m) {
				return
			}
			continue
		}
		f, waiting := l.take(x)
		switch {
		case waiting:
			return
		case f == nil:
			x.way.failed(l.lastError())
		}
		if f != nil && x.send(t, f, m) {
			return
		}
	}
}

// send writes the request to f. The caller holds x.mu.
func (x *tx) send(t *turn, f *Flow, m *sip.Message) bool {
	if m == nil {
		m = x.edge.index(x.req)
		if m == nil {
			return false
		}
		defer x.edge.messages.Put(m)
	}
	s := x.edge.scratch.Get().(*scratch)
	defer x.edge.scratch.Put(s)
	x.plan.edit(s, x, m, f)
	// Counted before it is queued: when f ends in between, gone looks for what
	// was sent on it, and waits for x.mu.
	x.out, x.state = f, txCalling
	f.state.sent.Add(1)
	if x.write(t, f, m, s) != nil {
		x.forget()
		x.state = txFinding
		return false
	}
	if x.step != stepFirst {
		x.await()
	}
	return true
}

// write queues the request on f, as s says. An INVITE is kept as it leaves.
func (x *tx) write(t *turn, f *Flow, m *sip.Message, s *scratch) error {
	if !x.invite {
		return f.queue(t, m, &s.edit)
	}
	x.edge.buffers.put(x.sent)
	x.sent = x.edge.buffers.get(len(x.req.b) + editRoom)
	x.sent.b = m.Append(x.sent.b, &s.edit)
	return f.queueRaw(t, x.sent.b)
}

// What the running timer of a transaction is for.
const (
	stepFirst  uint8 = iota // the 100 that tells the sender to wait
	stepHop                 // this hop is silent; there are others
	stepGiveUp              // Timer B or F
	stepC                   // Timer C
	stepCancel              // CANCEL was sent, and no final answer came
	stepEnd                 // Timers H and L
	stepTurn                // its turn has not come yet
	stepTrial               // its credentials may not be tried yet
)

// await starts the timer of the hop being tried. The caller holds x.mu.
func (x *tx) await() {
	if !x.way.hurry() {
		x.rearm()
		return
	}
	x.step = stepHop
	x.edge.table.after(x, timerHop)
}

// rearm starts the timer of the whole transaction: B or F. The caller holds
// x.mu.
func (x *tx) rearm() {
	x.step = stepGiveUp
	left := timerF - time.Since(x.began)
	if x.invite {
		left = timerB
	}
	x.edge.table.after(x, max(left, 0))
}

// fire is called when the timer of x has run out.
func (x *tx) fire(t *turn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.state == txDone:
	case x.step == stepFirst:
		x.trying(t)
	case x.step == stepEnd:
		x.end()
	case x.step == stepTurn:
		x.step = stepGiveUp
		x.next(t, nil)
	case x.step == stepTrial:
		x.tryAgain(t)
	case x.step == stepHop:
		x.hopSilent(t)
	case x.step == stepC:
		// RFC 3261 §16.8: a call that rings for ever is cancelled.
		x.step = stepCancel
		x.cancelHop(t)
		x.edge.table.after(x, timerB)
	case x.canceled:
		// RFC 3261 §9.1: no answer in 64*T1: the call counts as cancelled.
		x.answer(t, 487, allowlists.RouteTimeout)
	case x.invite:
		// RFC 3261 §16.8: as if a 408 had come.
		x.answer(t, 408, allowlists.RouteTimeout)
	default:
		// RFC 4320 §4.2 forbids 408 here; what still reaches its sender in time
		// may be any other answer.
		x.answer(t, 504, allowlists.RouteTimeout)
	}
}

// trying tells the sender that the request is being worked on.
func (x *tx) trying(t *turn) {
	if !x.told {
		x.provisional(t)
	}
	if x.state == txProceeding && x.invite {
		x.step = stepC
		x.edge.table.after(x, timerC)
		return
	}
	x.await()
}

// hopSilent gives the request to the next hop, as this one says nothing.
func (x *tx) hopSilent(t *turn) {
	if x.state != txCalling && x.state != txFinding {
		x.rearm()
		return
	}
	x.edge.log.Warn(logHopFailed, keyTarget, x.link.String(), keyErr, "no answer")
	x.forget()
	x.next(t, nil)
}

// forget lets go of the hop being tried. The caller holds x.mu.
func (x *tx) forget() {
	if x.out != nil {
		x.out.state.sent.Add(-1)
		x.out = nil
	}
}

// unreachable answers a request for which no hop is left.
func (x *tx) unreachable(t *turn) {
	if x.canceled {
		x.answer(t, 487, allowlists.SIPCanceled)
		return
	}
	v := x.way.failure()
	x.answer(t, v.Code(), v.Reason)
}

// answer ends the transaction with an answer of our own. The caller holds x.mu.
func (x *tx) answer(t *turn, status int, reason allowlists.Reason) {
	m := x.edge.index(x.req)
	if m == nil {
		x.end()
		return
	}
	x.audit.reason = reason
	x.audit.ref = x.edge.reply(t, x.flow, m, status, reason)
	x.edge.messages.Put(m)
	x.finish(status)
}

// provisional sends 100 Trying. The caller holds x.mu.
func (x *tx) provisional(t *turn) {
	m := x.edge.index(x.req)
	if m == nil {
		return
	}
	x.told = true
	b := x.edge.buffers.get(editRoom)
	b.b = sip.AppendAnswer(b.b, m, 100, sip.Phrase(100), "", x.edge.appendGenerated(nil, x.flow), sip.TopVia{Source: x.flow.Remote})
	_ = x.flow.queueRaw(t, b.b) // a gone sender ends the transaction by itself
	x.edge.buffers.put(b)
	x.edge.messages.Put(m)
}

// finish is called when a final answer went back. The caller holds x.mu.
func (x *tx) finish(status int) {
	x.edge.auditForwarded(x, status)
	if x.plan.discovered {
		x.edge.discovery.Answered(x.plan.party, status, time.Now())
	}
	if !x.invite {
		x.end() // Timer J is zero (RFC 3261 §17.2.2)
		return
	}
	x.linger()
	x.step = stepEnd
	if status < 300 {
		x.accept()
		return
	}
	if !x.edge.fits(x.account, 0) {
		// The ACK finds nothing then, and is dropped all the same.
		x.end()
		return
	}
	x.state = txCompleted
	x.edge.table.after(x, timerH)
}

// accept lets an INVITE that was accepted wait for more 2xx (RFC 6026 §7.1,
// Timer L). They are rare and the wait is long, so it must not keep new calls
// out: it counts for no limit of the peer, takes as little as it can, and is
// over at once when too many wait.
func (x *tx) accept() {
	x.edge.buffers.put(x.sent)
	x.sent = nil
	x.keep(0)
	x.way, x.audit = way{}, auditRecord{method: x.audit.method}
	if x.edge.table.accepted.Add(1) > x.edge.table.maxAccepted {
		x.edge.table.accepted.Add(-1)
		x.end()
		return
	}
	x.state = txAccepted
	x.edge.table.after(x, timerL)
}

// linger lets go of what only an open transaction needs.
func (x *tx) linger() {
	if x.lingers {
		return
	}
	x.lingers = true
	x.edge.table.active.Add(-1)
	x.flow.begins(x.account, -1)
	if p := x.way.partner; p != nil {
		p.open.Add(-1)
	}
	x.edge.buffers.put(x.req)
	x.req = nil
	x.shrink()
}

// shrink lets go of an INVITE as it left, but for what an ACK is made from.
func (x *tx) shrink() {
	sent := x.sent
	x.sent = nil
	if x.out != nil && x.state != txDone {
		x.sent = x.edge.skeleton(sent)
	}
	if x.sent != sent {
		x.edge.buffers.put(sent)
	}
	x.keep(txCost)
	if x.sent != nil {
		x.keep(txCost + int64(cap(x.sent.b)))
	}
}

// skeleton returns what ACK and CANCEL of an INVITE are made from: the INVITE
// itself if it is short, else its CANCEL, which has all of that and no body. A
// peer that never sends its ACK has us keep it for half a minute.
func (e *Edge) skeleton(sent *buffer) *buffer {
	if sent == nil || cap(sent.b) <= 4<<10 {
		return sent
	}
	m := e.index(sent)
	if m == nil {
		return nil
	}
	s := &buffer{sip.AppendCancel(nil, m)}
	e.messages.Put(m)
	return s
}

// end takes the transaction out of the table. The caller holds x.mu.
func (x *tx) end() {
	switch x.state {
	case txDone:
		return
	case txAccepted:
		x.edge.table.accepted.Add(-1)
	}
	x.state = txDone
	x.forget()
	x.linger()
	x.edge.buffers.put(x.sent)
	x.sent = nil
	x.keep(0)
	x.subscribed(nil)
	x.tried(nil)
	x.edge.table.remove(x)
}

// drop gives the buffers of a transaction back that never got into the table.
func (x *tx) drop() {
	x.state, x.lingers = txDone, true
	x.edge.buffers.put(x.req)
	x.req = nil
	x.keep(0)
	x.subscribed(nil)
}

// abandoned is called when the sender of x is gone: nobody waits for the
// answer. A call that rings is taken back.
func (x *tx) abandoned(t *turn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch x.state {
	case txFinding:
		x.end()
	case txCalling, txProceeding:
		if x.invite {
			x.cancel(t)
		}
	}
}
