package edge

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"
)

// subscriptions counts what partners hold. The zero value is ready.
type subscriptions struct {
	shards           [subscriptionShards]subscriptionShard
	total, strangers atomic.Int64
}

type subscriptionShard struct {
	mu      sync.Mutex
	holders map[string]*holder // by domain; guarded by mu, with all in them
}

// A holder is a partner that holds subscriptions.
type holder struct {
	shard    *subscriptionShard
	stranger bool // nobody listed it when it came
	held     map[uint64]*subscription
	asked    int            // first SUBSCRIBEs that wait for an answer
	halves   map[uint64]int // what is known of those, and how many are the same
	soonest  time.Duration  // nothing runs out before
}

// A subscription is one that is held.
type subscription struct {
	until time.Duration // by the clock of the table
	asked int           // SUBSCRIBEs within it that wait for an answer
	over  bool          // a NOTIFY said so, maybe before the answer came
}

// earlyEnd is for how long is remembered that a NOTIFY ended a subscription before
// the answer to its SUBSCRIBE came.
const earlyEnd = 30 * time.Second

func newHolder(shard *subscriptionShard, stranger bool) *holder {
	return &holder{shard: shard, stranger: stranger, held: make(map[uint64]*subscription), halves: make(map[uint64]int)}
}

// take finds a place for k. What is held already may always be asked for again,
// so that it can be refreshed and ended; what ends at once needs no place.
func (s *subscriptions) take(shard *subscriptionShard, domain string, k *ticket, limit int, stranger bool, now time.Duration) bool {
	shard.mu.Lock()
	defer shard.mu.Unlock()
	h := shard.holders[domain]
	if h == nil {
		h = newHolder(shard, stranger)
	}
	k.of = h
	if one := h.held[k.key]; one != nil && k.key != 0 {
		one.asked++
		one.over = false
		return true
	}
	k.key = 0
	if len(h.held)+h.asked >= limit && k.lifetime > 0 {
		s.expire(h, now)
	}
	if len(h.held)+h.asked >= limit && k.lifetime > 0 || !s.seat(h, domain) {
		return false
	}
	h.asked++
	h.halves[k.half]++
	return true
}

// seat counts one more of h, if there is room. The shard's lock is held.
func (s *subscriptions) seat(h *holder, domain string) bool {
	if s.total.Add(1) > maxSubscriptions {
		s.total.Add(-1)
		return false
	}
	if h.stranger && s.strangers.Add(1) > maxSubscriptions/share {
		s.total.Add(-1)
		s.strangers.Add(-1)
		return false
	}
	if h.shard.holders == nil {
		h.shard.holders = make(map[string]*holder)
	}
	h.shard.holders[domain] = h
	return true
}

// remove forgets one of h. The shard's lock is held.
func (s *subscriptions) remove(h *holder, key uint64) {
	delete(h.held, key)
	s.unseat(h)
}

// unseat counts one less of h. The shard's lock is held.
func (s *subscriptions) unseat(h *holder) {
	s.total.Add(-1)
	if h.stranger {
		s.strangers.Add(-1)
	}
}

// answered gives k back. Its SUBSCRIBE was accepted for a lifetime, of 0 if it
// ended the subscription or only asked once, and key is what the answer named; or
// it was refused, which leaves what there was (RFC 6665 §4.1.2.2).
func (s *subscriptions) answered(k *ticket, key uint64, accepted bool, lifetime, now time.Duration) {
	h := k.of
	if h == nil {
		return
	}
	h.shard.mu.Lock()
	defer h.shard.mu.Unlock()
	if k.key != 0 {
		h.held[k.key].asked--
		s.settle(h, k.key, accepted, lifetime, now)
		return
	}
	h.asked--
	if h.halves[k.half]--; h.halves[k.half] == 0 {
		delete(h.halves, k.half)
	}
	switch {
	case !accepted:
		s.unseat(h)
	case h.held[key] != nil: // a NOTIFY was faster and took a place for it
		s.unseat(h)
		s.settle(h, key, accepted, lifetime, now)
	default:
		h.held[key] = new(subscription)
		s.settle(h, key, accepted, lifetime, now)
	}
}

// settle notes how one of h goes on that was asked for. The shard's lock is held.
func (s *subscriptions) settle(h *holder, key uint64, accepted bool, lifetime, now time.Duration) {
	one := h.held[key]
	if accepted {
		h.lasts(one, now+lifetime)
		one.over = one.over || lifetime == 0
	}
	if one.asked == 0 && one.over {
		s.remove(h, key)
	}
}

// lasts notes when one of h ends by itself. The shard's lock is held.
func (h *holder) lasts(one *subscription, until time.Duration) {
	one.until = until
	if h.soonest == 0 || until < h.soonest {
		h.soonest = until
	}
}

// goesOn is told that a subscription is alive, and for how long; 0: that was not
// said.
func (s *subscriptions) goesOn(shard *subscriptionShard, domain string, key uint64, left time.Duration, stranger bool, now time.Duration) {
	shard.mu.Lock()
	defer shard.mu.Unlock()
	h := shard.holders[domain]
	if h == nil {
		h = newHolder(shard, stranger)
	}
	one := h.held[key]
	switch {
	case one == nil:
		if !s.seat(h, domain) {
			return
		}
		one = new(subscription)
		h.held[key] = one
		h.lasts(one, now+cmp.Or(left, defaultLifetime))
	case left > 0:
		h.lasts(one, now+left)
	}
}

// end is told that a NOTIFY ended a subscription. It may be faster than the
// answer to the SUBSCRIBE.
func (s *subscriptions) end(shard *subscriptionShard, domain string, half, key uint64, now time.Duration) {
	shard.mu.Lock()
	defer shard.mu.Unlock()
	h := shard.holders[domain]
	if h == nil {
		return
	}
	one := h.held[key]
	switch {
	case one != nil:
		if one.over = true; one.asked > 0 {
			return
		}
		if h.halves[half] == 0 {
			s.remove(h, key)
			return
		}
		h.lasts(one, min(one.until, now+earlyEnd))
	case h.halves[half] > 0 && s.seat(h, domain):
		h.held[key] = &subscription{over: true}
		h.lasts(h.held[key], now+earlyEnd)
	}
}

// expire forgets what of h has run out. The shard's lock is held.
func (s *subscriptions) expire(h *holder, now time.Duration) {
	if h.soonest == 0 || now < h.soonest {
		return
	}
	h.soonest = 0
	for key, one := range h.held {
		switch {
		case one.asked > 0:
			// Its answer says how it goes on; not before that.
		case one.until <= now:
			s.remove(h, key)
			continue
		}
		if one.until > 0 && (h.soonest == 0 || one.until < h.soonest) {
			h.soonest = one.until
		}
	}
}

// forget forgets what has run out, and partners that hold nothing.
func (s *subscriptions) forget(now time.Duration) {
	for i := range s.shards {
		shard := &s.shards[i]
		shard.mu.Lock()
		for domain, h := range shard.holders {
			if s.expire(h, now); len(h.held) == 0 && h.asked == 0 {
				delete(shard.holders, domain)
			}
		}
		shard.mu.Unlock()
	}
}
