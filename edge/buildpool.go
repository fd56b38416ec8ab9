package edge

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/sip"
)

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
	p := &pool{
		demand: demand{pool: true},
		edge:   b.e,
		name:   name,
		rule:   allowlists.Rule{Name: "pool " + name, File: b.config.File, Line: c.Line},
		spread: c.Spread,
		msft:   c.Profile == profileMSFT,
		every:  c.CheckInterval,

		registerRate: c.RegisterRate,
		remoteHeader: c.RemoteHeader,
	}
	if c.RegisterRate < 0 {
		b.complain(c.Line, "%s: register_rate must be more than 0; leave it out for as many as come", section)
	}
	b.mark(c, section)
	if c.Profile != "" && !p.msft {
		b.complain(c.ProfileLine, "%s: profile %q is none of \"\" (plain SIP), %q", section, c.Profile, profileMSFT)
	}
	b.e.msft = b.e.msft || p.msft
	if p.every <= 0 {
		p.every = checkInterval
	}
	b.poolDomains(p, c, section)
	listener := b.internal(c.Transport)
	if listener == "" {
		b.complain(c.Line, "%s: there is no listener with role = \"internal\" for its home servers to answer to", section)
		return
	}
	p.side = b.e.sides[listener]
	trust, secure := b.poolTLS(p, c, section, listener)
	for i, addr := range c.Servers[:min(len(c.Servers), maxHops)] {
		b.server(p, i, addr, trust, secure)
	}
	b.e.pools = append(b.e.pools, p)
}

// mark notes a header by which a pool is told who is outside.
func (b *builder) mark(c PoolConfig, section string) {
	name := c.RemoteHeader
	switch {
	case name == "":
		return
	case !sip.IsToken([]byte(name)) || sip.HeaderNamed([]byte(name)) != sip.HeaderOther:
		b.complain(c.RemoteHeaderLine, "%s: remote_header %q is not the name of a header of your own, such as \"X-From-Outside\"", section, name)
		return
	}
	if !b.e.isMark([]byte(name)) {
		b.e.marks = append(b.e.marks, name)
		b.e.dropMarks = b.e.isMark
	}
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
