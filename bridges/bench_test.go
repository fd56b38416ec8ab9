package bridges_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
)

var request = []byte("MESSAGE sip:juliet@fabrikam.example SIP/2.0\r\n" +
	"Via: SIP/2.0/TLS edge1.example.com:5061;branch=z9hG4bK0123456789abcdef010123456789abcdef\r\n" +
	"Via: SIP/2.0/TLS home1.example.com:5061;branch=z9hG4bKd2b4a6c8e0;received=192.0.2.7\r\n" +
	"Via: SIP/2.0/TLS 192.0.2.44:50123;branch=z9hG4bK776asdhds;rport=50123\r\n" +
	"Max-Forwards: 68\r\n" +
	"From: \"Alice\" <sip:alice@example.com>;tag=49583\r\n" +
	"To: <sip:juliet@fabrikam.example>\r\n" +
	"Call-ID: asd88asd77a@192.0.2.44\r\n" +
	"CSeq: 1 MESSAGE\r\n" +
	"User-Agent: Example/1.0\r\n" +
	"Content-Type: text/plain;charset=UTF-8\r\n" +
	"Content-Length: 18\r\n\r\nWatson, come here.")

// BenchmarkAMessageIn is a MESSAGE that is handled and answered at once.
func BenchmarkAMessageIn(b *testing.B) {
	answers := make(chan struct{}, 1)
	e := running(b, &bridgestest.Link{To: func([]byte) bool { answers <- struct{}{}; return true }},
		handler{request: func(in *bridges.Incoming) { in.Answer(bridges.Response{Status: 200}, "") }})
	b.ReportAllocs()
	for b.Loop() {
		if !e.Receive(request) {
			b.Fatal("not taken")
		}
		<-answers
	}
}

// BenchmarkAMessageOut is a MESSAGE that is sent and answered at once, by another
// Endpoint: half of the cost is that one's.
func BenchmarkAMessageOut(b *testing.B) {
	bridge, home := bridgestest.New(b, nil)
	home.Handle(handler{request: func(in *bridges.Incoming) { in.Answer(bridges.Response{Status: 200}, "") }})
	answers := make(chan struct{}, 1)
	r := bridgestest.Message(juliet, alice, "Watson, come here.")
	b.ReportAllocs()
	for b.Loop() {
		bridge.Do(r, func(*bridges.Response, *bridges.Dialog) { answers <- struct{}{} })
		<-answers
	}
}

// running runs an Endpoint at host until the test ends.
func running(t testing.TB, host bridges.Host, h bridges.Handler) *bridges.Endpoint {
	e := bridges.NewEndpoint(slog.New(slog.DiscardHandler))
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
