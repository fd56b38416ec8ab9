package edge

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/sip"
)

// spent lets the peer of f have used up its share for good, and everybody else
// have nothing but what one may begin at once.
func (b *bench) spent(f *Flow) *demand {
	b.e.overload.on.Store(true)
	b.e.overload.outside.Store(leastPace)
	b.e.overload.inside.Store(unlimited)
	b.e.overload.refusals.Store(1 << 20)
	if f.state.account == nil {
		b.account(f)
	}
	d, _ := b.e.demandOf(f, nil)
	d.paid.Store(1 << 62)
	return d
}

// other makes a flow of contoso.example, which is listed, too.
func (b *bench) other() *Flow {
	b.lists(map[string]federation.PartnerConfig{
		"fabrikam.example": {Servers: []string{"edge.fabrikam.example:5061"}},
		"contoso.example":  {Servers: []string{"edge.contoso.example:5061"}},
	})
	f := b.flow(RoleFederation)
	id := identity(b.t, "contoso.example")
	f.Peer, f.state.side = &id, b.partner.state.side
	b.account(f)
	return f
}

func fromContoso(text string) string {
	return strings.Replace(text, "alice@fabrikam", "carol@contoso", 1)
}

func TestWhoHasHadItsShareIsRefusedAndNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		contoso := b.other()
		b.spent(b.partner)
		b.from(b.partner, request1("MESSAGE", "m1"))
		m := b.expect(b.partner, "SIP/2.0 503 Service Unavailable")
		if v, ok := m.Find(sip.RetryAfter); !ok || len(v.Value) == 0 {
			t.Errorf("no Retry-After in\n%s", m.Raw())
		}
		if v, ok := m.Find(sip.Warning); !ok || !strings.Contains(string(v.Value), "ref=") {
			t.Errorf("no reference in\n%s", m.Raw())
		}
		b.from(contoso, fromContoso(request1("MESSAGE", "c1")))
		m = b.expect(b.homes[0], "MESSAGE"+requestLine)
		b.from(b.homes[0], answer(m, 200, ""))
		b.expect(contoso, "SIP/2.0 200 OK")
		b.empty()
	})
}

func TestWhatWasBegunGoesOnDuringOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		c := b.dial()
		b.from(b.partner, strings.Replace(request1("INVITE", "i2"), "call-1", "call-2", 1))
		b.expect(b.homes[0], "INVITE"+requestLine)
		b.spent(b.partner)
		for _, tt := range []struct{ method, branch string }{{"ACK", "a1"}, {"INFO", "n1"}, {"UPDATE", "u1"}, {"INVITE", "r1"}, {"BYE", "b1"}} {
			b.from(b.partner, c.in(tt.method, tt.branch, "fabrikam.example"))
			b.expect(b.homes[0], tt.method+" "+c.target+" SIP/2.0")
		}
		b.from(b.partner, strings.Replace(request1("CANCEL", "i2"), "call-1", "call-2", 1))
		b.expect(b.partner, "SIP/2.0 200 OK")
		b.from(b.partner, strings.Replace(request1("INVITE", "i3"), "call-1", "call-3", 1))
		b.expect(b.partner, "SIP/2.0 503 Service Unavailable")
	})
}

func TestATagIsNoWayAroundOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		c := b.dial()
		b.spent(b.partner)
		text := strings.Replace(request1("MESSAGE", "m1"), "To: <sip:bob@example.com>", "To: <sip:bob@example.com>;tag=x", 1)
		forged := strings.Replace(text, "Max-Forwards:", "Route: <sip:e.forged@edge1.example.com:5061;transport=tls;lr>\nMax-Forwards:", 1)
		for _, text := range []string{text, forged, strings.ReplaceAll(text, "MESSAGE", "BYE")} {
			b.from(b.partner, text)
			b.expect(b.partner, "SIP/2.0 503 Service Unavailable")
		}
		b.partner.pause = 0
		b.from(b.partner, c.in("INFO", "n1", "fabrikam.example"))
		b.expect(b.homes[0], "INFO "+c.target+" SIP/2.0")
		if b.partner.pause <= 0 {
			t.Error("who floods us within a dialog is read on at once")
		}
	})
}

func TestWhatIsMalformedIsRefusedAsCheaply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.spent(b.partner)
		b.from(b.partner, strings.Replace(request1("MESSAGE", "m1"), "Max-Forwards: 70", "Max-Forwards: many", 1))
		b.expect(b.partner, "SIP/2.0 503 Service Unavailable")
	})
}

func TestRefusalsOfAPeerShareOneLineASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.spent(b.partner)
		refuse := func(n int) string {
			for i := range n {
				b.from(b.partner, request1("MESSAGE", fmt.Sprint("m", i)))
			}
			_, m := b.sent(b.partner)
			v, _ := m.Find(sip.Warning)
			_, ref, _ := strings.Cut(strings.TrimSuffix(string(v.Value), `"`), "ref=")
			return ref
		}
		first := refuse(100)
		if n := strings.Count(b.log.String(), logRefused); n != 1 {
			t.Fatalf("%d lines for 100 refusals in one moment", n)
		}
		b.after(2 * time.Second)
		second := refuse(1)
		lines := strings.Split(strings.TrimSpace(b.log.String()), "\n")
		last := lines[len(lines)-1]
		for _, want := range []string{"limit.overload", "missed=99", "ref=" + second, "status=503"} {
			if !strings.Contains(last, want) {
				t.Errorf("no %q in %s", want, last)
			}
		}
		if first == second || !strings.Contains(lines[len(lines)-2], "ref="+first) {
			t.Errorf("the refusals of the first second have the reference %s: %s", first, lines[len(lines)-2])
		}
	})
}

func TestRefusalsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.spent(b.partner)
		b.e.overload.refusals.Store(1)
		b.partner.full = true // there is more to read
		b.from(b.partner, request1("MESSAGE", "m1"))
		if b.partner.pause != 0 {
			t.Fatalf("rests for %v although all that it wants may be refused", b.partner.pause)
		}
		b.from(b.partner, request1("MESSAGE", "m2"))
		if b.partner.pause != overloadTick {
			t.Fatalf("rests for %v, want %v", b.partner.pause, overloadTick)
		}
	})
}

func TestAHomeServerIsRefusedLastAndNeverRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		home := b.homes[0]
		d := b.spent(home)
		if d != &b.e.pools[0].demand {
			t.Fatal("home servers do not share what their pool may begin")
		}
		out := strings.ReplaceAll(request1("MESSAGE", "o1"), "bob@example.com", "dave@fabrikam.example")
		out = strings.Replace(out, "alice@fabrikam.example", "alice@example.com", 1)
		b.e.overload.refusals.Store(0)
		b.from(home, out)
		b.expect(home, "SIP/2.0 503 Service Unavailable")
		if home.pause != 0 {
			t.Errorf("a home server is not read for %v", home.pause)
		}
	})
}

func TestAShareIsUsedUpAndComesBack(t *testing.T) {
	const pace = 1 << 20
	now := int64(time.Hour)
	var d demand
	take := func(octets int64) (n int) {
		for d.take(octets, pace, now, false) {
			n++
		}
		return n
	}
	if n := take(1 << 10); n < 100 || n > 110 {
		t.Errorf("%d KiB at once, want what 100 ms bring, and one", n)
	}
	now += int64(time.Second)
	d.paid.Store(now)
	now += int64(50 * time.Millisecond)
	if n := take(1 << 10); n < 100 || n > 155 {
		t.Errorf("%d KiB after a rest", n)
	}
	if !d.take(1<<20, pace, now, true) {
		t.Error("what must go on does not")
	}
	if take(1) != 0 {
		t.Error("what had to go on costs nothing")
	}
	now += int64(burstTime + debt + time.Second)
	if take(1<<10) == 0 {
		t.Error("a debt is for ever")
	}
}

func TestAFewRequestsAreNeverTooMany(t *testing.T) {
	var d demand
	for i := range 20 {
		if !d.take(2<<10, leastPace, 0, false) {
			t.Fatalf("request %d of a peer that was silent is refused", i+1)
		}
	}
}

// A storm is a bench whose detector says what the test wants.
type storm struct {
	*bench
	watch overloadWatch
	delay time.Duration
}

func newStorm(t *testing.T) *storm {
	s := &storm{bench: newBench(t, 1)}
	s.account(s.partner)
	s.e.limits.Transactions, s.e.limits.TotalTransactions = 1<<20, 1<<22
	s.e.overload.delay = func() time.Duration { return s.delay }
	s.e.overload.calm.Store(calmFeedback(1))
	s.watch.e = s.e
	s.watch.last = s.e.table.now()
	return s
}

// tick lets one tick go by, in which peers do something.
func (s *storm) tick(do func()) {
	if do != nil {
		do()
	}
	s.after(overloadTick)
	s.watch.tick()
}

// flood lets n requests come from f, and counts those that were refused.
func (s *storm) flood(f *Flow, n int, text string) (refused int) {
	s.t.Helper()
	for i := range n {
		s.from(f, strings.Replace(text, "BRANCH", fmt.Sprint(f.ID, "-", s.e.table.now(), "-", i), 1))
	}
	lines, _ := s.sent(f)
	for _, l := range lines {
		if strings.HasPrefix(l, "SIP/2.0 503") {
			refused++
		}
	}
	s.sent(s.homes[0])
	return refused
}

func TestOverloadBeginsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStorm(t)
		contoso := s.other()
		mine, others := request1("MESSAGE", "BRANCH"), fromContoso(request1("MESSAGE", "BRANCH"))
		refused, modest := 0, 0
		both := func() {
			refused += s.flood(s.partner, 400, mine)
			modest += s.flood(contoso, 2, others)
		}
		s.delay = 2 * delayTarget
		for range 3 {
			s.tick(both)
		}
		if refused != 0 {
			t.Fatalf("%d are refused before anybody knows who sends how much", refused)
		}
		for range 20 {
			s.tick(both)
		}
		if refused == 0 {
			t.Error("a flood is not cut")
		}
		if modest != 0 {
			t.Errorf("%d requests of a modest partner are refused", modest)
		}
		s.delay = 0
		for range 100 {
			s.tick(func() { s.flood(contoso, 2, others) })
		}
		if s.e.overload.on.Load() {
			t.Error("the overload does not end")
		}
		for _, want := range []string{logOverload, logRelief, fmt.Sprintf("refused=%d", refused)} {
			if !strings.Contains(s.log.String(), want) {
				t.Errorf("the log does not say %q", want)
			}
		}
		if n := s.flood(s.partner, 400, mine); n != 0 {
			t.Errorf("%d are refused after it", n)
		}
	})
}

func TestTheDetectorRunsAndEndsWithTheEdge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStorm(t)
		s.delay = 2 * delayTarget
		done := make(chan struct{})
		go func() { s.e.watchOverload(); close(done) }()
		s.after(time.Second)
		synctest.Wait()
		if !s.e.overload.on.Load() {
			t.Error("a second of delay is not noticed")
		}
		s.e.stop()
		<-done
	})
}
