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
		return step(r, "home server", r.from, e.admitInside(r))
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
	if v := e.within(r, lists); !v.Allowed() {
		return v
	}
	if !r.bound {
		return g.Verdict
	}
	// The dialog is bound to its parties: the same partner, not merely some
	// partner (the domain in From is the one that the certificate proved).
	if string(r.token.partner) != string(r.from) {
		return allowlists.Refusal(allowlists.RouteTokenInvalid, g.Rule)
	}
	g.Reason = allowlists.DialogAllowed
	return g.Verdict
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
// (RFC 3261 §19.1.1), or it is a global one (RFC 3966 §3).
func telephone(u *sip.URI) bool {
	if kind, ok := sip.Param(u.Params, "user"); ok && bytes.EqualFold(kind, []byte("phone")) {
		return true
	}
	number, _, _ := bytes.Cut(u.User, []byte(";"))
	var room [64]byte
	number, ok := allowlists.AppendUser(room[:0], number)
	rest, plus := bytes.CutPrefix(number, []byte("+"))
	if !plus {
		rest, plus = bytes.CutPrefix(number, []byte("%2B")) // not the same, but who will tell
	}
	return ok && plus && len(rest) > 0 && len(bytes.Trim(rest, "0123456789-.()")) == 0
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
