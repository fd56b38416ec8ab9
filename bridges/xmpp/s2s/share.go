package s2s

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/net/publicsuffix"
)

// Owner returns the registrable domain of a foreign one: whoever has evil.example has
// all names below it, and makes as many as he likes. So what must not be used up by one
// is shared by owners, of whom each gets a quarter.
func Owner(domain string) string {
	name, _ := ascii(domain)
	owner, err := publicsuffix.EffectiveTLDPlusOne(name)
	if err != nil {
		return domain
	}
	return owner
}

// A holding is what waits, or is not done, of all domains of one owner.
type holding struct {
	octets atomic.Int64
	routes int // Server.mu guards it
}

// share is how many octets one owner may hold. What one domain may is always less.
func (l *Limits) share() int64 { return int64(max(l.AllOctets/4, l.QueueOctets+l.WindowOctets)) }

// holdingOf returns the holding for one more route. mu is held.
func (s *Server) holdingOf(domain string) *holding {
	owner := Owner(domain)
	h := s.holdings[owner]
	if h == nil {
		h = new(holding)
		s.holdings[owner] = h
	}
	h.routes++
	return h
}

// release forgets the holding of a route that is forgotten. mu is held.
func (s *Server) release(r *route) {
	if r.holding.routes--; r.holding.routes == 0 {
		delete(s.holdings, Owner(r.remote))
	}
}

// turns are places for which one may wait, in order.
type turns struct {
	all, each int

	mu      sync.Mutex
	taken   int
	by      map[string]int
	waiting []*waiter
}

type waiter struct {
	owner string
	turn  chan struct{} // closed when it has a place
}

func newTurns(all int) *turns {
	return &turns{all: all, each: max(1, all/4), by: make(map[string]int)}
}

// take waits for a place. The error is that of ctx.
func (t *turns) take(ctx context.Context, owner string) error {
	t.mu.Lock()
	if t.isFree(owner) {
		t.give(owner)
		t.mu.Unlock()
		return nil
	}
	w := &waiter{owner, make(chan struct{})}
	t.waiting = append(t.waiting, w)
	t.mu.Unlock()
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(t.waiting, w)
	if i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
	}
	t.mu.Unlock()
	if i < 0 { // it came at that moment
		t.leave(owner)
	}
	return context.Cause(ctx)
}

// leave gives a place back.
func (t *turns) leave(owner string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taken--
	if t.by[owner]--; t.by[owner] <= 0 {
		delete(t.by, owner)
	}
	for i, w := range t.waiting {
		if t.isFree(w.owner) {
			t.give(w.owner)
			t.waiting = slices.Delete(t.waiting, i, i+1)
			close(w.turn)
			return
		}
	}
}

func (t *turns) isFree(owner string) bool { return t.taken < t.all && t.by[owner] < t.each }

func (t *turns) give(owner string) {
	t.taken++
	t.by[owner]++
}
