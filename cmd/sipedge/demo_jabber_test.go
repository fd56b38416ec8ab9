package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/locate/locatetest"
)

// A jabberPeer is another XMPP server, which speaks with the demo's.
type jabberPeer struct {
	t     *testing.T
	s     *s2s.Server
	heard chan *stanza.Element
}

// says sends a stanza, and returns what comes next.
func (p *jabberPeer) says(text string) *stanza.Element {
	p.t.Helper()
	p.tells(text)
	return p.hears()
}

func (p *jabberPeer) tells(text string) {
	p.t.Helper()
	e, err := stanza.Parse([]byte(text), stanza.Limits{})
	if err != nil {
		p.t.Fatal(err)
	}
	p.s.Send(e, func(o s2s.Outcome) {
		if o.Err != nil {
			p.t.Errorf("%s: %v", text, o.Err)
		}
	})
}

func (p *jabberPeer) hears() *stanza.Element {
	p.t.Helper()
	select {
	case e := <-p.heard:
		return e
	case <-time.After(patience):
		p.t.Fatal("nothing came")
		return nil
	}
}

// jabber runs the demo's XMPP server, and another one that it may speak with.
func jabber(t *testing.T) (kim xmppClient, peer *jabberPeer) {
	t.Helper()
	ca, err := certs.NewAuthority("ca")
	if err != nil {
		t.Fatal(err)
	}
	company, err := newJabberServer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := company.stop(); err != nil {
			t.Error(err)
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	zone := ""
	for domain, at := range map[string]netip.AddrPort{"acme.example": l.Addr().(*net.TCPAddr).AddrPort(), jabberDomain: company.place()} {
		zone += fmt.Sprintf("_xmpp-server._tcp.%s. IN SRV 0 0 %d xmpp.%[1]s.\nxmpp.%[1]s. IN A %[3]s\n", domain, at.Port(), at.Addr())
	}
	dns, err := locatetest.Serve(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dns.Close)
	w := xmppWorld{domain: jabberDomain, user: jabberUser, partner: "acme.example", roots: ca.PEM(), dns: netip.MustParseAddrPort(dns.Addr())}
	if w.cert, w.key, err = ca.Issue(certs.Leaf{Names: []string{jabberDomain}}); err != nil {
		t.Fatal(err)
	}
	if kim, err = company.start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	return kim, newJabberPeer(t, ca, dns.Addr(), l)
}

func newJabberPeer(t *testing.T, ca *certs.Authority, dns string, l net.Listener) *jabberPeer {
	t.Helper()
	keypair, err := ca.Keypair(certs.Leaf{Names: []string{"acme.example"}})
	if err != nil {
		t.Fatal(err)
	}
	finder, err := locate.New(locate.Config{Servers: []string{dns}, AllowedRanges: []string{"127.0.0.0/8"}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { finder.Close() })
	p := &jabberPeer{t: t, heard: make(chan *stanza.Element, 16)}
	p.s, err = s2s.New(s2s.Config{
		Domains: []string{"acme.example"}, Keypair: keypair, Finder: finder,
		Verifier: &certs.Verifier{Roots: func() *x509.CertPool { return ca.Pool() }},
		Allow:    func(string) bool { return true },
		Handle:   func(s *s2s.Stanza) { p.heard <- s.Element },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.s.Serve(ctx, []net.Listener{l}, nil) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestDemoXMPPServerAnswersAsOne(t *testing.T) {
	_, peer := jabber(t)
	for _, tt := range []struct{ name, says, want string }{
		{"what it is", "<iq xmlns='jabber:client' type='get' id='1' from='acme.example' to='jabber.example'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>", "result server"},
		{"what kim's client is", "<iq xmlns='jabber:client' type='get' id='2' from='acme.example' to='kim@jabber.example/phone'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>", "result client"},
		{"a ping", "<iq xmlns='jabber:client' type='get' id='3' from='acme.example' to='jabber.example'><ping xmlns='urn:xmpp:ping'/></iq>", "result"},
		{"a question that it does not know", "<iq xmlns='jabber:client' type='set' id='4' from='acme.example' to='kim@jabber.example'><x xmlns='urn:example'/></iq>", "error service-unavailable"},
		{"a message to nobody", "<message xmlns='jabber:client' id='5' from='alice@acme.example' to='nobody@jabber.example'><body>x</body></message>", "error service-unavailable"},
		{"a message with a receipt", "<message xmlns='jabber:client' id='6' from='alice@acme.example' to='kim@jabber.example'><body>x</body><request xmlns='urn:xmpp:receipts'/></message>", " received 6"},
		{"a probe of a stranger", "<presence xmlns='jabber:client' type='probe' from='alice@acme.example' to='kim@jabber.example'/>", "unsubscribed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := peer.says(tt.says)
			got := e.Attr("type")
			if q := e.Child(nsInfo, "query"); q != nil {
				got += " " + q.Child(nsInfo, "identity").Attr("category")
			}
			if fault := stanza.ErrorOf(e); fault != nil {
				got += " " + fault.Condition
			}
			if r := e.Child(nsReceipts, "received"); r != nil {
				got += " received " + r.Attr("id")
			}
			if got != tt.want {
				t.Errorf("it answers %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDemoXMPPServerShowsPresenceToWhomKimLets(t *testing.T) {
	kim, peer := jabber(t)
	alice := "alice@acme.example"
	if err := kim.send(xmppStanza{kind: "presence", typ: "subscribed", to: alice}); err == nil {
		t.Error("somebody was let who has not asked")
	}
	peer.tells("<presence xmlns='jabber:client' type='subscribe' from='alice@acme.example' to='kim@jabber.example'/>")
	if s, err := kim.next(t.Context()); err != nil || s.typ != "subscribe" || s.from != alice {
		t.Fatalf("kim hears %+v, %v", s, err)
	}
	if err := kim.send(xmppStanza{kind: "presence", typ: "subscribed", to: alice}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"subscribed kim@jabber.example", " kim@jabber.example/phone"} {
		e := peer.hears()
		if got := e.Attr("type") + " " + e.Attr("from"); got != want {
			t.Errorf("%q came, want %q", got, want)
		}
	}
	probe := "<presence xmlns='jabber:client' type='probe' from='alice@acme.example' to='kim@jabber.example'/>"
	if e := peer.says(probe); e.Attr("type") != "" {
		t.Errorf("a probe was answered with %q", e.Attr("type"))
	}
	peer.tells("<presence xmlns='jabber:client' type='unsubscribe' from='alice@acme.example' to='kim@jabber.example'/>")
	if e := peer.says(probe); e.Attr("type") != "unsubscribed" {
		t.Errorf("a probe after the end was answered with %q", e.Attr("type"))
	}
}
