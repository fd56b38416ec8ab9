package remoteaccess

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// stopper returns the ban that stops an attempt, nil if none does. It looks at
// everything, whatever it has found: nobody can tell from the time what it was.
func (g *Guard) stopper(s *slot) (by *held) {
	s.trusted = s.n > 0
	for i := range s.who[:s.n] {
		w := &s.who[i]
		known := g.known.has(w.key, s.place, g.config.Remember, s.at)
		w.trusted = known || i == 0 && s.signed
		s.trusted = s.trusted && (w.trusted || i >= s.named)
	}
	meet := func(b *held, counts bool) {
		if b != nil && counts && !b.ended(s.at) {
			by = b
		}
	}
	meet(g.bans.automatic[s.source], s.source != 0 && !s.trusted)
	for i := range s.who[:s.n] {
		w := &s.who[i]
		meet(g.bans.automatic[w.user], !w.trusted)
		meet(g.bans.automatic[w.pair], true)
		if len(g.bans.byHand) > 0 {
			meet(g.bans.byHand[w.user], true)
			meet(g.bans.byHand[pairNumber(w.hash, s.sourceHash, false)], true)
		}
	}
	if len(g.bans.byHand) > 0 && s.prefix.IsValid() {
		for _, p := range g.bans.networks(s.prefix) {
			meet(g.bans.byHand[number(g.sourceHash(p), ofSource)], true)
		}
	}
	return by
}

// room reports whether one more may be under way, and notes in s as what it
// counts.
func (g *Guard) room(s *slot) bool {
	if s.bare {
		return true
	}
	spray := g.spraying(s.at)
	limits := func(l limit, trusted bool) limit {
		if spray && !trusted {
			return l.strict()
		}
		return l
	}
	room := true
	for i := range s.who[:s.n] {
		w := &s.who[i]
		if i == 0 && s.signed {
			room = g.one(s, w.pair, signedUnderWay) && room
			continue
		}
		room = g.one(s, w.pair, g.left(g.pairs, w.pair, limits(g.config.pair(), w.trusted), s.at)) && room
		if !w.trusted {
			room = g.one(s, w.user, g.left(g.users, w.user, limits(g.config.user(), false), s.at)) && room
		}
	}
	if s.source != 0 && !s.trusted && !g.config.NoSources {
		room = g.one(s, s.source, g.left(g.sources, s.source, limits(g.config.source(), false), s.at)) && room
	}
	return room
}

// one counts one more under a number, of which so many may be under way.
func (g *Guard) one(s *slot, id uint64, most int) bool {
	s.ids[s.m] = id
	s.m++
	return int(g.desk.underWay[id]) < most
}

// left returns how many failures are left, at least one: what is banned has been
// stopped before, and what is not may try.
func (g *Guard) left(in *simplelru.LRU[uint64, *tally], id uint64, l limit, now time.Time) int {
	t, _ := in.Peek(id)
	return max(l.failures-t.count(l.window, now), 1)
}

// settle takes a ticket back and counts what came of it.
func (g *Guard) settle(t Ticket, o Outcome) {
	g.mu.Lock()
	now := g.now()
	s, ok := g.desk.give(t)
	var made []Ban
	began := false
	if ok {
		spray := !g.spray.since.IsZero()
		switch o {
		case OutcomeProgress:
			made = g.progress(s, now)
		case OutcomeFailed:
			made = g.failed(s, now)
		case OutcomeAccepted:
			g.accepted(s, now)
		case OutcomePassed:
			g.passed(s)
		}
		began = !spray && !g.spray.since.IsZero()
		s.forget()
	}
	users, sources := g.spray.users.Len(), g.spray.sources.Len()
	g.mu.Unlock()
	for _, b := range made {
		g.log.Warn("sign-in banned", "kind", b.Kind, "user", b.User, "source", sourceText(b.Source), "reason", b.Reason, "count", b.Count, "until", b.Until)
	}
	if began {
		g.log.Warn("one password seems to be tried on many users", "users", users, "sources", sources)
	}
}

// failed counts a failure.
func (g *Guard) failed(s *slot, now time.Time) (made []Ban) {
	spray := !s.trusted && s.n > 0
	if spray {
		for _, w := range s.tried() {
			g.spray.fail(w.user, s.source, now)
		}
	}
	strict := g.spraying(now)
	others := false // the failure is not one of the signed-in user alone
	for i := range s.who[:s.n] {
		w := &s.who[i]
		if i == 0 && s.signed {
			// What was sent before the client could know is one failure: when the
			// home server forgets its nonces, twenty requests fail at once.
			if s.turn > tallyOf(g.pairs, w.pair).turn {
				made = g.count(made, g.pairs, now, s, i, BanPair, g.config.pair())
			}
			continue
		}
		others = true
		pair, user := g.config.pair(), g.config.user()
		if strict && !w.trusted {
			pair, user = pair.strict(), user.strict()
		}
		made = g.count(made, g.pairs, now, s, i, BanPair, pair)
		made = g.count(made, g.users, now, s, i, BanUser, user)
	}
	if (others || s.n == 0) && s.source != 0 && !g.config.NoSources {
		source := g.config.source()
		if strict {
			source = source.strict()
		}
		made = g.count(made, g.sources, now, s, 0, BanSource, source)
	}
	return made
}

// tried is whose password it was: who is named by the credentials, if it is
// another than the user. Where they name several it may be any of them.
func (s *slot) tried() []subject {
	if s.named > 1 && !s.mixed {
		return s.who[1:s.named]
	}
	return s.who[:s.named]
}

// count adds a failure to one tally, and bans when it is one too many.
func (g *Guard) count(made []Ban, in *simplelru.LRU[uint64, *tally], now time.Time, s *slot, i int, kind string, l limit) []Ban {
	w := &s.who[i]
	id, who := w.pair, s.sourceHash
	switch kind {
	case BanUser:
		id = w.user
	case BanSource:
		id = s.source
	}
	if h := g.bans.automatic[id]; h != nil && !h.ended(now) {
		h.Count++ // it was under way before
		return made
	}
	t := tallyOf(in, id)
	t.turn = g.desk.turns
	t.count(l.window, now)
	if kind == BanSource {
		who = t.unseen(s.tried())
	}
	t.add(failure{now.UnixMilli(), who}, l.failures)
	n, users := len(t.failures), 0
	if l.users > 0 {
		users = t.different()
	}
	if n < l.failures && (l.users == 0 || users < l.users) {
		return made
	}
	in.Remove(id)
	b := Ban{Kind: kind, Count: n, Reason: "failed sign-ins"}
	if kind != BanSource {
		b.User = w.name
	}
	if kind != BanUser {
		b.Source = s.prefix
	}
	b.SignedIn = kind == BanPair && i == 0 && s.signed
	if l.users > 0 && users >= l.users {
		b.Reason = "failed sign-ins of many users"
	}
	if b, ok := g.bans.punish(id, b, l.lock, g.config.LongestLock, now); ok {
		made = append(made, b)
	}
	return made
}

// How often an exchange may go on within pair_window before each further time is
// a failure. An honest one needs three rounds.
const (
	maxProgress       = 30
	maxSignedProgress = 256 // when the nonce gets old, all that is under way hears it
)

// rounds counts how often the exchange of a pair went on, since when.
type rounds struct {
	n     int
	since time.Time
}

func newRounds(most int) *simplelru.LRU[uint64, rounds] {
	l, err := simplelru.NewLRU[uint64, rounds](most, nil)
	if err != nil {
		panic(err) // most is a constant
	}
	return l
}

// progress counts how often an exchange goes on without an end.
func (g *Guard) progress(s *slot, now time.Time) []Ban {
	over := false
	for i := range s.who[:s.n] {
		w := &s.who[i]
		most := maxProgress
		if i == 0 && s.signed {
			most = maxSignedProgress
		}
		r, ok := g.endless.Get(w.pair)
		if age := now.Sub(r.since); !ok || age >= g.config.PairWindow || age < -muchAhead {
			r = rounds{since: now}
		}
		r.n++
		g.endless.Add(w.pair, r)
		over = over || r.n > most
	}
	if over {
		return g.failed(s, now)
	}
	return nil
}

// accepted notes where somebody has signed in, and takes one failure back: many a
// client tries the nonce that it had first. It does not take all back, or whoever
// shares a source with a user could guess anew each time that he signs in.
//
// Where credentials name several, the home server has looked at those of one: that is
// no success of the others, or somebody with an account could make himself known as
// anybody.
func (g *Guard) accepted(s *slot, now time.Time) {
	proven := s.who[:s.n]
	if s.mixed {
		proven = proven[:1]
	}
	for i := range proven {
		w := &s.who[i]
		if s.place != 0 && i < s.named {
			g.known.add(w.key, s.place, g.config.Remember, now)
		}
		forgive(g.pairs, w.pair, s.sourceHash)
		forgive(g.users, w.user, s.sourceHash)
		forgive(g.sources, s.source, w.hash)
		g.endless.Remove(w.pair)
		g.spray.forgive(w.user, s.source)
	}
}

// passed takes one failure of a signed-in user back.
func (g *Guard) passed(s *slot) {
	if s.n > 0 && s.signed {
		w := &s.who[0]
		forgive(g.pairs, w.pair, s.sourceHash)
		g.endless.Remove(w.pair)
	}
}
