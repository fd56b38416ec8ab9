package bridges

import (
	"bytes"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/sipedge/sipedge/sip"
)

// workerCount is how many Call-IDs are served at the same time.
const workerCount = 4

// An input is one message that came, with its own octets.
type input struct {
	raw  []byte
	m    sip.Message
	next *input // of those that came together
}

// keep is how large the buffer of an input may be to be used again.
const keep = 16 << 10

// put gives in back.
func (e *Endpoint) put(in *input) {
	e.held.Add(-int64(len(in.raw)))
	if cap(in.raw) > keep {
		in.raw = nil
	}
	in.next = nil
	e.inputs.Put(in)
}

// Receive takes SIP messages for the bridge: one, or several whole ones. It never
// waits, calls nobody, and keeps nothing of octets. It reports whether all was
// taken; else nothing was, because the Endpoint is full or has ended, or because it
// was not SIP.
func (e *Endpoint) Receive(octets []byte) bool {
	if e.site.Load() == nil {
		return false
	}
	size := int64(len(octets))
	// Answers free what is held, so that requests may not take all of it.
	limit, most := e.lim.octets, e.lim.queued
	if len(octets) < 4 || string(octets[:4]) != "SIP/" {
		limit, most = limit/4*3, most/4*3
	}
	if e.held.Load()+size > limit || e.queued.Load() >= most {
		return false
	}
	octets = bytes.TrimLeft(octets, "\r\n") // RFC 3261 §7.5
	if len(octets) == 0 {
		return true
	}
	list := e.split(octets)
	for in := list; in != nil; {
		next := in.next
		in.next = nil
		e.queued.Add(1)
		if !e.workerOf(in.m.CallID()).put(event{in: in}) {
			e.queued.Add(-1)
			e.put(in)
		}
		in = next
	}
	return list != nil
}

// split copies octets and finds the messages in them; nil if there is anything
// else.
func (e *Endpoint) split(octets []byte) (list *input) {
	last := &list
	for len(octets) > 0 {
		in := e.inputs.Get().(*input)
		n := in.read(octets)
		e.held.Add(int64(len(in.raw)))
		*last = in
		if n == 0 {
			e.warn("octets for a bridge were not SIP", "octets", len(octets))
			for in := list; in != nil; {
				next := in.next
				e.put(in)
				in = next
			}
			return nil
		}
		last, octets = &in.next, bytes.TrimLeft(octets[n:], "\r\n")
	}
	return list
}

// read takes the first message of octets and returns its length, 0 if there is
// none. No more is copied at once than most messages have, lest many that come
// together are copied once for each.
func (in *input) read(octets []byte) int {
	for size := min(len(octets), keep); ; size = min(len(octets), 4*size) {
		in.raw = append(in.raw[:0], octets[:size]...)
		var f sip.Framer
		kind, n, err := f.Next(in.raw, &in.m)
		switch {
		case err != nil:
			return 0
		case kind == sip.Complete:
			in.raw = in.raw[:n]
			return n
		case kind != sip.Incomplete || size == len(octets):
			return 0
		}
	}
}

// An event is what a worker does next: a message that came, or a call.
type event struct {
	in   *input
	call func()
}

// A worker handles events one after the other.
type worker struct {
	wake chan struct{}
	busy atomic.Int64 // since when it handles one, in nanoseconds of the clock, or 0

	mu     sync.Mutex // guards what follows
	queue  []event
	head   int // how much of the queue is done
	closed bool
}

func (e *Endpoint) workerOf(callID []byte) *worker {
	return &e.workers[maphash.Bytes(e.seed, callID)%workerCount]
}

// put adds an event; false: the worker is closed.
func (w *worker) put(ev event) bool {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return false
	}
	w.queue = append(w.queue, ev)
	first := len(w.queue)-w.head == 1
	w.mu.Unlock()
	if first {
		w.signal()
	}
	return true
}

// take removes the next event; false: there is none.
func (w *worker) take() (ev event, closed, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.head == len(w.queue) {
		if w.head = 0; cap(w.queue) > 1024 {
			w.queue = nil // a burst is over
		}
		w.queue = w.queue[:0]
		return event{}, w.closed, false
	}
	ev, w.queue[w.head] = w.queue[w.head], event{}
	if w.head++; w.head >= 1024 && 2*w.head >= len(w.queue) {
		n := copy(w.queue, w.queue[w.head:])
		clear(w.queue[n:])
		w.queue, w.head = w.queue[:n], 0
	}
	return ev, w.closed, true
}

func (w *worker) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// close lets the worker end behind what it has.
func (w *worker) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.signal()
}

// run handles events until the worker is closed and has none. After a panic
// nothing more is called: nobody knows what the handler's state is then.
func (w *worker) run(e *Endpoint) {
	for {
		ev, closed, ok := w.take()
		switch {
		case ok:
			w.busy.Store(max(1, int64(e.clock.now())))
			e.guard(ev)
			w.busy.Store(0)
		case closed:
			return
		default:
			<-w.wake
		}
	}
}

// guard handles one event. A panic is the end of the Endpoint, not of the program.
func (e *Endpoint) guard(ev event) {
	var err error
	defer func() {
		if err != nil {
			e.fail(err)
		}
	}()
	defer caught(&err)
	switch {
	case ev.in != nil:
		e.queued.Add(-1)
		e.input(ev.in)
	case !e.hasFailed():
		ev.call()
	}
}

func (e *Endpoint) hasFailed() bool {
	select {
	case <-e.failed:
		return true
	default:
		return false
	}
}

// input handles a message that came.
func (e *Endpoint) input(in *input) {
	switch {
	case e.hasFailed():
		e.turnAway(in)
	case in.m.IsRequest():
		e.request(in)
	default:
		e.response(&in.m)
		e.put(in)
	}
}

// turnAway answers a request that comes too late.
func (e *Endpoint) turnAway(in *input) {
	if !in.m.IsRequest() || in.m.Fault() != nil {
		e.put(in)
		return
	}
	e.refuse(in, 480, "Bridge ended", appendLine(nil, "Retry-After", "30"))
}
