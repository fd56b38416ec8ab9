package s2s

import (
	"runtime"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// maxSpare is how large a buffer is kept for the next turn.
const maxSpare = 64 << 10

var request = stanza.Append(nil, stanza.New(nsManage, "r"))

// writing is the goroutine that writes. What was queued while it wrote, or in the
// same turn, goes out in one write.
func (st *stream) writing() {
	defer close(st.writer)
	for {
		select {
		case <-st.ready:
		case <-st.quit:
			return
		}
		// Whoever woke us may have more.
		runtime.Gosched()
		for st.turn() {
		}
	}
}

// turn writes what is there, and reports whether there may be more.
func (st *stream) turn() bool {
	st.mu.Lock()
	if len(st.out) == 0 || st.broken {
		st.quiet.Broadcast()
		st.mu.Unlock()
		return false
	}
	// One request for many stanzas, and one at a time: the answer asks for the
	// next (XEP-0198 §4).
	now := time.Now()
	if st.acks && st.requested.IsZero() && st.items.n > 0 && !st.said {
		st.out = append(st.out, request...)
		st.offset += uint64(len(request))
		st.requested = now
	}
	batch, conn := st.out, st.conn
	st.out, st.spare = st.spare[:0], nil
	st.taken = st.offset
	st.busy = true
	deadline := now.Add(st.s.limits.Answer)
	if !st.endBy.IsZero() {
		deadline = st.endBy
	}
	_ = conn.SetWriteDeadline(deadline)
	st.mu.Unlock()

	n, err := conn.Write(batch)
	// TLS may have to write by itself while we read.
	_ = conn.SetWriteDeadline(time.Time{})

	st.mu.Lock()
	st.busy = false
	st.written += uint64(n)
	st.wrote = now
	if cap(batch) <= maxSpare {
		st.spare = batch[:0]
	}
	items := st.gone()
	if err != nil {
		st.broken = true
		if st.why == nil {
			st.why = err
		}
	}
	st.quiet.Broadcast()
	st.mu.Unlock()

	if len(items) > 0 {
		st.s.settle(items, Outcome{Sent: true})
		st.eased()
	}
	if err != nil {
		// The reader sees it and ends the stream.
		_ = conn.Close()
		return false
	}
	return true
}

// gone takes the stanzas that are written and that nobody will acknowledge.
func (st *stream) gone() []item {
	n := 0
	for n < st.items.n {
		if it := st.items.at(n); it.counted || it.end > st.written {
			break
		}
		n++
	}
	if n > 0 {
		st.spoke = time.Now()
	}
	return st.items.take(n)
}

// flush waits until all is written, or nothing can be.
func (st *stream) flush() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for (len(st.out) > 0 || st.busy) && !st.broken {
		st.quiet.Wait()
	}
}
