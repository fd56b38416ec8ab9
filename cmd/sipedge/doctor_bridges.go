package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges/xmpp"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/locate"
)

// bridgeFiles are the files that bridges read.
func (d *doctor) bridgeFiles() (list []file) {
	if d.bridge.XMPP == nil {
		return nil
	}
	list = append(list, file{path: filepath.Join(d.conf.Dir, "bridges.toml"), what: "who may use bridges", absent: "not there, so nobody may but by decision"})
	for what, path := range map[string]string{"authorities of the bridge to XMPP": d.bridge.XMPP.PeerCA, "revocations of the bridge to XMPP": d.bridge.XMPP.PeerCRL} {
		if path != "" && path != certs.SystemRoots {
			list = append(list, file{path: beside(d.conf.Dir, path), what: what})
		}
	}
	for _, a := range d.accounts {
		list = append(list, file{path: a.PasswordFile, what: "password of the account " + a.JID, secret: true})
	}
	slices.SortStableFunc(list[1:], func(a, b file) int { return strings.Compare(a.what, b.what) })
	return list
}

// xmppDomains are the domains whose XMPP server the edge is, in normal form.
func (d *doctor) xmppDomains() []string {
	if c := d.bridge.XMPP; c != nil {
		return xmppDomains(d.conf, c)
	}
	return nil
}

// xmppDomains are those of a configuration.
func xmppDomains(conf edge.Config, c *xmpp.Config) (list []string) {
	names := c.Domains
	if len(names) == 0 {
		names = conf.Domains
	}
	if c.Gateway != "" {
		names = append(slices.Clone(names), c.Gateway)
	}
	for _, name := range names {
		if n, err := allowlists.NormalDomain(name); err == nil {
			list = append(list, n)
		}
	}
	return list
}

// xmpp looks up what servers of the XMPP network need to find one of our domains.
func (d *doctor) xmpp(ctx context.Context, domain string) group {
	g := group{Name: "names: XMPP of " + escaped(domain)}
	r, err := d.locator.XMPP(ctx, domain)
	publish := d.wantedXMPP(domain)
	switch {
	case err != nil && errors.Is(err, locate.ErrNoRecords):
		g.add(warned, "SRV", "neither _xmpp-server._tcp nor _xmpps-server._tcp, and "+escaped(domain)+" itself has no address",
			"Without them nobody finds our XMPP server."+publish)
		return g
	case err != nil:
		if errors.Is(err, locate.ErrForbiddenAddress) {
			g.add(failed, "SRV", escaped(err.Error()), "Publish the address that is seen from outside; where that is meant to be an inner one, put it into allowed_ranges of [dns].")
			return g
		}
		g.add(failed, "SRV", escaped(err.Error()), "Look after the name servers of "+escaped(domain)+": who asks them gets no answer either.")
		return g
	}
	to := d.xmppListeners()
	for _, t := range r.Targets {
		label := fmt.Sprintf("%s:%d", escaped(t.Host), t.Port)
		if t.Direct {
			label += " (direct TLS)"
		}
		if len(t.Hops) == 0 {
			g.add(failed, label, "no address", "Publish A or AAAA of "+escaped(t.Host)+".")
			continue
		}
		if t.Host == domain && len(r.Targets) == 1 {
			g.add(noted, label, "found by the domain's own address, without an SRV record", strings.TrimSpace(publish))
		}
		for _, h := range t.Hops {
			l, evidence, remedy := d.leads(h.Addr, t.Host, to[t.Direct])
			g.add(l, label, evidence, remedy)
		}
	}
	return g
}

// wantedXMPP is the record to publish.
func (d *doctor) wantedXMPP(domain string) string {
	c := d.bridge.XMPP
	name, address := "_xmpp-server._tcp.", ""
	switch {
	case len(c.Address) > 0:
		address = c.Address[0]
	case len(c.DirectTLS) > 0:
		name, address = "_xmpps-server._tcp.", c.DirectTLS[0]
	}
	_, port, _ := net.SplitHostPort(address)
	return fmt.Sprintf(" Publish: %s%s. IN SRV 10 10 %s %s.", name, escaped(domain), cmp.Or(port, "5269"), escaped(d.conf.Name))
}

// xmppListeners are the ports of the bridge, as if they were listeners: by whether TLS
// begins at once.
func (d *doctor) xmppListeners() map[bool][]edge.ListenerConfig {
	list := make(map[bool][]edge.ListenerConfig)
	for _, a := range d.bridge.XMPP.Address {
		list[false] = append(list[false], edge.ListenerConfig{Address: a})
	}
	for _, a := range d.bridge.XMPP.DirectTLS {
		list[true] = append(list[true], edge.ListenerConfig{Address: a})
	}
	return list
}

// bridgePorts judges whether the bridge gets its ports, or has them already.
func (d *doctor) bridgePorts(ctx context.Context) (list []finding) {
	c := d.bridge.XMPP
	if c == nil {
		return nil
	}
	status, err := admin.NewClient(admin.SocketPath(stateDir(d.conf))).Bridge(ctx, xmpp.Network, "")
	for _, a := range slices.Concat(c.Address, c.DirectTLS) {
		f := d.port(ctx, "", edge.ListenerConfig{Address: a, Transport: "tcp"})
		f.Subject = "bridge xmpp"
		if f.Level == noted && err == nil && takes(status.Addresses, a) {
			f.Level, f.Evidence, f.Remedy = fine, escaped(a)+" is taken by the edge that runs", ""
		}
		list = append(list, f)
	}
	if err == nil && status.State != "running" {
		list = append(list, finding{warned, "bridge xmpp", escaped(strings.TrimSuffix(status.State+": "+status.Reason, ": ")), "To see why: " + d.flag.command("bridge", "show", "xmpp")})
	}
	return list
}

// takes reports whether one of several open ports is that of an address of the
// configuration.
func takes(open []string, address string) bool {
	at, ok := listens(address)
	return ok && slices.ContainsFunc(open, func(o string) bool {
		have, err := netip.ParseAddrPort(o)
		return err == nil && have.Port() == at.Port()
	})
}

// speaksXMPP judges whether the certificate of the bridge names what it should.
func (d *doctor) speaksXMPP(g *group, id *certs.Identity) {
	var missing []string
	for _, domain := range d.xmppDomains() {
		if !id.SpeaksXMPP(domain) {
			missing = append(missing, domain)
		}
	}
	if len(missing) > 0 {
		g.add(warned, "names", "is no XMPP server's of "+strings.Join(missing, ", ")+": servers that insist on certificates will not talk to us",
			"Have it issued with the SAN dNSName "+missing[0]+".")
	}
}
