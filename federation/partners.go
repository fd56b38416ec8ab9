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
	"sync"
	"time"

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
	upstream *terms // the way to the clearing house; nil: none

	section Section
	details map[int]details      // by Index, of entries that have any
	noticed []allowlists.Problem // what Compile saw that is no fault
	now     time.Time            // when it was compiled
	changes time.Time            // the next end date
	ended   time.Time            // the last one that has passed
	kinds   bool

	byName sync.Once // guards the making of order
	order  []int     // entries by name
}

// partner is what federation knows of a partner beside its list entry.
type partner struct {
	domain  string
	expired bool
	*terms
}

// Admit decides whether a peer with identity id may send us the request q. It
// allocates nothing and costs the same for ten partners and for 100,000.
//
// The checks come in the order in which their answers help most: who is nobody
// is not told about lists, who is blocked not about certificates.
func (p *Partners) Admit(id *certs.Identity, q Request) Grant {
	g, entry := p.speaks(id, q.Remote, q.Target)
	if g.Allowed() {
		return g.may(entry, allowlists.In, &q)
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
	switch t := g.terms; {
	case bridged(t.network):
		g.Verdict = allowlists.Refusal(allowlists.BridgeNetwork, g.Rule)
	case !t.covered(id, domain, target):
		g.Verdict = allowlists.Refusal(allowlists.IdentityDomainMismatch, g.Rule)
		g.Search = len(t.servers) == 0 && target == "" && t.mayProve(id, domain)
	case !t.fits(id.Usage(), allowlists.In):
		g.Verdict = allowlists.Refusal(allowlists.IdentityUsage, g.Rule)
	case !t.pinned(id):
		g.Verdict = allowlists.Refusal(allowlists.IdentityPin, g.Rule)
	}
	return g, entry
}

// find says who has the domain, whatever is asked of it.
func (p *Partners) find(domain []byte) (Grant, *allowlists.Partner) {
	entry, v := p.lists.Listed(domain)
	if entry != nil {
		k := &p.known[entry.Index]
		if k.expired {
			v = allowlists.Refusal(allowlists.PartnerExpired, entry.Rule)
		}
		return Grant{Verdict: v, Tier: k.tier(), terms: k.terms}, entry
	}
	switch {
	case v.Reason != allowlists.PartnerNotAllowed, p.unlisted == nil, !plainDomain(domain):
		return Grant{Verdict: v}, nil
	case p.unlisted.upstream:
		return Grant{Verdict: allowlists.Allowance(allowlists.PartnerUpstream, v.Rule), Tier: TierUpstream, terms: p.unlisted}, nil
	}
	return Grant{Verdict: allowlists.Allowance(allowlists.PartnerDiscovered, v.Rule), Tier: TierDiscovered, terms: p.unlisted}, nil
}

// may judges what the partner says, or hears from us.
func (g Grant) may(entry *allowlists.Partner, d allowlists.Direction, q *Request) Grant {
	registers := allowlists.Registers(d, q.Method)
	switch {
	case entry == nil: // not listed: no entry restricts it
		if registers {
			g.Verdict = allowlists.Refusal(allowlists.PartnerMethod, g.Rule)
		} else if q.Number && d == allowlists.In && !q.Dialog {
			g.Verdict = allowlists.Refusal(allowlists.PartnerNumber, g.Rule)
		}
		return g
	case g.terms.lists.Open() && !q.Number && !registers:
		return g // find said it all
	}
	question := q.question(d)
	g.Verdict = entry.May(&question)
	return g
}

// question is what the entry's terms are asked about the request.
func (q *Request) question(d allowlists.Direction) allowlists.Question {
	return allowlists.Question{
		Direction: d, Method: q.Method, Remote: q.Remote, Them: q.Them, Us: q.Us,
		Number: q.Number, Dialog: q.Dialog, Kinds: q.Kinds, Size: q.Size, Body: q.Body,
	}
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
	return g.may(entry, allowlists.Out, &q)
}

// TargetOf returns which of the SRV targets of the domain the peer proves to
// be, or "".
func (p *Partners) TargetOf(id *certs.Identity, domain []byte, targets []string) string {
	if p == nil || p.lists == nil || id == nil || id.IsZero() {
		return ""
	}
	g, _ := p.find(domain)
	if !g.Allowed() {
		return ""
	}
	for _, host := range targets {
		if len(g.terms.servers) == 0 && g.terms.mayBe(host, domain) && g.terms.coversHost(id, host) {
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

// plainDomain reports whether a name can be one in DNS, and not an address.
func plainDomain(domain []byte) bool {
	for _, c := range domain {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.') {
			return false
		}
	}
	return len(domain) > 0 && len(domain) <= 253 && !('0' <= domain[len(domain)-1] && domain[len(domain)-1] <= '9')
}

// AsksKinds reports whether any entry looks at what a request carries.
func (p *Partners) AsksKinds() bool { return p != nil && p.kinds }

// Changes returns when the next entry ends: Compile would say something else
// then. Zero: never.
func (p *Partners) Changes() time.Time {
	if p == nil {
		return time.Time{}
	}
	return p.changes
}

// Holds reports whether Compile would make of the same the same at this time: no
// entry has ended since, and none that had ended has not yet, by a clock that went
// wrong for a while and was set back.
func (p *Partners) Holds(now time.Time) bool {
	return p == nil || !now.Before(p.ended) && (p.changes.IsZero() || now.Before(p.changes))
}

// Len returns how many partners there are, and how many blocked domains.
func (p *Partners) Len() (partners, blocked int) {
	if p == nil {
		return 0, 0
	}
	return p.lists.Len()
}
