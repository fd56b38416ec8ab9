package edge

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/sip"
)

// A pool is the home servers of some of our domains.
type pool struct {
	edge    *Edge
	name    string
	rule    allowlists.Rule
	servers []*server
	side    *side // how we name ourselves towards them
	only    bool  // no other pool behind this edge
	spread  bool
	msft    bool          // it speaks the Microsoft dialect
	turn    atomic.Uint32 // whose turn it is, with spread
	every   time.Duration // between two health checks
	demand  demand        // what it wants while there is too much to do

	registerRate float64     // REGISTERs a second that it gets from outside; 0: all
	pathless     atomic.Bool // its registrar seems not to know Path, which has been said
	remoteHeader string      // the header that tells it who is outside; "": none
	pacing       sync.Mutex  // guards nextTurn
	nextTurn     time.Time   // when the next REGISTER may go
}

// A server is one home server of a pool. Its health is what its answers to
// OPTIONS say; until the first one it is given the benefit of the doubt.
type server struct {
	pool   *pool
	index  int
	addr   string // as configured, "host:port"
	host   []byte // its parts, to recognise it in a Route
	port   int
	link   *link
	down   atomic.Bool
	missed int          // health checks in a row; only the checker touches it
	seq    atomic.Int64 // CSeq of the last health check
	heard  atomic.Int64 // CSeq of the last one that was answered
	signal chan struct{}
}

// usable reports whether requests may be sent to the server.
func (s *server) usable() bool { return !s.down.Load() }

// pick returns the server that a request goes to, unless its bit is in tried:
// the first healthy one, or the next in turn. nil: none is left.
func (p *pool) pick(tried uint64) *server {
	start := 0
	if p.spread {
		start = int(p.turn.Add(1) % uint32(len(p.servers)))
	}
	for i := range p.servers {
		s := p.servers[(start+i)%len(p.servers)]
		if tried&(1<<s.index) == 0 && s.usable() {
			return s
		}
	}
	return nil
}

// at returns the server that a Route or Request-URI names, or nil.
func (p *pool) at(host []byte, port int) *server {
	if port == 0 {
		port = 5061
	}
	for _, s := range p.servers {
		if s.port == port && string(s.host) == string(host) {
			return s
		}
	}
	return nil
}

// unavailable is the answer when no server is left. A peer takes 503 to mean
// the whole edge (RFC 3261 §21.5.4), so it is for an edge with one pool only.
func (p *pool) unavailable() allowlists.Verdict {
	status := 504
	if p.only {
		status = 503
	}
	return allowlists.Verdict{Status: status, Reason: allowlists.PoolUnavailable, Rule: p.rule}
}

const (
	// checkInterval is the default time between two health checks.
	checkInterval = 1500 * time.Millisecond
	// checkMisses health checks without an answer in time, and a server is out.
	checkMisses = 2
	// checkGoods answers in a row, and it is in again. One would do for a
	// server that hung; two keep one from flapping that answers now and then.
	checkGoods = 2
)

// checkTimeout is how long an answer may take. With two missed checks a server
// that hangs is out within 1.5 + 1.5 + 0.9 seconds.
func (p *pool) checkTimeout() time.Duration { return p.every * 6 / 10 }

// watch keeps the connection to s up and its health known, until the edge ends.
func (s *server) watch() {
	clock := time.NewTicker(s.pool.every)
	defer clock.Stop()
	goods := 0
	for {
		if s.check() {
			goods++
			s.missed = 0
		} else {
			goods = 0
			s.missed++
		}
		switch {
		case s.missed >= checkMisses:
			s.fell()
		case s.down.Load() && goods >= checkGoods:
			s.rose()
		}
		select {
		case <-s.pool.edge.ctx.Done():
			return
		case <-clock.C:
		}
	}
}

// check asks the server whether it lives.
func (s *server) check() bool {
	f := s.link.ready()
	if f == nil {
		s.link.connect()
		return false
	}
	seq := s.seq.Add(1)
	var t turn
	b := s.pool.edge.buffers.get(editRoom)
	b.b = s.pool.edge.appendOptions(b.b, s, f, seq)
	err := f.queueRaw(&t, b.b)
	s.pool.edge.buffers.put(b)
	t.end()
	if err != nil {
		return false
	}
	limit := time.NewTimer(s.pool.checkTimeout())
	defer limit.Stop()
	for s.heard.Load() < seq {
		select {
		case <-s.pool.edge.ctx.Done():
			return false
		case <-limit.C:
			return false
		case <-s.signal:
		}
	}
	return true
}

// answered notes the answer to a health check. Any answer is a sign of life,
// but for 503, by which a server says itself that it takes nothing.
func (s *server) answered(m *sip.Message) {
	if m.Status() < 200 || m.Status() == 503 {
		return
	}
	seq, _, err := m.CSeq()
	if err != nil {
		return
	}
	s.heard.Store(max(s.heard.Load(), int64(seq)))
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// fell takes the server out. What waits for its first answer goes to another:
// a server that hangs keeps its connection, so nothing else would say so.
func (s *server) fell() {
	defer s.pool.edge.guard(nil)
	f := s.link.up.Load()
	if !s.down.CompareAndSwap(false, true) {
		return
	}
	s.pool.edge.log.Warn(logServerDown, keyPool, s.pool.name, keyTarget, s.addr)
	s.link.release(errLinkDown) // a handshake may hang, too
	if f != nil {
		s.pool.edge.moveOn(f)
	}
}

// rose takes the server in again.
func (s *server) rose() {
	s.down.Store(false)
	s.pool.edge.log.Info(logServerUp, keyPool, s.pool.name, keyTarget, s.addr)
}

// appendOptions writes a health check. Its branch names no transaction.
func (e *Edge) appendOptions(b []byte, s *server, f *Flow, seq int64) []byte {
	side := f.state.side
	b = fmt.Appendf(b, "OPTIONS sip:%s;transport=%s SIP/2.0\r\n", s.addr, side.transport)
	b = append(b, "Via: "...)
	b = append(b, side.via...)
	b = appendBranch(b, 0, 0, uint64(seq))
	b = fmt.Appendf(b, "\r\nMax-Forwards: 0\r\nFrom: <sip:%s>;tag=%x\r\nTo: <sip:%s>\r\n", e.name, seq, s.addr)
	return fmt.Appendf(b, "Call-ID: check-%x@%s\r\nCSeq: %d OPTIONS\r\nContent-Length: 0\r\n\r\n", e.boot, e.name, seq)
}

// moveOn gives the requests that wait for the first answer on f to the next
// hop.
func (e *Edge) moveOn(f *Flow) {
	if f.state.sent.Load() == 0 {
		return
	}
	var t turn
	defer t.end()
	for _, x := range e.table.collect(nil) {
		x.moveOn(&t, f)
	}
}

// moveOn gives x to the next hop if it waits for its first answer on f and
// there is one.
func (x *tx) moveOn(t *turn, f *Flow) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.out != f || x.state != txCalling || x.canceled {
		return
	}
	x.forget()
	x.next(t, nil)
}
