package xmpp

import (
	"context"
	"sync"
	"time"
)

// tick is how coarse the gateway's timers are. What they are for takes seconds.
const tick = 50 * time.Millisecond

// clockSlots is the size of the wheel: what is due within 25 s is looked at once.
const clockSlots = 512

// A clock holds all timers of a gateway: a ring of slots, one for each tick, each a
// list of the timers due then or one or more turns later. Starting and stopping is a few
// pointer writes, and no message costs a goroutine or a timer of the runtime.
type clock struct {
	wake chan struct{} // something is set, and nothing was

	mu    sync.Mutex // guards what follows
	slots [clockSlots]*timer
	now   uint64 // ticks that were counted
	set   int    // timers
}

func newClock() *clock { return &clock{wake: make(chan struct{}, 1)} }

// A timer is set or not. Its zero value is not set. It belongs to one clock, whose
// lock guards it.
type timer struct {
	next, prev *timer
	set        bool
	due        uint64
	owner      expirer
}

// An expirer is told that a timer was due, without any lock held. The timer may have
// been set anew in between, by somebody who was a little faster: whoever is told looks at
// his own state first.
type expirer interface{ expired() }

// start sets t to be due after d, wherever it stood.
func (c *clock) start(t *timer, d time.Duration, owner expirer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.take(t)
	// One tick more: the current one has partly gone by.
	t.due, t.owner, t.set = c.now+uint64((max(d, 0)+tick-1)/tick)+1, owner, true
	head := &c.slots[t.due%clockSlots]
	if t.next = *head; t.next != nil {
		t.next.prev = t
	}
	*head = t
	if c.set++; c.set == 1 {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// stop takes t out, and reports whether it was set.
func (c *clock) stop(t *timer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.take(t)
}

// take takes t out of its slot. The lock is held.
func (c *clock) take(t *timer) bool {
	if !t.set {
		return false
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		c.slots[t.due%clockSlots] = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	*t = timer{}
	c.set--
	return true
}

// idle reports whether no timer is set.
func (c *clock) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.set == 0
}

// advance goes on by one tick, and appends the owners of what is due.
func (c *clock) advance(due []expirer) []expirer {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now++
	for t := c.slots[c.now%clockSlots]; t != nil; {
		next := t.next
		if t.due <= c.now {
			due = append(due, t.owner)
			c.take(t)
		}
		t = next
	}
	return due
}

// run turns the wheel until ctx is done. It stands still while no timer is set.
func (c *clock) run(ctx context.Context) {
	var due []expirer
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		if due = c.turn(ctx, due); ctx.Err() != nil {
			return
		}
	}
}

// turn turns the wheel until no timer is set. A tick that came late is made up for.
func (c *clock) turn(ctx context.Context, due []expirer) []expirer {
	t := time.NewTicker(tick)
	defer t.Stop()
	began, ticks := time.Now(), uint64(0)
	for !c.idle() {
		select {
		case <-ctx.Done():
			return due
		case <-t.C:
		}
		for want := uint64(time.Since(began) / tick); ticks < want; ticks++ {
			due = c.advance(due[:0])
			for i, owner := range due {
				owner.expired()
				due[i] = nil
			}
		}
	}
	return due
}
