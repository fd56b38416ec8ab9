package edge

import (
	"bytes"
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
	key      uint64
	lifetime time.Duration // that was asked for
}

// subscribe finds a place for a SUBSCRIBE from outside, and takes note of what a
// NOTIFY from inside says of one. It is called for requests that passed both
// doors.
func (e *Edge) subscribe(r *request) (*ticket, allowlists.Verdict) {
	switch string(r.m.Method()) {
	case "SUBSCRIBE":
		if r.f.Role == RoleFederation {
			break
		}
		return nil, pass
	case "NOTIFY", "BENOTIFY":
		if r.plan.outbound {
			e.notice(r)
		}
		return nil, pass
	default:
		return nil, pass
	}
	from, _ := r.m.From()
	k := &ticket{key: e.subscriptionKey(r.m, from.Tag()), lifetime: lifetime(r.m, defaultLifetime)}
	limit, rule := e.subscriptionLimit(r.grant)
	stranger := r.grant.Tier == federation.TierDiscovered
	if e.subscriptions.take(e.holderShard(r.from), string(r.from), k, limit, stranger, time.Since(e.table.start)) {
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

func (e *Edge) holderShard(domain []byte) *subscriptionShard {
	return &e.subscriptions.shards[maphash.Bytes(e.table.seed, domain)%subscriptionShards]
}

// subscriptionKey names a subscription of one partner: by Call-ID, the
// subscriber's tag, and the event with its id (RFC 6665 §4.4.1). The home
// server's tag is not known when it is asked for.
func (e *Edge) subscriptionKey(m *sip.Message, tag []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(e.table.seed)
	h.Write(m.CallID())
	h.WriteByte(0)
	h.Write(tag)
	h.WriteByte(0)
	name, params, _ := bytes.Cut(m.Value(sip.Event), []byte(";"))
	var room [64]byte
	h.Write(lower(room[:0], bytes.Trim(name, mimeBlanks)))
	h.WriteByte(0)
	id, _ := sip.Param(params, "id")
	h.Write(id)
	return h.Sum64()
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
	to, _ := r.m.To()
	shard, key := e.holderShard(r.to), e.subscriptionKey(r.m, to.Tag())
	if state = bytes.Trim(state, mimeBlanks); bytes.EqualFold(state, []byte("terminated")) {
		e.subscriptions.end(shard, string(r.to), key)
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
	e.subscriptions.goesOn(shard, string(r.to), key, left, stranger, time.Since(e.table.start))
}

// forgetSubscriptions does so until the edge ends.
func (e *Edge) forgetSubscriptions() {
	clock := time.NewTicker(forgetEvery)
	defer clock.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-clock.C:
			e.subscriptions.forget(time.Since(e.table.start))
		}
	}
}

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
		x.edge.subscriptions.answered(k, false, 0, now)
		return
	}
	x.edge.subscriptions.answered(k, true, lifetime(m, k.lifetime), now)
}
