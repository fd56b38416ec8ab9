package bridges

import (
	"sync"
	"time"
)

// Warnings of an Endpoint are bounded, since what a flood says once it says a
// thousand times: so many in so long.
const (
	mostWarnings  = 20
	warningPeriod = 10 * time.Second
)

// warnings counts them.
type warnings struct {
	mu    sync.Mutex // guards what follows
	since time.Duration
	said  int
	left  int // out
}

// warn writes a line to the log, unless there were too many.
func (e *Endpoint) warn(message string, args ...any) {
	w := &e.warned
	now := e.clock.now()
	w.mu.Lock()
	left := 0
	if now-w.since >= warningPeriod {
		left = w.left
		w.since, w.said, w.left = now, 0, 0
	}
	quiet := w.said >= mostWarnings
	if quiet {
		w.left++
	} else {
		w.said++
	}
	w.mu.Unlock()
	if quiet {
		return
	}
	args = append(args, "bridge", e.name)
	if left > 0 {
		args = append(args, "left_out", left)
	}
	e.log.Warn(message, args...)
}
