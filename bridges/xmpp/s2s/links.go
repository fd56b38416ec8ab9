package s2s

import (
	"cmp"
	"slices"

	"github.com/sipedge/sipedge/bridges"
)

// Waiting returns how many stanzas wait for a stream, or on one.
func (s *Server) Waiting() int {
	s.mu.Lock()
	routes, streams := s.all()
	s.mu.Unlock()
	n := 0
	for _, r := range routes {
		r.mu.Lock()
		n += r.waiting.n
		r.mu.Unlock()
	}
	for _, st := range streams {
		st.mu.Lock()
		n += st.items.n
		st.mu.Unlock()
	}
	return n
}

// Counts returns how many stanzas were sent (acknowledged, or written where nobody
// acknowledges), received, and not delivered.
func (s *Server) Counts() (sent, received, failed uint64) {
	return s.sent.Load(), s.received.Load(), s.failed.Load()
}

// Links tells all streams, and the domains that have none and to which something is
// to be sent or was not long ago.
func (s *Server) Links() []bridges.Link {
	s.mu.Lock()
	routes, streams := s.all()
	s.mu.Unlock()
	var links []bridges.Link
	for _, st := range streams {
		if l, ok := st.link(); ok {
			links = append(links, l)
		}
	}
	for _, r := range routes {
		if l, ok := r.link(); ok {
			links = append(links, l)
		}
	}
	slices.SortFunc(links, func(a, b bridges.Link) int {
		return cmp.Or(cmp.Compare(a.Remote, b.Remote), cmp.Compare(a.Local, b.Local), cmp.Compare(a.Direction, b.Direction), a.Since.Compare(b.Since))
	})
	return links
}

// link describes a stream on which something is proved.
func (st *stream) link() (bridges.Link, bool) {
	detail := st.detail()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.in && len(st.proofs) == 0 {
		return bridges.Link{}, false
	}
	l := bridges.Link{
		Local: st.local, Remote: st.remote, Direction: "out", State: "up", Proof: st.server, Detail: detail, Since: st.began,
		Sent: st.sent.Load(), Received: st.received.Load(), Waiting: st.items.n,
	}
	if st.in {
		l.Direction, l.Proof = "in", st.proofs[st.remote]
	}
	if st.bidi {
		l.Direction = "both"
	}
	if st.shut {
		l.State = "closing"
	}
	return l, true
}

// link describes a route without a stream.
func (r *route) link() (bridges.Link, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := bridges.Link{Local: r.local, Remote: r.remote, Direction: "out", Since: r.since, Waiting: r.waiting.n}
	switch {
	case r.cur != nil:
		return l, false
	case r.building:
		l.State = "connecting"
	case r.err != nil:
		l.State = "down"
	default:
		return l, false
	}
	if r.err != nil {
		l.Detail = words(r.err.Error())
	}
	return l, true
}
