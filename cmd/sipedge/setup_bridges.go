package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp"
	"github.com/sipedge/sipedge/cmd/sipedge/internal/settings"
	"github.com/sipedge/sipedge/edge"
)

// A span is one bridge of an installation, and its place at the edge.
type span struct {
	name      string
	keeper    *bridges.Keeper
	seat      *edge.BridgeSeat
	addresses []string // to listen on
	open      []string // that it listens on
	ports     *bridges.Ports
}

// addBridges makes the bridges that the configuration has, and gives them their places
// at the edge. They open nothing yet.
func (s *installation) addBridges(set *settings.Settings, log *slog.Logger) []error {
	s.edge.SetBridgePolicy(set.Bridges)
	c := set.Bridge.XMPP
	if c == nil {
		return nil
	}
	d := s.xmppDeps(set, log)
	// This one looks at the configuration, and knows addresses; others carry traffic.
	first, errs := xmpp.New(*c, d)
	if len(errs) > 0 {
		return errs
	}
	conf := first.Config()
	b := &span{name: xmpp.Network, ports: bridges.NewPorts(s.edge.Place), addresses: slices.Concat(conf.Address, conf.DirectTLS)}
	d.Store, d.Ports, d.Roots, d.Suspects = s.store, b.ports, first.Roots(), xmpp.NewSuspects()
	b.keeper = bridges.NewKeeper(b.name, func() (bridges.Bridge, error) {
		made, errs := xmpp.New(*c, d)
		return made, errors.Join(errs...)
	}, log)
	if _, paused := s.pauses.Of(b.name); paused {
		b.keeper.Pause(true)
	}
	b.seat = s.edge.AddBridge(edge.Bridge{
		Name: b.name, Domains: servedBy(conf, d.Domains), Tunnels: tunnels(conf), Receive: b.keeper.Receive, Paused: b.keeper.Paused,
		Address: first.Address, Rule: allowlists.Rule{Name: "[bridge.xmpp]", File: set.Edge.File, Line: c.Line},
	})
	s.edge.Watch("[bridge.xmpp]", d.Certificates[c.Certificate], first.Roots())
	s.spans = append(s.spans, b)
	return nil
}

// xmppDeps is what the bridge to XMPP gets of the edge.
func (s *installation) xmppDeps(set *settings.Settings, log *slog.Logger) xmpp.Deps {
	var domains []string
	for _, d := range set.Edge.Domains {
		if n, err := allowlists.NormalDomain(d); err == nil {
			domains = append(domains, n)
		}
	}
	return xmpp.Deps{
		Certificates: s.edge.Keypairs(), Locator: s.edge.Locator(), Domains: domains,
		Path: func(p string) string { return beside(set.Edge.Dir, p) }, File: set.Edge.File, StateDir: stateDir(set.Edge),
		Policy: s.edge.BridgePolicy, Microsoft: s.edge.SpeaksMicrosoft, Allow: func(domain string) bool { return s.edge.Bridges(xmpp.Network, domain) }, Log: log,
	}
}

// servedBy are the domains of ours whose users the bridge serves: all, if those that
// are not native have a gateway.
func servedBy(c xmpp.Config, own []string) []string {
	if c.Gateway != "" {
		return own
	}
	return c.Domains
}

// tunnels are the domains under which our users may write to others.
func tunnels(c xmpp.Config) []string {
	if c.SIPGateway == "" {
		return nil
	}
	return []string{c.SIPGateway}
}

// listen opens the ports of a bridge.
func (b *span) listen(e *edge.Edge, log *slog.Logger) error {
	for _, a := range b.addresses {
		addr, err := b.ports.Open(a)
		if err != nil {
			return fmt.Errorf("[bridge.%s]: listen on %s: %w", b.name, a, err)
		}
		addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
		e.Own(addr)
		b.open = append(b.open, addr.String())
		log.Info("listening", "listener", "bridge "+b.name, "role", edge.RoleBridge, "address", addr)
	}
	return nil
}

// crossings are the bridges, for the control socket.
func (s *installation) crossings() (list []admin.Crossing) {
	for _, b := range s.spans {
		list = append(list, admin.Crossing{Keeper: b.keeper, Addresses: b.open})
	}
	return list
}

// openBridges opens the ports of all.
func (s *installation) openBridges(log *slog.Logger) error {
	for _, b := range s.spans {
		if err := b.listen(s.edge, log); err != nil {
			s.closeBridges()
			return err
		}
	}
	return nil
}

// closeBridges closes the ports of all.
func (s *installation) closeBridges() {
	for _, b := range s.spans {
		b.ports.Close()
	}
}

// runBridges runs all until ctx is done, and has let them say goodbye then.
func (s *installation) runBridges(ctx context.Context) {
	var group sync.WaitGroup
	for _, b := range s.spans {
		group.Go(func() { b.keeper.Run(ctx, b.seat) })
	}
	group.Wait()
	s.closeBridges()
}
