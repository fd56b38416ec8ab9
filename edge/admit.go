package edge

import (
	"slices"

	"github.com/sipedge/sipedge/allowlists"
)

// admit is the first door: may this peer say this?
func (e *Edge) admit(r *request) allowlists.Verdict {
	switch r.f.Role {
	case RoleFederation:
		return step(r, "identity and partner", r.from, e.admitPartner(r))
	case RoleInternal:
		return step(r, "home server", r.from, e.admitInside(r))
	}
	return allowlists.Verdict{} // nobody: refused
}

// admitPartner asks whether the certificate of this connection may speak for
// the domain in From. Neither a To tag nor an address is a proof.
func (e *Edge) admitPartner(r *request) allowlists.Verdict {
	v := e.partners.Load().Admit(r.f.Peer, r.from, r.m.Method())
	if !v.Allowed() && r.bound && v.Reason == allowlists.PartnerDirection {
		// Within a dialog that we began the partner may speak, whichever way
		// new ones go: its NOTIFY and BYE belong to what we asked for.
		if v = e.partners.Load().Speaks(r.f.Peer, r.from); v.Allowed() {
			v = e.partners.Load().Within(r.from, r.m.Method())
		}
	}
	if !v.Allowed() || !r.bound {
		return v
	}
	// The dialog is bound to its parties: the same partner, not merely some
	// partner (the domain in From is the one that the certificate proved).
	if string(r.token.partner) != string(r.from) {
		return allowlists.Refusal(allowlists.RouteTokenInvalid, v.Rule)
	}
	v.Reason = allowlists.DialogAllowed
	return v
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
