package federation

import (
	"fmt"
	"strings"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
)

// A Route is the way to a partner's edge.
type Route struct {
	// Key is what its connections are kept under: the domain, but one for all
	// whom the clearing house answers for on the same terms.
	Key      string
	Domain   string   // the partner, in normal form; with a shared Key, the one that was asked for
	Servers  []string // "host:port" each, in order; none: found by DNS SRV
	PeerName string   // what their certificates must prove; "": the host of each address
	Tier     Tier
	// FromCard: the servers are what the partner's card says. Somebody has seen the
	// addresses among them; where its names lead is for the partner to change, so that
	// they are held to what holds for DNS.
	FromCard bool
	// Network is the only one by which the partner is reached; "": any.
	Network string

	partner *partner
}

// upstreamKey is the Key of the way to the clearing house. No domain is so.
const upstreamKey = "[upstream]"

// Direct reports whether the administrator named the servers.
func (r Route) Direct() bool { return len(r.Servers) > 0 }

// Same reports whether a reload left the way as it was: connections may stay.
func (r Route) Same(o Route) bool {
	if r.partner == nil || o.partner == nil {
		return r.partner == o.partner
	}
	return r.Key == o.Key && r.partner.sameWay(o.partner.terms)
}

// Dial returns the way to the edge of a partner's domain (in normal form), or
// that with a Key. It says nothing about whether a request may go there: Permit
// does.
func (p *Partners) Dial(domain []byte) (Route, bool) {
	if p == nil || p.lists == nil {
		return Route{}, false
	}
	if string(domain) == upstreamKey && p.upstream != nil {
		return p.route(&partner{domain: upstreamKey, terms: p.upstream}, TierUpstream), true
	}
	g, entry := p.find(domain)
	switch {
	case !g.Allowed():
		return Route{}, false
	case entry == nil:
		return p.route(&partner{domain: string(domain), terms: g.terms}, g.Tier), true
	}
	return p.route(&p.known[entry.Index], g.Tier), true
}

func (p *Partners) route(k *partner, t Tier) Route {
	r := Route{Key: k.domain, Domain: k.domain, Servers: k.servers, PeerName: k.peerName, Tier: t, FromCard: k.card, Network: k.network, partner: k}
	if p.upstream != nil && k.sameWay(p.upstream) {
		r.Key = upstreamKey
	}
	return r
}

// Accept returns the check of a server's identity, for the handshake with host:
// the target of the SRV record, or the host that the administrator wrote.
//
// A direct partner's server must prove peer_name or its own host name. One that
// DNS named must prove the partner's domain; a host name is enough if it lies
// in that domain, since then a forged SRV record gains nothing.
func (r Route) Accept(host string) func(certs.Identity) error {
	k, host := r.partner, strings.ToLower(strings.TrimSuffix(host, "."))
	return func(id certs.Identity) error {
		if k == nil {
			return fmt.Errorf("no partner to accept %s for", host)
		}
		if !k.accepts(&id, host) {
			return &certs.VerifyError{
				Problem: certs.NameNotCovered,
				Err:     fmt.Errorf("%s does not speak for %s as a server of %s", id, host, k.domain),
			}
		}
		if !k.pinned(&id) {
			return &certs.VerifyError{
				Problem: certs.KeyNotPinned,
				Err:     fmt.Errorf("the key of %s is none of those that the entry of %s pins", id, k.domain),
			}
		}
		if !k.fits(id.Usage(), allowlists.Out) {
			return &certs.VerifyError{
				Problem: certs.WrongUsage,
				Err:     fmt.Errorf("%s is not for servers, and the entry of %s asks for it", id, k.domain),
			}
		}
		return nil
	}
}

// accepts reports whether id may be the server host of the partner.
func (k *partner) accepts(id *certs.Identity, host string) bool {
	if len(k.servers) > 0 {
		if k.peerName != "" {
			host = k.peerName
		}
		return k.coversHost(id, host)
	}
	if k.coversDomain(id, []byte(k.domain)) {
		return true
	}
	return k.mayBe(host, []byte(k.domain)) && k.coversHost(id, host)
}

// equal compares a common name with a name in normal form.
func equal(cn, name string) bool {
	return cn != "" && strings.EqualFold(strings.TrimSuffix(cn, "."), name)
}
