package edge

import (
	"bytes"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/sip"
)

// maxOurs bounds the Route elements on top that are ours: two for each time
// that the request crosses us, and it crosses once.
const maxOurs = 2

// readRoute looks at the Route set (RFC 3261 §16.4): what of it is ours, and
// what the token in it says.
func (e *Edge) readRoute(r *request) allowlists.Verdict {
	routes := r.m.Elements(sip.Route)
	for r.ours < maxOurs {
		elem, ok := routes.Next()
		if !ok {
			break
		}
		uri, ok := elementURI(elem)
		if !ok || !e.isOurRoute(uri) && !e.isOurOwn(r.f, uri) {
			break
		}
		r.ours++
		if r.bound || r.path || !bytes.HasPrefix(uri.User, []byte(tokenMark)) {
			continue
		}
		token, key, err := e.tokens.open(uri.User)
		if err != nil {
			return step(r, "dialog", "a token that we did not sign", allowlists.Refusal(allowlists.RouteTokenInvalid, allowlists.Rule{}))
		}
		if token.kind == tokenPath {
			if v := r.openPath(token, key); !v.Allowed() {
				return v
			}
			continue
		}
		// Who is in a dialog has a To tag (RFC 3261 §12.2.1.1). A token that comes
		// back without one would begin something new, past all that is asked then.
		r.token, r.tokenKey, r.bound = token, key, r.inDialog
	}
	r.plan.routes = r.ours
	return pass
}

// elementURI returns the URI of an element of Route, Record-Route or Contact.
func elementURI(elem []byte) (sip.URI, bool) {
	addr, err := sip.ParseNameAddr(elem)
	if err != nil {
		return sip.URI{}, false
	}
	uri, err := sip.ParseURI(addr.URI)
	return uri, err == nil
}

// route finds where the request is to go (RFC 3261 §16.5). A Route to a third
// party is refused from both sides: outside it would make a relay of us, and
// inside it would take partners past their list.
func (e *Edge) route(r *request) allowlists.Verdict {
	switch {
	case r.toRemote():
		return step(r, "route", "a user outside", e.routeRemote(r))
	case r.bound && r.f.Role != RoleInternal:
		return step(r, "dialog", "the token in Route", e.routeDialogIn(r))
	case r.bound && r.token.kind == tokenBridge:
		return step(r, "dialog", "the token in Route", e.routeDialogBridge(r))
	case r.bound:
		return step(r, "dialog", "the token in Route", e.routeDialogOut(r))
	case r.f.Role != RoleInternal && (r.inDialog || r.audit.method == "ACK") && r.plan.signIn == nil:
		// A To tag is no proof: a dialog that crossed us has our token, and so
		// has the ACK that its answer gets.
		return step(r, "dialog", "a To tag without our Route", ruleless(481, allowlists.SIPNoTransaction))
	case r.f.Role == RoleRemote && !e.asksUs(r):
		return step(r, "route", r.to, e.routeFromRemote(r))
	case r.m.Count(sip.Route) > 0 && e.foreignRoute(r) && !e.edgeRoute(r):
		return step(r, "route", "a Route that is not ours", allowlists.Refusal(allowlists.RoutePreloaded, allowlists.Rule{}))
	case e.asksUs(r):
		return step(r, "route", "the edge itself", allowlists.Allowance(allowlists.RouteEdge, allowlists.Rule{}))
	case r.f.Role == RoleFederation, r.f.Role == RoleBridge:
		return step(r, "route", r.to, e.routeIn(r))
	}
	return step(r, "route", r.to, e.routeOut(r))
}

// foreignRoute reports whether a Route element below ours is left.
func (e *Edge) foreignRoute(r *request) bool {
	routes := r.m.Elements(sip.Route)
	for range r.ours {
		routes.Next()
	}
	_, more := routes.Next()
	return more
}

// routeIn finds the pool of a request from a partner or a bridge. What is not for our
// domains is not relayed: an edge is no way from one partner to another.
func (e *Edge) routeIn(r *request) allowlists.Verdict {
	p := e.poolOf(r.to)
	_, maddr := sip.Param(r.uri.Params, "maddr")
	if p == nil || maddr || !r.uri.IsSIP() {
		// maddr would send the home server somewhere else than the domain that
		// the lists were asked about.
		return allowlists.Refusal(allowlists.RouteNotRelayed, allowlists.Rule{})
	}
	r.way.pool = p
	return allowlists.Verdict{Action: allowlists.Allow, Rule: p.rule}
}

// routeOut finds the way of a request from inside: a partner's, or another
// pool's.
func (e *Edge) routeOut(r *request) allowlists.Verdict {
	if p := e.poolOf(r.to); p != nil {
		r.way.pool = p
		return allowlists.Verdict{Action: allowlists.Allow, Rule: p.rule}
	}
	return e.routePartner(r, r.to)
}

func (e *Edge) routePartner(r *request, domain []byte) allowlists.Verdict {
	r.plan.outbound = true
	r.to = domain
	return pass // whether it may go there is for permit to say
}

// locate finds the next hops of a request that both doors let through. Nothing
// is looked up for one that they do not.
func (e *Edge) locate(r *request) {
	if !r.plan.outbound || r.plan.remote {
		return
	}
	p, ok := e.partnerEdge(r.to)
	if ok {
		r.way.partner = p
	}
	switch b := r.plan.bridge; {
	case b != nil:
		r.way.bridge, r.way.flow = b, b.flow
	case ok:
		r.way.links = p.hopsNow()
	}
}

// permit is the second door: may the request go there? Towards our own domains
// the route has answered; towards partners the lists do.
func (e *Edge) permit(r *request) allowlists.Verdict {
	switch {
	case !r.plan.outbound:
		return pass
	case r.plan.remote:
		return e.permitRemote(r)
	}
	if e.outside == nil && e.bridges == nil {
		return step(r, "partner", "no listener for partners", noOutside)
	}
	lists := e.partners.Load()
	r.grant = lists.Permit(r.question(r.to, lists))
	v := notAcceptable(r.m, r.grant.Verdict)
	if r.bound && v.Allowed() {
		v.Reason = allowlists.DialogAllowed
	}
	if r.note != nil {
		return e.explainPermit(r, v)
	}
	if e.bridges != nil && v.Allowed() {
		return e.permitBridge(r, v)
	}
	return v
}

// routeDialogIn finds the home server of a dialog that the partner is in. The
// rest of the route and the target must be those that the home server named:
// else one could reach through it whatever it reaches.
func (e *Edge) routeDialogIn(r *request) allowlists.Verdict {
	if !e.routesSigned(r) || !e.targetSigned(r) {
		return allowlists.Refusal(allowlists.RouteTokenInvalid, allowlists.Rule{Name: "route or target changed"})
	}
	p := e.poolByHash(r.token.pool, r.tokenKey)
	if p == nil {
		return allowlists.Refusal(allowlists.RouteTokenInvalid, allowlists.Rule{Name: "pool is gone"})
	}
	r.way.pool = p
	r.way.first = e.dialogServer(r, p)
	if f := e.flowOf(r.token.flow, RoleInternal); r.way.first == nil && f != nil {
		r.way.flow = f
	}
	return allowlists.Verdict{Action: allowlists.Allow, Rule: p.rule}
}

// dialogServer is the home server that a dialog belongs to: the one that the
// next Route or the target names, else the one that took the first request.
func (e *Edge) dialogServer(r *request, p *pool) *server {
	next := r.uri
	routes := r.m.Elements(sip.Route)
	for range r.ours {
		routes.Next()
	}
	if elem, ok := routes.Next(); ok {
		if uri, ok := elementURI(elem); ok {
			next = uri
		}
	}
	if s := p.at(next.Host, next.Port); s != nil {
		return s
	}
	if e.flowOf(r.token.flow, RoleInternal) != nil {
		return nil
	}
	for _, s := range p.servers {
		if e.tokens.name(r.tokenKey, s.addr) == r.token.server {
			return s
		}
	}
	return nil
}

// routeDialogOut finds the way to the partner of a dialog: the connection that
// the dialog came on, as long as it is open and its identity still speaks for
// the partner (RFC 5923 §5), else one to the partner's edge.
func (e *Edge) routeDialogOut(r *request) allowlists.Verdict {
	p := e.poolOf(r.from)
	if p == nil || e.tokens.name(r.tokenKey, p.name) != r.token.pool {
		return allowlists.Refusal(allowlists.RouteTokenInvalid, allowlists.Rule{Name: "another pool's dialog"})
	}
	if f := e.flowOf(r.token.flow, RoleFederation); f != nil {
		if e.speaks(f.Peer, r.token.party) {
			r.way.flow = f
		}
	}
	return e.routePartner(r, r.token.party)
}

// flowOf returns an open flow of a role.
func (e *Edge) flowOf(id uint64, role Role) *Flow {
	f := e.wire.flow(id)
	if f == nil || f.Role != role || f.closed() {
		return nil
	}
	return f
}

// asksUs reports whether the request is for the edge itself: our name in the
// Request-URI and no user.
func (e *Edge) asksUs(r *request) bool {
	return len(r.uri.User) == 0 && e.isUs(r.uri.Host) && e.poolOf(r.to) == nil && bytes.Equal(r.m.Method(), methodOptions)
}

// forEdge reports what route found.
func (r *request) forEdge() bool { return r.way.pool == nil && !r.plan.outbound }
