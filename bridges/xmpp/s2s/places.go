package s2s

import (
	"net/netip"
	"sync"
)

// places are for work that strangers cause. Of all of them one source gets a quarter,
// so that it cannot keep others from being proved.
type places struct {
	all int

	mu    sync.Mutex
	taken int
	by    map[netip.Addr]int
}

func newPlaces(all int) *places { return &places{all: all, by: make(map[netip.Addr]int)} }

// take takes a place for a source, if there is one. It never waits.
func (p *places) take(from netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken >= p.all || p.by[from] >= max(1, p.all/4) {
		return false
	}
	p.taken++
	p.by[from]++
	return true
}

// leave gives one back.
func (p *places) leave(from netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.by[from]--; p.by[from] <= 0 {
		delete(p.by, from)
	}
}
