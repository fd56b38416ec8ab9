package bridges

import "time"

// The timers of RFC 3261 §17 with T1 = 500 ms, and our own limits beside them. No
// request is repeated: the way to the edge is memory (RFC 3261 §17.1.1.2, Timer A
// is for unreliable transports).
const (
	t1 = 500 * time.Millisecond
	t2 = 4 * time.Second

	// timerF is how long a client transaction waits for its final answer. It is also
	// Timer B, an INVITE's for its first answer; Timer H, a refused INVITE's for its ACK;
	// Timer M, while further 2xx to an INVITE are acknowledged (RFC 6026 §7.2); and
	// Timer N, while further NOTIFYs may make dialogs (RFC 6665 §4.1.2.4).
	timerF = 64 * t1
	// ringing is how long an INVITE of ours waits for its final answer once it
	// rings: a little longer than Timer C of the edge (RFC 3261 §16.6 step 11).
	ringing = 4 * time.Minute
	// stillWorking is when a 100 goes out for a request that was not answered: when a
	// client's Timer E becomes T2 (RFC 4320 §4.1).
	stillWorking = t1 + 2*t1 + 4*t1
	// patience is how long a handler may take for an answer. One later than the
	// client's Timer F would be lost.
	patience = 30 * time.Second
	// patienceInvite is the same for INVITE, which people answer: Timer C.
	patienceInvite = 3 * time.Minute
	// idle is how long a dialog may be silent, and sweeping how often that is looked
	// at. No subscription goes that long without being refreshed.
	idle     = 48 * time.Hour
	sweeping = time.Hour
)

// tick is how coarse timers are.
const tick = 100 * time.Millisecond

// A timer belongs to one transaction or the like. Endpoint.mu guards it.
type timer struct {
	list       *timers // in which it stands; nil: none
	next, prev *timer
	due        time.Duration
	owner      expirer
}

// An expirer is told when its timer is due, without any lock held.
type expirer interface{ expired() }

// timers are those of one duration, in the order in which they are due: each
// starts at the end, so starting and stopping are a few pointer writes.
type timers struct {
	after      time.Duration
	head, tail *timer
}

// start sets t, wherever it stood.
func (l *timers) start(t *timer, now time.Duration, owner expirer) {
	t.stop()
	t.list, t.due, t.owner = l, now+l.after, owner
	if t.prev = l.tail; t.prev == nil {
		l.head = t
	} else {
		t.prev.next = t
	}
	l.tail = t
}

// stop takes t out.
func (t *timer) stop() {
	l := t.list
	if l == nil {
		return
	}
	if t.prev == nil {
		l.head = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		l.tail = t.prev
	} else {
		t.next.prev = t.prev
	}
	*t = timer{}
}

// dueAt appends the owners of those that are due, and takes them out.
func (l *timers) dueAt(now time.Duration, list []expirer) []expirer {
	for l.head != nil && l.head.due <= now {
		list = append(list, l.head.owner)
		l.head.stop()
	}
	return list
}

// A clock holds the timers of an Endpoint.
type clock struct {
	began time.Time

	answer  timers    // timerF
	ring    timers    // ringing
	working timers    // stillWorking
	patient timers    // what is left of patience after that
	invited timers    // patienceInvite
	again   [4]timers // T1, 2·T1, 4·T1, T2: 2xx that are repeated
}

func newClock() *clock {
	c := &clock{began: time.Now()}
	c.answer.after = timerF
	c.ring.after = ringing
	c.working.after = stillWorking
	c.patient.after = patience - stillWorking
	c.invited.after = patienceInvite
	for i := range c.again {
		c.again[i].after = min(t1<<i, t2)
	}
	return c
}

func (c *clock) now() time.Duration { return time.Since(c.began) }

// due appends the owners of all timers that are due.
func (c *clock) due(list []expirer) []expirer {
	now := c.now()
	for _, l := range [...]*timers{&c.answer, &c.ring, &c.working, &c.patient, &c.invited} {
		list = l.dueAt(now, list)
	}
	for i := range c.again {
		list = c.again[i].dueAt(now, list)
	}
	return list
}

// tell runs the clock until the Endpoint ends.
func (e *Endpoint) tell() {
	t := time.NewTicker(tick)
	defer t.Stop()
	var due []expirer
	swept := e.clock.now()
	for {
		select {
		case <-e.over:
			return
		case <-t.C:
		}
		e.mu.Lock()
		due = e.clock.due(due[:0])
		e.mu.Unlock()
		for _, o := range due {
			o.expired()
		}
		clear(due)
		if now := e.clock.now(); now-swept >= sweeping {
			swept = now
			e.sweep(now)
		}
	}
}
