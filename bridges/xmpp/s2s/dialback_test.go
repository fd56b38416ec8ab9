package s2s

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

func (p *raw) claim(from, to, key string) {
	p.t.Helper()
	p.write("<db:result from='%s' to='%s'>%s</db:result>", from, to, key)
}

// verdict reads an answer to dialback: its type, and the condition of an error.
func (p *raw) verdict(local string) string {
	p.t.Helper()
	e := p.expect(stanza.NSDialback, local)
	if c := e.Child(stanza.NS, "error"); c != nil && len(c.Children) > 0 {
		return c.Children[0].Local
	}
	return e.Attr("type")
}

func TestDialbackBelievesTheDomainsOwnServerAndNobodyElse(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, nil)
	v := w.site(victim, nil)
	k := w.keypair(them)
	for _, tt := range []struct {
		name string
		play func(t *testing.T, p *raw, id string)
	}{
		{"a made-up key", func(t *testing.T, p *raw, _ string) {
			p.claim(victim, us, "made-up")
			if got := p.verdict("result"); got != "invalid" {
				t.Errorf("verdict %s", got)
			}
			p.refused("not-authorized")
		}},
		{"a key for another stream", func(t *testing.T, p *raw, _ string) {
			p.claim(victim, us, v.keys.of(us, victim, "another"))
			if got := p.verdict("result"); got != "invalid" {
				t.Errorf("verdict %s", got)
			}
			p.refused("not-authorized")
		}},
		{"a key that it gave to us for somebody else", func(t *testing.T, p *raw, id string) {
			p.claim(victim, us, v.keys.of(them, victim, id))
			if got := p.verdict("result"); got != "invalid" {
				t.Errorf("verdict %s", got)
			}
			p.refused("not-authorized")
		}},
		{"a key of the other direction", func(t *testing.T, p *raw, id string) {
			p.claim(victim, us, v.keys.of(victim, us, id))
			if got := p.verdict("result"); got != "invalid" {
				t.Errorf("verdict %s", got)
			}
			p.refused("not-authorized")
		}},
		{"an answer that nobody asked for", func(t *testing.T, p *raw, _ string) {
			p.write("<db:result from='%s' to='%s' type='valid'/>", victim, us)
			p.refused("invalid-from")
		}},
		{"another answer that nobody asked for", func(t *testing.T, p *raw, id string) {
			p.write("<db:verify from='%s' to='%s' id='%s' type='valid'/>", victim, us, id)
			p.refused("invalid-from")
		}},
		{"an answer to our question, on the wrong stream", func(t *testing.T, p *raw, id string) {
			// The server itself never answers, so that it cannot come first.
			const slow = "slow.example"
			asked := make(chan string, 1)
			theirs := w.keypair(slow)
			w.server(slow, theirs, func(p *raw) {
				p.accept(theirs, slow, us, "")
				asked <- p.expect(stanza.NSDialback, "verify").Attr("id")
			})
			p.claim(slow, us, "made-up")
			if got := wait(t, asked, "our question"); got != id {
				t.Fatalf("asked about stream %q, not %q", got, id)
			}
			p.write("<db:verify from='%s' to='%s' id='%s' type='valid'/>", slow, us, id)
			p.refused("invalid-from")
		}},
		{"a domain of ours", func(t *testing.T, p *raw, _ string) {
			p.claim(us, us, "key")
			if got := p.verdict("result"); got != "not-acceptable" {
				t.Errorf("verdict %s", got)
			}
		}},
		{"for a domain that is not here", func(t *testing.T, p *raw, _ string) {
			p.claim(victim, "elsewhere.example", "key")
			if got := p.verdict("result"); got != "item-not-found" {
				t.Errorf("verdict %s", got)
			}
		}},
		{"no domain", func(t *testing.T, p *raw, _ string) {
			p.write("<db:result to='%s'>key</db:result>", us)
			p.refused("improper-addressing")
		}},
		{"no key", func(t *testing.T, p *raw, _ string) {
			p.claim(victim, us, " ")
			if got := p.verdict("result"); got != "not-acceptable" {
				t.Errorf("verdict %s", got)
			}
		}},
		{"a domain without a server", func(t *testing.T, p *raw, _ string) {
			p.claim("nowhere.example", us, "key")
			if got := p.verdict("result"); got != "remote-server-not-found" {
				t.Errorf("verdict %s", got)
			}
			p.write("%s", body("eve@nowhere.example", "alice@"+us, "hi"))
			p.refused("not-authorized")
		}},
		{"many keys at once", func(t *testing.T, p *raw, _ string) {
			for range 2 * maxUnproved {
				p.claim("nowhere.example", us, "key")
			}
			refused := 0
			for range 2 * maxUnproved {
				if p.verdict("result") == "resource-constraint" {
					refused++
				}
			}
			if refused != maxUnproved {
				t.Errorf("%d refused, want %d", refused, maxUnproved)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := dial(t, x.plain)
			id, _ := p.startTLS(k, them, us)
			tt.play(t, p, id)
			x.nothing()
			v.nothing()
		})
	}
}

func TestTheServerThatIsAskedMustAnswerTheQuestion(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, nil)
	answer := make(chan string, 1)
	k := w.keypair("nobody.example")
	w.server(victim, k, func(p *raw) {
		p.accept(k, victim, us, "")
		q := p.expect(stanza.NSDialback, "verify")
		p.write("%s", strings.NewReplacer("ID", q.Attr("id"), "FROM", q.Attr("from"), "TO", q.Attr("to")).Replace(<-answer))
		_, _ = p.r.Next()
	})
	for _, tt := range []struct{ name, answer, want string }{
		{"the right one", "<db:verify from='TO' to='FROM' id='ID' type='valid'/>", "valid"},
		{"another id", "<db:verify from='TO' to='FROM' id='x' type='valid'/>", "remote-server-timeout"},
		{"another domain", "<db:verify from='" + them + "' to='FROM' id='ID' type='valid'/>", "remote-server-timeout"},
		{"to another domain", "<db:verify from='TO' to='" + them + "' id='ID' type='valid'/>", "remote-server-timeout"},
		{"a result", "<db:result from='TO' to='FROM' id='ID' type='valid'/>", "remote-server-timeout"},
		{"no verdict", "<db:verify from='TO' to='FROM' id='ID'/><x xmlns='urn:x'/>", "remote-server-timeout"},
		{"a stanza", "<message from='TO' to='FROM'/>", "remote-server-timeout"},
		{"an error", "<db:verify from='TO' to='FROM' id='ID' type='error'><error type='cancel'><item-not-found xmlns='" + stanza.NSErrors + "'/></error></db:verify>", "remote-server-not-found"},
		{"the end", "</stream:stream>", "remote-server-timeout"},
		{"a stream error", "<stream:error><policy-violation xmlns='" + nsErrors + "'/></stream:error></stream:stream>", "not-acceptable"},
		{"invalid", "<db:verify from='TO' to='FROM' id='ID' type='invalid'/>", "invalid"},
		{"anything else", "<db:verify from='TO' to='FROM' id='ID' type='VALID'/>", "invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := dial(t, x.plain)
			p.startTLS(nil, victim, us)
			answer <- tt.answer
			p.claim(victim, us, "key")
			if got := p.verdict("result"); got != tt.want {
				t.Errorf("verdict %s, want %s", got, tt.want)
			}
			if tt.want == "valid" {
				p.write("%s", body("v@"+victim, "alice@"+us, "hi"))
				if e := x.receive(); e.Proof != bridges.ProofDialback || e.From != victim {
					t.Errorf("got %+v", e)
				}
			}
			x.nothing()
		})
	}
}

func TestAStreamMaySpeakForSeveralDomains(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, nil)
	rooms := w.site("rooms."+them, nil)
	p := dial(t, x.plain)
	p.login(w.keypair(them), them, us)
	// The certificate does not name this one, and its server knows nothing of it.
	p.claim("rooms."+them, us, "made-up")
	if got := p.verdict("result"); got != "forbidden" {
		t.Fatalf("verdict %s", got)
	}
	p.write("%s", body("eve@"+them, "alice@"+us, "one"))
	x.wants("one")

	p = dial(t, x.plain)
	p.startTLS(w.keypair(them), them, us)
	p.write("<auth xmlns='%s' mechanism='EXTERNAL'>=</auth>", nsSASL)
	p.expect(nsSASL, "success")
	p.r.Reset(p.conn)
	id, _ := p.open(them, us)
	p.claim("rooms."+them, us, rooms.keys.of(us, "rooms."+them, id))
	if got := p.verdict("result"); got != "valid" {
		t.Fatalf("verdict %s", got)
	}
	p.write("%s%s", body("room@rooms."+them, "alice@"+us, "two"), body("eve@"+them, "alice@"+us, "three"))
	if e := x.receive(); e.From != "rooms."+them || e.Proof != bridges.ProofDialback {
		t.Errorf("got %+v", e)
	}
	if e := x.receive(); e.From != them || e.Proof != bridges.ProofCertificate {
		t.Errorf("got %+v", e)
	}
	// A domain that the certificate names needs no questions.
	p = dial(t, x.plain)
	p.startTLS(w.keypair("*."+them), "a."+them, us)
	p.claim("b."+them, us, "whatever")
	if got := p.verdict("result"); got != "valid" {
		t.Fatalf("verdict %s", got)
	}
	p.write("%s", body("eve@b."+them, "alice@"+us, "four"))
	if e := x.receive(); e.Proof != bridges.ProofCertificate {
		t.Errorf("got %+v", e)
	}
}

func TestOurKeysAreConfirmedToAnybody(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, func(c *Config) { c.Dialback = nil })
	p := dial(t, x.plain)
	p.startTLS(nil, them, us)
	ask := func(from, to, id, key string) string {
		p.write("<db:verify from='%s' to='%s' id='%s'>%s</db:verify>", from, to, id, key)
		return p.verdict("verify")
	}
	key := x.keys.of(them, us, "i1")
	for _, tt := range []struct{ from, to, id, key, want string }{
		{them, us, "i1", key, "valid"},
		{them, us, "i1", " " + key + "\n", "valid"},
		{them, us, "i2", key, "invalid"},
		{victim, us, "i1", key, "invalid"},
		{them, victim, "i1", key, "item-not-found"},
		{them, us, "i1", "", "invalid"},
	} {
		if got := ask(tt.from, tt.to, tt.id, tt.key); got != tt.want {
			t.Errorf("key for %s to %s, id %s: %s, want %s", tt.from, tt.to, tt.id, got, tt.want)
		}
	}
	// Without TLS nobody is told anything.
	p = dial(t, x.plain)
	p.open(them, us)
	if got := ask(them, us, "i1", key); got != "policy-violation" {
		t.Errorf("without TLS: %s", got)
	}
	p.claim(them, us, "key")
	if got := p.verdict("result"); got != "policy-violation" {
		t.Errorf("without TLS: %s", got)
	}
}

// What they send on a stream of ours is theirs to say only where we have asked for
// it.
func TestAnswersOnOurStreamsMustBeToWhatWeAsked(t *testing.T) {
	for _, tt := range []struct{ name, answer string }{
		{"of another domain", "<db:result from='" + victim + "' to='" + us + "' type='valid'/>"},
		{"to another domain", "<db:result from='" + them + "' to='" + victim + "' type='valid'/>"},
		{"without a verdict", "<db:result from='" + them + "' to='" + us + "'/>"},
		{"to another question", "<db:verify from='" + them + "' to='" + us + "' id='x' type='valid'/>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			x := w.site(us, nil)
			k := w.keypair(them)
			w.server(them, k, func(p *raw) {
				p.accept(k, them, us, "")
				p.expect(stanza.NSDialback, "result")
				p.write("%s", tt.answer)
				_, _ = p.r.Next()
			})
			if o := wait(t, x.send(them, "hi"), "the outcome"); o.Err == nil {
				t.Errorf("outcome %+v", o)
			}
		})
	}
	t.Run("later", func(t *testing.T) {
		w := newWorld(t)
		x := w.site(us, nil)
		k := w.keypair(them)
		w.server(them, k, func(p *raw) {
			p.accept(k, them, us, offerExternal+"<bidi xmlns='"+nsCanBidi+"'/>")
			p.expect(nsBidi, "bidi")
			p.grant(them, us, "")
			p.expect(stanza.NS, "message")
			p.write("%s", body("eve@"+them, "alice@"+us, "one"))
			// They may prove another domain, but not on this stream.
			p.claim(victim, us, "key")
			p.write("%s", body("eve@"+them, "alice@"+us, p.verdict("result")))
			p.write("<db:result from='%s' to='%s' type='valid'/>", victim, us)
			p.write("%s", body("eve@"+victim, "alice@"+us, "two"))
			_, _ = p.r.Next()
		})
		if o := wait(t, x.send(them, "hi"), "the outcome"); !o.Sent {
			t.Errorf("outcome %+v", o)
		}
		x.wants("one", "not-acceptable")
		until(t, "the stream ends", func() bool { return said(x.log.String(), "stream closed", "nobody asked for") })
		x.nothing()
	})
}

func TestDialbackMayBeForbidden(t *testing.T) {
	w := newWorld(t)
	forbid := func(c *Config) {
		c.Verifier = nil
		c.Dialback = func(d string) bool { return d != them && d != us }
	}
	x := w.site(us, forbid)
	y := w.site(them, nil)
	o := wait(t, x.send(them, "hi"), "the outcome")
	if !errors.Is(o.Err, ErrUntrusted) {
		t.Errorf("outcome %v, want ErrUntrusted", o.Err)
	}
	o = wait(t, y.send(us, "hi"), "the outcome")
	if !errors.Is(o.Err, ErrRefused) || !said(fmt.Sprint(o.Err), "not-authorized") {
		t.Errorf("outcome %v, want ErrRefused, not-authorized", o.Err)
	}
	x.nothing()
	y.nothing()
}
