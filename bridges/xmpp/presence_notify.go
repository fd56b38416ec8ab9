package xmpp

import (
	"strconv"
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// notified is notify on the loop.
func (p *presence) notified(u *usage, in *bridges.Incoming, n notice) {
	switch {
	case u.dialog == in.Dialog && p.usages[u.call] != u && n.state == "terminated":
		// It has ended the dialog already, and the answer to our last SUBSCRIBE, which
		// came first, the usage.
		p.answer(in, bridges.Response{Status: 200})
		return
	case p.usages[u.call] != u || u.dialog != nil && u.dialog != in.Dialog:
		// RFC 3856 §6.9: of a SUBSCRIBE that went to several, one dialog counts.
		p.answer(in, bridges.Response{Status: 481})
		in.Dialog.End()
		return
	default:
		u.dialog = in.Dialog
	}
	p.answer(in, bridges.Response{Status: 200})
	u.heard = true
	if u.owner() == nil {
		if n.state == "terminated" && !u.asking {
			p.forget(u)
		}
		return
	}
	if u.fetch {
		p.fetched(u, n)
		return
	}
	switch n.state {
	case "terminated":
		p.terminated(u, n)
	case "active":
		p.goesOn(u, n)
		p.nowActive(u.watch, n)
	default:
		// RFC 6665 §8.4 allows more states; none of them says yes.
		p.goesOn(u, n)
		if u.watch.state != pending {
			p.lost(u.watch)
		}
	}
}

// goesOn notes how long the notifier says that the subscription lasts (RFC 6665
// §4.1.3).
func (p *presence) goesOn(u *usage, n notice) {
	w := u.watch
	w.tries, w.failing = 0, time.Time{}
	switch left := time.Until(u.expires); {
	case n.expires > 0:
		p.lasts(u, min(n.expires, max(subscribeFor, w.interval)))
	case u.expires.IsZero():
		p.lasts(u, max(subscribeFor, w.interval))
	default:
		p.alarms.set(&u.end, time.Now().Add(left))
	}
}

// nowActive takes an active NOTIFY: our user allows it.
func (p *presence) nowActive(w *watch, n notice) {
	if w.state == pending {
		p.change(w.r, func(i *rosterItem) { i.From, i.Pending = true, 0 })
		p.become(w, active)
		p.sayYes(w)
	} else if w.state == suspended && !w.offline {
		p.become(w, active)
	}
	if w.unsaid {
		p.sayYes(w)
	}
	if n.hasBody {
		w.known, w.said, w.at = n.tuples, true, time.Now()
	}
	if w.said {
		p.tell(w)
	}
}

// terminated takes the last NOTIFY of a subscription (RFC 6665 §4.1.3).
func (p *presence) terminated(u *usage, n notice) {
	w := u.watch
	p.forget(u)
	switch n.reason {
	case "rejected":
		p.refuseWatch(w, nil)
		return
	case "noresource":
		p.vanished(w)
		return
	}
	p.lost(w)
	if w.state == active {
		p.become(w, suspended)
	}
	switch {
	case w.offline:
		// It ended because we did not refresh it.
	case n.reason == "invariant":
		// Nothing will change until he asks.
	case n.reason == "deactivated" || n.reason == "timeout" || n.reason == "":
		if time.Since(w.jumped) < retries[0] || n.after > 0 && n.reason == "" {
			p.tryAfter(w, n.after)
			return
		}
		w.jumped = time.Now()
		p.follow(w, false)
	default: // probation, giveup, and what may be invented
		p.tryAfter(w, n.after)
	}
}

// vanished ends a watch of a presentity that is no more.
func (p *presence) vanished(w *watch) {
	if w.state == pending {
		p.refuseWatch(w, &stanza.Error{Condition: "item-not-found"})
		return
	}
	p.refuseWatch(w, nil)
}

// failed takes a refusal of a SUBSCRIBE.
func (p *presence) failed(u *usage, resp *bridges.Response) {
	w := u.watch
	refresh := !u.expires.IsZero()
	if resp.Status == 423 && p.tooBrief(w, resp) {
		p.follow(w, true)
		return
	}
	if resp.Status == 481 && refresh {
		// RFC 8048 §5.2.2: the authorization stays; the dialog is a new one.
		p.forget(u)
		p.follow(w, true)
		return
	}
	ends := !refresh || endsSubscription(resp.Status)
	if ends {
		p.forget(u)
	}
	if p.isFinal(w, resp) {
		return
	}
	if !isPassing(resp.Status) && w.state == pending {
		err := conditionOf(resp, p.addresses)
		err.Text = "" // our servers' words are not for strangers
		p.refuseWatch(w, err)
		return
	}
	if ends {
		p.lost(w)
	} else {
		// RFC 6665 §4.1.2.2: it is still valid, and no NOTIFY comes.
		u.heard = true
		p.alarms.set(&u.end, u.expires)
	}
	p.tryLater(w)
}

// isFinal ends the watch if an answer says that it never will be (RFC 8048
// §5.2.2).
func (p *presence) isFinal(w *watch, resp *bridges.Response) bool {
	switch resp.Status {
	case 403, 489, 603:
		p.refuseWatch(w, nil)
	case 404, 604:
		p.refuseWatch(w, &stanza.Error{Condition: "item-not-found"})
	case 410:
		p.refuseWatch(w, &stanza.Error{Condition: "gone"})
	default:
		return false
	}
	return true
}

// tooBrief takes the Min-Expires of a 423; false: it has none that makes sense.
func (p *presence) tooBrief(w *watch, resp *bridges.Response) bool {
	n, err := strconv.ParseUint(strings.TrimSpace(resp.Fields.Get("Min-Expires")), 10, 31)
	want := time.Duration(n) * time.Second
	if err != nil || want <= max(subscribeFor, w.interval) || want > 24*time.Hour {
		return false
	}
	w.interval = want
	return true
}

// isPassing reports whether the cause of a refusal may pass by itself.
func isPassing(status int) bool {
	switch status {
	case 408, 423, 430, 480, 481, 486, 487, 491:
		return true
	case 501, 505, 513:
		return false
	}
	return status >= 500 && status < 600
}

// endsSubscription reports whether a refused refresh ends the subscription, or a
// refused NOTIFY (RFC 6665 §4.1.2.2, §4.2.2).
func endsSubscription(status int) bool {
	switch status {
	case 404, 405, 410, 416, 489, 501, 604:
		return true
	}
	return status >= 480 && status <= 485
}

// tryLater subscribes again after a while, each time a longer one.
func (p *presence) tryLater(w *watch) { p.tryAfter(w, 0) }

// tryAfter is tryLater where the other side has said how long to wait.
func (p *presence) tryAfter(w *watch, after time.Duration) {
	now := time.Now()
	if w.usage == nil && w.state == active {
		p.become(w, suspended)
	}
	if w.offline {
		return
	}
	if w.failing.IsZero() {
		w.failing = now
	}
	if w.state == pending && now.Sub(w.failing) >= giveUp {
		key, id := w.r.key, w.id
		p.endWatch(w)
		p.stat.Refused++
		p.send(presenceError(key, id, &stanza.Error{Condition: "remote-server-timeout"}))
		return
	}
	wait := retries[min(w.tries, len(retries)-1)]
	w.tries++
	if after > 0 {
		wait = min(after, giveUp)
	}
	p.alarms.set(&w.retry, now.Add(wait+spread(wait/10)))
}
