package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sipedge/sipedge/certs"
)

// listenerSettings are what a listener needs to know.
type listenerSettings struct {
	name    string
	role    Role
	address string
	// Our side of TLS; nil: plain TCP.
	tls *tls.Config
	// What the handshake proved. nil: flows of this listener have no Peer.
	identify func(tls.ConnectionState) (*certs.Identity, error)
	// Says what role a flow has whose listener is for several (RoleOutside), and
	// whether its certificate counts: err is what identify said.
	sort func(l *listener, f *Flow, err error)
	// Addresses that may connect; nil: all. It is what plain TCP has instead
	// of certificates.
	allow func(netip.Addr) bool
	// Ours alone: goes on accepting when outside listeners pause, and is not
	// limited in handshakes.
	inside bool
	// Connections open at once; 0: no limit of its own.
	connections int
	// SIP by WebSocket, on a listener with TLS.
	ws wsSettings
}

// A listener takes connections and makes flows of them.
type listener struct {
	listenerSettings
	w    *wire
	tcp  *net.TCPListener
	open atomic.Int64

	troubles sometimes // accepting
	refusals sometimes // too many
	failures refusals  // handshakes
}

// listen opens the port. Nothing is accepted before serve.
func (w *wire) listen(s listenerSettings) (*listener, error) {
	// Dead peers are found by our own timers. This is for connections on which
	// those are long; more often would only wake phones.
	keep := net.KeepAliveConfig{Enable: true, Idle: 2 * time.Minute, Interval: 30 * time.Second, Count: 4}
	c := net.ListenConfig{KeepAliveConfig: keep}
	l, err := c.Listen(context.Background(), "tcp", s.address)
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", s.name, err)
	}
	return &listener{listenerSettings: s, w: w, tcp: l.(*net.TCPListener)}, nil
}

// addr is where it listens.
func (l *listener) addr() netip.AddrPort { return addrPort(l.tcp.Addr()) }

// close stops accepting. Flows go on.
func (l *listener) close() { l.tcp.Close() }

// Between attempts to accept when the machine has no descriptor left.
const (
	shortestPause = 5 * time.Millisecond
	longestPause  = 200 * time.Millisecond
)

// serve accepts connections until ctx is done or close is called. It survives
// everything else: a listener that ends because descriptors ran out for a
// moment would be an outage for ever.
func (l *listener) serve(ctx context.Context) {
	defer context.AfterFunc(ctx, l.close)()
	pause := shortestPause
	for ctx.Err() == nil {
		if l.mustWait() {
			l.trouble(errors.New("edge: descriptors are short"))
			sleep(ctx, pause)
			pause = min(2*pause, longestPause)
			continue
		}
		tcp, err := l.tcp.AcceptTCP()
		switch {
		case err == nil:
			pause = shortestPause
			l.accepted(tcp)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			l.w.counts.acceptErrs.Add(1)
			l.trouble(err)
			sleep(ctx, pause)
			pause = min(2*pause, longestPause)
		}
	}
}

// mustWait reports whether the descriptors that are left are for the inside.
func (l *listener) mustWait() bool {
	return !l.inside && l.w.counts.open.Load() >= int64(l.w.outside)
}

// accepted gives a connection its goroutine, or closes it.
func (l *listener) accepted(tcp *net.TCPConn) {
	l.w.counts.accepted.Add(1)
	remote := addrPort(tcp.RemoteAddr())
	if err := l.admit(remote.Addr()); err != nil {
		l.w.counts.refused.Add(1)
		tcp.Close()
		if missed, ok := l.refusals.now(time.Now()); ok {
			l.w.log.Warn("connection refused", "listener", l.name, "remote", remote, "err", err, "missed", missed)
		}
		return
	}
	c := newConn(l.w, tcp, l.tls != nil)
	l.w.shake(c)
	if !l.w.goroutine(func() { l.handshake(c, remote) }) {
		l.w.drop(c)
	}
}

// Why a connection is closed before its handshake.
var (
	errNotNamed       = errors.New("edge: address is not among the peers")
	errConnections    = errors.New("edge: too many connections")
	errManyHandshakes = errors.New("edge: too many handshakes")
)

// admit reports whether a connection from addr may begin its handshake, or why
// it may not.
func (l *listener) admit(addr netip.Addr) error {
	switch {
	case l.allow != nil && !l.allow(addr):
		return errNotNamed
	case l.connections > 0 && l.open.Load() >= int64(l.connections):
		return errConnections
	case l.forUsers() && l.w.unsigned.Load() >= l.w.unsignedRoom() && !l.w.admission.isKnown(addr):
		return errUnsigned
	case !l.inside && !l.w.admission.enter(addr, time.Now()):
		return errManyHandshakes
	}
	l.open.Add(1)
	if l.forUsers() {
		l.w.unsigned.Add(1)
	}
	return nil
}

// leave ends what admit began, the handshake.
func (l *listener) leave(addr netip.Addr, proven, resumed bool) {
	if !l.inside {
		l.w.admission.leave(addr, proven, resumed)
	}
	if l.forUsers() {
		l.w.unsigned.Add(-1)
	}
}

// handshake makes a flow of c. Its goroutine ends with it: what a handshake
// needs of stack is not kept for the life of the connection.
func (l *listener) handshake(c *conn, remote netip.AddrPort) {
	f, err := l.shakeHands(c)
	l.leave(remote.Addr(), err == nil && l.proves(f), err == nil && f.tls != nil && f.tls.ConnectionState().DidResume)
	if err != nil {
		l.open.Add(-1)
		l.w.drop(c)
		l.w.counts.failed.Add(1)
		if missed, ok := l.failures.take(time.Now()); ok {
			l.w.log.Log(context.Background(), handshakeLevel(err), handshakeWords(err), "listener", l.name, "remote", remote, "problem", certs.ProblemOf(err), "err", err, "missed", missed)
		}
		return
	}
	f.Listener, f.Remote = l.name, remote
	f.left = &l.open
	l.w.start(f)
}

// proves reports whether the peer of a new flow has proved to be somebody who counts. On
// a listener that sorts, a certificate that is no partner's is worth nothing: anybody may
// have one.
func (l *listener) proves(f *Flow) bool {
	return f.Peer != nil && (l.sort == nil || f.Role != RoleRemote)
}

// handshakeWords tells a certificate that was refused from all else that can go
// wrong in a handshake.
func handshakeWords(err error) string {
	if certs.ProblemOf(err) != "" {
		return "peer refused"
	}
	if _, ok := errors.AsType[*refusal](err); ok {
		return "websocket refused"
	}
	return "handshake failed"
}

// handshakeLevel is how loud a handshake is that failed. Who goes away before it is over
// has seen our certificate or the open port, and that was all that was wanted: health
// checks do that, and doctor.
func handshakeLevel(err error) slog.Level {
	if errors.Is(err, io.EOF) {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

func (l *listener) shakeHands(c *conn) (f *Flow, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("edge: panic: %v", p)
		}
	}()
	if l.tls == nil {
		f = l.w.newFlow(c, nil)
		f.Role = l.role
		return f, nil
	}
	c.tcp.SetDeadline(time.Now().Add(l.w.timeouts.handshake))
	// Most that hang never send anything; they get no TLS state at all.
	if err := c.wait(); err != nil {
		return nil, err
	}
	if !l.inside {
		c.tokens = l.w.computing
		if l.w.admission.isKnown(addrPort(c.RemoteAddr()).Addr()) {
			c.tokens = l.w.computingKnown // they do not queue behind a crowd of strangers
		}
	}
	c.takeToken()
	defer c.giveToken()
	t := tls.Server(c, l.tls)
	if err := t.Handshake(); err != nil {
		return nil, err
	}
	f = l.w.newFlow(c, t)
	f.Role = l.role
	if l.identify != nil {
		f.Peer, err = l.identify(t.ConnectionState())
	}
	if l.sort != nil {
		l.sort(l, f, err)
		err = nil
	}
	if err == nil && l.ws.mode != wsNever && f.Role != RoleFederation {
		err = l.upgrade(f)
	}
	c.tcp.SetDeadline(time.Time{})
	return f, err
}

func (l *listener) trouble(err error) {
	if missed, ok := l.troubles.now(time.Now()); ok {
		l.w.log.Error("accepting paused", "listener", l.name, "err", err, "missed", missed)
	}
}

// newFlow makes the flow of a connection whose handshake is over.
func (w *wire) newFlow(c *conn, t *tls.Conn) *Flow {
	f := &Flow{
		ID:     w.lastID.Add(1),
		Local:  addrPort(c.LocalAddr()),
		Remote: addrPort(c.RemoteAddr()),
		w:      w,
		conn:   c,
		tls:    t,
	}
	f.in.framer.Limits = w.limits
	return f
}

// addrPort is the address of a TCP connection. IPv4 is IPv4, also on a socket
// that takes both.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// sometimes lets one event a second through to the log and counts the others,
// so that nobody outside can fill our disk.
type sometimes struct {
	mu     sync.Mutex
	last   time.Time // guarded by mu
	missed int       // guarded by mu
}

// now reports whether to log, and how many events were left out before.
func (s *sometimes) now(t time.Time) (missed int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.Sub(s.last) < time.Second {
		s.missed++
		return 0, false
	}
	missed, s.missed, s.last = s.missed, 0, t
	return missed, true
}
