package s2s

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
)

// deadAddr is an address that nobody listens at.
func deadAddr(t *testing.T) string { return freePort(t) }

func TestTheNextServerIsTriedWhenOneFails(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first func(w *world, b *site) string
	}{
		{"nobody is there", func(w *world, _ *site) string { return deadAddr(w.t.(*testing.T)) }},
		{"direct TLS, and nobody is there", func(w *world, _ *site) string { return "tls:" + deadAddr(w.t.(*testing.T)) }},
		{"direct TLS, and it is not", func(_ *world, b *site) string { return "tls:" + b.plain.Addr().String() }},
		{"STARTTLS, and it is direct", func(_ *world, b *site) string { return b.direct.Addr().String() }},
		{"it closes the connection", func(w *world, _ *site) string {
			ln := listen(w.t)
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					_ = c.Close()
				}
			}()
			return ln.Addr().String()
		}},
		{"it does not know the domain", func(w *world, b *site) string {
			other := w.site("other.example", nil)
			return other.plain.Addr().String()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			// A server that waits for TLS says nothing: it is given up.
			a, b := w.site(us, nil), w.site(them, func(c *Config) { c.Limits.UnprovedTime = 200 * time.Millisecond })
			w.point(them, tt.first(w, b), b.plain.Addr().String())
			if o := wait(t, a.send(them, "hi"), "the outcome"); o.Err != nil {
				t.Fatalf("outcome %v", o.Err)
			}
			b.wants("hi")
		})
	}
}

func TestWhyAStanzaIsNotDelivered(t *testing.T) {
	goodbye := func(condition, text string) string {
		return "<stream:error><" + condition + " xmlns='" + nsErrors + "'/><text xmlns='" + nsErrors + "'>" + text + "</text></stream:error></stream:stream>"
	}
	strict := func(c *Config) { c.Dialback = func(d string) bool { return false } }
	for _, tt := range []struct {
		name   string
		here   func(*Config)
		server func(w *world, k *certs.Keypair) func(p *raw) // nil: none
		dns    error
		want   error
		words  []string
	}{
		{"no such domain", nil, nil, nil, ErrNoServer, []string{"no records"}},
		{"DNS fails", nil, nil, locate.ErrServfail, ErrUnreachable, []string{"dns server failed"}},
		{"not allowed here", func(c *Config) { c.Allow = func(d string) bool { return d != them } }, nil, nil, ErrRefused, []string{"not allowed here"}},
		{"its stream error", nil, func(_ *world, k *certs.Keypair) func(*raw) {
			return func(p *raw) {
				p.header()
				p.write("%s from='%s' to='%s' id='x'>%s", head, them, us, goodbye("host-unknown", "Nobody\nis here"))
			}
		}, nil, ErrNoServer, []string{"it says host-unknown: Nobody is here"}},
		{"no TLS", nil, func(_ *world, k *certs.Keypair) func(*raw) {
			return func(p *raw) {
				p.answer(them, us, offerExternal)
				_, _ = p.r.Next()
				p.write("%s", goodbye("unsupported-stanza-type", ""))
			}
		}, nil, ErrUntrusted, []string{"offers no TLS"}},
		{"TLS fails", nil, func(_ *world, k *certs.Keypair) func(*raw) {
			return func(p *raw) {
				p.answer(them, us, "<starttls xmlns='"+nsTLS+"'/>")
				p.write("<failure xmlns='%s'/></stream:stream>", nsTLS)
			}
		}, nil, ErrUntrusted, []string{"cannot do it"}},
		{"its certificate is another's", strict, func(w *world, _ *certs.Keypair) func(*raw) {
			other := w.keypair(victim)
			return func(p *raw) { p.accept(other, them, us, offerExternal) }
		}, nil, ErrUntrusted, []string{victim, "is not one of " + them}},
		{"it does not trust our certificate", nil, func(_ *world, k *certs.Keypair) func(*raw) {
			return func(p *raw) {
				p.answer(them, us, "<starttls xmlns='"+nsTLS+"'/>")
				p.expect(nsTLS, "starttls")
				p.write("<proceed xmlns='%s'/>", nsTLS)
				p.serverTLS(k)
				p.header()
				p.write("%s from='%s' to='%s' id='x'>%s", head, them, us, goodbye("not-authorized", "Your server's certificate is not trusted"))
			}
		}, nil, ErrRefused, []string{"it says not-authorized: Your server's certificate is not trusted"}},
		{"neither EXTERNAL nor dialback", nil, func(_ *world, k *certs.Keypair) func(*raw) {
			return func(p *raw) {
				p.accept(k, them, us, offerExternal)
				p.expect(nsSASL, "auth")
				p.write("<failure xmlns='%s'><not-authorized/><text>Failed to get peer certificate</text></failure>", nsSASL)
				p.expect(stanza.NSDialback, "result")
				p.write("<db:result from='%s' to='%s' type='error'><error type='cancel'><policy-violation xmlns='%s'/></error></db:result>", them, us, stanza.NSErrors)
				_, _ = p.r.Next()
			}
		}, nil, ErrRefused, []string{"Failed to get peer certificate", "it says policy-violation"}},
		{"it answers for another domain", nil, func(_ *world, k *certs.Keypair) func(*raw) {
			return func(p *raw) { p.accept(k, victim, us, offerExternal); _, _ = p.r.Next() }
		}, nil, ErrUnreachable, []string{victim + " is not " + them}},
		{"it is of version 0.9", nil, func(_ *world, k *certs.Keypair) func(*raw) {
			return func(p *raw) {
				p.header()
				p.write("%s from='%s' id='x'>", strings.Replace(head, " version='1.0'", "", 1), them)
				_, _ = p.r.Next()
			}
		}, nil, ErrUnreachable, []string{"unsupported-version"}},
		{"it says nothing", func(c *Config) { c.Limits.Build = 300 * time.Millisecond }, func(_ *world, k *certs.Keypair) func(*raw) {
			return func(p *raw) { _, _ = p.conn.Read(make([]byte, 1)); <-time.After(patience) }
		}, nil, ErrTimeout, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.site(us, tt.here)
			if tt.server != nil {
				k := w.keypair(them)
				w.server(them, k, tt.server(w, k))
			}
			if tt.dns != nil {
				w.errs[them] = &locate.Error{Domain: them, Err: tt.dns}
			}
			o := wait(t, a.send(them, "hi"), "the outcome")
			if !errors.Is(o.Err, tt.want) || o.Acked || o.Sent {
				t.Errorf("outcome %+v, want %v", o, tt.want)
			}
			if !said(fmt.Sprint(o.Err), tt.words...) {
				t.Errorf("error %q does not say %q", o.Err, tt.words)
			}
			if tt.server == nil && tt.dns == nil && tt.here != nil {
				return
			}
			// The log and the links say it too, and the next one hears it at once.
			if log := a.log.String(); !said(log, "domain not reached", "remote="+them) {
				t.Error("the log says nothing")
			}
			links := a.Links()
			if len(links) != 1 || links[0].State != "down" || !said(links[0].Detail, tt.words...) {
				t.Errorf("links %+v", links)
			}
			before := w.lookups(them)
			if again := wait(t, a.send(them, "hi"), "the outcome"); !errors.Is(again.Err, tt.want) {
				t.Errorf("second outcome %+v", again)
			}
			if n := w.lookups(them) - before; n != 0 {
				t.Errorf("%d lookups for the second one", n)
			}
		})
	}
}

func (w *world) lookups(domain string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[domain]
}

func TestWhatServersOfAllKindsMayDo(t *testing.T) {
	success := "<success xmlns='" + nsSASL + "'/>"
	for _, tt := range []struct {
		name  string
		play  func(p *raw)
		acked bool
	}{
		{"a server of the specification", func(p *raw) {
			p.startOver(offerExternal)
			p.grant(them, us, "")
		}, false},
		{"TLS is not offered, and done", func(p *raw) {
			p.answer(them, us, "")
			p.expect(nsTLS, "starttls")
			p.write("<proceed xmlns='%s'/>", nsTLS)
			p.serverTLS(p.keypair)
			p.answer(them, us, offerExternal)
			p.grant(them, us, "")
		}, false},
		{"features in another order, and some that we do not know", func(p *raw) {
			p.startOver("<x xmlns='urn:x'/><dialback xmlns='" + nsCanCheck + "'/>" + offerExternal + "<y xmlns='urn:y'/>")
			p.grant(them, us, "<c xmlns='urn:caps'/><sm xmlns='urn:xmpp:sm:2'/>")
		}, false},
		{"other prefixes", func(p *raw) {
			p.startOver(offerExternal)
			p.expect(nsSASL, "auth")
			p.write("<q:success xmlns:q='%s'/>", nsSASL)
			p.r.Reset(p.conn)
			p.header()
			p.write("<stream xmlns='http://etherx.jabber.org/streams' from='%s' to='%s' id='x' version='1.0'><features/>", them, us)
		}, false},
		{"no from and no to", func(p *raw) {
			p.startOver(offerExternal)
			p.expect(nsSASL, "auth")
			p.write("%s", success)
			p.r.Reset(p.conn)
			p.header()
			p.write("%s id='x'><stream:features/>", head)
		}, false},
		{"our name for its own", func(p *raw) {
			p.accept(p.keypair, us, "", offerExternal)
			p.grant(us, "", "")
		}, false},
		{"a challenge", func(p *raw) {
			p.startOver(offerExternal)
			p.expect(nsSASL, "auth")
			p.write("<challenge xmlns='%s'/>", nsSASL)
			p.expect(nsSASL, "response")
			p.write("%s", success)
			p.r.Reset(p.conn)
			p.answer(them, us, "")
		}, false},
		{"it wants a name", func(p *raw) {
			p.startOver(offerExternal)
			if e := p.expect(nsSASL, "auth"); e.Text != "=" {
				p.fail("name %q", e.Text)
			}
			p.write("<failure xmlns='%s'><invalid-authzid/></failure>", nsSASL)
			if e := p.expect(nsSASL, "auth"); e.Text != encoded(us) {
				p.fail("name %q", e.Text)
			}
			p.write("%s", success)
			p.r.Reset(p.conn)
			p.answer(them, us, "")
		}, false},
		{"EXTERNAL fails, dialback on the same stream", func(p *raw) {
			p.startOver(offerExternal)
			p.expect(nsSASL, "auth")
			p.write("<failure xmlns='%s'><not-authorized/></failure>", nsSASL)
			p.expect(stanza.NSDialback, "result")
			p.write("<db:result from='%s' to='%s' type='valid'/>", them, us)
		}, false},
		{"dialback, and a question of theirs first", func(p *raw) {
			p.startOver("")
			p.expect(stanza.NSDialback, "result")
			p.write("<db:verify from='%s' to='%s' id='x'>key</db:verify>", them, us)
			p.expect(stanza.NSDialback, "verify")
			p.write("<db:result from='%s' to='%s' type='valid'/>", them, us)
		}, false},
		{"acknowledgements", func(p *raw) {
			p.startOver(offerExternal)
			p.grant(them, us, offerManage)
			p.expect(nsManage, "enable")
			p.write("<enabled xmlns='%s' resume='true' id='x'/>", nsManage)
		}, true},
		{"acknowledgements are offered and refused", func(p *raw) {
			p.startOver(offerExternal)
			p.grant(them, us, offerManage)
			p.expect(nsManage, "enable")
			p.write("<failed xmlns='%s'><unexpected-request xmlns='%s'/></failed>", nsManage, stanza.NSErrors)
		}, false},
		{"a stanza comes before acknowledgements begin", func(p *raw) {
			p.startOver(offerExternal + "<bidi xmlns='" + nsCanBidi + "'/>")
			p.expect(nsBidi, "bidi")
			p.grant(them, us, offerManage)
			p.expect(nsManage, "enable")
			p.write("%s<enabled xmlns='%s'/>%s<r xmlns='%s'/>", body("eve@"+them, "alice@"+us, "early"), nsManage,
				body("eve@"+them, "alice@"+us, "counted"), nsManage)
			// The message may come before.
			var held []*stanza.Element
			e := p.next()
			for ; !e.Is(nsManage, "a"); e = p.next() {
				held = append(held, e)
			}
			if h := e.Attr("h"); h != "1" {
				p.fail("acknowledged %s", h)
			}
			p.held = held
		}, true},
		{"white space everywhere", func(p *raw) {
			p.startOver("\n " + offerExternal + "\n")
			p.expect(nsSASL, "auth")
			p.write(" %s", success)
			p.r.Reset(p.conn)
			p.header()
			p.write("\n%s from='%s' to='%s' id='x'>\n<stream:features>\n</stream:features>\n ", head, them, us)
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.site(us, nil)
			k := w.keypair(them)
			got := make(chan string, 1)
			w.server(them, k, func(p *raw) {
				p.keypair = k
				tt.play(p)
				got <- p.expect(stanza.NS, "message").Child(stanza.NS, "body").Text
				if tt.acked {
					p.expect(nsManage, "r")
					p.write("<a xmlns='%s' h='1'/>", nsManage)
				}
				_, _ = p.r.Next()
			})
			o := wait(t, a.send(them, "hi"), "the outcome")
			if o.Err != nil || o.Acked != tt.acked || o.Sent == tt.acked {
				t.Errorf("outcome %+v", o)
			}
			if s := wait(t, got, "the message"); s != "hi" {
				t.Errorf("got %q", s)
			}
			if strings.HasPrefix(tt.name, "a stanza comes") {
				a.wants("early", "counted")
			}
		})
	}
}

// startOver does all up to the features after TLS.
func (p *raw) startOver(features string) { p.accept(p.keypair, them, us, features) }

// Some servers end the stream when SASL fails, as XEP-0178 has it: dialback comes on
// the next one then.
func TestDialbackComesOnTheNextStreamIfThisOneIsGone(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, nil)
	k := w.keypair(them)
	var streams atomic.Int32
	w.server(them, k, func(p *raw) {
		streams.Add(1)
		p.accept(k, them, us, offerExternal)
		e := p.next()
		if e.Is(nsSASL, "auth") {
			p.write("<failure xmlns='%s'><not-authorized/></failure></stream:stream>", nsSASL)
			_ = p.conn.Close()
			return
		}
		p.write("<db:result from='%s' to='%s' type='valid'/>", them, us)
		p.expect(stanza.NS, "message")
		_, _ = p.r.Next()
	})
	if o := wait(t, a.send(them, "hi"), "the outcome"); !o.Sent {
		t.Errorf("outcome %+v", o)
	}
	if n := streams.Load(); n != 2 {
		t.Errorf("%d streams", n)
	}
}

func TestSignedDNSProvesACertificate(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, func(c *Config) { c.Verifier, c.Dialback = nil, nil })
	b := w.site(them, nil)
	point := func(good bool) {
		pin := locate.TLSA(certs.RecordOf(b.c.Keypair.Leaf()))
		if !good {
			pin.Data[0] ^= 1
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		r := w.records[them]
		r.Secure, r.Targets[0].Secure = true, true
		w.records[them] = r
		w.tlsa[fmt.Sprintf("%s:%d", r.Targets[0].Host, r.Targets[0].Port)] = []locate.TLSA{pin}
	}
	point(false)
	if o := wait(t, a.send(them, "hi"), "the outcome"); !errors.Is(o.Err, ErrUntrusted) {
		t.Errorf("outcome %+v, want ErrUntrusted", o)
	}
	point(true)
	a.again(them)
	if o := wait(t, a.send(them, "hi"), "the outcome"); o.Err != nil {
		t.Errorf("outcome %+v", o)
	}
	if l := a.Links(); len(l) != 1 || l[0].Proof != bridges.ProofDANE {
		t.Errorf("links %+v", l)
	}
	// And when they connect.
	p := dial(t, a.plain)
	p.login(b.c.Keypair, them, us)
	p.write("%s", body("bob@"+them, "alice@"+us, "hi"))
	if e := a.receive(); e.Proof != bridges.ProofDANE {
		t.Errorf("proof %s", e.Proof)
	}
	point(false)
	p = dial(t, a.plain)
	if _, f := p.startTLS(b.c.Keypair, them, us); f.Child(nsSASL, "mechanisms") != nil {
		t.Error("EXTERNAL is offered to a certificate that DNS does not name")
	}
}

// What is not signed says nothing, and when it cannot be known what there is nobody
// connects.
func TestOnlySignedDNSCounts(t *testing.T) {
	for _, tt := range []struct {
		name                   string
		domain, target, record bool // signed
		err                    error
		want                   error
	}{
		{"all is signed", true, true, true, nil, nil},
		{"the domain is not", false, true, true, nil, ErrUntrusted},
		{"the server is not", true, false, true, nil, ErrUntrusted},
		{"the record is not", true, true, false, nil, ErrUntrusted},
		{"nobody knows", true, true, true, locate.ErrServfail, ErrUnreachable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.site(us, func(c *Config) { c.Verifier, c.Dialback = nil, nil })
			b := w.site(them, nil)
			r := w.records[them]
			r.Secure, r.Targets[0].Secure = tt.domain, tt.target
			w.records[them] = r
			host := fmt.Sprintf("%s:%d", r.Targets[0].Host, r.Targets[0].Port)
			w.tlsa[host] = []locate.TLSA{{Usage: 3, Selector: 0, Data: b.c.Keypair.Leaf().Raw}}
			w.unsigned[host] = !tt.record
			if tt.err != nil {
				w.errs[host] = tt.err
			}
			if o := wait(t, a.send(them, "hi"), "the outcome"); !errors.Is(o.Err, tt.want) {
				t.Errorf("outcome %+v, want %v", o, tt.want)
			}
		})
	}
}

// again lets a domain be tried again at once.
func (x *site) again(remote string) {
	r, err := x.route(pair{x.domain, remote})
	if err != nil {
		x.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retry = time.Time{}
}

func TestTestTellsEachStep(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, nil)
	b := w.site(them, nil)
	w.point(them, deadAddr(t), "tls:"+b.direct.Addr().String())
	var names []string
	for _, s := range a.Test(context.Background(), "Example.NET.") {
		names = append(names, fmt.Sprintf("%v %s", s.OK, strings.Fields(s.Name)[0]))
	}
	want := "true SRV, false connect, true connect, true TLS, true certificate, true features, true SASL, true stream"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("steps %s, want %s", got, want)
	}
	for _, bad := range []string{"nowhere.example", "a b", us + ":5269"} {
		steps := a.Test(context.Background(), bad)
		if n := len(steps); n == 0 || steps[n-1].OK {
			t.Errorf("%s: %+v", bad, steps)
		}
	}
	if sent, received, failed := b.Counts(); sent+received+failed != 0 {
		t.Errorf("counts %d %d %d", sent, received, failed)
	}
}
