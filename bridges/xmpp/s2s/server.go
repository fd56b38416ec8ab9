package s2s

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/certs"
)

// A Server is our place in the federation. It is safe for concurrent use.
type Server struct {
	c      Config
	limits Limits
	log    *slog.Logger
	keys   keys
	ours   map[string]bool
	first  string // of ours

	serverTLS *tls.Config
	rates     *rates
	strangers *limitedLog // of what those do who have proved nothing
	domainLog *limitedLog // of streams that others open and end
	builds    *turns      // of streams that are being built
	verifies  *places     // of keys that are being verified
	vouches   *places     // of certificates that are looked for in DNS
	asks      *asks       // of connections to verify keys

	base    context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	waiting  atomic.Int64 // octets that are not done
	sent     atomic.Uint64
	received atomic.Uint64
	failed   atomic.Uint64
	numbers  atomic.Uint64 // of streams

	mu        sync.Mutex
	over      bool // takes nothing any more
	closed    bool // starts no goroutine any more
	routes    map[pair]*route
	holdings  map[string]*holding // by owner, of those that have routes
	streams   map[*stream]bool
	unproved  int                // streams that others opened, on which nothing is proved
	opened    int                // streams that others opened
	addresses map[netip.Addr]int // how many of the unproved
	domains   map[string]int     // how many of the opened
	// arrivals are what each source may still open: a handshake costs us more than who
	// begins it, and does so as well where somebody proves who he is.
	arrivals *simplelru.LRU[netip.Addr, *bucket]
	// proven are sources that have proved a domain lately. A part of the places for the
	// unproved is kept for them, so that strangers do not keep them out.
	proven *simplelru.LRU[netip.Addr, bool]
}

// maxProven bounds the sources that are known.
const maxProven = 4096

// New makes a Server. It listens to nobody before Serve, and may send before.
func New(c Config) (*Server, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("s2s: %w", err)
	}
	if c.Verifier == nil {
		c.Verifier = &certs.Verifier{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Guard == nil {
		c.Guard = func(f func()) func() { return f }
	}
	if c.Secret == nil {
		c.Secret = make([]byte, 32)
		rand.Read(c.Secret) // never fails
	}
	s := &Server{
		c: c, limits: c.Limits.orDefaults(), log: c.Log, keys: newKeys(c.Secret), ours: make(map[string]bool),
		routes: make(map[pair]*route), holdings: make(map[string]*holding), streams: make(map[*stream]bool),
		addresses: make(map[netip.Addr]int), domains: make(map[string]int),
	}
	for i, d := range c.Domains {
		name, _ := Normal(d)
		s.ours[name] = true
		if i == 0 {
			s.first = name
		}
	}
	s.arrivals, _ = simplelru.NewLRU[netip.Addr, *bucket](maxProven, nil)
	s.proven, _ = simplelru.NewLRU[netip.Addr, bool](maxProven, nil) // fails for sizes below one only
	s.serverTLS = s.serverSettings()
	s.rates = newRates(s.limits.Rate, s.limits.Burst)
	s.strangers, s.domainLog = newLimitedLog(c.Log, 5, 50), newLimitedLog(c.Log, 20, 200)
	s.builds = newTurns(s.limits.Builds)
	s.verifies, s.vouches = newPlaces(s.limits.Verifies), newPlaces(s.limits.Verifies)
	s.asks = newAsks()
	s.base, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Serve takes connections, STARTTLS on plain and direct TLS on direct, until ctx is
// done. Then it takes nothing new, lets what is on streams come to its end for a
// few seconds, says goodbye, and returns when the last stanza has its outcome. The
// listeners are closed. It is called once.
func (s *Server) Serve(ctx context.Context, plain, direct []net.Listener) error {
	for _, ln := range plain {
		s.spawn(func() { s.accept(ln, false) })
	}
	for _, ln := range direct {
		s.spawn(func() { s.accept(ln, true) })
	}
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			s.sweep(now)
			continue
		case <-ctx.Done():
		}
		break
	}
	for _, ln := range append(append([]net.Listener(nil), plain...), direct...) {
		_ = ln.Close()
	}
	s.finish()
	return nil
}

// finish is the end of Serve.
func (s *Server) finish() {
	s.mu.Lock()
	s.over = true
	routes, streams := s.all()
	s.mu.Unlock()
	for _, r := range routes {
		r.shut(ErrStopped, true)
	}
	for _, st := range streams {
		st.mu.Lock()
		stranger := st.in && len(st.proofs) == 0
		st.mu.Unlock()
		if stranger {
			st.leave(&fault{condition: "system-shutdown"}, ErrStopped)
		} else {
			st.leave(nil, ErrStopped)
		}
	}
	// Every stream has a deadline to leave by; this one is for what else there is.
	t := time.AfterFunc(s.limits.Goodbye+time.Second, s.stop)
	defer t.Stop()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
	s.stop()
	s.mu.Lock()
	routes, _ = s.all()
	s.mu.Unlock()
	for _, r := range routes {
		r.shut(ErrStopped, true)
	}
	s.strangers.flush()
	s.domainLog.flush()
}

// Send queues a stanza between the domains of its from and to, which must be one of
// ours and a foreign one. It never waits. Done is called exactly once, not within
// Send, from any goroutine, and must not wait long; it may be nil. Up says whether a
// stream is there already.
//
// The element may be changed when Send has returned.
func (s *Server) Send(e *stanza.Element, done func(Outcome)) (up bool) {
	it := item{done: done, born: time.Now()}
	p, err := s.address(e)
	if err == nil {
		it.octets = stanza.Append(make([]byte, 0, 256), e)
		if s.waiting.Add(int64(len(it.octets))) > int64(s.limits.AllOctets) {
			err = fmt.Errorf("%w: for all domains together", ErrQueueFull)
		} else {
			up, err = s.send(p, &it)
		}
	}
	if err != nil {
		s.settleLater([]item{it}, err)
	}
	return up
}

func (s *Server) send(p pair, it *item) (up bool, err error) {
	for {
		if it.route, err = s.route(p); err != nil {
			return false, err
		}
		if up, err = it.route.send(it); err != errRetired {
			return up, err
		}
		s.forget(it.route)
	}
}

// address says between which domains a stanza goes.
func (s *Server) address(e *stanza.Element) (p pair, err error) {
	local, ok1 := Normal(stanza.Domain(e.Attr("from")))
	remote, ok2 := Normal(stanza.Domain(e.Attr("to")))
	switch {
	case !e.IsStanza():
		return p, fmt.Errorf("%w: not a stanza", ErrRefused)
	case !ok1 || !s.ours[local]:
		return p, fmt.Errorf("%w: from is not of a domain of ours", ErrRefused)
	case !ok2 || s.ours[remote]:
		return p, fmt.Errorf("%w: to is not of a foreign domain", ErrNoServer)
	case !s.allows(remote):
		return p, fmt.Errorf("%w: %s is not allowed here", ErrRefused, remote)
	}
	return pair{local, remote}, nil
}

// route returns the route of two domains.
func (s *Server) route(p pair) (*route, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil, ErrStopped
	}
	r := s.routes[p]
	if r == nil {
		h := s.holdings[Owner(p.remote)]
		if len(s.routes) >= s.limits.Pairs || h != nil && h.routes >= max(1, s.limits.Pairs/4) {
			return nil, fmt.Errorf("%w: too many domains", ErrQueueFull)
		}
		now := time.Now()
		r = &route{s: s, pair: p, holding: s.holdingOf(p.remote), since: now, used: now}
		s.routes[p] = r
	}
	return r, nil
}

// errRetired is that a route is no longer in the table: there is a new one.
var errRetired = errors.New("s2s: route retired")

// forget takes a retired route from the table.
func (s *Server) forget(r *route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.routes[r.pair] == r {
		delete(s.routes, r.pair)
		s.release(r)
	}
}

func (s *Server) allows(domain string) bool { return s.c.Allow != nil && s.c.Allow(domain) }

func (s *Server) dialback(domain string) bool { return s.c.Dialback != nil && s.c.Dialback(domain) }

func (s *Server) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// spawn starts a goroutine that Serve waits for. It starts none at the end.
func (s *Server) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Go(s.c.Guard(f))
	return true
}

// settle tells whose stanzas are done.
func (s *Server) settle(items []item, o Outcome) {
	for i := range items {
		it := &items[i]
		s.waiting.Add(-int64(len(it.octets)))
		if it.held {
			it.route.holding.octets.Add(-int64(len(it.octets)))
		}
		if o.Err != nil {
			s.failed.Add(1)
		} else {
			s.sent.Add(1)
		}
		if it.done != nil {
			it.done(o)
		}
	}
}

// fail tells whose stanzas are not delivered. One that was on a stream may have
// been.
func (s *Server) fail(items []item, err error) {
	for i := range items {
		e := err
		if items[i].written && !errors.Is(err, ErrLost) {
			e = fmt.Errorf("%w: %w", ErrLost, err)
		}
		s.settle(items[i:i+1], Outcome{Err: e})
	}
}

// settleLater is fail for callers that hold a lock, or whose caller may.
func (s *Server) settleLater(items []item, err error) {
	if len(items) == 0 {
		return
	}
	if !s.spawn(func() { s.fail(items, err) }) {
		go s.c.Guard(func() { s.fail(items, err) })()
	}
}

// all returns what there is. mu is held.
func (s *Server) all() (routes []*route, streams []*stream) {
	for _, r := range s.routes {
		routes = append(routes, r)
	}
	for st := range s.streams {
		streams = append(streams, st)
	}
	return routes, streams
}
