package edge

import (
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

// try asks whether the credentials that a request brings may be tried: not by who is
// guessing. What they are worth is for the home server to say, and what it says is
// counted.
func (e *Edge) try(r *request, user string, signed bool, c remoteaccess.Credentials) allowlists.Verdict {
	g := e.remote.Guard
	if g == nil || r.note != nil {
		return pass
	}
	if c.Broken {
		return fault(sip.Faultf(400, "Credentials can be read in two ways"))
	}
	a := remoteaccess.Attempt{User: user, Credentials: c, Source: remoteaccess.SourceOf(r.f.Remote.Addr()), Signed: signed}
	j := g.Judge(a)
	switch j.Action {
	case remoteaccess.Pass:
		r.trial = j.Ticket
		return pass
	case remoteaccess.Wait:
		again := a // only who has to wait is worth an allocation
		r.attempt = &again
		return pass
	}
	v := allowlists.Refusal(allowlists.AccessLockedOut, allowlists.Rule{Name: "ban " + j.Ban.Key})
	if len(j.Ban.User) > 0 {
		r.lockedUser = true
	}
	return v
}

// tried settles what the credentials of a request from outside were worth, by the answer
// of the home server; nil: there is none. Only the first counts. The caller holds x.mu.
func (x *tx) tried(m *sip.Message) {
	if x.trial == (remoteaccess.Ticket{}) {
		return
	}
	o := remoteaccess.OutcomeNone
	if m != nil {
		o = x.trial.Outcome(x.audit.method == "REGISTER", m)
	}
	x.trial.Settle(o)
	x.trial = remoteaccess.Ticket{}
}

// trialEvery is how often credentials are judged again that have to wait until it is
// known what came of others: of the same user, or from the same address.
const trialEvery = 200 * time.Millisecond

// tryAgain judges credentials again that had to wait. The caller holds x.mu.
func (x *tx) tryAgain(t *turn) {
	j := x.edge.remote.Guard.Judge(*x.waits)
	switch {
	case j.Action == remoteaccess.Pass:
		x.waits, x.trial = nil, j.Ticket
		x.step = stepGiveUp
		x.next(t, nil)
	case j.Action == remoteaccess.Stop:
		x.answer(t, 403, allowlists.AccessLockedOut)
	case time.Since(x.began) > maxPace:
		x.answer(t, 503, allowlists.AccessRate)
	default:
		x.edge.table.after(x, trialEvery)
	}
}
