package bridges

import "time"

// Tight makes the limits small enough for tests to reach.
func (e *Endpoint) Tight() {
	e.lim = limits{octets: 16 << 10, queued: 8, clients: 4, servers: 4, dialogs: 3, subs: 2, forks: 2, described: 4 << 10}
}

// Held says what an Endpoint holds.
func (e *Endpoint) Held() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	timers := 0
	for _, l := range []*timerList{&e.clock.answer, &e.clock.ring, &e.clock.working, &e.clock.patient, &e.clock.invited,
		&e.clock.again[0], &e.clock.again[1], &e.clock.again[2], &e.clock.again[3]} {
		for t := l.head; t != nil; t = t.next {
			timers++
		}
	}
	return map[string]int{
		"octets": int(e.held.Load()), "queued": int(e.queued.Load()), "local": int(e.local.Load()),
		"clients": len(e.clients), "invites": len(e.invites), "servers": len(e.servers), "originals": len(e.originals),
		"dialogs": len(e.dialogs), "described": int(e.described), "subs": len(e.subs), "timers": timers,
	}
}

type timerList = timers

// Attach lets an Endpoint that does not run send to host.
func (e *Endpoint) Attach(host Host) { e.site.Store(newSite(host)) }

// Work does what the workers would, on the goroutine of the test.
func (e *Endpoint) Work() {
	for again := true; again; {
		again = false
		for i := range e.workers {
			if ev, _, ok := e.workers[i].take(); ok {
				e.guard(ev)
				again = true
			}
		}
	}
}

// Finish ends an Endpoint that does not run, and returns why it failed.
func (e *Endpoint) Finish() error {
	e.end()
	e.Work()
	e.release()
	e.cut()
	return e.failure
}

// SweepAfter looks for forgotten dialogs as if so much time had gone by.
func (e *Endpoint) SweepAfter(d time.Duration) { e.sweep(e.clock.now() + d) }
