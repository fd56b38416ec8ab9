package edge

import (
	"context"
	"fmt"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/federation"
)

// explainSeat is the flow on which a request of a bridge would come, nil if there is
// no such bridge.
func (e *Edge) explainSeat(network string, proof bridges.Proof) *Flow {
	for _, b := range e.bridges {
		if b.Name == network {
			seat := &bridge{Bridge: b.Bridge, edge: e, proof: proof}
			return &Flow{Role: RoleBridge, bridge: seat, state: flowState{side: b.flow.state.side, rule: b.Rule}}
		}
	}
	return nil
}

// explainBridged is admitBridge with each of its checks as a step.
func (e *Edge) explainBridged(r *request) allowlists.Verdict {
	b, q := r.f.bridge, e.explainQuestion(r, r.from)
	v, said := r.grant.Verdict, r.grant.Allowed()
	if b.proof != bridges.ProofNone {
		r.note.add("identity", fmt.Sprintf("%s speaks, proved by %s", r.from, b.proof), pass)
	}
	for _, f := range e.partners.Load().ExamineBridged(allowlists.In, b.Name, proofOf(b.proof), q) {
		f.Verdict = notAcceptable(r.m, f.Verdict)
		said = said || f.Verdict == v
		r.note.add(f.Name, f.Detail, f.Verdict)
	}
	if !said {
		r.note.add("partner", string(r.from), v)
	}
	e.besideLists(r, b)
	e.watched(r)
	e.explainLimits(r)
	if !v.Allowed() {
		return pass
	}
	return v
}

// explainWay says by which network a request leaves, and what is next there.
func (e *Edge) explainWay(r *request) {
	if r.grant.Network() == "" && r.tunnel == nil && e.outside != nil {
		// The data path goes on while DNS is asked, and looks again then.
		ctx, cancel := context.WithTimeout(e.ctx, dialTimeout)
		defer cancel()
		_, _ = e.directory(r.grant.Tier).Partner(ctx, string(r.to)) // what it said is remembered
	}
	e.permitBridge(r, pass)
	if r.plan.bridge == nil {
		e.explainHops(r)
		return
	}
	r.way.instead = nil
	if b := r.plan.bridge; b.Address != nil {
		address, err := b.Address(string(r.m.RequestURI()))
		if err != nil {
			r.note.add("address", err.Error(), allowlists.Refusal(allowlists.BridgeAddress, b.Rule))
			return
		}
		r.note.add("address", address, pass)
	}
}

// explainNetwork tells explain by which bridge a request leaves, and why.
func (r *request) explainNetwork(b *bridge, pin string) {
	if r.note == nil {
		return
	}
	why := "DNS names no SIP edge for the domain"
	switch {
	case r.tunnel != nil:
		why = "the address is one of the bridge's own"
	case pin == federation.NetworkSIP || pin == b.Name:
		why = "network = " + pin
	case r.f.bridge == nil && b.edge.outside == nil:
		why = "there is no listener for partners"
	}
	r.note.add("network", b.Name+": "+why, pass)
}
