package s2s

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// mute is a server that takes connections and says nothing. It returns where it is told
// that one has come.
func (w *world) mute(domain string) <-chan bool {
	ln := listen(w.t)
	w.point(domain, ln.Addr().String())
	came := make(chan bool, 100)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			w.t.Cleanup(func() { _ = conn.Close() })
			came <- true
		}
	}()
	return came
}

func TestWhatWaitsIsBounded(t *testing.T) {
	room := 3*len(stanza.Append(nil, message("alice@"+us, "bob@"+them, "hi"))) + 10
	for _, tt := range []struct {
		name   string
		limits Limits
		want   int // how many of 10 stanzas wait
	}{
		{"by number", Limits{Queue: 4}, 4},
		{"by octets", Limits{QueueOctets: room}, 3},
		{"by octets of all domains", Limits{AllOctets: room}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.site(us, func(c *Config) { c.Limits = tt.limits })
			w.mute(them)
			full := make(chan Outcome, 10)
			for range 10 {
				a.Send(message("alice@"+us, "bob@"+them, "hi"), func(o Outcome) { full <- o })
			}
			for range 10 - tt.want {
				if o := wait(t, full, "an outcome"); !errors.Is(o.Err, ErrQueueFull) {
					t.Errorf("outcome %+v", o)
				}
			}
			if n := a.Waiting(); n != tt.want {
				t.Errorf("%d wait, want %d", n, tt.want)
			}
			a.stop()
			for range tt.want {
				if o := wait(t, full, "an outcome"); !errors.Is(o.Err, ErrStopped) {
					t.Errorf("outcome %+v", o)
				}
			}
			if n := a.waiting.Load(); n != 0 {
				t.Errorf("%d octets are still counted", n)
			}
			if _, _, failed := a.Counts(); failed != 10 {
				t.Errorf("%d failed", failed)
			}
		})
	}
}

func TestDomainsToSendToAreBounded(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, func(c *Config) { c.Limits.Pairs = 3 })
	done := make(chan Outcome, 10)
	for i := range 5 {
		w.mute(fmt.Sprintf("d%d.example", i))
		a.Send(message("alice@"+us, fmt.Sprintf("bob@d%d.example", i), "hi"), func(o Outcome) { done <- o })
	}
	for range 2 {
		if o := wait(t, done, "an outcome"); !errors.Is(o.Err, ErrQueueFull) || !said(o.Err.Error(), "too many domains") {
			t.Errorf("outcome %+v", o)
		}
	}
	// What is of no use any more makes room.
	a.Shut("d0.example")
	wait(t, done, "the outcome of what was shut")
	until(t, "a place is free", func() bool {
		a.sweep(time.Now().Add(3 * time.Minute))
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.routes) < 3
	})
}

func TestStreamsThatAreBuiltAreBounded(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, func(c *Config) { c.Limits.Builds, c.Limits.Build = 1, 300*time.Millisecond })
	if err := a.builds.take(t.Context(), "elsewhere.example"); err != nil {
		t.Fatal(err)
	}
	came := w.mute(victim)
	o := wait(t, a.send(victim, "hi"), "an outcome")
	if !errors.Is(o.Err, ErrTimeout) || !said(o.Err.Error(), "too many streams are being built") {
		t.Errorf("outcome %+v", o)
	}
	if len(came) > 0 {
		t.Error("a stream was begun beyond the bound")
	}
	a.builds.leave("elsewhere.example")
	// On a busy machine the time may be over before one is begun.
	for n := 0; len(came) == 0; n++ {
		if n == 50 {
			t.Fatal("no stream was begun, though there is room")
		}
		domain := fmt.Sprintf("d%d.example", n)
		came = w.mute(domain)
		wait(t, a.send(domain, "hi"), "an outcome")
	}
}

func TestAWindowThatIsFullTakesNoMore(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, func(c *Config) { c.Limits.Window, c.Limits.Queue = 5, 100 })
	k := w.keypair(them)
	release := make(chan bool)
	w.server(them, k, func(p *raw) {
		p.accept(k, them, us, offerExternal)
		p.grant(them, us, offerManage)
		p.expect(nsManage, "enable")
		p.write("<enabled xmlns='%s'/>", nsManage)
		<-release
		for h := 0; ; {
			switch e := p.next(); {
			case e.IsStanza():
				h++
			case e.Is(nsManage, "r"):
				p.write("<a xmlns='%s' h='%d'/>", nsManage, h)
			}
		}
	})
	done := make(chan Outcome, 100)
	// Those wait for the stream, and go on it as there is room.
	for range 20 {
		a.Send(message("alice@"+us, "bob@"+them, "hi"), func(o Outcome) { done <- o })
	}
	until(t, "the stream is there", func() bool { return len(a.Links()) == 1 && a.Links()[0].State == "up" })
	release <- true
	for range 20 {
		if o := wait(t, done, "an outcome"); !o.Acked {
			t.Errorf("outcome %+v", o)
		}
	}
	if n := a.waiting.Load(); n != 0 {
		t.Errorf("%d octets are still counted", n)
	}
}

func TestWhatIsTooLargeForThemIsNotSent(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, nil)
	k := w.keypair(them)
	w.server(them, k, func(p *raw) {
		p.accept(k, them, us, offerExternal)
		// Less than 10,000 is not theirs to say (RFC 6120 §13.12).
		p.grant(them, us, "<limits xmlns='"+nsLimits+"'><max-bytes>10</max-bytes></limits>")
		p.expect(stanza.NS, "message")
		p.expect(stanza.NS, "message")
		_, _ = p.r.Next()
	})
	if o := wait(t, a.send(them, strings.Repeat("x", 9000)), "the outcome"); !o.Sent {
		t.Errorf("outcome %+v", o)
	}
	if o := wait(t, a.send(them, strings.Repeat("x", 11000)), "the outcome"); !errors.Is(o.Err, ErrTooLarge) {
		t.Errorf("outcome %+v", o)
	}
	if o := wait(t, a.send(them, "small"), "the outcome"); !o.Sent {
		t.Errorf("outcome %+v", o)
	}
}

func TestStrangersAreBounded(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits Limits
		want   string
	}{
		{"together", Limits{Strangers: 3}, "too many strangers"},
		{"of one address", Limits{OfAddress: 3}, "too many streams of one address"},
		{"with all others", Limits{Streams: 3}, "too many streams"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			x := w.site(us, func(c *Config) { c.Limits = tt.limits })
			var some []*raw
			for range 3 {
				p := dial(t, x.plain)
				p.open(them, us)
				some = append(some, p)
			}
			p := dial(t, x.plain)
			if _, err := p.conn.Read(make([]byte, 1)); err == nil || isTimeout(err) {
				t.Errorf("one too many: %v", err)
			}
			if log := x.log.String(); !said(log, "stream refused", tt.want) {
				t.Errorf("the log does not say %q", tt.want)
			}
			_ = some[0].conn.Close()
			until(t, "there is room again", func() bool {
				conn, err := net.Dial("tcp", x.plain.Addr().String())
				if err != nil {
					return false
				}
				defer conn.Close()
				_, _ = fmt.Fprintf(conn, "%s from='%s' to='%s'>", head, them, us)
				_ = conn.SetReadDeadline(time.Now().Add(time.Second))
				n, _ := conn.Read(make([]byte, 1))
				return n == 1
			})
		})
	}
}

func TestStreamsOfOneDomainAreBounded(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, func(c *Config) { c.Limits.OfDomain = 2 })
	k := w.keypair(them)
	first := dial(t, x.plain)
	first.login(k, them, us)
	second := dial(t, x.plain)
	second.login(k, them, us)
	p := dial(t, x.plain)
	p.startTLS(k, them, us)
	p.write("<auth xmlns='%s' mechanism='EXTERNAL'>=</auth>", nsSASL)
	p.refused("resource-constraint")
	_ = second.conn.Close()
	until(t, "one is gone", func() bool { return len(x.Links()) == 1 })
	p = dial(t, x.plain)
	p.login(k, them, us)
	// Another domain does not notice.
	p = dial(t, x.plain)
	p.login(w.keypair(victim), victim, us)
}

func TestWhoProvesNothingInTimeIsClosed(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, func(c *Config) { c.Limits.UnprovedTime = time.Second })
	for _, tt := range []struct {
		name string
		play func(p *raw)
	}{
		{"silence", func(p *raw) { p.header(); p.refused("connection-timeout") }},
		{"half a header", func(p *raw) { p.write("%s", head); p.header(); p.refused("connection-timeout") }},
		{"white space", func(p *raw) {
			p.open(them, us)
			go func() {
				for {
					if _, err := io.WriteString(p.conn, " "); err != nil {
						return
					}
					time.Sleep(10 * time.Millisecond) // as a slow peer does
				}
			}()
			p.refused("connection-timeout")
		}},
		{"after TLS", func(p *raw) { p.startTLS(nil, them, us); p.refused("connection-timeout") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.play(dial(t, x.plain))
		})
	}
	t.Run("half a handshake", func(t *testing.T) {
		t.Parallel()
		p := dial(t, x.direct)
		p.write("\x16\x03\x01")
		p.cut()
	})
}

func TestADomainThatSendsTooMuchIsReadMoreSlowly(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, func(c *Config) { c.Limits.Rate, c.Limits.Burst = 50, 10 })
	p := dial(t, x.plain)
	p.login(w.keypair(them), them, us)
	start := time.Now()
	for i := range 30 {
		p.write("%s", body("eve@"+them, "alice@"+us, fmt.Sprint(i)))
	}
	for i := range 30 {
		x.wants(fmt.Sprint(i))
	}
	if took := time.Since(start); took < 350*time.Millisecond {
		t.Errorf("30 stanzas took %v, with 10 at once and 50 a second", took)
	}
	x.rates.sweep(time.Now().Add(time.Hour))
	if n := len(x.rates.domains); n != 0 {
		t.Errorf("%d domains are remembered", n)
	}
}

func TestStreamsThatAreIdleEndPolitely(t *testing.T) {
	w := newWorld(t)
	a, b := w.site(us, nil), w.site(them, nil)
	wait(t, a.send(them, "hi"), "the outcome")
	b.wants("hi")
	a.sweep(time.Now().Add(a.limits.Idle - time.Second))
	if n := len(a.Links()); n != 1 {
		t.Fatalf("%d links", n)
	}
	a.sweep(time.Now().Add(a.limits.Idle + time.Second))
	until(t, "the stream is gone on both sides", func() bool { return len(a.Links())+len(b.Links()) == 0 })
	if !said(a.log.String(), "stream closed", errIdle.Error()) || !said(b.log.String(), "it ended the stream") {
		t.Error("the logs do not say why")
	}
	// The next one goes out on a new stream, at once.
	if o := wait(t, a.send(them, "again"), "the outcome"); !o.Acked {
		t.Errorf("outcome %+v", o)
	}
	b.wants("again")
}

func TestAQuietStreamIsKeptAlive(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, nil)
	p := dial(t, x.plain)
	p.login(w.keypair(them), them, us)
	// The Reader skips white space: what is there is read from below it.
	x.sweep(time.Now().Add(x.limits.Keepalive - time.Second))
	x.sweep(time.Now().Add(x.limits.Keepalive + time.Second))
	var b [8]byte
	if n, err := p.conn.Read(b[:]); err != nil || string(b[:n]) != " " {
		t.Errorf("read %q, %v", b[:n], err)
	}
}

func TestAPeerThatReadsNothingIsLeft(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, func(c *Config) { c.Limits.Answer = 300 * time.Millisecond })
	p := dial(t, x.plain)
	_ = p.conn.(*net.TCPConn).SetReadBuffer(4096)
	p.login(w.keypair(them), them, us)
	_ = x.stream().tls.NetConn().(*net.TCPConn).SetWriteBuffer(4096)
	p.write("<enable xmlns='%s'/>", nsManage)
	for {
		if _, err := io.WriteString(p.conn, strings.Repeat("<r xmlns='"+nsManage+"'/>", 100)); err != nil {
			break
		}
	}
	until(t, "the stream is gone", func() bool { return len(x.Links()) == 0 })
}

func TestLinesAboutStrangersAreBounded(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, nil)
	for i := range 200 {
		x.strangers.log(fmt.Sprint(i%8), "stream refused", "reason", "test")
	}
	x.sweep(time.Now())
	log := x.log.String()
	if n := strings.Count(log, "stream refused"); n < 50 || n > 60 {
		t.Errorf("%d lines", n)
	}
	if !said(log, "stream lines left out") {
		t.Error("nothing is said of those left out")
	}
}

func TestAStrangersLinesLeaveOutNotAllOthers(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, nil)
	for range 200 {
		x.strangers.log("192.0.2.1", "stream refused", "addr", "192.0.2.1")
	}
	x.strangers.log("192.0.2.2", "stream refused", "addr", "192.0.2.2")
	log := x.log.String()
	if n := strings.Count(log, "192.0.2.1"); n < 12 || n > 20 {
		t.Errorf("%d lines about one, want a quarter of 50", n)
	}
	if !said(log, "192.0.2.2") {
		t.Error("no line about the other")
	}
	for i := range 2 * maxLogged {
		x.strangers.takes(fmt.Sprint(i))
	}
	if n := x.strangers.by.Len(); n != maxLogged {
		t.Errorf("%d are remembered, want %d", n, maxLogged)
	}
}

func TestAnElementMustComeToItsEnd(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, nil)
	p := dial(t, x.plain)
	p.login(w.keypair(them), them, us)
	p.write("  <message from='eve@%s'", them)
	st := x.stream()
	until(t, "it is armed", func() bool {
		st.mu.Lock()
		defer st.mu.Unlock()
		return !st.elementBy.IsZero()
	})
	// An hour later.
	st.set(func() { st.elementBy = time.Now() })
	p.refused("connection-timeout")
}

// stream returns the only stream of a site.
func (x *site) stream() (st *stream) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for st = range x.streams {
	}
	if len(x.streams) != 1 {
		x.t.Fatalf("%d streams", len(x.streams))
	}
	return st
}
