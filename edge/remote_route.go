package edge

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/sip"
)

// openPath notes that the first Route is our Path (RFC 3327 §5.1): a home server sends
// to a user outside. From outside it is nobody's way.
func (r *request) openPath(k token, key int) allowlists.Verdict {
	if r.f.Role != RoleInternal {
		return step(r, "route", "a Path from outside", allowlists.Refusal(allowlists.RouteTokenInvalid, allowlists.Rule{}))
	}
	r.token, r.tokenKey, r.path = k, key, true
	return pass
}

// toRemote reports whether a request from inside is for a user outside: by our Path, or
// within a dialog with one.
func (r *request) toRemote() bool {
	return r.f.Role == RoleInternal && (r.path || r.bound && r.token.kind == tokenUser)
}

// admitToRemote asks whether a home server may send to a user outside: that of the
// user's own pool, in whosever name.
func (e *Edge) admitToRemote(r *request) allowlists.Verdict {
	p := e.poolByHash(r.token.pool, r.tokenKey)
	_, domain, _ := cutAddress(string(r.token.party))
	if p == nil || e.byDomain[domain] != p || !slices.Contains(r.f.state.pools, p) {
		return allowlists.Refusal(allowlists.RouteTokenInvalid, allowlists.Rule{Name: "another pool's user"})
	}
	r.inside = p
	return allowlists.Allowance(allowlists.InsideAllowed, p.rule)
}

// cutAddress cuts an address of record in two.
func cutAddress(aor string) (user, domain string, ok bool) {
	i := strings.LastIndexByte(aor, '@')
	if i < 0 {
		return aor, "", false
	}
	return aor[:i], aor[i+1:], true
}

// routeRemote finds the flow of a user outside: the one on which the device registered
// and no other (RFC 5626 §5.3.1). A dialog goes on where the device is now: it may have
// come back from another network.
func (e *Edge) routeRemote(r *request) allowlists.Verdict {
	r.plan.outbound, r.plan.remote = true, true
	r.way.user = true
	party := string(r.token.party)
	f := e.flowOf(r.token.flow, RoleRemote)
	if f != nil {
		if s := f.user(r.began); s != nil && s.User == party {
			r.way.flow, r.user = f, s
			return allowlists.Verdict{Action: allowlists.Allow, Rule: s.Terms.Rule}
		}
	}
	if r.bound {
		for _, o := range e.users.Of(party) {
			if e.tokens.digest(r.tokenKey, r.token.party, []byte(o.Device)) != r.token.device {
				continue
			}
			f := e.flowOf(o.Flow, RoleRemote)
			if f == nil {
				continue
			}
			if s := f.user(r.began); s != nil {
				r.way.flow, r.user = f, s
				return allowlists.Verdict{Action: allowlists.Allow, Rule: s.Terms.Rule}
			}
		}
	}
	return allowlists.Refusal(allowlists.RouteFlowFailed, allowlists.Rule{Name: "user " + party})
}

// permitRemote asks whether what a home server sends may reach the user outside.
func (e *Edge) permitRemote(r *request) allowlists.Verdict {
	if v := e.termsAllow(r, r.user, &r.fromURI, r.from); !v.Allowed() {
		return v
	}
	return allowlists.Allowance(allowlists.AccessAllowed, r.user.Terms.Rule)
}

// routeFromRemote finds the pool of a request of a user outside: his own, whoever it is
// for. What the user may there, his home server knows.
func (e *Edge) routeFromRemote(r *request) allowlists.Verdict {
	p, rule := r.pool(), allowlists.Rule{}
	if !e.serviceRoute(r) {
		return allowlists.Refusal(allowlists.RoutePreloaded, rule)
	}
	if _, maddr := sip.Param(r.uri.Params, "maddr"); maddr || e.poolOf(r.to) == nil && isAt(&r.uri) {
		// It would send the home server somewhere else than the domain says, or where
		// no domain is.
		return allowlists.Refusal(allowlists.RouteNotRelayed, rule)
	}
	r.way.pool = p
	r.way.first = r.serviceServer(p)
	return allowlists.Verdict{Action: allowlists.Allow, Rule: p.rule}
}

// isAt reports whether a URI names an address, or a host by a name that means something
// inside alone: a home server would connect to it, whatever it is. Within a dialog it
// would have to be signed.
func isAt(u *sip.URI) bool {
	return u.IsSIP() && (u.IsIP() || bytes.IndexByte(bytes.TrimSuffix(u.Host, []byte(".")), '.') < 0)
}

// pool is where the user lives who sends a request from outside.
func (r *request) pool() *pool {
	if r.plan.signIn != nil {
		return r.plan.signIn.pool
	}
	if r.user != nil {
		return r.user.pool
	}
	return nil
}

// serviceRoute reports whether what stands in Route below ours is what the registrar
// gave this very flow (RFC 3608 §6.1), or nothing.
func (e *Edge) serviceRoute(r *request) bool {
	routes := r.m.Elements(sip.Route)
	for range r.ours {
		routes.Next()
	}
	var want [][]byte
	if r.user != nil {
		want = r.user.routes
	}
	n := 0
	for elem, ok := routes.Next(); ok; elem, ok = routes.Next() {
		addr, err := sip.ParseNameAddr(elem)
		if err != nil || n == len(want) || !bytes.Equal(spelling(addr.URI), want[n]) {
			return false
		}
		n++
	}
	return n == 0 || n == len(want)
}

// serviceServer is the home server that a Route names, nil if it names none of p.
func (r *request) serviceServer(p *pool) *server {
	routes := r.m.Elements(sip.Route)
	for range r.ours {
		routes.Next()
	}
	elem, ok := routes.Next()
	if !ok {
		return nil
	}
	uri, ok := elementURI(elem)
	if !ok {
		return nil
	}
	return p.at(uri.Host, uri.Port)
}

// isOurOwn reports whether a Route that a client outside wrote means us: clients name
// the edge as they reach it, by its address, by the domain that it stands for or by a
// name on its certificate.
func (e *Edge) isOurOwn(f *Flow, u sip.URI) bool {
	if !u.IsSIP() || f.Role != RoleRemote {
		return false
	}
	if addr, err := netip.ParseAddr(string(bytes.Trim(u.Host, "[]"))); err == nil {
		return addr.Unmap() == f.Local.Addr() && (u.Port == 0 || u.Port == int(f.Local.Port()))
	}
	if len(u.User) > 0 {
		return false
	}
	var room [256]byte
	name := sip.AppendDomain(room[:0], u.Host)
	return e.poolOf(name) != nil || e.certified[f.Listener] != nil && e.certified[f.Listener](string(name))
}
