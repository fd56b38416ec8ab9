package edge

import (
	"math/rand/v2"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/remoteaccess"
)

// What one source may ask a second that nobody is signed in from: each sign-in takes
// two REGISTERs or three. All of a company may sit behind one address.
const (
	registerRate  = 50
	registerBurst = 400

	refreshRate  = 1 // the same for one flow on which somebody is signed in
	refreshBurst = 20
)

// paceOf bounds the REGISTERs of one source on flows where nobody is signed in, and
// those of one flow where somebody is.
func (e *Edge) paceOf(r *request, s *signIn) allowlists.Verdict {
	if r.note != nil || !e.perSource() {
		return pass
	}
	if s != nil {
		if b := &r.f.state.registers; b.at.IsZero() {
			*b = budget{left: refreshBurst, at: r.began}
		}
		if r.f.state.registers.take(r.began, refreshRate, refreshBurst) {
			return pass
		}
		return allowlists.Refusal(allowlists.AccessRate, e.limitsRule("per_source"))
	}
	e.signing.Lock()
	defer e.signing.Unlock()
	src := remoteaccess.SourceOf(r.f.Remote.Addr())
	b, ok := e.paces.Get(src)
	if !ok {
		b = &budget{left: registerBurst, at: r.began}
		e.paces.Add(src, b)
	}
	if b.take(r.began, registerRate, registerBurst) {
		return pass
	}
	return allowlists.Refusal(allowlists.AccessRate, e.limitsRule("per_source"))
}

// perSource reports whether there are limits for each source.
func (e *Edge) perSource() bool {
	return e.config.Limits.PerSource == nil || *e.config.Limits.PerSource
}

// maxPace is how long a REGISTER may wait for its turn: with what the home server
// takes it is answered before its sender gives up.
const maxPace = 10 * time.Second

// turnOf is how long a REGISTER has to wait so that its pool gets no more of them a
// second than it wants; none: it may go now. A crowd that comes back after an outage
// is a queue then, and not a flood.
func (p *pool) turnOf(now time.Time) (wait time.Duration, ok bool) {
	if p.registerRate <= 0 {
		return 0, true
	}
	each := time.Duration(float64(time.Second) / p.registerRate)
	p.pacing.Lock()
	defer p.pacing.Unlock()
	// A tenth of a second's worth may go at once: clients come in no order.
	if earliest := now.Add(-100 * time.Millisecond); p.nextTurn.Before(earliest) {
		p.nextTurn = earliest
	}
	if wait = p.nextTurn.Sub(now); wait > maxPace {
		return 0, false
	}
	p.nextTurn = p.nextTurn.Add(each)
	return max(wait, 0), true
}

// later is what a client is asked to wait that cannot be served now: not the same for
// all, or they would come back together.
func later() int { return retryAfter + rand.IntN(4*retryAfter) }

// registerTurn is how long a REGISTER from outside waits for its turn at the pool; not
// ok: too many wait already.
func (e *Edge) registerTurn(r *request) (wait time.Duration, ok bool) {
	if r.plan.signIn == nil {
		return 0, true
	}
	return r.way.pool.turnOf(r.began)
}
