package edge

import (
	"errors"
	"unicode/utf8"

	"github.com/sipedge/sipedge/sip"
)

// SIP over secure WebSocket (RFC 7118). Frames lie between TLS and SIP: each
// message of the WebSocket is one SIP message, or a keepalive. The upgrade is
// part of the handshake (ws_upgrade.go); after it a flow differs from others in
// how messages are found in its input (ws_frame.go), and how they leave. What
// frames a peer gets wrong and what it is told then is in ws_close.go.
//
// There are no extensions, compression least of all: a small frame could become
// a very long message. We never dial by WebSocket.

// A Transport is how messages travel on a flow.
type Transport int

const (
	TransportTCP Transport = iota
	TransportTLS
	TransportWSS
)

// String is the transport's name in configuration and logs.
func (t Transport) String() string {
	switch t {
	case TransportTLS:
		return "tls"
	case TransportWSS:
		return "wss"
	}
	return "tcp"
}

// Transport says how messages travel on f.
func (f *Flow) Transport() Transport {
	switch {
	case f.ws != nil:
		return TransportWSS
	case f.tls != nil:
		return TransportTLS
	}
	return TransportTCP
}

// over is how we name ourselves on flows of this transport.
func (s *side) over(t Transport) *side {
	if t == TransportWSS && s.web != nil {
		return s.web
	}
	return s
}

// webSide is a side by WebSocket. Via has a name of its own for it with TLS, a
// URI has not (RFC 7118 §5.1, §5.2).
func webSide(host string) *side { return newSide(host, "ws", "WSS") }

// newFrames is the reader's side of a new WebSocket.
func newFrames(l sip.Limits) *frames {
	s := new(frames)
	s.limit(l)
	return s
}

// limit sets how long a message may be.
func (s *frames) limit(l sip.Limits) {
	s.most = positive(l.Header, sip.DefaultHeader) + positive(l.Body, sip.DefaultBody)
}

func positive(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// A pinged is the last ping of a turn: only that is answered
// (RFC 6455 §5.5.3), so a flood of them costs us next to nothing.
type pinged struct {
	due     bool
	n       int
	payload [maxControl]byte
}

// handleFrames takes frames from the input, in order.
func (f *Flow) handleFrames(r *reading) error {
	in := &f.in
	for in.at < len(in.buf.b) {
		op, data, n, err := f.ws.next(&f.w.buffers, in.buf.b[in.at:])
		if err != nil {
			f.finish(err)
			return nil
		}
		if n == 0 {
			in.inside, in.need = true, f.ws.need
			return nil
		}
		in.at += n
		in.need = 0
		in.inside = f.ws.inside()
		// Pings between the fragments of a message give it no more time.
		r.complete = r.complete || !in.inside
		if err := f.frame(r, op, data); err != nil {
			return err
		}
		if f.gate.Load() != flowOpen {
			return nil
		}
	}
	return nil
}

// frame handles a message, or a control frame.
func (f *Flow) frame(r *reading, op opcode, data []byte) (err error) {
	switch op {
	case opText, opBinary:
		err = f.unwrap(r, op, data)
		if !f.ws.inside() {
			f.ws.release(&f.w.buffers)
		}
	case opPing:
		r.pinged.due, r.pinged.n = true, copy(r.pinged.payload[:], data)
	case opPong:
		f.clocks.answers.Store(true) // that something came says that it lives
	case opClose:
		f.finish(readClose(data))
	}
	return err
}

// unwrap handles what one message of the WebSocket holds: one SIP message
// (RFC 7118 §5), or a keepalive as on a stream (RFC 7118 §6). Anything else, be
// it half a message or two, is answered if possible, and ends the flow: who
// sends it means something else than we read.
func (f *Flow) unwrap(r *reading, op opcode, data []byte) error {
	switch {
	case op == opText && !utf8.Valid(data):
		f.finish(errNotUTF8)
		return nil
	case string(data) == string(ping):
		return f.queueRaw(&r.turn, pong)
	case string(data) == string(pong):
		return nil
	}
	limits := f.in.framer.Limits
	if err := r.m.Parse(data, limits); err != nil {
		return f.broken(r, err)
	}
	if len(r.m.Body()) > positive(limits.Body, sip.DefaultBody) {
		return f.broken(r, sip.Faultf(sip.StatusMessageTooLarge, "Body too large"))
	}
	f.w.h.message(&r.turn, f, &r.m)
	return nil
}

// slowPeer is how many octets may wait for a peer that still gets its pings
// answered. One that pings and reads nothing would otherwise fill its queue.
const slowPeer = 64 << 10

// answerPing sends the pong that is due at the end of a turn.
func (f *Flow) answerPing(r *reading) {
	if !r.pinged.due {
		return
	}
	r.pinged.due = false
	if f.conn.pending.Load() > slowPeer {
		return
	}
	_ = f.queueControl(&r.turn, opPong, r.pinged.payload[:r.pinged.n]) // a full queue is not the ping's fault
}

// queueControl queues a control frame.
func (f *Flow) queueControl(t *turn, op opcode, payload []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	out, err := f.room(len(payload))
	if err != nil {
		return err
	}
	out.b = appendFrame(out.b, op, payload)
	f.note(t)
	return nil
}

// keepOpen pings a peer that has been silent, so that what lies between us does
// not take the connection for dead: web pages cannot ping, and many HTTP proxies
// give up after a minute. It returns errNoPong if a peer that has answered
// before said nothing for as long again. One that never did may come through
// something that answers no pings, although it must.
func (f *Flow) keepOpen(t *turn, now, silent int32) error {
	c := &f.clocks
	interval := spread(f.w.limitTicks.frames, f.ID)
	switch at := c.pinged.Load(); {
	case at != 0 && c.heard.Load() >= at:
		c.pinged.Store(0)
	case at != 0 && now-at <= interval:
		return nil
	case at != 0 && c.answers.Load():
		return errNoPong
	}
	if silent <= interval {
		return nil
	}
	c.pinged.Store(now)
	if err := f.queueControl(t, opPing, nil); !errors.Is(err, ErrFlowClosed) {
		return err
	}
	return nil // it is ending, and the peer has its time to do so, too
}
