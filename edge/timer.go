package edge

import "time"

// tick is how coarse transaction timers are. SIP's are seconds, so a tenth is
// plenty, and thousands of transactions share one look at the clock.
const tick = 100 * time.Millisecond

// A wheel holds the timers of one shard of transactions: a ring of slots, one
// for each tick, each a list of the transactions due then. Starting and
// stopping a timer is a few pointer writes, and nothing runs until it is due.
// The shard's lock guards it.
type wheel struct {
	slots [wheelSlots]timer // heads of the lists
	now   uint64            // ticks since the start
}

const wheelSlots = 512

// A timer stands in one slot of a wheel, or in none.
type timer struct {
	next, prev *timer
	due        uint64 // tick
	tx         *tx
}

// start sets t to fire after d, and takes it out of where it stood.
func (w *wheel) start(t *timer, d time.Duration) {
	w.stop(t)
	// One tick more: the current one has partly gone by.
	t.due = w.now + uint64((d+tick-1)/tick) + 1
	head := &w.slots[t.due%wheelSlots]
	if head.next == nil {
		head.next, head.prev = head, head
	}
	t.next, t.prev = head, head.prev
	head.prev.next, head.prev = t, t
}

// stop takes t out.
func (w *wheel) stop(t *timer) {
	if t.next == nil {
		return
	}
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev = nil, nil
}

// advance moves to tick now and appends to due the transactions whose timers
// fired on the way.
func (w *wheel) advance(now uint64, due []*tx) []*tx {
	for w.now < now {
		w.now++
		head := &w.slots[w.now%wheelSlots]
		for t := head.next; t != nil && t != head; {
			next := t.next
			if t.due <= w.now {
				w.stop(t)
				due = append(due, t.tx)
			}
			t = next
		}
	}
	return due
}
