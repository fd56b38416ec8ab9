package s2s

import (
	"errors"
	"strconv"
	"testing"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/certs"
)

const (
	us   = "example.com"
	them = "example.net"
)

func TestTwoServersTalk(t *testing.T) {
	distrust := func(c *Config) { c.Verifier = nil }
	for _, tt := range []struct {
		name   string
		here   func(*Config)
		there  func(*Config)
		direct bool
		acked  bool
		proof  bridges.Proof // of us, for them
		back   bridges.Proof // of them, for us
	}{
		{"by certificate", nil, nil, false, true, bridges.ProofCertificate, bridges.ProofCertificate},
		{"by certificate, TLS from the first octet", nil, nil, true, true, bridges.ProofCertificate, bridges.ProofCertificate},
		{"by dialback", distrust, distrust, false, false, bridges.ProofDialback, bridges.ProofDialback},
		{"they do not trust our certificate", nil, distrust, false, false, bridges.ProofDialback, bridges.ProofCertificate},
		{"we do not trust theirs", distrust, nil, false, true, bridges.ProofCertificate, bridges.ProofDialback},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.site(us, tt.here), w.site(them, tt.there)
			if tt.direct {
				w.point(them, "tls:"+b.direct.Addr().String())
			}
			o := wait(t, a.send(them, "hello"), "the outcome")
			if o.Err != nil || o.Acked != tt.acked || o.Sent == tt.acked {
				t.Errorf("outcome %+v", o)
			}
			e := b.receive()
			if e.From != us || e.To != them || e.Proof != tt.proof {
				t.Errorf("got from %s to %s with proof %s, want proof %s", e.From, e.To, e.Proof, tt.proof)
			}
			// The answer goes back on the same stream.
			if o := wait(t, b.send(us, "hello yourself"), "the outcome back"); o.Err != nil {
				t.Errorf("outcome back %+v", o)
			}
			if e := a.receive(); e.From != them || e.Proof != tt.back {
				t.Errorf("got from %s with proof %s, want %s", e.From, e.Proof, tt.back)
			}
			if n := len(b.Links()); n != 1 {
				t.Errorf("%d links: %+v", n, b.Links())
			}
			for _, l := range append(a.Links(), b.Links()...) {
				if l.Direction != "both" || l.State != "up" {
					t.Errorf("link %+v", l)
				}
			}
		})
	}
}

func TestStanzasComeInOrder(t *testing.T) {
	w := newWorld(t)
	a, b := w.site(us, nil), w.site(them, nil)
	const n = 5000
	outcomes := make(chan Outcome, n)
	want := make([]string, n)
	wait(t, a.send(them, "first"), "the first")
	b.wants("first")
	for i := range n {
		want[i] = strconv.Itoa(i)
		a.Send(message("alice@"+us, "bob@"+them, want[i]), func(o Outcome) { outcomes <- o })
	}
	b.wants(want...)
	for range n {
		if o := wait(t, outcomes, "an outcome"); !o.Acked {
			t.Fatalf("outcome %+v", o)
		}
	}
	if sent, _, failed := a.Counts(); sent != n+1 || failed != 0 {
		t.Errorf("%d sent, %d failed", sent, failed)
	}
	if _, received, _ := b.Counts(); received != n+1 {
		t.Errorf("%d received", received)
	}
}

func TestBothSidesMayBeginAtOnce(t *testing.T) {
	for i := range 20 {
		w := newWorld(t)
		change := func(c *Config) {
			if i%2 == 0 {
				c.Verifier = nil
			}
		}
		a, b := w.site(us, change), w.site(them, change)
		var all []<-chan Outcome
		for range 5 {
			all = append(all, a.send(them, "from a"), b.send(us, "from b"))
		}
		for _, c := range all {
			if o := wait(t, c, "an outcome"); o.Err != nil {
				t.Errorf("outcome %+v", o)
			}
		}
		for range 5 {
			a.wants("from b")
			b.wants("from a")
		}
		a.stop()
		b.stop()
	}
}

func TestAServerMayHaveSeveralDomains(t *testing.T) {
	w := newWorld(t)
	const second = "example.org"
	a := w.site(us, func(c *Config) {
		c.Domains = []string{us, second}
		k, err := w.ca.Keypair(certs.Leaf{Names: []string{us, second}})
		if err != nil {
			t.Fatal(err)
		}
		c.Keypair = k
	})
	w.point(second, a.plain.Addr().String())
	b := w.site(them, nil)
	for _, from := range []string{us, second} {
		done := make(chan Outcome, 1)
		a.Send(message("alice@"+from, "bob@"+them, "from "+from), func(o Outcome) { done <- o })
		if o := wait(t, done, "the outcome"); !o.Acked {
			t.Errorf("outcome %+v", o)
		}
		if e := b.receive(); e.From != from {
			t.Errorf("got from %s", e.From)
		}
		// And back, on the stream of that domain.
		b.Send(message("bob@"+them, "alice@"+from, "to "+from), func(o Outcome) { done <- o })
		if o := wait(t, done, "the outcome"); !o.Acked {
			t.Errorf("outcome %+v", o)
		}
		if e := a.receive(); e.To != from {
			t.Errorf("got to %s", e.To)
		}
	}
	if n := len(b.Links()); n != 2 {
		t.Errorf("%d links", n)
	}
	// What is not ours is not sent for, and what is ours is not sent to.
	for _, pair := range [][2]string{{"else.example", them}, {us, second}, {us, "not a domain"}} {
		done := make(chan Outcome, 1)
		if a.Send(message("a@"+pair[0], "b@"+pair[1], "x"), func(o Outcome) { done <- o }); wait(t, done, "the outcome").Err == nil {
			t.Errorf("sent from %s to %s", pair[0], pair[1])
		}
	}
}

func TestDomainsMayHaveAnyLetters(t *testing.T) {
	const here, there = "bücher.example", "straße.example"
	ascii := map[string]string{here: "xn--bcher-kva.example", there: "xn--strae-oqa.example"}
	for _, dialback := range []bool{false, true} {
		w := newWorld(t)
		site := func(domain string) *site {
			x := w.site(ascii[domain], func(c *Config) {
				if dialback {
					c.Verifier = nil
				}
			})
			x.domain = domain
			return x
		}
		a, b := site(here), site(there)
		if o := wait(t, a.send(there, "hi"), "the outcome"); o.Err != nil {
			t.Fatalf("outcome %+v", o)
		}
		if e := b.receive(); e.From != here || e.To != there {
			t.Errorf("got from %s to %s", e.From, e.To)
		}
		if o := wait(t, b.send("STRASSE.example", "x"), "the outcome"); !errors.Is(o.Err, ErrNoServer) {
			t.Errorf("outcome %+v", o) // ß is not ss
		}
		if o := wait(t, b.send("BÜCHER.example", "hi"), "the outcome"); o.Err != nil {
			t.Errorf("outcome %+v", o)
		}
		a.wants("hi")
	}
}
