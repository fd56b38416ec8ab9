package xmpp

import (
	"hash/maphash"
	"time"
)

const (
	// defaultContacts is how many new pairs one foreign domain may make an hour.
	defaultContacts = 600
	// maxKnown bounds the pairs that are known, and maxStrangers the domains and people
	// whose new pairs are counted.
	maxKnown     = 131_072
	maxStrangers = 16_384
	keepKnown    = 30 * 24 * time.Hour
)

// strangers bounds first contacts. Blocking all strangers would break the network;
// letting them all through makes spam and lists of our users cheap. So what is limited
// is how many *new* pairs a foreign domain makes, and within that how many a single
// person there does, who gets an eighth: one spammer at a large public server
// must not use up what is for all of its users.
//
// A pair is known as soon as our user has written to the other one, watches him, or
// has taken a message of his.
type strangers struct {
	seed    maphash.Seed
	domains rate
	people  rate
	known   *memory[uint64, bool] // by hash of the pair; true: in both eyes, not merely tried
	buckets *memory[string, bucket]
}

// A rate is so many an hour, and a burst.
type rate struct{ hour, burst float64 }

// A bucket is what is left of a rate.
type bucket struct {
	left float64
	at   time.Time
}

func newStrangers(hour int) *strangers {
	if hour == 0 {
		hour = defaultContacts
	}
	n := float64(hour)
	return &strangers{
		seed:    maphash.MakeSeed(),
		domains: rate{n, max(1, n/6)},
		people:  rate{max(1, n/8), max(1, n/48)},
		known:   newMemory[uint64, bool](maxKnown, keepKnown),
		buckets: newMemory[string, bucket](maxStrangers, 2*time.Hour),
	}
}

func (c *strangers) hash(who ends) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	h.WriteString(who.ours)
	h.WriteByte(0)
	h.WriteString(who.theirs)
	return h.Sum64()
}

// met notes that a pair knows each other.
func (c *strangers) met(who ends) { c.known.put(c.hash(who), true) }

// haveMet reports whether a pair knows each other.
func (c *strangers) haveMet(who ends) bool {
	ok, _ := c.known.get(c.hash(who))
	return ok
}

// may reports whether somebody outside may write to one of our users: if the
// pair is not new, or if there is room for one more. Whoever tries again what he has
// tried before makes no new pair, and is left to the limits of the lists.
func (c *strangers) may(who ends, domain string) bool {
	key := c.hash(who)
	if _, ok := c.known.get(key); ok {
		return true
	}
	// Who has none left costs his domain nothing, nor the other way round.
	if !c.spend(who.theirs, c.people, 0) || !c.spend(domain, c.domains, 1) {
		return false
	}
	c.spend(who.theirs, c.people, 1)
	c.known.add(key, false)
	return true
}

// spend takes so much of what is left to somebody, if there is one left.
func (c *strangers) spend(whose string, r rate, cost float64) (ok bool) {
	c.buckets.change(whose, func(b *bucket) {
		now := time.Now()
		if b.at.IsZero() {
			b.left = r.burst
		} else {
			b.left = min(r.burst, b.left+now.Sub(b.at).Hours()*r.hour)
		}
		b.at = now
		if ok = b.left >= 1; ok {
			b.left -= cost
		}
	})
	return ok
}
