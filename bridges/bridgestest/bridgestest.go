// Package bridgestest is the inside of tests of bridges: a Home, whose users write
// to the bridge and are written to by it, at the other end of a Host in memory.
package bridgestest

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges"
)

// Patience is how long a test waits for what should come at once.
const Patience = 10 * time.Second

// A Link is a Host in memory: what is sent on it is received by To at once.
type Link struct {
	Host string // host and port; "": home.example.com:5061
	// To receives; false: it did not take the message.
	To func(octets []byte) bool
	// See is told of every message first, if it is not nil. It returns false to lose it.
	See func(octets []byte, proof bridges.Proof) bool
}

type full struct{}

func (full) Error() string { return "bridgestest: not taken" }

// Send is that of bridges.Host.
func (l *Link) Send(message []byte, proof bridges.Proof) error {
	if l.See != nil && !l.See(message, proof) {
		return nil
	}
	if !l.To(message) {
		return full{}
	}
	return nil
}

// Self is that of bridges.Host.
func (l *Link) Self() string {
	if l.Host == "" {
		return "home.example.com:5061"
	}
	return l.Host
}

// A Home is a home server with scripted users. Requests to them stand in a queue
// until the test takes and answers them.
type Home struct {
	*bridges.Endpoint
	requests chan *bridges.Incoming
	canceled chan *bridges.Incoming
}

// Request is that of bridges.Handler.
func (h *Home) Request(in *bridges.Incoming) { h.requests <- in }

// Canceled is that of bridges.Handler.
func (h *Home) Canceled(in *bridges.Incoming) { h.canceled <- in }

// New returns the Endpoint of a bridge and the home server that it is linked to.
// Both run until the test ends. h may be nil if Handle names the handler later.
func New(t testing.TB, h bridges.Handler) (*bridges.Endpoint, *Home) {
	log := slog.New(slog.DiscardHandler)
	bridge := bridges.NewEndpoint(log)
	home := NewHome(t, bridge.Receive)
	run(t, bridge, &Link{Host: "bridge.example.com:5061", To: home.Receive}, h)
	return bridge, home
}

// NewHome returns a home server that sends to to, for a bridge with a Host of the
// test's own, such as a Keeper.
func NewHome(t testing.TB, to func(octets []byte) bool) *Home {
	home := &Home{
		Endpoint: bridges.NewEndpoint(slog.New(slog.DiscardHandler)),
		requests: make(chan *bridges.Incoming, 4096),
		canceled: make(chan *bridges.Incoming, 4096),
	}
	run(t, home.Endpoint, &Link{To: to}, home)
	return home
}

// run runs e until the test ends.
func run(t testing.TB, e *bridges.Endpoint, host bridges.Host, h bridges.Handler) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := e.Run(ctx, host, h); err != nil {
			t.Errorf("endpoint: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	<-e.Started()
}

// Next returns the next request that came to a user.
func (h *Home) Next(t testing.TB) *bridges.Incoming {
	t.Helper()
	return wait(t, h.requests, "request")
}

// NextCanceled returns the next INVITE that was canceled.
func (h *Home) NextCanceled(t testing.TB) *bridges.Incoming {
	t.Helper()
	return wait(t, h.canceled, "CANCEL")
}

// Take returns the next request, which must have this method, and answers it.
func (h *Home) Take(t testing.TB, method string, status int) *bridges.Incoming {
	t.Helper()
	in := h.Next(t)
	if in.Method != method {
		t.Fatalf("a %s came, want %s", in.Method, method)
	}
	in.Answer(bridges.Response{Status: status}, "")
	return in
}

// None fails the test if a request has come that nobody took.
func (h *Home) None(t testing.TB) {
	t.Helper()
	select {
	case in := <-h.requests:
		t.Fatalf("a %s came, want nothing", in.Method)
	default:
	}
}

// Send sends a request and returns its final answer, and the dialog that it made.
func (h *Home) Send(t testing.TB, r *bridges.Request) (*bridges.Response, *bridges.Dialog) {
	t.Helper()
	type result struct {
		resp *bridges.Response
		d    *bridges.Dialog
	}
	done := make(chan result, 1)
	h.Do(r, func(resp *bridges.Response, d *bridges.Dialog) {
		if resp.Status >= 200 {
			done <- result{resp, d}
		}
	})
	got := wait(t, done, "answer to "+r.Method)
	return got.resp, got.d
}

// SendWithin does so within a dialog.
func (h *Home) SendWithin(t testing.TB, d *bridges.Dialog, r *bridges.Request) *bridges.Response {
	t.Helper()
	done := make(chan *bridges.Response, 1)
	d.Do(r, func(resp *bridges.Response) {
		if resp.Status >= 200 {
			done <- resp
		}
	})
	return wait(t, done, "answer to "+r.Method)
}

// Message is a MESSAGE with plain text.
func Message(from, to, text string) *bridges.Request {
	return &bridges.Request{
		Method: "MESSAGE", URI: to, From: bridges.Party{URI: from}, To: bridges.Party{URI: to},
		ContentType: "text/plain;charset=UTF-8", Body: []byte(text),
	}
}

func wait[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	clock := time.NewTimer(Patience)
	defer clock.Stop()
	select {
	case v = <-c:
	case <-clock.C:
		t.Fatalf("no %s came", what)
	}
	return v
}
