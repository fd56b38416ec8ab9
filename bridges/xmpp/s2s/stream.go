package s2s

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A stream is one connection to another server with the streams on it, both
// ways. One goroutine reads it and handles what comes, in order; another
// writes.
type stream struct {
	s      *Server
	number uint64
	in     bool // they opened it
	direct bool // TLS from the first octet (XEP-0368)
	addr   netip.AddrPort
	began  time.Time
	where  string // for people: host and address, when we opened it

	known    bool // counted; guarded by the Server's mutex, like stranger
	stranger bool // they opened it, and nothing is proved

	// Of the goroutine that reads, and of others only while that does not run.
	r         *stanza.Reader
	src       meter
	tls       *tls.Conn // nil: not yet
	theirs    header    // their last header
	failures  int       // of SASL
	asked     bool      // a challenge is open
	verified  int       // dialback keys that were looked at
	confirmed bool      // they asked about a key of ours
	restarted bool      // SASL has succeeded: the next header is the last one
	hide      bool      // our certificate is not shown
	shown     bool      // it was asked for, and shown
	vouched   string    // the domain for which signed DNS says that this is its certificate
	early     []*stanza.Element

	received atomic.Uint64
	sent     atomic.Uint64

	ready  chan struct{} // there is something to write
	quit   chan struct{} // closed: the writer is to go
	writer chan struct{} // closed when it has gone

	mu       sync.Mutex
	quiet    *sync.Cond               // nothing is to be written any more, or nothing can
	conn     net.Conn                 // TCP, and then TLS
	local    string                   // our domain of the headers
	remote   string                   // theirs; on one that they opened only said, until it is in proofs
	id       string                   // that the side gave it which was connected to
	proofs   map[string]bridges.Proof // of domains whose stanzas may come
	server   bridges.Proof            // of the server that we connected to
	routes   []*route                 // those that send on it, or may
	bidi     bool                     // stanzas go both ways (XEP-0288)
	claims   []pair                   // that may be sent on, once we do
	unproved string                   // why the certificate proves nothing
	peer     offers

	out, spare []byte
	busy       bool   // a write is under way
	broken     bool   // a write has failed
	offset     uint64 // octets that were ever put into out
	taken      uint64 // of them, those that were given to a write
	written    uint64 // of them, those that were written
	items      queue  // stanzas that are not done
	acks       bool   // both sides acknowledge stanzas from now on (XEP-0198)
	acked      uint32 // how many of ours they said they took since
	handled    uint32 // how many of theirs we took since
	requested  time.Time
	progress   time.Time // since when the first of items waits to be taken
	opened     bool      // our header is written
	crowded    bool      // a stanza found no room
	shut       bool      // takes no stanzas any more
	polite     bool      // and is to end when it has none
	said       bool      // our end tag is written, or about to be
	ended      bool      // is no more
	why        error     // it is to end

	provedBy, elementBy, leaveBy time.Time // deadlines of reading; zero: none
	endBy                        time.Time // deadline of the last words; zero: not yet
	heard, spoke                 time.Time // when the last stanza came or went
	wrote                        time.Time // when the last octet did
	rechecked                    time.Time // when it was asked whether it may still be there
	verifying                    int       // keys that are being verified
}

func (s *Server) newStream(conn net.Conn, in, direct bool) *stream {
	now := time.Now()
	st := &stream{
		s: s, number: s.numbers.Add(1), in: in, direct: direct, conn: conn, began: now, heard: now, spoke: now, wrote: now, rechecked: now,
		ready: make(chan struct{}, 1), quit: make(chan struct{}), writer: make(chan struct{}),
		proofs: make(map[string]bridges.Proof),
	}
	st.quiet = sync.NewCond(&st.mu)
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		st.addr = a.AddrPort()
		st.addr = netip.AddrPortFrom(st.addr.Addr().Unmap(), st.addr.Port())
	}
	st.src = meter{st: st}
	st.src.left.Store(int64(s.limits.Unproved))
	st.r = stanza.NewReader(&st.src, stanza.Limits{Stanza: s.limits.Stanza})
	return st
}

// start begins to write. It is called once; end waits for it.
func (st *stream) start() { st.s.running.Go(st.s.c.Guard(st.writing)) }

// say queues elements that are no stanzas.
func (st *stream) say(elements ...*stanza.Element) {
	st.mu.Lock()
	for _, e := range elements {
		st.sayLocked(e)
	}
	st.mu.Unlock()
	st.wake()
}

func (st *stream) sayLocked(e *stanza.Element) {
	if st.said {
		return // nothing may follow (RFC 6120 §4.4)
	}
	before := len(st.out)
	st.out = stanza.Append(st.out, e)
	st.offset += uint64(len(st.out) - before)
}

// maxAnswers is how many octets may wait beside stanzas for a peer that asks and
// does not read.
const maxAnswers = 256 << 10

// answer queues an element that the other side has asked for; nil is none.
func (st *stream) answer(e *stanza.Element) error {
	if e == nil {
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.out) > st.items.octets+maxAnswers {
		return &fault{condition: "policy-violation", text: "answers are not read"}
	}
	st.sayLocked(e)
	st.wake()
	return nil
}

// open queues our header.
func (st *stream) open(h header) {
	st.mu.Lock()
	st.openLocked(h)
	st.mu.Unlock()
	st.wake()
}

func (st *stream) openLocked(h header) {
	before := len(st.out)
	st.out = h.append(st.out)
	st.offset += uint64(len(st.out) - before)
	st.opened = true
}

func (st *stream) wake() {
	select {
	case st.ready <- struct{}{}:
	default:
	}
}

// A fit says whether one more stanza may go on a stream, and why not. The zero fit
// is that it may not.
type fit uint8

const (
	fitClosed   fit = iota // the stream takes no more
	fitFull                // until some are done
	fitTooLarge            // ever
	fitTaken
)

// put queues a stanza. The item is the stream's if it was taken.
func (st *stream) put(it *item) fit {
	st.mu.Lock()
	l := &st.s.limits
	switch {
	case st.shut || st.broken:
		st.mu.Unlock()
		return fitClosed
	case st.peer.maxOctets > 0 && len(it.octets) > st.peer.maxOctets:
		st.mu.Unlock()
		return fitTooLarge
	case st.items.n >= l.Window || st.items.octets+len(it.octets) > l.WindowOctets:
		st.crowded = true
		st.mu.Unlock()
		return fitFull
	}
	st.out = append(st.out, it.octets...)
	st.offset += uint64(len(it.octets))
	it.end, it.counted, it.until = st.offset, st.acks, time.Time{}
	it.written = true
	if st.items.n == 0 {
		st.progress = time.Now()
	}
	st.items.push(it)
	st.mu.Unlock()
	st.sent.Add(1)
	st.wake()
	return fitTaken
}

// set changes the deadlines of reading.
func (st *stream) set(change func()) {
	st.mu.Lock()
	defer st.mu.Unlock()
	change()
	st.armLocked()
}

func (st *stream) armLocked() {
	var first time.Time
	for _, t := range []time.Time{st.provedBy, st.elementBy, st.leaveBy} {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	_ = st.conn.SetReadDeadline(first) // fails only when the connection is closed
}

// detail describes a stream for people.
func (st *stream) detail() string {
	st.mu.Lock()
	defer st.mu.Unlock()
	s := "TLS"
	if st.tls != nil {
		s = tls.VersionName(st.tls.ConnectionState().Version)
	}
	if st.direct {
		s += ", direct"
	}
	if st.bidi {
		s += ", both ways"
	}
	if st.acks {
		s += ", acknowledges"
	}
	if st.where != "" {
		s += ", " + st.where
	} else {
		s += ", from " + st.addr.String()
	}
	if st.unproved != "" {
		s += "; " + words(st.unproved)
	}
	return s
}
