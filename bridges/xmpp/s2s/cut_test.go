package s2s

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A wire lies between two sites and is cut after so many octets, again and again.
type wire struct {
	ln   net.Listener
	to   string
	mu   sync.Mutex
	next func() int // octets until the next cut; negative: never
	all  []net.Conn
}

func newWire(t testing.TB, to string, next func() int) *wire {
	c := &wire{ln: listen(t), to: to, next: next}
	go func() {
		for {
			near, err := c.ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", c.to)
			if err != nil {
				_ = near.Close()
				continue
			}
			c.mu.Lock()
			there, back := c.next(), c.next()
			c.all = append(c.all, near, far)
			c.mu.Unlock()
			go carry(far, near, there)
			go carry(near, far, back)
		}
	}()
	return c
}

// carry copies octets until the cut, and then ends both connections, hard.
func carry(to, from net.Conn, octets int) {
	if octets < 0 {
		_, _ = io.Copy(to, from)
	} else {
		_, _ = io.CopyN(to, from, int64(octets))
	}
	for _, c := range []net.Conn{to, from} {
		if octets >= 0 {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		_ = c.Close()
	}
}

func TestNothingAcknowledgedIsLostHoweverTheWireIsCut(t *testing.T) {
	for seed := range uint64(12) {
		for _, dialback := range []bool{false, true} {
			t.Run(fmt.Sprintf("seed %d, dialback %v", seed, dialback), func(t *testing.T) {
				t.Parallel()
				playCuts(t, seed, dialback)
			})
		}
	}
}

func playCuts(t *testing.T, seed uint64, dialback bool) {
	const n = 400
	random := rand.New(rand.NewPCG(seed, 1))
	cutRandom := rand.New(rand.NewPCG(seed, 2))
	change := func(c *Config) {
		if dialback {
			c.Verifier = nil
		}
		c.OneWay = seed%2 == 1
		c.Limits.Queue = n
		c.Limits.Pause = time.Millisecond
	}
	w := newWorld(t)
	a, b := w.site(us, change), w.site(them, change)
	cuts := 0
	c := newWire(t, b.plain.Addr().String(), func() int {
		if cuts++; cuts > 30 {
			return -1
		}
		return 3000 + cutRandom.IntN(12000)
	})
	w.point(them, c.ln.Addr().String())

	var mu sync.Mutex
	outcomes := make(map[int][]Outcome)
	var all sync.WaitGroup
	all.Add(n)
	for i := range n {
		a.Send(message("alice@"+us, "bob@"+them, strconv.Itoa(i)), func(o Outcome) {
			mu.Lock()
			defer mu.Unlock()
			if outcomes[i] = append(outcomes[i], o); len(outcomes[i]) == 1 {
				all.Done()
			}
		})
		if random.IntN(40) == 0 {
			a.again(them)
			until(t, "something is done", func() bool { return a.Waiting() < 50 })
		}
	}
	finished := make(chan struct{})
	go func() { all.Wait(); close(finished) }()
	wait(t, finished, "the last outcome")
	a.stop()
	b.stop()

	seen, stream := make(map[int]int), make(map[int]uint64)
	last := -1
	for len(b.got) > 0 {
		e := <-b.got
		i, _ := strconv.Atoi(e.Child(stanza.NS, "body").Text)
		if e.Stream == 0 || e.Stream == stream[i] {
			t.Errorf("%d came on stream %d, and before on %d", i, e.Stream, stream[i])
		}
		stream[i] = e.Stream
		if seen[i]++; seen[i] == 1 {
			// Nothing holds two streams together but what is acknowledged.
			if i < last && !dialback {
				t.Errorf("%d came for the first time after %d", i, last)
			}
			last = i
		}
	}
	acked, sent, lost, twice := 0, 0, 0, 0
	for i := range n {
		if len(outcomes[i]) != 1 {
			t.Fatalf("%d has %d outcomes", i, len(outcomes[i]))
		}
		switch o := outcomes[i][0]; {
		case o.Acked:
			acked++
			if seen[i] == 0 {
				t.Errorf("%d was acknowledged and is lost", i)
			}
		case o.Sent:
			sent++
			if dialback && seen[i] > 1 {
				t.Errorf("%d was not acknowledged and came %d times", i, seen[i])
			}
		case errors.Is(o.Err, ErrLost), errors.Is(o.Err, ErrUnreachable), errors.Is(o.Err, ErrQueueFull):
			lost++
		default:
			t.Errorf("%d: %v", i, o.Err)
		}
		if seen[i] > 1 {
			twice++
		}
	}
	if acked+sent == 0 {
		t.Error("nothing came through")
	}
	t.Logf("%d acknowledged, %d sent, %d reported lost, %d came twice", acked, sent, lost, twice)
}

func TestWhatIsNotAcknowledgedIsSentAgainBeforeWhatIsNew(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, nil)
	k := w.keypair(them)
	streams := make(chan *raw, 4)
	w.server(them, k, func(p *raw) {
		p.accept(k, them, us, offerExternal)
		p.grant(them, us, offerManage)
		p.expect(nsManage, "enable")
		p.write("<enabled xmlns='%s'/>", nsManage)
		streams <- p
		select {}
	})
	texts := func(p *raw, n int) (list []string) {
		for len(list) < n {
			if e := p.next(); e.IsStanza() {
				list = append(list, e.Child(stanza.NS, "body").Text)
			}
		}
		return list
	}
	var outcomes []<-chan Outcome
	for i := range 5 {
		outcomes = append(outcomes, a.send(them, strconv.Itoa(i)))
	}
	p := wait(t, streams, "a stream")
	p.quiet = false
	if got := texts(p, 5); !slices.Equal(got, []string{"0", "1", "2", "3", "4"}) {
		t.Errorf("got %q", got)
	}
	p.write("<a xmlns='%s' h='2'/>", nsManage)
	for i := range 2 {
		if o := wait(t, outcomes[i], "an outcome"); !o.Acked {
			t.Errorf("%d: %+v", i, o)
		}
	}
	_ = p.conn.Close()
	until(t, "the stream is gone", func() bool { return said(a.log.String(), "stream closed") })
	outcomes = append(outcomes, a.send(them, "5"))
	p = wait(t, streams, "the next stream")
	p.quiet = false
	if got := texts(p, 4); !slices.Equal(got, []string{"2", "3", "4", "5"}) {
		t.Errorf("got %q", got)
	}
	p.write("<a xmlns='%s' h='4'/>", nsManage)
	for i, o := range outcomes[2:] {
		if o := wait(t, o, "an outcome"); !o.Acked {
			t.Errorf("%d: %+v", i+2, o)
		}
	}
}

// A stanza that ends each stream that it is on is given up, and what the other side
// says about it is told.
func TestAStanzaThatEndsStreamsIsGivenUp(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, nil)
	k := w.keypair(them)
	w.server(them, k, func(p *raw) {
		p.accept(k, them, us, offerExternal)
		p.grant(them, us, offerManage)
		p.expect(nsManage, "enable")
		p.write("<enabled xmlns='%s'/>", nsManage)
		p.expect(stanza.NS, "message")
		p.write("<stream:error><policy-violation xmlns='%s'/><text xmlns='%s'>too big</text></stream:error></stream:stream>", nsErrors, nsErrors)
		_ = p.conn.Close()
	})
	o := wait(t, a.send(them, "poison"), "the outcome")
	if !errors.Is(o.Err, ErrLost) || !said(o.Err.Error(), "policy-violation", "too big") {
		t.Errorf("outcome %v", o.Err)
	}
}

func TestAPeerThatDoesNotAnswerIsLeft(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, nil)
	k := w.keypair(them)
	streams := make(chan *raw, 4)
	w.server(them, k, func(p *raw) {
		p.accept(k, them, us, offerExternal)
		p.grant(them, us, offerManage)
		p.expect(nsManage, "enable")
		p.write("<enabled xmlns='%s'/>", nsManage)
		streams <- p
		select {}
	})
	done := a.send(them, "hi")
	p := wait(t, streams, "a stream")
	p.quiet = false
	p.expect(stanza.NS, "message")
	p.expect(nsManage, "r")
	// While it is quiet nothing else is asked, and nothing ends too early.
	a.sweep(time.Now().Add(a.limits.Answer - time.Second))
	a.sweep(time.Now().Add(a.limits.Answer + time.Second))
	p.refused("connection-timeout")
	p = wait(t, streams, "the next stream")
	p.quiet = false
	p.expect(stanza.NS, "message")
	p.write("<a xmlns='%s' h='1'/>", nsManage)
	if o := wait(t, done, "the outcome"); !o.Acked {
		t.Errorf("outcome %+v", o)
	}
}
