package edge

import (
	"runtime/metrics"
	"time"
)

// fewWaits is how many waits for the processor say something about it.
const fewWaits = 8

// A schedMeter reads how long goroutines that could have run waited for a
// processor. What the runtime has counted since the process began is read into
// the same memory each time.
type schedMeter struct {
	sample [1]metrics.Sample
	seen   []uint64
}

func newSchedMeter() *schedMeter {
	m := new(schedMeter)
	m.sample[0].Name = "/sched/latencies:seconds"
	m.read()
	return m
}

// read returns how long nine of ten waited less than, of those that got their
// turn since the last time.
func (m *schedMeter) read() time.Duration {
	metrics.Read(m.sample[:])
	if m.sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return 0
	}
	h := m.sample[0].Value.Float64Histogram()
	if m.seen == nil {
		m.seen = make([]uint64, len(h.Counts))
	}
	for i, n := range h.Counts {
		h.Counts[i], m.seen[i] = n-m.seen[i], n
	}
	return quantile(h, 0.9)
}

// quantile returns the lower end of the bucket in which the part q of all ends.
func quantile(h *metrics.Float64Histogram, q float64) time.Duration {
	var all uint64
	for _, n := range h.Counts {
		all += n
	}
	if all < fewWaits {
		return 0
	}
	left := uint64(q * float64(all))
	for i, n := range h.Counts {
		if n > left {
			return time.Duration(max(h.Buckets[i], 0) * float64(time.Second))
		}
		left -= n
	}
	return 0
}

// A backlog says how long octets wait in a flow's socket before they are read.
// Processors can be free and goroutines run at once while a single connection
// brings more than its reader can handle: what waits then waits in the socket,
// and the scheduler knows nothing of it.
//
// Only the reader touches it. It costs nothing until a read fills the whole
// buffer: a mark is set behind what waits at that moment, and when the reader
// has come there, it has waited for so long.
type backlog struct {
	mark  uint64        // where the last of those ends that waited when the mark was set
	since time.Time     // when that was; zero: there is no mark
	rest  time.Duration // for how long the reader had rested before

	rested uint64 // what had been read when it rested last
	late   bool   // what waits has waited for too long, and comes from inside
}

// measure is called when something was read.
func (f *Flow) measure(fd uintptr) {
	b := &f.backlog
	if !b.since.IsZero() {
		// What came while the reader rested may take as long to be worked off.
		waited := time.Since(b.since)
		f.w.late(waited - b.rest)
		f.hurry(waited > answersLate)
	}
	switch {
	case !f.full:
		f.caughtUp()
	case b.since.IsZero():
		b.mark, b.since = f.conn.taken+uint64(unread(fd)), time.Now()
	case f.conn.taken >= b.mark:
		b.since = time.Time{}
	}
}

// caughtUp is called when the reader has read all that there was.
func (f *Flow) caughtUp() {
	f.backlog.since, f.backlog.rest = time.Time{}, 0
	f.hurry(false)
}

// Answers of home servers come on one connection or a few, requests of partners
// perhaps on hundreds, and each reader gets its turn like all others: when there is
// too much to do, answers would wait behind new requests, which make more of them.
// So when answers have waited for answersLate, the readers of partners stand back
// until those are read, but no longer than standBack before one turn: a home server
// that never stops talking does not silence everybody.
const (
	answersLate = delayTarget / 2
	standBack   = 20 * time.Millisecond
	lookAgain   = 2 * time.Millisecond
)

// hurry notes whether what comes from a home server waits for too long.
func (f *Flow) hurry(late bool) {
	if late == f.backlog.late || f.Role != RoleInternal {
		return
	}
	f.backlog.late = late
	if late {
		f.w.hurrying.Add(1)
	} else {
		f.w.hurrying.Add(-1)
	}
}

// giveWay lets those go first that are in a hurry.
func (f *Flow) giveWay() {
	if f.Role == RoleInternal {
		return
	}
	for left := standBack; left > 0 && f.w.hurrying.Load() > 0; left -= lookAgain {
		time.Sleep(lookAgain)
	}
}

// What a flow whose peer wants more than its share rests between two readings, and
// how much it has to bring to rest no longer than it must.
const (
	longRest  = 100 * time.Millisecond
	shortRest = 5 * time.Millisecond
	fullRest  = 64 << 10
)

// rest lets the reader of f wait when it has read all that is there. What comes in
// the meantime is read in one piece, which costs a fraction of reading it one by
// one. Calls are the reader's own.
func (f *Flow) rest() {
	if f.bridge != nil {
		f.pause = shortRest // nothing has to be read
		return
	}
	if !f.full {
		brought := min(f.conn.taken-f.backlog.rested, fullRest)
		f.pause = max(longRest*time.Duration(fullRest-brought)/fullRest, shortRest)
	}
}

// takePause waits until the flow may be read again.
func (f *Flow) takePause() {
	if f.pause <= 0 {
		return
	}
	time.Sleep(f.pause)
	f.backlog = backlog{rest: f.pause, rested: f.conn.taken}
	f.pause = 0
}

// late notes how long something waited.
func (w *wire) late(d time.Duration) {
	for {
		longest := w.longest.Load()
		if int64(d) <= longest || w.longest.CompareAndSwap(longest, int64(d)) {
			return
		}
	}
}

// newDelay returns a function that says how long work has waited since the last
// time that it was asked.
func (e *Edge) newDelay() func() time.Duration {
	m := newSchedMeter()
	return func() time.Duration {
		return max(m.read(), time.Duration(e.wire.longest.Swap(0)))
	}
}
