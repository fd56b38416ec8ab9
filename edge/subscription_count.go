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
	soonest  time.Duration // nothing runs out before
}

// A subscription is one that was asked for, or is held.
type subscription struct {
	until time.Duration // by the clock of the table; 0: never answered yet
	asked int           // SUBSCRIBEs that wait for an answer
	over  bool          // a NOTIFY said so, maybe before the answer came
}

func newHolder(shard *subscriptionShard, stranger bool) *holder {
	return &holder{shard: shard, stranger: stranger, held: make(map[uint64]*subscription)}
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
	if one := h.held[k.key]; one != nil {
		one.asked++
		one.over = false
		return true
	}
	if len(h.held) >= limit && k.lifetime > 0 {
		s.expire(h, now)
	}
	if len(h.held) >= limit && k.lifetime > 0 {
		return false
	}
	return s.put(h, domain, k.key, &subscription{asked: 1})
}

// put adds one to what h holds, if there is room. The shard's lock is held.
func (s *subscriptions) put(h *holder, domain string, key uint64, one *subscription) bool {
	if !s.seat(h) {
		return false
	}
	if h.shard.holders == nil {
		h.shard.holders = make(map[string]*holder)
	}
	h.shard.holders[domain] = h
	h.held[key] = one
	return true
}

// seat counts one more of h, if there is room. The shard's lock is held.
func (s *subscriptions) seat(h *holder) bool {
	if s.total.Add(1) > maxSubscriptions {
		s.total.Add(-1)
		return false
	}
	if h.stranger && s.strangers.Add(1) > maxSubscriptions/share {
		s.total.Add(-1)
		s.strangers.Add(-1)
		return false
	}
	return true
}

// remove forgets one of h. The shard's lock is held.
func (s *subscriptions) remove(h *holder, key uint64) {
	delete(h.held, key)
	s.total.Add(-1)
	if h.stranger {
		s.strangers.Add(-1)
	}
}

// answered gives k back. Its SUBSCRIBE was accepted for a lifetime, of 0 if it
// ended the subscription or only asked once; or it was refused, which leaves
// what there was (RFC 6665 §4.1.2.2).
func (s *subscriptions) answered(k *ticket, accepted bool, lifetime, now time.Duration) {
	if k.of == nil {
		return
	}
	k.of.shard.mu.Lock()
	defer k.of.shard.mu.Unlock()
	one := k.of.held[k.key]
	one.asked--
	if accepted {
		k.of.lasts(one, now+lifetime)
		one.over = one.over || lifetime == 0
	}
	if one.asked == 0 && (one.over || one.until == 0) {
		s.remove(k.of, k.key)
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
		if one = new(subscription); !s.put(h, domain, key, one) {
			return
		}
		h.lasts(one, now+cmp.Or(left, defaultLifetime))
	case left > 0:
		h.lasts(one, now+left)
	}
}

// end is told that a NOTIFY ended a subscription. It may be faster than the
// answer to the SUBSCRIBE.
func (s *subscriptions) end(shard *subscriptionShard, domain string, key uint64) {
	shard.mu.Lock()
	defer shard.mu.Unlock()
	h := shard.holders[domain]
	if h == nil || h.held[key] == nil {
		return
	}
	one := h.held[key]
	if one.over = true; one.asked == 0 {
		s.remove(h, key)
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
			if s.expire(h, now); len(h.held) == 0 {
				delete(shard.holders, domain)
			}
		}
		shard.mu.Unlock()
	}
}
