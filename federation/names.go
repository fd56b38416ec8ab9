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

func namesOf(known []partner) names {
	n := names{hosts: make(map[string]bool)}
	for i := range known {
		k := &known[i]
		if k.wildcard || k.cn {
			n.lax = append(n.lax, i)
		}
		for _, host := range k.hosts {
			if n.hosts[host] {
				continue
			}
			n.hosts[host] = true
			if _, err := netip.ParseAddr(host); err == nil {
				n.addrs = append(n.addrs, host)
			}
		}
	}
	return n
}

// Knows reports whether id may speak for any listed partner at all, also one
// whose DNS must lead to it first. A connection of which that is no longer true
// after a reload has no business here.
func (p *Partners) Knows(id *certs.Identity) bool {
	if p == nil || id == nil || id.IsZero() {
		return false
	}
	for _, domain := range id.Domains() {
		if _, ok := p.lists.Partner([]byte(domain)); ok {
			return true
		}
	}
	for _, host := range id.Hosts() {
		if p.names.hosts[host] || p.inDomain(host) {
			return true
		}
	}
	for _, addr := range p.names.addrs {
		if id.CoversHost(addr) {
			return true
		}
	}
	for _, i := range p.names.lax {
		if k := &p.known[i]; k.covered(id, []byte(k.domain), "") {
			return true
		}
	}
	return false
}

// inDomain reports whether a host lies in the domain of a partner whose servers
// DNS may name.
func (p *Partners) inDomain(host string) bool {
	for host != "" {
		if entry, ok := p.lists.Partner([]byte(host)); ok && len(p.known[entry.Index].servers) == 0 {
			return true
		}
		_, host, _ = strings.Cut(host, ".")
	}
	return false
}
