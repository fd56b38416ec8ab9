package xmpp

import (
	"slices"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/pidf"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A watchState is how far somebody of the network has come with watching our user.
// Who has no watch watches not.
type watchState uint8

const (
	pending   watchState = iota // our user has not answered
	active                      // and is subscribed to
	suspended                   // and is not, because the other is offline, or our side does not work
)

func (s watchState) String() string { return [...]string{"pending", "active", "suspended"}[s] }

// A watch is the subscription of somebody of the network to our user, the presentity:
// a SUBSCRIBE dialog in the name of the other, for as long as he is there.
type watch struct {
	r     *relation
	state watchState
	proof bridges.Proof // of the other's domain, when something came from him last
	id    string        // of his subscribe, for an error
	asked time.Time     // when that came; zero: before this run

	usage    *usage        // his SUBSCRIBE dialog; nil: there is none
	interval time.Duration // Expires that the presence server wants at least; 0: the usual
	offline  bool          // he is not there to be told anything
	queued   bool          // waits for a place to SUBSCRIBE
	visiting bool          // waits for an answer to a probe of the gateway
	retry    alarm         // when to subscribe again, or to refresh

	tries   int       // since it worked
	failing time.Time // since when it does not; zero: it does
	jumped  time.Time // when it was last subscribed again at once

	known  []pidf.Tuple          // what the presentity is
	said   bool                  // known came in a NOTIFY of the running dialog
	at     time.Time             // when it came
	told   map[string]pidf.Tuple // what the other was told, by resource
	stale  bool                  // he may have been told something in our last run
	unsaid bool                  // that he may watch could not be delivered
	asking []asker               // who wait for an answer to a probe
	probes int                   // from him, since since
	since  time.Time
}

// An asker is who sent a probe.
type asker struct{ from, to string }

// How SUBSCRIBE is tried again when it could not be delivered, and for how long a
// request that nobody can decide is kept.
var retries = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}

const giveUp = 24 * time.Hour

// fresh is how old what is known may be to answer a probe.
const fresh = 5 * time.Minute

// newWatch makes the watch of a relation.
func (p *presence) newWatch(r *relation) *watch {
	w := &watch{r: r, told: make(map[string]pidf.Tuple)}
	w.retry.ring = func() { p.again(w) }
	r.watch = w
	p.countWatch(w, 1)
	return w
}

func (p *presence) countWatch(w *watch, n int) {
	switch w.state {
	case pending:
		p.stat.Pending += n
	case active:
		p.stat.Active += n
	case suspended:
		p.stat.Suspended += n
	}
}

// become changes the state of a watch.
func (p *presence) become(w *watch, s watchState) {
	p.countWatch(w, -1)
	w.state = s
	p.countWatch(w, 1)
}

// isOver reports whether the watch has ended.
func (w *watch) isOver() bool { return w.r.watch != w }

// wantsToWatch takes a subscribe.
func (p *presence) wantsToWatch(e *stanza.Element, key rosterKey, proof bridges.Proof, arrived time.Time) {
	r := p.relations[key]
	if r != nil && r.watch != nil {
		p.watchesAlready(r.watch, proof)
		return
	}
	user, err := p.userURI(key.ours)
	if err != nil {
		p.bounce(e, key, arrived, err.Condition)
		return
	}
	if v := p.may(user, key.theirs, true); !v.Allowed() {
		p.journal.drop("subscription not allowed", "from", key.theirs, "to", user, "reason", v.Reason, "rule", v.Rule)
		p.stat.Refused++
		if v.Action != allowlists.Drop {
			// As for somebody who is not there: see isFinal.
			p.refuse(key, arrived, presenceStanza("unsubscribed", key.ours, key.theirs),
				presenceError(key, e.Attr("id"), &stanza.Error{Condition: "item-not-found"}))
		}
		return
	}
	now := time.Now()
	if r != nil && isRecent(r.item.Refused, now) {
		// Our user has said no, and is not asked again today.
		p.refuse(key, arrived, presenceStanza("unsubscribed", key.ours, key.theirs))
		return
	}
	if !p.hasRoom(key) || p.domains[stanza.Domain(key.theirs)] >= p.lim.domain && r == nil || p.rosters.failed || !p.mayBegin(stanza.Domain(key.theirs)) {
		p.journal.drop("no room for a subscription", "from", key.theirs, "to", user, "relations", len(p.relations))
		p.bounce(e, key, arrived, "resource-constraint")
		return
	}
	r = p.relation(key)
	p.sawVisitor(visitorKey{key.theirs, stanza.Domain(key.ours)}, "subscribe")
	w := p.newWatch(r)
	w.proof, w.id, w.asked = proof, e.Attr("id"), arrived
	p.change(r, func(i *rosterItem) { i.Pending, i.Refused, i.Proof = now.Unix(), 0, proof })
	p.afterWrite(func(err error) {
		switch {
		case w.isOver():
		case err != nil:
			p.endWatch(w)
			p.bounce(e, key, arrived, "resource-constraint")
		default:
			p.follow(w, true)
		}
	})
}

// watchesAlready takes a subscribe of somebody who has asked before. While our user
// has not answered it is not repeated (RFC 6121 §3.1.3); if he said yes, his server
// answers for him.
func (p *presence) watchesAlready(w *watch, proof bridges.Proof) {
	p.prove(w, proof)
	if w.state == pending {
		return
	}
	p.sayYes(w)
	if !w.mayProbe() { // it asks for as much
		p.loop.lost.Add(1)
		return
	}
	if w.state == active && w.said {
		p.replay(w, asker{from: w.r.key.theirs, to: w.r.key.ours})
		return
	}
	p.wakeUp(w)
}

// sayYes tells the other that he may watch, again if that does not reach him.
func (p *presence) sayYes(w *watch) {
	w.unsaid = false
	p.sendFor(presenceStanza("subscribed", w.r.key.ours, w.r.key.theirs), func() { w.unsaid = true })
}

// prove notes what proves a watcher's domain now. The roster keeps the weakest, for the
// time after a start in which nothing has come from him.
func (p *presence) prove(w *watch, proof bridges.Proof) {
	if w.proof = proof; proof < w.r.item.Proof {
		p.change(w.r, func(i *rosterItem) { i.Proof = proof })
	}
}

// stopsWatching takes an unsubscribe. One of somebody who does not watch changes
// nothing (RFC 6121 §3.3.3).
func (p *presence) stopsWatching(key rosterKey, proof bridges.Proof) {
	r := p.relations[key]
	if r == nil || r.watch == nil {
		return
	}
	w := r.watch
	w.proof = proof
	p.leave(w)
}

// leave ends a watch by the will of the network's side or of an administrator: the
// dialog is ended, and the other is told when that is answered.
func (p *presence) leave(w *watch) {
	u, key := w.usage, w.r.key
	bye := p.farewell(w)
	p.endWatch(w)
	if u == nil || !u.isUp() {
		bye()
	} else {
		u.bye = func() {
			// Whoever has subscribed again meanwhile must not be told that it is
			// over.
			if r := p.relations[key]; r == nil || r.watch == nil {
				bye()
			}
		}
	}
	if u != nil {
		p.quit(u)
	}
}

// farewell prepares what the other is told at the end: first that nobody is there,
// while he still listens, then that the authorization is gone (RFC 6121 §3.2.2).
func (p *presence) farewell(w *watch) func() {
	key, gone := w.r.key, w.openTold()
	return func() {
		for i := range gone {
			p.send(gone[i].Stanza(key.ours, key.theirs))
		}
		p.send(presenceStanza("unsubscribed", key.ours, key.theirs))
	}
}

// openTold returns what the other was told that is available, as unavailable.
func (w *watch) openTold() (list []pidf.Tuple) {
	for resource, t := range w.told {
		if t.Open {
			list = append(list, pidf.Tuple{Resource: resource})
		}
	}
	slices.SortFunc(list, byResource)
	return list
}

// endWatch forgets a watch, but not its dialog, and says nothing.
func (p *presence) endWatch(w *watch) {
	if w.isOver() {
		return
	}
	if w.usage != nil {
		w.usage.watch, w.usage = nil, nil
	}
	p.alarms.clear(&w.retry)
	p.countWatch(w, -1)
	r := w.r
	r.watch = nil
	p.change(r, func(i *rosterItem) { i.From, i.Pending, i.Proof = false, 0, bridges.ProofNone })
	p.release(r)
}

// refuseWatch ends a watch by the will of our user or his server. err, if there is
// one, says why.
func (p *presence) refuseWatch(w *watch, err *stanza.Error) {
	key, id, u, isStranger := w.r.key, w.id, w.usage, w.state == pending
	if isStranger && err == nil {
		p.change(w.r, func(i *rosterItem) { i.Refused = time.Now().Unix() })
	}
	bye := p.farewell(w)
	p.endWatch(w)
	if u != nil {
		p.quit(u)
	}
	p.stat.Refused++
	var why []*stanza.Element
	if err != nil {
		why = append(why, presenceError(key, id, err))
	}
	if isStranger { // who was told nothing yet but for this
		p.refuse(key, w.asked, append([]*stanza.Element{presenceStanza("unsubscribed", key.ours, key.theirs)}, why...)...)
		return
	}
	bye()
	for _, e := range why {
		p.send(e)
	}
}

// probed takes a probe, which a server answers itself (RFC 6121 §4.3.2).
func (p *presence) probed(key rosterKey, from, to address.JID, id string, proof bridges.Proof) {
	r := p.relations[key]
	if r == nil || r.watch == nil {
		// Also to one who asks for somebody that there is not. No home server is asked, so
		// the time says nothing.
		e := presenceStanza("unsubscribed", key.ours, from.Bare().String())
		e.SetAttr("id", id) // RFC 6121 §4.3.2.1
		p.send(e)
		return
	}
	w := r.watch
	p.prove(w, proof)
	who := asker{from: from.String(), to: to.String()}
	switch {
	case w.state == pending:
		// An unsubscribed would answer his request in our user's place.
	case !w.mayProbe():
		p.loop.lost.Add(1)
	case w.state == suspended || w.offline:
		p.wakeUp(w)
	case w.said && time.Since(w.at) < fresh:
		p.replay(w, who)
	default:
		p.fetch(w, who)
	}
}

// mayProbe allows ten probes a minute.
func (w *watch) mayProbe() bool {
	if time.Since(w.since) >= time.Minute {
		w.since, w.probes = time.Now(), 0
	}
	w.probes++
	return w.probes <= 10
}

// wakeUp subscribes for somebody who has come back.
func (p *presence) wakeUp(w *watch) {
	w.offline = false
	if w.state == pending || w.queued || w.usage != nil && w.usage.asking {
		return
	}
	if next := w.jumped.Add(retries[0]); !w.failing.IsZero() && time.Now().Before(next) {
		// Our side does not work, and those who come and go do not make it better.
		if !w.retry.isSet() {
			p.alarms.set(&w.retry, next)
		}
		return
	}
	w.jumped = time.Now()
	p.become(w, active)
	p.follow(w, true)
}

// cameAndWent notes that somebody of the network came online or has no resource left,
// as our user, who watches him, knows. Nothing is refreshed for one who is not there.
func (p *presence) cameAndWent(r *relation, c *contact) {
	w, online := r.watch, c.isOnline()
	switch {
	case w == nil || w.state == pending:
	case online && w.state == suspended:
		p.wakeUp(w)
	case !online && c.complete && w.state == active:
		p.away(w)
	}
}

// away stops what is done for somebody who is not there to be told anything. When he
// comes back, he sends a probe.
func (p *presence) away(w *watch) {
	w.offline = true
	clear(w.told) // his server has forgotten it, too
	p.alarms.clear(&w.retry)
	p.become(w, suspended)
}
