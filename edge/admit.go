package edge

import (
	"bytes"
	"slices"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/sip"
)

// admit is the first door: may this peer say this?
func (e *Edge) admit(r *request) allowlists.Verdict {
	switch r.f.Role {
	case RoleFederation:
		if r.note != nil {
			return e.explainAdmit(r)
		}
		return e.admitPartner(r)
	case RoleInternal:
		if r.toRemote() {
			return step(r, "home server", r.token.party, e.admitToRemote(r))
		}
		return step(r, "home server", r.from, e.admitInside(r))
	case RoleRemote:
		return e.admitRemote(r)
	case RoleBridge:
		r.plan.bridge = r.f.bridge
		return e.admitBridge(r)
	}
	return allowlists.Verdict{} // nobody: refused
}

// admitPartner asks whether the certificate of this connection may speak for
// the domain in From. Neither a To tag nor an address is a proof.
func (e *Edge) admitPartner(r *request) allowlists.Verdict {
	lists := e.partners.Load()
	q := r.question(r.from, lists)
	g := lists.Admit(r.f.Peer, q)
	if g.Search {
		g = e.search(r, lists, q, g)
	}
	g.Verdict = notAcceptable(r.m, g.Verdict)
	r.grant = g
	if !g.Allowed() {
		e.knocked(r, g)
		return g.Verdict
	}
	if r.unmarked() {
		return step(r, "mark", "no "+sip.MSAssertedVerificationLevel.String(), allowlists.Refusal(allowlists.PartnerUnmarked, g.Rule))
	}
	if v := r.refers(); !v.Allowed() {
		return v
	}
	if v := e.within(r, lists); !v.Allowed() {
		return v
	}
	if !r.bound {
		return g.Verdict
	}
	// The dialog is bound to its parties: the same partner, not merely some
	// partner (the domain in From is the one that the certificate proved).
	if r.token.kind != tokenPartner || string(r.token.party) != string(r.from) {
		return allowlists.Refusal(allowlists.RouteTokenInvalid, g.Rule)
	}
	g.Reason = allowlists.DialogAllowed
	return g.Verdict
}

// refers judges whom a REFER has our side call (RFC 3515 §2.1), also within a
// dialog: a transfer to a telephone number costs as much as a call to it.
func (r *request) refers() allowlists.Verdict {
	if string(r.m.Method()) != "REFER" || r.grant.Numbers() || r.note != nil {
		return pass // what explain makes up refers to nobody
	}
	// Of two, or of one that cannot be read, the home server might take another
	// meaning (RFC 3515 §2.4.2).
	to, ok := r.m.Find(sip.ReferTo)
	if !ok || r.m.Count(sip.ReferTo) != 1 {
		return fault(sip.Faultf(400, "One Refer-To is needed"))
	}
	addr, err := sip.ParseNameAddr(to.Value)
	if err != nil {
		return fault(sip.Faultf(400, "Malformed Refer-To"))
	}
	uri, err := sip.ParseURI(addr.URI)
	if err != nil {
		return fault(sip.Faultf(400, "Malformed Refer-To"))
	}
	// Without brackets what looks like a parameter of the URI is one of the field
	// (RFC 3261 §20), and not everybody reads it so.
	kind, _ := sip.Param(addr.Params, "user")
	if bytes.EqualFold(uri.Scheme, []byte("tel")) || bytes.EqualFold(kind, []byte("phone")) || telephone(&uri) {
		return allowlists.Refusal(allowlists.PartnerNumber, r.grant.Rule)
	}
	return pass
}

// question is what the lists are asked about r, whose other side is the domain
// remote.
func (r *request) question(remote []byte, lists *federation.Partners) federation.Request {
	q := federation.Request{
		Method: r.m.Method(),
		Remote: remote,
		Them:   federation.Address{User: r.fromURI.User, Domain: r.from},
		Us:     federation.Address{User: r.uri.User, Domain: r.to},
		Number: telephone(&r.uri),
		Dialog: r.bound,
		Size:   len(r.m.Raw()),
		Body:   len(r.m.Body()),
	}
	if r.f.Role == RoleInternal {
		q.Them, q.Us = q.Us, q.Them
	}
	if lists.AsksKinds() {
		q.Kinds = kindsOf(r.m)
	}
	return q
}

// telephone reports whether a URI means a telephone number: it says so
// (RFC 3261 §19.1.1), or it begins like a global one (RFC 3966 §3). What comes
// behind the first digit does not matter: what separators a home server passes
// over, how many of them, and what it makes of the rest is its own business.
func telephone(u *sip.URI) bool {
	if kind, ok := sip.Param(u.Params, "user"); ok && bytes.EqualFold(kind, []byte("phone")) {
		return true
	}
	plus := false
	for user := u.User; len(user) > 0; {
		// One at a time, so that none is too long. An escaped + is not the same
		// as +, but who will tell.
		n := 1
		if user[0] == '%' {
			n = min(3, len(user))
		}
		var room [3]byte
		c, _ := allowlists.AppendUser(room[:0], user[:n])
		user = user[n:]
		switch {
		case string(c) == "+" || string(c) == "%2B":
			plus = true
		case len(c) == 1 && bytes.IndexByte([]byte("-.() "), c[0]) >= 0:
		default:
			return plus && len(c) == 1 && '0' <= c[0] && c[0] <= '9'
		}
	}
	return false
}

// admitInside asks whether a home server may speak for the domain in From:
// those of its pool. What it forwards from elsewhere under a foreign From we
// could not answer for towards a partner.
func (e *Edge) admitInside(r *request) allowlists.Verdict {
	if len(r.f.state.pools) == 0 {
		return allowlists.Refusal(allowlists.IdentityNotNamed, r.f.state.rule)
	}
	p := e.poolOf(r.from)
	if p == nil || !slices.Contains(r.f.state.pools, p) {
		return allowlists.Refusal(allowlists.InsideFromMismatch, r.f.state.rule)
	}
	r.inside = p
	return allowlists.Allowance(allowlists.InsideAllowed, p.rule)
}
