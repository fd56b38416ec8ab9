package locate

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// How long and how many addresses that failed are remembered.
const (
	failureTime = 30 * time.Second
	maxFailures = 4096
)

// failures remembers addresses that could not be used. It is by address, not by
// domain: one call that failed must not block a whole destination.
type failures struct {
	until      *lru.Cache[netip.AddrPort, time.Time]
	generation atomic.Uint64 // counts changes, so that orders made before are known to be old
	now        func() time.Time
}

func newFailures(now func() time.Time) *failures {
	c, _ := lru.New[netip.AddrPort, time.Time](maxFailures) // fails only for a size below one
	return &failures{until: c, now: now}
}

func (f *failures) add(addr netip.AddrPort) {
	f.until.Add(addr, f.now().Add(failureTime))
	f.generation.Add(1)
}

func (f *failures) remove(addr netip.AddrPort) {
	if f.until.Remove(addr) {
		f.generation.Add(1)
	}
}

// failed reports whether an address has failed lately.
func (f *failures) failed(h Hop, now time.Time) bool {
	t, ok := f.until.Peek(h.Addr)
	return ok && now.Before(t)
}

// sort returns hops with those that failed lately last, else in their order,
// and when the first of them is forgotten: zero if none failed. The hops given
// are not changed.
func (f *failures) sort(hops []Hop) (sorted []Hop, until time.Time) {
	now := f.now()
	if !slices.ContainsFunc(hops, func(h Hop) bool { return f.failed(h, now) }) {
		return hops, time.Time{}
	}
	sorted = make([]Hop, 0, len(hops))
	var last []Hop
	for _, h := range hops {
		t, ok := f.until.Peek(h.Addr)
		if !ok || !now.Before(t) {
			sorted = append(sorted, h)
			continue
		}
		last = append(last, h)
		if until.IsZero() || t.Before(until) {
			until = t
		}
	}
	return append(sorted, last...), until
}
