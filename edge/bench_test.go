package edge

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/sip"
)

// benchMessage is a MESSAGE of the usual size.
func benchMessage(branch string) []byte {
	text := request1("MESSAGE", branch)
	body := strings.Repeat("All work and no play. ", 5)
	text = strings.Replace(text, "Content-Length: 0", fmt.Sprintf("Content-Type: text/plain\nContent-Length: %d", len(body)), 1)
	return append(bytes.ReplaceAll([]byte(text), []byte("\n"), []byte("\r\n")), body...)
}

// index reads a message for a benchmark.
func indexed(t testing.TB, raw []byte) *sip.Message {
	m := new(sip.Message)
	if err := m.Parse(raw, sip.Limits{}); err != nil {
		t.Fatal(err)
	}
	return m
}

// BenchmarkJudge is what the two doors and the routing cost.
func BenchmarkJudge(b *testing.B) {
	x := newBench(b, 1)
	m := indexed(b, benchMessage("m1"))
	r := new(request)
	b.ReportAllocs()
	for b.Loop() {
		*r = request{f: x.partner, m: m}
		r.read(x.e)
		if v := x.e.judge(r); !v.Allowed() {
			b.Fatal(v)
		}
	}
}

// BenchmarkForward is a MESSAGE there and its 200 back, with everything but
// TLS and the sockets, and without what the log costs.
func BenchmarkForward(b *testing.B) {
	x := newBench(b, 1)
	x.e.log = slog.New(slog.DiscardHandler)
	raw := benchMessage("m1")
	home := x.homes[0]
	var t turn
	b.ReportAllocs()
	req, resp := new(sip.Message), new(sip.Message)
	var out, answer []byte
	for b.Loop() {
		if err := req.Parse(raw, sip.Limits{}); err != nil {
			b.Fatal(err)
		}
		x.e.message(&t, x.partner, req)
		home.mu.Lock()
		out = append(out[:0], home.out.b...)
		home.out.b = home.out.b[:0]
		home.mu.Unlock()
		if err := req.Parse(out, sip.Limits{}); err != nil {
			b.Fatal(err)
		}
		answer = sip.AppendResponse(answer[:0], req, 200, "OK", "b", nil)
		if err := resp.Parse(answer, sip.Limits{}); err != nil {
			b.Fatal(err)
		}
		x.e.message(&t, home, resp)
		x.partner.mu.Lock()
		if !bytes.HasPrefix(x.partner.out.b, []byte("SIP/2.0 200")) {
			b.Fatalf("answered %q", x.partner.out.b)
		}
		x.partner.out.b = x.partner.out.b[:0]
		x.partner.mu.Unlock()
		t.dirty = t.dirty[:0]
		home.noted, x.partner.noted = nil, nil
	}
}

// FuzzMessage lets any message come from a partner: whatever it is, the edge
// does not fall, and what is sent inside is well-formed and names the partner
// that was proved.
func FuzzMessage(f *testing.F) {
	for _, method := range []string{"MESSAGE", "INVITE", "ACK", "CANCEL", "OPTIONS", "FOO"} {
		f.Add([]byte(strings.ReplaceAll(request1(method, "x1"), "\n", "\r\n")))
	}
	f.Add([]byte("SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS edge1.example.com;branch=z9hG4bK0000000000000000000000000000000000\r\nContent-Length: 0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		x := newBench(t, 1)
		var framer sip.Framer
		m := new(sip.Message)
		kind, _, err := framer.Next(raw, m)
		var turn turn
		switch {
		case err != nil:
			if fault, ok := err.(*sip.Error); ok {
				x.e.broken(&turn, x.partner, m, fault)
			}
			return
		case kind != sip.Complete:
			return
		}
		x.e.message(&turn, x.partner, m)
		_, sent := x.sent(x.homes[0])
		if sent == nil {
			return
		}
		if fault := sent.Fault(); fault != nil {
			t.Fatalf("sent inside what is no good: %v\n%q", fault, sent.Raw())
		}
		from, err := sent.From()
		if err != nil {
			t.Fatal(err)
		}
		uri, err := sip.ParseURI(from.URI)
		if err != nil || string(sip.AppendDomain(nil, uri.Host)) != "fabrikam.example" {
			t.Fatalf("sent inside for %q", from.URI)
		}
	})
}

// BenchmarkRefuse is a MESSAGE that is refused because of overload, from its
// octets to its answer: it must cost a small part of Forward.
func BenchmarkRefuse(b *testing.B) {
	x := newBench(b, 1)
	x.e.log = slog.New(slog.DiscardHandler)
	x.account(x.partner)
	x.e.overload.on.Store(true)
	x.e.overload.outside.Store(1)
	x.partner.state.account.demand.paid.Store(1 << 62)
	raw := benchMessage("m1")
	var t turn
	b.ReportAllocs()
	req := new(sip.Message)
	var framer sip.Framer
	for b.Loop() {
		if kind, _, err := framer.Next(raw, req); err != nil || kind != sip.Complete {
			b.Fatal(kind, err)
		}
		x.e.message(&t, x.partner, req)
		x.partner.mu.Lock()
		x.partner.out.b = x.partner.out.b[:0]
		x.partner.mu.Unlock()
		t.dirty = t.dirty[:0]
		x.partner.noted = nil
	}
}
