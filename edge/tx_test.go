package edge

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

// A bench is an edge without sockets: what it sends on a flow stays in the
// flow's buffer, where the test reads it. Time is that of the synctest bubble.
type bench struct {
	t       testing.TB
	e       *Edge
	partner *Flow
	homes   []*Flow
	log     syncBuffer
}

// newBench makes an edge for example.com with a partner fabrikam.example and a
// pool of n home servers, all connected.
func newBench(t testing.TB, n int) *bench {
	t.Helper()
	b := &bench{t: t}
	partners, errs := federation.Compile(federation.File{Partners: map[string]federation.PartnerConfig{
		"fabrikam.example": {Servers: []string{"edge.fabrikam.example:5061"}},
	}}, []string{"example.com"}, federation.With{})
	if errs != nil {
		t.Fatal(errs)
	}
	log := slog.New(slog.NewTextHandler(&b.log, nil))
	e := &Edge{
		log: log, name: "edge1.example.com", limits: Limits{}.defaults(),
		names: map[string]bool{"edge1.example.com": true},
		began: time.Now(), table: newTable(), tokens: newSigner([][]byte{make([]byte, 32)}),
		byDomain: make(map[string]*pool), partnerEdges: make(map[string]*partnerEdge),
	}
	e.targets, _ = lru.New[uint64, struct{}](16)
	e.accounts, _ = lru.New[string, *account](16)
	e.owners, _ = lru.New[behind, string](16)
	e.sources, _ = lru.New[string, *account](16)
	e.paces, _ = lru.New[netip.Prefix, *budget](16)
	e.users, e.flowTimer = remoteaccess.NewUsers(), e.limits.FlowTimer
	e.access.Store(nil)
	e.ctx, e.stop = context.WithCancel(context.Background())
	e.partners.Store(partners)
	e.requests.New = func() any { return new(request) }
	e.messages.New = func() any { return new(sip.Message) }
	e.scratch.New = func() any { return new(scratch) }
	e.wire = newWire(e.limits.wire(log), e)
	e.buffers = &e.wire.buffers
	b.e = e
	b.pool(n)
	b.partner = b.flow(RoleFederation)
	id := identity(t, "fabrikam.example")
	b.partner.Peer = &id
	b.partner.state.side = newSide("edge1.example.com:5061", "tls", "TLS")
	e.outside = &trust{side: b.partner.state.side, verifier: &certs.Verifier{}}
	go e.table.run(e.ctx.Done(), e.fire)
	t.Cleanup(e.stop)
	return b
}

func (b *bench) pool(n int) {
	p := &pool{demand: demand{pool: true}, edge: b.e, name: "main", only: true, every: checkInterval, side: newSide("edge1.example.com:5062", "tls", "TLS")}
	for i := range n {
		s := &server{pool: p, index: i, addr: fmt.Sprintf("sip%d.example.com:5061", i+1), host: fmt.Appendf(nil, "sip%d.example.com", i+1), port: 5061}
		s.link = &link{edge: b.e, name: s.addr, server: s}
		f := b.flow(RoleInternal)
		f.state.side, f.state.link, f.state.server, f.state.pools = p.side, s.link, s, []*pool{p}
		s.link.up.Store(f)
		p.servers = append(p.servers, s)
		b.homes = append(b.homes, f)
	}
	b.e.pools = []*pool{p}
	b.e.byDomain["example.com"] = p
}

// flow makes a flow that keeps what is queued: it looks as if someone were
// writing all the time.
func (b *bench) flow(role Role) *Flow {
	f := &Flow{
		ID: b.e.wire.lastID.Add(1), Role: role, w: b.e.wire, conn: &conn{w: b.e.wire}, flushing: true,
		Remote: netip.MustParseAddrPort("192.0.2.7:40000"),
	}
	s := &b.e.wire.flows[f.ID%flowShards]
	s.byID[f.ID] = f
	return f
}

// identity is what a certificate for name proves.
func identity(t testing.TB, name string) certs.Identity {
	t.Helper()
	ca, err := certs.NewAuthority("Test CA")
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := ca.Issue(certs.Leaf{Names: []string{name}})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := certs.NewKeypair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	id, err := certs.ReadIdentity(pair.Leaf())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// from lets a message come from a flow.
func (b *bench) from(f *Flow, text string) {
	b.t.Helper()
	raw := []byte(strings.ReplaceAll(text, "\n", "\r\n"))
	m := new(sip.Message)
	if err := m.Parse(raw, sip.Limits{}); err != nil {
		b.t.Fatalf("parse %q: %v", text, err)
	}
	var t turn
	b.e.message(&t, f, m)
}

// sent takes what was sent on a flow: the start lines, and the last message
// itself.
func (b *bench) sent(f *Flow) (lines []string, last *sip.Message) {
	b.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.out == nil {
		return nil, nil
	}
	rest := bytes.Clone(f.out.b)
	f.out.b = f.out.b[:0]
	for len(rest) > 0 {
		// As it leaves, a message may have more than its sender was allowed.
		framer := sip.Framer{Limits: sip.Limits{Header: 1 << 20, Body: 2 << 20, Fields: 1000}}
		m := new(sip.Message)
		kind, n, err := framer.Next(rest, m)
		if err != nil || kind != sip.Complete {
			b.t.Fatalf("sent %q, which is no message: %v", rest, err)
		}
		line, _, _ := bytes.Cut(rest, []byte("\r\n"))
		lines, last, rest = append(lines, string(line)), m, rest[n:]
	}
	return lines, last
}

// expect fails unless exactly these start lines were sent on f, and returns the
// last message.
func (b *bench) expect(f *Flow, want ...string) *sip.Message {
	b.t.Helper()
	got, last := b.sent(f)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		b.t.Fatalf("sent %q, want %q\n%s", got, want, b.log.String())
	}
	return last
}

// request is a request of alice at the partner to bob.
func request1(method, branch string) string {
	return method + " sip:bob@example.com SIP/2.0\nVia: SIP/2.0/TLS 192.0.2.7;branch=z9hG4bK" + branch +
		"\nMax-Forwards: 70\nFrom: <sip:alice@fabrikam.example>;tag=a\nTo: <sip:bob@example.com>\nCall-ID: call-1" +
		"\nCSeq: 1 " + method + "\nContact: <sip:alice@192.0.2.7>\nContent-Length: 0\n\n"
}

// answer is a home server's answer to what it was sent.
func answer(m *sip.Message, status int, extra string) string {
	lines := fmt.Sprintf("SIP/2.0 %d %s\n", status, sip.Phrase(status))
	for i := range m.Fields() {
		switch f := m.Field(i); f.ID {
		case sip.Via, sip.From, sip.CallID, sip.CSeq, sip.RecordRoute:
			lines += fmt.Sprintf("%s: %s\n", f.Name, f.Value)
		case sip.To:
			tag := ";tag=b"
			if strings.Contains(string(f.Value), tag) {
				tag = ""
			}
			lines += fmt.Sprintf("To: %s%s\n", f.Value, tag)
		}
	}
	return lines + extra + "Content-Length: 0\n\n"
}

const requestLine = " sip:bob@example.com SIP/2.0"

func TestAnAnswerGoesBackAndTheTransactionIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.from(b.partner, request1("MESSAGE", "m1"))
		m := b.expect(b.homes[0], "MESSAGE"+requestLine)
		b.from(b.homes[0], answer(m, 200, ""))
		b.expect(b.partner, "SIP/2.0 200 OK")
		b.empty()
	})
}

// empty fails if a transaction is left.
func (b *bench) empty() {
	b.t.Helper()
	if n := len(b.e.table.collect(nil)); n != 0 || b.e.table.active.Load() != 0 {
		b.t.Errorf("%d transactions are left, %d count as active", n, b.e.table.active.Load())
	}
	if n := b.partner.state.open.Load(); n != 0 {
		b.t.Errorf("the partner has %d transactions open", n)
	}
	for i, h := range b.homes {
		if n := h.state.sent.Load(); n != 0 {
			b.t.Errorf("home server %d has %d requests that wait", i, n)
		}
	}
}

func TestAServerThatSays503IsFollowedByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		b.from(b.partner, request1("MESSAGE", "m1"))
		m := b.expect(b.homes[0], "MESSAGE"+requestLine)
		b.from(b.homes[0], answer(m, 503, ""))
		m = b.expect(b.homes[1], "MESSAGE"+requestLine)
		b.from(b.homes[1], answer(m, 200, ""))
		b.expect(b.partner, "SIP/2.0 200 OK")
		b.empty()
	})
}

func TestAnAnswerOnAnotherConnectionIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		b.from(b.partner, request1("MESSAGE", "m1"))
		m := b.expect(b.homes[0], "MESSAGE"+requestLine)
		b.from(b.homes[1], answer(m, 200, ""))
		b.expect(b.partner)
		b.from(b.homes[0], answer(m, 200, ""))
		b.from(b.homes[0], answer(m, 200, ""))
		b.expect(b.partner, "SIP/2.0 200 OK")
	})
}

func TestInviteIsToldToWaitAndEndsWithTimerB(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.from(b.partner, request1("INVITE", "i1"))
		b.expect(b.homes[0], "INVITE"+requestLine)
		b.after(200 * time.Millisecond)
		b.expect(b.partner, "SIP/2.0 100 Trying")
		b.after(31 * time.Second)
		b.expect(b.partner)
		b.after(2 * time.Second)
		b.expect(b.partner, "SIP/2.0 408 Request Timeout")
		b.after(timerH + time.Second)
		b.empty()
	})
}

// after lets time pass.
func (b *bench) after(d time.Duration) {
	time.Sleep(d) // of the bubble: it takes none
	synctest.Wait()
}

func TestACallThatRingsForEverIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.from(b.partner, request1("INVITE", "i1"))
		m := b.expect(b.homes[0], "INVITE"+requestLine)
		b.from(b.homes[0], answer(m, 180, ""))
		b.expect(b.partner, "SIP/2.0 180 Ringing")
		b.after(175 * time.Second)
		b.from(b.homes[0], answer(m, 180, "")) // resets Timer C
		b.expect(b.partner, "SIP/2.0 180 Ringing")
		b.after(175 * time.Second)
		b.expect(b.homes[0])
		b.after(10 * time.Second)
		c := b.expect(b.homes[0], "CANCEL"+requestLine)
		b.from(b.homes[0], answer(c, 200, ""))
		b.from(b.homes[0], answer(m, 487, ""))
		b.expect(b.homes[0], "ACK"+requestLine)
		b.expect(b.partner, "SIP/2.0 487 Request Terminated")
		b.from(b.partner, request1("ACK", "i1"))
		b.expect(b.homes[0])
		b.empty()
	})
}

func TestAnAnswerThatCrossesCancelStillGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.from(b.partner, request1("INVITE", "i1"))
		m := b.expect(b.homes[0], "INVITE"+requestLine)
		b.from(b.partner, request1("CANCEL", "i1"))
		b.expect(b.partner, "SIP/2.0 200 OK")
		b.expect(b.homes[0]) // not before a provisional answer
		b.from(b.homes[0], answer(m, 180, ""))
		b.expect(b.homes[0], "CANCEL"+requestLine)
		b.from(b.homes[0], answer(m, 200, "Contact: <sip:bob@198.51.100.9>\n"))
		b.expect(b.partner, "SIP/2.0 180 Ringing", "SIP/2.0 200 OK")
		b.from(b.homes[0], answer(m, 200, "Contact: <sip:bob@198.51.100.10>\n"))
		b.expect(b.partner, "SIP/2.0 200 OK") // RFC 6026: every 2xx
		b.after(timerL + time.Second)
		b.empty()
		b.from(b.homes[0], answer(m, 200, ""))
		b.expect(b.partner)
	})
}

func TestCancelFromAnotherConnectionFindsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		other := b.flow(RoleFederation)
		other.Peer, other.state.side = b.partner.Peer, b.partner.state.side
		b.from(b.partner, request1("INVITE", "i1"))
		m := b.expect(b.homes[0], "INVITE"+requestLine)
		b.from(b.homes[0], answer(m, 180, ""))
		b.from(other, request1("CANCEL", "i1"))
		b.expect(other, "SIP/2.0 481 Call/Transaction Does Not Exist")
		b.expect(b.homes[0])
	})
}

func TestARequestWithoutInviteGets100AndThenNo408(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.from(b.partner, request1("MESSAGE", "m1"))
		b.expect(b.homes[0], "MESSAGE"+requestLine)
		b.after(3 * time.Second)
		b.expect(b.partner)
		b.after(time.Second)
		b.expect(b.partner, "SIP/2.0 100 Trying")
		b.after(27 * time.Second)
		b.expect(b.partner, "SIP/2.0 504 Server Time-out") // RFC 4320 §4.2
		b.empty()

		b.from(b.partner, request1("MESSAGE", "m2"))
		m := b.expect(b.homes[0], "MESSAGE"+requestLine)
		b.from(b.homes[0], answer(m, 408, ""))
		b.expect(b.partner)
		b.empty()
	})
}

func TestWhatWaitsOnALostConnectionGoesElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		b.from(b.partner, request1("MESSAGE", "m1"))
		b.from(b.partner, request1("INVITE", "i1"))
		_, m := b.sent(b.homes[0])
		b.from(b.homes[0], answer(m, 180, ""))
		b.expect(b.partner, "SIP/2.0 180 Ringing")
		b.homes[0].gate.Store(flowClosed)
		b.e.gone(b.homes[0], ErrFlowClosed)
		b.expect(b.homes[1], "MESSAGE"+requestLine) // nobody knew of it yet
		b.expect(b.partner, "SIP/2.0 503 Service Unavailable")
	})
}

func TestAServerThatClosesInTheMomentIsAskedOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.from(b.partner, request1("MESSAGE", "m1"))
		b.expect(b.homes[0], "MESSAGE"+requestLine)
		link := b.e.pools[0].servers[0].link
		for _, want := range []string{"MESSAGE" + requestLine, ""} {
			old, fresh := link.up.Load(), b.flow(RoleInternal)
			fresh.state.side, fresh.state.link, fresh.state.server = old.state.side, link, old.state.server
			old.gate.Store(flowClosed)
			link.up.Store(fresh)
			b.e.gone(old, ErrFlowClosed)
			if want != "" {
				b.expect(fresh, want)
				continue
			}
			b.expect(fresh) // once, and not for ever
		}
		b.expect(b.partner, "SIP/2.0 503 Service Unavailable")
	})
}

func TestACallerWhoIsGoneTakesTheCallBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.from(b.partner, request1("INVITE", "i1"))
		m := b.expect(b.homes[0], "INVITE"+requestLine)
		b.from(b.homes[0], answer(m, 180, ""))
		b.partner.gate.Store(flowClosed)
		b.e.gone(b.partner, ErrFlowClosed)
		b.e.bury()
		b.expect(b.homes[0], "CANCEL"+requestLine)
		b.from(b.homes[0], answer(m, 487, ""))
		b.expect(b.homes[0], "ACK"+requestLine)
		b.after(timerH + time.Second)
		if n := len(b.e.table.collect(nil)); n != 0 {
			t.Errorf("%d transactions are left", n)
		}
	})
}

func TestAServerThatHangsHandsOverWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		b.from(b.partner, request1("MESSAGE", "m1"))
		b.expect(b.homes[0], "MESSAGE"+requestLine)
		b.e.pools[0].servers[0].fell()
		m := b.expect(b.homes[1], "MESSAGE"+requestLine)
		b.from(b.homes[1], answer(m, 200, ""))
		b.expect(b.partner, "SIP/2.0 200 OK")
		b.from(b.partner, request1("MESSAGE", "m2"))
		b.expect(b.homes[1], "MESSAGE"+requestLine) // not asked any more
		b.e.pools[0].servers[0].rose()
		b.from(b.partner, request1("MESSAGE", "m3"))
		b.expect(b.homes[0], "MESSAGE"+requestLine)
	})
}

func TestAPartnerThatHangsKeepsNoOtherWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.e.limits.Transactions = 2
		p, ok := b.e.partnerEdge([]byte("fabrikam.example"))
		if !ok {
			t.Fatal("no such partner")
		}
		out := b.flow(RoleFederation)
		out.state.side, out.state.link = b.partner.state.side, p.links[0]
		p.links[0].up.Store(out)
		ask := func(branch string) {
			text := strings.NewReplacer("sip:bob@example.com", "sip:alice@fabrikam.example",
				"sip:alice@fabrikam.example>;tag", "sip:bob@example.com>;tag").Replace(request1("MESSAGE", branch))
			b.from(b.homes[0], text)
		}
		const line = "MESSAGE sip:alice@fabrikam.example SIP/2.0"
		ask("m1")
		m := b.expect(out, line)
		ask("m2")
		b.expect(out, line)
		ask("m3")
		b.expect(b.homes[0], "SIP/2.0 504 Server Time-out")
		b.from(out, answer(m, 200, ""))
		b.expect(b.homes[0], "SIP/2.0 200 OK")
		ask("m4")
		b.expect(out, line)
	})
}

func TestCallsThatWereAcceptedKeepNoNewOnesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.e.limits.Memory = share * 6000 // room for one call, hardly for two
		b.e.limits.TotalTransactions = share
		b.e.table.maxAccepted = 10
		var last *sip.Message
		for i := range 50 {
			b.from(b.partner, request1("INVITE", fmt.Sprint("i", i)))
			last = b.expect(b.homes[0], "INVITE"+requestLine)
			b.from(b.homes[0], answer(last, 200, "Contact: <sip:bob@198.51.100.9>\n"))
			b.expect(b.partner, "SIP/2.0 200 OK")
		}
		if n := len(b.e.table.collect(nil)); n != 10 {
			t.Errorf("%d accepted calls wait for more answers, want 10", n)
		}
		b.after(timerL + time.Second)
		b.empty()
		if n := b.e.table.accepted.Load(); n != 0 {
			t.Errorf("%d count as waiting", n)
		}
	})
}

func TestTransactionsOfOneConnectionAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.e.limits.Transactions = 2
		for i := range 3 {
			b.from(b.partner, request1("MESSAGE", fmt.Sprint("m", i)))
		}
		b.expect(b.homes[0], "MESSAGE"+requestLine, "MESSAGE"+requestLine)
		m := b.expect(b.partner, "SIP/2.0 503 Service Unavailable")
		if got := string(m.Value(sip.RetryAfter)); got != "5" {
			t.Errorf("Retry-After %q, want 5", got)
		}
	})
}
