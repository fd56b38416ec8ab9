package s2s

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/sipedge/sipedge/bridges"
)

// Why we end streams ourselves.
var (
	errIdle    = errors.New("nothing to say")
	errSilent  = errors.New("no answer to what was asked")
	errExpired = errors.New("its certificate holds no longer")
	errUnnamed = errors.New("dns does not name its certificate any more")
	errShut    = errors.New("not allowed any more")
)

// sweep does once a second what is due.
func (s *Server) sweep(now time.Time) {
	s.mu.Lock()
	routes, streams := s.all()
	s.mu.Unlock()
	for _, st := range streams {
		st.sweep(now)
	}
	for _, r := range routes {
		if r.sweep(now) {
			s.forget(r)
		}
	}
	s.rates.sweep(now)
	s.strangers.flush()
	s.domainLog.flush()
}

// recheckTime is how often it is asked whether a stream may still be there.
const recheckTime = time.Minute

func (st *stream) sweep(now time.Time) {
	l := &st.s.limits
	st.mu.Lock()
	if st.shut || st.in && len(st.proofs) == 0 {
		st.mu.Unlock()
		return // they have a deadline
	}
	last := st.heard
	if st.spoke.After(last) {
		last = st.spoke
	}
	keepalive := l.Keepalive
	if idle := time.Duration(st.peer.idle) * time.Second; idle > 0 {
		keepalive = min(keepalive, max(idle*2/3, 10*time.Second))
	}
	// An answer that takes nothing is none: what waits would wait for ever.
	silent := !st.requested.IsZero() && now.Sub(st.requested) > l.Answer ||
		st.acks && st.items.n > 0 && now.Sub(st.progress) > 2*l.Answer
	if st.acks && st.items.n > 0 && st.requested.IsZero() && !st.said {
		st.out = append(st.out, request...)
		st.offset += uint64(len(request))
		st.requested = now
	}
	idle := now.Sub(last) > l.Idle && st.items.n == 0 && st.verifying == 0
	offer := now.Sub(st.began) > time.Second
	recheck := now.Sub(st.rechecked) > recheckTime
	if recheck {
		st.rechecked = now
	}
	if now.Sub(st.wrote) > keepalive && len(st.out) == 0 && !st.said {
		// Both a connection that is gone and a router that forgets see it
		// (RFC 6120 §4.6.1).
		st.out = append(st.out, ' ')
		st.offset++
	}
	st.mu.Unlock()
	st.wake()
	if offer {
		st.offerRoutes()
	}
	switch {
	case silent:
		st.leave(&fault{condition: "connection-timeout"}, errSilent) // RFC 6120 §4.6.2
	case idle:
		st.leave(nil, errIdle)
	case recheck:
		st.recheck()
	}
}

// recheck ends a stream whose proof holds no longer (RFC 6120 §13.7.2.3), or that is
// not allowed any more.
func (st *stream) recheck() {
	st.mu.Lock()
	remote, proof := st.remote, st.server
	if st.in {
		proof = st.proofs[remote]
	}
	all := maps.Clone(st.proofs)
	st.mu.Unlock()
	s := st.s
	all[remote] = proof
	byCertificate := false
	var byDNS []string
	for domain, proof := range all { // also those that were proved beside the first
		if !s.allows(domain) || proof == bridges.ProofDialback && !s.dialback(domain) {
			st.leave(nil, errShut)
			return
		}
		byCertificate = byCertificate || proof == bridges.ProofCertificate
		if proof == bridges.ProofDANE {
			byDNS = append(byDNS, domain)
		}
	}
	if byCertificate {
		if _, err := s.identify(st.tls.ConnectionState()); err != nil {
			st.leave(&fault{condition: "reset"}, fmt.Errorf("%w: %w", errExpired, err))
			return
		}
	}
	if len(byDNS) > 0 {
		s.spawn(func() { st.areNamed(byDNS) })
	}
}

// areNamed ends a stream whose certificate DNS does not name any more as that of all
// these domains.
func (st *stream) areNamed(domains []string) {
	ctx, cancel := context.WithTimeout(st.s.base, recheckTime) // then they are looked for again
	defer cancel()
	for _, domain := range domains {
		if ok, err := st.s.vouchedFor(ctx, st, domain); !ok && err == nil {
			st.leave(&fault{condition: "reset"}, errUnnamed)
			return
		}
	}
}

// Shut ends all that there is with a foreign domain: what waits for it, and its
// streams. Whether there will be more is for Allow and Dialback to say.
func (s *Server) Shut(domain string) {
	domain, ok := Normal(domain)
	if !ok {
		return
	}
	s.mu.Lock()
	routes, streams := s.all()
	s.mu.Unlock()
	for _, r := range routes {
		if r.remote == domain {
			r.shut(fmt.Errorf("%w: %w", ErrRefused, errShut), false)
		}
	}
	for _, st := range streams {
		st.mu.Lock()
		its := st.remote == domain || st.proofs[domain] != bridges.ProofNone
		st.mu.Unlock()
		if its {
			st.leave(nil, errShut)
		}
	}
}
