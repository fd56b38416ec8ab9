package s2s

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// choosy does the server's side of STARTTLS, and lets nobody in who shows a certificate,
// as a TLS library does that takes none of those for servers from a client.
func (p *raw) choosy(version uint16, need bool) {
	p.answer(them, us, "<starttls xmlns='"+nsTLS+"'/>")
	p.expect(nsTLS, "starttls")
	p.write("<proceed xmlns='%s'/>", nsTLS)
	c := &tls.Config{
		Certificates: []tls.Certificate{*p.keypair.Certificate()}, ClientAuth: tls.RequestClientCert, MaxVersion: version,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) > 0 {
				return errors.New("not a client's")
			}
			return nil
		},
	}
	if need {
		c.ClientAuth = tls.RequireAnyClientCert
	}
	conn := tls.Server(p.conn, c)
	if err := conn.Handshake(); err != nil {
		p.fail("handshake: %v", err)
	}
	p.conn = conn
	p.r.Reset(conn)
}

// believe plays dialback up to its good end.
func (p *raw) believe() {
	p.expect(stanza.NSDialback, "result")
	p.write("<db:result from='%s' to='%s' type='valid'/>", them, us)
}

// A server may end the stream, or the connection, over what another would only not take.
func TestAServerIsTriedWithoutWhatItEndsTheStreamOver(t *testing.T) {
	both := "<bidi xmlns='" + nsCanBidi + "'/>"
	ends := func(condition string) string {
		return "<stream:error><" + condition + " xmlns='" + nsErrors + "'/></stream:error></stream:stream>"
	}
	for _, tt := range []struct {
		name    string
		play    func(p *raw)
		streams int32
	}{
		{"our certificate, with TLS 1.2", func(p *raw) {
			p.choosy(tls.VersionTLS12, false)
			p.answer(them, us, "")
			p.believe()
		}, 2},
		{"our certificate, with TLS 1.3", func(p *raw) {
			p.choosy(tls.VersionTLS13, false)
			p.answer(them, us, "")
			p.believe()
		}, 2},
		{"our certificate, without a word", func(p *raw) {
			p.answer(them, us, "<starttls xmlns='"+nsTLS+"'/>")
			p.expect(nsTLS, "starttls")
			p.write("<proceed xmlns='%s'/>", nsTLS)
			p.serverTLS(p.keypair)
			if len(p.conn.(*tls.Conn).ConnectionState().PeerCertificates) > 0 {
				p.fail("a certificate")
			}
			p.answer(them, us, "")
			p.believe()
		}, 2},
		{"streams both ways, with a word", func(p *raw) {
			p.startOver(both + offerExternal)
			if p.next().Is(nsBidi, "bidi") {
				p.write("%s", ends("unsupported-stanza-type"))
				p.fail("both ways")
			}
			p.write("<success xmlns='%s'/>", nsSASL)
			p.r.Reset(p.conn)
			p.answer(them, us, "")
		}, 2},
		{"streams both ways, without a word", func(p *raw) {
			p.startOver(both)
			e := p.next()
			if e.Is(nsBidi, "bidi") {
				p.fail("both ways")
			}
			if !e.Is(stanza.NSDialback, "result") {
				p.fail("got %s", stanza.Append(nil, e))
			}
			p.write("<db:result from='%s' to='%s' type='valid'/>", them, us)
		}, 2},
		{"EXTERNAL, with a word", func(p *raw) {
			p.startOver(offerExternal)
			if e := p.next(); e.Is(nsSASL, "auth") {
				p.write("<failure xmlns='%s'><not-authorized/></failure>%s", nsSASL, ends("not-authorized"))
				p.fail("EXTERNAL")
			}
			p.write("<db:result from='%s' to='%s' type='valid'/>", them, us)
		}, 2},
		{"EXTERNAL, and does not wait for the name that it wants", func(p *raw) {
			p.startOver(offerExternal)
			if e := p.next(); e.Is(nsSASL, "auth") {
				p.write("<failure xmlns='%s'><invalid-authzid/></failure></stream:stream>", nsSASL)
				p.fail("EXTERNAL")
			}
			p.write("<db:result from='%s' to='%s' type='valid'/>", them, us)
		}, 2},
		{"all three, one after the other", func(p *raw) {
			p.choosy(0, false)
			p.answer(them, us, both+offerExternal)
			if e := p.next(); e.Is(nsBidi, "bidi") {
				p.fail("both ways")
			} else if e.Is(nsSASL, "auth") {
				p.write("<failure xmlns='%s'><not-authorized/></failure></stream:stream>", nsSASL)
				p.fail("EXTERNAL")
			}
			p.write("<db:result from='%s' to='%s' type='valid'/>", them, us)
		}, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.site(us, nil)
			k := w.keypair(them)
			var streams atomic.Int32
			w.server(them, k, func(p *raw) {
				streams.Add(1)
				p.keypair = k
				tt.play(p)
				p.expect(stanza.NS, "message")
				_, _ = p.r.Next()
			})
			if o := wait(t, a.send(them, "hi"), "the outcome"); !o.Sent {
				t.Errorf("outcome %+v", o)
			}
			if n := streams.Load(); n != tt.streams {
				t.Errorf("%d streams, want %d", n, tt.streams)
			}
		})
	}
}

// A test says of what did not do that something else did.
func TestWhatFailedOnTheWayIsSaidToBePassed(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, nil)
	k := w.keypair(them)
	w.server(them, k, func(p *raw) {
		p.keypair = k
		p.startOver(offerExternal)
		if e := p.next(); e.Is(nsSASL, "auth") {
			p.write("<failure xmlns='%s'><not-authorized/></failure></stream:stream>", nsSASL)
			p.fail("EXTERNAL")
		}
		p.write("<db:result from='%s' to='%s' type='valid'/>", them, us)
		_, _ = p.r.Next()
	})
	var passed []string
	steps := a.Test(t.Context(), them)
	for _, s := range steps {
		if s.Passed {
			passed = append(passed, s.Name)
		}
		if !s.OK && !s.Passed || s.OK && s.Passed {
			t.Errorf("%+v", s)
		}
	}
	if last := steps[len(steps)-1]; last.Name != "stream" || len(passed) == 0 {
		t.Errorf("passed %q, and last %+v", passed, last)
	}
}

// Who needs a certificate, and does not take ours, is not reached. What is told is what
// it says about ours, not that there was none.
func TestWhoTakesNoCertificateOfOursIsToldSo(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.site(us, nil)
			k := w.keypair(them)
			var streams atomic.Int32
			w.server(them, k, func(p *raw) {
				streams.Add(1)
				p.keypair = k
				p.choosy(version, true)
			})
			o := wait(t, a.send(them, "hi"), "the outcome")
			if !errors.Is(o.Err, ErrRefused) || !strings.Contains(o.Err.Error(), "it does not take our certificate: tls: bad certificate") {
				t.Errorf("outcome %+v", o)
			}
			if n := streams.Load(); n != 2 {
				t.Errorf("%d streams", n)
			}
		})
	}
}

// Some servers offer their features again once they believe us.
func TestFeaturesMayComeAgain(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, nil)
	k := w.keypair(them)
	w.server(them, k, func(p *raw) {
		p.accept(k, them, us, "")
		p.expect(stanza.NSDialback, "result")
		p.write("<stream:features/><db:result from='%s' to='%s' type='valid'/><stream:features>%s</stream:features>", them, us, offerManage)
		p.expect(stanza.NS, "message")
		p.expect(stanza.NS, "message")
		_, _ = p.r.Next()
	})
	for range 2 {
		if o := wait(t, a.send(them, "hi"), "the outcome"); !o.Sent {
			t.Errorf("outcome %+v", o)
		}
	}
	if links := a.Links(); len(links) != 1 || links[0].State != "up" {
		t.Errorf("links %+v", links)
	}
}

// ejabberd 24.10 asks for streams both ways by the name of the feature, and is let in.
func TestBothWaysMayBeAskedForByTheWrongName(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, nil)
	p := dial(t, x.plain)
	if _, f := p.startTLS(w.keypair(them), them, us); f.Child(nsCanBidi, "bidi") == nil {
		t.Errorf("got %s, want both ways", stanza.Append(nil, f))
	}
	p.write("<bidi xmlns='%s'/><auth xmlns='%s' mechanism='EXTERNAL'>%s</auth>", nsCanBidi, nsSASL, encoded(them))
	p.expect(nsSASL, "success")
	p.r.Reset(p.conn)
	p.open(them, us)
	p.write("%s", body("eve@"+them, "alice@"+us, "hi"))
	x.wants("hi")
}
