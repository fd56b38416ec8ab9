package bridges

import (
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
			e.log.Error("octets for a bridge were not SIP", "bridge", e.name, "octets", len(octets))
			for in := list; in != nil; {
				next := in.next
				e.put(in)
				in = next
			}
			return nil
		}
		last, octets = &in.next, octets[n:]
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
	spare  []event
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
	first := len(w.queue) == 1
	w.mu.Unlock()
	if first {
		w.signal()
	}
	return true
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
		w.mu.Lock()
		list, closed := w.queue, w.closed
		w.queue, w.spare = w.spare[:0], nil
		w.mu.Unlock()
		if len(list) == 0 {
			if closed {
				return
			}
			<-w.wake
			continue
		}
		for i, ev := range list {
			list[i] = event{}
			w.busy.Store(max(1, int64(e.clock.now())))
			e.guard(ev)
			w.busy.Store(0)
		}
		if cap(list) > 1024 {
			list = nil // a burst is over
		}
		w.mu.Lock()
		w.spare = list[:0]
		w.mu.Unlock()
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
	if e.hasFailed() {
		e.put(in)
		return
	}
	if in.m.IsRequest() {
		e.request(in)
		return
	}
	defer e.put(in)
	e.response(&in.m)
}
