package xmpp

import (
	"context"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// An echo is both sides of a gateway: what it sends has arrived at once.
type echo struct{ answered int }

func (e *echo) Do(_ *bridges.Request, answer func(*bridges.Response, *bridges.Dialog)) {
	e.answered++
	answer(&bridges.Response{Status: 200}, nil)
}

func (e *echo) Cancel(*bridges.Request) {}

func (e *echo) Send(s *stanza.Element, done func(s2s.Outcome)) bool {
	e.answered++
	if done != nil {
		done(s2s.Outcome{Acked: true})
	}
	return true
}

func benchGateway(b *testing.B) (*gateway, *echo) {
	e := &echo{}
	addr := address.New(address.Domains{Native: []string{"example.com"}})
	g := newGateway(settings{
		served: map[string]bool{"example.com": true}, hold: 2 * time.Second, maxMessage: 64 << 10, host: "example.com",
	}, addr, e, e, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = g.run(ctx)
	}()
	b.Cleanup(func() {
		cancel()
		<-ended
	})
	return g, e
}

// BenchmarkToXMPP is what the gateway itself costs for a message of ours; the streams
// and the SIP side have benchmarks of their own.
func BenchmarkToXMPP(b *testing.B) {
	g, _ := benchGateway(b)
	r := bridges.Request{
		Method: "MESSAGE", URI: julietURI, From: bridges.Party{URI: aliceURI}, To: bridges.Party{URI: julietURI},
		CallID: "9E97FB43-85F4-4A00-8751-1124FD4C7B2E", ContentType: "text/plain", Body: []byte("Neither, fair saint, if either thee dislike."),
	}
	b.ReportAllocs()
	for b.Loop() {
		in := &bridges.Incoming{Request: r}
		w, fault := g.outward(in)
		if fault != nil {
			b.Fatal(fault)
		}
		c, refusal := g.readWriting(&r, w)
		if refusal.Status != 0 {
			b.Fatal(refusal)
		}
		g.textToXMPP(in, w, c)
	}
}

// BenchmarkToSIP is the same for a message from outside.
func BenchmarkToSIP(b *testing.B) {
	g, e := benchGateway(b)
	m, err := stanza.Parse([]byte(messageXML("type='chat' id='1'", "<body>Neither, fair saint, if either thee dislike.</body><active xmlns='"+nsChatStates+"'/><request xmlns='urn:xmpp:receipts'/>")), stanza.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	s := &s2s.Stanza{Element: m, From: "fabrikam.example", To: "example.com", Proof: bridges.ProofCertificate}
	b.ReportAllocs()
	for b.Loop() {
		g.stanza(s)
	}
	if e.answered == 0 {
		b.Fatal("nothing was sent")
	}
}

// BenchmarkTwoBridges sends messages from one bridge to another by a stream with TLS
// and acknowledgements, many at a time; both ends and their home servers are in this
// process.
func BenchmarkTwoBridges(b *testing.B) {
	n := newInternet(b)
	one, two := n.company("example.com", nil), n.company("fabrikam.example", nil)
	one.say(two, "hello")
	two.hears(200)
	const atOnce = 64
	places := make(chan struct{}, atOnce)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range b.N {
			two.home.Take(b, "MESSAGE", 200)
		}
	}()
	used := cpu(b)
	b.ResetTimer()
	for range b.N {
		places <- struct{}{}
		one.home.Do(montague(), func(resp *bridges.Response, _ *bridges.Dialog) {
			if resp.Status != 200 {
				b.Errorf("answered with %d", resp.Status)
			}
			<-places
		})
	}
	<-done
	b.ReportMetric(float64((cpu(b)-used).Microseconds())/float64(b.N), "cpu-µs/op")
}

// cpu is what the process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func montague() *bridges.Request {
	return &bridges.Request{
		Method: "MESSAGE", URI: "sip:alice@fabrikam.example", From: bridges.Party{URI: aliceURI}, To: bridges.Party{URI: "sip:alice@fabrikam.example"},
		ContentType: "text/plain", Body: []byte("Neither, fair saint, if either thee dislike."),
	}
}
