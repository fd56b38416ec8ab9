package s2s

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// A world has DNS and an authority; sites are servers in it.
type world struct {
	t  testing.TB
	ca *certs.Authority

	mu       sync.Mutex
	records  map[string]locate.XMPPRecords
	tlsa     map[string][]locate.TLSA
	errs     map[string]error
	unsigned map[string]bool
	asked    map[string]int
}

func newWorld(t testing.TB) *world {
	t.Helper()
	ca, err := certs.NewAuthority("Test Authority")
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		t: t, ca: ca, records: make(map[string]locate.XMPPRecords), tlsa: make(map[string][]locate.TLSA), errs: make(map[string]error), unsigned: make(map[string]bool),
		asked: make(map[string]int),
	}
}

func (w *world) XMPP(_ context.Context, domain string) (locate.XMPPRecords, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[domain]++
	if err := w.errs[domain]; err != nil {
		return locate.XMPPRecords{}, err
	}
	r, ok := w.records[domain]
	if !ok {
		return locate.XMPPRecords{}, &locate.Error{Domain: domain, Err: locate.ErrNoRecords}
	}
	return r, nil
}

func (w *world) TLSA(_ context.Context, host string, port int) ([]locate.TLSA, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := fmt.Sprintf("%s:%d", host, port)
	return w.tlsa[at], !w.unsigned[at], w.errs[at]
}

func (w *world) Control(locate.Hop) func(string, string, syscall.RawConn) error { return nil }
func (w *world) Failed(netip.AddrPort)                                          {}
func (w *world) Succeeded(netip.AddrPort)                                       {}

// point makes DNS lead from a domain to addresses; "tls:" before one is direct TLS.
func (w *world) point(domain string, addrs ...string) {
	var r locate.XMPPRecords
	for _, a := range addrs {
		a, direct := strings.CutPrefix(a, "tls:")
		ap := netip.MustParseAddrPort(a)
		host := "xmpp." + domain
		r.Targets = append(r.Targets, locate.XMPPTarget{
			Host: host, Port: int(ap.Port()), Direct: direct, Hops: []locate.Hop{{Host: host, Addr: ap, FromDNS: true}},
		})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records[domain] = r
}

// A site is a server of a domain.
type site struct {
	*Server
	t             testing.TB
	domain        string
	plain, direct net.Listener
	got           chan *Stanza
	log           *lockedBuffer
	quit          context.CancelFunc
	done          chan struct{}
}

// site makes a server of a domain, and points DNS to it. Change may change its
// configuration.
func (w *world) site(domain string, change func(*Config)) *site {
	w.t.Helper()
	k := w.keypair(domain, x509.ExtKeyUsageServerAuth)
	var err error
	x := &site{t: w.t, domain: domain, got: make(chan *Stanza, 100_000), log: &lockedBuffer{}, done: make(chan struct{})}
	c := Config{
		Domains: []string{domain}, Keypair: k, Verifier: w.trust(), Finder: w,
		Allow: func(string) bool { return true }, Dialback: func(string) bool { return true },
		Handle: func(e *Stanza) { x.got <- e },
		Log:    slog.New(slog.NewTextHandler(x.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&c)
	}
	if x.Server, err = New(c); err != nil {
		w.t.Fatal(err)
	}
	x.plain, x.direct = listen(w.t), listen(w.t)
	ctx, cancel := context.WithCancel(context.Background())
	x.quit = cancel
	go func() {
		defer close(x.done)
		_ = x.Serve(ctx, []net.Listener{x.plain}, []net.Listener{x.direct})
	}()
	w.t.Cleanup(func() {
		x.stop()
		if w.t.Failed() {
			w.t.Logf("log of %s:\n%s", domain, x.log)
		}
	})
	w.point(domain, x.plain.Addr().String())
	return x
}

// keypair issues a certificate of a domain.
func (w *world) keypair(domain string, usages ...x509.ExtKeyUsage) *certs.Keypair {
	w.t.Helper()
	k, err := w.ca.Keypair(certs.Leaf{Names: []string{domain}, Usages: usages})
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

// trust is a Verifier that trusts the world's authority.
func (w *world) trust() *certs.Verifier {
	return &certs.Verifier{Roots: w.ca.Pool}
}

func (x *site) stop() {
	x.quit()
	select {
	case <-x.done:
	case <-time.After(patience):
		x.t.Errorf("%s does not stop", x.domain)
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func message(from, to, body string) *stanza.Element {
	e := stanza.New(stanza.NS, "message", attr("from", from), attr("to", to), attr("type", "chat"))
	e.AddText(stanza.NS, "body", body)
	return e
}

// send sends a message and returns where its outcome comes.
func (x *site) send(to, body string) <-chan Outcome {
	done := make(chan Outcome, 1)
	x.Send(message("alice@"+x.domain, "bob@"+to, body), func(o Outcome) { done <- o })
	return done
}

// receive waits for a message.
func (x *site) receive() *Stanza {
	x.t.Helper()
	return wait(x.t, x.got, "a stanza at "+x.domain)
}

// wants waits for messages with these bodies, in order.
func (x *site) wants(bodies ...string) {
	x.t.Helper()
	for _, b := range bodies {
		e := x.receive()
		if got := e.Child(stanza.NS, "body"); got == nil || got.Text != b {
			x.t.Fatalf("%s got %v, want %q", x.domain, got, b)
		}
	}
}

func wait[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s does not come", what)
		panic("unreachable")
	}
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so in time", what)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
