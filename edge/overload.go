package edge

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/sip"
)

// An overload keeps the edge useful when more comes than it can do: what begins
// something new is refused early, from those who send most, and what was begun
// goes on. How much everybody may begin is for the control to say; this is the
// gate, which asks before a message is judged and costs one look at on while
// there is enough of everything.
type overload struct {
	on      atomic.Bool
	outside atomic.Int64 // octets per second that one peer may begin
	inside  atomic.Int64 // that one pool may

	tick     atomic.Uint64 // number of this one
	refusals atomic.Int64  // how many more may be made

	calm   atomic.Pointer[[]byte] // what peers that ask are told while there is no overload
	others demand                 // of those without a certificate or a pool

	mu     sync.Mutex
	active []*demand // who asked for something in this tick, guarded by mu

	// delay is how long work waited in the last tick: the detector. Tests set
	// their own.
	delay func() time.Duration
}

// unlimited is a pace that refuses nobody: what is wanted is only counted.
const unlimited = math.MaxInt64

// A demand is what one peer, over all its connections, wants while there is too
// much to do, and what it gets. An octet counts the same whatever it is for, and
// each request as some more, for what it costs whatever its length.
type demand struct {
	pool bool // of a pool of ours

	paid   atomic.Int64  // until when its share is used up, in ns of the process
	tick   atomic.Uint64 // in which it was last counted
	wanted atomic.Int64  // octets in this tick
	begun  atomic.Int64  // those of them that were let through
	passed atomic.Int64  // requests that were let through

	notice atomic.Pointer[notice] // what a refusal says
	missed atomic.Int64           // refusals since the last line of the log

	asks     atomic.Bool            // it takes part in overload control (RFC 7339)
	feedback atomic.Pointer[[]byte] // what it is told; nil: the same as all

	// The detector's alone.
	last    float64 // octets per second that it wanted in the last tick
	percent float64 // by which it is asked to send less
	told    bool    // so
}

// What a peer may begin at once that has begun nothing for a while: as time at
// its pace, and in octets. Whoever has little to say is not refused because it
// says it all in one moment.
const (
	burstTime   = 100 * time.Millisecond
	burstOctets = 64 << 10
)

// debt is how far ahead a share may be used up, by one long message or by what
// cannot be refused.
const debt = 2 * time.Second

// take uses octets of the peer's share of pace per second, and reports whether
// there were any left. What must be carried in any case uses them all the same.
func (d *demand) take(octets, pace, now int64, must bool) bool {
	perOctet := float64(time.Second) / float64(pace)
	need, burst := int64(float64(octets)*perOctet), max(int64(burstTime), int64(burstOctets*perOctet))
	for {
		paid := d.paid.Load()
		from := max(paid, now)
		if from-now > burst && !must {
			return false
		}
		until := min(from+need, max(paid, now+burst+int64(debt)))
		if d.paid.CompareAndSwap(paid, until) {
			return true
		}
	}
}

// demandOf is whose share a flow uses, and how much one may begin.
func (e *Edge) demandOf(f *Flow, m *sip.Message) (d *demand, pace int64) {
	o := &e.overload
	s := &f.state
	switch {
	case f.bridge != nil:
		return &e.accountBehind(f, m).demand, o.outside.Load()
	case f.Role == RoleInternal && len(s.pools) > 0:
		return &s.pools[0].demand, o.inside.Load()
	case s.account != nil:
		return &s.account.demand, o.outside.Load()
	}
	return &o.others, o.outside.Load()
}

// weigh refuses a request that begins something new if its peer has had its
// share. What belongs to a dialog or a transaction goes on, but counts; who floods
// us with that is read more slowly.
func (e *Edge) weigh(t *turn, f *Flow, m *sip.Message) (refused bool) {
	o := &e.overload
	d, pace := e.demandOf(f, m)
	octets := int64(txCost + len(m.Raw()))
	if t.at == 0 {
		t.at = e.table.now() // near enough for a whole turn, and looking costs something
	}
	now := t.at
	o.count(d, octets)
	goesOn := e.goesOn(f, m)
	if d.take(octets, pace, now, goesOn) {
		d.begun.Add(octets)
		d.passed.Add(1)
		if goesOn && f.Role != RoleInternal && d.paid.Load()-now > int64(debt) {
			f.pause = overloadTick
		}
		return false
	}
	e.turnAway(t, f, m, d, now)
	switch many := o.refusals.Add(-1) < 0; {
	case f.Role == RoleInternal:
	case many:
		f.pause = overloadTick // its sender has to wait, too
	default:
		f.rest()
	}
	return true
}

// count notes what d wants.
func (o *overload) count(d *demand, octets int64) {
	d.wanted.Add(octets)
	now := o.tick.Load()
	if last := d.tick.Load(); last != now && d.tick.CompareAndSwap(last, now) {
		o.mu.Lock()
		o.active = append(o.active, d)
		o.mu.Unlock()
	}
}

// goesOn reports whether a request belongs to something that was begun before:
// refusing it would waste what that has cost (RFC 7339 §5.10.1). Whether it really
// does is for the doors to say; but from outside a To tag alone is no sign of it,
// since what has one and not our token gets no further than there.
func (e *Edge) goesOn(f *Flow, m *sip.Message) bool {
	outside := f.Role != RoleInternal
	switch string(m.Method()) {
	case "ACK", "CANCEL":
		return true
	case "PRACK", "BYE":
		if !outside {
			return true
		}
	}
	if to, err := m.To(); err == nil && len(to.Tag()) > 0 && !outside {
		return true
	}
	if m.Count(sip.Route) == 0 {
		return false
	}
	routes := m.Elements(sip.Route)
	elem, _ := routes.Next()
	uri, ok := elementURI(elem)
	if !ok || len(uri.User) == 0 || !e.isOurRoute(uri) {
		return false
	}
	k, _, err := e.tokens.open(uri.User)
	if outside {
		return err == nil
	}
	return err != nil || k.kind != tokenPath // the way to a user is where things begin
}

// A notice is what the refusals of one peer say for a second: they share one
// line of the log, so they share its reference.
type notice struct {
	extra []byte
	until int64
}

// turnAway answers a request that has to wait. It must cost a small part of what
// serving it does, or a flood would win by being refused.
//
// RFC 7339 §5.10.2 wants no Retry-After here, since a client that obeys sends
// nothing at all for that time. That is what we want of one that has used up more
// than its share; who takes part in overload control knows better what to do.
func (e *Edge) turnAway(t *turn, f *Flow, m *sip.Message, d *demand, now int64) {
	e.counts.refused.Add(1)
	d.missed.Add(1)
	n := d.notice.Load()
	if n == nil || now >= n.until {
		n = e.giveNotice(f, m, d, n, now)
	}
	b := e.buffers.get(len(m.Raw()) + editRoom)
	b.b = sip.AppendAnswer(b.b, m, 503, "", e.tag(m), n.extra, e.topVia(f, m))
	_ = f.queueRaw(t, b.b) // nobody is there any more to be told
	e.buffers.put(b)
}

// giveNotice writes a line of the log about the refusals of a peer, of which
// this is one, and makes what they say.
func (e *Edge) giveNotice(f *Flow, m *sip.Message, d *demand, old *notice, now int64) *notice {
	ref := e.reference()
	v := allowlists.Refusal(allowlists.LimitOverload, allowlists.Rule{})
	n := &notice{extra: e.extra(f, m, v.Code(), v.Reason, ref), until: now + int64(time.Second)}
	if !d.notice.CompareAndSwap(old, n) {
		return d.notice.Load()
	}
	r := e.requests.Get().(*request)
	defer e.release(r)
	r.f, r.m = f, m
	r.audit.begin(r)
	e.writeRefused(r, v, v.Code(), ref, int(d.missed.Swap(0)-1))
	return n
}
