package edge

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/locate/locatetest"
	"github.com/sipedge/sipedge/sip"
)

// lists puts other partners in force.
func (b *bench) lists(partners map[string]federation.PartnerConfig) {
	b.t.Helper()
	p, errs := federation.Compile(federation.File{Partners: partners}, []string{"example.com"}, federation.With{})
	if errs != nil {
		b.t.Fatal(errs)
	}
	b.e.partners.Store(p)
}

// outward lets requests of the home servers reach the partner: the connection
// that it opened stands for one that we dialled.
func (b *bench) outward() {
	route, _ := b.e.partners.Load().Dial([]byte("fabrikam.example"))
	l := &link{edge: b.e, name: "partner fabrikam.example", role: RoleFederation}
	l.up.Store(b.partner)
	b.e.partnerEdges["fabrikam.example"] = &partnerEdge{edge: b.e, route: route, links: []*link{l}, named: 1, checked: time.Now()}
}

// outgoing is a request of bob to alice at the partner, by a home server that
// stays in its path.
func outgoing(method, branch string) string {
	return method + " sip:alice@fabrikam.example SIP/2.0\nVia: SIP/2.0/TLS sip1.example.com;branch=z9hG4bK" + branch +
		"\nMax-Forwards: 70\nRecord-Route: <sip:sip1.example.com:5061;transport=tls;lr>\nFrom: <sip:bob@example.com>;tag=b" +
		"\nTo: <sip:alice@fabrikam.example>\nCall-ID: out-1\nCSeq: 1 " + method +
		"\nContact: <sip:bob@10.0.0.50:5070>\nContent-Length: 0\n\n"
}

const outgoingLine = " sip:alice@fabrikam.example SIP/2.0"

func TestAnAnswerFromOutsideMustKeepTheWayBack(t *testing.T) {
	for _, tt := range []struct {
		name   string
		method string
		change func(string) string
		early  string // what of a 180 goes back
		want   string
	}{
		{"as it must be", "INVITE", func(s string) string { return s }, "SIP/2.0 180 Ringing", "SIP/2.0 200 OK"},
		{"a proxy of the partner's on top", "INVITE", func(s string) string {
			return strings.Replace(s, "Record-Route:", "Record-Route: <sip:proxy.fabrikam.example;lr>\nRecord-Route:", 1)
		}, "SIP/2.0 180 Ringing", "SIP/2.0 200 OK"},
		{"no way at all", "INVITE", withoutRecordRoutes, "", "SIP/2.0 502 Bad Gateway"},
		{"a SUBSCRIBE without a way", "SUBSCRIBE", withoutRecordRoutes, "", "SIP/2.0 502 Bad Gateway"},
		{"a way to elsewhere inside", "INVITE", func(s string) string {
			return strings.Replace(withoutRecordRoutes(s), "CSeq:", "Record-Route: <sip:10.0.0.5:22;lr>\nCSeq:", 1)
		}, "", "SIP/2.0 502 Bad Gateway"},
		{"a hop more below ours", "INVITE", func(s string) string {
			return strings.Replace(s, "CSeq:", "Record-Route: <sip:10.0.0.5:22;lr>\nCSeq:", 1)
		}, "", "SIP/2.0 502 Bad Gateway"},
		{"the home server's hop changed", "INVITE", func(s string) string {
			return strings.Replace(s, "<sip:sip1.example.com:5061;transport=tls;lr>", "<sip:10.0.0.5:22;lr>", 1)
		}, "", "SIP/2.0 502 Bad Gateway"},
		{"one of ours left out", "INVITE", func(s string) string {
			i := strings.Index(s, "Record-Route:")
			return s[:i] + s[i+strings.Index(s[i:], "\n")+1:]
		}, "", "SIP/2.0 502 Bad Gateway"},
		{"a token changed", "INVITE", func(s string) string { return strings.ReplaceAll(s, "sip:e.A", "sip:e.B") }, "", "SIP/2.0 502 Bad Gateway"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 1)
				b.outward()
				b.from(b.homes[0], outgoing(tt.method, "o1"))
				m := b.expect(b.partner, tt.method+outgoingLine)
				contact := "Contact: <sip:alice@192.0.2.7>\n"
				if tt.method == "INVITE" {
					b.from(b.partner, tt.change(answer(m, 180, contact)))
					if tt.early == "" {
						b.expect(b.homes[0])
					} else {
						b.expect(b.homes[0], tt.early)
					}
				}
				b.from(b.partner, tt.change(answer(m, 200, contact)))
				b.expect(b.homes[0], tt.want)
			})
		})
	}
}

func withoutRecordRoutes(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, "Record-Route:") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func TestADialogIsNoWayAroundTheMethodsOfAPartner(t *testing.T) {
	for _, direction := range []string{"both", "out"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 1)
			b.lists(map[string]federation.PartnerConfig{"fabrikam.example": {
				Servers: []string{"edge.fabrikam.example:5061"}, Direction: direction, Methods: []string{"SUBSCRIBE", "NOTIFY"},
			}})
			b.outward()
			b.from(b.homes[0], outgoing("SUBSCRIBE", "o1"))
			m := b.expect(b.partner, "SUBSCRIBE"+outgoingLine)
			b.from(b.partner, answer(m, 200, "Contact: <sip:alice@192.0.2.7>\n"))
			b.expect(b.homes[0], "SIP/2.0 200 OK")
			within := func(method string) string {
				routes := ""
				elems := m.Elements(sip.RecordRoute)
				for elem, ok := elems.Next(); ok; elem, ok = elems.Next() {
					routes += "Route: " + string(elem) + "\n"
				}
				return method + " sip:bob@10.0.0.50:5070 SIP/2.0\nVia: SIP/2.0/TLS 192.0.2.7;branch=z9hG4bK" + method + "\nMax-Forwards: 70\n" +
					routes + "From: <sip:alice@fabrikam.example>;tag=b\nTo: <sip:bob@example.com>;tag=b\nCall-ID: out-1\nCSeq: 1 " + method +
					"\nContent-Length: 0\n\n"
			}
			b.from(b.partner, within("NOTIFY"))
			b.expect(b.homes[0], "NOTIFY sip:bob@10.0.0.50:5070 SIP/2.0")
			b.from(b.partner, within("INVITE"))
			b.from(b.partner, within("MESSAGE"))
			b.expect(b.partner, "SIP/2.0 403 Forbidden", "SIP/2.0 403 Forbidden")
			b.expect(b.homes[0])
		})
	}
}

func TestWhatWeBeginWithAPartnerThatOnlySendsKeepsToItsMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		c := b.incoming("SUBSCRIBE")
		b.lists(map[string]federation.PartnerConfig{"fabrikam.example": {
			Servers: []string{"edge.fabrikam.example:5061"}, Direction: "in", Methods: []string{"SUBSCRIBE", "NOTIFY"},
		}})
		b.from(b.homes[0], c.back("NOTIFY", "bob@example.com"))
		b.expect(b.partner, "NOTIFY sip:alice@192.0.2.7 SIP/2.0")
		b.from(b.homes[0], c.back("MESSAGE", "bob@example.com"))
		b.expect(b.homes[0], "SIP/2.0 403 Forbidden")
	})
}

// incoming lets the partner begin a dialog and returns what the home server
// knows of it.
func (b *bench) incoming(method string) call {
	b.t.Helper()
	b.from(b.partner, request1(method, "in"))
	m := b.expect(b.homes[0], method+requestLine)
	var c call
	elems := m.Elements(sip.RecordRoute)
	for elem, ok := elems.Next(); ok; elem, ok = elems.Next() {
		c.routes = append(c.routes, string(elem))
	}
	b.from(b.homes[0], answer(m, 200, "Contact: <sip:bob@10.0.0.50>\n"))
	b.expect(b.partner, "SIP/2.0 200 OK")
	return c
}

// back is a request of the home server's in a dialog that the partner began.
func (c call) back(method, from string) string {
	routes := ""
	for _, r := range c.routes {
		routes += "Route: " + r + "\n"
	}
	return method + " sip:alice@192.0.2.7 SIP/2.0\nVia: SIP/2.0/TLS sip1.example.com;branch=z9hG4bKback" + method + "\nMax-Forwards: 70\n" + routes +
		"From: <sip:" + from + ">;tag=b\nTo: <sip:alice@fabrikam.example>;tag=a\nCall-ID: call-1\nCSeq: 1 " + method + "\nContent-Length: 0\n\n"
}

func TestAnAckWithoutADialogGoesNowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.from(b.partner, request1("ACK", "none"))
		b.expect(b.homes[0])
		b.expect(b.partner)
	})
}

func TestADialogBelongsToThePoolOfItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.outward()
		// One home server for two pools; example.com lives in the second.
		other := &pool{edge: b.e, name: "other", side: b.e.pools[0].side}
		b.homes[0].state.pools = []*pool{other, b.e.pools[0]}
		b.e.pools = append(b.e.pools, other)
		b.from(b.homes[0], outgoing("INVITE", "o1"))
		m := b.expect(b.partner, "INVITE"+outgoingLine)
		b.from(b.partner, answer(m, 200, "Contact: <sip:alice@192.0.2.7>\n"))
		b.expect(b.homes[0], "SIP/2.0 200 OK")
		var c call
		elems := m.Elements(sip.RecordRoute)
		for elem, ok := elems.Next(); ok; elem, ok = elems.Next() {
			c.routes = append([]string{string(elem)}, c.routes...)
		}
		c.routes = c.routes[1:] // the home server's own comes off first
		b.from(b.homes[0], strings.ReplaceAll(c.back("BYE", "bob@example.com"), "call-1", "out-1"))
		b.expect(b.partner, "BYE sip:alice@192.0.2.7 SIP/2.0")
	})
}

func TestInvitesThatAreNeverAcknowledgedCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.account(b.partner)
		body := strings.Repeat("x", 1<<20)
		for i := range 40 {
			text := strings.Replace(request1("INVITE", fmt.Sprint("i", i)), "Content-Length: 0\n\n", fmt.Sprintf("Content-Length: %d\n\n%s", len(body), body), 1)
			b.from(b.partner, text)
			m := b.expect(b.homes[0], "INVITE"+requestLine)
			b.from(b.homes[0], answer(m, 486, ""))
			b.expect(b.homes[0], "ACK"+requestLine)
			b.expect(b.partner, "SIP/2.0 486 Busy Here")
		}
		if held := b.e.table.held.Load(); held > 40*4<<10 {
			t.Errorf("40 refused calls hold %d octets", held)
		}
		b.after(timerH + time.Second)
		if held := b.e.table.held.Load(); held != 0 {
			t.Errorf("%d octets are held by nothing", held)
		}
		b.empty()
	})
}

// account gives a flow the account that it would have after its handshake.
func (b *bench) account(f *Flow) { f.state.account = b.e.account(f) }

func TestOnePeerHasAShareOfWhatThereIs(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit func(*Limits)
		fits  int // requests
	}{
		{"of transactions", func(l *Limits) { l.TotalTransactions = 12 }, 3},
		{"of memory", func(l *Limits) { l.Memory = 4 * 3 * (txCost + 600) }, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 1)
				tt.limit(&b.e.limits)
				b.account(b.partner)
				second := b.flow(RoleFederation)
				second.Peer, second.state.side = b.partner.Peer, b.partner.state.side
				b.account(second)
				pad := "X: " + strings.Repeat("x", 250) + "\nContent-Length"
				for i := range tt.fits + 2 {
					from := b.partner
					if i%2 == 1 {
						from = second
					}
					b.from(from, strings.Replace(request1("MESSAGE", fmt.Sprint("m", i)), "Content-Length", pad, 1))
				}
				lines, last := b.sent(b.homes[0])
				if len(lines) != tt.fits {
					t.Errorf("%d requests of one peer pass, want %d", len(lines), tt.fits)
				}
				// Another peer is served all the same.
				b.lists(map[string]federation.PartnerConfig{
					"fabrikam.example": {Servers: []string{"edge.fabrikam.example:5061"}},
					"contoso.example":  {Servers: []string{"edge.contoso.example:5061"}},
				})
				other := b.flow(RoleFederation)
				id := identity(t, "contoso.example")
				other.Peer, other.state.side = &id, b.partner.state.side
				b.account(other)
				b.from(other, strings.Replace(request1("MESSAGE", "c1"), "alice@fabrikam", "carol@contoso", 1))
				b.expect(b.homes[0], "MESSAGE"+requestLine)
				b.from(b.homes[0], answer(last, 200, ""))
				b.from(b.partner, request1("MESSAGE", "again"))
				b.expect(b.homes[0], "MESSAGE"+requestLine)
			})
		})
	}
}

func TestAnInviteAtTheLimitCanBeCancelledAndAcknowledged(t *testing.T) {
	for _, tt := range []struct {
		name string
		fill string
	}{
		{"of fields", strings.Repeat("X: y\n", sip.DefaultFields-8)},
		{"of octets", "X: " + strings.Repeat("y", 64<<10-420) + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 1)
				// What a CANCEL needs comes last.
				text := strings.Replace(request1("INVITE", "i1"), "From:", tt.fill+"From:", 1)
				b.from(b.partner, text)
				m := b.expect(b.homes[0], "INVITE"+requestLine)
				b.from(b.homes[0], answer(m, 180, ""))
				b.expect(b.partner, "SIP/2.0 180 Ringing")
				b.from(b.partner, request1("CANCEL", "i1"))
				c := b.expect(b.homes[0], "CANCEL"+requestLine)
				if c.Fault() != nil {
					t.Errorf("the CANCEL is no good: %v\n%s", c.Fault(), c.Raw())
				}
				b.from(b.homes[0], answer(m, 487, ""))
				a := b.expect(b.homes[0], "ACK"+requestLine)
				if a.Fault() != nil {
					t.Errorf("the ACK is no good: %v\n%s", a.Fault(), a.Raw())
				}
			})
		})
	}
}

func TestFloodsOfAnswersEndWithTheirCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.outward()
		b.from(b.homes[0], outgoing("INVITE", "o1"))
		m := b.expect(b.partner, "INVITE"+outgoingLine)
		for range maxEarly + 50 {
			b.from(b.partner, answer(m, 183, ""))
		}
		if lines, _ := b.sent(b.homes[0]); len(lines) > maxEarly {
			t.Errorf("%d provisional answers went back, want %d at most", len(lines), maxEarly)
		}
		ok := answer(m, 200, "Contact: <sip:alice@192.0.2.7>\n")
		for range maxLate + 50 {
			b.from(b.partner, ok)
		}
		if lines, _ := b.sent(b.homes[0]); len(lines) != maxLate+1 {
			t.Errorf("%d final answers went back, want %d", len(lines), maxLate+1)
		}
	})
}

func TestAHomeServerKeepsItsConnectionWhenAnswersFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.outward()
		b.e.wire.maxOut = 2000
		b.from(b.homes[0], outgoing("INVITE", "o1"))
		m := b.expect(b.partner, "INVITE"+outgoingLine)
		for range 20 {
			b.from(b.partner, answer(m, 183, ""))
		}
		if b.homes[0].closed() {
			t.Error("the home server's connection was closed")
		}
	})
}

func TestAStrangerIsShownTheDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		f := b.flow(RoleFederation)
		id := identity(t, "stranger.example")
		f.Peer, f.state.side = &id, b.partner.state.side
		for i := range strangersRequests {
			if f.closed() {
				t.Fatalf("closed after %d requests", i)
			}
			b.from(f, strings.Replace(request1("MESSAGE", fmt.Sprint("s", i)), "fabrikam", "stranger", 1))
		}
		if !f.closed() {
			t.Errorf("still open after %d requests", strangersRequests)
		}
		// A partner that errs is not cut off: it is told, and others may use the
		// connection.
		b.partner.state.known.Store(true)
		for i := range 2 * strangersRequests {
			b.from(b.partner, strings.Replace(request1("MESSAGE", fmt.Sprint("p", i)), "fabrikam", "stranger", 1))
		}
		if b.partner.closed() {
			t.Error("a partner was cut off")
		}
	})
}

func TestALogOfJSONHoldsNothingThatMovesACursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		var lines bytes.Buffer
		b.e.log = slog.New(slog.NewJSONHandler(&lines, nil))
		for _, evil := range []string{"\x1b[2J", "\xc2\x9b2J", "\u202e", "\x7f", "\xff"} {
			for _, text := range []string{
				strings.Replace(request1("MESSAGE", "m1"), "Call-ID: ", "Call-ID: "+evil, 1),
				strings.Replace(request1("MESSAGE", "m1"), "sip:bob@example.com SIP", "sip:bo"+evil+"b@example.com SIP", 1),
				strings.Replace(request1("MESSAGE", "m1"), "<sip:alice@", "<sip:al"+evil+"ice@", 1),
				strings.Replace(request1("MESSAGE", "m1"), "MESSAGE sip", "MESS"+evil+"AGE sip", 1),
			} {
				b.from(b.partner, text)
			}
		}
		for i, c := range lines.Bytes() {
			if c != '\n' && (c < ' ' || c > '~') {
				t.Fatalf("octet %#x at %d of the log: %q", c, i, lines.Bytes()[max(0, i-40):i+10])
			}
		}
		if lines.Len() == 0 {
			t.Error("nothing was logged")
		}
	})
}

func TestLogLinesAreCountedByPeerAndNotByConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		id := identity(t, "stranger.example")
		for i := range 1000 {
			f := b.flow(RoleFederation)
			f.Peer, f.state.side = &id, b.partner.state.side
			b.account(f)
			b.from(f, strings.Replace(request1("MESSAGE", fmt.Sprint("s", i)), "fabrikam", "stranger", 1))
		}
		if n := strings.Count(b.log.String(), logRefused); n != refusedBurst {
			t.Errorf("%d lines for 1,000 requests, want %d", n, refusedBurst)
		}
	})
}

func TestALongMethodIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		method := strings.Repeat("M", 200)
		b.from(b.partner, request1(method, "m1"))
		m := b.expect(b.homes[0], method+requestLine)
		b.from(b.homes[0], answer(m, 200, "")+"")
		b.expect(b.partner, "SIP/2.0 200 OK")
	})
}

func TestATargetThatMovedIsThePartnersOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		c := b.dial()
		b.move(c)
		// Another partner calls with the same Call-ID, and has learnt the address.
		b.lists(map[string]federation.PartnerConfig{
			"fabrikam.example": {Servers: []string{"edge.fabrikam.example:5061"}},
			"contoso.example":  {Servers: []string{"edge.contoso.example:5061"}},
		})
		id := identity(t, "contoso.example")
		b.partner.Peer = &id
		contoso := strings.ReplaceAll(request1("INVITE", "i9"), "alice@fabrikam", "alice@contoso")
		b.from(b.partner, contoso)
		m := b.expect(b.homes[0], "INVITE"+requestLine)
		b.from(b.homes[0], answer(m, 200, "Contact: <sip:bob@10.0.0.50:5070>\n"))
		ok := b.expect(b.partner, "SIP/2.0 200 OK")
		c.routes = nil
		elems := ok.Elements(sip.RecordRoute)
		for elem, more := elems.Next(); more; elem, more = elems.Next() {
			c.routes = append([]string{string(elem)}, c.routes...)
		}
		c.target = "sip:bob@10.0.0.77"
		b.from(b.partner, c.in("BYE", "b9", "contoso.example"))
		b.expect(b.partner, "SIP/2.0 403 Forbidden")
		b.expect(b.homes[0])
	})
}

func TestABugWhileConnectingEndsNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		l := b.e.pools[0].servers[0].link
		l.up.Store(nil)
		l.resolve = func(context.Context) ([]locate.Hop, error) { panic("a bug") }
		b.from(b.partner, request1("MESSAGE", "m1"))
		synctest.Wait()
		m := b.expect(b.homes[1], "MESSAGE"+requestLine)
		b.from(b.homes[1], answer(m, 200, ""))
		b.expect(b.partner, "SIP/2.0 200 OK")
		if n := b.e.wire.counts.panics.Load(); n != 1 {
			t.Errorf("%d panics were counted, want 1", n)
		}
		b.empty()
	})
}

func TestNothingIsSentToAPartnerThatLeftWhileItWasLookedUp(t *testing.T) {
	b := newBench(t, 1)
	dns, err := locatetest.Serve("_sipfederationtls._tcp.fabrikam.example. 60 IN SRV 0 0 5061 edge.fabrikam.example.\nedge.fabrikam.example. 60 IN A 192.0.2.9\n")
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	b.e.locator, err = locate.New(locate.Config{Servers: []string{dns.Addr()}}, nil, b.e.log)
	if err != nil {
		t.Fatal(err)
	}
	b.lists(map[string]federation.PartnerConfig{"fabrikam.example": {}})
	p, _ := b.e.partnerEdge([]byte("fabrikam.example"))
	p.resolving = true // the lookup is under way
	b.from(b.homes[0], outgoing("MESSAGE", "o1"))
	p.shut()
	p.resolve()
	if len(p.links) != 0 {
		t.Errorf("%d ways to a partner that is gone", len(p.links))
	}
	b.expect(b.homes[0], "SIP/2.0 504 Server Time-out")
}

func TestAConnectionOfALinkThatWasShutIsClosed(t *testing.T) {
	lab := newLab(t, wireSettings{}, newStub())
	lab.raw(lab.also(listenerSettings{name: "plain", role: RoleInternal}))
	f := lab.flow()
	b := newBench(t, 1)
	l := &link{edge: b.e, dialing: true}
	if err := l.adopt(f); err != nil {
		t.Fatal(err)
	}
	l.shut(errPartnerGone) // before anybody could use it
	l.waits(f)
	if !f.closed() {
		t.Error("a connection that belongs to nobody stays open")
	}
}

func TestListsMayChangeWhilePartnersConnect(t *testing.T) {
	b := newBench(t, 1)
	id := *b.partner.Peer
	lists := []*federation.Partners{b.e.partners.Load(), nil}
	var group sync.WaitGroup
	group.Go(func() {
		for i := range 50 {
			b.e.SetPartners(lists[i%2])
		}
	})
	for range 50 {
		f := &Flow{ID: b.e.wire.lastID.Add(1), Role: RoleFederation, Listener: "x", Peer: &id, w: b.e.wire, conn: &conn{w: b.e.wire}}
		f.gate.Store(flowClosed) // there is no socket to close
		s := &b.e.wire.flows[f.ID%flowShards]
		s.mu.Lock()
		s.byID[f.ID] = f
		s.mu.Unlock()
		b.e.opened(f)
	}
	group.Wait()
}

// Where a request came from is for us to say, also where the Via has the true address.
func TestNobodySaysOfHimselfThatHeCameFromInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		r := request1("MESSAGE", "m1")
		head, rest, _ := strings.Cut(r, "Via: ")
		_, rest, _ = strings.Cut(rest, "\n")
		b.from(b.partner, head+"Via: SIP/2.0/TLS 192.0.2.7;received=10.0.0.5;branch=z9hG4bKm1\n"+rest)
		m := b.expect(b.homes[0], "MESSAGE"+requestLine)
		if raw := string(m.Raw()); strings.Contains(raw, "10.0.0.5") || !strings.Contains(raw, "Via: SIP/2.0/TLS 192.0.2.7;received=192.0.2.7;branch=z9hG4bKm1\r\n") {
			t.Errorf("inside it is\n%s", raw)
		}
	})
}
