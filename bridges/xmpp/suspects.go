package xmpp

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
)

// A stanza that makes the bridge panic ends all its streams, and its server would send it
// again on the next one. So whoever has done that so many times within blameFor is
// shut out for as long.
const (
	maxPanics   = 3
	blameFor    = time.Hour
	maxSuspects = 1024
)

// Suspects remember whose stanzas made the bridge panic, from one incarnation to the
// next. Names that one owner has are one suspect: he makes as many as he likes. They are
// safe for concurrent use; nil ones remember nothing.
type Suspects struct {
	mu   sync.Mutex
	list map[string]*suspect // guarded by mu; by owner
}

// A suspect is the owner of a domain.
type suspect struct {
	panics []time.Time // the last ones
	until  time.Time   // shut out; zero: never was
}

// NewSuspects makes them; there are none.
func NewSuspects() *Suspects { return &Suspects{list: make(map[string]*suspect)} }

// blame notes that a stanza of a domain made the bridge panic. out: it is shut out from
// now on.
func (s *Suspects) blame(domain string) (out bool) {
	if s == nil {
		return false
	}
	now, owner := time.Now(), s2s.Owner(domain)
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.list[owner]
	if x == nil {
		s.makeRoom()
		x = &suspect{}
		s.list[owner] = x
	}
	if x.panics = append(x.panics, now); len(x.panics) > maxPanics {
		x.panics = x.panics[1:]
	}
	if out = len(x.panics) == maxPanics && now.Sub(x.panics[0]) < blameFor; out {
		x.until = now.Add(blameFor)
	}
	return out
}

// makeRoom forgets whoever did nothing for the longest time, if there are too many: each
// has cost a start of the bridge, so that is long ago. The lock is held.
func (s *Suspects) makeRoom() {
	if len(s.list) < maxSuspects {
		return
	}
	oldest, at := "", time.Time{}
	for owner, x := range s.list {
		if last := x.panics[len(x.panics)-1]; oldest == "" || last.Before(at) {
			oldest, at = owner, last
		}
	}
	delete(s.list, oldest)
}

// out reports whether a domain is shut out.
func (s *Suspects) out(domain string) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		return false
	}
	x := s.list[s2s.Owner(domain)]
	return x != nil && time.Now().Before(x.until)
}

// links are those who are shut out, as people see them.
func (s *Suspects) links() (list []bridges.Link) {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for owner, x := range s.list {
		if time.Now().Before(x.until) {
			list = append(list, bridges.Link{Remote: owner, Direction: "both", State: "down", Since: x.until.Add(-blameFor),
				Detail: fmt.Sprintf("shut out until %s: its stanzas made the bridge panic", x.until.UTC().Format("15:04 UTC"))})
		}
	}
	slices.SortFunc(list, func(a, b bridges.Link) int { return strings.Compare(a.Remote, b.Remote) })
	return list
}

// guardOf is guard while a stanza is handled whose sender's domain has been proved.
func (g *gateway) guardOf(domain string, proof bridges.Proof) {
	if p := recover(); p != nil {
		g.blame(domain, proof)
		g.breaks(fmt.Errorf("stanza of %s: %w", domain, panicked(p)))
	}
}

// blame notes whose stanza made us panic. What comes by an account proves no domain.
func (g *gateway) blame(domain string, proof bridges.Proof) {
	if proof == bridges.ProofAccount {
		g.log.Error("stanza made the bridge panic", "domain", domain, "proof", proof)
		return
	}
	g.log.Error("stanza made the bridge panic", "domain", domain, "proof", proof, "shut_out", g.suspects.blame(domain))
}
