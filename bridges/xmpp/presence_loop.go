package xmpp

import (
	"sync"
	"sync/atomic"
	"time"
)

// maxBatch is how many events are taken in one turn of the loop: as many share
// one write to the disk.
const maxBatch = 1024

// A loop handles events one after the other.
type loop struct {
	limit int
	wake  chan struct{}
	over  chan struct{}
	lost  atomic.Uint64

	mu     sync.Mutex // guards what follows
	queue  []func()
	closed bool
}

func (l *loop) init(limit int) {
	l.limit, l.wake, l.over = limit, make(chan struct{}, 1), make(chan struct{})
}

// offer adds an event from outside; false: there are too many, or the loop ends.
func (l *loop) offer(f func()) bool {
	l.mu.Lock()
	ok := !l.closed && len(l.queue) < l.limit
	if ok {
		l.queue = append(l.queue, f)
	}
	l.mu.Unlock()
	if !ok {
		l.lost.Add(1)
		return false
	}
	l.signal()
	return true
}

// post adds an event that follows from something that presence has begun, and is
// bounded by that.
func (l *loop) post(f func()) {
	l.mu.Lock()
	if !l.closed {
		l.queue = append(l.queue, f)
	}
	l.mu.Unlock()
	l.signal()
}

// close lets the loop end behind what it has.
func (l *loop) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
}

func (l *loop) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take takes the next events; over: there will be no more.
func (l *loop) take() (events []func(), over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.queue), maxBatch)
	events = l.queue[:n:n]
	if l.queue = l.queue[n:]; len(l.queue) == 0 {
		l.queue = nil
	}
	return events, l.closed && n == 0
}

// run calls turn with the events that came, and when wait says that it is time.
func (l *loop) run(turn func([]func()), wait func() time.Duration) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		events, over := l.take()
		if over {
			return
		}
		if len(events) == 0 && wait() > 0 {
			t.Reset(wait())
			select {
			case <-l.wake:
			case <-t.C:
			}
			continue
		}
		turn(events)
	}
}
