package edge

import (
	"context"
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
	b.pairs = make(map[string]*certs.Keypair)
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
	if len(b.config.Listeners) == 0 {
		b.complain(0, "there is no [listener.NAME]; an edge needs one with role = \"federation\" and one with role = \"internal\"")
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
		b.complain(c.Line, "%s: role %q is not available in this version; there are \"federation\" and \"internal\"", section, c.Role)
	default:
		b.complain(c.Line, "%s: role %q is none of \"federation\", \"internal\"", section, c.Role)
	}
	s := b.side(c, section)
	b.e.sides[name] = s
	if c.Transport == "tcp" || !ok {
		b.trusts[name] = &trust{side: s}
		return
	}
	t := b.trust(section, s, b.keypair(c.Line, section, c.Certificate), b.authorities(c.Line, section, c.PeerCA, c.PeerCRL))
	b.trusts[name] = t
	if c.Role == "federation" && b.e.outside == nil {
		b.e.outside = t
	}
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
	if c.Advertise == "" && err != nil {
		return newSide(b.e.name, "tls", "TLS") // the fault is in address or name, and said there
	}
	if err != nil || port(p) == 0 && p != "0" || c.Advertise != "" && !sip.ValidHost([]byte(bracketed(h))) {
		b.complain(c.Line, "%s: advertise %q is not a host with a port", section, c.Advertise)
	}
	b.e.names[strings.ToLower(bracketed(h))] = true
	if c.Transport == "tcp" {
		return newSide(host, "tcp", "TCP")
	}
	return newSide(host, "tls", "TLS")
}

// bracketed is a host as SIP writes it.
func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// internal returns the name of the internal listener whose transport is the
// pool's, or of any.
func (b *builder) internal(transport string) (found string) {
	for _, name := range sortedKeys(b.config.Listeners) {
		c := b.config.Listeners[name]
		if c.Role != "internal" {
			continue
		}
		if found == "" || (c.Transport == "tcp") == (transport == "tcp") {
			found = name
		}
	}
	return found
}

func (b *builder) allPools() {
	for _, name := range sortedKeys(b.config.Pools) {
		b.pool(name, b.config.Pools[name])
	}
	for _, d := range b.config.Domains {
		if name, err := federation.Normal(d); err != nil {
			b.complain(b.config.DomainsLine, "domains: %q is not a domain: %v", d, err)
		} else if b.e.byDomain[name] == nil {
			b.complain(b.config.DomainsLine, "domains: %s lives in no pool; add it to the domains of a [pool.NAME]", d)
		}
	}
	for _, p := range b.e.pools {
		p.only = len(b.e.pools) == 1
	}
}

func (b *builder) pool(name string, c PoolConfig) {
	section := "[pool." + name + "]"
	if !b.transport(c.Line, section, c.Transport, "tls", "tcp") {
		return
	}
	if n := len(c.Servers); n == 0 || n > maxHops {
		b.complain(c.Line, "%s: servers holds %d addresses; it takes 1 to %d", section, n, maxHops)
	}
	listener := b.internal(c.Transport)
	if listener == "" {
		b.complain(c.Line, "%s: there is no listener with role = \"internal\" for its home servers to answer to", section)
		return
	}
	p := &pool{
		edge:   b.e,
		name:   name,
		rule:   allowlists.Rule{Name: "pool " + name, File: b.config.File, Line: c.Line},
		spread: c.Spread,
		every:  c.CheckInterval,
		side:   b.e.sides[listener],
	}
	if p.every <= 0 {
		p.every = checkInterval
	}
	b.poolDomains(p, c, section)
	trust, secure := b.poolTLS(p, c, section, listener)
	for i, addr := range c.Servers[:min(len(c.Servers), maxHops)] {
		b.server(p, i, addr, trust, secure)
	}
	b.e.pools = append(b.e.pools, p)
}

func (b *builder) poolDomains(p *pool, c PoolConfig, section string) {
	if len(c.Domains) == 0 {
		b.complain(c.Line, "%s: domains is empty", section)
	}
	for _, d := range c.Domains {
		name, err := federation.Normal(d)
		switch other := b.e.byDomain[name]; {
		case err != nil:
			b.complain(c.Line, "%s: %q is not a domain: %v", section, d, err)
		case other != nil:
			b.complain(c.Line, "%s: %s lives in [pool.%s] already", section, d, other.name)
		case !slices.ContainsFunc(b.config.Domains, func(o string) bool { n, _ := federation.Normal(o); return n == name }):
			b.complain(c.Line, "%s: %s is not in domains at the top of the file", section, d)
		default:
			b.e.byDomain[name] = p
		}
	}
}

// poolTLS returns how connections to a pool's servers are secured: by host; nil
// for plain TCP.
func (b *builder) poolTLS(p *pool, c PoolConfig, section, listener string) (*trust, func(host string) *tls.Config) {
	if c.Transport == "tcp" {
		p.side = newSide(p.side.host, "tcp", "TCP")
		b.e.log.Warn(logPlainTCP, keyPool, p.name)
		return nil, nil
	}
	l := b.config.Listeners[listener]
	pair, roots := b.trusts[listener].keypair, b.trusts[listener].roots
	if c.Certificate != "" || l.Transport == "tcp" {
		pair = b.keypair(c.Line, section, c.Certificate)
	}
	if c.CA != "" || l.Transport == "tcp" {
		roots = b.authorities(c.Line, section, c.CA, "")
	}
	if l.Transport == "tcp" {
		p.side = newSide(p.side.host, "tls", "TLS")
	}
	t := b.trust(section, p.side, pair, roots)
	confs := make(map[string]*tls.Config)
	for _, addr := range c.Servers {
		host, _ := splitHostPort(addr)
		want := c.PeerName
		if want == "" {
			want = host
		}
		confs[host] = certs.ClientConfig(certs.ClientOptions{Keypair: pair, Verifier: t.verifier, ServerName: want})
	}
	return t, func(host string) *tls.Config { return confs[host] }
}

func (b *builder) server(p *pool, i int, addr string, t *trust, secure func(string) *tls.Config) {
	host, portText, err := net.SplitHostPort(addr)
	number := port(portText)
	if err != nil || number == 0 || !sip.ValidHost([]byte(bracketed(host))) {
		b.complain(p.rule.Line, "[pool.%s]: server %q is not a host with a port, such as \"sip1.example.com:5061\"", p.name, addr)
		return
	}
	s := &server{pool: p, index: i, addr: addr, host: []byte(strings.ToLower(bracketed(host))), port: number, signal: make(chan struct{}, 1)}
	s.link = &link{
		edge:    b.e,
		name:    "pool " + p.name + " " + addr,
		role:    RoleInternal,
		server:  s,
		trust:   t,
		resolve: func(ctx context.Context) ([]locate.Hop, error) { return b.e.locator.Host(ctx, host, number) },
	}
	if secure != nil {
		s.link.secure = func(string) *tls.Config { return secure(host) }
	}
	p.servers = append(p.servers, s)
}

// insidePeers says who may come to the internal listeners: the pools' own
// servers, unless peers names others.
func (b *builder) insidePeers() {
	var listed []string
	for _, name := range sortedKeys(b.config.Listeners) {
		if c := b.config.Listeners[name]; c.Role == "internal" {
			listed = append(listed, c.Peers...)
		}
	}
	for _, p := range b.e.pools {
		c := b.config.Pools[p.name]
		a := access{pool: p, names: b.peerNames(c)}
		for _, peer := range slices.Concat(listed, c.Peers) {
			if prefix, err := parsePrefix(peer); err == nil {
				a.addrs = append(a.addrs, prefix)
			}
		}
		for _, peer := range listed {
			if _, err := parsePrefix(peer); err != nil {
				a.names = append(a.names, peer)
			}
		}
		for _, peer := range c.Peers {
			if _, err := parsePrefix(peer); err != nil {
				b.complain(c.Line, "[pool.%s]: peers: %q is not an address", p.name, peer)
			}
		}
		b.e.inside = append(b.e.inside, a)
	}
}

// peerNames are the names that the certificates of a pool's servers prove.
func (b *builder) peerNames(c PoolConfig) (names []string) {
	if c.PeerName != "" {
		return []string{c.PeerName}
	}
	for _, addr := range c.Servers {
		host, _ := splitHostPort(addr)
		names = append(names, host)
	}
	return names
}

// parsePrefix reads an address or a range.
func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(s)
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
			s.identify = t.verifier.Identify
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
		return list
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
	keys, err := loadKeys(b.path(b.config.StateDir))
	if err != nil {
		b.complain(b.config.StateDirLine, "state_dir: %v", err)
		return
	}
	b.e.tokens = newSigner(keys)
}

// defaults fills in what is zero.
func (l Limits) defaults() Limits {
	set(&l.Connections, 16000)
	set(&l.Handshakes, 256)
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
	return l
}

func set[T int | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}
