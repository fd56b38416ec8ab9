package s2s

import (
	"net/netip"
	"time"
)

// source is what connections are counted by: an address, or the network of one
// customer with IPv6.
func source(a netip.AddrPort) netip.Addr {
	ip := a.Addr()
	if ip.Is6() {
		if p, err := ip.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}

// enter counts a stream that somebody opens, or says why it may not be.
func (s *Server) enter(st *stream) (why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := source(st.addr)
	switch {
	case s.over:
		return "stopping"
	case s.opened >= s.limits.Streams:
		return "too many streams"
	case s.unproved >= s.limits.Strangers, s.unproved >= s.limits.Strangers-s.limits.Strangers/4 && !s.proven.Contains(from):
		return "too many strangers"
	case s.addresses[from] >= s.limits.OfAddress:
		return "too many streams of one address"
	case !s.mayArrive(from, time.Now()):
		return "too many connections of one address in a short time"
	}
	s.opened++
	s.unproved++
	s.addresses[from]++
	s.streams[st] = true
	st.stranger, st.known = true, true
	return ""
}

// mayArrive takes one connection from what a source may open. mu is held.
func (s *Server) mayArrive(from netip.Addr, now time.Time) bool {
	rate := s.limits.Arrivals
	b, ok := s.arrivals.Get(from)
	if !ok {
		b = &bucket{2 * rate, now}
		s.arrivals.Add(from, b)
	}
	if b.fill(now, rate, 2*rate); b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// opening counts a stream that we have opened.
func (s *Server) opening(st *stream) {
	s.mu.Lock()
	over := s.over
	s.streams[st] = true
	st.known = true
	s.mu.Unlock()
	if over {
		st.leave(nil, ErrStopped)
	}
	st.mu.Lock()
	proof := st.server
	st.mu.Unlock()
	s.log.Info("stream opened", "direction", "out", "local", st.local, "remote", st.remote, "proof", proof.String(), "detail", st.detail())
}

// count counts a stream of a domain, if it may have one more.
func (s *Server) count(st *stream, domain string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.domains[domain] >= s.limits.OfDomain {
		return false
	}
	s.domains[domain]++
	if st.stranger {
		st.stranger = false
		s.unproved--
		from := source(st.addr)
		s.fewer(from)
		s.proven.Add(from, true)
	}
	return true
}

// left counts a stream out.
func (s *Server) left(st *stream) {
	st.mu.Lock()
	defer st.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !st.known {
		return
	}
	delete(s.streams, st)
	if !st.in {
		return
	}
	s.opened--
	if st.stranger {
		s.unproved--
		s.fewer(source(st.addr))
	}
	for domain := range st.proofs {
		if s.domains[domain]--; s.domains[domain] <= 0 {
			delete(s.domains, domain)
		}
	}
}

// fewer counts a stream of a source out on which something is proved now, or that is
// no more. mu is held.
func (s *Server) fewer(from netip.Addr) {
	if s.addresses[from]--; s.addresses[from] <= 0 {
		delete(s.addresses, from)
	}
}
