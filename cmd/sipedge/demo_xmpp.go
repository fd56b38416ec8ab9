package main

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/sipedge/sipedge/certs"
)

// An xmppCompany is the one company of the demo that knows no SIP: a domain of the XMPP
// network, with one person who has a client there. The demo has a server of its own for
// it, and the interop test Prosody; the scenes are the same.
type xmppCompany interface {
	// place is where its server listens for other servers, and is known at once.
	place() netip.AddrPort
	// start lets the server run, and signs its person in.
	start(ctx context.Context, w xmppWorld) (xmppClient, error)
	stop() error
}

// An xmppWorld is what an XMPP company finds.
type xmppWorld struct {
	domain, user     string
	partner          string // the domain that it may speak with
	cert, key, roots []byte // PEM: what its server shows, and whom that trusts
	authority        []byte // PEM: who has signed cert
	dns              netip.AddrPort
}

// An xmppClient is somebody at a client of the XMPP network.
type xmppClient interface {
	send(xmppStanza) error
	// next waits for what came, one after the other. Nothing is left out.
	next(ctx context.Context) (xmppStanza, error)
}

// An xmppStanza is a message or a presence as a client sees it. Whatever is left empty
// is left out.
type xmppStanza struct {
	kind         string // "message", "presence"
	from, to     string // JIDs
	typ, id      string
	body, thread string
	status       string // of a presence
	condition    string // of an error
}

// hears waits until the client has heard what is meant; what came before is forgotten.
func hears(ctx context.Context, c xmppClient, what string, is func(xmppStanza) bool) (xmppStanza, error) {
	for {
		s, err := c.next(ctx)
		if err != nil {
			return s, fmt.Errorf("%s did not arrive: %w", what, err)
		}
		if is(s) {
			return s, nil
		}
	}
}

// The demo's XMPP company.
const (
	jabberDomain = "jabber.example"
	jabberUser   = "kim"
)

// openXMPP gives the XMPP company its certificate, and lets it run.
func (d *demo) openXMPP(ctx context.Context) error {
	w := d.xmppWorld
	addr, err := netip.ParseAddrPort(d.dns.Addr())
	if err != nil {
		return err
	}
	w.dns = addr
	if d.kim, err = d.xmpp.start(ctx, w); err != nil {
		return fmt.Errorf("XMPP server of %s: %w", w.domain, err)
	}
	return nil
}

// certifyXMPP has an authority that acme trusts write the certificate of the XMPP
// server.
func (d *demo) certifyXMPP(public *certs.Authority) (err error) {
	w := xmppWorld{domain: jabberDomain, user: jabberUser, partner: d.acme.Domain, roots: d.acme.authority.PEM(), authority: public.PEM()}
	w.cert, w.key, err = public.Issue(certs.Leaf{CN: w.domain, Names: []string{w.domain}})
	d.xmppWorld = w
	return err
}

// closeXMPP ends the XMPP company.
func (d *demo) closeXMPP() error {
	if d.xmpp == nil {
		return nil
	}
	return d.xmpp.stop()
}
