package xmpp

import (
	"sync"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// The ends of a conversation are one of our users and somebody outside, by their bare JIDs.
type ends struct{ ours, theirs string }

// areLong reports whether two addresses are so long that nothing is remembered of
// what stands between them: tables are bounded by numbers.
func (e ends) areLong() bool { return len(e.ours)+len(e.theirs) > 512 }

const (
	// keepSending is how long an error that comes late still finds its message. SIP
	// would be content with 64*T1, 32 s; servers that store a message, or try to reach
	// another domain with it, take longer.
	keepSending = 5 * time.Minute
	// maxSendings bounds the messages that are remembered: twice as many as the
	// Endpoint has open requests.
	maxSendings = 32_768
)

// sendings are the messages of our users that are under way, or were a moment ago.
type sendings struct {
	g   *gateway
	max int

	mu          sync.Mutex // guards what follows, and the fields of each sending
	byID        map[string]*sending
	first, last *sending // in the order in which they began
}

// A sending is a message of one of our users, under way to somebody outside.
type sending struct {
	all        *sendings
	timer      timer
	next, prev *sending
	id         string
	pair       ends
	full       bool              // it was addressed to one device
	sole       bool              // nobody else could answer for the address
	in         *bridges.Incoming // nil once it was answered
	late       bool              // the hold is over
	gone       bool              // it is not in the list any more
}

func newSendings(g *gateway) *sendings {
	return &sendings{g: g, max: maxSendings, byID: make(map[string]*sending)}
}

// begin notes a message before it is sent.
func (l *sendings) begin(in *bridges.Incoming, id string, w *outward) *sending {
	p := &sending{all: l, id: id, pair: w.pair, full: w.to.Resourcepart() != "", sole: w.sole, in: in}
	l.mu.Lock()
	var oldest *sending
	if len(l.byID) >= l.max {
		oldest = l.first
		l.take(oldest)
	}
	l.byID[id] = p
	if p.prev = l.last; p.prev != nil {
		p.prev.next = p
	} else {
		l.first = p
	}
	l.last = p
	l.mu.Unlock()
	if oldest != nil {
		l.g.clock.stop(&oldest.timer)
		oldest.answer(unsure)
	}
	l.g.clock.start(&p.timer, l.g.set.hold, p)
	return p
}

// take takes p out. The lock is held.
func (l *sendings) take(p *sending) {
	if p.gone {
		return
	}
	p.gone = true
	delete(l.byID, p.id)
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		l.first = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	} else {
		l.last = p.prev
	}
	p.next, p.prev = nil, nil
}

// The two good answers (RFC 3428 §7): the other server has it; and nobody knows
// yet.
var (
	delivered = bridges.Response{Status: 200}
	unsure    = bridges.Response{Status: 202}
)

// answer answers the request, unless that was done; it reports whether it did.
func (p *sending) answer(resp bridges.Response) bool {
	p.all.mu.Lock()
	in := p.in
	p.in = nil
	p.all.mu.Unlock()
	if in == nil {
		return false
	}
	in.Answer(resp, "")
	return true
}

// expired ends the hold: nothing is known yet, and the sender waits no longer. What
// is answered is kept for errors that come late, and then forgotten.
func (p *sending) expired() {
	p.answer(unsure)
	l := p.all
	l.mu.Lock()
	again := !p.late && !p.gone
	if p.late = true; !again {
		l.take(p)
	}
	l.mu.Unlock()
	if again {
		l.g.clock.start(&p.timer, keepSending, p)
	}
}

// done is told what became of the stanza.
func (p *sending) done(o s2s.Outcome) {
	switch {
	case o.Acked:
		// RFC 7572 does not say when; the other server has taken it on, which is what a
		// 200 of a server promises (RFC 3428 §7).
		p.answer(delivered)
	case o.Err != nil:
		p.fail(statusOfOutcome(o.Err), conditionOfOutcome(o.Err))
	}
	// Sent, to a server that acknowledges nothing: the hold goes on.
}

// fail ends a message that was not delivered: its sender is told by the answer, or by
// a notification if he wanted one, else the log is.
func (p *sending) fail(resp bridges.Response, why *stanza.Error) {
	l := p.all
	l.mu.Lock()
	l.take(p)
	l.mu.Unlock()
	l.g.clock.stop(&p.timer)
	if p.answer(resp) {
		l.g.receipts.ours.forget(receiptKey{p.pair, p.id}) // he has heard it
		return
	}
	l.g.notDelivered(p, why)
}

// failed is told of an error stanza; false: it is about no message that is known.
// Only whom it was sent to can say so, or his server, and only to who sent it.
func (l *sendings) failed(id string, who ends, why *stanza.Error) bool {
	l.mu.Lock()
	p := l.byID[id]
	l.mu.Unlock()
	if p == nil || p.pair.ours != who.ours || p.pair.theirs != who.theirs && stanza.Domain(p.pair.theirs) != who.theirs {
		return false
	}
	p.fail(statusOf(why, p.full, p.sole, l.g.addr), why)
	return true
}

// size returns how many are remembered.
func (l *sendings) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.byID)
}
