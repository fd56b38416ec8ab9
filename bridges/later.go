package bridges

import (
	"context"
	"math"
	"sync"
	"time"
)

// A Later gives refusals at moments that say nothing of how they were found: at
// whole quarters of a second, and never sooner than one after the question. A
// stranger who asks for a user that does not exist, one who may not be asked for and
// one who does not want him then cannot tell them apart by the time, as long as what
// looks for the user takes less than that. It is safe for concurrent use.
type Later struct {
	wake  chan struct{}
	began time.Time // moments are counted from here, so that setting the clock moves none

	mu    sync.Mutex // guards what follows
	queue []refusal  // in the order of due
	most  int
}

// A refusal is what is to be done when it is due.
type refusal struct {
	due time.Duration
	do  func()
}

// quantum is between the moments.
const quantum = 250 * time.Millisecond

// mostRefusals bounds what waits.
const mostRefusals = 4096

// NewLater makes one; it does nothing until it runs.
func NewLater() *Later {
	return &Later{wake: make(chan struct{}, 1), began: time.Now(), most: mostRefusals}
}

// moment is when a question that arrived then may be refused, now at the soonest.
func moment(arrived, now time.Duration) time.Duration {
	return (max(arrived+quantum, now) + quantum - 1).Truncate(quantum)
}

// Do calls do at the moment for a question that arrived then, on the goroutine of
// Run: it must not wait. It reports false, and never calls, if too many wait. Then
// the question is best left without an answer, whatever that would have been.
func (l *Later) Do(arrived time.Time, do func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= l.most {
		return false
	}
	due := moment(arrived.Sub(l.began), time.Since(l.began))
	at := len(l.queue)
	for at > 0 && l.queue[at-1].due > due {
		at-- // only what arrived long ago stands behind what arrived now
	}
	l.queue = append(l.queue, refusal{})
	copy(l.queue[at+1:], l.queue[at:])
	l.queue[at] = refusal{due, do}
	if at == 0 {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// Run works until ctx is done. What waits then is done at once, since the refusals
// are owed.
func (l *Later) Run(ctx context.Context) {
	clock := time.NewTimer(time.Hour)
	defer clock.Stop()
	for {
		next := l.next(time.Since(l.began))
		clock.Reset(next)
		select {
		case <-ctx.Done():
			l.next(math.MaxInt64)
			return
		case <-l.wake:
		case <-clock.C:
		}
	}
}

// next does what is due, and returns how long nothing will be.
func (l *Later) next(now time.Duration) time.Duration {
	for {
		l.mu.Lock()
		if len(l.queue) == 0 {
			l.queue = nil
			l.mu.Unlock()
			return time.Hour
		}
		first := l.queue[0]
		if first.due > now {
			l.mu.Unlock()
			return first.due - now
		}
		l.queue[0] = refusal{}
		l.queue = l.queue[1:]
		l.mu.Unlock()
		first.do()
	}
}
