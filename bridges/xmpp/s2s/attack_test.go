package s2s

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A server that answers each time that it has taken nothing would hold what we send to
// it for ever, and have us ask as fast as it answers.
func TestAnAnswerThatTakesNothingIsNone(t *testing.T) {
	w := newWorld(t)
	a := w.site(us, nil)
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
