package bridges

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sipedge/sipedge/sip"
)

// An Endpoint is a bridge's place at the SIP side: a user agent (RFC 3261 §8,
// §12, §13, §17) without a connection of its own. It is safe for concurrent use.
//
// Requests and answers of one Call-ID come in the order in which they were sent,
// one after the other; those of different Call-IDs come at the same time. No
// lock is held then, so a callback may call anything here.
//
// What it holds is bounded: octets and number of messages that were not handled
// or answered yet, transactions, dialogs. Beyond that what comes is not taken, and
// what should go out is answered with a local 503.
type Endpoint struct {
	log     *slog.Logger
	name    string // of the bridge, as the loop mark says it
	lim     limits
	seed    maphash.Seed
	dice    dice
	clock   *clock
	workers [workerCount]worker
	inputs  sync.Pool // of *input
	outputs sync.Pool // of *output

	handler atomic.Pointer[Handler]
	site    atomic.Pointer[site]
	paused  atomic.Bool
	seq     atomic.Uint32 // the last CSeq of a request outside dialogs
	held    atomic.Int64  // octets of what came and has not been answered
	queued  atomic.Int64  // messages that came and were not handled
	local   atomic.Int64  // answers of our own that were not delivered
	warned  warnings

	started chan struct{} // closed when it runs
	once    sync.Once
	over    chan struct{} // closed when the Endpoint has ended
	failed  chan struct{} // closed when it cannot go on
	failure error

	mu        sync.Mutex // guards what follows
	ended     bool
	clients   map[branchID]*client
	invites   map[*Request]*client // those of clients that can be canceled
	servers   map[uint64]*Incoming // by branch, sent-by and method
	originals map[uint64]*Incoming // requests outside dialogs, by Call-ID, From tag and CSeq
	dialogs   map[dialogID]*Dialog
	described int64 // octets of the dialogs
	subs      map[subID]*subscription
}

// limits bounds what an Endpoint holds.
type limits struct {
	octets    int64 // of messages that were not answered
	queued    int64 // messages that were not handled
	clients   int
	servers   int
	dialogs   int
	subs      int
	forks     int   // dialogs of one SUBSCRIBE
	described int64 // octets of what describes dialogs
}

// The default limits. A dialog and its transactions hold about a kilobyte each.
var defaultLimits = limits{
	octets:    32 << 20,
	queued:    8192,
	clients:   16384,
	servers:   16384,
	dialogs:   1 << 17,
	subs:      16384,
	forks:     8,
	described: 128 << 20,
}

// A site is how an Endpoint stands at its Host.
type site struct {
	host    Host
	via     string // "SIP/2.0/TLS edge1.example.com:5061;branch=z9hG4bK"
	contact string // "edge1.example.com:5061;transport=tls>"
}

var errNoHost = errors.New("bridges: the endpoint is not running")

// NewEndpoint makes one. It does nothing until it runs.
func NewEndpoint(log *slog.Logger) *Endpoint {
	e := &Endpoint{
		log: log, name: "bridge", lim: defaultLimits, seed: maphash.MakeSeed(), clock: newClock(),
		started: make(chan struct{}), over: make(chan struct{}), failed: make(chan struct{}),
		clients: make(map[branchID]*client), invites: make(map[*Request]*client),
		servers: make(map[uint64]*Incoming), originals: make(map[uint64]*Incoming),
		dialogs: make(map[dialogID]*Dialog), subs: make(map[subID]*subscription),
	}
	for i := range e.workers {
		e.workers[i].wake = make(chan struct{}, 1)
	}
	var b [4]byte
	e.dice.roll(b[:])
	e.seq.Store(uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]))
	e.inputs.New = func() any { return new(input) }
	e.outputs.New = func() any { return new(output) }
	return e
}

// Started is closed when the Endpoint runs. What is sent before is answered with a
// local 503.
func (e *Endpoint) Started() <-chan struct{} { return e.started }

// Handle sets who takes requests. A request before that is answered with 480.
func (e *Endpoint) Handle(h Handler) { e.handler.Store(&h) }

// Run works at host until ctx is done or a callback panics, which is its error.
// Then what our side waits for is answered with 480, and what the bridge waits
// for with a local 503. It runs once. h may be nil if [Endpoint.Handle] names the
// handler.
func (e *Endpoint) Run(ctx context.Context, host Host, h Handler) error {
	if h != nil {
		e.Handle(h)
	}
	e.site.Store(newSite(host))
	close(e.started)
	var work, tell sync.WaitGroup
	tell.Go(e.Guard(e.tell))
	for i := range e.workers {
		work.Go(func() { e.workers[i].run(e) })
	}
	select {
	case <-ctx.Done():
	case <-e.failed:
	}
	e.end()
	for i := range e.workers {
		e.workers[i].close()
	}
	work.Wait()
	e.release()
	e.cut()
	tell.Wait()
	select {
	case <-e.failed:
		return e.failure
	default:
		return nil
	}
}

func newSite(host Host) *site {
	self, params, _ := strings.Cut(host.Self(), ";")
	transport, ok := strings.CutPrefix(params, "transport=")
	if !ok || !sip.IsToken([]byte(transport)) {
		transport = "tls"
	}
	return &site{
		host:    host,
		via:     "SIP/2.0/" + strings.ToUpper(transport) + " " + self + ";branch=" + sip.Cookie,
		contact: self + ";transport=" + transport + ">",
	}
}

// fail ends the Endpoint with an error; the first one counts.
func (e *Endpoint) fail(err error) {
	e.once.Do(func() {
		e.failure = err
		close(e.failed)
	})
}

// end takes nothing more, and answers what the bridge waits for.
func (e *Endpoint) end() {
	e.mu.Lock()
	e.ended = true
	var waiting []*client
	for _, c := range e.clients {
		if c.invite != nil && c.invite.accepted {
			e.forget(c)
			continue
		}
		waiting = append(waiting, c)
	}
	e.mu.Unlock()
	for _, c := range waiting {
		c.conclude(503, "Bridge ended")
	}
}

// release answers what our side waits for, also what stands behind a callback that
// hangs.
func (e *Endpoint) release() {
	for i := range e.workers {
		e.workers[i].close()
		for ev, _, ok := e.workers[i].take(); ok; ev, _, ok = e.workers[i].take() {
			if ev.in != nil {
				e.queued.Add(-1)
				e.turnAway(ev.in)
			}
		}
	}
	e.mu.Lock()
	e.ended = true
	var open []*Incoming
	for _, in := range e.servers {
		open = append(open, in)
	}
	e.mu.Unlock()
	for _, in := range open {
		in.Answer(unavailable("Bridge ended"), "")
	}
}

// cut takes the Endpoint from its Host: nothing goes out any more, and no answer
// comes. It may be called while Run goes on.
func (e *Endpoint) cut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	if e.site.Swap(nil) != nil {
		close(e.over)
	}
}

// send hands a message in. No lock may be held: what answers it may be received
// before send returns.
func (e *Endpoint) send(message []byte, proof Proof) error {
	s := e.site.Load()
	if s == nil {
		return errNoHost
	}
	return s.host.Send(message, proof)
}

// Pause stops what is new: requests of our side are answered with 480, and those
// of the bridge with a local 480. Dialogs and open transactions go on.
func (e *Endpoint) Pause(paused bool) { e.paused.Store(paused) }

// Busy returns since when the callback runs that has run longest, the zero Time if
// none does.
func (e *Endpoint) Busy() (since time.Time) {
	for i := range e.workers {
		if n := e.workers[i].busy.Load(); n != 0 {
			if t := e.clock.began.Add(time.Duration(n)); since.IsZero() || t.Before(since) {
				since = t
			}
		}
	}
	return since
}
