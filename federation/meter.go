package federation

import (
	"sync"
	"time"
)

// An allowance is what somebody may still do at some rate: it grows with time up
// to one second's worth, and at least one. The zero allowance is full.
type allowance struct {
	left float64
	at   time.Time // of left
}

// muchBack is how far a clock must go back to be a clock that was set, and not
// two goroutines that read it in one order and came here in the other.
const muchBack = time.Minute

// take takes one out, if one is there. A rate that is none gives nothing.
func (a *allowance) take(rate float64, now time.Time) bool {
	if !(rate > 0) {
		return false
	}
	a.fill(rate, now)
	if a.left < 1 {
		return false
	}
	a.left--
	return true
}

// fill adds what has grown since the last look. Time that runs back adds
// nothing, and what has been counted once is not counted again.
func (a *allowance) fill(rate float64, now time.Time) {
	most := max(rate, 1)
	passed := now.Sub(a.at)
	switch {
	case a.at.IsZero():
		a.left, a.at = most, now
	case passed > 0:
		a.left, a.at = a.left+passed.Seconds()*rate, now
	case passed < -muchBack:
		a.at = now
	}
	a.left = min(a.left, most)
}

// maxMetered is how many partners a Meter knows at a time.
const maxMetered = 1 << 16

// A Meter holds partners to the rate that their entries say. The zero Meter is
// ready. It is safe for concurrent use and allocates only for a partner that has
// been silent.
type Meter struct {
	mu       sync.Mutex
	partners map[string]*metered // guarded by mu
}

type metered struct {
	allowance
	rate float64 // as it was said last
}

// Take reports whether a message of the partner may pass now, if it may send so
// many a second. After a silence a second's worth may come at once. Zero a second
// is what an entry says that says nothing: no limit.
func (m *Meter) Take(domain []byte, perSecond float64, now time.Time) bool {
	if perSecond == 0 {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.partners[string(domain)]
	if !ok {
		p = m.add(string(domain), now)
	}
	p.rate = perSecond
	return p.take(perSecond, now)
}

// add makes room for one more partner.
func (m *Meter) add(domain string, now time.Time) *metered {
	if m.partners == nil {
		m.partners = make(map[string]*metered)
	}
	if len(m.partners) >= maxMetered {
		m.purge(now)
	}
	p := new(metered)
	m.partners[domain] = p
	return p
}

// purge forgets all whose allowance is full again: as if they had never been
// there, nobody can tell the difference. If those are few, any others go as
// well; so many partners at their limit at once are not the moment to be exact.
func (m *Meter) purge(now time.Time) {
	for domain, p := range m.partners {
		if p.fill(p.rate, now); p.left >= max(p.rate, 1) {
			delete(m.partners, domain)
		}
	}
	for domain := range m.partners {
		if len(m.partners) <= maxMetered/8*7 {
			return
		}
		delete(m.partners, domain)
	}
}
