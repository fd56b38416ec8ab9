package xmpp

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/store"
)

// A presence carries presence both ways (RFC 8048). Towards the XMPP network it is
// the server of our users: it keeps their rosters and answers probes itself. Towards
// our users it is the presence agent of everybody there (RFC 3856).
//
// Presence goes to nobody but the one it is for: whoever sent it may have said
// something else to others (RFC 8048 §8.2). So each of two watchers of the same
// person has a subscription, a cache and an authorization of his own.
//
// All state belongs to one goroutine, its loop. What comes from outside stands in a
// bounded queue; what is to be sent is sent when the roster is on the disk.
type presence struct {
	presenceConfig
	journal *journal // of what strangers cause
	rosters *rosters
	loop    loop

	relations map[rosterKey]*relation
	ours      map[string]int // relations of our users
	theirs    map[string]int // relations of people of the network
	domains   map[string]int // relations of their domains
	usages    map[string]*usage
	visitors  map[visitorKey]*visitor
	gates     map[string]*gate
	pace      map[string]*pace // of new relations, by foreign domain
	alarms    alarms
	listeners int
	probes    uint64 // number of the last probe or request of ours

	taking  taking // zero: no stanza is being handled
	effects []func(err error)
	sweep   alarm
	ending  bool

	mu     sync.Mutex
	public presenceStatus // guarded by mu
	stat   presenceStatus
}

// A presenceConfig is what presence needs.
type presenceConfig struct {
	log       *slog.Logger
	sip       userAgent
	xmpp      network
	addresses *address.Table
	store     *store.Store
	// may says whether one of our users, a SIP URI, may deal with somebody of the
	// network, a bare JID. inbound: the other began. Drop refuses without a word.
	may func(user, foreign string, inbound bool) allowlists.Verdict
	// caps makes the element that says what our users' side can do (XEP-0115); nil:
	// none.
	caps func() *stanza.Element
	// later does something at a moment that does not tell how it came about; false: too
	// much waits, and it is never done (bridges.Later).
	later func(arrived time.Time, do func()) bool
	// blame is told from which domain the stanza came that made us panic; nil: nobody is.
	blame func(domain string, proof bridges.Proof)
	lim   presenceLimits
}

// presenceLimits bounds presence; 0 is the default.
type presenceLimits struct {
	relations  int     // pairs of which one watches the other: 65,536
	ours       int     // of one of our users: 10,000
	theirs     int     // of one person of the network: 2,000
	domain     int     // of one of its domains: a quarter of relations
	listeners  int     // subscriptions of our users that run: 50,000
	perContact int     // of one user to one contact: 2,000
	resources  int     // of a contact: 32
	queue      int     // events that wait: 65,536
	concurrent int     // SUBSCRIBEs to one of our domains that are not answered: 64
	burst      float64 // new pairs of a foreign domain at once: 2,000
	perSecond  float64 // and from then on: 10
}

func (l presenceLimits) orDefaults() presenceLimits {
	for _, d := range []struct {
		limit *int
		value int
	}{
		{&l.relations, 65536}, {&l.ours, 10000}, {&l.theirs, 2000}, {&l.listeners, 50000}, {&l.perContact, 2000},
		{&l.resources, 32}, {&l.queue, 65536}, {&l.concurrent, 64},
	} {
		if *d.limit <= 0 {
			*d.limit = d.value
		}
	}
	if l.domain <= 0 {
		l.domain = max(1, l.relations/4)
	}
	if l.burst <= 0 {
		l.burst = 2000
	}
	if l.perSecond <= 0 {
		l.perSecond = 10
	}
	return l
}

// A presenceStatus is how presence is, for people.
type presenceStatus struct {
	Pending, Active, Suspended int    // subscriptions of the network's people to our users
	Asked, Granted             int    // of our users to them
	Dialogs                    int    // of our users' devices
	Refused                    uint64 // what was refused or given up
	Lost                       uint64 // what was dropped because there was too much, or did not arrive
}

func newPresence(c presenceConfig) *presence {
	c.lim = c.lim.orDefaults()
	p := &presence{
		presenceConfig: c,
		journal:        newJournal(c.log),
		relations:      make(map[rosterKey]*relation), ours: make(map[string]int), theirs: make(map[string]int),
		domains: make(map[string]int),
		usages:  make(map[string]*usage), visitors: make(map[visitorKey]*visitor),
		gates: make(map[string]*gate), pace: make(map[string]*pace),
	}
	p.loop.init(c.lim.queue)
	return p
}

// start reads the rosters and begins. What was authorized before is subscribed to
// again, a little at a time. fail is called if it cannot go on, as after a panic.
func (p *presence) start(fail func(error)) error {
	now := time.Now()
	rosters, crashed, err := openRosters(p.store, p.lim.relations, p.log, func(key rosterKey, item rosterItem) {
		p.load(key, item, now)
	})
	if err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	p.rosters = rosters
	p.resume(now, crashed)
	p.sweep.ring = p.tidy
	p.alarms.set(&p.sweep, now.Add(time.Hour))
	p.publish()
	go func() {
		defer close(p.loop.over)
		defer func() {
			if v := recover(); v != nil {
				p.loop.close()
				if p.taking != (taking{}) && p.blame != nil {
					p.blame(p.taking.domain, p.taking.proof)
				}
				fail(fmt.Errorf("presence: panic: %v\n%s", v, debug.Stack()))
			}
		}()
		p.loop.run(p.turn, func() time.Duration { return p.alarms.wait(time.Now()) })
	}()
	return nil
}

// load takes an item of the last run.
func (p *presence) load(key rosterKey, item rosterItem, now time.Time) {
	if len(p.relations) >= p.lim.relations {
		return
	}
	r := p.relation(key)
	r.item = item
	p.count(r, 1)
	if item.From || item.Pending != 0 {
		p.newWatch(r)
		r.watch.proof = item.Proof
		if item.From {
			p.become(r.watch, suspended)
		}
	}
}

// stop says to everybody that he hears no more, and ends. It waits for that until ctx
// is done.
func (p *presence) stop(ctx context.Context) {
	p.loop.post(p.goodbye)
	p.loop.close()
	select {
	case <-p.loop.over:
		if !p.ending {
			return // after a panic nobody was told that it ends
		}
		if err := p.rosters.close(); err != nil {
			p.log.Error("rosters could not be closed", "err", err)
		}
	case <-ctx.Done():
	}
}

// status never waits.
func (p *presence) status() presenceStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.public
	s.Lost = p.loop.lost.Load()
	return s
}

// publish makes the state of the loop public.
func (p *presence) publish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.public = p.stat
}

// turn is one turn of the loop: events, alarms, the disk, and what they lead to, in
// this order.
func (p *presence) turn(events []func()) {
	for _, f := range events {
		if p.ending {
			break // everybody was said goodbye to
		}
		f()
	}
	now := time.Now()
	for range maxBatch {
		a := p.alarms.due(now)
		if a == nil {
			break
		}
		a.ring()
	}
	err := p.rosters.write(now)
	if again := now.Add(writeAgain); err != nil && p.sweep.at.After(again) {
		p.alarms.set(&p.sweep, again)
	}
	for i := 0; i < len(p.effects); i++ { // effects may have effects
		p.effects[i](err)
		p.effects[i] = nil
	}
	p.effects = p.effects[:0]
	p.publish()
}

// after does f when the rosters are written. It is on the loop, too.
func (p *presence) after(f func()) {
	p.effects = append(p.effects, func(error) { f() })
}

// afterWrite does f when the rosters are written, or could not be.
func (p *presence) afterWrite(f func(err error)) { p.effects = append(p.effects, f) }

// send sends a stanza when the rosters are written. Whether it arrives, the other side
// finds out with its next probe.
func (p *presence) send(e *stanza.Element) { p.sendFor(e, func() { p.loop.lost.Add(1) }) }

// sendFor sends a stanza and tells on the loop that it could not be delivered.
func (p *presence) sendFor(e *stanza.Element, undelivered func()) {
	kind, from, to := e.Attr("type"), e.Attr("from"), e.Attr("to")
	p.after(func() {
		p.xmpp.Send(e, func(o s2s.Outcome) {
			if o.Err == nil {
				return
			}
			if kind != "" && kind != "unavailable" {
				p.log.Info("presence was not delivered", "from", from, "to", to, "type", kind, "err", o.Err)
			}
			p.loop.post(undelivered)
		})
	})
}

// answer answers a request when the rosters are written.
func (p *presence) answer(in *bridges.Incoming, resp bridges.Response) {
	p.after(func() { in.Answer(resp, "") })
}
