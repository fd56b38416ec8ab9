package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate"
)

// find looks for the servers of the domain as the edge does, and says each
// thing that it sees on the way. What it returns may be called.
func (p *probe) find(ctx context.Context) (group, []locate.Hop) {
	g := group{Name: "dns"}
	var hops []locate.Hop
	if p.route.Direct() {
		evidence, remedy := "not asked: our list names the servers", "Take servers out of the entry to have them found by DNS."
		if p.route.Tier == federation.TierUpstream {
			evidence, remedy = "not asked: what goes to the domain goes to our clearing house, and that is looked at", "List the domain to reach it without."
		}
		g.add(noted, "SRV", evidence, remedy)
		hops = p.named(ctx, &g)
	} else {
		hops = p.found(ctx, &g)
	}
	if n := len(hops) - probeCalls; n > 0 {
		g.add(unchecked, "more addresses", fmt.Sprintf("not checked: %d beyond the first %d", n, probeCalls))
		hops = hops[:probeCalls]
	}
	return g, hops
}

// named finds the servers that the administrator wrote down.
func (p *probe) named(ctx context.Context, g *group) (hops []locate.Hop) {
	for _, server := range p.route.Servers {
		host, port, _ := net.SplitHostPort(server)
		number, _ := net.LookupPort("tcp", port)
		found, err := p.locator.Server(ctx, host, number, p.route.FromCard)
		if err != nil {
			g.add(failed, "A, AAAA", escaped(err.Error()), "Correct servers in the entry of "+p.domain+", or ask them for their address.")
			continue
		}
		g.add(fine, "A, AAAA", hostAt(host, hopList(found)))
		hops = append(hops, found...)
	}
	return hops
}

// hostAt is a host with its addresses; one that is an address is that.
func hostAt(host, addrs string) string {
	if host == addrs {
		return addrs
	}
	return escaped(host) + ": " + addrs
}

func hopList(hops []locate.Hop) string {
	var list []string
	for _, h := range hops {
		list = append(list, h.Addr.Addr().String())
	}
	return few(list)
}

// found asks DNS for the servers.
func (p *probe) found(ctx context.Context, g *group) (hops []locate.Hop) {
	var targets []locate.Target
	none, from := 0, ""
	services := p.locator.Services(ctx, p.domain)
	for _, s := range services {
		switch label := "SRV"; {
		case s.Err == nil && from == "":
			targets, from = s.Targets, s.Name
			g.add(fine, label, s.Name+": "+records(s))
		case s.Err == nil:
			g.add(fine, label, s.Name+": "+records(s)+"; not used, as the other has records")
		case errors.Is(s.Err, locate.ErrNoRecords):
			none++
			g.add(noted, label, s.Name+": no records", whoAsks(s.Name)+" Theirs to publish.")
		default:
			g.add(warned, label, s.Name+": "+escaped(s.Err.Error()), "Theirs: look after the name servers of "+p.domain+". Ours: look after the resolvers.")
		}
	}
	switch {
	case none == len(services):
		g.Findings = nil
		g.add(failed, "SRV", "neither "+services[0].Name+" nor "+services[1].Name,
			"Ask them to publish one. Or name their server in our list: servers = [\"HOST:5061\"] in [partner.\""+p.domain+"\"].")
	case from == "":
		for i := range g.Findings {
			g.Findings[i].Level = max(g.Findings[i].Level, failed)
		}
	}
	if from == "" {
		notChecked(g, []string{"target in domain", "A, AAAA"}, "there is no target")
		return nil
	}
	seen := make(map[string]bool)
	for _, t := range targets {
		hops = append(hops, p.target(ctx, g, t, seen)...)
	}
	return hops
}

// target looks at one SRV target and its addresses.
func (p *probe) target(ctx context.Context, g *group, t locate.Target, seen map[string]bool) (hops []locate.Hop) {
	host := escaped(t.Host)
	key := fmt.Sprint(t.Host, ":", t.Port)
	switch {
	case t.Host == "":
		g.add(failed, "target in domain", "the records say that there is no such service (RFC 2782)", "Ask them whether they mean it.")
		return nil
	case !t.Usable:
		g.add(failed, "target in domain", fmt.Sprintf("%s, port %d: nothing to connect to", host, t.Port), "Ask them to name a host and a port.")
		return nil
	case seen[key]:
		return nil
	case inDomain(t.Host, p.domain):
		g.add(fine, "target in domain", host)
	default:
		g.add(warned, "target in domain", host+" does not lie in "+p.domain,
			"Then its certificate must speak for the domain itself: see names below. Microsoft edges follow no such record at all; ask them for a target in "+p.domain+".")
	}
	seen[key] = true
	p.targets = append(p.targets, t.Host)
	r := p.locator.Addresses(ctx, t.Host)
	if r.Err != nil {
		g.add(failed, "A, AAAA", host+": "+escaped(r.Err.Error()), "Ask them to publish A or AAAA of "+host+".")
		return nil
	}
	if r.Alias != "" {
		g.add(warned, "A, AAAA", host+" is an alias of "+escaped(r.Alias), "Works with us. The target of an SRV record must not be an alias (RFC 2782): others may refuse it.")
	}
	var good []string
	for _, ip := range r.Addrs {
		addr := netip.AddrPortFrom(ip, t.Port)
		if err := p.locator.Forbidden(addr); err != nil {
			g.add(failed, "A, AAAA", fmt.Sprintf("%s: %s: %s", host, ip, strings.TrimPrefix(err.Error(), locate.ErrForbiddenAddress.Error()+": ")),
				"Nobody outside may send us to such an address. Ask them for a public one; if it is right, as in a lab or a private network, name its range in [dns] allowed_ranges.")
			continue
		}
		good = append(good, ip.String())
		hops = append(hops, locate.Hop{Host: t.Host, Addr: addr, FromDNS: true})
	}
	if good != nil {
		g.add(fine, "A, AAAA", hostAt(t.Host, few(good)))
	}
	return hops
}
