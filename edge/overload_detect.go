package edge

import "time"

// watchOverload looks for overload until the edge ends.
func (e *Edge) watchOverload() {
	clock := time.NewTicker(overloadTick)
	defer clock.Stop()
	w := overloadWatch{e: e, last: e.table.now()}
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-clock.C:
			w.tick()
		}
	}
}

// An overloadWatch is what the detector remembers from tick to tick.
type overloadWatch struct {
	e       *Edge
	control control
	last    int64     // when the last tick ended
	spare   []*demand // the list of active ones, next time
	told    []*demand // who has feedback of its own
	since   time.Time // the beginning of the overload; zero: nobody is refused
	refused uint64    // since then
	seq     int64     // of the last feedback
}

// tick looks at what happened since the last one, and says what may begin in
// the next.
func (w *overloadWatch) tick() {
	o := &w.e.overload
	l := load{delay: o.delay()}
	if !w.control.on && l.delay <= delayTarget {
		w.control.step(l) // nothing is counted, and nothing is to be done
		w.last = w.e.table.now()
		return
	}
	now := w.e.table.now()
	active, passed := w.gather(&l, now-w.last)
	w.last = now
	w.control.step(l)
	w.apply(passed, now)
	w.report(l)
	w.tell(active)
	w.spare = active[:0]
}

// gather takes what was counted in a tick of so many nanoseconds.
func (w *overloadWatch) gather(l *load, ns int64) (active []*demand, passed int64) {
	o := &w.e.overload
	o.mu.Lock()
	active, o.active = o.active, w.spare
	o.tick.Add(1)
	o.mu.Unlock()
	perSecond := float64(time.Second) / float64(max(ns, 1))
	for _, d := range active {
		d.last = float64(d.wanted.Swap(0)) * perSecond
		begun := float64(d.begun.Swap(0)) * perSecond
		passed += d.passed.Swap(0)
		side := &l.outside
		if d.pool {
			side = &l.inside
		}
		side.largest = max(side.largest, d.last)
		side.begun += begun
	}
	return active, passed
}

// Refusing costs something, too. In one tick no more is refused than so many
// times what was let through in the one before, and leastRefused; who wants to
// be refused beyond that is not read until the next.
const (
	refusedPart  = 4
	leastRefused = 100
)

// apply puts what the control says in force.
func (w *overloadWatch) apply(passed, now int64) {
	o := &w.e.overload
	o.outside.Store(w.control.outside.perSecond())
	o.inside.Store(w.control.inside.perSecond())
	w.refused += uint64(o.refused.Swap(0))
	o.most.Store(refusedPart*passed + leastRefused)
	o.next.Store(now + int64(overloadTick))
	o.on.Store(w.control.on)
}

// perSecond is the pace as octets per second.
func (p *pace) perSecond() int64 {
	if p.limit == 0 {
		return unlimited
	}
	return int64(p.limit)
}

// report says in the log when an overload begins and when it is over.
func (w *overloadWatch) report(l load) {
	limited := w.control.outside.limit > 0 || w.control.inside.limit > 0
	switch {
	case limited && w.since.IsZero():
		w.since, w.refused = time.Now(), 0
		w.e.log.Warn(logOverload, keyMillis, l.delay.Milliseconds())
	case !limited && !w.since.IsZero():
		w.e.log.Info(logRelief, "refused", w.refused, "seconds", time.Since(w.since).Seconds())
		w.since = time.Time{}
	}
}
