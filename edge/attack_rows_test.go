package edge

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/sip"
)

func TestWhoSendsIsReadInOneWayOnly(t *testing.T) {
	const from = "From: <sip:alice@fabrikam.example>;tag=a"
	for _, tt := range []struct{ from, want string }{
		{`From: "a" <sip:a@spam.example>, <sip:b@fabrikam.example>;tag=a`, "400"},
		{`From: sip:a@spam.example;tag=1 <sip:b@fabrikam.example>`, "400"},
		{`From: <sip:a@fabrikam.example;tag=1> <sip:b@spam.example>`, "400"},
		{`From: <sip:a@fabrikam.example@spam.example>;tag=a`, "400"},
		{`From: <sip:a@spam.example%40fabrikam.example>;tag=a`, "400"},
		{`From: "<sip:b@fabrikam.example>" <sip:a@spam.example>;tag=a`, "403"},
		{`From: <sip:b%40fabrikam.example@spam.example>;tag=a`, "403"},
		{`From: <sip:fabrikam.example:x@spam.example>;tag=a`, "403"},
		{`From: <sip:a@fabrikam.example.spam.example>;tag=a`, "403"},
		{`From: <tel:+15551234>;tag=a`, "403"},
		{`From: "<sip:a@spam.example>" <sip:b@FABRIKAM.example.>;tag=a`, ""},
	} {
		t.Run(tt.from, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 1)
				b.from(b.partner, strings.Replace(request1("MESSAGE", "m1"), from, tt.from, 1))
				lines, _ := b.sent(b.homes[0])
				if tt.want == "" {
					if len(lines) != 1 {
						t.Errorf("sent %q inside, want the request", lines)
					}
					return
				}
				if len(lines) != 0 {
					t.Errorf("sent %q inside", lines)
				}
				if got, _ := b.sent(b.partner); len(got) != 1 || !strings.HasPrefix(got[0], "SIP/2.0 "+tt.want) {
					t.Errorf("answered %q, want %s", got, tt.want)
				}
			})
		})
	}
}

func TestMaxForwardsIsCounted(t *testing.T) {
	for _, tt := range []struct{ line, inside, answer string }{
		{"", "70", ""},
		{"Max-Forwards: 0\n", "", "SIP/2.0 483 Too Many Hops"},
		{"Max-Forwards: 1\n", "0", ""},
		{"Max-Forwards: 255\n", "254", ""},
		{"Max-Forwards: 256\n", "", "SIP/2.0 400 Malformed Max-Forwards: number out of range"},
		{"Max-Forwards: 4294967366\n", "", "SIP/2.0 400 Malformed Max-Forwards: number out of range"},
		{"Max-Forwards: -1\n", "", "SIP/2.0 400 Malformed Max-Forwards: number out of range"},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 1)
			b.from(b.partner, strings.Replace(request1("MESSAGE", "m1"), "Max-Forwards: 70\n", tt.line, 1))
			if tt.answer != "" {
				b.expect(b.partner, tt.answer)
				b.expect(b.homes[0])
				return
			}
			m := b.expect(b.homes[0], "MESSAGE"+requestLine)
			if got := string(m.Value(sip.MaxForwards)); got != tt.inside {
				t.Errorf("%q became %q, want %q", tt.line, got, tt.inside)
			}
		})
	}
}

func TestMaxBreadthIsPassedOn(t *testing.T) {
	for _, tt := range []struct{ line, inside, answer string }{
		{"", "60", ""},
		{"Max-Breadth: 0\n", "", "SIP/2.0 440 Max-Breadth Exceeded"},
		{"max-breadth: 1\n", "1", ""},
		{"Max-Breadth: 60\n", "60", ""},
		{"Max-Breadth: 61\n", "60", ""},
		{"Max-Breadth: 99999999999999999999999\n", "60", ""},
		{"Max-Breadth: -1\n", "", "SIP/2.0 400 Malformed Max-Breadth: number out of range"},
		{"Max-Breadth: 1\nMax-Breadth: 60\n", "", "SIP/2.0 400 Repeated Max-Breadth"},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 1)
			b.from(b.partner, strings.Replace(request1("MESSAGE", "m1"), "Max-Forwards:", tt.line+"Max-Forwards:", 1))
			if tt.answer != "" {
				b.expect(b.partner, tt.answer)
				b.expect(b.homes[0])
				return
			}
			m := b.expect(b.homes[0], "MESSAGE"+requestLine)
			if got := string(m.Value(sip.MaxBreadth)); got != tt.inside || m.Count(sip.MaxBreadth) != 1 {
				t.Errorf("%q became %q, want %q", tt.line, got, tt.inside)
			}
		})
	}
}

func TestARedirectionFromOutsideIsNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		b.outward()
		b.from(b.homes[0], outgoing("INVITE", "o1"))
		m := b.expect(b.partner, "INVITE"+outgoingLine)
		b.from(b.partner, answer(m, 302, "Contact: <sip:root@10.0.0.5:22>\n"))
		b.expect(b.homes[0], "SIP/2.0 302 Moved Temporarily")
		b.expect(b.partner, "ACK"+outgoingLine)
		b.expect(b.homes[1])
	})
}

func TestABodyPassesUnread(t *testing.T) {
	parts := "--b\nContent-Type: text/plain\nP-Asserted-Identity: <sip:ceo@example.com>\n\nhello\n"
	for _, body := range []string{
		parts + "--b--\n",
		parts,       // never closed
		"--b--\n",   // without a part
		"\x00\xff ", // nothing at all
		strings.Repeat("--b\nContent-Type: multipart/mixed;boundary=b\n\n", 1000),
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 1)
			raw := strings.ReplaceAll(body, "\n", "\r\n")
			head := fmt.Sprintf("Content-Type: multipart/mixed;boundary=%q\nContent-Length: %d", strings.Repeat("b", 5000), len(raw))
			b.from(b.partner, strings.Replace(request1("MESSAGE", "m1"), "Content-Length: 0", head, 1)+body)
			m := b.expect(b.homes[0], "MESSAGE"+requestLine)
			if got := string(m.Body()); got != raw {
				t.Errorf("body became %.60q, want %.60q", got, raw)
			}
		})
	}
}

func TestAnswersThatNobodyAskedForAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.outward()
		b.from(b.partner, request1("INVITE", "i1"))
		m := b.expect(b.homes[0], "INVITE"+requestLine)
		// Another partner guesses the branch, which counts upwards, of a
		// transaction that is none of its business.
		other := b.flow(RoleFederation)
		id := identity(t, "contoso.example")
		other.Peer, other.state.side = &id, b.partner.state.side
		b.from(other, answer(m, 200, "Contact: <sip:evil@192.0.2.66>\n"))
		b.from(b.partner, answer(m, 200, "Contact: <sip:evil@192.0.2.66>\n"))
		for _, change := range [][2]string{
			{"SIP/2.0 200", "SIP/2.0 1000"},
			{"SIP/2.0 200", "SIP/2.0 4294967301"},
			{"SIP/2.0 200", "SIP/2.0 99"},
			{"CSeq: 1 INVITE", "CSeq: 1 MESSAGE"},
			{"Via: ", "Via: SIP/2.0/TLS 255.255.255.255;branch=z9hG4bKx\nVia: "},
			{";branch=z9hG4bK", ";branch=z9hG4bKf"},
		} {
			b.from(b.homes[0], strings.Replace(answer(m, 200, ""), change[0], change[1], 1))
		}
		b.expect(b.partner)
		b.from(b.homes[0], answer(m, 200, "Contact: <sip:bob@198.51.100.9>\n"))
		b.expect(b.partner, "SIP/2.0 200 OK")
	})
}

func TestAViaOfOursFromOutsideHarmsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.outward()
		b.from(b.homes[0], outgoing("MESSAGE", "o1"))
		m := b.expect(b.partner, "MESSAGE"+outgoingLine)
		via, _ := m.TopVia()
		// Our own branch, in a request to another target: a spiral, no loop.
		spiral := strings.Replace(request1("MESSAGE", "m1"), "Max-Forwards:",
			"Via: SIP/2.0/TLS edge1.example.com:5061;branch="+string(via.Branch)+"\nMax-Forwards:", 1)
		b.from(b.partner, spiral)
		b.expect(b.homes[0], "MESSAGE"+requestLine)
		// And it has not become the transaction that it names.
		b.from(b.partner, answer(m, 200, ""))
		b.expect(b.homes[0], "SIP/2.0 200 OK")
	})
}

func TestNoPeerTakesAllConnections(t *testing.T) {
	b := newBench(t, 1)
	b.e.limits.Connections = 12
	ids := make(map[string]certs.Identity)
	come := func(domain string) (f *Flow, seated bool) {
		f = b.flow(RoleFederation)
		id, ok := ids[domain]
		if !ok {
			id = identity(t, domain)
			ids[domain] = id
		}
		f.Peer = &id
		b.account(f)
		f.state.known.Store(b.e.partners.Load().Knows(f.Peer))
		return f, b.e.seat(f)
	}
	b.lists(map[string]federation.PartnerConfig{"fabrikam.example": {}, "contoso.example": {}})
	var last *Flow
	for i := range 4 {
		f, ok := come("fabrikam.example")
		if last = f; ok != (i < 3) {
			t.Errorf("connection %d of one partner: %v", i, ok)
		}
	}
	for i := range 4 {
		if _, ok := come(fmt.Sprintf("stranger%d.example", i)); ok != (i < 3) {
			t.Errorf("connection %d of a stranger: %v", i, ok)
		}
	}
	if _, ok := come("contoso.example"); !ok {
		t.Error("another partner finds no place")
	}
	b.e.unseat(last)
	b.e.unseat(last)
	if _, ok := come("fabrikam.example"); !ok {
		t.Error("a place that was given back is not there")
	}
}

func TestOddHandshakesAreRefusedAtOnce(t *testing.T) {
	l := newLab(t, wireSettings{}, newStub())
	for _, tt := range []struct {
		name   string
		octets string
	}{
		{"no TLS at all", "GET / HTTP/1.1\r\n\r\n"},
		{"a hello of SSL 2", "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10"},
		{"a record longer than any", "\x16\x03\x01\xff\xff" + strings.Repeat("\x01", 100)},
		{"a hello that announces 16 MiB", "\x16\x03\x01\x00\x04\x01\xff\xff\xff"},
		{"application data first", "\x17\x03\x03\x00\x05hello"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := l.raw(l.listener)
			send(t, c, tt.octets)
			if _, err := io.ReadAll(c); err != nil {
				if e, ok := err.(net.Error); ok && e.Timeout() {
					t.Error("the connection was kept")
				}
			}
		})
	}
	conf := l.client.Clone()
	conf.ServerName = strings.Repeat("a", 62) + "." + strings.Repeat(strings.Repeat("b", 62)+".", 2) + strings.Repeat("c", 66)
	c, err := tls.Dial("tcp", l.listener.addr().String(), conf)
	if err == nil { // a name of 255 octets is odd and no fault
		c.Close()
		l.flow()
		l.end()
	}
	conf.MaxVersion = tls.VersionTLS11
	conf.MinVersion = tls.VersionTLS10
	if c, err := tls.Dial("tcp", l.listener.addr().String(), conf); err == nil {
		c.Close()
		t.Error("TLS 1.1 was accepted")
	}
	good := l.dial()
	good.SetDeadline(time.Now().Add(patience))
	l.flow()
}

func TestACancelIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.from(b.partner, request1("INVITE", "i1"))
		b.expect(b.homes[0], "INVITE"+requestLine)
		for range 50 {
			b.from(b.partner, request1("CANCEL", "i1"))
		}
		if n := strings.Count(b.log.String(), "method=CANCEL"); n != 1 {
			t.Errorf("%d lines for one CANCEL that was repeated", n)
		}
	})
}

func TestAReaderMayEndItsOwnFlow(t *testing.T) {
	stub := newStub()
	stub.onMessage = func(_ *turn, f *Flow, _ *sip.Message) { f.close(ErrFlowFull) }
	l := newLab(t, wireSettings{}, stub)
	for _, c := range []net.Conn{l.dial(), l.raw(l.also(listenerSettings{name: "plain", role: RoleInternal}))} {
		l.flow()
		send(t, c, message(1, ""))
		if err := l.end(); err != ErrFlowFull {
			t.Errorf("the flow ended with %v, want %v", err, ErrFlowFull)
		}
	}
	if n := l.w.counts.open.Load(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func TestTwoReadersMayEndEachOthersFlows(t *testing.T) {
	stub := newStub()
	flows, both := make(chan *Flow, 2), make(chan struct{}, 2)
	stub.onMessage = func(_ *turn, f *Flow, _ *sip.Message) {
		both <- struct{}{} // each knows that the other is reading
		other := <-flows
		if other == f {
			flows <- f
			other = <-flows
		}
		for len(both) < 2 {
			runtime.Gosched()
		}
		other.close(ErrFlowFull)
	}
	l := newLab(t, wireSettings{}, stub)
	a, b := l.dial(), l.dial()
	flows <- l.flow()
	flows <- l.flow()
	send(t, a, message(1, ""))
	send(t, b, message(2, ""))
	l.end()
	l.end()
}

func TestRequestsWithoutABranchAreNotTakenForOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		old := strings.NewReplacer(";branch=z9hG4bKx", "")
		b.from(b.partner, old.Replace(request1("INVITE", "x")))
		m := b.expect(b.homes[0], "INVITE"+requestLine)
		b.from(b.partner, strings.Replace(old.Replace(request1("INVITE", "x")), "call-1", "call-2", 1))
		b.expect(b.homes[0], "INVITE"+requestLine)
		b.from(b.partner, strings.Replace(request1("INVITE", "x"), "z9hG4bKx", "old", 1))
		b.expect(b.homes[0], "INVITE"+requestLine)
		b.from(b.partner, old.Replace(request1("INVITE", "x"))) // a repetition
		b.expect(b.homes[0])
		b.from(b.homes[0], answer(m, 180, ""))
		b.expect(b.partner, "SIP/2.0 180 Ringing")
		b.from(b.partner, old.Replace(request1("CANCEL", "x")))
		b.expect(b.homes[0], "CANCEL"+requestLine)
		b.from(b.homes[0], answer(m, 487, ""))
		b.expect(b.homes[0], "ACK"+requestLine)
		b.expect(b.partner, "SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated")
		b.from(b.partner, old.Replace(request1("ACK", "x")))
		b.expect(b.homes[0])
	})
}
