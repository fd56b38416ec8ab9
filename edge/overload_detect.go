package edge

import "time"

// watchOverload looks for overload until the edge ends.
func (e *Edge) watchOverload() {
	w := overloadWatch{e: e, last: e.table.now()}
	e.every(overloadTick, w.tick)
}

// An overloadWatch is what the detector remembers from tick to tick.
type overloadWatch struct {
	e       *Edge
	control control
	last    int64     // when the last tick ended
	usual   float64   // requests per second that we let through, about
	able    float64   // the most of that lately
	credit  int64     // refusals that were allowed
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
	if w.control.on && w.e.table.now()-w.last < int64(overloadTick)/2 {
		return // the last one came late, and says all about this one, too
	}
	l := load{delay: o.delay()}
	if !w.control.on && l.delay <= delayTarget {
		w.control.step(l) // nothing is counted, and nothing is to be done
		w.last = w.e.table.now()
		return
	}
	now := w.e.table.now()
	active := w.gather(&l, now-w.last)
	w.last = now
	w.control.step(l)
	w.apply()
	w.report(l)
	w.tell(active)
	w.spare = active[:0]
}

// gather takes what was counted in a tick of so many nanoseconds.
func (w *overloadWatch) gather(l *load, ns int64) (active []*demand) {
	o := &w.e.overload
	o.mu.Lock()
	active, o.active = o.active, w.spare
	o.tick.Add(1)
	o.mu.Unlock()
	perSecond := float64(time.Second) / float64(max(ns, 1))
	passed := 0.0
	for _, d := range active {
		d.last = float64(d.wanted.Swap(0)) * perSecond
		begun := float64(d.begun.Swap(0)) * perSecond
		passed += float64(d.passed.Swap(0)) * perSecond
		side := &l.outside
		if d.pool {
			side = &l.inside
		}
		side.largest = max(side.largest, d.last)
		side.wanted += d.last
		side.begun += begun
		if limit := w.control.paceOf(d); 2*d.last < limit {
			side.little++
		}
	}
	w.usual += newest * (passed - w.usual)
	w.able = max(w.usual, w.able*remember, 1)
	l.useful = w.usual / w.able
	return active
}

// Refusing costs something, too. No more is refused than so many times what we
// have been seen to do lately, and leastRefused in a tick; who wants to be refused
// beyond that is not read for a while. At three times of what the edge can do that
// is not reached.
const (
	refusedPart  = 6.0
	refusedFlood = 0.5 // where one peer makes the load: it waits in its own connections
	leastRefused = 100
	// savedTicks is for how many ticks what was not used up is kept: a flow that
	// rests comes back with all that came in the meantime.
	savedTicks = 4
	// What a tick adds to what we think that we can do, and how much of the most
	// that we could do is remembered a tick later.
	newest   = 0.2
	remember = 0.99
)

// apply puts what the control says in force.
func (w *overloadWatch) apply() {
	o := &w.e.overload
	o.outside.Store(w.control.outside.perSecond())
	o.inside.Store(w.control.inside.perSecond())
	left := o.refusals.Load()
	w.refused += uint64(w.credit - left)
	part := refusedPart
	if w.control.flooded() {
		part = refusedFlood
	}
	each := int64(part*w.able*overloadTick.Seconds()) + leastRefused
	w.credit = min(max(left, -each)+each, savedTicks*each)
	o.refusals.Add(w.credit - left)
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
