package edge

import (
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sipedge/sipedge/remoteaccess"
)

// Sources that are remembered: those that have proven a certificate lately,
// and those that have shaken hands lately.
const rememberedSources = 1 << 15

// An admission decides whether a connection may begin a handshake. Handshakes
// are what a stranger can make us spend most on: memory while they hang, and
// computing while they do not.
type admission struct {
	limit     int // handshakes at once
	perSource int // for one source; 0: no limit
	rate      float64

	mu      sync.Mutex
	active  int                                // guarded by mu, as all below
	sources map[netip.Prefix]int               // handshakes going on
	known   *lru.Cache[netip.Prefix, struct{}] // have proven something
	budgets *lru.Cache[netip.Prefix, *budget]  // handshakes they may begin
}

// A budget is how many handshakes a source may begin now; it fills up with
// time.
type budget struct {
	left float64
	at   time.Time
}

func newAdmission(limit, perSource int, rate float64) *admission {
	if limit <= 0 {
		limit = 256
	}
	a := &admission{limit: limit, perSource: perSource, rate: rate, sources: make(map[netip.Prefix]int)}
	a.known, _ = lru.New[netip.Prefix, struct{}](rememberedSources) // fails only for sizes below 1
	a.budgets, _ = lru.New[netip.Prefix, *budget](rememberedSources)
	return a
}

// enter reports whether addr may begin a handshake. Each enter that succeeds
// is followed by a leave.
//
// A quarter of the places is kept for sources that have proven a certificate
// before, so a crowd of strangers does not keep partners out.
func (a *admission) enter(addr netip.Addr, now time.Time) bool {
	src := remoteaccess.SourceOf(addr)
	a.mu.Lock()
	defer a.mu.Unlock()
	limit := a.limit
	if !a.known.Contains(src) {
		limit -= a.limit / 4
	}
	if a.active >= limit {
		return false
	}
	if a.perSource > 0 && a.sources[src] >= a.perSource {
		return false
	}
	if a.rate > 0 && !a.pay(src, now) {
		return false
	}
	a.active++
	if a.perSource > 0 {
		a.sources[src]++
	}
	return true
}

// pay takes one handshake from the budget of src, which holds two seconds'
// worth. a.mu is held.
func (a *admission) pay(src netip.Prefix, now time.Time) bool {
	b, ok := a.budgets.Get(src)
	if !ok {
		b = &budget{left: 2 * a.rate, at: now}
		a.budgets.Add(src, b)
	}
	return b.take(now, a.rate, 2*a.rate)
}

// take takes one from a budget that fills up at a rate a second to at most burst.
func (b *budget) take(now time.Time, rate, burst float64) bool {
	b.left = min(b.left+now.Sub(b.at).Seconds()*rate, burst)
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// knows remembers a source from which somebody has proved who he is.
func (a *admission) knows(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known.Add(remoteaccess.SourceOf(addr), struct{}{})
}

// isKnown reports whether somebody has proved who he is from there.
func (a *admission) isKnown(addr netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known.Contains(remoteaccess.SourceOf(addr))
}

// leave ends a handshake; proven says that the peer proved who it is, resumed that it was
// none of those that cost: it went on with a session from before.
func (a *admission) leave(addr netip.Addr, proven, resumed bool) {
	src := remoteaccess.SourceOf(addr)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.active--
	if a.perSource > 0 {
		if a.sources[src]--; a.sources[src] <= 0 {
			delete(a.sources, src)
		}
	}
	if proven {
		a.known.Add(src, struct{}{})
	}
	if b, ok := a.budgets.Peek(src); ok && resumed {
		b.left++
	}
}
