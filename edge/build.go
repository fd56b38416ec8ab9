package edge

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/sip"
)

// A builder makes an Edge of its configuration and collects every fault on the
// way: an admin wants to mend them all at once.
type builder struct {
	e      *Edge
	config *Config
	pairs  map[string]*certs.Keypair
	trusts map[string]*trust // by listener
	errs   []error
}

// A trust is what we show on some connections and whom we believe there.
type trust struct {
	name     string // where it is used, for the log
	side     *side
	keypair  *certs.Keypair
	roots    *certs.Roots
	verifier *certs.Verifier
}

// client makes the TLS settings towards one server of a partner. Settings are
// never shared by partners: a session made with one would be offered to the
// other.
func (t *trust) client(route federation.Route, host string) *tls.Config {
	return certs.ClientConfig(certs.ClientOptions{
		Keypair: t.keypair, Verifier: t.verifier, ServerName: host, Accept: route.Accept(host),
	})
}

// complain notes a fault at a line of the configuration.
func (b *builder) complain(line int, format string, args ...any) {
	b.errs = append(b.errs, allowlists.Problem{File: b.config.File, Line: line, Text: fmt.Sprintf(format, args...)})
}

func (b *builder) build() {
	b.names()
	b.certificates()
	b.listeners()
	b.allPools()
	b.insidePeers()
	b.serverSettings()
	b.locator()
	b.keys()
}

// path is a path of the configuration, from the folder of its file.
func (b *builder) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(b.config.Dir, p)
}

func (b *builder) names() {
	if !sip.ValidHost([]byte(b.config.Name)) {
		b.complain(b.config.NameLine, "name %q is not a host name; it is what peers reach us by, such as \"edge1.example.com\"", b.config.Name)
	}
	b.e.names[b.e.name] = true
	if len(b.config.Domains) == 0 {
		b.complain(b.config.DomainsLine, "domains is empty; it lists the domains whose users live behind us")
	}
}

func (b *builder) certificates() {
	b.pairs, b.e.pairs = make(map[string]*certs.Keypair), make(map[string]*certs.Keypair)
	for _, name := range sortedKeys(b.config.Certificates) {
		c := b.config.Certificates[name]
		pair, err := certs.Load(b.path(c.Cert), b.path(c.Key))
		if err != nil {
			b.complain(c.Line, "[certificate.%s]: %v", name, err)
		}
		b.pairs[name] = pair
		if pair == nil {
			continue
		}
		b.e.pairs[name] = pair
		for _, w := range pair.Warnings(time.Now()) {
			b.e.log.Warn(logCertWarning, keyTarget, name, keyErr, w)
			b.e.warnings = append(b.e.warnings, fmt.Sprintf("[certificate.%s]: %s", name, w))
		}
	}
}

// keypair finds a certificate by the name that a section uses for it.
func (b *builder) keypair(line int, section, name string) *certs.Keypair {
	pair, ok := b.pairs[name]
	switch {
	case name == "":
		b.complain(line, "%s: certificate is missing", section)
	case !ok:
		b.complain(line, "%s: there is no [certificate.%s]", section, name)
	}
	return pair
}

// authorities loads whom a section trusts.
func (b *builder) authorities(line int, section, ca, crl string) *certs.Roots {
	if ca == "" {
		b.complain(line, "%s: it must say who signs the peers' certificates (peer_ca or ca)", section)
		return nil
	}
	if ca != certs.SystemRoots {
		ca = b.path(ca)
	}
	if crl != "" {
		crl = b.path(crl)
	}
	roots, err := certs.LoadRoots(ca, crl)
	if err != nil {
		b.complain(line, "%s: %v", section, err)
	}
	return roots
}

// trust makes a trust and notes it among those that are read again.
func (b *builder) trust(name string, s *side, pair *certs.Keypair, roots *certs.Roots) *trust {
	t := &trust{name: name, side: s, keypair: pair, roots: roots, verifier: &certs.Verifier{}}
	if roots != nil {
		t.verifier = &certs.Verifier{Roots: roots.Pool, Revoked: roots.Revoked}
	}
	b.e.trust = append(b.e.trust, t)
	return t
}

func (b *builder) listeners() {
	b.trusts = make(map[string]*trust)
	for _, name := range sortedKeys(b.config.Listeners) {
		b.listener(name, b.config.Listeners[name])
	}
	b.addressesDiffer()
	if len(b.config.Listeners) == 0 {
		b.complain(0, "there is no [listener.NAME]; an edge needs one with role = \"federation\" and one with role = \"internal\"")
	}
}

// addressesDiffer complains of listeners that would take each other's port.
func (b *builder) addressesDiffer() {
	first := make(map[string]string)
	for _, name := range sortedKeys(b.config.Listeners) {
		c := b.config.Listeners[name]
		_, p, _ := net.SplitHostPort(c.Address)
		other, taken := first[c.Address]
		switch {
		case port(p) == 0: // any that is free, or a fault that has been said
		case taken:
			b.complain(c.Line, "[listener.%s]: address %q is that of [listener.%s] too", name, c.Address, other)
		default:
			first[c.Address] = name
		}
	}
}

func (b *builder) listener(name string, c ListenerConfig) {
	section := "[listener." + name + "]"
	if _, err := net.ResolveTCPAddr("tcp", c.Address); err != nil || c.Address == "" {
		b.complain(c.Line, "%s: address %q is not an address with a port, such as \"203.0.113.10:5061\"", section, c.Address)
	}
	var ok bool
	switch {
	case c.Role == "federation":
		ok = b.transport(c.Line, section, c.Transport, "tls")
		if c.PeerCA == "" {
			c.PeerCA = certs.SystemRoots
		}
	case c.Role == "internal":
		ok = b.transport(c.Line, section, c.Transport, "tls", "tcp")
	case c.Role == "remote" || c.Role == "outside":
		ok = b.transport(c.Line, section, c.Transport, "tls", "wss", "tls+wss")
		b.users(&c, section)
	default:
		b.complain(c.Line, "%s: role %q is none of \"federation\", \"internal\", \"remote\", \"outside\"", section, c.Role)
	}
	if c.ClientCA != "" && c.Role != "remote" {
		b.complain(c.Line, "%s: client_ca is for role \"remote\"; elsewhere peer_ca says whose certificates count", section)
	}
	s := b.side(c, section)
	b.e.sides[name] = s
	if c.Transport == "tcp" || !ok {
		b.trusts[name] = &trust{side: s}
		return
	}
	t := b.trust(section, s, b.keypair(c.Line, section, c.Certificate), b.peerRoots(c, section))
	b.trusts[name] = t
	if c.Role == "remote" || c.Role == "outside" {
		b.e.certified[name] = t.certifies
	}
	if (c.Role == "federation" || c.Role == "outside") && b.e.outside == nil {
		b.e.outside = t
	}
}

// users sets what a listener for users has of its own.
func (b *builder) users(c *ListenerConfig, section string) {
	switch {
	case c.Role == "outside" && c.PeerCA == "":
		c.PeerCA = certs.SystemRoots
	case c.Role == "remote" && c.PeerCA != "":
		b.complain(c.Line, "%s: peer_ca is for partners; client_ca says who must have signed the certificates of users' devices", section)
	}
}

// peerRoots loads whom a listener trusts; nil: it asks for no certificate.
func (b *builder) peerRoots(c ListenerConfig, section string) *certs.Roots {
	if c.Role != "remote" {
		return b.authorities(c.Line, section, c.PeerCA, c.PeerCRL)
	}
	if c.ClientCA == "" {
		return nil
	}
	return b.authorities(c.Line, section, c.ClientCA, c.PeerCRL)
}

// certifies reports whether our certificate names a host.
func (t *trust) certifies(name string) bool {
	return t.keypair != nil && slices.ContainsFunc(t.keypair.Leaf().DNSNames, func(n string) bool { return strings.EqualFold(n, name) })
}

// transport checks a section's transport; the first one is the default.
func (b *builder) transport(line int, section, got string, may ...string) bool {
	if got == "" || slices.Contains(may, got) {
		return true
	}
	b.complain(line, "%s: transport %q is none of \"%s\"", section, got, strings.Join(may, "\", \""))
	return false
}

// side is how a listener names us.
func (b *builder) side(c ListenerConfig, section string) *side {
	host := c.Advertise
	if host == "" {
		_, port, _ := net.SplitHostPort(c.Address)
		host = net.JoinHostPort(b.e.name, port)
	}
	h, p, err := net.SplitHostPort(host)
	if c.Advertise == "" && (err != nil || port(p) == 0 && p != "0") {
		return newSide(b.e.name, "tls", "TLS") // the fault is in address or name, and said there
	}
	if err != nil || port(p) == 0 && p != "0" || c.Advertise != "" && !sip.ValidHost([]byte(bracketed(h))) {
		b.complain(c.Line, "%s: advertise %q is not a host with a port", section, c.Advertise)
	}
	b.e.names[strings.ToLower(bracketed(h))] = true
	switch c.Transport {
	case "tcp":
		return newSide(host, "tcp", "TCP")
	case transportWSS:
		return webSide(host)
	}
	s := newSide(host, "tls", "TLS")
	if c.Transport == transportShared {
		s.web = webSide(host)
	}
	return s
}

// bracketed is a host as SIP writes it.
func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// serverSettings makes what the transport needs of each listener.
func (b *builder) serverSettings() {
	for _, name := range sortedKeys(b.config.Listeners) {
		c, t := b.config.Listeners[name], b.trusts[name]
		s := listenerSettings{name: name, address: c.Address}
		switch c.Role {
		case "federation":
			s.role, s.connections = RoleFederation, b.e.limits.Connections
		case "internal":
			s.role, s.inside = RoleInternal, true
		case "remote":
			s.role, s.connections = RoleRemote, b.e.limits.RemoteConnections
			s.ws = b.webSocket(c, "[listener."+name+"]")
		case "outside":
			s.role, s.connections, s.sort = RoleOutside, b.e.limits.RemoteConnections, b.e.sort
			s.ws = b.webSocket(c, "[listener."+name+"]")
		}
		if t.keypair == nil && c.Transport != "tcp" {
			continue // said already
		}
		if c.Transport == "tcp" {
			s.allow = func(a netip.Addr) bool { return b.e.mayComePlain(a) }
			if len(b.plainPeers()) == 0 {
				b.complain(c.Line, "[listener.%s]: with transport = \"tcp\" somebody must be named in peers, here or in a pool: an address is all there is to know them by", name)
			}
			b.e.log.Warn(logPlainTCP, keyListener, name)
		} else {
			s.tls = b.e.serverTLS(t, s)
			if t.roots != nil {
				s.identify = t.verifier.Identify
			}
		}
		b.e.settings = append(b.e.settings, s)
	}
}

// plainPeers are the addresses that may come without a certificate.
func (b *builder) plainPeers() (list []netip.Prefix) {
	for _, a := range b.e.inside {
		list = append(list, a.addrs...)
	}
	return list
}

// mayComePlain reports whether addr may connect to an internal listener with
// plain TCP.
func (e *Edge) mayComePlain(addr netip.Addr) bool {
	return slices.ContainsFunc(e.inside, func(a access) bool {
		return slices.ContainsFunc(a.addrs, func(p netip.Prefix) bool { return p.Contains(addr) })
	})
}

// serverTLS makes a listener's side of TLS. Inside, who is nobody's home server
// does not get through the handshake.
func (e *Edge) serverTLS(t *trust, s listenerSettings) *tls.Config {
	if s.forUsers() {
		return certs.ServerConfig(e.usersTLS(t, s))
	}
	o := certs.ServerOptions{
		Keypair:  t.keypair,
		Peer:     certs.Required,
		Verifier: t.verifier,
		Hints:    t.roots.Hints,
	}
	if s.role == RoleInternal {
		o.Accept = e.acceptInside
	}
	return certs.ServerConfig(o)
}

// acceptInside refuses whoever is not named for the inside.
func (e *Edge) acceptInside(id certs.Identity) error {
	for _, a := range e.inside {
		if slices.ContainsFunc(a.names, id.CoversHost) {
			return nil
		}
	}
	return fmt.Errorf("%s is no home server of ours", id)
}

func (b *builder) locator() {
	own := func() (list []netip.AddrPort) {
		for _, l := range b.e.listeners {
			list = append(list, l.addr())
		}
		return append(list, b.e.ports...)
	}
	var err error
	if b.e.locator, err = locate.New(b.config.DNS, own, b.e.log); err != nil {
		b.complain(0, "[dns]: %v", err)
	}
}

func (b *builder) keys() {
	if b.config.StateDir == "" {
		b.complain(b.config.StateDirLine, "state_dir is missing; it is the folder for the keys of our signed tokens")
		return
	}
	b.e.keys = keyFile(b.path(b.config.StateDir))
	keys, err := b.e.keys.read()
	if err != nil {
		b.complain(b.config.StateDirLine, "state_dir: %v", err)
		return
	}
	b.e.tokens = newSigner(keys)
}

// defaults fills in what is zero.
func (l Limits) defaults() Limits {
	set(&l.Connections, 16000)
	set(&l.Handshakes, 2048)
	set(&l.SignInTimeout, time.Minute)
	set(&l.FlowTimer, 3*time.Minute)
	set(&l.HandshakeTimeout, 5*time.Second)
	set(&l.MessageTimeout, 10*time.Second)
	set(&l.IdleTimeout, 20*time.Minute)
	set(&l.WriteTimeout, 10*time.Second)
	set(&l.DrainTimeout, 3*time.Second)
	set(&l.Queue, 4<<20)
	set(&l.Header, 64<<10)
	set(&l.Body, 1<<20)
	set(&l.Fields, 256)
	set(&l.Transactions, 5000)
	set(&l.TotalTransactions, 200000)
	set(&l.Memory, 512<<20)
	set(&l.Subscriptions, 1000)
	return l
}

func set[T int | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}
