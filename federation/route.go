package federation

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
)

// A Route is the way to a partner's edge.
type Route struct {
	Domain   string   // the partner, in normal form
	Servers  []string // "host:port" each, in order; none: found by DNS SRV
	PeerName string   // what their certificates must prove; "": the host of each address
	Tier     Tier

	partner *partner
}

// Direct reports whether the administrator named the partner's servers.
func (r Route) Direct() bool { return len(r.Servers) > 0 }

// Same reports whether a reload left the way as it was: connections may stay.
func (r Route) Same(o Route) bool {
	if r.partner == nil || o.partner == nil {
		return r.partner == o.partner
	}
	a, b := r.partner, o.partner
	return a.domain == b.domain && a.peerName == b.peerName && slices.Equal(a.servers, b.servers) &&
		a.policy == b.policy && a.wildcard == b.wildcard && a.cn == b.cn
}

// Dial returns the way to the edge of a partner's domain (in normal form). It
// says nothing about whether a request may go there: Permit does.
func (p *Partners) Dial(domain []byte) (Route, bool) {
	if p == nil || p.lists == nil {
		return Route{}, false
	}
	g, entry := p.find(domain)
	if !g.Allowed() {
		return Route{}, false
	}
	if entry == nil {
		k := &partner{string(domain), g.terms}
		return Route{Domain: k.domain, Servers: k.servers, PeerName: k.peerName, Tier: g.Tier, partner: k}, true
	}
	k := &p.known[entry.Index]
	return Route{Domain: k.domain, Servers: k.servers, PeerName: k.peerName, Tier: g.Tier, partner: k}, true
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
	return within(host, k.domain) && k.coversHost(id, host)
}

// fits reports whether a certificate's usage is what the partner's peer_usage
// asks for, when the partner is the client (In) or the server (Out).
func (k *terms) fits(u certs.Usage, d allowlists.Direction) bool {
	if d == allowlists.Out && k.policy != certs.UsageFederation {
		return u.Server()
	}
	return k.policy.Allows(u)
}

// equal compares a common name with a name in normal form.
func equal(cn, name string) bool {
	return cn != "" && strings.EqualFold(strings.TrimSuffix(cn, "."), name)
}
