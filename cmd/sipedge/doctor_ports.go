package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/locate"
)

// ports judges whether each listener gets its port, or has it already.
func (d *doctor) ports(ctx context.Context) group {
	g := group{Name: "ports", Findings: []finding{d.running(ctx)}}
	for _, name := range sorted(d.conf.Listeners) {
		g.Findings = append(g.Findings, d.port(ctx, name, d.conf.Listeners[name]))
	}
	g.Findings = append(g.Findings, d.bridgePorts(ctx)...)
	return g
}

// running says whether an edge runs with this configuration.
func (d *doctor) running(ctx context.Context) finding {
	f := finding{Level: noted, Subject: "edge"}
	status, err := admin.NewClient(admin.SocketPath(stateDir(d.conf))).Status(ctx)
	switch {
	case err == nil:
		f.Level, f.Evidence = fine, fmt.Sprintf("runs since %s UTC, process %d", minute(status.Since), status.PID)
	case errors.Is(err, admin.ErrNotRunning):
		f.Evidence, f.Remedy = "no edge runs with this configuration", "To start it: "+d.flag.command("serve")
	default:
		f.Level, f.Evidence, f.Remedy = unchecked, "not checked: "+escaped(err.Error()), "Run doctor as root or as the user that the edge runs as."
	}
	return f
}

// port tries to take a listener's port, and lets it go at once.
func (d *doctor) port(ctx context.Context, name string, c edge.ListenerConfig) finding {
	f := finding{Subject: "listener " + escaped(name), Evidence: escaped(c.Address)}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Address)
	switch {
	case err == nil:
		l.Close()
		f.Level = fine
		f.Evidence += " is free"
		if _, port, _ := net.SplitHostPort(c.Address); len(port) < 4 && port != "0" && d.user.uid != 0 {
			f.Level, f.Remedy = noted, "Below 1024 "+d.user.name+" needs AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit."
		}
		return f
	case errors.Is(err, syscall.EADDRINUSE):
		return d.held(ctx, f, c)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		f.Level, f.Remedy = failed, "Give the address to this machine, or name one that it has. Behind 1:1 NAT that is the inner address; the outer one belongs into advertise."
		f.Evidence += " is no address of this machine"
	case errors.Is(err, syscall.EACCES):
		f.Level, f.Remedy = unchecked, "Run doctor as root. The unit needs AmbientCapabilities=CAP_NET_BIND_SERVICE."
		f.Evidence += " not checked: who runs doctor may not take it"
	default:
		f.Level, f.Remedy = failed, "Mend the address of the listener."
		f.Evidence = escaped(err.Error())
	}
	return f
}

// held looks at who holds a port: the edge that runs, or somebody else.
func (d *doctor) held(ctx context.Context, f finding, c edge.ListenerConfig) finding {
	at, ok := listens(c.Address)
	if !ok {
		f.Level, f.Evidence = unchecked, f.Evidence+" not checked: no port"
		return f
	}
	if at.Addr().IsUnspecified() {
		at = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at.Port())
	}
	other := "Find out who holds it (ss -ltnp), and stop that, or name another address."
	pair, err := d.shows(c.Certificate)
	if c.Transport == "tcp" || err != nil {
		f.Level, f.Remedy = noted, "If the edge runs, it is that. If not: "+other
		f.Evidence += " is taken; without TLS nobody can tell by whom"
		return f
	}
	k := &call{
		hop:    locate.Hop{Host: d.conf.Name, Addr: at},
		conf:   certs.ClientConfig(certs.ClientOptions{Keypair: pair, ServerName: d.conf.Name}),
		leaves: true, // its certificate says who it is
	}
	k.make(ctx)
	switch leaf := k.leaf(); {
	case leaf == nil:
		f.Level, f.Remedy = failed, other
		f.Evidence += " is taken by something that speaks no TLS: " + escaped(errors.Join(k.err, k.tlsErr).Error())
	case bytes.Equal(leaf.Raw, pair.Leaf().Raw):
		f.Level = fine
		f.Evidence += " is taken by an edge that runs with certificate " + escaped(c.Certificate)
	case namesIn(leaf) == namesIn(pair.Leaf()):
		f.Level, f.Remedy = warned, "If the edge runs, it has not taken the new files yet: SIGHUP makes it, and its log says why if it does not."
		f.Evidence += " is taken by somebody who shows another certificate with the same names"
	default:
		f.Level, f.Remedy = failed, other
		f.Evidence += " is taken by somebody else, who shows a certificate for " + namesIn(leaf)
	}
	return f
}

// shows is the certificate of a name.
func (d *doctor) shows(name string) (*certs.Keypair, error) {
	c := d.conf.Certificates[name]
	return certs.Load(beside(d.conf.Dir, c.Cert), beside(d.conf.Dir, c.Key))
}

// pool asks each home server of a pool as the edge does.
func (d *doctor) pool(ctx context.Context, name string) group {
	g := group{Name: "pool " + escaped(name)}
	c := d.conf.Pools[name]
	g.Findings = make([]finding, len(c.Servers))
	var run errgroup.Group
	run.SetLimit(doctorChecks)
	for i, server := range c.Servers {
		run.Go(func() error {
			g.Findings[i] = d.server(ctx, name, server)
			return nil
		})
	}
	_ = run.Wait() // the checks have no errors, only findings
	return g
}

// server asks one home server: resolve, connect, shake hands, OPTIONS.
func (d *doctor) server(ctx context.Context, pool, server string) finding {
	c := d.conf.Pools[pool]
	f := finding{Level: failed, Subject: escaped(server)}
	host, port, _ := net.SplitHostPort(server)
	number, _ := net.LookupPort("tcp", port)
	hops, err := d.locator.Host(ctx, host, number)
	if err != nil {
		f.Evidence, f.Remedy = escaped(err.Error()), "Give the name an address, in the DNS that this machine asks, or write the address into servers."
		return f
	}
	conf, err := d.poolTLS(pool, host)
	if err != nil {
		f.Evidence, f.Remedy = escaped(err.Error()), "Mend the certificates of the pool."
		return f
	}
	transport := cmp.Or(c.Transport, "tls")
	us := asker{name: d.conf.Name, agent: "sipedge/" + version() + " doctor of " + d.conf.Name}
	for _, hop := range hops {
		k := &call{hop: hop, conf: conf, options: us.options(server, transport)}
		k.make(ctx)
		f = d.spoke(f, k, c, hop)
		if k.answer != nil {
			break // the edge would stay with this address
		}
	}
	return f
}

// poolTLS is how the edge connects to a server of the pool; nil for plain TCP.
func (d *doctor) poolTLS(pool, host string) (*tls.Config, error) {
	c := d.conf.Pools[pool]
	if c.Transport == "tcp" {
		return nil, nil
	}
	pair, err := d.shows(d.certificateOf(pool))
	if err != nil {
		return nil, err
	}
	l := d.conf.Listeners[d.internal(c.Transport)]
	ca, crl := cmp.Or(c.CA, l.PeerCA), l.PeerCRL
	if c.CA != "" {
		crl = ""
	}
	roots, err := d.roots(ca, crl)
	if err != nil {
		return nil, err
	}
	return certs.ClientConfig(certs.ClientOptions{Keypair: pair, Verifier: roots.Verifier(), ServerName: cmp.Or(c.PeerName, host)}), nil
}

// roots reads authorities and revocations from files of the configuration.
func (d *doctor) roots(ca, crl string) (*certs.Roots, error) { return rootsBeside(d.conf.Dir, ca, crl) }

func rootsBeside(dir, ca, crl string) (*certs.Roots, error) {
	if ca != certs.SystemRoots {
		ca = beside(dir, ca)
	}
	if crl != "" {
		crl = beside(dir, crl)
	}
	return certs.LoadRoots(ca, crl)
}

// spoke judges how a home server took our call.
func (d *doctor) spoke(f finding, k *call, c edge.PoolConfig, hop locate.Hop) finding {
	way := hop.Addr.String()
	if hop.Addr.String() == f.Subject {
		way = ""
	}
	said := func(l level, what, remedy string) finding {
		f.Level, f.Evidence, f.Remedy = l, what, remedy
		if way != "" {
			f.Evidence = way + ": " + what
		}
		return f
	}
	if k.err != nil {
		return said(failed, "no connection: "+escaped(dialFault(k.err)), "Start the home server, or open the firewall from here to there.")
	}
	tcp := "TCP " + inMillis(k.connected)
	if k.tlsErr != nil {
		return said(failed, tcp+", then no TLS: "+escaped(k.tlsErr.Error()), d.mendPool(k, c))
	}
	if k.state != nil {
		tcp += ", " + tls.VersionName(k.state.Version) + " " + inMillis(k.shaken)
	}
	if k.sipErr != nil {
		return said(failed, tcp+", then OPTIONS: "+escaped(k.sipErr.Error()), mendSilence(k))
	}
	answer := fmt.Sprintf("%s, OPTIONS %d in %s", tcp, k.answer.status, inMillis(k.answer.took))
	if k.answer.software != "" {
		answer += " from " + k.answer.software
	}
	answer += whyGood(k.answer.status)
	off := k.answer.off()
	switch {
	case k.answer.status == 503:
		return said(warned, answer+": it says itself that it takes nothing now", "Find out what it waits for; the edge sends it nothing while it says that.")
	case !k.answer.date.IsZero() && off.Abs() > clockOff:
		return said(warned, fmt.Sprintf("%s; its clock is %v from ours", answer, off.Round(time.Second)), "Let both follow the same NTP servers.")
	}
	return said(fine, answer, "")
}

// whyGood says why an answer is good news that does not look so. Our OPTIONS has
// Max-Forwards 0: who does not answer it for itself says 483 (RFC 3261 §16.3).
func whyGood(status int) string {
	switch {
	case status == 483:
		return "; it is there: 483 says only that our OPTIONS may go no further, as is meant"
	case status >= 300 && status != 503:
		return "; it is there, whatever it thinks of OPTIONS"
	}
	return ""
}

// clockOff is how far two clocks may be apart before somebody should know.
const clockOff = 30 * time.Second

// mendPool says what helps against a handshake with a home server that failed.
func (d *doctor) mendPool(k *call, c edge.PoolConfig) string {
	switch certs.ProblemOf(k.tlsErr) {
	case certs.UnknownIssuer:
		return "Name the authority of the home servers' certificates in ca of the pool, or in peer_ca of the internal listener."
	case certs.NameNotCovered:
		return "Name what is on the certificate in peer_name of the pool."
	case certs.Expired, certs.NotYetValid:
		return "Renew the home server's certificate, and look at both clocks."
	case certs.WrongUsage:
		return "The home server needs a certificate with the server usage."
	case "":
		if refusedOurs(k.tlsErr) {
			return "It refuses our certificate: give it the authority of ours, and see whether it insists on the client usage."
		}
		return "See whether the port speaks TLS 1.2 or 1.3; for plain TCP the pool needs transport = \"tcp\"."
	}
	return "Look at the home server's certificate."
}

// mendSilence says what helps against an OPTIONS without an answer.
func mendSilence(k *call) string {
	if refusedOurs(k.sipErr) {
		return "It refuses our certificate: give it the authority of ours, and see whether it insists on the client usage."
	}
	return "See whether it takes SIP on this port from us, and answers OPTIONS: without answers the edge counts it as dead."
}

// refusedOurs reports whether the other side ended TLS because of what we
// showed (RFC 8446 §6.2). crypto/tls has no type for what it was told; its words
// are known, and a test holds them.
func refusedOurs(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return false
	}
	switch strings.TrimPrefix(op.Err.Error(), "tls: ") {
	case "bad certificate", "unsupported certificate", "revoked certificate", "expired certificate",
		"unknown certificate", "unknown certificate authority", "access denied", "certificate required":
		return true
	}
	return false
}

func inMillis(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// dialFault is why a connection could not be made, without the addresses, which
// stand beside it.
func dialFault(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens there (refused)"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "there is no way to it from here"
	case errors.As(err, &op) && op.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %v", callConnect)
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return err.Error()
}
