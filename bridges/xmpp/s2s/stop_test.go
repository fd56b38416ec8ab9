package s2s

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"
)

func TestAStopLetsWhatIsOnStreamsComeToItsEnd(t *testing.T) {
	w := newWorld(t)
	a, b := w.site(us, nil), w.site(them, nil)
	wait(t, a.send(them, "first"), "the first")
	b.wants("first")
	const n = 200
	outcomes := make(chan Outcome, n)
	for i := range n {
		a.Send(message("alice@"+us, "bob@"+them, strconv.Itoa(i)), func(o Outcome) { outcomes <- o })
	}
	w.mute(victim)
	waiting := a.send(victim, "hi")
	a.stop()
	acked := 0
	for range n {
		if o := wait(t, outcomes, "an outcome"); o.Acked {
			acked++
		}
	}
	if acked != n {
		t.Errorf("%d of %d were acknowledged", acked, n)
	}
	if o := wait(t, waiting, "the outcome of what waited"); !errors.Is(o.Err, ErrStopped) {
		t.Errorf("outcome %+v", o)
	}
	if o := wait(t, a.send(them, "late"), "the outcome"); !errors.Is(o.Err, ErrStopped) {
		t.Errorf("outcome of one that came late: %+v", o)
	}
	until(t, "they know", func() bool { return len(b.Links()) == 0 })
	if !said(b.log.String(), "it ended the stream") {
		t.Error("no goodbye was said")
	}
	if steps := a.Test(t.Context(), them); len(steps) != 1 || steps[0].OK {
		t.Errorf("steps %+v", steps)
	}
}

func TestAStopDoesNotWaitForEver(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, func(c *Config) { c.Limits.Goodbye = 100 * time.Millisecond })
	k := w.keypair(them)
	w.server(them, k, func(p *raw) {
		p.accept(k, them, us, offerExternal)
		p.grant(them, us, offerManage)
		p.expect(nsManage, "enable")
		p.write("<enabled xmlns='%s'/>", nsManage)
		for {
			p.next() // and answers nothing
		}
	})
	done := a.send(them, "hi")
	until(t, "it is on the stream", func() bool { return len(a.Links()) == 1 && a.Links()[0].Sent == 1 })
	a.stop()
	if o := wait(t, done, "the outcome"); !errors.Is(o.Err, ErrLost) {
		t.Errorf("outcome %+v", o)
	}
}

func TestADomainMayBeShut(t *testing.T) {
	w := newWorld(t)
	allowed := make(chan bool, 1)
	allowed <- true
	a := w.site(us, func(c *Config) {
		c.Allow = func(d string) bool {
			v := <-allowed
			allowed <- v
			return v || d != them
		}
	})
	b, c := w.site(them, nil), w.site(victim, nil)
	wait(t, a.send(them, "hi"), "the outcome")
	wait(t, a.send(victim, "hi"), "the outcome")
	b.wants("hi")
	c.wants("hi")
	<-allowed
	allowed <- false
	a.Shut("EXAMPLE.net.")
	until(t, "its stream is gone", func() bool { return len(b.Links()) == 0 })
	if n := len(c.Links()); n != 1 {
		t.Errorf("the other domain has %d links", n)
	}
	if o := wait(t, a.send(them, "again"), "the outcome"); !errors.Is(o.Err, ErrRefused) {
		t.Errorf("outcome %+v", o)
	}
	// Nor may it come by itself.
	if o := wait(t, b.send(us, "hello"), "the outcome"); !errors.Is(o.Err, ErrRefused) {
		t.Errorf("outcome %+v", o)
	}
	a.nothing()
	<-allowed
	allowed <- true
	if o := wait(t, a.send(them, "and again"), "the outcome"); !o.Acked {
		t.Errorf("outcome %+v", o)
	}
}

func TestAStreamThatIsNotAllowedAnyMoreEnds(t *testing.T) {
	w := newWorld(t)
	allowed := make(chan bool, 1)
	allowed <- true
	a := w.site(us, func(c *Config) {
		c.Allow = func(string) bool { v := <-allowed; allowed <- v; return v }
	})
	b := w.site(them, nil)
	wait(t, b.send(us, "hi"), "the outcome")
	a.wants("hi")
	<-allowed
	allowed <- false
	a.sweep(time.Now().Add(recheckTime + time.Second))
	until(t, "the stream is gone", func() bool { return len(a.Links()) == 0 })
}

func TestAStreamWhoseCertificateEndsIsReset(t *testing.T) {
	w := newWorld(t)
	later := make(chan time.Duration, 1)
	later <- 0
	a := w.site(us, func(c *Config) {
		c.Verifier.Now = func() time.Time { d := <-later; later <- d; return time.Now().Add(d) }
	})
	p := dial(t, a.plain)
	p.login(w.keypair(them), them, us)
	a.sweep(time.Now().Add(recheckTime + time.Second))
	<-later
	later <- 2 * 365 * 24 * time.Hour
	a.sweep(time.Now().Add(2*recheckTime + 2*time.Second))
	p.refused("reset")
}

func TestAPanicEndsItsStreamOnly(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, func(c *Config) {
		handle := c.Handle
		c.Handle = func(e *Stanza) {
			if e.From == victim {
				panic("test")
			}
			handle(e)
		}
	})
	p, q := dial(t, a.plain), dial(t, a.plain)
	p.login(w.keypair(victim), victim, us)
	q.login(w.keypair(them), them, us)
	p.write("%s", body("v@"+victim, "alice@"+us, "hi"))
	p.refused("internal-server-error")
	q.write("%s", body("eve@"+them, "alice@"+us, "hi"))
	a.wants("hi")
}

func TestWhoHasLeftIsAnsweredWhatCameBefore(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, nil)
	p := dial(t, a.plain)
	p.login(w.keypair(them), them, us)
	p.write("<enable xmlns='%s'/>%s<r xmlns='%s'/></stream:stream>", nsManage, body("eve@"+them, "alice@"+us, "hi"), nsManage)
	p.expect(nsManage, "enabled")
	for range 2 { // to the question, and because it is the end
		if e := p.expect(nsManage, "a"); e.Attr("h") != "1" {
			t.Errorf("acknowledged %s", e.Attr("h"))
		}
	}
	p.ended()
	a.wants("hi")
}

// The last acknowledgement comes before the end tag, so that the other side does not
// send again what we have.
func TestWeSayWhatWeTookBeforeWeLeave(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, nil)
	p := dial(t, a.plain)
	p.login(w.keypair(them), them, us)
	p.write("<enable xmlns='%s'/>%s", nsManage, body("eve@"+them, "alice@"+us, "hi"))
	p.expect(nsManage, "enabled")
	a.wants("hi")
	st := a.stream()
	until(t, "it is taken", func() bool {
		st.mu.Lock()
		defer st.mu.Unlock()
		return st.handled == 1
	})
	a.Shut(them)
	if e := p.expect(nsManage, "a"); e.Attr("h") != "1" {
		t.Errorf("acknowledged %s", e.Attr("h"))
	}
	// What they still send is taken, until they leave, too.
	p.write("%s</stream:stream>", body("eve@"+them, "alice@"+us, "last"))
	p.ended()
	a.wants("last")
}

func TestLinksTellWhatThereIs(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, nil)
	b := w.site(them, func(c *Config) { c.OneWay = true })
	w.mute(victim)
	wait(t, a.send(them, "hi"), "the outcome")
	wait(t, b.send(us, "hi"), "the outcome")
	a.send("nowhere.example", "hi")
	a.send(victim, "hi")
	var got []string
	until(t, "all links are there", func() bool {
		got = nil
		for _, l := range a.Links() {
			got = append(got, l.Remote+" "+l.Direction+" "+l.State+" "+l.Proof.String()+" "+strconv.Itoa(l.Waiting))
		}
		return slices.Equal(got, []string{
			them + " in up certificate 0", them + " out up certificate 0", "nowhere.example out down none 0", victim + " out connecting none 1",
		})
	})
}
