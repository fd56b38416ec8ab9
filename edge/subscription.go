package edge

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"strconv"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/sip"
)

// A subscription turns one request into as many as its notifier likes: whoever
// holds ten thousand of them has ten thousand documents sent for each change
// (RFC 5393 has the same with forks). So those that a partner holds with our
// users are counted, by partner, and bounded.
//
// The count is of SUBSCRIBE: those that REFER brings along (RFC 3515) end by
// themselves, and what our users hold with partners is their servers' business.
// A first SUBSCRIBE takes a place whatever it looks like: many with the same
// Call-ID and tag make as many subscriptions, which differ only in the tag that
// the home server chooses (RFC 6665 §4.4.1).
//
// It lives in memory. After a restart a subscription counts again when it is
// refreshed.
const (
	subscriptionShards = 16
	// maxSubscriptions bounds what is counted, some 100 octets each. Of this,
	// those that nobody listed may hold a share together.
	maxSubscriptions = 1 << 18
	// strangersSubscriptions is what one partner may hold that nobody listed.
	strangersSubscriptions = 100
	// defaultLifetime goes for an answer that does not say how long, and
	// maxLifetime for one that says for ever: a home server that lost its memory
	// must not leave a partner without a place.
	defaultLifetime = time.Hour
	maxLifetime     = 24 * time.Hour
	// forgetEvery is how often what has run out is looked for.
	forgetEvery = 10 * time.Second
)

// A ticket is the place that a SUBSCRIBE takes until it is answered.
type ticket struct {
	of       *holder
	half     uint64        // what is known of the subscription before it is answered
	key      uint64        // its key, if it is one that is held; 0: a first SUBSCRIBE
	lifetime time.Duration // that was asked for
}

// subscribe finds a place for a SUBSCRIBE from outside, and takes note of what a
// NOTIFY from inside says of one. It is called for requests that passed both
// doors.
func (e *Edge) subscribe(r *request) (*ticket, allowlists.Verdict) {
	switch string(r.m.Method()) {
	case "SUBSCRIBE":
		if r.f.Role == RoleFederation || r.f.Role == RoleBridge {
			break
		}
		return nil, pass
	case "NOTIFY", "BENOTIFY":
		if r.plan.outbound && !r.plan.remote {
			e.notice(r)
		}
		return nil, pass
	default:
		return nil, pass
	}
	from, _ := r.m.From()
	to, _ := r.m.To()
	k := &ticket{half: e.subscriptionHalf(r.m, from.Tag()), lifetime: lifetime(r.m, defaultLifetime)}
	if r.inDialog {
		k.key = e.subscriptionKey(k.half, to.Tag())
	}
	limit, rule := e.subscriptionLimit(r.grant)
	stranger := r.grant.Tier == federation.TierDiscovered
	shard, name := e.holderOf(r.from, r.grant.Tier)
	if e.subscriptions.take(shard, name, k, limit, stranger, time.Since(e.table.start)) {
		return k, pass
	}
	return nil, allowlists.Refusal(allowlists.LimitSubscriptions, rule)
}

// subscriptionLimit is how many a partner may hold, and what says so.
func (e *Edge) subscriptionLimit(g federation.Grant) (int, allowlists.Rule) {
	if n := g.Subscriptions(); n > 0 {
		return n, g.Rule
	}
	if n := e.limits.Subscriptions; g.Tier != federation.TierDiscovered || n < strangersSubscriptions {
		return n, e.limitsRule("subscriptions")
	}
	return strangersSubscriptions, allowlists.Rule{Name: "partners that are not listed"}
}

// holderOf is under whose name the subscriptions of a domain count: of those that
// nobody listed, all names that one owner has are one.
func (e *Edge) holderOf(domain []byte, tier federation.Tier) (*subscriptionShard, string) {
	name := string(domain)
	if tier == federation.TierDiscovered {
		name = federation.Owner(domain)
	}
	return &e.subscriptions.shards[maphash.String(e.table.seed, name)%subscriptionShards], name
}

// subscriptionHalf is what both sides know of a subscription from the beginning:
// Call-ID, the subscriber's tag, and the event with its id (RFC 6665 §4.4.1).
func (e *Edge) subscriptionHalf(m *sip.Message, subscriber []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(e.table.seed)
	h.Write(m.CallID())
	h.WriteByte(0)
	h.Write(subscriber)
	h.WriteByte(0)
	name, params, _ := bytes.Cut(m.Value(sip.Event), []byte(";"))
	var room [64]byte
	h.Write(lower(room[:0], bytes.Trim(name, mimeBlanks)))
	h.WriteByte(0)
	id, _ := sip.Param(params, "id")
	h.Write(id)
	return h.Sum64()
}

// subscriptionKey names a subscription: by its half and the tag that the home
// server chose. It is never 0.
func (e *Edge) subscriptionKey(half uint64, notifier []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(e.table.seed)
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], half)
	h.Write(b[:])
	h.Write(notifier)
	return max(h.Sum64(), 1)
}

// lifetime reads Expires; otherwise goes for a message without one, or with one
// that is none (RFC 3261 §20.19).
func lifetime(m *sip.Message, otherwise time.Duration) time.Duration {
	if m.Count(sip.Expires) == 0 {
		return otherwise
	}
	return seconds(m.Value(sip.Expires), otherwise)
}

func seconds(digits []byte, otherwise time.Duration) time.Duration {
	if len(digits) == 0 {
		return otherwise // an error of ParseUint costs more than the number
	}
	n, err := strconv.ParseUint(string(digits), 10, 32)
	if err != nil {
		return otherwise
	}
	return min(time.Duration(n)*time.Second, maxLifetime)
}

// notice takes note of what a NOTIFY from inside says: that its subscription is
// over, or how long it goes on (RFC 6665 §4.1.3). So those count, too, of which
// the edge does not know: from before a restart.
func (e *Edge) notice(r *request) {
	state, params, _ := bytes.Cut(r.m.Value(sip.SubscriptionState), []byte(";"))
	from, _ := r.m.From()
	to, _ := r.m.To()
	half := e.subscriptionHalf(r.m, to.Tag())
	key := e.subscriptionKey(half, from.Tag())
	shard, name := e.holderOf(r.to, r.grant.Tier)
	now := time.Since(e.table.start)
	if state = bytes.Trim(state, mimeBlanks); bytes.EqualFold(state, []byte("terminated")) {
		e.subscriptions.end(shard, name, half, key, now)
		return
	}
	if !r.bound || len(state) == 0 {
		return // nobody subscribed
	}
	left := time.Duration(0)
	if v, ok := sip.Param(params, "expires"); ok {
		left = seconds(v, 0)
	}
	stranger := r.grant.Tier == federation.TierDiscovered
	e.subscriptions.goesOn(shard, name, key, left, stranger, now)
}

// forgetSubscriptions lets go of what has run out.
func (e *Edge) forgetSubscriptions() { e.subscriptions.forget(time.Since(e.table.start)) }

// subscribed is told of the final answer to x that came from the home server, m;
// nil: of any other end. Only the first counts. The caller holds x.mu.
func (x *tx) subscribed(m *sip.Message) {
	k := x.ticket
	if k == nil {
		return
	}
	x.ticket = nil
	now := time.Since(x.edge.table.start)
	if m == nil || m.Status() >= 300 {
		x.edge.subscriptions.answered(k, 0, false, 0, now)
		return
	}
	to, _ := m.To()
	key := x.edge.subscriptionKey(k.half, to.Tag())
	x.edge.subscriptions.answered(k, key, true, lifetime(m, k.lifetime), now)
}
