package federation

import (
	"fmt"

	"github.com/sipedge/sipedge/allowlists"
)

// A Proof is how a bridge knows that somebody speaks for a foreign domain. It
// stands where a certificate stands at a partner's edge. The zero Proof is none.
type Proof uint8

// The proofs.
const (
	ProofNone   Proof = iota
	ProofWeak         // it rests on DNS, or on the word of somebody else
	ProofStrong       // a certificate, or signed DNS names
)

// AdmitBridged decides whether somebody whom a bridge has proved to speak for the
// domain in From may send us the request q. The same entries count as for SIP, but
// for what they ask of certificates; one that pins another network refuses.
func (p *Partners) AdmitBridged(network string, proof Proof, q Request) Grant {
	if p == nil || p.lists == nil {
		return Grant{Verdict: allowlists.Verdict{Status: 403, Reason: allowlists.PartnerNotAllowed}}
	}
	if v, ok := p.own[string(q.Remote)]; ok {
		return Grant{Verdict: v}
	}
	if proof == ProofNone {
		return Grant{Verdict: p.none}
	}
	g, entry := p.find(q.Remote)
	switch {
	case !g.Allowed():
		return g
	case !g.reaches(network):
		g.Verdict = allowlists.Refusal(allowlists.BridgeNetwork, g.Rule)
		return g
	}
	return g.may(entry, allowlists.In, &q)
}

// reaches reports whether the partner may be reached by a network, and reach us.
func (g Grant) reaches(network string) bool { return g.Network() == "" || g.Network() == network }

// Bridges reports whether the lists let a domain (in normal form) be reached by the
// network of a bridge at all. Each request is still asked about.
func (p *Partners) Bridges(network string, domain []byte) bool {
	if p == nil || p.lists == nil {
		return false
	}
	if _, own := p.own[string(domain)]; own {
		return false
	}
	g, _ := p.find(domain)
	return g.Allowed() && g.reaches(network)
}

// Network returns the only network by which the lists let a domain (in normal form) be
// reached, "" if any may be, and how well it is known.
func (p *Partners) Network(domain []byte) (string, Tier) {
	if p == nil || p.lists == nil {
		return NetworkSIP, TierNone
	}
	g, _ := p.find(domain)
	return g.Network(), g.Tier
}

// ExamineBridged is Examine for what comes or goes by a bridge.
func (p *Partners) ExamineBridged(d allowlists.Direction, network string, proof Proof, q Request) []Finding {
	if p == nil || p.lists == nil {
		return nil
	}
	none := d == allowlists.In && proof == ProofNone
	var list []Finding
	for _, f := range p.Examine(d, nil, q) {
		if f.Name == "identity" && !none && f.Verdict == p.none {
			continue // nobody shows a certificate here
		}
		g, _ := p.find(q.Remote)
		if f.Name == "partner" && f.Verdict.Allowed() && f.Detail == standsBySRV {
			f.Detail = "allowed" // how its SIP edge is found says nothing here
		}
		list = append(list, f)
		if f.Name != "partner" {
			continue
		}
		if g.terms != nil {
			list = append(list, g.network(network))
		}
	}
	return list
}

// network is what the entry says of a network.
func (g Grant) network(network string) Finding {
	f := Finding{Name: "network", Detail: network + "; any", Verdict: allowlists.Allowance(allowlists.ReasonNone, g.Rule)}
	if pin := g.Network(); pin != "" {
		f.Detail = fmt.Sprintf("%s; network = %s", network, pin)
	}
	if !g.reaches(network) {
		f.Verdict = allowlists.Refusal(allowlists.BridgeNetwork, g.Rule)
	}
	return f
}
