package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func state(certs []*x509.Certificate) tls.ConnectionState {
	return tls.ConnectionState{PeerCertificates: certs}
}

func trusting(a *Authority) *Verifier { return &Verifier{Roots: a.Pool} }

func TestRefusalsAreToldApart(t *testing.T) {
	ca, stranger := authority(t), authority(t)
	now := time.Now()
	for _, tt := range []struct {
		name  string
		certs []*x509.Certificate
		want  Problem
	}{
		{"a good one holds", issue(t, ca, Leaf{Names: []string{partner}}), ""},
		{"none", nil, NoneSent},
		{"unknown authority", issue(t, stranger, Leaf{Names: []string{partner}}), UnknownIssuer},
		{"self-signed", []*x509.Certificate{stranger.Certificate()}, UnknownIssuer},
		{"expired", issue(t, ca, Leaf{Names: []string{partner}, NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}), Expired},
		{"not yet valid", issue(t, ca, Leaf{Names: []string{partner}, NotBefore: now.Add(time.Hour)}), NotYetValid},
		{"for e-mail only", issue(t, ca, Leaf{Names: []string{partner}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}}), WrongUsage},
		{"for something unheard of", issue(t, ca, Leaf{Names: []string{partner}, MoreUsages: []asn1.ObjectIdentifier{{1, 2, 3, 4}}}), WrongUsage},
		{"nul in a name", issue(t, ca, Leaf{Names: []string{partner + "\x00.evil.example"}}), Malformed},
		{"chain of 100", chainOf(t, ca, 100), Malformed},
		{"10,000 names", issue(t, ca, Leaf{Names: many(10_000)}), Malformed},
		{"1,000 names and an authority hold", issue(t, ca, Leaf{Names: many(1000)}), ""},
		{"RSA key of 16,384 bits", []*x509.Certificate{hugeKey(t, ca)}, Malformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			id, err := trusting(ca).Identify(state(tt.certs))
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			if got := ProblemOf(err); got != tt.want {
				t.Fatalf("Identify = %v, %v, want %q", id, err, tt.want)
			}
			if id == nil || id.IsZero() != (tt.want != "") {
				t.Errorf("identity %v", id)
			}
			if used := after.TotalAlloc - before.TotalAlloc; took > 10*time.Second || used > 5<<20 {
				t.Errorf("took %v and %d octets", took, used)
			}
		})
	}
}

func many(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("n%d.example", i)
	}
	return names
}

// chainOf makes a leaf with n certificates above it, all good.
func chainOf(t *testing.T, a *Authority, n int) []*x509.Certificate {
	t.Helper()
	for i := range n {
		var err error
		if a, err = a.Intermediate(fmt.Sprintf("Authority %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	return issue(t, a, Leaf{Names: []string{partner}})
}

// hugeKey certifies an RSA key that nobody has.
func hugeKey(t *testing.T, a *Authority) *x509.Certificate {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 16383))
	if err != nil {
		t.Fatal(err)
	}
	n.SetBit(n, 16383, 1).SetBit(n, 0, 1)
	template, err := Leaf{Names: []string{partner}}.template()
	if err != nil {
		t.Fatal(err)
	}
	c, err := sign(template, a.cert, &rsa.PublicKey{N: n, E: 65537}, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestUsagesAreThoseOfTheWholeChain(t *testing.T) {
	ca := authority(t)
	template, err := caTemplate("For servers")
	if err != nil {
		t.Fatal(err)
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	servers, err := ca.below(template)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		by   *Authority
		leaf Leaf
		want Usage
	}{
		{"both", ca, Leaf{}, UsageClient | UsageServer},
		{"client", ca, Leaf{Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, UsageClient},
		{"server", ca, Leaf{Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, UsageServer},
		{"any", ca, Leaf{Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}, UsageAny},
		{"none at all is any", ca, Leaf{Usages: []x509.ExtKeyUsage{}}, UsageAny},
		{"sip domain", ca, Leaf{MoreUsages: []asn1.ObjectIdentifier{oidSIPDomain}}, UsageSIP},
		{"both below an authority for servers", servers, Leaf{}, UsageServer},
		{"none at all below an authority for servers", servers, Leaf{Usages: []x509.ExtKeyUsage{}}, UsageServer},
		{"client below an authority for servers", servers, Leaf{Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.leaf.Names = []string{partner}
			id, err := trusting(ca).Identify(state(issue(t, tt.by, tt.leaf)))
			if tt.want == 0 {
				if ProblemOf(err) != WrongUsage {
					t.Errorf("Identify = %v, want wrong usage", err)
				}
				return
			}
			if err != nil || id.Usage() != tt.want {
				t.Errorf("usage %v, %v, want %v", id.Usage(), err, tt.want)
			}
		})
	}
}

func TestAnExpiredAuthorityBetweenIsNotAnUnknownOne(t *testing.T) {
	ca := authority(t)
	template, err := caTemplate("Old")
	if err != nil {
		t.Fatal(err)
	}
	template.NotAfter = time.Now().Add(-time.Minute)
	old, err := ca.below(template)
	if err != nil {
		t.Fatal(err)
	}
	_, err = trusting(ca).Identify(state(issue(t, old, Leaf{Names: []string{partner}})))
	if ProblemOf(err) != Expired {
		t.Errorf("Identify = %v, want expired", err)
	}
}

func TestConnectionsWithTheSameCertificateShareOneIdentity(t *testing.T) {
	ca := authority(t)
	certs := issue(t, ca, Leaf{Names: []string{partner}})
	again, err := x509.ParseCertificate(certs[0].Raw)
	if err != nil {
		t.Fatal(err)
	}
	v := trusting(ca)
	one, err1 := v.Identify(state(certs))
	two, err2 := v.Identify(state([]*x509.Certificate{again}))
	if err1 != nil || err2 != nil || one != two {
		t.Errorf("Identify = %p, %v and %p, %v", one, err1, two, err2)
	}
}

func TestWhatIsRememberedEndsWithItsGrounds(t *testing.T) {
	ca := authority(t)
	certs := issue(t, ca, Leaf{Names: []string{partner}, NotAfter: time.Now().Add(time.Hour)})
	now, pool := time.Now(), ca.Pool()
	var revoked *Revocations
	v := &Verifier{
		Roots:   func() *x509.CertPool { return pool },
		Revoked: func() *Revocations { return revoked },
		Now:     func() time.Time { return now },
	}
	expect := func(what string, want Problem) {
		t.Helper()
		if _, err := v.Identify(state(certs)); ProblemOf(err) != want {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	expect("at first", "")
	now = now.Add(2 * time.Hour)
	expect("after its end", Expired)
	now = now.Add(-2 * time.Hour)
	expect("again", "")
	pool = authority(t).Pool()
	expect("after its authority went", UnknownIssuer)
	pool = ca.Pool()
	expect("after it came back", "")
	list, err := ca.Revoke(certs[0])
	if err != nil {
		t.Fatal(err)
	}
	if revoked, err = ParseRevocations(list); err != nil {
		t.Fatal(err)
	}
	expect("after it was revoked", Revoked)
}

func TestARevocationListCountsOnlyFromTheIssuer(t *testing.T) {
	ca, impostor := authority(t), authority(t) // both have the same name
	certs := issue(t, ca, Leaf{Names: []string{partner}})
	list, err := impostor.Revoke(certs[0])
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := ParseRevocations(list)
	if err != nil {
		t.Fatal(err)
	}
	v := trusting(ca)
	v.Revoked = func() *Revocations { return revoked }
	if _, err := v.Identify(state(certs)); err != nil {
		t.Errorf("Identify = %v", err)
	}
}

func TestAVerifierWithoutRootsTrustsNobody(t *testing.T) {
	certs := issue(t, authority(t), Leaf{Names: []string{partner}})
	for _, v := range []*Verifier{{}, {Roots: func() *x509.CertPool { return nil }}} {
		if _, err := v.Identify(state(certs)); ProblemOf(err) != UnknownIssuer {
			t.Errorf("Identify = %v", err)
		}
	}
}

func TestRootsKeepTheLastGoodFile(t *testing.T) {
	one, two := authority(t), authority(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	write(t, file, one.PEM())
	r, err := LoadRoots(file, "")
	if err != nil {
		t.Fatal(err)
	}
	v := r.Verifier()
	certs := issue(t, two, Leaf{Names: []string{partner}})
	write(t, file, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	if changed, err := r.Reload(); err == nil || changed {
		t.Errorf("Reload of a broken file = %v, %v", changed, err)
	}
	if _, err := v.Identify(state(issue(t, one, Leaf{Names: []string{partner}}))); err != nil {
		t.Errorf("after a broken file: %v", err)
	}
	if _, err := v.Identify(state(certs)); ProblemOf(err) != UnknownIssuer {
		t.Errorf("before: %v", err)
	}
	write(t, file, two.PEM())
	if changed, err := r.Reload(); err != nil || !changed {
		t.Errorf("Reload = %v, %v", changed, err)
	}
	if _, err := v.Identify(state(certs)); err != nil {
		t.Errorf("after: %v", err)
	}
	if changed, err := r.Reload(); err != nil || changed {
		t.Errorf("Reload of the same file = %v, %v", changed, err)
	}
}

func TestRootsOfTheSystemAreNotNamedToClients(t *testing.T) {
	r, err := LoadRoots(SystemRoots, "")
	if err != nil {
		t.Skip(err)
	}
	if r.Pool() == nil || r.Hints() != nil {
		t.Errorf("pool %v, hints %v", r.Pool(), r.Hints())
	}
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

var _ crypto.Signer = (*fakeSigner)(nil)

func BenchmarkIdentifyAgain(b *testing.B) {
	ca := authority(b)
	v, cs := trusting(ca), state(issue(b, ca, Leaf{Names: []string{partner}}))
	for b.Loop() {
		if _, err := v.Identify(cs); err != nil {
			b.Fatal(err)
		}
	}
}
