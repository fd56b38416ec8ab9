package xmpp

import (
	"bytes"
	"context"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/body"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/store"
)

// A network of tests: an authority, and what DNS says of domains.
type internet struct {
	t  testing.TB
	ca *certs.Authority

	mu      sync.Mutex
	records map[string]locate.XMPPRecords // guarded by mu
}

func newInternet(t testing.TB) *internet {
	t.Helper()
	ca, err := certs.NewAuthority("Test Authority")
	if err != nil {
		t.Fatal(err)
	}
	return &internet{t: t, ca: ca, records: make(map[string]locate.XMPPRecords)}
}

// point makes DNS lead from a domain to an address.
func (n *internet) point(domain string, addr netip.AddrPort) {
	host := "xmpp." + domain
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records[domain] = locate.XMPPRecords{Targets: []locate.XMPPTarget{{
		Host: host, Port: int(addr.Port()), Hops: []locate.Hop{{Host: host, Addr: addr, FromDNS: true}},
	}}}
}

func (n *internet) XMPP(_ context.Context, domain string) (locate.XMPPRecords, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r, ok := n.records[domain]; ok {
		return r, nil
	}
	return locate.XMPPRecords{}, &locate.Error{Domain: domain, Err: locate.ErrNoRecords}
}

func (n *internet) TLSA(context.Context, string, int) ([]locate.TLSA, bool, error) {
	return nil, false, nil
}
func (n *internet) Control(locate.Hop) func(string, string, syscall.RawConn) error { return nil }
func (n *internet) Failed(netip.AddrPort)                                          {}
func (n *internet) Succeeded(netip.AddrPort)                                       {}

// A company has a bridge for its domain, and a home server behind it.
type company struct {
	t      testing.TB
	domain string
	bridge *Bridge
	home   *bridgestest.Home
	log    *lockedBuffer
	stop   func() // and waits
}

// all lets everybody use the network.
func all(t testing.TB, domain string) *bridges.Policy {
	t.Helper()
	p, errs := bridges.Compile(bridges.File{Default: bridges.Rules{Inbound: []string{Network}, Outbound: []string{Network}}}, []string{domain}, bridges.With{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return p
}

// company makes one, and points DNS to it.
func (n *internet) company(domain string, change func(*Config, *Deps)) *company {
	t := n.t
	t.Helper()
	pair, err := n.ca.Keypair(certs.Leaf{Names: []string{domain}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	roots := dir + "/ca.pem"
	if err := os.WriteFile(roots, n.ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(dir + "/store")
	if err != nil {
		t.Fatal(err)
	}
	c := &company{t: t, domain: domain, log: &lockedBuffer{}}
	policy := all(t, domain)
	ports := bridges.NewPorts(nil)
	conf := Config{Address: []string{"127.0.0.1:0"}, Certificate: "x", PeerCA: roots}
	deps := Deps{
		Certificates: map[string]*certs.Keypair{"x": pair}, Store: db, Domains: []string{domain},
		Path: func(p string) string { return p }, Policy: func() *bridges.Policy { return policy },
		Allow: func(string) bool { return true }, Ports: ports,
		Log: slog.New(slog.NewTextHandler(c.log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("at", domain),
	}
	if change != nil {
		change(&conf, &deps)
	}
	var errs []error
	if c.bridge, errs = New(conf, deps); len(errs) > 0 {
		t.Fatal(errs)
	}
	c.bridge.finder = n
	addr, err := ports.Open("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.point(domain, addr)
	e := bridges.NewEndpoint(deps.Log)
	c.home = bridgestest.NewHome(t, func(o []byte) bool { return e.Receive(unmarked(o)) })
	ctx, cancel := context.WithCancel(context.Background())
	ended, point := make(chan error, 1), make(chan error, 1)
	sip, endSIP := context.WithCancel(context.Background())
	go func() { point <- e.Run(sip, &bridgestest.Link{To: c.home.Receive}, nil) }()
	<-e.Started()
	go func() { ended <- c.bridge.Run(ctx, e) }()
	var once sync.Once
	c.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("bridge of %s: %v", domain, err)
			}
			endSIP()
			if err := <-point; err != nil {
				t.Errorf("endpoint of %s: %v", domain, err)
			}
			ports.Close()
			db.Close()
		})
	}
	t.Cleanup(func() {
		c.stop()
		if t.Failed() {
			t.Logf("log of %s:\n%s", domain, c.log)
		}
	})
	select {
	case <-c.bridge.begun:
	case <-time.After(bridgestest.Patience):
		t.Fatal("the bridge does not begin")
	}
	return c
}

// unmarked takes the mark off that the home server of the tests makes, since it is the
// end of a bridge itself.
func unmarked(o []byte) []byte {
	start := bytes.Index(o, []byte("\r\n"+bridges.LoopMark+":"))
	if start < 0 {
		return o
	}
	end := bytes.Index(o[start+2:], []byte("\r\n"))
	return append(bytes.Clone(o[:start]), o[start+2+end:]...)
}

// say lets alice of one company write to alice of another, and returns the status.
func (c *company) say(to *company, text string) int {
	c.t.Helper()
	resp, _ := c.home.Send(c.t, bridgestest.Message("sip:alice@"+c.domain, "sip:alice@"+to.domain, text))
	return resp.Status
}

// hears returns the text of the next message.
func (c *company) hears(status int) string {
	c.t.Helper()
	return string(c.home.Take(c.t, "MESSAGE", status).Body)
}

func TestTwoCompaniesTalk(t *testing.T) {
	n := newInternet(t)
	one, two := n.company("example.com", nil), n.company("fabrikam.example", nil)
	// The first message waits for the stream; 200 or 202 depends on how fast that is.
	if status := one.say(two, "hello"); status != 200 && status != 202 {
		t.Fatalf("answered with %d", status)
	}
	get(t, two.hears(200), "hello")
	for i, text := range []string{"<&>", "👩‍👩‍👧 שלום", strings.Repeat("x", 9000)} {
		if status := two.say(one, text); status != 200 && (i > 0 || status != 202) {
			t.Errorf("answered with %d", status)
		}
		get(t, one.hears(200), text)
		if status := one.say(two, text); status != 200 {
			t.Errorf("answered with %d", status)
		}
		get(t, two.hears(200), text)
	}
	s := one.bridge.Status()
	if len(s.Links) == 0 || s.Sent < 4 || s.Received < 3 || s.Failed != 0 || s.Links[0].Proof != bridges.ProofCertificate {
		t.Errorf("status %+v", s)
	}
}

func TestAMessageThatIsRefusedThereIsToldHere(t *testing.T) {
	n := newInternet(t)
	one, two := n.company("example.com", nil), n.company("fabrikam.example", nil)
	one.say(two, "hello")
	two.hears(200)
	r := wrapped(body.CPIM{MessageID: "m", Notify: body.Failed, Body: []byte("x")})
	r.URI, r.To.URI = "sip:nobody@fabrikam.example", "sip:nobody@fabrikam.example"
	r.Body = []byte(strings.ReplaceAll(string(r.Body), julietURI, r.URI))
	if resp, _ := one.home.Send(t, r); resp.Status != 200 {
		t.Fatalf("answered with %d", resp.Status)
	}
	two.hears(404)
	p, err := body.Read(body.TypeCPIM, "", []byte(one.hears(200)))
	if err != nil || p.IMDN == nil || p.IMDN.Status != "failed" {
		t.Errorf("got %+v, %v; want a report", p, err)
	}
	resp, _ := one.home.Send(t, bridgestest.Message("sip:alice@example.com", "sip:alice@nowhere.example", "x"))
	if resp.Status != 404 {
		t.Errorf("to a domain that does not exist: %d, want 404", resp.Status)
	}
}

func TestWhatABridgeTests(t *testing.T) {
	n := newInternet(t)
	one := n.company("example.com", func(_ *Config, d *Deps) {
		d.Allow = func(domain string) bool { return domain != "blocked.example" }
	})
	n.company("fabrikam.example", nil)
	for _, tt := range []struct{ address, last string }{
		{"juliet@fabrikam.example", ""}, {"sip:juliet@fabrikam.example", ""}, {"fabrikam.example", ""},
		{"juliet@nowhere.example", "stream"}, {"juliet@blocked.example", "lists"}, {"alice@example.com", "address"},
		{"sips:x@y.example", "address"}, {"a b", "address"},
	} {
		steps := one.bridge.Test(t.Context(), tt.address)
		for i, s := range steps {
			if !s.OK && (tt.last == "" || i == 0) || s.OK && i == len(steps)-1 && tt.last != "" {
				t.Errorf("%s: step %+v", tt.address, s)
			}
		}
		if s := steps[len(steps)-1]; tt.last != "" && s.Name != tt.last {
			t.Errorf("%s ends with %+v, want %s", tt.address, s, tt.last)
		}
	}
	idle, errs := New(one.bridge.config, one.bridge.deps)
	if len(errs) > 0 || len(idle.Test(t.Context(), "fabrikam.example")) != 1 || len(idle.Status().Links) != 0 {
		t.Errorf("%v; a bridge that does not run tests something", errs)
	}
}

func TestABridgeSaysGoodbye(t *testing.T) {
	n := newInternet(t)
	one, two := n.company("example.com", nil), n.company("fabrikam.example", nil)
	one.say(two, "hello")
	two.hears(200)
	began := time.Now()
	one.stop()
	if after := time.Since(began); after > 8*time.Second {
		t.Errorf("took %v", after)
	}
	if len(one.bridge.work.server.Links()) != 0 {
		t.Error("streams are left")
	}
}

func TestAPanicIsTheEndOfTheBridge(t *testing.T) {
	ask := func(g *gateway) {
		e, err := stanza.Parse([]byte("<iq xmlns='jabber:server' id='q' type='get' from='juliet@fabrikam.example' to='example.com'><ping xmlns='urn:xmpp:ping'/></iq>"), stanza.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		g.stanza(&s2s.Stanza{Element: e, From: "fabrikam.example", To: "example.com", Proof: bridges.ProofCertificate})
	}
	for name, f := range map[string]func(g *gateway){
		"while a stanza is handled":  ask,
		"while a timer is handled":   func(g *gateway) { g.clock.start(new(timer), 0, nil) },
		"while a refusal is handled": func(g *gateway) { g.later.Do(time.Now(), func() { panic("x") }) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(settings{served: map[string]bool{"example.com": true}}, new(address.Table), nil, nil, slog.New(slog.DiscardHandler))
			ended := make(chan error, 1)
			go func() { ended <- g.run(t.Context()) }()
			f(g)
			select {
			case err := <-ended:
				if err == nil || !strings.Contains(err.Error(), "panic") {
					t.Errorf("ends with %v", err)
				}
			case <-time.After(bridgestest.Patience):
				t.Error("it goes on")
			}
		})
	}
}

func TestOpenFederationIsForTheListsToSay(t *testing.T) {
	n := newInternet(t)
	verdict := true
	var mu sync.Mutex
	one := n.company("example.com", func(_ *Config, d *Deps) {
		d.Allow = func(string) bool { mu.Lock(); defer mu.Unlock(); return verdict }
	})
	two := n.company("fabrikam.example", nil)
	one.say(two, "hello")
	two.hears(200)
	mu.Lock()
	verdict = false
	mu.Unlock()
	for deadline := time.Now().Add(bridgestest.Patience); len(one.bridge.Status().Links) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("streams to a domain that is blocked stay")
		}
	}
	if status := one.say(two, "hello"); status != 403 {
		t.Errorf("answered with %d, want 403", status)
	}
	if v := one.bridge.may("sip:alice@example.com", "juliet@fabrikam.example", true); v.Action == allowlists.Allow {
		t.Error("presence is allowed")
	}
}
