package edge

// A turn is what one goroutine does between two waits: a reader all messages
// that had arrived, a timer all that was due. Flows written to in a turn are
// flushed at its end, so messages that go the same way share a TLS record and
// a system call. The zero turn is ready; it is for one goroutine.
type turn struct {
	dirty []*Flow // written to and not flushed yet
	at    int64   // when it began, for weigh; 0: nobody has asked
}

// end flushes what was queued in this turn. Nothing may stay queued when a
// goroutine waits.
func (t *turn) end() {
	for i, f := range t.dirty {
		f.flush()
		t.dirty[i] = nil
	}
	t.dirty = t.dirty[:0]
	t.at = 0
}

// note puts f on t's list. f.mu is held.
func (f *Flow) note(t *turn) {
	if f.noted != t {
		f.noted = t
		t.dirty = append(t.dirty, f)
	}
}

// room returns the buffer to add n octets to, and has room for them and for
// what a message grows by on its way through us. What waits is bounded, but one
// message always fits, however long it is. f.mu is held.
func (f *Flow) room(n int) (*buffer, error) {
	if f.gate.Load() != flowOpen {
		return nil, ErrFlowClosed
	}
	waiting := int(f.conn.pending.Load())
	if f.out != nil {
		waiting += len(f.out.b)
	}
	if waiting > 0 && waiting+n > f.w.maxOut {
		return nil, ErrFlowFull
	}
	n += editRoom
	if f.out == nil {
		f.out = f.w.buffers.get(max(n, int(f.usual)))
		return f.out, nil
	}
	if old := f.out; len(old.b)+n > cap(old.b) {
		f.out = f.w.buffers.get(max(2*cap(old.b), len(old.b)+n))
		f.out.b = append(f.out.b, old.b...)
		f.w.buffers.put(old)
	}
	return f.out, nil
}

// editRoom is what a message may grow by when we add our Via and Record-Route.
// It is a guess that saves moving the buffer.
const editRoom = 512

// flush writes what is queued. If another goroutine is writing already, that
// one takes it along: whoever finds the flow busy leaves.
func (f *Flow) flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noted = nil
	if f.flushing {
		return
	}
	f.flushing = true
	for f.out != nil {
		b := f.out
		f.out = nil
		f.usual = int32(len(b.b))
		f.mu.Unlock()
		err := f.write(b.b)
		f.w.buffers.put(b)
		if err != nil {
			f.close(err)
		}
		f.mu.Lock()
	}
	f.flushing = false
	if f.gate.Load() == flowEnding && !f.shut {
		f.shut = true
		f.sayGoodbye()
	}
}

// sayGoodbye tells the peer that nothing more comes. f.mu is held: nothing can
// be queued in between, and nothing here waits for the peer.
func (f *Flow) sayGoodbye() {
	if f.tls != nil {
		f.tls.CloseWrite()
	}
	f.conn.closeWrite()
}
