package edge

import (
	"errors"
	"strconv"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
)

// A way is what is left to try for one request: the next hops in their order
// (RFC 3261 §16.5, §16.6 step 7). Exactly one of pool and partner is set; flow
// or first may come before them. With a bridge the partner only counts what waits.
type way struct {
	flow    *Flow        // first of all: the connection that a dialog came on
	first   *server      // then: the home server that a dialog belongs to
	pool    *pool        // then the servers of this pool
	partner *partnerEdge // or the servers of this partner
	links   []*link      // of the partner, as they were known when the request came
	tried   uint64       // bits of servers or links that had their turn
	hint    *edgeHint    // which of the links is tried first, nil: the first
	user    bool         // to a user outside: on flow and nowhere else
	bridge  *bridge      // to the partner by a bridge: on its flow and nowhere else
	instead *instead     // a bridge that takes it if the partner has no SIP service; nil: none
	broken  *link        // last of all, once: whose connection ended before an answer came
	err     error        // the last failure to connect
}

// maxHops bounds the servers of a pool and the hops of a partner: the bits of
// way.tried.
const maxHops = 64

// next returns the next hop, or nil and nil. A flow is a connection that is
// open already.
func (w *way) next() (*link, *Flow) {
	if f := w.flow; f != nil {
		w.flow = nil
		if !f.closed() {
			return f.state.link, f
		}
	}
	if s := w.first; s != nil {
		w.first = nil
		w.tried |= 1 << s.index
		if s.usable() {
			return s.link, nil
		}
	}
	if w.pool != nil {
		if s := w.pool.pick(w.tried); s != nil {
			w.tried |= 1 << s.index
			return s.link, nil
		}
	} else if l := w.nextLink(); l != nil {
		return l, nil
	}
	l := w.broken
	w.broken = nil
	if l != nil && l.server != nil && !l.server.usable() {
		return nil, nil
	}
	return l, nil
}

// nextLink returns the partner's next link. Those that could not be reached a
// moment ago come last: they may be back, and waiting for them is better than
// giving up.
func (w *way) nextLink() *link {
	for _, resting := range []bool{false, true} {
		best := -1
		for i, l := range w.links {
			if w.tried&(1<<i) != 0 || l.resting() != resting {
				continue
			}
			if best < 0 {
				best = i
			}
			if w.hint == nil || l.host == w.hint.host {
				best = i
				break
			}
		}
		if best >= 0 {
			w.tried |= 1 << best
			return w.links[best]
		}
	}
	return nil
}

// unknown reports whether the partner's servers must be looked up before
// anything can be tried.
func (w *way) unknown() bool {
	return w.partner != nil && w.bridge == nil && w.flow == nil && len(w.links) == 0 && w.err == nil
}

// String names where a request goes, as far as that is settled.
func (w *way) String() string {
	switch {
	case w.bridge != nil:
		return w.bridge.String()
	case w.partner != nil:
		return w.partner.String()
	case w.pool != nil:
		return "pool " + w.pool.name
	case w.flow != nil:
		return "flow " + strconv.FormatUint(w.flow.ID, 10)
	}
	return ""
}

// empty reports whether no hop is left.
func (w *way) empty() bool {
	if w.flow != nil || w.first != nil && w.first.usable() {
		return false
	}
	if w.pool != nil {
		return w.pool.pick(w.tried) == nil
	}
	return w.user || w.tried == 1<<len(w.links)-1
}

// hurry reports whether a silent hop is left for the next one soon: outside,
// where nobody checks for us whether a server is alive.
func (w *way) hurry() bool { return w.partner != nil && !w.empty() }

// only reports whether everything behind us goes to this pool: then its being
// down is ours.
func (w *way) only() bool { return w.pool != nil && w.pool.only }

// failed notes why a hop could not be reached.
func (w *way) failed(err error) { w.err = err }

// failure is the answer when no hop is left.
func (w *way) failure() allowlists.Verdict {
	if w.pool != nil {
		return w.pool.unavailable()
	}
	if w.bridge != nil {
		return w.bridge.unavailable()
	}
	if w.partner == nil {
		return allowlists.Refusal(allowlists.RouteFlowFailed, allowlists.Rule{}) // RFC 5626 §5.3.1
	}
	return allowlists.Verdict{Status: 504, Reason: hopReason(w.err)}
}

// lost is the answer when the hop that was already working on the request is
// gone: nobody knows whether it was done, so no other hop may be asked.
func (w *way) lost() allowlists.Verdict {
	if w.pool != nil {
		return w.pool.unavailable()
	}
	v := w.failure()
	if w.bridge == nil {
		v.Reason = allowlists.RouteUnreachable
	}
	return v
}

// hopReason tells apart why a partner cannot be reached.
func hopReason(err error) allowlists.Reason {
	var refused *certs.VerifyError
	switch {
	case err == nil:
		return allowlists.RouteUnreachable
	case errors.Is(err, locate.ErrNoRecords):
		return allowlists.RouteNoRecords
	case errors.Is(err, locate.ErrForbiddenAddress):
		return allowlists.RouteForbidden
	case errors.As(err, &refused):
		if refused.Problem == certs.KeyNotPinned {
			return allowlists.IdentityPin
		}
		return allowlists.IdentityDomainMismatch
	case errors.Is(err, locate.ErrTimeout), errors.Is(err, locate.ErrServfail):
		return allowlists.RouteDNSFailed
	}
	return allowlists.RouteUnreachable
}
