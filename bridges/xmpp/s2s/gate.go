package s2s

import (
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/sipedge/sipedge/bridges"
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
	case s.unproved >= s.limits.Strangers:
		return "too many strangers"
	case s.addresses[from] >= s.limits.OfAddress:
		return "too many streams of one address"
	}
	s.opened++
	s.unproved++
	s.addresses[from]++
	s.streams[st] = true
	st.stranger, st.known = true, true
	return ""
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

// proved notes that the stream speaks for a domain, and tells the other side.
func (st *stream) proved(p pair, proof bridges.Proof, say []byte) *fault {
	st.mu.Lock()
	if st.ended {
		st.mu.Unlock()
		return nil
	}
	first, fresh := len(st.proofs) == 0, st.proofs[p.remote] == bridges.ProofNone
	if fresh && !st.s.count(st, p.remote) {
		st.mu.Unlock()
		return &fault{condition: "resource-constraint", text: "too many streams of " + p.remote}
	}
	st.proofs[p.remote] = max(proof, st.proofs[p.remote])
	if first {
		st.local, st.remote = p.local, p.remote
		st.provedBy = time.Time{}
		st.armLocked()
	}
	if fresh || !slices.Contains(st.claims, p) {
		st.claims = append(st.claims, p)
	}
	if !st.said {
		st.out = append(st.out, say...)
		st.offset += uint64(len(say))
	}
	st.mu.Unlock()
	st.src.unlimited()
	st.wake()
	if fresh {
		st.s.domainLog.log("stream opened", "direction", "in", "local", p.local, "remote", p.remote, "proof", proof.String(), "detail", st.detail())
	}
	if proof == bridges.ProofDialback {
		// There will be no <enable/> to wait for: nothing is offered any more.
		st.offerRoutes()
	}
	return nil
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
	}
	return true
}

// verifying counts a key that is verified for a source, if there may be one more: of
// all, one source gets a quarter, so that it cannot keep others from being proved.
func (s *Server) verifying(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := 0
	for _, n := range s.checking {
		all += n
	}
	if all >= s.limits.Verifies || s.checking[from] >= max(1, s.limits.Verifies/4) {
		return false
	}
	s.checking[from]++
	return true
}

// verified counts it out.
func (s *Server) verified(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checking[from]--; s.checking[from] <= 0 {
		delete(s.checking, from)
	}
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
	}
	for domain := range st.proofs {
		if s.domains[domain]--; s.domains[domain] <= 0 {
			delete(s.domains, domain)
		}
	}
	from := source(st.addr)
	if s.addresses[from]--; s.addresses[from] <= 0 {
		delete(s.addresses, from)
	}
}

// offerRoutes lets what we have for the domains that a stream speaks for go out on
// it, if it goes both ways. That waits for the other side to ask for
// acknowledgements, but no longer than until it says something else, or a moment.
func (st *stream) offerRoutes() {
	st.mu.Lock()
	if !st.bidi || len(st.claims) == 0 {
		st.mu.Unlock()
		return
	}
	claims := st.claims
	st.claims = nil
	st.mu.Unlock()
	for _, p := range claims {
		for {
			r, err := st.s.route(p)
			if err != nil || r.attach(st) {
				break
			}
			st.s.forget(r)
		}
	}
}

// requeue gives back what was not done.
func (st *stream) requeue(cause error) {
	st.mu.Lock()
	items := st.items.take(st.items.n)
	routes := st.routes
	st.routes = nil
	st.mu.Unlock()
	for i, r := range routes {
		var mine []item
		for _, it := range items {
			if it.route == r {
				mine = append(mine, it)
			}
		}
		if !slices.Contains(routes[:i], r) {
			r.back(st, mine, cause)
		}
	}
}

// tell logs that a stream is no more.
func (st *stream) tell(err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	reason := "it ended the stream"
	if err != nil && err != io.EOF {
		reason = words(err.Error())
	}
	s := st.s
	switch {
	case !st.known:
	case st.stranger && st.confirmed:
		s.log.Debug("dialback key confirmed", "addr", st.addr, "local", st.local, "remote", st.remote)
	case st.stranger:
		if st.unproved != "" {
			reason += "; " + st.unproved
		}
		s.strangers.log("stream refused", "addr", st.addr, "local", st.local, "remote", st.remote, "reason", reason)
	default:
		direction, log := "out", s.log.Info
		if st.in {
			direction, log = "in", s.domainLog.log
		}
		log("stream closed", "direction", direction, "local", st.local, "remote", st.remote, "reason", reason,
			"sent", st.sent.Load(), "received", st.received.Load(), "seconds", int(time.Since(st.began).Seconds()))
	}
}
