package certs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// record makes the record "usage selector matching" of a certificate.
func record(params string, c *x509.Certificate) TLSA {
	var r TLSA
	if _, err := fmt.Sscan(params, &r.Usage, &r.Selector, &r.Matching); err != nil {
		panic(err)
	}
	r.Data = c.Raw
	if r.Selector == 1 {
		r.Data = c.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case 1:
		sum := sha256.Sum256(r.Data)
		r.Data = sum[:]
	case 2:
		sum := sha512.Sum512(r.Data)
		r.Data = sum[:]
	}
	return r
}

// daneCase is a server's chain, with what DNS says of it, and whether that fits.
type daneCase struct {
	name    string
	certs   []*x509.Certificate
	keypair *Keypair
	records []TLSA
	want    string // the record's parameters, or the problem
}

// daneCases are cases about partner, and the authority that is trusted in them.
func daneCases(t *testing.T) (trusted *Authority, cases []daneCase) {
	t.Helper()
	trusted, private, stranger := authority(t), authority(t), authority(t)
	between := func(a *Authority, name string) *Authority {
		t.Helper()
		sub, err := a.Intermediate(name)
		if err != nil {
			t.Fatal(err)
		}
		return sub
	}
	issued := func(a *Authority, l Leaf, more ...*x509.Certificate) (*Keypair, []*x509.Certificate) {
		t.Helper()
		cert, key, err := a.Issue(l)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range more {
			cert = append(cert, encode("CERTIFICATE", c.Raw)...)
		}
		k, err := NewKeypair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		var chain []*x509.Certificate
		for _, der := range k.Certificate().Certificate {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			chain = append(chain, c)
		}
		return k, chain
	}
	server := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	good, other := Leaf{Names: []string{partner}, Usages: server}, Leaf{Names: []string{"contoso.example"}, Usages: server}
	expired := Leaf{Names: []string{partner}, Usages: server, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	client := Leaf{Names: []string{partner}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	add := func(name string, a *Authority, l Leaf, more []*x509.Certificate, records func(chain []*x509.Certificate) []TLSA, want string) {
		t.Helper()
		k, chain := issued(a, l, more...)
		cases = append(cases, daneCase{name, chain, k, records(chain), want})
	}
	of := func(params ...string) func([]*x509.Certificate) []TLSA { // the last number is the place in the chain
		return func(chain []*x509.Certificate) (records []TLSA) {
			for _, p := range params {
				var at int
				if _, err := fmt.Sscan(p[6:], &at); err != nil {
					panic(err)
				}
				records = append(records, record(p[:5], chain[at]))
			}
			return records
		}
	}
	about := func(params string, c *x509.Certificate) func([]*x509.Certificate) []TLSA {
		return func([]*x509.Certificate) []TLSA { return []TLSA{record(params, c)} }
	}
	root, sub := []*x509.Certificate{private.Certificate()}, between(private, "Private Sub")
	trustedSub := between(trusted, "Trusted Sub")
	no := string(KeyNotPinned)

	// DANE-EE: nothing but the certificate counts.
	for _, p := range []string{"3 0 0", "3 0 1", "3 0 2", "3 1 0", "3 1 1", "3 1 2"} {
		add("the certificate itself, "+p, stranger, good, nil, of(p+" 0"), p)
		add("another certificate, "+p, stranger, good, nil, about(p, stranger.Certificate()), no)
	}
	add("the certificate itself, of another name", stranger, other, nil, of("3 1 1 0"), "3 1 1")
	add("the certificate itself, expired", stranger, expired, nil, of("3 1 1 0"), "3 1 1")
	add("the second of two", stranger, good, nil, func(chain []*x509.Certificate) []TLSA {
		return []TLSA{record("3 1 1", stranger.Certificate()), record("3 1 1", chain[0])}
	}, "3 1 1")
	add("an authority that is no end", private, good, root, of("3 0 1 1"), no)
	add("a trusted certificate that dns does not name", trusted, good, nil, about("3 1 1", stranger.Certificate()), no)

	// DANE-TA: an authority of the chain, and all that goes with one.
	for _, p := range []string{"2 0 0", "2 0 1", "2 0 2", "2 1 0", "2 1 1", "2 1 2"} {
		add("the root of the chain, "+p, private, good, root, of(p+" 1"), p)
	}
	add("the root of a longer chain", sub, good, root, of("2 0 1 2"), "2 0 1")
	add("an authority below the root", sub, good, nil, of("2 0 1 1"), "2 0 1")
	add("an authority below the root, which is shown too", sub, good, root, of("2 1 1 1"), "2 1 1")
	add("an authority that is not shown, whole in dns", private, good, nil, about("2 0 0", private.Certificate()), "2 0 0")
	add("an authority that is not shown", private, good, nil, about("2 0 1", private.Certificate()), no)
	add("an authority that is shown, but did not sign", stranger, good, root, of("2 0 1 1"), string(UnknownIssuer))
	add("an authority's certificate of another name", private, other, root, of("2 0 1 1"), string(NameNotCovered))
	add("an authority's expired certificate", private, expired, root, of("2 0 1 1"), string(Expired))
	add("an authority's certificate for clients", private, client, root, of("2 0 1 1"), string(NameNotCovered))
	add("the certificate as its own authority", stranger, good, nil, of("2 0 0 0"), no)
	add("another authority", private, good, root, about("2 0 1", stranger.Certificate()), no)

	// PKIX-EE and PKIX-TA: what is trusted anyhow, limited.
	for _, p := range []string{"1 0 0", "1 0 1", "1 1 1", "1 1 2"} {
		add("a trusted certificate, "+p, trusted, good, nil, of(p+" 0"), p)
		add("a certificate that is not trusted, "+p, stranger, good, nil, of(p+" 0"), string(UnknownIssuer))
	}
	add("a trusted certificate of another name", trusted, other, nil, of("1 1 1 0"), string(NameNotCovered))
	add("a trusted certificate, expired", trusted, expired, nil, of("1 1 1 0"), string(Expired))
	add("another certificate than the trusted one", trusted, good, nil, about("1 1 1", stranger.Certificate()), no)
	add("a trusted authority that is not shown", trusted, good, nil, about("0 0 1", trusted.Certificate()), "0 0 1")
	add("a trusted authority above another", trustedSub, good, nil, about("0 1 1", trusted.Certificate()), "0 1 1")
	add("an authority below a trusted one", trustedSub, good, nil, of("0 0 2 1"), "0 0 2")
	add("another authority than the trusted one", trusted, good, nil, about("0 0 1", stranger.Certificate()), no)
	add("an authority that is not trusted", private, good, root, of("0 0 1 1"), string(UnknownIssuer))
	add("a trusted authority, another name", trusted, other, nil, about("0 0 1", trusted.Certificate()), string(NameNotCovered))

	// Several.
	add("nothing that we know, and the certificate", stranger, good, nil, func(chain []*x509.Certificate) []TLSA {
		unknown := record("3 1 1", chain[0])
		unknown.Usage = 4
		return []TLSA{unknown, record("3 1 1", chain[0])}
	}, "3 1 1")
	add("the weaker digest does not count beside the stronger", stranger, good, nil, func(chain []*x509.Certificate) []TLSA {
		return []TLSA{record("3 1 1", chain[0]), record("3 1 2", stranger.Certificate())}
	}, no)
	add("the weaker digest of another selector counts", stranger, good, nil, func(chain []*x509.Certificate) []TLSA {
		return []TLSA{record("3 1 1", chain[0]), record("3 0 2", stranger.Certificate())}
	}, "3 1 1")
	add("the whole key counts beside digests", stranger, good, nil, func(chain []*x509.Certificate) []TLSA {
		return []TLSA{record("3 1 2", stranger.Certificate()), record("3 1 0", chain[0])}
	}, "3 1 0")
	return trusted, cases
}

func takesPartner(id Identity) bool { return id.Usage().Web() && id.SpeaksXMPP(partner) }

func TestCertificatesThatDNSNames(t *testing.T) {
	trusted, cases := daneCases(t)
	v := trusting(trusted)
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			r, err := v.DANE(state(tt.certs), tt.records, takesPartner)
			got := string(ProblemOf(err))
			if err == nil {
				got = fmt.Sprintf("%d %d %d", r.Usage, r.Selector, r.Matching)
			}
			if got != tt.want {
				t.Errorf("got %q (%v), want %q", got, err, tt.want)
			}
			if want := strings.HasPrefix(tt.want, "3"); want {
				if _, err := (&Verifier{}).DANE(state(tt.certs), tt.records, nil); err != nil {
					t.Errorf("without authorities: %v", err)
				}
			}
		})
	}
	if _, err := v.DANE(state(nil), []TLSA{RecordOf(cases[0].certs[0])}, takesPartner); ProblemOf(err) != NoneSent {
		t.Errorf("without a certificate: %v", err)
	}
	if _, err := v.DANE(state(cases[0].certs), nil, takesPartner); ProblemOf(err) != KeyNotPinned {
		t.Errorf("without records: %v", err)
	}
	long := chainOf(t, trusted, 100)
	if _, err := v.DANE(state(long), []TLSA{RecordOf(long[0])}, takesPartner); ProblemOf(err) != Malformed {
		t.Errorf("a chain of 100: %v", err)
	}
}

// What we make of records is what OpenSSL makes of them.
func TestInteropOpenSSLAgreesOnRecords(t *testing.T) {
	path, err := exec.LookPath("openssl")
	switch {
	case err != nil && os.Getenv("SIPEDGE_INTEROP") != "":
		t.Fatal(err)
	case err != nil || testing.Short():
		t.Skip("openssl is not installed, or time is short")
	}
	trusted, cases := daneCases(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, trusted.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*tt.keypair.Certificate()}})
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				for {
					conn, err := ln.Accept()
					if err != nil {
						return
					}
					go func(c net.Conn) { _ = c.(*tls.Conn).Handshake(); _ = c.Close() }(conn)
				}
			}()
			args := []string{"s_client", "-connect", ln.Addr().String(), "-CAfile", file, "-no-CApath", "-no-CAstore", "-brief", "-servername", partner,
				"-dane_tlsa_domain", partner, "-dane_ee_no_namechecks", "-verify_return_error"}
			for _, r := range tt.records {
				args = append(args, "-dane_tlsa_rrdata", r.String())
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			out, _ := exec.CommandContext(ctx, path, args...).CombinedOutput()
			want := tt.want[1] == ' ' // a record
			if got := bytes.Contains(out, []byte("Verification: OK")); got != want {
				t.Errorf("openssl: %v, want %v\n%s", got, want, out)
			}
		})
	}
}

func TestRecordsThatAreOfNoUse(t *testing.T) {
	ca := authority(t)
	c := ca.Certificate()
	digest := bytes.Repeat([]byte{7}, 32)
	for _, tt := range []struct {
		name string
		r    TLSA
		want bool
	}{
		{"a digest", TLSA{3, 1, 1, digest}, true},
		{"a longer one", TLSA{3, 1, 2, bytes.Repeat([]byte{7}, 64)}, true},
		{"a digest that is too short", TLSA{3, 1, 1, digest[1:]}, false},
		{"a digest that is too long", TLSA{3, 1, 1, append(digest, 7)}, false},
		{"nothing", TLSA{3, 1, 1, nil}, false},
		{"nothing in full", TLSA{3, 1, 0, nil}, false},
		{"no key", TLSA{3, 1, 0, digest}, false},
		{"a key", TLSA{3, 1, 0, c.RawSubjectPublicKeyInfo}, true},
		{"a key and more", TLSA{3, 1, 0, append(bytes.Clone(c.RawSubjectPublicKeyInfo), 0)}, false},
		{"a certificate", TLSA{2, 0, 0, c.Raw}, true},
		{"an unknown usage", TLSA{4, 1, 1, digest}, false},
		{"a usage of one's own", TLSA{255, 1, 1, digest}, false},
		{"an unknown selector", TLSA{3, 2, 1, digest}, false},
		{"an unknown matching type", TLSA{3, 1, 3, digest}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := len(Usable([]TLSA{tt.r})) == 1; got != tt.want {
				t.Errorf("%s: usable %v", tt.r, got)
			}
		})
	}
}

func TestTheRecordToPublish(t *testing.T) {
	k, err := SelfSigned(Leaf{Names: []string{partner}})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(k.Leaf().RawSubjectPublicKeyInfo)
	want := "_5269._tcp.xmpp.fabrikam.example. IN TLSA 3 1 1 " + hex.EncodeToString(sum[:])
	for _, host := range []string{"xmpp.fabrikam.example", "xmpp.fabrikam.example."} {
		if got := RecordOf(k.Leaf()).Line(host, 5269); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	certs := []*x509.Certificate{k.Leaf()}
	if _, err := (&Verifier{}).DANE(state(certs), []TLSA{RecordOf(k.Leaf())}, nil); err != nil {
		t.Error(err)
	}
	var v *VerifyError
	if _, err := trusting(authority(t)).Identify(state(certs)); !errors.As(err, &v) {
		t.Errorf("without a record it is trusted: %v", err)
	}
}

func FuzzDANE(f *testing.F) {
	ca := authority(f)
	chain := issue(f, ca, Leaf{Names: []string{partner}})
	chain = append(chain, ca.Certificate())
	for _, p := range []string{"3 1 1", "2 0 0", "1 0 2", "0 1 0"} {
		r := record(p, chain[0])
		f.Add(r.Usage, r.Selector, r.Matching, r.Data)
		r = record(p, chain[1])
		f.Add(r.Usage, r.Selector, r.Matching, r.Data)
	}
	f.Fuzz(func(t *testing.T, usage, selector, matching uint8, data []byte) {
		r := TLSA{usage, selector, matching, data}
		// Nobody is trusted: only a record about these two can make it hold, or an
		// authority that is whole in it.
		_, err := (&Verifier{}).DANE(state(chain), []TLSA{r}, takesPartner)
		fits := usage == 3 && r.usable() && r.names(chain[0]) || usage == 2 && r.usable() && r.names(chain[1])
		if (err == nil) != fits {
			t.Errorf("%s: %v, want %v", r, err, fits)
		}
	})
}
