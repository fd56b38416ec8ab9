package remoteaccess

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// How many bans there may be. When those that failures have brought about are
// full, a fifth goes: the ended ones, and those that end first. Those made by
// hand are never driven out.
const (
	maxAutomatic = 1 << 14
	maxByHand    = 10_000
	banShare     = 5
)

// held is a ban in the table. One that failures have brought about stays for a
// while after its end, so that the next one is longer.
type held struct {
	Ban
	strikes int  // bans before this one
	saved   bool // in the store, in some state
}

// A banTable has the bans by the number of whom they are about.
type banTable struct {
	automatic map[uint64]*held
	byHand    map[uint64]*held
	lengths   [2][]int          // of the networks banned by hand, for IPv4 and IPv6
	dirty     map[string]uint64 // keys of the store that are not as the table is, and the number
	most      int               // automatic
	mostHand  int
}

func newBanTable(most, byHand int) banTable {
	return banTable{
		automatic: make(map[uint64]*held), byHand: make(map[uint64]*held), dirty: make(map[string]uint64),
		most: most, mostHand: byHand,
	}
}

// punish bans for the first time or for twice as long as before. It is no ban
// where one stands.
func (t *banTable) punish(id uint64, b Ban, lock, longest time.Duration, now time.Time) (Ban, bool) {
	old := t.automatic[id]
	h := &held{Ban: b}
	if old != nil {
		if !old.ended(now) {
			return Ban{}, false
		}
		h.saved = old.saved
		if now.Before(old.Until.Add(longest)) {
			h.strikes = old.strikes + 1
		}
	} else {
		t.makeRoom()
	}
	for range h.strikes {
		if lock *= 2; lock >= longest {
			break
		}
	}
	h.Key, h.By = b.key(), Automatic
	h.Since = whole(now)
	h.Until = h.Since.Add(min(lock, longest))
	t.automatic[id] = h
	t.dirty[automaticPrefix+h.Key] = id
	return h.Ban, true
}

// makeRoom makes room for one more automatic ban.
func (t *banTable) makeRoom() {
	if len(t.automatic) < t.most {
		return
	}
	type one struct {
		id    uint64
		until time.Time
	}
	all := make([]one, 0, len(t.automatic))
	for id, h := range t.automatic {
		all = append(all, one{id, h.Until})
	}
	slices.SortFunc(all, func(a, b one) int { return cmp.Or(a.until.Compare(b.until), cmp.Compare(a.id, b.id)) })
	for _, o := range all[:max(t.most/banShare, 1)] {
		t.drop(o.id, false)
	}
}

// drop takes a ban out. Who drops one made by hand measures afterwards.
func (t *banTable) drop(id uint64, byHand bool) {
	in, prefix := t.automatic, automaticPrefix
	if byHand {
		in, prefix = t.byHand, byHandPrefix
	}
	h := in[id]
	delete(in, id)
	if h.saved {
		t.dirty[prefix+h.Key] = id
	} else {
		delete(t.dirty, prefix+h.Key)
	}
}

// put puts a ban made by hand in.
func (t *banTable) put(id uint64, h *held) {
	t.byHand[id] = h
	t.measure()
}

// measure finds the lengths of the networks that are banned by hand.
func (t *banTable) measure() {
	t.lengths = [2][]int{}
	for _, h := range t.byHand {
		if h.Kind != BanSource {
			continue
		}
		to := &t.lengths[family(h.Source)]
		if i, ok := slices.BinarySearch(*to, h.Source.Bits()); !ok {
			*to = slices.Insert(*to, i, h.Source.Bits())
		}
	}
}

func family(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 0
	}
	return 1
}

// networks goes over those around a source that may be banned by hand.
func (t *banTable) networks(source netip.Prefix) func(func(int, netip.Prefix) bool) {
	return func(yield func(int, netip.Prefix) bool) {
		for i, bits := range t.lengths[family(source)] {
			if bits > source.Bits() {
				return
			}
			p, err := source.Addr().Prefix(bits)
			if err != nil || !yield(i, p) {
				return
			}
		}
	}
}

// forget takes out what ended, and of automatic ones what ended so long ago that
// the next one is a first one.
func (t *banTable) forget(longest time.Duration, now time.Time) {
	for id, h := range t.automatic {
		if !now.Before(h.Until.Add(longest)) {
			t.drop(id, false)
		}
	}
	for id, h := range t.byHand {
		if h.ended(now) {
			t.drop(id, true)
		}
	}
	t.measure()
}

// standing returns how many bans there are that have not ended.
func (t *banTable) standing(now time.Time) (n int) {
	for _, in := range []map[uint64]*held{t.automatic, t.byHand} {
		for _, h := range in {
			if !h.ended(now) {
				n++
			}
		}
	}
	return n
}

// list returns the bans that have not ended, in the order of their keys.
func (t *banTable) list(now time.Time) []Ban {
	var all []Ban
	for _, in := range []map[uint64]*held{t.automatic, t.byHand} {
		for _, h := range in {
			if !h.ended(now) {
				all = append(all, h.Ban)
			}
		}
	}
	slices.SortFunc(all, func(a, b Ban) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), a.Since.Compare(b.Since), strings.Compare(a.By, b.By))
	})
	return all
}
