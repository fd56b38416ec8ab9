package s2s

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/certs"
)

// A server that answers each time that it has taken nothing would hold what we send to
// it for ever, and have us ask as fast as it answers.
func TestAnAnswerThatTakesNothingIsNone(t *testing.T) {
	w := newWorld(t)
	var blocked atomic.Bool // then no new stream is built for what was on the old one
	a := w.site(us, func(c *Config) { c.Allow = func(string) bool { return !blocked.Load() } })
	k := w.keypair(them)
	asked, over := new(atomic.Int64), make(chan string, 10)
	w.server(them, k, func(p *raw) {
		p.accept(k, them, us, offerExternal)
		p.grant(them, us, offerManage)
		p.expect(nsManage, "enable")
		p.write("<enabled xmlns='%s'/>", nsManage)
		for {
			switch e := p.next(); {
			case e.Is(nsManage, "r"):
				asked.Add(1)
				p.write("<a xmlns='%s' h='0'/>", nsManage)
			case e.Is(stanza.NSStreams, "error"):
				over <- e.Children[0].Local
				return
			}
		}
	})
	done := a.send(them, "hi")
	until(t, "it was asked", func() bool { return asked.Load() > 0 })
	until(t, "its answer was taken", func() bool { return a.unasked(them) })
	if n := asked.Load(); n > 3 {
		t.Errorf("it was asked %d times at once", n)
	}
	a.sweep(time.Now().Add(a.limits.Answer))
	until(t, "it was asked again", func() bool { return asked.Load() > 1 && a.unasked(them) })
	a.sweep(time.Now().Add(2*a.limits.Answer + time.Second))
	if got := wait(t, over, "the end of the stream"); got != "connection-timeout" {
		t.Errorf("the stream ended with %s", got)
	}
	blocked.Store(true)
	a.Shut(them)
	if o := wait(t, done, "the outcome"); o.Err == nil {
		t.Errorf("outcome %+v", o)
	}
}

// unasked reports whether a stream to a domain waits for no answer.
func (x *site) unasked(remote string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for st := range x.streams {
		st.mu.Lock()
		ok := st.remote == remote && st.acks && st.requested.IsZero()
		st.mu.Unlock()
		if ok {
			return true
		}
	}
	return false
}

// What was written before both sides began to count is not among what is counted.
func TestWhatWasWrittenBeforeCountingIsNotCounted(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, nil)
	st := a.newStream(dial(t, a.plain).conn, true, false)
	st.acks, st.opened = true, true
	outcomes := make(map[string]Outcome)
	for i, name := range []string{"before", "first", "second"} {
		it := item{octets: []byte(name), done: func(o Outcome) { outcomes[name] = o }, counted: i > 0}
		a.waiting.Add(int64(len(it.octets)))
		st.offset += uint64(len(name))
		it.end = st.offset
		st.items.push(&it)
	}
	st.taken = st.offset // given to a write that has not returned
	if err := st.ack("1"); err != nil {
		t.Fatal(err)
	}
	if !outcomes["before"].Sent || !outcomes["first"].Acked || st.items.n != 1 {
		t.Errorf("%+v, and %d are left", outcomes, st.items.n)
	}
	if err := st.ack("3"); err == nil {
		t.Error("more was acknowledged than was sent")
	}
	if err := st.ack("2"); err != nil || !outcomes["second"].Acked {
		t.Errorf("%v, %+v", err, outcomes)
	}
}

// Whoever has a domain has all those below it, and takes no more of what is for all
// with a thousand of them.
func TestManyDomainsOfOneOwnerAreNoLargerShare(t *testing.T) {
	octets := len(stanza.Append(nil, message("alice@"+us, "bob@a.evil.example", "hi")))
	w := newWorld(t)
	a := w.site(us, func(c *Config) {
		c.Limits = Limits{AllOctets: 8 * octets, QueueOctets: 2*octets - 2, WindowOctets: 2, Pairs: 12}
	})
	for _, d := range []string{"a.evil.example", "b.evil.example", "c.evil.example", "d.evil.example", them} {
		w.mute(d)
	}
	a.send("a.evil.example", "hi")
	a.send("b.evil.example", "hi")
	if o := wait(t, a.send("c.evil.example", "hi"), "the outcome"); !errors.Is(o.Err, ErrQueueFull) || !said(o.Err.Error(), "owner") {
		t.Errorf("outcome %+v", o)
	}
	if o := wait(t, a.send("d.evil.example", "hi"), "the outcome"); !errors.Is(o.Err, ErrQueueFull) || !said(o.Err.Error(), "too many domains") {
		t.Errorf("outcome %+v", o)
	}
	a.send(them, "hi")
	until(t, "it waits", func() bool { return a.Waiting() == 3 })
	for _, d := range []string{"a.evil.example", "b.evil.example", them} {
		a.Shut(d)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for owner, h := range a.holdings {
		if n := h.octets.Load(); n != 0 {
			t.Errorf("%d octets are counted for %s", n, owner)
		}
	}
}

// Servers that take connections and say nothing, of one owner, do not keep us from
// others.
func TestSlowServersOfOneOwnerHoldNobodyUp(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, func(c *Config) { c.Limits.Builds = 8 })
	for i := range 10 {
		d := fmt.Sprintf("d%d.evil.example", i)
		w.mute(d)
		a.send(d, "hi")
	}
	until(t, "they are being connected to", func() bool {
		a.builds.mu.Lock()
		defer a.builds.mu.Unlock()
		return a.builds.by["evil.example"] == 2 && len(a.builds.waiting) == 8
	})
	b := w.site(them, nil)
	done := a.send(them, "hi")
	b.wants("hi")
	if o := wait(t, done, "the outcome"); !o.Acked {
		t.Errorf("outcome %+v", o)
	}
}

func TestPlacesAreGivenInTurn(t *testing.T) {
	x := newTurns(4)
	ctx, cancel := context.WithCancel(t.Context())
	if x.take(ctx, "a") != nil || x.take(ctx, "b") != nil {
		t.Fatal("no place")
	}
	given := make(chan error, 3)
	for range 3 {
		go func() { given <- x.take(ctx, "a") }()
	}
	until(t, "they wait", func() bool { x.mu.Lock(); defer x.mu.Unlock(); return len(x.waiting) == 3 })
	x.leave("a")
	if err := wait(t, given, "a place"); err != nil {
		t.Error(err)
	}
	cancel()
	for range 2 {
		if err := wait(t, given, "the end"); err == nil {
			t.Error("a place came")
		}
	}
	x.leave("a")
	x.leave("b")
	if x.taken != 0 || len(x.by) != 0 || len(x.waiting) != 0 {
		t.Errorf("left are %d, %v, %d", x.taken, x.by, len(x.waiting))
	}
}

// Strangers do not keep those out who have proved something before.
func TestAPartOfThePlacesIsKeptForWhoHasProvedSomething(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, func(c *Config) { c.Limits.Strangers = 8 })
	k := w.keypair(them)
	stranger := netip.MustParseAddrPort("192.0.2.1:1")
	enter := func(n int, from netip.AddrPort) (why string) {
		for range n {
			st := x.newStream(dial(t, x.plain).conn, true, false)
			st.addr = from
			if why = x.enter(st); why != "" {
				return why
			}
		}
		return ""
	}
	p := dial(t, x.plain)
	p.login(k, them, us)
	until(t, "it is proved", func() bool { return len(x.Links()) == 1 })
	x.mu.Lock()
	x.unproved = 6 // strangers
	if n := x.addresses[source(netip.MustParseAddrPort("127.0.0.1:1"))]; n != 0 {
		t.Errorf("%d streams are counted for an address that has proved who it is", n)
	}
	x.mu.Unlock()
	if why := enter(1, stranger); why != "too many strangers" {
		t.Errorf("a stranger: %q", why)
	}
	x.mu.Lock()
	x.unproved = 6
	x.mu.Unlock()
	q := dial(t, x.plain)
	q.login(k, them, us)
	x.mu.Lock()
	x.unproved = 0
	x.mu.Unlock()
}

// A domain that was proved on the stream of another one is no better off than that.
func TestADomainBesideAnotherIsLookedAtAgain(t *testing.T) {
	w := newWorld(t)
	var blocked atomic.Bool
	x := w.site(us, func(c *Config) {
		c.Allow = func(domain string) bool { return domain != "b."+them || !blocked.Load() }
	})
	p := dial(t, x.plain)
	p.startTLS(w.keypair("*."+them), "a."+them, us)
	for _, domain := range []string{"a." + them, "b." + them} {
		p.claim(domain, us, "whatever")
		if got := p.verdict("result"); got != "valid" {
			t.Fatalf("verdict %s", got)
		}
	}
	p.write("%s", body("eve@b."+them, "alice@"+us, "one"))
	x.wants("one")
	blocked.Store(true)
	x.sweep(time.Now().Add(recheckTime + time.Second))
	p.ended()
}

func TestADomainBesideAnotherIsLookedForInDNSAgain(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, func(c *Config) { c.Dialback = nil })
	w.point(victim, deadAddr(t))
	k := w.keypair(them)
	w.sign(victim, certs.RecordOf(k.Leaf()))
	p := dial(t, x.plain)
	p.login(k, them, us)
	p.claim(victim, us, "whatever")
	if got := p.verdict("result"); got != "valid" {
		t.Fatalf("verdict %s", got)
	}
	p.write("%s", body("eve@"+victim, "alice@"+us, "one"))
	if e := x.receive(); e.Proof != bridges.ProofDANE {
		t.Fatalf("proof %s", e.Proof)
	}
	w.sign(victim, certs.RecordOf(w.ca.Certificate()))
	x.sweep(time.Now().Add(recheckTime + time.Second))
	p.refused("reset")
}

// Handshakes as fast as one can would take the time that SIP needs.
func TestConnectionsOfOneAddressAreBoundedInTime(t *testing.T) {
	w := newWorld(t)
	const rate = 5
	x := w.site(us, func(c *Config) { c.Limits.Arrivals = rate })
	k, began, served := w.keypair(them), time.Now(), 0
	for range 4 * rate {
		p := dial(t, x.plain)
		p.write("%s from='%s' to='%s'>", head, them, us)
		if _, err := p.r.Open(); err == nil {
			served++
		}
		_ = p.conn.Close()
	}
	if most := 2*rate + int(time.Since(began).Seconds()*rate) + 1; served < 2*rate || served > most {
		t.Errorf("%d of %d are served, want %d to %d", served, 4*rate, 2*rate, most)
	}
	x.mu.Lock()
	for _, from := range x.arrivals.Keys() {
		b, _ := x.arrivals.Get(from)
		b.at = b.at.Add(-time.Second)
	}
	x.mu.Unlock()
	dial(t, x.plain).login(k, them, us)
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range 2 * maxProven {
		x.mayArrive(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), time.Now())
	}
	if n := x.arrivals.Len(); n != maxProven {
		t.Errorf("%d sources are remembered, want %d", n, maxProven)
	}
}

// A stranger that shows keys of a domain has us connect to where its DNS leads: that must
// not be a means against whoever is there.
func TestConnectionsThatKeysCauseAreBounded(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, nil)
	v := w.site(victim, nil)
	var connections atomic.Int64
	var addrs []string
	for range maxTries {
		ln := listen(t)
		addrs = append(addrs, ln.Addr().String())
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				connections.Add(1)
				_ = conn.Close()
			}
		}()
	}
	try := func(domain, key, want string) {
		t.Helper()
		p := dial(t, x.plain)
		p.startTLS(nil, domain, us)
		p.claim(domain, us, key)
		if got := p.verdict("result"); got != want {
			t.Fatalf("verdict on a key of %s: %s, want %s", domain, got, want)
		}
		_ = p.conn.Close()
	}
	began := time.Now()
	for i := range 8 {
		domain := fmt.Sprintf("a%d.%s", i, them)
		w.point(domain, addrs...)
		try(domain, "key", "remote-server-timeout")
	}
	most := askBurst + int64(time.Since(began).Seconds()*askRate) + 1
	if n := connections.Load(); n < askBurst || n > most {
		t.Errorf("%d connections for 8 keys, want %d to %d", n, askBurst, most)
	}
	// Somebody else at the same address is asked, and as often as there are keys.
	for range 2 * askBurst {
		try(victim, "made-up", "invalid")
	}
	// So is one that proves to be the domain's, whatever a key makes it do.
	const odd = "odd.example"
	k := w.keypair(odd)
	w.server(odd, k, func(p *raw) {
		p.accept(k, odd, us, "")
		p.expect(stanza.NSDialback, "verify")
		connections.Add(1)
		_ = p.conn.Close()
	})
	connections.Store(0)
	for range 2 * askBurst {
		try(odd, "made-up", "remote-server-timeout")
	}
	if n := connections.Load(); n != 2*askBurst {
		t.Errorf("%d questions to a server that proves who it is, want %d", n, 2*askBurst)
	}
	p := dial(t, x.plain)
	id, _ := p.startTLS(nil, victim, us)
	p.claim(victim, us, v.keys.of(us, victim, id))
	if got := p.verdict("result"); got != "valid" {
		t.Errorf("verdict on the victim's own key: %s", got)
	}
}

func TestWhomWeAskedIsForgotten(t *testing.T) {
	a := newAsks()
	for i := range maxAsked + 100 {
		a.take(fmt.Sprintf("d%d.example", i), netip.MustParseAddrPort("192.0.2.1:5269"))
	}
	if n := a.by.Len(); n != maxAsked {
		t.Errorf("%d are remembered, want %d", n, maxAsked)
	}
}
