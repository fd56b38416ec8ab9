package remoteaccess

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sipedge/sipedge/store"
)

// The keys of the buckets.
const (
	automaticPrefix = "automatic/"
	byHandPrefix    = "by-hand/"
	homePrefix      = "user/"
	homeSecretKey   = "secret"
)

// GuardBuckets opens the buckets of s that OpenGuard wants, with the limits that
// fit what it keeps.
func GuardBuckets(s *store.Store) (bans, known *store.Bucket, err error) {
	bans, err = s.Bucket("bans", store.Limits{Records: 2*maxAutomatic + maxByHand, Key: 512, Value: 16 << 10})
	if err != nil {
		return nil, nil, err
	}
	known, err = s.Bucket("known", store.Limits{Records: 2*maxKnown + 1, Key: 64, Value: 16 * maxPlaces})
	return bans, known, err
}

// A savedBan is a ban as the store has it, under its kind and key.
type savedBan struct {
	Ban
	Strikes int `json:"strikes,omitempty"`
}

const (
	guardFlushEvery  = 500 * time.Millisecond // how much of what is known a crash may take
	guardForgetEvery = 10 * time.Minute
	guardBatch       = 256 // records written at a time
)

// Run writes what has changed to the store within a second, and once more when
// ctx ends.
func (g *Guard) Run(ctx context.Context) {
	if g == nil {
		return
	}
	tick := time.NewTicker(guardFlushEvery)
	defer tick.Stop()
	failing := false
	forgot := g.now()
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true
		case <-tick.C:
		}
		if now := g.now(); now.Sub(forgot) >= guardForgetEvery || now.Before(forgot) {
			forgot = now
			g.forget(now)
		}
		err := g.flush()
		if err != nil && !failing {
			g.log.Error("bans not written", "err", err)
		}
		failing = err != nil
	}
}

// forget drops what is over.
func (g *Guard) forget(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.desk.expire(now)
	g.bans.forget(g.config.LongestLock, now)
	g.known.forget(g.config.Remember, now)
}

// flush writes what has changed. What could not be written is tried again the
// next time.
func (g *Guard) flush() error {
	g.writing.Lock()
	defer g.writing.Unlock()
	return errors.Join(g.flushBans(), g.flushKnown())
}

func (g *Guard) flushBans() error {
	for {
		keys, changes := g.changedBans()
		if len(changes) == 0 {
			return nil
		}
		if g.bucket == nil {
			continue
		}
		if err := g.bucket.Write(changes...); err != nil {
			g.mu.Lock()
			for key, id := range keys {
				g.bans.dirty[key] = id
			}
			g.mu.Unlock()
			return err
		}
	}
}

// changedBans takes a batch of what has changed.
func (g *Guard) changedBans() (map[string]uint64, []store.Change) {
	g.mu.Lock()
	defer g.mu.Unlock()
	keys := make(map[string]uint64)
	var gone, changes []store.Change
	for key, id := range g.bans.dirty {
		if len(keys) == guardBatch {
			break
		}
		keys[key] = id
		delete(g.bans.dirty, key)
		in := g.bans.automatic
		if strings.HasPrefix(key, byHandPrefix) {
			in = g.bans.byHand
		}
		if h := in[id]; h != nil {
			h.saved = true
			changes = append(changes, banChange(key, h))
		} else {
			gone = append(gone, store.Change{Key: key, Delete: true})
		}
	}
	return keys, append(gone, changes...)
}

func banChange(key string, h *held) store.Change {
	data, err := json.Marshal(savedBan{h.Ban, h.strikes})
	if err != nil {
		panic(err) // numbers, times and text: each has its JSON
	}
	return store.Change{Key: key, Value: data}
}

func (g *Guard) flushKnown() error {
	for {
		keys, changes := g.changedKnown()
		if len(changes) == 0 {
			return nil
		}
		if g.places == nil {
			continue
		}
		if err := g.places.Write(changes...); err != nil {
			g.mu.Lock()
			for _, key := range keys {
				g.known.dirty[key] = struct{}{}
			}
			g.unsaved = true
			g.mu.Unlock()
			return err
		}
	}
}

// changedKnown takes a batch of what has changed, and the secret, without which
// hashes are worth nothing.
func (g *Guard) changedKnown() (keys []homeKey, changes []store.Change) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.unsaved {
		changes = append(changes, store.Change{Key: homeSecretKey, Value: g.secret[:]})
		g.unsaved = false
	}
	for key := range g.known.dirty {
		if len(keys) == guardBatch {
			break
		}
		keys = append(keys, key)
		delete(g.known.dirty, key)
		name := homePrefix + hex.EncodeToString(key[:])
		if h, ok := g.known.homes.Peek(key); ok {
			h.saved = true
			changes = append(changes, store.Change{Key: name, Value: h.encode()})
		} else {
			changes = append(changes, store.Change{Key: name, Delete: true})
		}
	}
	return keys, changes
}

// encode writes a home as sixteen octets for each place.
func (h *home) encode() []byte {
	var b []byte
	for _, p := range h.places {
		b = binary.BigEndian.AppendUint64(b, p.source)
		b = binary.BigEndian.AppendUint64(b, uint64(p.seen))
	}
	return b
}

// decodeHome reads what encode writes.
func decodeHome(b []byte) *home {
	h := &home{saved: true}
	for ; len(b) >= 16 && len(h.places) < maxPlaces; b = b[16:] {
		h.places = append(h.places, place{binary.BigEndian.Uint64(b), int64(binary.BigEndian.Uint64(b[8:]))})
	}
	return h
}

// load reads what the buckets have. What is not as it should be is left out: it
// must not cost the edge its start.
func (g *Guard) load() {
	for _, b := range []*store.Bucket{g.bucket, g.places} {
		if b == nil {
			continue
		}
		if damage := b.Damage(); damage != nil {
			g.log.Error("store damaged", "err", damage)
		}
	}
	if g.bucket != nil {
		g.bucket.Each(func(key string, value []byte) bool {
			if err := g.loadBan(key, value); err != nil {
				g.log.Error("ban not read", "key", key, "err", err)
			}
			return true
		})
		g.loadLost()
	}
	if g.places != nil {
		g.loadKnown()
	}
}

func (g *Guard) loadBan(key string, value []byte) error {
	var s savedBan
	if err := json.Unmarshal(value, &s); err != nil {
		return err
	}
	name, byHand := strings.CutPrefix(key, byHandPrefix)
	if !byHand {
		name = strings.TrimPrefix(key, automaticPrefix)
	}
	if s.Key != name || s.Key != s.key() || s.ByHand != byHand ||
		!slices.Contains([]string{BanPair, BanSource, BanUser}, s.Kind) || !byHand && s.Until.IsZero() {
		return fmt.Errorf("%.80q is not what it is about", s.Key)
	}
	h := &held{Ban: s.Ban, strikes: min(max(s.Strikes, 0), 64), saved: true}
	id := g.numberOf(&h.Ban)
	if byHand {
		g.bans.put(id, h)
		return nil
	}
	g.bans.makeRoom()
	g.bans.automatic[id] = h
	return nil
}

// loadLost bans again, for ever, whom a damaged line seems to be about that
// somebody had banned by hand.
func (g *Guard) loadLost() {
	damage := g.bucket.Damage()
	if damage == nil {
		return
	}
	for _, key := range damage.Keys {
		key, ok := strings.CutPrefix(key, byHandPrefix)
		if !ok {
			continue
		}
		b := Ban{User: key, By: Automatic, Reason: "what was said of this ban cannot be read any more: ban or lift"}
		if user, from, pair := strings.Cut(key, " from "); pair {
			b.User, key = user, from
		}
		if source, err := ParseSource(key); err == nil {
			b.Source = source
			if b.User == key {
				b.User = ""
			}
		}
		if err := b.ready(g.now()); err != nil {
			continue
		}
		if id := g.numberOf(&b); g.bans.byHand[id] == nil {
			g.bans.put(id, &held{Ban: b})
			g.bans.dirty[byHandPrefix+b.Key] = id
			g.log.Error("ban lost", "key", b.Key)
		}
	}
}

func (g *Guard) loadKnown() {
	if secret, ok := g.places.Get(homeSecretKey); ok && len(secret) == len(g.secret) {
		copy(g.secret[:], secret)
		g.unsaved = false
	}
	type entry struct {
		key homeKey
		*home
	}
	var all []entry
	g.places.Each(func(name string, value []byte) bool {
		digits, ok := strings.CutPrefix(name, homePrefix)
		var e entry
		ok = ok && len(digits) == 2*len(e.key)
		if ok {
			_, err := hex.Decode(e.key[:], []byte(digits))
			ok = err == nil
		}
		if ok {
			e.home = decodeHome(value)
			all = append(all, e)
		} else if name != homeSecretKey {
			g.log.Error("known place not read", "key", name)
		}
		return true
	})
	latest := func(e entry) (seen int64) {
		for _, p := range e.places {
			seen = max(seen, p.seen)
		}
		return seen
	}
	slices.SortFunc(all, func(a, b entry) int { return int(min(max(latest(a)-latest(b), -1), 1)) })
	for _, e := range all {
		g.known.homes.Add(e.key, e.home)
	}
}
