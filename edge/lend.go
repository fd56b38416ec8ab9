package edge

import (
	"net/netip"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
)

// What bridges share with the edge that they belong to. It is lent before Listen.

// Keypairs are our certificates, by their names in the configuration.
func (e *Edge) Keypairs() map[string]*certs.Keypair { return e.pairs }

// Locator finds servers, with the edge's resolvers, memory and rules.
func (e *Edge) Locator() *locate.Locator { return e.locator }

// SpeaksMicrosoft reports whether the home servers of a domain of ours, in normal form,
// speak the Microsoft dialect.
func (e *Edge) SpeaksMicrosoft(domain string) bool {
	p := e.byDomain[domain]
	return p != nil && p.msft
}

// Own notes a port that something else in this process listens on: no foreign DNS may
// send us there.
func (e *Edge) Own(addr netip.AddrPort) { e.ports = append(e.ports, addr) }

// Watch has a certificate of ours and authorities read again when they change; name
// is what the log calls them.
func (e *Edge) Watch(name string, pair *certs.Keypair, roots *certs.Roots) {
	e.trust = append(e.trust, &trust{name: name, keypair: pair, roots: roots})
}

// Place takes a place among the connections of outsiders, for one that is not the
// edge's own; leave gives it back. There is none when the limit on open files is near:
// a part of them is kept for the inside.
func (e *Edge) Place() (leave func(), ok bool) {
	if e.wire.counts.open.Add(1) > int64(e.wire.outside) {
		e.wire.counts.open.Add(-1)
		return nil, false
	}
	return func() { e.wire.counts.open.Add(-1) }, true
}
