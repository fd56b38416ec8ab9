package s2s

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// leave ends the stream from outside of its goroutine. The reading goroutine
// sees it through; the first call counts. With a fault it ends at once. Without one
// it takes no more stanzas, waits for what becomes of those it has, says goodbye,
// and lets the other side finish (RFC 6120 §4.4).
func (st *stream) leave(f *fault, why error) {
	st.mu.Lock()
	if st.shut {
		st.mu.Unlock()
		return
	}
	st.shut, st.why, st.polite = true, why, f == nil
	if f != nil {
		f.err = why
		st.why = f
		st.leaveBy = time.Unix(1, 0)
	} else {
		st.leaveBy = time.Now().Add(st.s.limits.Goodbye)
	}
	st.armLocked()
	st.mu.Unlock()
	st.drained()
}

// eased is called when stanzas are done. Routes for whose stanzas there was no room
// try again.
func (st *stream) eased() {
	st.mu.Lock()
	var routes []*route
	if st.crowded {
		st.crowded = false
		routes = st.routes
	}
	st.mu.Unlock()
	for _, r := range routes {
		r.flush()
	}
	st.drained()
}

// drained says goodbye if the stream is to be left and nothing is on it any more.
// Routes that sent on it go elsewhere from now on; while something is on it they
// wait for that, so that it comes first.
func (st *stream) drained() {
	st.mu.Lock()
	if !st.polite || st.items.n > 0 || st.said {
		st.mu.Unlock()
		return
	}
	st.farewellLocked()
	routes := st.routes
	st.mu.Unlock()
	st.wake()
	for _, r := range routes {
		r.detach(st)
	}
}

// farewellLocked queues the last acknowledgement (XEP-0198 §4) and the end tag.
func (st *stream) farewellLocked() {
	if st.said || !st.opened {
		return
	}
	if st.acks {
		st.sayLocked(st.acknowledgement())
	}
	st.said = true
	st.out = append(st.out, ending...)
	st.offset += uint64(len(ending))
}

// farewellTime is how long the last words of a stream may take.
const farewellTime = 2 * time.Second

// end is the end of every stream: nothing new goes on it, what is not done goes
// back to where it came from, the other side is told why, and all are told that it
// is no more.
func (st *stream) end(err error) {
	s := st.s
	st.mu.Lock()
	st.shut, st.ended = true, true
	if st.why != nil && (isTimeout(err) || vanished(err)) {
		err = st.why // the other one is only how we noticed
	}
	dead := st.broken || vanished(err) && err != io.EOF || errors.Is(err, errHandshake)
	said := st.said
	if st.items.n > 0 && !said {
		st.out = st.out[:0] // goes elsewhere
	}
	conn := st.conn
	st.endBy = time.Now().Add(farewellTime)
	_ = conn.SetWriteDeadline(st.endBy)
	st.mu.Unlock()
	if dead {
		_ = conn.Close()
	} else {
		st.flush()
	}
	close(st.quit)
	<-st.writer

	st.requeue(err)
	s.left(st)
	st.tell(err)
	if !dead {
		st.goodbye(err, said)
	}
	_ = conn.Close()
}

// goodbye says what is wrong, and ends our side of the stream. The writer has gone.
func (st *stream) goodbye(err error, said bool) {
	var out []byte
	f := faultOf(err)
	if st.acks && !said && st.opened {
		// What we took need not be sent again (XEP-0198 §4).
		out = stanza.Append(out, st.acknowledgement())
	}
	switch {
	case said:
	case f != nil:
		if !st.opened {
			// The header must come first (RFC 6120 §4.9.1.2).
			h := header{from: st.local, to: st.remote}
			if st.in {
				h = header{from: st.s.first, id: newID()}
			}
			out = h.append(out)
		}
		out = stanza.Append(out, streamError(f))
		out = append(out, ending...)
	case st.opened:
		out = append(out, ending...)
	}
	_ = st.conn.SetDeadline(time.Now().Add(farewellTime))
	if len(out) > 0 {
		if _, err := st.conn.Write(out); err != nil {
			return
		}
	}
	if st.tls != nil {
		_ = st.tls.CloseWrite() // RFC 6120 §4.4
	}
	if err == io.EOF && !st.in {
		return
	}
	// Closing with something unread would reset the connection, and what we said
	// could be lost.
	ctx, cancel := context.WithTimeout(st.s.base, time.Second)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = st.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, _ = io.CopyN(io.Discard, st.conn, 64<<10)
}

// requeue gives back what was not done.
func (st *stream) requeue(cause error) {
	st.mu.Lock()
	items := st.items.take(st.items.n)
	routes := st.routes
	st.routes = nil
	st.mu.Unlock()
	for i, r := range routes {
		var mine []item
		for _, it := range items {
			if it.route == r {
				mine = append(mine, it)
			}
		}
		if !slices.Contains(routes[:i], r) {
			r.back(st, mine, cause)
		}
	}
}

// tell logs that a stream is no more.
func (st *stream) tell(err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	reason := "it ended the stream"
	if err != nil && err != io.EOF {
		reason = words(err.Error())
	}
	s := st.s
	switch {
	case !st.known:
	case st.stranger && st.confirmed:
		s.log.Debug("dialback key confirmed", "addr", st.addr, "local", st.local, "remote", st.remote)
	case st.stranger:
		if st.unproved != "" {
			reason += "; " + st.unproved
		}
		s.strangers.log(source(st.addr).String(), "stream refused", "addr", st.addr, "local", st.local, "remote", st.remote, "reason", reason)
	default:
		direction, log := "out", s.log.Info
		if st.in {
			direction, log = "in", func(msg string, args ...any) { s.domainLog.log(Owner(st.remote), msg, args...) }
		}
		log("stream closed", "direction", direction, "local", st.local, "remote", st.remote, "reason", reason,
			"sent", st.sent.Load(), "received", st.received.Load(), "seconds", int(time.Since(st.began).Seconds()))
	}
}
