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
	// unlisted are the terms of those that are in no list; nil: they are refused.
	unlisted *terms
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

// Admit decides whether a peer with identity id may send us the request q. It
// allocates nothing and costs the same for ten partners and for 100,000.
//
// The checks come in the order in which their answers help most: who is nobody
// is not told about lists, who is blocked not about certificates.
func (p *Partners) Admit(id *certs.Identity, q Request) Grant {
	g, entry := p.speaks(id, q.Remote, q.Target)
	if g.Allowed() {
		return g.may(entry, allowlists.In, q)
	}
	g.Search = g.Search && !q.Searched
	return g
}

// Speaks decides whether a peer with identity id may speak for the domain at
// all; target is what TargetOf found, or "".
func (p *Partners) Speaks(id *certs.Identity, domain []byte, target string) allowlists.Verdict {
	g, _ := p.speaks(id, domain, target)
	return g.Verdict
}

// speaks judges who the peer is: the first half of Admit. The entry is nil for a
// domain that is not listed.
func (p *Partners) speaks(id *certs.Identity, domain []byte, target string) (Grant, *allowlists.Partner) {
	if p == nil || p.lists == nil {
		return Grant{Verdict: allowlists.Verdict{Status: 403, Reason: allowlists.PartnerNotAllowed}}, nil
	}
	if v, ok := p.own[string(domain)]; ok {
		return Grant{Verdict: v}, nil
	}
	if id == nil || id.IsZero() {
		return Grant{Verdict: p.none}, nil
	}
	g, entry := p.find(domain)
	if !g.Allowed() {
		return g, nil
	}
	if !g.terms.covered(id, domain, target) {
		g.Verdict = allowlists.Refusal(allowlists.IdentityDomainMismatch, g.Rule)
		g.Search = len(g.terms.servers) == 0 && target == ""
		return g, nil
	}
	if !g.terms.fits(id.Usage(), allowlists.In) {
		g.Verdict = allowlists.Refusal(allowlists.IdentityUsage, g.Rule)
	}
	return g, entry
}

// find says who has the domain, whatever is asked of it.
func (p *Partners) find(domain []byte) (Grant, *allowlists.Partner) {
	entry, v := p.lists.Listed(domain)
	if entry != nil {
		k := &p.known[entry.Index]
		return Grant{Verdict: v, Tier: k.tier(), terms: k.terms}, entry
	}
	if v.Reason != allowlists.PartnerNotAllowed || p.unlisted == nil {
		return Grant{Verdict: v}, nil
	}
	if plainDomain(domain) {
		return Grant{Verdict: allowlists.Allowance(allowlists.PartnerDiscovered, v.Rule), Tier: TierDiscovered, terms: p.unlisted}, nil
	}
	return Grant{Verdict: v}, nil
}

// may judges what the partner says, or hears from us.
func (g Grant) may(entry *allowlists.Partner, d allowlists.Direction, q Request) Grant {
	if entry == nil {
		return g // not listed: no entry restricts it
	}
	v := entry.May(d, q.Method)
	if q.Dialog && v.Reason == allowlists.PartnerDirection {
		// Whichever way new dialogs go, each side may answer within this one.
		v = entry.May(1-d, q.Method)
	}
	g.Verdict = v
	return g
}

// Permit decides whether the request q may leave for the partner.
func (p *Partners) Permit(q Request) Grant {
	if p == nil || p.lists == nil {
		return Grant{Verdict: allowlists.Verdict{Status: 403, Reason: allowlists.PartnerNotAllowed}}
	}
	g, entry := p.find(q.Remote)
	if !g.Allowed() {
		return g
	}
	return g.may(entry, allowlists.Out, q)
}

// TargetOf returns which of the SRV targets of the domain the peer proves to
// be, or "". One that lies outside of the domain counts only where the entry
// says so: DNS alone, without a signature, must not make anybody our partner.
func (p *Partners) TargetOf(id *certs.Identity, domain []byte, targets []string) string {
	if p == nil || p.lists == nil || id == nil || id.IsZero() {
		return ""
	}
	g, _ := p.find(domain)
	if !g.Allowed() {
		return ""
	}
	for _, host := range targets {
		if within(host, domain) && g.terms.coversHost(id, host) {
			return host
		}
	}
	return ""
}

// within reports whether a host is the domain or lies in it.
func within[T string | []byte](host string, domain T) bool {
	n := len(host) - len(domain)
	return n >= 0 && host[n:] == string(domain) && (n == 0 || host[n-1] == '.')
}

// plainDomain reports whether a name can be looked up in DNS.
func plainDomain(domain []byte) bool {
	for _, c := range domain {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.') {
			return false
		}
	}
	return len(domain) > 0 && len(domain) <= 253
}

// AsksKinds reports whether any entry looks at what a request carries.
func (p *Partners) AsksKinds() bool { return false }

// Discovery returns the limits for partners that nobody listed.
func (p *Partners) Discovery() DiscoveryLimits { return DiscoveryLimits{} }

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
func (t *terms) covered(id *certs.Identity, domain []byte, target string) bool {
	for _, host := range t.hosts {
		if t.coversHost(id, host) {
			return true
		}
	}
	if t.coversDomain(id, domain) {
		return true
	}
	return target != "" && len(t.servers) == 0 && t.coversHost(id, target)
}

// coversDomain reports whether id proves the domain itself.
func (t *terms) coversDomain(id *certs.Identity, domain []byte) bool {
	return id.CoversBytes(domain) || t.wildcard && id.CoversWild(string(domain)) || t.cn && equal(id.CommonName(), string(domain))
}

// coversHost reports whether id proves the name of a server.
func (t *terms) coversHost(id *certs.Identity, host string) bool {
	return id.CoversHost(host) || t.wildcard && id.CoversHostWild(host) || t.cn && equal(id.CommonName(), host)
}

// tier is how well the partner is known: it is listed.
func (k *partner) tier() Tier {
	if len(k.servers) > 0 {
		return TierDirect
	}
	return TierAllowed
}
