package s2s

import (
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

var _ = certs.Leaf{}
