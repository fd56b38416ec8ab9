package s2s

import (
	"slices"
	"time"

	"github.com/sipedge/sipedge/bridges"
)

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
		st.s.domainLog.log(Owner(p.remote), "stream opened", "direction", "in", "local", p.local, "remote", p.remote, "proof", proof.String(), "detail", st.detail())
	}
	if proof == bridges.ProofDialback {
		// There will be no <enable/> to wait for: nothing is offered any more.
		st.offerRoutes()
	}
	return nil
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
