package bridges_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
	"github.com/sipedge/sipedge/sip"
)

const (
	alice  = "sip:alice@example.com"
	juliet = "sip:juliet@fabrikam.example"
)

// A handler is a bridges.Handler of functions.
type handler struct {
	request  func(in *bridges.Incoming)
	canceled func(in *bridges.Incoming)
}

func (h handler) Request(in *bridges.Incoming) { h.request(in) }

func (h handler) Canceled(in *bridges.Incoming) { h.canceled(in) }

// running runs an Endpoint at host until the test ends.
func running(t testing.TB, host bridges.Host, h bridges.Handler) *bridges.Endpoint {
	return run(t, bridges.NewEndpoint(slog.New(slog.DiscardHandler)), host, h)
}

func run(t testing.TB, e *bridges.Endpoint, host bridges.Host, h bridges.Handler) *bridges.Endpoint {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- e.Run(ctx, host, h) }()
	<-e.Started()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("endpoint: %v", err)
		}
	})
	return e
}

// A wire is an Endpoint whose other side is the test, octet for octet.
type wire struct {
	t        testing.TB
	e        *bridges.Endpoint
	sent     chan string
	requests chan *bridges.Incoming
	canceled chan *bridges.Incoming
	branches int
}

// newWire makes one. tight: with limits that can be reached.
func newWire(t testing.TB, tight bool) *wire {
	w := &wire{t: t, sent: make(chan string, 256), requests: make(chan *bridges.Incoming, 256), canceled: make(chan *bridges.Incoming, 256)}
	w.e = bridges.NewEndpoint(slog.New(slog.DiscardHandler))
	if tight {
		w.e.Tight()
	}
	run(t, w.e, &bridgestest.Link{Host: "bridge.example.com:5061", To: func(b []byte) bool { w.sent <- string(b); return true }},
		handler{request: func(in *bridges.Incoming) { w.requests <- in }, canceled: func(in *bridges.Incoming) { w.canceled <- in }})
	return w
}

func next[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	// Longer than every timer: in a bubble of synctest time goes by for nothing.
	clock := time.NewTimer(10 * time.Minute)
	defer clock.Stop()
	select {
	case v = <-c:
	case <-clock.C:
		t.Fatalf("no %s came", what)
	}
	return v
}

// next returns what the Endpoint sent next. It must be faultless.
func (w *wire) next(start string) *sip.Message {
	w.t.Helper()
	raw := next(w.t, w.sent, start)
	m := parsed(w.t, raw)
	if !strings.HasPrefix(raw, start) {
		w.t.Fatalf("sent %q, want %s", raw, start)
	}
	return m
}

func parsed(t testing.TB, raw string) *sip.Message {
	t.Helper()
	m := new(sip.Message)
	if err := m.Parse([]byte(raw), sip.Limits{}); err != nil {
		t.Fatalf("sent %q: %v", raw, err)
	}
	if fault := m.Fault(); fault != nil {
		t.Fatalf("sent %q: %v", raw, fault)
	}
	return m
}

// none checks, in a bubble of synctest, that nothing was sent.
func (w *wire) none() {
	w.t.Helper()
	synctest.Wait()
	select {
	case raw := <-w.sent:
		w.t.Fatalf("sent %q, want nothing", raw)
	default:
	}
}

// receive has the Endpoint receive a message of these lines; the last is the body.
func (w *wire) receive(lines ...string) {
	w.t.Helper()
	if raw := message(lines...); !w.e.Receive([]byte(raw)) {
		w.t.Fatalf("did not take %q", raw)
	}
}

func message(lines ...string) string {
	head, body := lines[:len(lines)-1], lines[len(lines)-1]
	return strings.Join(head, "\r\n") + fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// lines are those of a request of alice outside dialogs.
func (w *wire) lines(method string, more ...string) []string {
	w.branches++
	list := []string{
		method + " " + juliet + " SIP/2.0",
		fmt.Sprintf("Via: SIP/2.0/TLS edge.example.com:5061;branch=z9hG4bKw%d", w.branches),
		"Max-Forwards: 66",
		"From: \"Alice\" <" + alice + ">;tag=a1",
		"To: <" + juliet + ">",
		fmt.Sprintf("Call-ID: call%d@example.com", w.branches),
		fmt.Sprintf("CSeq: %d %s", w.branches, method),
	}
	return append(append(list, more...), "")
}

// respond answers what the Endpoint sent.
func (w *wire) respond(req *sip.Message, status int, tag string, lines ...string) {
	w.t.Helper()
	extra := ""
	for _, l := range lines {
		extra += l + "\r\n"
	}
	if !w.e.Receive(sip.AppendResponse(nil, req, status, "", tag, []byte(extra))) {
		w.t.Fatal("did not take the answer")
	}
}

// An outcome is what came to Do.
type outcome struct {
	*bridges.Response
	d *bridges.Dialog
}

// do sends a request of the bridge; provisional answers come, too.
func (w *wire) do(r *bridges.Request) <-chan outcome {
	answers := make(chan outcome, 16)
	w.e.Do(r, func(resp *bridges.Response, d *bridges.Dialog) { answers <- outcome{resp, d} })
	return answers
}

func (w *wire) within(d *bridges.Dialog, r *bridges.Request) <-chan outcome {
	answers := make(chan outcome, 16)
	d.Do(r, func(resp *bridges.Response) { answers <- outcome{resp, nil} })
	return answers
}

// empty checks that the Endpoint holds nothing, but for what is named.
func (w *wire) empty(but ...string) {
	w.t.Helper()
	synctest.Wait()
	for what, n := range w.e.Held() {
		if n != 0 && !strings.Contains(strings.Join(but, " "), what) {
			w.t.Errorf("holds %d %s", n, what)
		}
	}
}

// request is a request of the bridge.
func request(method string) *bridges.Request {
	return &bridges.Request{
		Method: method, URI: alice, From: bridges.Party{URI: juliet}, To: bridges.Party{URI: alice}, Proof: bridges.ProofCertificate,
	}
}
