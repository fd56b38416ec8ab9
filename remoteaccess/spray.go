package remoteaccess

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxFailing is how many users and sources that fail are told apart.
const maxFailing = 1 << 16

// A spray is the view on one password that is tried on many users. Passwords are
// not seen; users are who fail where they have not signed in before, and do not
// sign in there afterwards. Slow or fast, from one source or many, a spray is
// many of them.
type spray struct {
	users   *simplelru.LRU[uint64, failing]
	sources *simplelru.LRU[uint64, failing]
	since   time.Time // zero: there is none
}

// failing is when and from where somebody failed last.
type failing struct {
	at     time.Time
	source uint64
}

func newSpray(most int) spray {
	users, err := simplelru.NewLRU[uint64, failing](most, nil)
	sources, err2 := simplelru.NewLRU[uint64, failing](most, nil)
	if err != nil || err2 != nil {
		panic("remoteaccess: most is a constant")
	}
	return spray{users: users, sources: sources}
}

func (p *spray) fail(user, source uint64, now time.Time) {
	p.users.Add(user, failing{now, source})
	if source != 0 {
		p.sources.Add(source, failing{at: now})
	}
}

// forgive forgets that a user failed who has signed in there after all. That he
// has signed in elsewhere says nothing: users who are sprayed are at work
// meanwhile.
func (p *spray) forgive(user, source uint64) {
	if f, ok := p.users.Peek(user); ok && f.source == source {
		p.users.Remove(user)
	}
}

// look forgets what is older than the window, and judges.
func (p *spray) look(window time.Duration, users int, now time.Time) bool {
	for _, l := range []*simplelru.LRU[uint64, failing]{p.users, p.sources} {
		for {
			_, f, ok := l.GetOldest()
			if !ok || now.Sub(f.at) < window {
				break
			}
			l.RemoveOldest()
		}
	}
	switch n := p.users.Len(); {
	case n >= users && p.since.IsZero():
		p.since = whole(now)
	case n < max(users/2, 1):
		p.since = time.Time{}
	}
	return !p.since.IsZero()
}

// spraying reports whether a spray is suspected. Its caller holds mu.
func (g *Guard) spraying(now time.Time) bool {
	return g.spray.look(g.config.SprayWindow, g.config.SprayUsers, now)
}

// View returns what can be seen of guessing.
func (g *Guard) View() GuardView {
	if g == nil {
		return GuardView{}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	g.desk.expire(now)
	on := g.spraying(now)
	return GuardView{
		Users: g.spray.users.Len(), Sources: g.spray.sources.Len(), Window: g.config.SprayWindow.String(),
		Spray: on, SpraySince: g.spray.since, Bans: g.bans.standing(now), UnderWay: g.desk.len(), Known: g.known.homes.Len(),
	}
}
