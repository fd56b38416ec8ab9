package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sipedge/sipedge/locate"
)

const (
	// dialTimeout bounds one attempt to reach a server, all its addresses
	// together, with the TLS handshake.
	dialTimeout = 6 * time.Second
	// dialPause is how long a link that could not be made refuses at once, so
	// that requests go to the next server without waiting for this one again.
	dialPause = 2 * time.Second
	// failureEvery is how often the log says that a server still cannot be
	// reached.
	failureEvery = time.Minute
	// linkWaiting bounds the requests that wait for a connection.
	linkWaiting = 2000
	// retiredTime is how long a connection is used to a server that DNS no longer
	// names. Mistakes in DNS are mended in less.
	retiredTime = time.Hour
	// longestACK bounds an ACK that waits for a connection. It has no
	// transaction, so nothing else counts what it takes.
	longestACK = 16 << 10
)

var errLinkDown = errors.New("edge: server was not reachable a moment ago")

// A link is our way to one server: at most one connection, made when it is
// needed, to an address that is known to be that server's, proved by TLS for
// just this pool or partner. Links are never shared between partners: two
// behind one address have two connections, each verified for its own name.
type link struct {
	edge    *Edge
	name    string // "pool main sip1.example.com:5061", for the log
	host    string // of a partner's server, in normal form
	role    Role
	resolve func(context.Context) ([]locate.Hop, error)
	secure  func(host string) *tls.Config // nil: plain TCP
	trust   *trust                        // whom we believe there; nil: plain TCP
	server  *server                       // the home server behind it, or nil

	up atomic.Pointer[Flow]

	mu      sync.Mutex
	dialing bool
	closed  bool
	waiting []*tx
	pending []*buffer // ACKs that wait for the connection
	failed  time.Time // last failure to connect
	said    time.Time // when the log was told of one
	err     error     // why
	retired time.Time // since when DNS no longer names the server; zero: it does
}

func (l *link) String() string {
	if l == nil {
		return ""
	}
	return l.name
}

// ready returns the open connection, or nil.
func (l *link) ready() *Flow {
	if f := l.up.Load(); f != nil && !f.closed() {
		return f
	}
	return nil
}

// take returns the open connection; or lets x wait for it and says so; or
// neither, if it cannot be had now. The caller holds x.mu.
func (l *link) take(x *tx) (f *Flow, waiting bool) {
	if f := l.ready(); f != nil {
		return f, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.ready(); f != nil && !l.dialing {
		return f, false
	}
	if !l.open() || len(l.waiting) >= linkWaiting {
		return nil, false
	}
	l.waiting = append(l.waiting, x)
	return nil, true
}

// open makes sure that a connection is being made. It reports false if there
// was no success just now. The caller holds l.mu.
func (l *link) open() bool {
	switch {
	case l.closed:
		return false
	case l.dialing:
		return true
	case l.server != nil && l.failedNow():
		return false // the pool has others, and its health checks go on dialling
	}
	l.dialing = true
	l.edge.work.Go(l.dial)
	return true
}

// failedNow reports whether the last attempt to connect failed, a moment ago.
// The caller holds l.mu.
func (l *link) failedNow() bool { return l.err != nil && time.Since(l.failed) < dialPause }

// resting reports whether others should be tried before this link.
func (l *link) resting() bool {
	if l.ready() != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failedNow()
}

// connect opens the connection if there is none, for a health check.
func (l *link) connect() {
	if l.ready() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed && !l.dialing {
		l.dialing = true
		l.edge.work.Go(l.dial)
	}
}

// dial makes the connection and sends what waits for it.
func (l *link) dial() {
	var f *Flow
	defer l.edge.guard(func() {
		if f != nil {
			f.close(errBug)
		}
		l.fail(errBug)
	})
	ctx, cancel := context.WithTimeout(l.edge.ctx, dialTimeout)
	defer cancel()
	var err error
	f, err = l.reach(ctx)
	if err == nil {
		err = l.adopt(f)
	}
	if err != nil {
		l.fail(err)
		return
	}
	l.drain(f)
}

// adopt makes f the link's connection.
func (l *link) adopt(f *Flow) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		f.close(errLinkDown)
		return errLinkDown
	}
	l.err = nil
	f.state.link = l
	f.state.server = l.server
	return nil
}

// reach tries the server's addresses in order.
func (l *link) reach(ctx context.Context) (*Flow, error) {
	hops, err := l.resolve(ctx)
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, hop := range hops {
		f, err := l.edge.dialHop(ctx, l, hop)
		if err == nil {
			l.edge.locator.Succeeded(hop.Addr)
			return f, nil
		}
		l.edge.locator.Failed(hop.Addr)
		failures = append(failures, err)
	}
	if len(failures) == 0 {
		return nil, fmt.Errorf("%s has no address", l.name)
	}
	return nil, errors.Join(failures...)
}

// dialHop opens one connection for l.
func (e *Edge) dialHop(ctx context.Context, l *link, hop locate.Hop) (*Flow, error) {
	var conf *tls.Config
	if l.secure != nil {
		conf = l.secure(hop.Host)
	}
	f, err := e.wire.dial(ctx, hop, conf, l.role, e.locator.Control(hop))
	if err != nil || f.tls == nil {
		return f, err
	}
	// The handshake has checked it; this is the Identity that all connections
	// with the same certificate share.
	if f.Peer, err = l.trust.verifier.Identify(f.tls.ConnectionState()); err != nil {
		f.close(err)
		return nil, err
	}
	return f, nil
}

// drain sends what waits, in order, and then opens the link to everybody: what
// comes while it drains waits behind the rest.
func (l *link) drain(f *Flow) {
	f.start()
	var t turn
	defer t.end()
	for {
		list, raws := l.waits(f)
		if len(list) == 0 && len(raws) == 0 {
			return
		}
		for _, p := range raws {
			_ = f.queueRaw(&t, p.b) // an ACK has nobody to complain to
			l.edge.buffers.put(p)
		}
		for _, x := range list {
			x.connected(&t, l, f)
		}
	}
}

// waits returns what waits for the connection. If nothing does, f is for
// everybody from now on.
func (l *link) waits(f *Flow) (list []*tx, raws []*buffer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list, raws = l.waiting, l.pending
	l.waiting, l.pending = nil, nil
	if len(list) > 0 || len(raws) > 0 {
		return list, raws
	}
	l.dialing = false
	l.up.Store(f)
	if l.closed { // since the connection was adopted
		f.close(errLinkDown)
	}
	return nil, nil
}

// connected sends x on the connection it waited for.
func (x *tx) connected(t *turn, l *link, f *Flow) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.state != txFinding || x.link != l {
		return
	}
	if !x.send(t, f, nil) {
		x.next(t, nil)
	}
}

// fail gives what waits to the next hop.
func (l *link) fail(err error) {
	l.mu.Lock()
	l.dialing = false
	again := l.err != nil && time.Since(l.said) < failureEvery
	l.failed, l.err = time.Now(), err
	if !again {
		l.said = l.failed
	}
	l.mu.Unlock()
	if !again && l.edge.ctx.Err() == nil {
		l.edge.log.Warn(logHopFailed, keyTarget, l.name, keyErr, err)
	}
	l.release(err)
}

// release gives what waits for the connection to the next hop.
func (l *link) release(err error) {
	l.mu.Lock()
	list, raws := l.waiting, l.pending
	l.waiting, l.pending = nil, nil
	l.mu.Unlock()
	for _, p := range raws {
		l.edge.buffers.put(p)
	}
	var t turn
	defer t.end()
	for _, x := range list {
		x.unconnected(&t, l, err)
	}
}

// unconnected sends x elsewhere, as l could not be had.
func (x *tx) unconnected(t *turn, l *link, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.state == txFinding && x.link == l {
		x.way.failed(err)
		x.next(t, nil)
	}
}

// sendRaw sends an ACK, now or when the connection is there.
func (l *link) sendRaw(t *turn, b []byte) {
	if f := l.ready(); f != nil {
		_ = f.queueRaw(t, b) // an ACK has nobody to complain to
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open() && len(l.pending) < linkWaiting && len(b) <= longestACK {
		l.pending = append(l.pending, l.edge.copied(b))
	}
}

// lastError returns why the link could not be made, or nil.
func (l *link) lastError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// retire keeps the connection, as long as it holds, and makes no other: DNS no
// longer names the server, or says nothing, and what is open is not touched by
// that. It reports whether the link is still of use.
func (l *link) retire(now time.Time) bool {
	if l.ready() == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retired.IsZero() {
		l.retired, l.closed = now, true
	}
	return now.Sub(l.retired) < retiredTime
}

// revive takes retire back: DNS names the server again.
func (l *link) revive() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.retired.IsZero() {
		l.retired, l.closed = time.Time{}, false
	}
}

// shut closes the connection for good.
func (l *link) shut(reason error) {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	if f := l.up.Load(); f != nil {
		f.close(reason)
	}
}
