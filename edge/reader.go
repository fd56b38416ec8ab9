package edge

import (
	"errors"
	"runtime"

	"github.com/sipedge/sipedge/sip"
)

// firstInput is how much room for plaintext a turn starts with: one full TLS
// record (RFC 8446 §5.1).
const firstInput = 16 << 10

var (
	ping = []byte("\r\n\r\n") // what a client sends (RFC 5626 §4.4.1)
	pong = []byte("\r\n")     // and its answer
)

// input is the reader's side of a flow: what has arrived of a message that is
// not complete.
type input struct {
	framer sip.Framer
	buf    *buffer // nil: nothing
	at     int     // how far buf.b has been consumed
	inside bool    // buf.b[at:] is the beginning of a message, or fragments have come
	need   int     // octets of a frame that is incomplete, if known; else 0
	early  bool    // buf has what came with the upgrade and was not looked at
}

// A reading is what a reader needs only while it has something to read. Idle
// flows hold none.
type reading struct {
	turn     turn
	m        sip.Message
	complete bool // a message or keepalive was complete in this turn
	pinged   pinged
}

// run is the flow's goroutine. It is started when the handshake is over, so it
// does not keep the stack that the handshake needed.
func (f *Flow) run() {
	f.conn.reader.Store(true)
	err := f.read()
	// If writing failed, the connection was closed under the reader for that.
	if failure := f.conn.failure(); failure != nil {
		err = failure
	}
	f.close(err)
	f.hurry(false)
	f.conn.tcp.Close()
	f.dropInput()
	f.conn.discard()
	f.letGo()
	f.w.forget(f)
	f.w.guard(f, func() { f.w.h.gone(f, f.cause(err)) })
}

// read handles what arrives until the flow ends. It waits in the poller, below
// TLS: a waiting flow keeps a small stack and no buffer.
func (f *Flow) read() (err error) {
	f.conn.nonblocking = true
	// The first messages may have come together with the end of the handshake.
	if err := f.takeTurn(); err != nil {
		return err
	}
	f.takePause()
	waitErr := f.conn.raw.Read(func(fd uintptr) bool {
		for {
			f.giveWay()
			if f.full, err = f.conn.fill(fd); err == nil {
				f.measure(fd)
				err = f.takeTurn()
				f.takePause()
			}
			switch err {
			case nil:
				// A short read says that the socket is empty, but not whether
				// the peer's FIN came with it; only another read does.
			case errWouldBlock:
				f.caughtUp()
				err = nil
				return false
			default:
				return true
			}
		}
	})
	if err == nil {
		err = waitErr
	}
	return err
}

// takeTurn handles all that has been read from the socket. A panic on the way
// is a bug, and the end of this flow alone: what was queued to others still
// leaves.
func (f *Flow) takeTurn() (err error) {
	w := f.w
	r := w.newReading()
	w.reading.Add(1)
	defer func() {
		if p := recover(); p != nil {
			err = f.panicked(p)
		}
		w.reading.Add(-1)
		r.turn.end()
		w.readings.Put(r)
	}()
	f.limit()
	err = f.consume(r)
	f.answerPing(r)
	f.settle(r)
	if f.Role == RoleRemote && !f.hold() && err == nil {
		err = errUnfinished
	}
	if len(r.turn.dirty) > 0 && w.reading.Load() > 1 && !(f.full && f.Role == RoleInternal) {
		// Others are reading too. Let them go first: what they queue to the
		// flows that we are about to flush goes along in one record. But answers
		// of home servers that have piled up go before new requests: one
		// connection has them all, and would get one turn of many.
		runtime.Gosched()
	}
	return err
}

// consume decrypts and handles until nothing whole is left.
func (f *Flow) consume(r *reading) error {
	if f.in.early {
		f.in.early = false
		if err := f.handle(r); err != nil {
			return err
		}
	}
	for {
		if f.gate.Load() != flowOpen {
			return f.linger()
		}
		b := f.in.room(f.w)
		space := b.b[len(b.b):cap(b.b)]
		n, err := f.readPlain(space)
		if n > 0 {
			b.b = b.b[:len(b.b)+n]
			if err := f.handle(r); err != nil {
				return err
			}
		}
		switch {
		case err == errWouldBlock:
			return nil
		case err != nil:
			return err
		case n < len(space) && f.conn.available() == 0:
			// TLS would find out the same, but allocates for it.
			return nil
		}
	}
}

// linger throws away what arrives on a flow that is ending. After a fault in
// TLS itself there is nobody to wait for.
func (f *Flow) linger() error {
	if f.gate.Load() == flowClosed {
		return ErrFlowClosed
	}
	f.dropInput()
	f.conn.discard()
	return nil
}

// readPlain reads plaintext without waiting.
func (f *Flow) readPlain(p []byte) (int, error) {
	if f.tls != nil {
		return f.tls.Read(p)
	}
	return f.conn.Read(p)
}

// handle takes whole messages and keepalives from the input, in order.
func (f *Flow) handle(r *reading) error {
	if f.ws != nil {
		return f.handleFrames(r)
	}
	in := &f.in
	for in.at < len(in.buf.b) {
		kind, n, err := in.framer.Next(in.buf.b[in.at:], &r.m)
		if err != nil {
			return f.broken(r, err)
		}
		if kind == sip.Incomplete {
			in.inside = true
			return nil
		}
		in.at += n
		in.inside = false
		r.complete = true
		switch kind {
		case sip.Complete:
			f.w.h.message(&r.turn, f, &r.m)
		case sip.Ping:
			// RFC 5626 §3.5.1. A peer that pings and does not read the pongs
			// ends here when its queue is full.
			err = f.queueRaw(&r.turn, pong)
		case sip.Blank:
			if f.ponged() {
				in.framer.Pong()
			}
		}
		if err != nil {
			return err
		}
		if f.gate.Load() != flowOpen {
			return nil
		}
	}
	return nil
}

// broken answers, if that is possible, and ends the flow: nobody can tell where
// the next message begins.
func (f *Flow) broken(r *reading, err error) error {
	var fault *sip.Error
	if !errors.As(err, &fault) {
		return err
	}
	f.w.h.broken(&r.turn, f, &r.m, fault)
	f.finish(err)
	return nil
}

// room returns the input buffer with space in it. It grows with what has come
// and not with what a Content-Length promises: promises are cheap to make.
func (in *input) room(w *wire) *buffer {
	if in.buf == nil {
		in.buf, in.at = w.buffers.get(firstInput), 0
		return in.buf
	}
	rest := len(in.buf.b) - in.at
	switch {
	case rest == 0 && cap(in.buf.b) >= firstInput:
		in.buf.b, in.at = in.buf.b[:0], 0
	case rest == 0:
		in.move(w, firstInput)
	case len(in.buf.b) < cap(in.buf.b): // there is space
	case in.at >= cap(in.buf.b)/2:
		in.buf.b = in.buf.b[:copy(in.buf.b, in.buf.b[in.at:])]
		in.at = 0
	default:
		size := 2 * rest
		if need := max(in.framer.Need(), in.need); need > 0 {
			size = min(size, need)
		}
		in.move(w, max(firstInput, size))
	}
	return in.buf
}

// move moves what is left to a buffer of size n.
func (in *input) move(w *wire, n int) {
	b := w.buffers.get(n)
	b.b = append(b.b, in.buf.b[in.at:]...)
	w.buffers.put(in.buf)
	in.buf, in.at = b, 0
}

// drop gives the input buffer back.
func (in *input) drop(w *wire) {
	w.buffers.put(in.buf)
	in.buf, in.at = nil, 0
}

// dropInput gives back all that has come and is of no use any more.
func (f *Flow) dropInput() {
	f.in.drop(f.w)
	if f.ws != nil {
		f.ws.release(&f.w.buffers)
	}
}

// settle is called at the end of a turn: an empty buffer goes back, and what
// there is of a message moves to where it costs no more than it must. A peer
// that sends half a message and waits holds little more than that half.
func (f *Flow) settle(r *reading) {
	in := &f.in
	if in.buf != nil {
		rest := len(in.buf.b) - in.at
		if rest == 0 {
			in.drop(f.w)
		} else if 4*rest < cap(in.buf.b) {
			in.move(f.w, rest)
		}
	}
	f.conn.settle()
	f.clocks.turn(f.w.ticks(), in.inside || f.conn.buffered() > 0, r.complete)
}
