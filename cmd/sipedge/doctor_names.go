package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate"
)

// ourName looks up the name that home servers and partners reach us by.
func (d *doctor) ourName(ctx context.Context) group {
	g := group{Name: "names"}
	g.add(fine, "resolvers", few(d.locator.Resolvers()))
	name := d.conf.Name
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		g.add(noted, escaped(name), "our name is an address", "Partners and their certificates work with names: choose one.")
		return g
	}
	r := d.locator.Addresses(ctx, name)
	switch {
	case r.Err == nil && r.Alias != "":
		g.add(noted, escaped(name), "an alias of "+escaped(r.Alias)+": "+addresses(r), "An SRV record must not lead to it (RFC 2782); give it addresses of its own.")
	case r.Err == nil:
		g.add(fine, escaped(name), addresses(r))
	case !errors.Is(r.Err, locate.ErrNoRecords):
		g.Findings[0].Level = failed
		g.Findings[0].Evidence += ": " + escaped(r.Err.Error())
		g.Findings[0].Remedy = "Let this machine ask them, or name others in [dns] servers: partners cannot be found without."
		g.add(unchecked, escaped(name), "not checked: no resolver answers")
	default:
		if hops, err := d.locator.Host(ctx, name, 1); err == nil {
			g.add(noted, escaped(name), fmt.Sprintf("%v by the hosts file of this machine, and not in DNS", hops[0].Addr.Addr()), "Home servers must find it as well: dialogs come back to this name.")
			break
		}
		g.add(warned, escaped(name), "has neither A nor AAAA", "Publish its address, at least inside: dialogs come back to this name (RFC 3261 §16.6 step 4).")
	}
	return g
}

// addresses lists what a host's records say.
func addresses(r locate.Records) string {
	var list []string
	for _, a := range r.Addrs {
		list = append(list, a.String())
	}
	return few(list)
}

// domain looks up what others need to find the edge of one of our domains.
func (d *doctor) domain(ctx context.Context, written string) group {
	g := group{Name: "names: " + escaped(written)}
	domain, err := federation.Normal(written)
	if err != nil {
		g.add(failed, escaped(written), err.Error(), "Write a domain.")
		return g
	}
	services := d.locator.Services(ctx, domain)
	var targets []locate.Target
	none := 0
	for _, s := range services {
		switch label := serviceOf(s.Name, domain); {
		case s.Err == nil:
			g.add(fine, label, records(s))
			targets = append(targets, s.Targets...)
		case errors.Is(s.Err, locate.ErrNoRecords):
			none++
			g.add(noted, label, "no records", whoAsks(s.Name)+d.wanted(s.Name))
		default:
			g.add(failed, label, escaped(s.Err.Error()), "Look after the name servers of "+domain+": who asks them gets no answer either.")
		}
	}
	switch {
	case none == len(services) && len(d.outside()) == 0:
		g.Findings = nil
		g.add(noted, "SRV", "no records, as there is no listener for partners", "")
	case none == len(services):
		g.Findings = nil
		g.add(warned, "SRV", "neither "+services[0].Name+" nor "+services[1].Name,
			"Without them only partners who wrote down our servers find us."+d.wanted(services[0].Name))
	}
	seen := make(map[locate.Target]bool)
	for _, t := range targets {
		t.Priority, t.Weight = 0, 0
		if !seen[t] {
			seen[t] = true
			d.target(ctx, &g, domain, t, d.outside())
		}
	}
	return g
}

// serviceOf is the name of an SRV record without its domain.
func serviceOf(name, domain string) string { return strings.TrimSuffix(name, "."+domain) }

// whoAsks says whom it keeps away that a record is missing.
func whoAsks(name string) string {
	if strings.HasPrefix(name, "_sipfederationtls.") {
		return "Microsoft edges look for this one only."
	}
	return "Those who follow RFC 3263 look for this one."
}

// wanted is the record to publish.
func (d *doctor) wanted(name string) string {
	port := "5061"
	if l := d.outside(); len(l) > 0 {
		if _, p, err := net.SplitHostPort(cmp.Or(l[0].Advertise, l[0].Address)); err == nil && p != "0" {
			port = p
		}
	}
	return fmt.Sprintf(" Publish: %s. IN SRV 10 10 %s %s.", name, port, escaped(d.conf.Name))
}

// records lists SRV records as a zone has them.
func records(r locate.Records) string {
	var list []string
	for _, t := range r.Targets {
		list = append(list, fmt.Sprintf("%d %d %d %s", t.Priority, t.Weight, t.Port, escaped(cmp.Or(t.Host, "."))))
	}
	text := few(list)
	if r.More > 0 {
		text += fmt.Sprintf(" and %d that nobody looks at", r.More)
	}
	return text
}

// target judges one server that the SRV records of a domain of ours name.
func (d *doctor) target(ctx context.Context, g *group, domain string, t locate.Target, to []edge.ListenerConfig) {
	label := escaped(cmp.Or(t.Host, "."))
	switch {
	case t.Host == "":
		g.add(warned, label, "the records say that there is no such service (RFC 2782)", "Take that record away.")
		return
	case !t.Usable:
		g.add(failed, label, fmt.Sprintf("port %d of it cannot be connected to", t.Port), "Name a host and a port.")
		return
	case !inDomain(t.Host, domain):
		g.add(warned, label, "does not lie in "+domain, "Name a host in "+domain+": Microsoft edges, and others that are strict, follow no other.")
	}
	d.proven(g, label, domain, t.Host, to)
	r := d.locator.Addresses(ctx, t.Host)
	if r.Err != nil {
		g.add(failed, label, "no address: "+escaped(r.Err.Error()), "Publish A or AAAA of "+label+".")
		return
	}
	if r.Alias != "" {
		g.add(warned, label, "is an alias of "+escaped(r.Alias), "Give it A and AAAA of its own: the target of an SRV record must not be an alias (RFC 2782).")
	}
	for _, ip := range r.Addrs {
		l, evidence, remedy := d.leads(netip.AddrPortFrom(ip, t.Port), t.Host, to)
		g.add(l, label, evidence, remedy)
	}
}

// inDomain reports whether a host is the domain or lies in it.
func inDomain(host, domain string) bool {
	return host == domain || strings.HasSuffix(host, "."+domain)
}

// proven looks whether what we show there is what those who come expect.
func (d *doctor) proven(g *group, label, domain, host string, to []edge.ListenerConfig) {
	for _, l := range to {
		c := d.conf.Certificates[l.Certificate]
		pair, err := certs.Load(beside(d.conf.Dir, c.Cert), beside(d.conf.Dir, c.Key))
		if err != nil {
			continue // said already
		}
		id, err := certs.ReadIdentity(pair.Leaf())
		if err == nil && (id.Covers(domain) || inDomain(host, domain) && id.CoversHost(host)) {
			continue
		}
		g.add(failed, label, "certificate "+escaped(l.Certificate)+" speaks neither for "+domain+" nor, within it, for "+label,
			"Have it issued with the SAN dNSName "+label+", or the SAN URI sip:"+domain+": who finds us by this record refuses it as it is.")
	}
}

// outside are the listeners that partners come to.
func (d *doctor) outside() (list []edge.ListenerConfig) {
	for _, name := range sorted(d.conf.Listeners) {
		if l := d.conf.Listeners[name]; forPartners(l) {
			list = append(list, l)
		}
	}
	return list
}

// leads judges whether an address of ours in DNS leads to one of our listeners.
func (d *doctor) leads(addr netip.AddrPort, host string, to []edge.ListenerConfig) (level, string, string) {
	if err := d.locator.Forbidden(addr); err != nil {
		return failed, addr.String() + " is not a public address", "Publish the address that is seen from outside: partners refuse to be sent to such a one, and users cannot reach it."
	}
	here := localAddresses()
	var near string
	for _, l := range to {
		at, ok := listens(l.Address)
		switch {
		case !ok:
			continue
		case at.Port() == addr.Port() && (at.Addr() == addr.Addr() || at.Addr().IsUnspecified() && slices.Contains(here, addr.Addr())):
			return fine, addr.String() + " is our listener", ""
		case l.Advertise != "" && sameHostPort(l.Advertise, host, addr.Port()):
			return fine, addr.String() + " is what we advertise as " + escaped(l.Advertise), ""
		}
		near = at.String()
	}
	switch {
	case near == "":
		return unchecked, addr.String() + " not checked: no listener for them has a fixed address", ""
	case slices.Contains(here, addr.Addr()):
		return failed, addr.String() + " is on this machine, and our listener is at " + near, "Correct the port in the record, or the address of the listener."
	}
	return noted, addr.String() + " is not on this machine; our listener is at " + near,
		"Right if 1:1 NAT or a balancer leads one to the other: name it in advertise then. Wrong otherwise."
}

// listens reads where a listener is; one on any free port is nowhere.
func listens(address string) (netip.AddrPort, bool) {
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil || a.Port == 0 {
		return netip.AddrPort{}, false
	}
	ip, _ := netip.AddrFromSlice(a.IP)
	if !ip.IsValid() {
		ip = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(a.Port)), true
}

func sameHostPort(text, host string, port uint16) bool {
	h, p, err := net.SplitHostPort(text)
	return err == nil && strings.EqualFold(h, host) && p == strconv.Itoa(int(port))
}

// localAddresses are the addresses of this machine.
func localAddresses() (list []netip.Addr) {
	all, _ := net.InterfaceAddrs() // without them nothing is here
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				list = append(list, ip.Unmap())
			}
		}
	}
	return list
}
