package edge

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/sip"
)

// A Role says who is at the other end of a flow, by the listener that took it
// or by why it was dialled. The zero Role is nobody: no door opens for it.
type Role int

const (
	RoleNone       Role = iota
	RoleFederation      // another company's edge
	RoleInternal        // a home server of ours
	RoleRemote          // a user of ours, outside
	RoleOutside         // of listeners alone: a partner or a user, as the certificate says
	RoleBridge          // a public network, by a bridge in this process
)

// String is the role's name in configuration and logs.
func (r Role) String() string {
	switch r {
	case RoleFederation:
		return "federation"
	case RoleInternal:
		return "internal"
	case RoleRemote:
		return "remote"
	case RoleOutside:
		return "outside"
	case RoleBridge:
		return "bridge"
	}
	return "none"
}

// Why a flow takes no message, or ended.
var (
	ErrFlowClosed     = errors.New("edge: flow closed")
	ErrFlowFull       = errors.New("edge: flow has too much waiting to be sent")
	errIdle           = errors.New("edge: nothing received for too long")
	errMessageTimeout = errors.New("edge: message not complete in time")
	errNoPong         = errors.New("edge: keepalive not answered")
	errLingered       = errors.New("edge: peer did not close in time")
	errStopped        = errors.New("edge: stopped")
)

// A Flow is one connection, with what its certificate proved. Messages on it
// are handled in order, by one goroutine that does nothing else; anyone may
// queue messages to it, and nobody is ever made to wait for its peer.
type Flow struct {
	ID       uint64 // unique in this process
	Role     Role
	Peer     *certs.Identity // what the peer's certificate proved; nil without one
	Local    netip.AddrPort
	Remote   netip.AddrPort
	Listener string // its name in the configuration; "" if we dialled
	Key      string // what we dialled it for; "" if we did not
	Data     any    // the owner's

	state flowState

	w    *wire
	left *atomic.Int64 // the listener's count of connections; nil if we dialled
	// A bridge's flow has no connection: conn, tls and ws are nil, and so is what
	// belongs to them. It is open for ever.
	bridge *bridge
	conn   *conn
	tls    *tls.Conn // nil: plain TCP
	ws     *frames   // nil: no WebSocket; the reader's alone, but for being there
	in     input     // the reader's alone

	backlog backlog       // the reader's alone
	pause   time.Duration // before it reads again; the reader's alone
	full    bool          // more may wait in the socket; the reader's alone
	held    int           // octets that it counts for as unfinished; the reader's alone

	mu       sync.Mutex
	out      *buffer // queued messages, guarded by mu
	noted    *turn   // the last turn that has this flow on its list, guarded by mu
	flushing bool    // someone is writing, guarded by mu
	shut     bool    // our side has said goodbye, guarded by mu
	usual    int32   // octets of the last flush, guarded by mu
	reason   error   // why it is closed, guarded by mu

	gate    atomic.Int32 // flowOpen, flowEnding, flowClosed
	goodbye sync.Mutex   // held while the flow is closed and the other side is told why
	clocks  clocks
}

// States of a flow's gate.
const (
	flowOpen   int32 = iota
	flowEnding       // nothing more is queued; the last octets are on their way
	flowClosed
)

// closed reports whether the flow takes no more messages.
func (f *Flow) closed() bool { return f.gate.Load() != flowOpen }

// write sends plaintext; it does not wait for the peer.
func (f *Flow) write(b []byte) error {
	var err error
	if f.tls != nil {
		_, err = f.tls.Write(b)
	} else {
		_, err = f.conn.Write(b)
	}
	return err
}

// close ends the flow at once; what is queued is lost. The first reason
// stands. It may be called from anywhere, more than once, and calls nobody
// back: the reader tells the handler.
func (f *Flow) close(reason error) {
	if f.bridge != nil {
		return
	}
	f.goodbye.Lock() // who comes second, such as the reader, does not cut the first one short
	defer f.goodbye.Unlock()
	was := f.gate.Swap(flowClosed)
	if was == flowClosed {
		return
	}
	f.mu.Lock()
	if f.reason == nil {
		f.reason = reason
	}
	// A flush that is going on owns its buffer and finds this one gone.
	f.w.buffers.put(f.out)
	f.out = nil
	f.mu.Unlock()
	if f.ws != nil && was == flowOpen {
		_ = f.write(appendClose(nil, closeCodeOf(reason))) // if it can still be told
	}
	if f.tls != nil {
		f.tls.Close() // close_notify, then conn.Close
	} else {
		f.conn.Close()
	}
}

// finish sends what is queued, says goodbye and closes when the peer has done
// so too, or after the linger time. Closing at once while the peer still sends
// would make the kernel send a reset, which may overtake our last answer and
// destroy it unread.
func (f *Flow) finish(reason error) {
	if f.bridge != nil {
		return
	}
	f.mu.Lock()
	if f.reason == nil {
		f.reason = reason
	}
	ending := f.gate.CompareAndSwap(flowOpen, flowEnding)
	if ending && f.ws != nil {
		// Nothing may follow a Close frame (RFC 6455 §5.5.1): the gate is closed
		// where queueing looks at it, under the lock.
		if f.out == nil {
			f.out = f.w.buffers.get(smallestBuffer)
		}
		f.out.b = appendClose(f.out.b, closeCodeOf(reason))
	}
	f.mu.Unlock()
	if ending {
		f.clocks.ending.Store(f.w.ticks())
		f.flush()
	}
}

// cause is the reason why the flow ended, or err if nobody gave one.
func (f *Flow) cause(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reason != nil {
		return f.reason
	}
	return err
}

// start begins reading on a dialled flow. The handler hears of the flow first.
func (f *Flow) start() { f.w.start(f) }

// queue queues a message, changed by e. It never waits.
func (f *Flow) queue(t *turn, m *sip.Message, e *sip.Edit) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bridge != nil {
		return f.bridge.handEdited(m, e)
	}
	out, err := f.room(len(m.Raw()))
	if err != nil {
		return err
	}
	// If Append panics, out.b has not changed.
	if f.ws == nil {
		out.b = m.Append(out.b, e)
	} else {
		out.b = closeFrame(m.Append(openFrame(out.b), e), len(out.b))
	}
	f.note(t)
	return nil
}

// queueRaw queues octets: one message, or a keepalive.
func (f *Flow) queueRaw(t *turn, b []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bridge != nil {
		return f.bridge.hand(b)
	}
	out, err := f.room(len(b))
	if err != nil {
		return err
	}
	if f.ws == nil {
		out.b = append(out.b, b...)
	} else {
		out.b = appendMessage(out.b, b)
	}
	f.note(t)
	return nil
}
