package s2s

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A stanza may be the reason why the other side ends each stream that it is on, and
// it may be that there is no stream that holds: at some point it is given up.
const (
	maxEnds = 3 // streams that ended with an error of theirs
	maxAge  = 5 * time.Minute
)

// A route is the way from a domain of ours to a foreign one: what waits, and the
// stream that it goes on. It takes the first stream that there is, whoever
// opened it.
type route struct {
	s *Server
	pair
	holding *holding

	mu       sync.Mutex // before that of a stream
	retired  bool       // no longer in the table
	stopped  bool       // takes nothing any more
	waiting  queue
	cur      *stream
	spares   []*stream // others that it could take
	building bool
	cancel   context.CancelFunc // of the building
	failures int                // in a row
	err      error              // the last of them
	retry    time.Time          // not to be tried before
	since    time.Time          // of the state
	used     time.Time
}

// send takes a stanza. It never waits, and reports whether a stream is there.
func (r *route) send(it *item) (up bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.retired {
		return false, errRetired
	}
	if r.stopped {
		return false, ErrStopped
	}
	now := time.Now()
	r.used = now
	it.held = true
	if r.holding.octets.Add(int64(len(it.octets))) > r.s.limits.share() {
		return r.cur != nil, fmt.Errorf("%w: for all domains of its owner", ErrQueueFull)
	}
	if r.cur != nil && r.waiting.n == 0 {
		switch r.cur.put(it) {
		case fitTaken:
			return true, nil
		case fitFull:
			return true, ErrQueueFull
		case fitTooLarge:
			return true, ErrTooLarge
		}
	}
	l := &r.s.limits
	switch {
	case r.waiting.n >= l.Queue || r.waiting.octets+len(it.octets) > l.QueueOctets:
		return false, ErrQueueFull
	case r.cur == nil && !r.building && now.Before(r.retry):
		return false, r.err
	}
	it.until = now.Add(l.Build)
	r.waiting.push(it)
	if r.cur == nil {
		r.buildLocked()
	}
	return r.cur != nil, nil
}

// buildLocked begins to build a stream, unless that is under way.
func (r *route) buildLocked() {
	if r.building {
		return
	}
	ctx, cancel := context.WithTimeout(r.s.base, r.s.limits.Build)
	r.building, r.cancel, r.since = true, cancel, time.Now()
	pause := time.Until(r.retry)
	if !r.s.spawn(func() { r.build(ctx, pause) }) {
		cancel()
		r.building = false
		r.s.settleLater(r.waiting.take(r.waiting.n), ErrStopped)
	}
}

// build builds a stream, and reads it until its end.
func (r *route) build(ctx context.Context, pause time.Duration) {
	st, err := r.tryBuild(ctx, pause)
	r.cancel()
	if err != nil {
		r.built(err)
		return
	}
	// Its own goroutine is this one.
	r.s.opening(st)
	r.attach(st)
	st.end(st.safely(st.read))
}

func (r *route) tryBuild(ctx context.Context, pause time.Duration) (*stream, error) {
	if pause > 0 {
		t := time.NewTimer(pause)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	owner := Owner(r.remote)
	if r.s.builds.take(ctx, owner) != nil {
		return nil, fmt.Errorf("%w: too many streams are being built", ErrTimeout)
	}
	defer r.s.builds.leave(owner)
	return r.s.connect(ctx, r.pair, how{})
}

// built says that no stream could be built. What waits hears why at once: its
// senders wait for that. What was on a stream before may yet come through, until its
// time is over.
func (r *route) built(err error) {
	r.mu.Lock()
	r.building, r.since = false, time.Now()
	if r.cur != nil {
		// Another stream came while we tried.
		r.mu.Unlock()
		return
	}
	if r.s.base.Err() != nil {
		err = ErrStopped
	}
	err = as(err)
	r.failures++
	r.err = err
	pause := r.pause()
	r.retry = r.since.Add(pause)
	items := r.waiting.take(r.waiting.n)
	if k := kind(err); k == ErrUnreachable || k == ErrTimeout {
		again := func(it item) bool { return it.written && it.until.After(r.retry) && !r.stopped }
		for i := range items {
			if again(items[i]) {
				r.waiting.push(&items[i])
			}
		}
		items = slices.DeleteFunc(items, again)
	}
	if r.waiting.n > 0 {
		r.buildLocked()
	}
	failures := r.failures
	r.mu.Unlock()
	if !errors.Is(err, ErrStopped) {
		r.s.log.Warn("domain not reached", "local", r.local, "remote", r.remote, "reason", err, "stanzas", len(items), "attempt", failures, "again_in", pause)
	}
	r.s.fail(items, err)
}

// pause is how long a domain is not tried after so many failures in a row.
func (r *route) pause() time.Duration {
	first := r.s.limits.Pause
	return min(first<<min(r.failures-1, 10), 60*first)
}

// attach gives the route a stream, and reports whether it is still one. What waits
// goes out on it.
func (r *route) attach(st *stream) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.retired {
		return false
	}
	if r.cur == st || slices.Contains(r.spares, st) {
		return true
	}
	if !st.in {
		r.building = false
	}
	st.mu.Lock()
	usable := !st.shut && !st.ended
	if usable {
		st.routes = append(st.routes, r)
	}
	st.mu.Unlock()
	switch {
	case !usable:
		if r.cur == nil && r.waiting.n > 0 {
			r.buildLocked()
		}
	case r.cur != nil:
		r.spares = append(r.spares, st)
	default:
		// One that is being built goes on: the other side may use it already.
		r.takeLocked(st)
	}
	return true
}

// takeLocked makes a stream the one that stanzas go on.
func (r *route) takeLocked(st *stream) {
	r.cur, r.since, r.used = st, time.Now(), time.Now()
	r.err = nil
	r.flushLocked()
}

// flushLocked puts what waits on the stream, as far as it takes it.
func (r *route) flushLocked() {
	for r.waiting.n > 0 {
		it := r.waiting.pop()
		switch r.cur.put(&it) {
		case fitTaken:
		case fitTooLarge:
			r.s.settleLater([]item{it}, ErrTooLarge)
		default:
			r.waiting.pushFront(&it)
			return
		}
	}
}

// detach takes a stream from the route. The next one is a spare, or is built when
// there is something to send.
func (r *route) detach(st *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.detachLocked(st)
	if r.cur == nil && r.waiting.n > 0 {
		r.buildLocked()
	}
}

func (r *route) detachLocked(st *stream) {
	for i, other := range r.spares {
		if other == st {
			r.spares = append(r.spares[:i:i], r.spares[i+1:]...)
			break
		}
	}
	if r.cur != st {
		return
	}
	r.cur, r.since = nil, time.Now()
	if n := len(r.spares); n > 0 {
		next := r.spares[n-1]
		r.spares = r.spares[:n-1]
		r.takeLocked(next)
	}
}

// back takes the stream from the route, and what was not done on it: that goes out
// again before all that is new, on the next stream.
func (r *route) back(st *stream, items []item, cause error) {
	now := time.Now()
	_, complained := errors.AsType[*complaint](cause)
	var lost []item
	r.mu.Lock()
	was := r.cur == st
	for i := len(items) - 1; i >= 0; i-- {
		it := &items[i]
		if complained {
			it.ends++
		}
		if it.ends >= maxEnds || now.Sub(it.born) > maxAge || r.s.stopping() || !r.s.allows(r.remote) {
			lost = append(lost, *it)
			continue
		}
		it.until = now.Add(r.s.limits.Build)
		r.waiting.pushFront(it)
	}
	if was {
		if now.Sub(st.began) > time.Minute {
			r.failures = 0
		}
		// A stream that ends as soon as it is there is no better than none.
		if now.Sub(st.began) < 5*time.Second && len(items) > 0 {
			r.failures++
			r.retry = now.Add(r.pause() - r.s.limits.Pause)
		} else {
			r.retry = time.Time{}
		}
		if len(items) > 0 {
			r.err = as(cause)
		}
	}
	r.detachLocked(st)
	if r.cur != nil {
		r.flushLocked()
	} else if r.waiting.n > 0 {
		r.buildLocked()
	}
	r.mu.Unlock()
	slices.Reverse(lost)
	r.s.fail(lost, as(cause))
}

// flush puts what waits on the stream, when there is room again.
func (r *route) flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cur != nil {
		r.flushLocked()
	}
}

// sweep ends the waiting of what has waited too long, and reports whether the route
// is of no use any more.
func (r *route) sweep(now time.Time) (idle bool) {
	r.mu.Lock()
	n := 0
	for n < r.waiting.n && !r.waiting.at(n).until.IsZero() && now.After(r.waiting.at(n).until) {
		n++
	}
	items := r.waiting.take(n)
	idle = r.cur == nil && len(r.spares) == 0 && !r.building && r.waiting.n == 0 && now.Sub(r.used) > time.Minute && now.Sub(r.retry) > time.Minute
	r.retired = r.retired || idle
	err := r.err
	r.mu.Unlock()
	if err == nil {
		err = ErrTimeout
	} else {
		err = fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	r.s.fail(items, err)
	return idle
}

// shut gives up what waits, and ends the streams; for good at the end of Serve.
func (r *route) shut(err error, forGood bool) {
	r.mu.Lock()
	r.stopped = r.stopped || forGood
	items := r.waiting.take(r.waiting.n)
	streams := append([]*stream(nil), r.spares...)
	if r.cur != nil {
		streams = append(streams, r.cur)
	}
	if r.cancel != nil {
		r.cancel()
	}
	r.mu.Unlock()
	r.s.fail(items, err)
	for _, st := range streams {
		st.leave(nil, err)
	}
}
