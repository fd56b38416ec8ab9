package certs

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// meet makes one connection and returns what each side thinks of it. The client
// reads one octet, so that it has seen the server's verdict and its ticket.
func meet(t *testing.T, server, client *tls.Config) (cs, ss tls.ConnectionState, cerr, serr error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw, err := ln.Accept()
		if err != nil {
			serr = err
			return
		}
		defer raw.Close()
		c := tls.Server(raw, server)
		if serr = c.HandshakeContext(ctx); serr == nil {
			_, serr = c.Write([]byte{1})
			ss = c.ConnectionState()
			io.Copy(io.Discard, raw) // until the client has gone
		}
	}()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(raw, client)
	if cerr = c.HandshakeContext(ctx); cerr == nil {
		raw.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, cerr = io.ReadFull(c, make([]byte, 1))
	}
	cs = c.ConnectionState()
	raw.Close()
	<-done
	return cs, ss, cerr, serr
}

func keypair(t *testing.T, a *Authority, l Leaf) *Keypair {
	t.Helper()
	k, err := a.Keypair(l)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sides is a server of ours and a partner's client that trust the same authority.
func sides(t *testing.T, ca *Authority) (ServerOptions, ClientOptions) {
	t.Helper()
	return ServerOptions{Keypair: keypair(t, ca, Leaf{Names: []string{"edge.example.com"}}), Verifier: trusting(ca)},
		ClientOptions{Keypair: keypair(t, ca, Leaf{Names: []string{partner}}), Verifier: trusting(ca), ServerName: "edge.example.com"}
}

func TestBothSidesProveThemselves(t *testing.T) {
	so, co := sides(t, authority(t))
	cs, ss, cerr, serr := meet(t, ServerConfig(so), ClientConfig(co))
	if cerr != nil || serr != nil {
		t.Fatal(cerr, serr)
	}
	if cs.Version != tls.VersionTLS13 || cs.CurveID != tls.X25519MLKEM768 {
		t.Errorf("version %x, curve %v", cs.Version, cs.CurveID)
	}
	if id, err := so.Verifier.Identify(ss); err != nil || !id.Covers(partner) {
		t.Errorf("the client proved %v, %v", id, err)
	}
	if id, err := co.Verifier.Identify(cs); err != nil || !id.CoversHost("edge.example.com") {
		t.Errorf("the server proved %v, %v", id, err)
	}
}

func TestTheServerKnowsWhyItRefused(t *testing.T) {
	ca, stranger := authority(t), authority(t)
	huge := hugeKey(t, ca)
	for _, tt := range []struct {
		name string
		cert *Keypair
		want Problem
	}{
		{"none sent", nil, NoneSent},
		{"unknown issuer", keypair(t, stranger, Leaf{Names: []string{partner}}), UnknownIssuer},
		{"expired", keypair(t, ca, Leaf{Names: []string{partner}, NotBefore: time.Unix(1e9, 0), NotAfter: time.Unix(1e9+1, 0)}), Expired},
		{"nul in a name", keypair(t, ca, Leaf{Names: []string{"a\x00b"}}), Malformed},
		{"a uri that does not parse", unparsed(t, ca), Malformed},
		{"RSA key of 16,384 bits", fake(huge), Malformed},
		{"a server's certificate is good", keypair(t, ca, Leaf{Names: []string{partner}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			so, co := sides(t, ca)
			var told *VerifyError
			so.Refused = func(e *VerifyError) { told = e }
			co.Keypair = tt.cert
			_, _, cerr, serr := meet(t, ServerConfig(so), ClientConfig(co))
			if got := ProblemOf(serr); got != tt.want || (serr == nil) != (tt.want == "") {
				t.Fatalf("server: %v (%q), want %q", serr, got, tt.want)
			}
			if (cerr == nil) != (tt.want == "") {
				t.Errorf("client: %v", cerr)
			}
			if told != nil && told.Problem != tt.want {
				t.Errorf("told %v", told)
			}
		})
	}
}

// fake shows a certificate whose key nobody has.
func fake(c *x509.Certificate) *Keypair {
	k := &Keypair{}
	k.now.Store(&tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: &fakeSigner{c}, Leaf: c})
	return k
}

type fakeSigner struct{ c *x509.Certificate }

func (f *fakeSigner) Public() crypto.PublicKey { return f.c.PublicKey }

func (f *fakeSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return make([]byte, f.c.PublicKey.(*rsa.PublicKey).Size()), nil
}

// unparsed shows a certificate that crypto/x509 cannot read.
func unparsed(t *testing.T, ca *Authority) *Keypair {
	t.Helper()
	good := keypair(t, ca, Leaf{Names: []string{partner}})
	template, err := Leaf{URIs: []string{"sip:a\r\nb"}}.template()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(nil, template, ca.cert, good.Leaf().PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	k := &Keypair{}
	c := *good.Certificate()
	c.Certificate = [][]byte{der}
	k.now.Store(&c)
	return k
}

func TestAResumedSessionIsCheckedAgain(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, hints := range []bool{false, true} {
			t.Run(tls.VersionName(version), func(t *testing.T) {
				ca := authority(t)
				so, co := sides(t, ca)
				listed := true
				so.Accept = func(id Identity) error {
					if listed && id.Covers(partner) {
						return nil
					}
					return errors.New("not on the list")
				}
				if hints {
					so.Hints = ca.Pool
				}
				server, client := ServerConfig(so), ClientConfig(co)
				client.MaxVersion = version
				visit := func(what string, resumed bool, want Problem) {
					t.Helper()
					cs, ss, _, serr := meet(t, server, client)
					if ProblemOf(serr) != want || want == "" && serr != nil {
						t.Fatalf("%s: %v, want %q", what, serr, want)
					}
					if want == "" && (cs.DidResume != resumed || ss.DidResume != resumed) {
						t.Errorf("%s: resumed %v %v, want %v", what, cs.DidResume, ss.DidResume, resumed)
					}
					if id, err := so.Verifier.Identify(ss); want == "" && (err != nil || !id.Covers(partner)) {
						t.Errorf("%s: identity %v, %v", what, id, err)
					}
				}
				visit("first", false, "")
				visit("second", true, "")
				Rotate(server)
				visit("after the ticket keys changed", false, "")
				visit("with the new ones", true, "")
				listed = false
				visit("after the domain went off the list", true, NameNotCovered)
				listed = true
				// A refused resumption in TLS 1.3 has brought a ticket all the
				// same: it went out with the first flight.
				visit("after it came back", version == tls.VersionTLS13, "")
				so.Verifier.Roots = authority(t).Pool
				visit("after the authority went", true, UnknownIssuer)
			})
		}
	}
}

func TestAResumedSessionEndsWithTheCertificate(t *testing.T) {
	so, co := sides(t, authority(t))
	now := time.Now()
	so.Verifier.Now = func() time.Time { return now }
	server, client := ServerConfig(so), ClientConfig(co)
	if _, _, cerr, serr := meet(t, server, client); cerr != nil || serr != nil {
		t.Fatal(cerr, serr)
	}
	now = now.AddDate(2, 0, 0)
	if _, _, _, serr := meet(t, server, client); ProblemOf(serr) != Expired {
		t.Errorf("server: %v, want expired", serr)
	}
}

func TestConnectionsShareTheParsedCertificates(t *testing.T) {
	so, co := sides(t, authority(t))
	server := ServerConfig(so)
	_, one, _, err1 := meet(t, server, ClientConfig(co))
	_, two, _, err2 := meet(t, server, ClientConfig(co))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if one.PeerCertificates[0] != two.PeerCertificates[0] {
		t.Error("two connections hold two copies of one certificate")
	}
}

func TestARequestedCertificateProvesSomethingOrNothing(t *testing.T) {
	ca := authority(t)
	so, co := sides(t, ca)
	so.Peer = Requested
	for _, tt := range []struct {
		name string
		cert *Keypair
		want Problem
	}{
		{"a good one", co.Keypair, ""},
		{"none", nil, NoneSent},
		{"a bad one", keypair(t, authority(t), Leaf{Names: []string{partner}}), UnknownIssuer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			co.Keypair = tt.cert
			_, ss, cerr, serr := meet(t, ServerConfig(so), ClientConfig(co))
			if cerr != nil || serr != nil {
				t.Fatal(cerr, serr)
			}
			id, err := so.Verifier.Identify(ss)
			if ProblemOf(err) != tt.want || id.Covers(partner) != (tt.want == "") {
				t.Errorf("Identify = %v, %v, want %q", id, err, tt.want)
			}
		})
	}
	so.Peer = NotAsked
	if _, ss, cerr, serr := meet(t, ServerConfig(so), ClientConfig(co)); cerr != nil || serr != nil || ss.PeerCertificates != nil {
		t.Errorf("not asked: %v, %v, %d certificates", cerr, serr, len(ss.PeerCertificates))
	}
}

func TestTheClientVerifiesTheServer(t *testing.T) {
	ca := authority(t)
	accept := func(domain string) func(Identity) error {
		return func(id Identity) error {
			if id.Covers(domain) {
				return nil
			}
			return errors.New("not for " + domain)
		}
	}
	for _, tt := range []struct {
		name string
		cert *Keypair
		do   func(*ClientOptions)
		want Problem
	}{
		{"the host is covered", keypair(t, ca, Leaf{Names: []string{"edge.example.com"}}), nil, ""},
		{"the host is covered beside a sip uri", keypair(t, ca, Leaf{URIs: []string{"sip:example.com"}, Names: []string{"edge.example.com"}}), nil, ""},
		{"another host", keypair(t, ca, Leaf{Names: []string{"edge.example.net"}}), nil, NameNotCovered},
		{"a wildcard is another host", keypair(t, ca, Leaf{Names: []string{"*.example.com"}}), nil, NameNotCovered},
		{"the domain is covered", keypair(t, ca, Leaf{URIs: []string{"sip:example.com"}}), func(o *ClientOptions) { o.Accept = accept("example.com") }, ""},
		{"another domain", keypair(t, ca, Leaf{URIs: []string{"sip:evil.example"}, Names: []string{"example.com"}}), func(o *ClientOptions) { o.Accept = accept("example.com") }, NameNotCovered},
		{"an unknown authority", keypair(t, authority(t), Leaf{Names: []string{"edge.example.com"}}), nil, UnknownIssuer},
		{"nobody is trusted", keypair(t, ca, Leaf{Names: []string{"edge.example.com"}}), func(o *ClientOptions) { o.Verifier = nil }, UnknownIssuer},
		{"an address", keypair(t, ca, Leaf{IPs: []string{"192.0.2.1"}}), func(o *ClientOptions) { o.ServerName = "192.0.2.1" }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			so, co := sides(t, ca)
			so.Keypair = tt.cert
			if tt.do != nil {
				tt.do(&co)
			}
			_, _, cerr, _ := meet(t, ServerConfig(so), ClientConfig(co))
			if got := ProblemOf(cerr); got != tt.want || (cerr == nil) != (tt.want == "") {
				t.Errorf("client: %v, want %q", cerr, tt.want)
			}
		})
	}
}

func TestASessionEndsWithOurOwnCertificate(t *testing.T) {
	ca := authority(t)
	so, co := sides(t, ca)
	server, client := ServerConfig(so), ClientConfig(co)
	meet(t, server, client)
	co.Keypair.now.Store(keypair(t, ca, Leaf{Names: []string{"renewed.example"}}).Certificate())
	cs, ss, cerr, serr := meet(t, server, client)
	if cerr != nil || serr != nil || cs.DidResume {
		t.Fatalf("%v, %v, resumed %v", cerr, serr, cs.DidResume)
	}
	if id, _ := so.Verifier.Identify(ss); !id.Covers("renewed.example") {
		t.Errorf("identity %v", id)
	}
}

func TestHintsNameTheAuthoritiesOfTheMoment(t *testing.T) {
	one := authority(t)
	two, err := NewAuthority("Another Authority")
	if err != nil {
		t.Fatal(err)
	}
	so, co := sides(t, one)
	pool := one.Pool()
	var seen [][]byte
	client := ClientConfig(co)
	show := client.GetClientCertificate
	client.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		seen = r.AcceptableCAs
		return show(r)
	}
	client.ClientSessionCache = nil
	ask := func(server *tls.Config) [][]byte {
		t.Helper()
		seen = nil
		if _, _, cerr, serr := meet(t, server, client); cerr != nil || serr != nil {
			t.Fatal(cerr, serr)
		}
		return seen
	}
	if got := ask(ServerConfig(so)); len(got) != 0 {
		t.Errorf("without hints: %q", got)
	}
	so.Hints = func() *x509.CertPool { return pool }
	server := ServerConfig(so)
	if got := ask(server); len(got) != 1 || string(got[0]) != string(one.cert.RawSubject) {
		t.Errorf("hints %q", got)
	}
	pool = two.Pool()
	if got := ask(server); len(got) != 1 || string(got[0]) != string(two.cert.RawSubject) {
		t.Errorf("hints after a change %q", got)
	}
	pool = nil
	if got := ask(server); len(got) != 0 {
		t.Errorf("hints of nobody %q", got)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*tls.Config)
	}{
		{"TLS 1.0", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }},
		{"TLS 1.1", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }},
		{"CBC", func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}},
		{"no forward secrecy", func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
		}},
		{"P-521", func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP521} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			so, co := sides(t, authority(t))
			client := ClientConfig(co)
			tt.change(client)
			if _, _, cerr, serr := meet(t, ServerConfig(so), client); cerr == nil || serr == nil {
				t.Errorf("client %v, server %v", cerr, serr)
			}
		})
	}
}

func TestAKeypairIsReadAgainAndABadOneChangesNothing(t *testing.T) {
	ca := authority(t)
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	store := func(name string) {
		t.Helper()
		cert, key, err := ca.Issue(Leaf{Names: []string{name}})
		if err != nil {
			t.Fatal(err)
		}
		write(t, certFile, cert)
		write(t, keyFile, key)
	}
	store("one.example.com")
	k, err := Load(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	reload := func(what string, changed bool, fails bool, want string) {
		t.Helper()
		got, err := k.Reload()
		if got != changed || (err != nil) != fails {
			t.Errorf("%s: Reload = %v, %v", what, got, err)
		}
		if name := k.Leaf().DNSNames[0]; name != want {
			t.Errorf("%s: %s, want %s", what, name, want)
		}
	}
	reload("the same", false, false, "one.example.com")
	store("two.example.com")
	reload("another", true, false, "two.example.com")
	other, _, err := ca.Issue(Leaf{Names: []string{"three.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, certFile, other)
	reload("a key of another certificate", false, true, "two.example.com")
	write(t, certFile, []byte("garbage"))
	reload("garbage", false, true, "two.example.com")
}

func TestAKeypairWarnsBeforePartnersRefuseIt(t *testing.T) {
	ca, now := authority(t), time.Now()
	server := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, tt := range []struct {
		name string
		leaf Leaf
		want int
	}{
		{"a good one", Leaf{}, 0},
		{"no client usage", Leaf{Usages: server}, 1},
		{"the end is near", Leaf{NotAfter: now.Add(time.Hour)}, 1},
		{"both", Leaf{Usages: server, NotAfter: now.Add(time.Hour)}, 2},
		{"expired", Leaf{NotAfter: now.Add(-time.Minute)}, 1},
	} {
		tt.leaf.Names = []string{"edge.example.com"}
		if got := keypair(t, ca, tt.leaf).Warnings(now); len(got) != tt.want {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

func TestConnectionsMayComeWhileFilesAreReadAgain(t *testing.T) {
	ca := authority(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	write(t, file, ca.PEM())
	roots, err := LoadRoots(file, "")
	if err != nil {
		t.Fatal(err)
	}
	so, co := sides(t, ca)
	so.Verifier, so.Hints = roots.Verifier(), roots.Hints
	server, client := ServerConfig(so), ClientConfig(co)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 4 {
				if _, ss, cerr, serr := meet(t, server, client); cerr != nil || serr != nil {
					t.Error(cerr, serr)
				} else if id, err := so.Verifier.Identify(ss); err != nil || !id.Covers(partner) {
					t.Error(id, err)
				}
			}
		})
	}
	for i := range 20 {
		write(t, file, append(ca.PEM(), make([]byte, i)...))
		if _, err := roots.Reload(); err != nil {
			t.Error(err)
		}
		Rotate(server)
	}
	all.Wait()
}

func TestTheFirstKnownOfferIsTheProtocol(t *testing.T) {
	for _, tt := range []struct {
		name   string
		known  []string
		offers []string
		want   string
	}{
		{"nothing is known", nil, []string{"http/1.1"}, ""},
		{"nothing is offered", []string{"http/1.1", "sip/2"}, nil, ""},
		{"one is known", []string{"http/1.1", "sip/2"}, []string{"sip/2"}, "sip/2"},
		{"the client's order counts", []string{"http/1.1", "sip/2"}, []string{"h2", "sip/2", "http/1.1"}, "sip/2"},
		{"none is known, and the client is welcome", []string{"http/1.1", "sip/2"}, []string{"h2", "x-phone"}, ""},
	} {
		for _, peer := range []PeerCertificate{Required, Requested, NotAsked} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				ca := authority(t)
				so, co := sides(t, ca)
				so.Peer, so.Protocols = peer, tt.known
				so.Hints = func() *x509.CertPool { return ca.Pool() }
				client := ClientConfig(co)
				client.NextProtos, client.MaxVersion = tt.offers, version
				server := ServerConfig(so)
				for _, resumed := range []bool{false, true} {
					cs, ss, cerr, serr := meet(t, server, client)
					if cerr != nil || serr != nil {
						t.Fatalf("%s: %v, %v", tt.name, cerr, serr)
					}
					if cs.NegotiatedProtocol != tt.want || ss.NegotiatedProtocol != tt.want || cs.DidResume != resumed {
						t.Errorf("%s: protocols %q and %q, resumed %v; want %q, %v", tt.name, cs.NegotiatedProtocol, ss.NegotiatedProtocol, cs.DidResume, tt.want, resumed)
					}
				}
			}
		}
	}
}

func TestWhoSpeaksSomeProtocolsIsNotAsked(t *testing.T) {
	for _, tt := range []struct {
		name  string
		offer []string
		peer  PeerCertificate
		want  bool // that a certificate arrives
	}{
		{"a browser need not show one", []string{"http/1.1"}, Requested, false},
		{"others may", []string{"sip/2"}, Requested, true},
		{"and those who offer nothing", nil, Requested, true},
		{"where one is required, it is", []string{"http/1.1"}, Required, true},
	} {
		so, co := sides(t, authority(t))
		so.Peer, so.Protocols, so.Unasked = tt.peer, []string{"http/1.1", "sip/2"}, []string{"http/1.1"}
		client, server := ClientConfig(co), ServerConfig(so)
		client.NextProtos = tt.offer
		for _, resumed := range []bool{false, true} {
			cs, ss, cerr, serr := meet(t, server, client)
			if cerr != nil || serr != nil || len(ss.PeerCertificates) > 0 != tt.want || cs.DidResume != resumed {
				t.Errorf("%s: %v, %v, %d certificates, resumed %v", tt.name, cerr, serr, len(ss.PeerCertificates), cs.DidResume)
			}
		}
	}
}

func TestRotatingVoidsTicketsOfEveryProtocol(t *testing.T) {
	so, co := sides(t, authority(t))
	so.Protocols = []string{"http/1.1"}
	server, client := ServerConfig(so), ClientConfig(co)
	client.NextProtos = []string{"http/1.1"}
	for i, want := range []bool{false, true, false, true} {
		if i == 2 {
			Rotate(server)
		}
		if cs, _, cerr, serr := meet(t, server, client); cerr != nil || serr != nil || cs.DidResume != want {
			t.Errorf("connection %d: %v, %v, resumed %v, want %v", i, cerr, serr, cs.DidResume, want)
		}
	}
}
