package remoteaccess

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// How much is known of where users have signed in. Who signed in least recently
// is forgotten first; and of one user the places where he was least recently, so
// that an account and a thousand addresses forget nobody else.
const (
	maxKnown  = 1 << 15
	maxPlaces = 16
)

// A homeKey stands for a user: a keyed hash, so that nobody can read who it is.
type homeKey [16]byte

// A home is where a user has signed in.
type home struct {
	places []place // the latest last
	saved  bool    // in the store, in some state
}

// A place is a keyed hash of a source. There is none that is 0.
type place struct {
	source uint64
	seen   int64 // seconds
}

// known is where users have signed in.
type known struct {
	homes *simplelru.LRU[homeKey, *home]
	dirty map[homeKey]struct{} // not in the store as they are now
}

func newKnown(most int) known {
	k := known{dirty: make(map[homeKey]struct{})}
	homes, err := simplelru.NewLRU(most, func(key homeKey, h *home) {
		if h.saved {
			k.dirty[key] = struct{}{}
		} else {
			delete(k.dirty, key)
		}
	})
	if err != nil {
		panic(err) // most is a constant
	}
	k.homes = homes
	return k
}

// has reports whether a user has signed in at a place.
func (k *known) has(key homeKey, at uint64, remember time.Duration, now time.Time) bool {
	h, ok := k.homes.Get(key)
	if !ok || at == 0 {
		return false
	}
	for _, p := range h.places {
		if p.source == at {
			return now.Unix()-p.seen < int64(remember/time.Second)
		}
	}
	return false
}

// add notes that a user has signed in at a place. That he is still there is
// written once in a while.
func (k *known) add(key homeKey, at uint64, remember time.Duration, now time.Time) {
	h, ok := k.homes.Get(key)
	if !ok {
		h = new(home)
		k.homes.Add(key, h)
	}
	i := slices.IndexFunc(h.places, func(p place) bool { return p.source == at })
	if i >= 0 {
		if age := now.Unix() - h.places[i].seen; age >= 0 && age < int64(remember/time.Second)/32 {
			return
		}
		h.places = slices.Delete(h.places, i, i+1)
	}
	if n := len(h.places) - maxPlaces + 1; n > 0 {
		h.places = slices.Delete(h.places, 0, n)
	}
	h.places = append(h.places, place{at, now.Unix()})
	k.dirty[key] = struct{}{}
}

// forget drops what is not to be remembered any more.
func (k *known) forget(remember time.Duration, now time.Time) {
	for _, key := range k.homes.Keys() {
		h, _ := k.homes.Peek(key)
		n := len(h.places)
		h.places = slices.DeleteFunc(h.places, func(p place) bool { return now.Unix()-p.seen >= int64(remember/time.Second) })
		switch {
		case len(h.places) == 0:
			k.homes.Remove(key)
		case len(h.places) < n:
			k.dirty[key] = struct{}{}
		}
	}
}

// homeKey hashes a name.
func (g *Guard) homeKey(name string) (key homeKey) {
	var room [len(g.secret) + 1 + maxName]byte
	sum := sha256.Sum256(append(append(append(room[:0], g.secret[:]...), 'u'), name...))
	copy(key[:], sum[:])
	return key
}

// place hashes a source.
func (g *Guard) place(p netip.Prefix) uint64 {
	var room [len(g.secret) + 1 + 18]byte
	octets := sourceOctets(p)
	sum := sha256.Sum256(append(append(append(room[:0], g.secret[:]...), 's'), octets[:]...))
	return max(binary.BigEndian.Uint64(sum[:]), 1)
}
