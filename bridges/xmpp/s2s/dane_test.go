package s2s

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
)

// sign makes the records of a domain signed, and gives its server records about
// certificates.
func (w *world) sign(domain string, records ...certs.TLSA) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.records[domain]
	r.Secure = true
	for i, t := range r.Targets {
		r.Targets[i].Secure = true
		at := fmt.Sprintf("%s:%d", t.Host, t.Port)
		w.tlsa[at] = nil
		for _, rr := range records {
			w.tlsa[at] = append(w.tlsa[at], locate.TLSA(rr))
		}
	}
	w.records[domain] = r
}

// selfSigned makes a certificate that nobody vouches for.
func selfSigned(t testing.TB, names ...string) *certs.Keypair {
	t.Helper()
	k, err := certs.SelfSigned(certs.Leaf{CN: "somebody", Names: names})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// What signed DNS says of a server is the last word, also where dialback is allowed
// and the certificate is good without it.
func TestWhatDNSSaysOfAServer(t *testing.T) {
	host := "xmpp." + them
	for _, tt := range []struct {
		name     string
		keypair  func(w *world) *certs.Keypair
		records  func(w *world, k *certs.Keypair) []certs.TLSA
		dialback bool
		want     bridges.Proof
		err      error
	}{
		{"its key", func(*world) *certs.Keypair { return selfSigned(t) }, func(_ *world, k *certs.Keypair) []certs.TLSA {
			return []certs.TLSA{certs.RecordOf(k.Leaf())}
		}, false, bridges.ProofDANE, nil},
		{"another key, though dialback is allowed", func(*world) *certs.Keypair { return selfSigned(t) }, func(w *world, _ *certs.Keypair) []certs.TLSA {
			return []certs.TLSA{certs.RecordOf(w.ca.Certificate())}
		}, true, 0, ErrUntrusted},
		{"another key, though the certificate is good", func(w *world) *certs.Keypair { return w.keypair(them) }, func(w *world, _ *certs.Keypair) []certs.TLSA {
			return []certs.TLSA{certs.RecordOf(w.ca.Certificate())}
		}, true, 0, ErrUntrusted},
		{"its authority, which is trusted anyhow", func(w *world) *certs.Keypair { return w.keypair(them) }, func(w *world, _ *certs.Keypair) []certs.TLSA {
			return []certs.TLSA{{Usage: 0, Selector: 1, Matching: 0, Data: w.ca.Certificate().RawSubjectPublicKeyInfo}}
		}, false, bridges.ProofDANE, nil},
		{"an authority, for the name of the server", func(w *world) *certs.Keypair { return w.keypair(host) }, func(w *world, _ *certs.Keypair) []certs.TLSA {
			return []certs.TLSA{{Usage: 2, Selector: 0, Matching: 0, Data: w.ca.Certificate().Raw}}
		}, false, bridges.ProofDANE, nil},
		{"an authority, for another name", func(w *world) *certs.Keypair { return w.keypair("other.example") }, func(w *world, _ *certs.Keypair) []certs.TLSA {
			return []certs.TLSA{{Usage: 2, Selector: 0, Matching: 0, Data: w.ca.Certificate().Raw}}
		}, true, 0, ErrUntrusted},
		{"an authority, for a client", func(w *world) *certs.Keypair { return w.keypair(them, x509.ExtKeyUsageClientAuth) }, func(w *world, _ *certs.Keypair) []certs.TLSA {
			return []certs.TLSA{{Usage: 2, Selector: 0, Matching: 0, Data: w.ca.Certificate().Raw}}
		}, true, 0, ErrUntrusted},
		{"nothing, and its certificate is of the server's name", func(w *world) *certs.Keypair { return w.keypair(host) }, nil, false, bridges.ProofCertificate, nil},
		{"nothing, and its certificate is of another name", func(w *world) *certs.Keypair { return w.keypair("other.example") }, nil, false, 0, ErrUntrusted},
		{"nothing, and dialback is allowed", func(*world) *certs.Keypair { return selfSigned(t, them) }, nil, true, bridges.ProofDialback, nil},
		{"nothing that we understand", func(w *world) *certs.Keypair { return w.keypair(them) }, func(_ *world, k *certs.Keypair) []certs.TLSA {
			return []certs.TLSA{{Usage: 3, Selector: 1, Matching: 77, Data: []byte("x")}}
		}, false, bridges.ProofCertificate, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.site(us, func(c *Config) { c.Dialback = func(string) bool { return tt.dialback } })
			k := tt.keypair(w)
			w.site(them, func(c *Config) { c.Keypair = k })
			var records []certs.TLSA
			if tt.records != nil {
				records = tt.records(w, k)
			}
			w.sign(them, records...)
			o := wait(t, a.send(them, "hi"), "the outcome")
			if !errors.Is(o.Err, tt.err) {
				t.Fatalf("outcome %+v, want %v", o, tt.err)
			}
			if tt.err != nil {
				if len(a.Links()) > 0 && a.Links()[0].State == "up" {
					t.Errorf("links %+v", a.Links())
				}
				return
			}
			if l := a.Links(); len(l) != 1 || l[0].Proof != tt.want {
				t.Errorf("links %+v, want proof %s", l, tt.want)
			}
		})
	}
}

// The name of a server is not one of the domain unless DNS says so, signed.
func TestAServersNameCountsIfItIsSigned(t *testing.T) {
	for _, signed := range []bool{true, false} {
		w := newWorld(t)
		a := w.site(us, func(c *Config) { c.Dialback = nil })
		w.site(them, func(c *Config) { c.Keypair = w.keypair("xmpp." + them) })
		if signed {
			w.sign(them)
		}
		if o := wait(t, a.send(them, "hi"), "the outcome"); (o.Err == nil) != signed || !signed && !errors.Is(o.Err, ErrUntrusted) {
			t.Errorf("signed %v: outcome %+v", signed, o)
		}
	}
}

// An alias of a server may have records at its end, and a certificate of its name.
func TestRecordsAtTheEndOfAnAlias(t *testing.T) {
	const end = "xmpp.hosting.example"
	for _, tt := range []struct {
		name string
		at   string // where the records are
		cert string
		want error
	}{
		{"records and certificate are of the end", end, end, nil},
		{"the certificate is of the server's own name", end, "xmpp." + them, nil},
		{"the records are at the server's own name", "xmpp." + them, "xmpp." + them, nil},
		{"the records are at the server's own name, the certificate is of the end", "xmpp." + them, end, ErrUntrusted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.site(us, func(c *Config) { c.Dialback, c.Verifier = nil, nil })
			w.site(them, func(c *Config) { c.Keypair = w.keypair(tt.cert) })
			w.sign(them)
			w.mu.Lock()
			w.records[them].Targets[0].Alias = end
			at := fmt.Sprintf("%s:%d", tt.at, w.records[them].Targets[0].Port)
			w.tlsa[at] = []locate.TLSA{{Usage: 2, Data: w.ca.Certificate().Raw}}
			w.mu.Unlock()
			if o := wait(t, a.send(them, "hi"), "the outcome"); !errors.Is(o.Err, tt.want) {
				t.Errorf("outcome %+v, want %v", o, tt.want)
			}
		})
	}
}

// A server of which DNS does not say what its certificates are is passed over, and
// the next one is tried.
func TestAServerThatDNSIsSilentAboutIsPassedOver(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, nil)
	b := w.site(them, nil)
	w.point(them, deadAddr(t), b.plain.Addr().String())
	w.sign(them)
	w.mu.Lock()
	w.records[them].Targets[0].Host = "other." + them
	w.errs[fmt.Sprintf("other.%s:%d", them, w.records[them].Targets[0].Port)] = locate.ErrServfail
	w.mu.Unlock()
	if o := wait(t, a.send(them, "hi"), "the outcome"); !o.Acked {
		t.Errorf("outcome %+v", o)
	}
	steps := a.Test(t.Context(), them)
	var names []string
	for _, s := range steps {
		names = append(names, fmt.Sprintf("%v %s", s.OK, s.Name))
	}
	if len(steps) < 3 || steps[1].OK || !strings.HasPrefix(steps[1].Name, "TLSA of other.") || strings.HasPrefix(steps[2].Name, "connect to other.") {
		t.Errorf("steps %q", names)
	}
}

// Who asks a domain's server about a key asks nobody else either.
func TestKeysAreNotVerifiedByAServerThatDNSDoesNotName(t *testing.T) {
	for _, named := range []bool{true, false} {
		t.Run(fmt.Sprint("named ", named), func(t *testing.T) {
			w := newWorld(t)
			x := w.site(us, nil)
			v := w.site(victim, func(c *Config) { c.Keypair = selfSigned(t) })
			record := certs.RecordOf(v.c.Keypair.Leaf())
			if !named {
				record.Data[0] ^= 1
			}
			w.sign(victim, record)
			p := dial(t, x.plain)
			id, _ := p.startTLS(w.keypair(them), them, us)
			p.claim(victim, us, v.keys.of(us, victim, id))
			want := map[bool]string{true: "valid", false: "not-acceptable"}[named]
			if got := p.verdict("result"); got != want {
				t.Errorf("verdict %s, want %s", got, want)
			}
		})
	}
}

// A peer that shows a key by dialback, and a certificate that DNS names, is proved
// by the better of them: nobody is asked about the key.
func TestAClaimIsProvedByWhatDNSSays(t *testing.T) {
	for _, tt := range []struct {
		name     string
		signed   bool
		dialback bool
		verdict  string
		proof    bridges.Proof
	}{
		{"dns names the certificate", true, true, "valid", bridges.ProofDANE},
		{"dns names the certificate, and dialback is forbidden", true, false, "valid", bridges.ProofDANE},
		{"dns says nothing", false, true, "valid", bridges.ProofDialback},
		{"dns says nothing, and dialback is forbidden", false, false, "not-authorized", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			x := w.site(us, func(c *Config) { c.Dialback = func(string) bool { return tt.dialback } })
			v := w.site(victim, nil)
			k := selfSigned(t)
			if tt.signed {
				w.sign(victim, certs.RecordOf(k.Leaf()))
			}
			p := dial(t, x.plain)
			id, _ := p.startTLS(k, them, us)
			key := v.keys.of(us, victim, id)
			if tt.proof == bridges.ProofDANE {
				key = "made-up"
			}
			p.claim(victim, us, key)
			if got := p.verdict("result"); got != tt.verdict {
				t.Fatalf("verdict %s, want %s", got, tt.verdict)
			}
			if tt.proof == bridges.ProofNone {
				return
			}
			p.write("%s", body("bob@"+victim, "alice@"+us, "hi"))
			if e := x.receive(); e.From != victim || e.Proof != tt.proof {
				t.Errorf("from %s with proof %s, want %s", e.From, e.Proof, tt.proof)
			}
		})
	}
}

// A stream ends when DNS names its certificate no more; not when DNS says nothing.
func TestAStreamEndsWithTheRecordThatProvedIt(t *testing.T) {
	for _, incoming := range []bool{true, false} {
		t.Run(fmt.Sprint("incoming ", incoming), func(t *testing.T) {
			w := newWorld(t)
			a := w.site(us, func(c *Config) { c.Dialback, c.Verifier = nil, nil })
			k := selfSigned(t)
			b := w.site(them, func(c *Config) { c.Keypair = k })
			w.sign(them, certs.RecordOf(k.Leaf()))
			if incoming {
				b.send(us, "hi")
				a.receive()
			} else if o := wait(t, a.send(them, "hi"), "the outcome"); o.Err != nil {
				t.Fatalf("outcome %+v", o)
			}
			links := func() int {
				n := 0
				for _, l := range a.Links() {
					if l.Proof == bridges.ProofDANE && l.State == "up" {
						n++
					}
				}
				return n
			}
			if n := links(); n != 1 {
				t.Fatalf("%d links: %+v", n, a.Links())
			}
			look := func() {
				t.Helper()
				w.mu.Lock()
				n := w.asked[them]
				w.mu.Unlock()
				a.sweep(time.Now().Add(2 * recheckTime))
				until(t, "the record is looked for", func() bool {
					w.mu.Lock()
					asked := w.asked[them]
					w.mu.Unlock()
					a.vouches.mu.Lock()
					defer a.vouches.mu.Unlock()
					return asked > n && a.vouches.taken == 0
				})
			}
			w.mu.Lock()
			at := fmt.Sprintf("%s:%d", w.records[them].Targets[0].Host, w.records[them].Targets[0].Port)
			w.errs[at] = locate.ErrServfail
			w.mu.Unlock()
			look()
			if n := links(); n != 1 {
				t.Fatalf("%d links after a failure: %+v", n, a.Links())
			}
			w.mu.Lock()
			w.errs[at] = nil
			for _, st := range a.everyStream() {
				st.set(func() { st.rechecked = time.Time{} })
			}
			w.mu.Unlock()
			w.sign(them, certs.RecordOf(w.ca.Certificate()))
			look()
			until(t, "the stream is left", func() bool { return links() == 0 })
		})
	}
}

// everyStream are all streams.
func (s *Server) everyStream() []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, streams := s.all()
	return streams
}

func TestSearchesForCertificatesAreBounded(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, func(c *Config) { c.Limits.Verifies, c.Dialback = 1, nil })
	k := selfSigned(t)
	w.point(victim, deadAddr(t))
	w.sign(victim, certs.RecordOf(k.Leaf()))
	offered := func() bool {
		p := dial(t, x.plain)
		_, f := p.startTLS(k, victim, us)
		return f.Child(nsSASL, "mechanisms") != nil
	}
	if !offered() {
		t.Error("EXTERNAL is not offered")
	}
	if !x.vouches.take(netip.Addr{}) {
		t.Fatal("no place")
	}
	if offered() {
		t.Error("EXTERNAL is offered though nobody could look")
	}
	x.vouches.leave(netip.Addr{})
	if !offered() {
		t.Error("EXTERNAL is not offered any more")
	}
}

// slow is a Finder whose answers do not come.
type slow struct{ *world }

func (slow) XMPP(ctx context.Context, _ string) (locate.XMPPRecords, error) {
	<-ctx.Done()
	return locate.XMPPRecords{}, ctx.Err()
}

// What DNS does not say in time proves nothing, and the stream goes on without.
func TestASearchThatTakesTooLongProvesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the end of a search")
	}
	w := newWorld(t)
	x := w.site(us, func(c *Config) { c.Finder = slow{w} })
	p := dial(t, x.plain)
	_, f := p.startTLS(selfSigned(t), them, us)
	if f.Child(nsSASL, "mechanisms") != nil || f.Child(nsCanCheck, "dialback") == nil {
		t.Errorf("features %s", stanza.Append(nil, f))
	}
}
