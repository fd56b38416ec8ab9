package remoteaccess

import (
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/sipedge/sipedge/store"
)

// List returns the bans that have not ended, in the order of their keys.
func (g *Guard) List() []Ban {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.bans.list(g.now())
}

// Add bans a user, a source or a user at a source by hand: User, Source, Reason,
// Until, By are what it needs. It stops everybody whom it names, also who has
// signed in before. When Add returns nil, the ban is on the disk. One by hand that
// is there already is replaced.
func (g *Guard) Add(b Ban) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	if err := b.ready(g.now()); err != nil {
		return err
	}
	id := g.numberOf(&b)
	g.mu.Lock()
	full := g.bans.byHand[id] == nil && len(g.bans.byHand) >= g.bans.mostHand
	if full {
		g.bans.forget(g.config.LongestLock, g.now())
		full = len(g.bans.byHand) >= g.bans.mostHand
	}
	g.mu.Unlock()
	if full {
		return ErrBanFull
	}
	if g.bucket != nil {
		if err := g.bucket.Write(banChange(byHandPrefix+b.Key, &held{Ban: b})); err != nil {
			return fmt.Errorf("ban %s: %w", b.Key, err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.bans.dirty, byHandPrefix+b.Key)
	g.bans.put(id, &held{Ban: b, saved: g.bucket != nil})
	return nil
}

// Lift takes a ban out, made by hand or not, and all that had been counted before
// it. The key is as List has it; an address may be written in any way. When Lift
// returns nil as error, that is on the disk.
func (g *Guard) Lift(key string) (Ban, error) {
	key = strings.TrimSpace(key)
	source, err := ParseSource(key)
	if err == nil {
		key = sourceText(source)
	}
	g.writing.Lock()
	defer g.writing.Unlock()
	type one struct {
		id     uint64
		byHand bool
	}
	var which []one
	var lifted Ban
	var changes []store.Change
	g.mu.Lock()
	now := g.now()
	find := func(in map[uint64]*held, prefix string, byHand bool) {
		for id, h := range in {
			if !strings.EqualFold(h.Key, key) {
				continue
			}
			if !h.ended(now) {
				lifted = h.Ban
			}
			which = append(which, one{id, byHand})
			changes = append(changes, store.Change{Key: prefix + h.Key, Delete: true})
		}
	}
	find(g.bans.automatic, automaticPrefix, false)
	find(g.bans.byHand, byHandPrefix, true)
	g.mu.Unlock()
	if lifted.Key == "" {
		return Ban{}, fmt.Errorf("%w: %.300q", ErrNoBan, key)
	}
	if g.bucket != nil {
		if err := g.bucket.Write(changes...); err != nil {
			return Ban{}, fmt.Errorf("lift %s: %w", key, err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, o := range which {
		in := g.bans.automatic
		if o.byHand {
			in = g.bans.byHand
		}
		if h := in[o.id]; h != nil {
			h.saved = false
			g.bans.drop(o.id, o.byHand)
		}
		g.pairs.Remove(o.id)
		g.users.Remove(o.id)
		g.sources.Remove(o.id)
		g.endless.Remove(o.id)
	}
	g.bans.measure()
	return lifted, nil
}

// numberOf returns under which number a ban is met.
func (g *Guard) numberOf(b *Ban) uint64 {
	var source uint64
	if b.Source.IsValid() {
		source = g.sourceHash(b.Source)
	}
	switch name := maphash.String(g.seed, b.User); b.Kind {
	case BanUser:
		return number(name, ofUser)
	case BanPair:
		return pairNumber(name, source, b.SignedIn)
	}
	return number(source, ofSource)
}
