package xmpp

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// resume sees to it that all subscriptions of the network's people are made again
// after a start, spread over some time: 40 a second, which is at least five
// seconds. Who asks for somebody meanwhile has it at once.
func (p *presence) resume(now time.Time, crashed bool) {
	within := 5*time.Second + time.Duration(len(p.relations))*25*time.Millisecond
	for _, r := range p.relations {
		if w := r.watch; w != nil {
			w.stale = crashed
			p.alarms.set(&w.retry, now.Add(spread(within)))
		}
	}
}

// goodbye tells everybody whom presence has told something that it ends. Authorizations
// stay: devices are told to come back, at different times (RFC 6665 §4.1.3).
func (p *presence) goodbye() {
	p.ending = true
	for _, u := range p.usages {
		p.sayBye(u)
	}
	for _, r := range p.relations {
		if w := r.watch; w != nil {
			p.lost(w)
		}
		if c := r.contact; c != nil {
			for _, l := range slices.Clone(c.listeners) {
				p.strike(l)
				after := 5 + int(spread(55*time.Second)/time.Second)
				p.after(func() { p.notifyState(l, "terminated;reason=probation;retry-after="+strconv.Itoa(after), nil, "") })
			}
			for _, l := range c.fetches {
				p.after(func() { p.answerOnce(l) })
			}
			c.fetches = nil
		}
	}
}

// reconsider asks again who may deal with whom. It is called when the lists or the
// opt-in of users may have changed, from anywhere.
func (p *presence) reconsider() {
	p.loop.post(func() {
		keys := make([]rosterKey, 0, len(p.relations))
		for key := range p.relations {
			keys = append(keys, key)
		}
		slices.SortFunc(keys, func(a, b rosterKey) int { return strings.Compare(a.record(), b.record()) })
		p.reconsiderSome(keys)
	})
}

// reconsiderSome does so a few at a time, so that the loop does other things in
// between.
func (p *presence) reconsiderSome(keys []rosterKey) {
	n := min(len(keys), 256)
	for _, key := range keys[:n] {
		if r := p.relations[key]; r != nil {
			p.judge(r)
		}
	}
	if n < len(keys) {
		p.loop.post(func() { p.reconsiderSome(keys[n:]) })
	}
}

// judge ends what is not allowed any more.
func (p *presence) judge(r *relation) {
	user, err := p.userURI(r.key.ours)
	if r.watch != nil && (err != nil || !p.may(user, r.key.theirs, true).Allowed()) {
		p.log.Info("subscription was ended", "user", r.key.ours, "from", r.key.theirs)
		p.stat.Refused++
		p.leave(r.watch)
	}
	if (r.item.To || r.item.Asked != 0) && (err != nil || !p.may(user, r.key.theirs, false).Allowed()) {
		p.log.Info("subscription was ended", "user", r.key.ours, "to", r.key.theirs)
		p.stat.Refused++
		p.send(presenceStanza("unsubscribe", r.key.ours, r.key.theirs))
		p.revoke(r, "rejected", false)
	}
}
