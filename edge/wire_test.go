package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/sip"
)

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

// A stub is a handler whose parts a test fills in.
type stub struct {
	onMessage func(t *turn, f *Flow, m *sip.Message)
	onBroken  func(t *turn, f *Flow, m *sip.Message, err *sip.Error)
	flows     chan *Flow // opened
	ends      chan error // gone
}

func newStub() *stub { return &stub{flows: make(chan *Flow, 1000), ends: make(chan error, 1000)} }

func (s *stub) opened(f *Flow)          { s.flows <- f }
func (s *stub) gone(f *Flow, err error) { s.ends <- err }
func (s *stub) message(t *turn, f *Flow, m *sip.Message) {
	if s.onMessage != nil {
		s.onMessage(t, f, m)
	}
}

func (s *stub) broken(t *turn, f *Flow, m *sip.Message, err *sip.Error) {
	if s.onBroken != nil {
		s.onBroken(t, f, m, err)
		return
	}
	f.queueRaw(t, fmt.Appendf(nil, "SIP/2.0 %d %s\r\nContent-Length: 0\r\n\r\n", err.Status, err.Reason))
}

// echo sends every message back as it came.
func echo(t *turn, f *Flow, m *sip.Message) { f.queueRaw(t, m.Raw()) }

// A lab is a wire with one listener, and what a client needs to reach it.
type lab struct {
	t        testing.TB
	w        *wire
	stub     *stub
	listener *listener
	server   *tls.Config
	client   *tls.Config
	verifier *certs.Verifier
	keypair  *certs.Keypair // what listeners show
	pool     *x509.CertPool // who signed it
}

// newLab starts a wire on loopback. Its end waits for every goroutine, and
// fails the test if one is left.
func newLab(t testing.TB, s wireSettings, stub *stub) *lab {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	ca, err := certs.NewAuthority("Test CA")
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, stub: stub}
	l.verifier = &certs.Verifier{Roots: func() *x509.CertPool { return ca.Pool() }}
	l.pool, l.keypair = ca.Pool(), keypair(t, ca, "edge.example.com")
	l.verifier.Roots = func() *x509.CertPool { return l.pool }
	l.server = certs.ServerConfig(certs.ServerOptions{Keypair: l.keypair, Verifier: l.verifier})
	l.client = certs.ClientConfig(certs.ClientOptions{Keypair: keypair(t, ca, "edge.fabrikam.example"), Verifier: l.verifier, ServerName: "edge.example.com"})
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	l.w = newWire(s, stub)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { l.w.run(ctx) })
	t.Cleanup(func() { cancel(); group.Wait() })
	l.listener = l.listen(ctx, &group, listenerSettings{name: "federation", role: RoleFederation, tls: l.server, identify: l.verifier.Identify})
	return l
}

func (l *lab) listen(ctx context.Context, group *sync.WaitGroup, s listenerSettings) *listener {
	l.t.Helper()
	s.address = "127.0.0.1:0"
	li, err := l.w.listen(s)
	if err != nil {
		l.t.Fatal(err)
	}
	group.Go(func() { li.serve(ctx) })
	return li
}

// also adds a listener for the time of the test.
func (l *lab) also(s listenerSettings) *listener {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	l.t.Cleanup(func() { cancel(); group.Wait() })
	return l.listen(ctx, &group, s)
}

func keypair(t testing.TB, ca *certs.Authority, name string) *certs.Keypair {
	t.Helper()
	k, err := ca.Keypair(certs.Leaf{Names: []string{name}})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// dial connects a test client by TLS.
func (l *lab) dial() *tls.Conn {
	l.t.Helper()
	c, err := tls.Dial("tcp", l.listener.addr().String(), l.client)
	if err != nil {
		l.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	l.t.Cleanup(func() { c.Close() })
	return c
}

// raw connects a test client without TLS.
func (l *lab) raw(to *listener) net.Conn {
	l.t.Helper()
	c, err := net.Dial("tcp", to.addr().String())
	if err != nil {
		l.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	l.t.Cleanup(func() { c.Close() })
	return c
}

// flow waits for the next flow.
func (l *lab) flow() *Flow { return await(l.t, l.stub.flows, "a flow") }

// end waits for the end of a flow.
func (l *lab) end() error { return await(l.t, l.stub.ends, "the end of a flow") }

// stop ends the wire and waits for its goroutines: whatever they count is counted then,
// and whatever they log is written. A peer knows that it was answered before that.
func (l *lab) stop() {
	l.t.Helper()
	done := make(chan struct{})
	go func() { l.w.stop(); close(done) }()
	await(l.t, done, "the end of the wire")
}

// until waits for what no channel tells.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come", what)
		}
	}
}

func await[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

// message makes the n-th request of a test.
func message(n int, body string) string {
	return fmt.Sprintf("MESSAGE sip:bob@example.com SIP/2.0\r\n"+
		"Via: SIP/2.0/TLS edge.fabrikam.example;branch=z9hG4bK%d\r\n"+
		"From: <sip:alice@fabrikam.example>;tag=1\r\nTo: <sip:bob@example.com>\r\n"+
		"Call-ID: %d@fabrikam.example\r\nCSeq: %d MESSAGE\r\nMax-Forwards: 70\r\n"+
		"Content-Length: %d\r\n\r\n%s", n, n, n, len(body), body)
}

// expect reads exactly want.
func expect(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(r, got)
	if err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got[:n], err, want)
	}
}

func send(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

func TestMessagesAreHandledInOrderHoweverTheyAreCutUp(t *testing.T) {
	stub := newStub()
	stub.onMessage = echo
	l := newLab(t, wireSettings{}, stub)
	var all string
	for i := range 20 {
		all += message(i, strings.Repeat("x", i*100))
	}
	for _, tt := range []struct {
		name string
		size int
	}{{"in one write", len(all)}, {"octet by octet", 1}, {"in sevens", 7}, {"in thousands", 1000}} {
		t.Run(tt.name, func(t *testing.T) {
			c := l.dial()
			go func() {
				for rest := all; rest != ""; {
					n := min(tt.size, len(rest))
					io.WriteString(c, rest[:n])
					rest = rest[n:]
				}
			}()
			expect(t, c, all)
		})
	}
}

func TestTheSameComesOverPlainTCPWhereAllowed(t *testing.T) {
	stub := newStub()
	stub.onMessage = echo
	l := newLab(t, wireSettings{}, stub)
	li := l.also(listenerSettings{name: "internal", role: RoleInternal, inside: true})
	c := l.raw(li)
	want := message(1, "hello") + message(2, strings.Repeat("y", 100_000))
	send(t, c, want)
	expect(t, c, want)
	if f := l.flow(); f.Role != RoleInternal || f.Peer != nil || f.Listener != "internal" {
		t.Errorf("flow has role %v, peer %v, listener %q", f.Role, f.Peer, f.Listener)
	}
}

func TestKeepalivesAreAnsweredExactly(t *testing.T) {
	stub := newStub()
	stub.onMessage = echo
	l := newLab(t, wireSettings{}, stub)
	m := message(1, "hello")
	for _, tt := range []struct {
		name   string
		writes []string
		want   string
	}{
		{"a ping", []string{"\r\n\r\n"}, "\r\n"},
		{"two pings together", []string{"\r\n\r\n\r\n\r\n"}, "\r\n\r\n"},
		{"a ping cut in the middle", []string{"\r\n", "\r\n"}, "\r\n"},
		{"a ping octet by octet", []string{"\r", "\n", "\r", "\n"}, "\r\n"},
		{"a ping before a message", []string{"\r\n\r\n" + m}, "\r\n" + m},
		{"a ping after a message", []string{m + "\r\n\r\n"}, m + "\r\n"},
		{"a ping between messages", []string{m + "\r\n\r\n" + m}, m + "\r\n" + m},
		{"a ping glued to half a message", []string{"\r\n\r\n" + m[:50], m[50:]}, "\r\n" + m},
		{"one CRLF is ignored", []string{"\r\n" + m}, m},
		{"three CRLF are a ping and a half", []string{"\r\n\r\n\r\n" + m}, "\r\n" + m},
		{"a body of CRLF is no ping", []string{message(2, "\r\n\r\n")}, message(2, "\r\n\r\n")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := l.dial()
			for _, s := range tt.writes {
				send(t, c, s)
			}
			// What comes before the echo of a last message is all that was sent.
			last := message(9, "")
			send(t, c, last)
			expect(t, c, tt.want+last)
		})
	}
}

func TestAFloodOfPingsCostsABoundedQueue(t *testing.T) {
	l := newLab(t, wireSettings{maxOut: 64 << 10}, newStub())
	c := l.dial()
	f := l.flow()
	flood := bytes.Repeat(ping, 4000)
	c.SetDeadline(time.Now().Add(4 * patience))
	for range 1_000_000 {
		if _, err := c.Write(flood); err != nil {
			break
		}
	}
	if err := l.end(); !errors.Is(err, ErrFlowFull) {
		t.Errorf("flow ended with %v, want %v", err, ErrFlowFull)
	}
	if n := f.conn.pending.Load(); n > 256<<10 {
		t.Errorf("%d octets were kept", n)
	}
}

func TestMessagesOfOneTurnShareARecord(t *testing.T) {
	stub := newStub()
	l := newLab(t, wireSettings{}, stub)
	count := &recordCounter{Conn: l.raw(l.listener)}
	c := tls.Client(count, l.client)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	f := l.flow()
	var batch turn
	f.queueRaw(&batch, pong)
	batch.end()
	expect(t, c, "\r\n") // and the session tickets before it
	want := ""
	for i := range 10 {
		m := message(i, "")
		want += m
		if err := f.queueRaw(&batch, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	before := count.records.Load()
	batch.end()
	expect(t, c, want)
	if n := count.records.Load() - before; n != 1 {
		t.Errorf("10 messages came in %d records, want 1", n)
	}
}

// A recordCounter counts the TLS records that are read.
type recordCounter struct {
	net.Conn
	left    int
	header  []byte
	records atomic.Int64
}

func (r *recordCounter) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	for _, b := range p[:n] {
		if r.left > 0 {
			r.left--
			continue
		}
		if r.header = append(r.header, b); len(r.header) == recordHeader {
			r.left = int(r.header[3])<<8 | int(r.header[4])
			r.header = r.header[:0]
			r.records.Add(1)
		}
	}
	return n, err
}

func TestAPanicEndsItsFlowAlone(t *testing.T) {
	stub := newStub()
	var other *Flow
	stub.onMessage = func(t *turn, f *Flow, m *sip.Message) {
		if bytes.Contains(m.Body(), []byte("boom")) {
			other.queueRaw(t, []byte("\r\n")) // queued before: still leaves
			panic("a bug")
		}
		echo(t, f, m)
	}
	var log syncBuffer
	l := newLab(t, wireSettings{log: slog.New(slog.NewTextHandler(&log, nil))}, stub)
	good := l.dial()
	other = l.flow()
	bad := l.dial()
	l.flow()
	send(t, bad, message(1, "boom"))
	if err := l.end(); err == nil || !strings.Contains(err.Error(), "a bug") {
		t.Errorf("flow ended with %v", err)
	}
	expect(t, good, "\r\n")
	send(t, good, message(2, "still here"))
	expect(t, good, message(2, "still here"))
	if n := l.w.counts.panics.Load(); n != 1 {
		t.Errorf("counted %d panics, want 1", n)
	}
	if s := log.String(); !strings.Contains(s, "wire_test.go") {
		t.Errorf("no stack in the log: %s", s)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestLostFramingIsAnsweredAlthoughThePeerGoesOnSending(t *testing.T) {
	l := newLab(t, wireSettings{}, newStub())
	for _, tt := range []struct{ name, fault string }{
		{"two lengths", strings.Replace(message(1, ""), "Content-Length: 0\r\n", "Content-Length: 0\r\nl: 300\r\n", 1)},
		{"no length", strings.Replace(message(1, ""), "Content-Length: 0\r\n", "", 1)},
		{"bare LF", "MESSAGE sip:bob@example.com SIP/2.0\nVia: x\r\n\r\n"},
		{"no SIP", "\x00\x01\x02"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := l.dial()
			send(t, c, message(0, "")+tt.fault+strings.Repeat("junk", 100_000))
			got, err := io.ReadAll(c)
			if err != nil {
				t.Errorf("no clean end: %v", err)
			}
			if !bytes.HasPrefix(got, []byte("SIP/2.0 400 ")) {
				t.Errorf("got %q, want a 400", got)
			}
			c.Close()
			if _, ok := errors.AsType[*sip.Error](l.end()); !ok {
				t.Error("the flow does not say why it ended")
			}
		})
	}
}

func TestFinishSendsWhatIsQueuedAndCloses(t *testing.T) {
	l := newLab(t, wireSettings{timeouts: timeouts{linger: time.Second}}, newStub())
	c := l.dial()
	f := l.flow()
	var batch turn
	big := message(1, strings.Repeat("z", 500_000))
	if err := f.queueRaw(&batch, []byte(big)); err != nil {
		t.Fatal(err)
	}
	f.finish(errStopped)
	if err := f.queueRaw(&batch, pong); !errors.Is(err, ErrFlowClosed) {
		t.Errorf("queueing on an ending flow: %v", err)
	}
	got, err := io.ReadAll(c)
	if string(got) != big || err != nil {
		t.Errorf("read %d octets, %v; want %d and a clean end", len(got), err, len(big))
	}
	// The client does not close; the flow ends all the same.
	if err := l.end(); !errors.Is(err, errStopped) {
		t.Errorf("flow ended with %v, want %v", err, errStopped)
	}
}

func TestAnyoneMayWriteToAFlow(t *testing.T) {
	l := newLab(t, wireSettings{}, newStub())
	c := l.dial()
	f := l.flow()
	const writers, each = 8, 200
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			var batch turn
			for i := range each {
				if err := f.queueRaw(&batch, fmt.Appendf(nil, "%d %04d\n", w, i)); err != nil {
					t.Error(err)
				}
				if i%3 == 0 {
					batch.end()
				}
			}
			batch.end()
		})
	}
	var next [writers]int
	for range writers * each {
		var w, i int
		line := make([]byte, 7)
		if _, err := io.ReadFull(c, line); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscanf(string(line), "%d %04d\n", &w, &i); err != nil {
			t.Fatalf("read %q: %v", line, err)
		}
		if next[w] != i {
			t.Fatalf("writer %d: got %d, want %d", w, i, next[w])
		}
		next[w]++
	}
	group.Wait()
}

func TestOneMessageLongerThanTheQueueFits(t *testing.T) {
	stub := newStub()
	stub.onMessage = echo
	l := newLab(t, wireSettings{maxOut: 1000}, stub)
	c := l.dial()
	want := message(1, strings.Repeat("x", 300_000))
	go io.WriteString(c, want)
	expect(t, c, want)
}

func TestDialledFlows(t *testing.T) {
	stub := newStub()
	stub.onMessage = echo
	l := newLab(t, wireSettings{}, stub)
	hop := locate.Hop{Host: "edge.example.com", Addr: l.listener.addr()}

	t.Run("carry messages and know their peer", func(t *testing.T) {
		f, err := l.w.dial(t.Context(), hop, l.client, RoleFederation, nil)
		if err != nil {
			t.Fatal(err)
		}
		if f.Peer == nil || !f.Peer.CoversHost("edge.example.com") || f.Role != RoleFederation || f.Listener != "" {
			t.Errorf("flow has peer %v, role %v, listener %q", f.Peer, f.Role, f.Listener)
		}
		accepted := l.flow()
		if accepted.Peer == nil || !accepted.Peer.Covers("edge.fabrikam.example") {
			t.Errorf("accepted flow has peer %v", accepted.Peer)
		}
		if accepted.Remote != f.Local || accepted.Local != f.Remote {
			t.Errorf("addresses differ: %v-%v and %v-%v", f.Local, f.Remote, accepted.Remote, accepted.Local)
		}
		f.start()
		if got := l.flow(); got != f || l.w.flow(f.ID) != f {
			t.Error("flow is not in the table")
		}
		f.close(errStopped)
		if a, b := l.end(), l.end(); !errors.Is(a, errStopped) && !errors.Is(b, errStopped) {
			t.Errorf("flows ended with %v and %v", a, b)
		}
		if l.w.flow(f.ID) != nil {
			t.Error("flow is still in the table")
		}
	})
	t.Run("that nobody started are closed", func(t *testing.T) {
		f, err := l.w.dial(t.Context(), hop, l.client, RoleFederation, nil)
		if err != nil {
			t.Fatal(err)
		}
		f.close(errStopped)
		f.start() // hears of the end at once
		l.flow()
		l.end()
		l.flow()
		l.end()
	})
	t.Run("ask before they connect", func(t *testing.T) {
		_, err := l.w.dial(t.Context(), hop, l.client, RoleFederation, forbidden)
		if !errors.Is(err, errForbiddenInTest) {
			t.Errorf("got %v, want %v", err, errForbiddenInTest)
		}
	})
	t.Run("do not wait for a silent server", func(t *testing.T) {
		silent, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err = l.w.dial(ctx, locate.Hop{Host: "silent", Addr: addrPort(silent.Addr())}, l.client, RoleFederation, nil)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
	})
}
