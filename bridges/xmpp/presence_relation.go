package xmpp

import (
	"time"
)

// A relation is one of our users and one person of the network.
type relation struct {
	key     rosterKey
	item    rosterItem
	watch   *watch   // the other watches our user; nil: not
	contact *contact // our user watches the other; nil: nothing is known of him
}

// relation returns the relation of a key, a new one if there is none.
func (p *presence) relation(key rosterKey) *relation {
	r := p.relations[key]
	if r == nil {
		r = &relation{key: key}
		p.relations[key] = r
		p.ours[key.ours]++
		p.theirs[key.theirs]++
	}
	return r
}

// hasRoom reports whether there may be one more relation.
func (p *presence) hasRoom(key rosterKey) bool {
	return p.relations[key] != nil || len(p.relations) < p.lim.relations && p.ours[key.ours] < p.lim.ours &&
		p.theirs[key.theirs] < p.lim.theirs && len(key.record()) <= rosterKeys
}

// release forgets what nobody may know any more, and a relation that nothing hangs
// on.
func (p *presence) release(r *relation) {
	now := time.Now()
	if c := r.contact; c != nil {
		if r.item.To || r.item.Asked != 0 || len(c.listeners) > 0 || len(c.fetches) > 0 {
			return
		}
		p.forgetContact(c)
	}
	if r.watch != nil || !r.item.isOver(now) || p.relations[r.key] != r {
		return
	}
	if r.item != (rosterItem{}) { // only old refusals
		r.item = rosterItem{}
		p.rosters.put(r)
	}
	delete(p.relations, r.key)
	less(p.ours, r.key.ours)
	less(p.theirs, r.key.theirs)
}

func less(counts map[string]int, key string) {
	if counts[key]--; counts[key] <= 0 {
		delete(counts, key)
	}
}

// change changes a roster item, and has it written before what follows from it is
// done.
func (p *presence) change(r *relation, f func(i *rosterItem)) {
	p.count(r, -1)
	f(&r.item)
	p.count(r, 1)
	p.rosters.put(r)
}

// count notes r's item in the status.
func (p *presence) count(r *relation, n int) {
	switch {
	case r.item.To:
		p.stat.Granted += n
	case r.item.Asked != 0:
		p.stat.Asked += n
	}
}

// tidy takes out what has become old.
func (p *presence) tidy() {
	now := time.Now()
	for _, r := range p.relations {
		p.release(r)
	}
	for domain, pace := range p.pace {
		if pace.isFull(now, p.lim) {
			delete(p.pace, domain)
		}
	}
	if p.rosters.failed {
		p.log.Error("rosters are still not written", "records", len(p.rosters.dirty))
	}
	p.alarms.set(&p.sweep, now.Add(time.Hour))
}

// A pace is how many new relations a foreign domain may begin (RFC 8048 §8.1).
type pace struct {
	left float64
	at   time.Time
}

// mayBegin takes one of the domain's new relations.
func (p *presence) mayBegin(domain string) bool {
	now := time.Now()
	b := p.pace[domain]
	if b == nil {
		if len(p.pace) >= p.lim.relations {
			return false
		}
		b = &pace{p.lim.burst, now}
		p.pace[domain] = b
	}
	b.left = min(p.lim.burst, b.left+now.Sub(b.at).Seconds()*p.lim.perSecond)
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

func (b *pace) isFull(now time.Time, l presenceLimits) bool {
	return b.left+now.Sub(b.at).Seconds()*l.perSecond >= l.burst
}
