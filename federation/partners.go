// Package federation knows our partners: which identity may speak for which
// domain, what each may do, and where a partner's edge is.
//
// Identity is what a certificate proved (package certs, RFC 5922 §7), never
// an address. Lists decide by domain (package allowlists). This package joins
// the two: a request is judged by the domain in its From and by whether the
// certificate of its connection speaks for that domain. It opens no connection
// and asks no DNS.
package federation

import (
	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
)

// Partners is an immutable snapshot of partners.toml. It is safe for concurrent
// use; a reload makes a new one. A nil or zero Partners refuses everybody.
type Partners struct {
	lists *allowlists.Lists
	known []partner                     // by Index of the list's entry
	own   map[string]allowlists.Verdict // refusals for From domains of ours
	none  allowlists.Verdict            // refusal of who proved nothing
	names names
}

// partner is what federation knows of a partner beside its list entry.
type partner struct {
	domain string
	*terms
}

// terms are what an entry says beside its domain. Entries that say the same
// share them: of 100,000 partners the next one is never in the processor's
// cache, but their terms are.
type terms struct {
	servers  []string // addresses to dial; none: found by DNS SRV
	hosts    []string // names of which a direct partner's certificate must prove one
	peerName string
	policy   certs.UsagePolicy
	wildcard bool
	cn       bool
}

// Admit decides whether a peer with identity id may send us a request of this
// method with this domain in From (in normal form). It allocates nothing and
// costs the same for ten partners and for 100,000.
//
// The checks come in the order in which their answers help most: who is nobody
// is not told about lists, who is blocked not about certificates.
func (p *Partners) Admit(id *certs.Identity, from, method []byte) allowlists.Verdict {
	entry, v := p.speaks(id, from, allowlists.In)
	if entry == nil {
		return v
	}
	return entry.May(allowlists.In, method)
}

// Speaks decides whether a peer with identity id may speak for the domain at
// all: what is left of Admit where direction and methods do not matter, as for
// requests within a dialog that we began.
func (p *Partners) Speaks(id *certs.Identity, domain []byte) allowlists.Verdict {
	_, v := p.speaks(id, domain, allowlists.In)
	return v
}

// speaks returns the entry of domain if id may speak for it, else nil and the
// refusal.
func (p *Partners) speaks(id *certs.Identity, domain []byte, d allowlists.Direction) (*allowlists.Partner, allowlists.Verdict) {
	if p == nil || p.lists == nil {
		return nil, allowlists.Verdict{Status: 403, Reason: allowlists.PartnerNotAllowed}
	}
	if v, ok := p.own[string(domain)]; ok {
		return nil, v
	}
	if id == nil || id.IsZero() {
		return nil, p.none
	}
	entry, v := p.lists.Listed(domain)
	if entry == nil {
		return nil, v
	}
	k := &p.known[entry.Index]
	if !k.covered(id) {
		return nil, allowlists.Refusal(allowlists.IdentityDomainMismatch, entry.Rule)
	}
	if !k.fits(id.Usage(), d) {
		return nil, allowlists.Refusal(allowlists.IdentityUsage, entry.Rule)
	}
	return entry, v
}

// Permit decides whether a request of this method may leave for the domain (in
// normal form).
func (p *Partners) Permit(to, method []byte) allowlists.Verdict {
	if p == nil {
		return allowlists.Verdict{Status: 403, Reason: allowlists.PartnerNotAllowed}
	}
	return p.lists.Decide(allowlists.Question{Direction: allowlists.Out, Method: method, Remote: to})
}

// Within decides whether a request of this method may pass between us and the
// domain within a dialog, whichever way new ones may go.
func (p *Partners) Within(domain, method []byte) allowlists.Verdict {
	if p == nil {
		return allowlists.Verdict{Status: 403, Reason: allowlists.PartnerNotAllowed}
	}
	v := p.lists.Decide(allowlists.Question{Direction: allowlists.In, Method: method, Remote: domain})
	if v.Reason != allowlists.PartnerDirection {
		return v
	}
	return p.lists.Decide(allowlists.Question{Direction: allowlists.Out, Method: method, Remote: domain})
}

// Len returns how many partners there are, and how many blocked domains.
func (p *Partners) Len() (partners, blocked int) {
	if p == nil {
		return 0, 0
	}
	return p.lists.Len()
}

// covered reports whether id may speak for the partner. A direct partner is who
// proves the name of one of its servers, whatever domain the certificate names:
// so one certificate may speak for many entries.
func (k *partner) covered(id *certs.Identity) bool {
	for _, host := range k.hosts {
		if k.coversHost(id, host) {
			return true
		}
	}
	return id.Covers(k.domain) || k.wildcard && id.CoversWild(k.domain) || k.cn && equal(id.CommonName(), k.domain)
}

// coversHost reports whether id proves the name of a server.
func (k *partner) coversHost(id *certs.Identity, host string) bool {
	return id.CoversHost(host) || k.wildcard && id.CoversHostWild(host) || k.cn && equal(id.CommonName(), host)
}
