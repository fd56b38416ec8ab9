package edge

import (
	"slices"
	"strings"

	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/sip"
)

// An edgeHint is which of a partner's edges a home server asks for.
type edgeHint struct {
	host string // in normal form
	must bool   // it must turn out to be one of the partner's
}

// edgeRoute reports whether the one Route below ours is a hint of a home server
// which of a partner's edges to take, and notes it:
//
//	Route: <sip:accessedge.fabrikam.example;transport=tls;lr>;ms-edge-route
//
// It can prefer a server of the partner that the doors are asked about anyway,
// and lead nowhere else: a name that is neither in the entry nor in the domain
// must turn out to be an SRV target, see way.astray.
func (e *Edge) edgeRoute(r *request) bool {
	if r.f.Role != RoleInternal || r.inside == nil || !r.inside.msft || e.poolOf(r.to) != nil {
		return false
	}
	host, ok := r.readHint()
	if !ok {
		return false
	}
	hint := &edgeHint{host: host}
	route, ok := e.partners.Load().Dial(r.to)
	switch {
	case !ok: // nobody that we would send to; permit says why
	case names(route, host) || inDomain(host, string(r.to)):
	case route.Direct():
		return false
	default:
		hint.must = true
	}
	r.way.hint = hint
	r.plan.routes = r.ours + 1
	return true
}

// readHint reads the Route below ours, if it is the only one and such a hint.
func (r *request) readHint() (host string, ok bool) {
	routes := r.m.Elements(sip.Route)
	for range r.ours {
		routes.Next()
	}
	elem, ok := routes.Next()
	if _, more := routes.Next(); !ok || more {
		return "", false
	}
	addr, err := sip.ParseNameAddr(elem)
	if err != nil {
		return "", false
	}
	uri, err := sip.ParseURI(addr.URI)
	if _, hint := addr.Param("ms-edge-route"); err != nil || !hint || !uri.IsSIP() {
		return "", false
	}
	if _, elsewhere := uri.Param("maddr"); elsewhere {
		return "", false
	}
	return string(sip.AppendDomain(nil, uri.Host)), len(uri.Host) > 0
}

// names reports whether the partner's entry names the host of an edge.
func names(route federation.Route, host string) bool {
	for _, addr := range route.Servers {
		if named, _ := splitHostPort(addr); strings.EqualFold(strings.TrimSuffix(named, "."), host) {
			return true
		}
	}
	return route.PeerName != "" && strings.EqualFold(route.PeerName, host)
}

// inDomain reports whether a host is the domain or lies in it.
func inDomain(host, domain string) bool {
	return host == domain || strings.HasSuffix(host, "."+domain)
}

// astray reports whether the home server asked for an edge that turned out not
// to be the partner's.
func (w *way) astray() bool {
	return w.hint != nil && w.hint.must && len(w.links) > 0 &&
		!slices.ContainsFunc(w.links, func(l *link) bool { return l.host == w.hint.host })
}
