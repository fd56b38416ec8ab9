package edge

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate"
)

// What one peer may have us ask DNS about the domains that it claims. A search
// holds up the connection that wants it and no other.
const (
	searchesAtOnce = 4               // of one peer, on all its connections
	searchFailures = 3               // in a row that cost time, before
	searchLong     = time.Second     // and this is what that means
	searchRest     = 5 * time.Second // its connection is refused without asking, for this long
)

// search asks DNS whether the certificate of this connection is that of a
// server of the domain in From, where it does not name the domain itself. Where
// the connection comes from proves nothing, and nobody looks.
func (e *Edge) search(r *request, lists *federation.Partners, q federation.Request, g federation.Grant) federation.Grant {
	targets, err := e.edgesOf(r, g.Tier, string(q.Remote))
	if err != nil && !errors.Is(err, locate.ErrNoRecords) && !errors.Is(err, locate.ErrForbiddenAddress) {
		g.Verdict = step(r, "srv", err.Error(), allowlists.Refusal(allowlists.IdentityUnproven, g.Rule))
		return g
	}
	q.Searched, q.Target = true, lists.TargetOf(r.f.Peer, q.Remote, targets)
	if r.note != nil {
		r.note.target = q.Target
		step(r, "srv", searched(targets, q.Target, err), pass)
	}
	g = lists.Admit(r.f.Peer, q)
	if g.Allowed() && g.Tier != federation.TierDiscovered && r.note == nil {
		domain := string(q.Remote)
		r.f.state.proved.Store(&domain)
		r.f.state.known.Store(true)
	}
	return g
}

// stays reports whether the peer of a connection is still a listed partner.
func (e *Edge) stays(f *Flow) bool {
	if e.partners.Load().Knows(f.Peer) {
		return true
	}
	domain := f.state.proved.Load()
	return domain != nil && e.speaks(f.Peer, []byte(*domain))
}

// searched tells explain what DNS says.
func searched(targets []string, proved string, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case proved != "":
		return "SRV leads to " + proved + ", which the certificate proves"
	}
	return "SRV leads to " + strings.Join(targets, ", ") + ", which the certificate does not prove, or which does not count"
}

// directory is where partners of a tier are looked up: strangers have a place
// of their own, so that they cannot crowd out those who are listed.
func (e *Edge) directory(tier federation.Tier) *locate.Directory {
	if tier == federation.TierDiscovered {
		return e.locator.Strangers()
	}
	return e.locator.Directory
}

// edgesOf returns the hosts of the domain's SRV records. What DNS has not
// answered yet is waited for: the messages of a connection are handled in order.
func (e *Edge) edgesOf(r *request, tier federation.Tier, domain string) ([]string, error) {
	d := e.directory(tier)
	if hosts, ok := d.CachedTargets(domain); ok {
		return hosts, nil
	}
	s := &r.f.state
	if s.searches >= searchFailures && r.began.Sub(s.searched) < searchRest {
		return nil, locate.ErrTimeout
	}
	if a := s.account; a != nil {
		defer a.searches.Add(-1)
		if a.searches.Add(1) > searchesAtOnce {
			return nil, locate.ErrTimeout
		}
	}
	if r.turn != nil {
		r.turn.end() // what is queued for others must not wait with us
	}
	ctx, cancel := context.WithTimeout(e.ctx, dialTimeout)
	defer cancel()
	began := time.Now()
	hosts, err := d.Targets(ctx, domain)
	switch {
	case err == nil || errors.Is(err, locate.ErrNoRecords) || errors.Is(err, locate.ErrForbiddenAddress):
		s.searches = 0
	case time.Since(began) > searchLong: // what is known to fail costs nothing
		s.searches++
		s.searched = time.Now()
	}
	return hosts, err
}

// speaks reports whether a peer may speak for the domain, as far as is known
// without asking DNS.
func (e *Edge) speaks(id *certs.Identity, domain []byte) bool {
	lists := e.partners.Load()
	if lists.Speaks(id, domain, "").Allowed() {
		return true
	}
	for _, d := range []*locate.Directory{e.locator.Directory, e.locator.Strangers()} {
		if hosts, ok := d.CachedTargets(string(domain)); ok {
			target := lists.TargetOf(id, domain, hosts)
			return target != "" && lists.Speaks(id, domain, target).Allowed()
		}
	}
	return false
}

// within keeps a partner within what its entry, or the tier of those that
// nobody listed, lets it send.
func (e *Edge) within(r *request, lists *federation.Partners) allowlists.Verdict {
	g := &r.grant
	switch {
	case r.note != nil:
		return e.watched(r) // nothing is counted that nobody sent
	case r.audit.method == "ACK":
		return e.withinACK(r, lists)
	}
	switch rate := g.Rate(); {
	case g.Tier == federation.TierDiscovered:
		var room [2 * 256]byte
		v := e.discovery.Take(r.from, r.f.Peer, r.addressee(room[:0]), lists.Discovery(), r.began)
		if !v.Allowed() && v.Rule.Name == "" {
			v.Rule = g.Rule
		}
		return v
	case rate > 0 && !e.meter.Take(r.from, rate, r.began):
		return allowlists.Refusal(allowlists.PartnerRate, g.Rule)
	}
	return pass
}

// withinACK does so for ACKs, which are counted apart: a call that was let in has
// to be confirmed however much its sender has used up, and yet nobody may send
// ACKs without end by a dialog that he has.
func (e *Edge) withinACK(r *request, lists *federation.Partners) allowlists.Verdict {
	g := &r.grant
	switch rate := g.Rate(); {
	case g.Tier == federation.TierDiscovered:
		v := e.discovery.Confirm(r.from, lists.Discovery(), r.began)
		if !v.Allowed() && v.Rule.Name == "" {
			v.Rule = g.Rule
		}
		return v
	case rate > 0 && !e.acks.Take(r.from, rate, r.began):
		return allowlists.Refusal(allowlists.PartnerRate, g.Rule)
	}
	return pass
}

// watched tells explain that a discovered partner is on the watch list.
func (e *Edge) watched(r *request) allowlists.Verdict {
	if r.note == nil || r.grant.Tier != federation.TierDiscovered {
		return pass
	}
	if v := e.discovery.Shut(); !v.Allowed() {
		return step(r, "limits", "nobody is let in who is unlisted", v)
	}
	known, ok := e.discovery.Record(string(r.from))
	if !ok {
		return step(r, "limits", "never seen before", pass)
	}
	if known.State == federation.StateWatched {
		return step(r, "limits", "on the watch list", federation.Watched())
	}
	return step(r, "limits", known.State, pass)
}

// addressee puts into room whom of ours a request names that begins something,
// in the form in which addresses are counted. It is nil within a dialog.
func (r *request) addressee(room []byte) []byte {
	if r.bound {
		return nil
	}
	half := cap(room) / 2
	user, _ := allowlists.AppendUser(room[:0:half-1], r.uri.User)
	b := append(room[:len(user)], '@')
	return append(b, r.to[:min(len(r.to), half)]...)
}

// knocked remembers who was refused only because nobody listed it: an
// administrator may want to.
func (e *Edge) knocked(r *request, g federation.Grant) {
	if g.Reason != allowlists.PartnerNotAllowed || r.note != nil {
		return
	}
	if r.f.bridge != nil || r.f.Peer.CoversBytes(r.from) { // a bridge has proved it
		e.discovery.Knock(r.from, r.f.Peer, r.began)
	}
}
