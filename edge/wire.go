package edge

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sipedge/sipedge/sip"
)

// A handler is told what happens on flows. opened comes first and gone last,
// once each; message and broken are called in the flow's own goroutine, one at
// a time and in order.
type handler interface {
	// opened: the handshake is over.
	opened(f *Flow)
	// message handles one message. m is valid only during the call.
	message(t *turn, f *Flow, m *sip.Message)
	// broken: the end of a message cannot be found. What is queued to f in the
	// call is still sent, then the flow ends.
	broken(t *turn, f *Flow, m *sip.Message, err *sip.Error)
	// gone: the flow has ended.
	gone(f *Flow, err error)
}

// wireSettings are what the transport needs to know. The zero value means the
// defaults.
type wireSettings struct {
	log      *slog.Logger
	limits   sip.Limits
	timeouts timeouts
	// Octets that may wait to be sent on one flow; default 4 MiB.
	maxOut int
	// Handshakes going on at once, of outside listeners; default 256.
	handshakes int
	// The same for one source address (IPv4) or network (IPv6 /64); 0: no limit.
	handshakesPerSource int
	// Full handshakes per second for one source; 0: no limit.
	handshakeRate float64
	// Connections that users may have open, on all listeners together; 0: what
	// the limit on open files leaves.
	remoteConnections int
	// Descriptors that the process may have open; default: the limit on open
	// files. A part of them is kept for listeners marked inside.
	descriptors int
}

// A wire carries messages: it has the flows, and what they share.
type wire struct {
	log            *slog.Logger
	h              handler
	limits         sip.Limits
	unsignedLimits sip.Limits // where a user might sign in, and nobody has
	timeouts       timeouts
	limitTicks     ticked
	maxOut         int
	admission      *admission
	computing      chan struct{} // tokens of handshakes from outside
	// The same for sources from which somebody has proved who he is.
	computingKnown chan struct{}
	places         int          // connections that outsiders may have, all listeners together
	descriptors    int          // that the process may have open
	outside        int          // connections at which outside listeners pause
	unfinished     atomic.Int64 // octets of messages that are not complete, on those
	unsigned       atomic.Int64 // connections on which a user might sign in, and nobody has
	counts         counts

	buffers  buffers
	readings sync.Pool
	reading  atomic.Int32 // readers that are not waiting
	clock    atomic.Int32 // ticks
	hurrying atomic.Int32 // readers of home servers that are behind
	longest  atomic.Int64 // that octets waited in a socket, in ns, since somebody asked
	lastID   atomic.Uint64
	flows    [flowShards]flowShard

	life    sync.Mutex
	stopped bool               // guarded by life
	shaking map[*conn]struct{} // connections without a flow yet, guarded by life
	group   sync.WaitGroup     // goroutines; Add is guarded by life
}

// counts are for metrics.
type counts struct {
	open       atomic.Int64 // connections, handshakes included
	accepted   atomic.Uint64
	refused    atomic.Uint64 // closed at once: too many
	failed     atomic.Uint64 // handshakes that did not succeed
	dialled    atomic.Uint64
	panics     atomic.Uint64
	acceptErrs atomic.Uint64
}

// Flows are found by ID in one of flowShards maps.
const flowShards = 64

type flowShard struct {
	mu   sync.Mutex
	byID map[uint64]*Flow // guarded by mu
	_    [40]byte         // locks on cache lines of their own
}

func newWire(s wireSettings, h handler) *wire {
	w := &wire{
		log:            s.log,
		h:              h,
		limits:         s.limits,
		unsignedLimits: unsignedLimits(s.limits),
		timeouts:       s.timeouts.defaults(),
		maxOut:         s.maxOut,
		admission:      newAdmission(s.handshakes, s.handshakesPerSource, s.handshakeRate),
		// All processors but one: a crowd of handshakes leaves one to those who
		// have theirs behind them.
		computing:      make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)),
		computingKnown: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)),
		shaking:        make(map[*conn]struct{}),
	}
	if w.maxOut <= 0 {
		w.maxOut = 4 << 20
	}
	if s.descriptors <= 0 {
		s.descriptors = openFiles()
	}
	w.descriptors = s.descriptors
	w.outside = s.descriptors - reserved(s.descriptors)
	w.places = w.outside
	if s.remoteConnections > 0 {
		w.places = min(w.places, s.remoteConnections)
	}
	w.limitTicks = w.timeouts.ticks()
	w.clock.Store(1)
	for i := range w.flows {
		w.flows[i].byID = make(map[uint64]*Flow)
	}
	return w
}

// reserved is how many of n descriptors outsiders cannot use up: they are for
// the inside, for what we dial, and for files.
func reserved(n int) int { return min(max(n/4, 16), 512) }

// openFiles is the limit on open files.
func openFiles() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil || l.Cur > 1<<24 {
		return 1 << 24
	}
	return int(l.Cur)
}

// run keeps the deadlines of all flows until ctx is done, then ends the flows
// and waits for their goroutines.
func (w *wire) run(ctx context.Context) {
	t := time.NewTicker(w.timeouts.tick())
	defer t.Stop()
	for {
		select {
		case <-t.C:
			w.sweep()
		case <-ctx.Done():
			w.stop()
			return
		}
	}
}

// stop ends everything.
func (w *wire) stop() {
	w.life.Lock()
	w.stopped = true
	for c := range w.shaking {
		c.Close()
	}
	w.life.Unlock()
	w.each(func(f *Flow) bool {
		f.close(errStopped)
		return true
	})
	w.group.Wait()
}

// goroutine starts fn, unless the wire has stopped.
func (w *wire) goroutine(fn func()) bool {
	w.life.Lock()
	defer w.life.Unlock()
	if w.stopped {
		return false
	}
	w.group.Go(fn)
	return true
}

// shake notes that c is open and has no flow yet.
func (w *wire) shake(c *conn) {
	w.counts.open.Add(1)
	w.life.Lock()
	defer w.life.Unlock()
	if w.stopped {
		c.Close()
		return
	}
	w.shaking[c] = struct{}{}
}

// ready notes that c has a flow, or never will.
func (w *wire) ready(c *conn) {
	w.life.Lock()
	defer w.life.Unlock()
	delete(w.shaking, c)
}

// drop ends a connection that did not become a flow.
func (w *wire) drop(c *conn) {
	c.Close()
	w.ready(c)
	w.counts.open.Add(-1)
}

// start puts f into the table and starts its goroutine.
func (w *wire) start(f *Flow) {
	f.clocks.heard.Store(w.ticks())
	s := &w.flows[f.ID%flowShards]
	s.mu.Lock()
	s.byID[f.ID] = f
	s.mu.Unlock()
	w.ready(f.conn)
	w.guard(f, func() { w.h.opened(f) })
	if !w.goroutine(f.run) {
		f.close(errStopped)
		w.forget(f)
		w.guard(f, func() { w.h.gone(f, errStopped) })
	}
}

// forget takes f out of the table.
func (w *wire) forget(f *Flow) {
	s := &w.flows[f.ID%flowShards]
	s.mu.Lock()
	delete(s.byID, f.ID)
	s.mu.Unlock()
	w.counts.open.Add(-1)
	if f.left != nil {
		f.left.Add(-1)
	}
}

// flow returns the open flow with this ID, or nil.
func (w *wire) flow(id uint64) *Flow {
	s := &w.flows[id%flowShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[id]
}

// each calls fn for each open flow until it returns false. fn may do what it
// likes with the flow.
func (w *wire) each(fn func(*Flow) bool) {
	var list []*Flow
	for i := range w.flows {
		s := &w.flows[i]
		s.mu.Lock()
		list = list[:0]
		for _, f := range s.byID {
			list = append(list, f)
		}
		s.mu.Unlock()
		for _, f := range list {
			if !fn(f) {
				return
			}
		}
	}
}

// guard calls fn and turns a panic into the end of f.
func (w *wire) guard(f *Flow, fn func()) {
	defer func() {
		if p := recover(); p != nil {
			f.close(f.panicked(p))
		}
	}()
	fn()
}

// ticks is the time, coarsely. It begins at 1.
func (w *wire) ticks() int32 { return w.clock.Load() }

func (w *wire) newReading() *reading {
	if r, ok := w.readings.Get().(*reading); ok {
		r.complete = false
		return r
	}
	return new(reading)
}

// panicked counts and logs a bug, and is why the flow ends.
func (f *Flow) panicked(p any) error {
	f.w.counts.panics.Add(1)
	f.w.log.Error("flow panicked", "flow", f.ID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return fmt.Errorf("%w: %v", errPanicked, p)
}
