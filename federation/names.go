package federation

import (
	"net/netip"
	"strings"

	"github.com/sipedge/sipedge/certs"
)

// names answers whether an identity is any partner's without asking each: with
// 100,000 partners and as many connections, a reload could not.
type names struct {
	hosts map[string]bool // names of direct partners' servers
	addrs []string        // such servers without a name
	lax   []int           // partners for whom more than names counts, by Index
}

func namesOf(p *Partners) names {
	n := names{hosts: make(map[string]bool)}
	for i := range p.known {
		k := &p.known[i]
		if k.expired {
			continue
		}
		if k.wildcard || k.cn {
			n.lax = append(n.lax, i)
		}
		n.add(k.hosts)
	}
	if p.unlisted != nil {
		n.add(p.unlisted.hosts)
	}
	return n
}

func (n *names) add(hosts []string) {
	for _, host := range hosts {
		if n.hosts[host] {
			continue
		}
		n.hosts[host] = true
		if _, err := netip.ParseAddr(host); err == nil {
			n.addrs = append(n.addrs, host)
		}
	}
}

// Knows reports whether id may speak for any listed partner, as far as its names
// tell. It does not know whom DNS alone leads to it: discovered partners, and
// those whose entry takes any SRV target. They are strangers here, and share the
// places of strangers until they have proved more.
func (p *Partners) Knows(id *certs.Identity) bool {
	_, ok := p.knows(id)
	return ok
}

// Account names whose share of what we have the peer uses. It is one for all
// certificates of a listed partner, and for all names that one owner has of those
// that nobody listed: certificates cost nothing. Whoever has only a host in the
// domain of a partner may be somebody whom that partner lets have a name, so he
// does not use the share of those who have the domain.
func (p *Partners) Account(id *certs.Identity) string {
	if name, ok := p.knows(id); ok {
		return name
	}
	for _, names := range [][]string{id.Domains(), id.Hosts()} {
		if len(names) > 0 {
			return "stranger " + registrable(names[0])
		}
	}
	return id.Fingerprint()
}

// knows is Knows, and says as whom.
func (p *Partners) knows(id *certs.Identity) (name string, ok bool) {
	if p == nil || p.lists == nil || id == nil || id.IsZero() {
		return "", false
	}
	for _, domain := range id.Domains() {
		if p.counts(domain) != nil {
			return "partner " + domain, true
		}
	}
	for _, host := range id.Hosts() {
		if p.names.hosts[host] {
			return "server " + host, true
		}
		if domain, ok := p.inDomain(host); ok {
			return "host in " + domain, true
		}
	}
	for _, addr := range p.names.addrs {
		if id.CoversHost(addr) {
			return "server " + addr, true
		}
	}
	for _, i := range p.names.lax {
		if k := &p.known[i]; k.covered(id, []byte(k.domain), "") {
			return "partner " + k.domain, true
		}
	}
	return "", false
}

// counts returns the partner that has the domain and is not past its end date.
func (p *Partners) counts(domain string) *partner {
	entry, ok := p.lists.Partner([]byte(domain))
	if !ok || p.known[entry.Index].expired {
		return nil
	}
	return &p.known[entry.Index]
}

// inDomain returns the domain of a partner whose servers DNS may name, if a host
// lies in it.
func (p *Partners) inDomain(host string) (domain string, ok bool) {
	for host != "" {
		if k := p.counts(host); k != nil && len(k.servers) == 0 {
			return host, true
		}
		_, host, _ = strings.Cut(host, ".")
	}
	return "", false
}
