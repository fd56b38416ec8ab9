package xmpp

import (
	"crypto/sha256"
	"encoding/hex"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A notice is what a NOTIFY says.
type notice struct {
	state, reason string
	expires       time.Duration // of a subscription that goes on; 0: not said
	after         time.Duration // Retry-After; 0: not said
	hasBody       bool
	tuples        []tuple
}

// notify takes a NOTIFY, or a BENOTIFY of the Microsoft dialect.
func (p *presence) notify(in *bridges.Incoming) {
	if in.Dialog == nil {
		in.Answer(bridges.Response{Status: 481}, "")
		return
	}
	u, ok := in.Dialog.Data.(*usage)
	if !ok {
		in.Answer(bridges.Response{Status: 481}, "")
		return
	}
	n, refusal := p.readNotice(in, u.ours)
	if refusal.Status != 0 {
		p.log.Info("notification was refused", "call_id", in.CallID, "status", refusal.Status, "reason", refusal.Phrase)
		in.Answer(refusal, "")
		return
	}
	if !p.loop.offer(func() { p.notified(u, in, n) }) {
		in.Answer(busy, "")
	}
}

// busy is the answer where there is too much to do. A 503 would have the home
// server take the whole edge for broken.
var busy = bridges.Response{Status: 500, Phrase: "Too much presence", Fields: bridges.Fields{{Name: "Retry-After", Value: "10"}}}

// readNotice reads a NOTIFY about ours; a Status says that it is refused.
func (p *presence) readNotice(in *bridges.Incoming, ours string) (n notice, refusal bridges.Response) {
	if !isPresence(in.Fields.Get("Event")) {
		return n, badEvent
	}
	state, params, _ := strings.Cut(in.Fields.Get("Subscription-State"), ";")
	n.state = strings.ToLower(strings.TrimSpace(state))
	if n.state == "" {
		return n, bridges.Response{Status: 400, Phrase: "No Subscription-State"}
	}
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		value = strings.ToLower(strings.TrimSpace(value))
		seconds, err := strconv.ParseUint(value, 10, 31)
		switch name = strings.ToLower(strings.TrimSpace(name)); {
		case name == "reason":
			n.reason = value
		case err != nil:
		case name == "expires":
			n.expires = time.Duration(seconds) * time.Second
		case name == "retry-after":
			n.after = time.Duration(seconds) * time.Second
		}
	}
	if len(in.Body) == 0 {
		return n, bridges.Response{}
	}
	mediaType, _, err := mime.ParseMediaType(in.ContentType)
	lang := in.Fields.Get("Content-Language")
	switch {
	case err == nil && mediaType == typePIDF:
		n.tuples, err = parsePIDF(in.Body, lang, func(id, contact string) string { return p.resourceOf(ours, id, contact) })
	case err == nil && isMicrosoft(mediaType):
		n.tuples, err = parseMicrosoft(in.Body, lang)
		for i := range n.tuples {
			n.tuples[i].resource = defaultResource
		}
		n.hasBody = n.tuples != nil
		return n, badBody(err)
	default:
		return n, bridges.Response{Status: 415, Fields: bridges.Fields{{Name: "Accept", Value: typePIDF}}}
	}
	n.hasBody = true
	return n, badBody(err)
}

func badBody(err error) bridges.Response {
	if err != nil {
		return bridges.Response{Status: 400, Phrase: "Bad presence document"}
	}
	return bridges.Response{}
}

var badEvent = bridges.Response{Status: 489, Fields: bridges.Fields{{Name: "Allow-Events", Value: "presence"}}}

// isPresence reports whether a value of Event is our package. A template such as
// presence.winfo is another one.
func isPresence(event string) bool {
	name, _, _ := strings.Cut(event, ";")
	return strings.TrimSpace(name) == "presence"
}

// defaultResource is that of a tuple that has no name.
const defaultResource = "sip"

// resourceOf names the resource of a tuple: after the GRUU in its contact, so that
// it is called as in messages of the same device, else after its id.
func (p *presence) resourceOf(ours, id, contact string) string {
	if strings.Contains(contact, ";gr=") {
		j, err := p.addresses.jid(contact)
		if err == nil && j.Resourcepart() != "" && j.Bare().String() == ours {
			return j.Resourcepart()
		}
	}
	name := strings.TrimPrefix(id, "ID-")
	if name == "" {
		return defaultResource
	}
	j, err := newJID("", "example.com", name)
	if err != nil {
		sum := sha256.Sum256([]byte(name))
		return hex.EncodeToString(sum[:8])
	}
	return j.Resourcepart()
}

// notified is notify on the loop.
func (p *presence) notified(u *usage, in *bridges.Incoming, n notice) {
	switch {
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
	key := w.r.key
	if w.state == pending {
		p.change(w.r, func(i *rosterItem) { i.From, i.Pending = true, 0 })
		p.become(w, active)
		p.send(presenceStanza("subscribed", key.ours, key.theirs))
	} else if w.state == suspended && !w.offline {
		p.become(w, active)
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

// lost says that nothing is known any more of the presentity: he is unavailable to the
// other.
func (p *presence) lost(w *watch) {
	for _, t := range w.openTold() {
		p.send(t.stanza(w.r.key.ours, w.r.key.theirs))
	}
	clear(w.told)
	w.known, w.said = nil, false
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

// fetched takes the NOTIFY of a SUBSCRIBE with Expires 0.
func (p *presence) fetched(u *usage, n notice) {
	w := u.watch
	switch {
	case n.reason == "rejected":
		p.forget(u)
		p.refuseWatch(w, nil)
		return
	case n.reason == "noresource":
		p.forget(u)
		p.vanished(w)
		return
	case n.hasBody:
		w.known, w.said, w.at = n.tuples, true, time.Now()
	}
	if n.state == "terminated" && !u.asking {
		p.forget(u)
	} else {
		u.watch = nil
	}
	p.replayAll(w)
}

// fetchFailed takes a refusal of such a SUBSCRIBE: who waits hears what was known.
func (p *presence) fetchFailed(u *usage, resp *bridges.Response) {
	w := u.watch
	p.forget(u)
	if !p.isFinal(w, resp) {
		p.replayAll(w)
	}
}

// replayAll answers those who wait.
func (p *presence) replayAll(w *watch) {
	asking := w.asking
	w.asking = nil
	if w.isOver() || w.state == pending {
		return
	}
	for _, who := range asking {
		p.replay(w, who)
	}
	p.tell(w)
}

// replay answers a probe with what is known.
func (p *presence) replay(w *watch, who asker) {
	key := w.r.key
	if _, resource, full := strings.Cut(who.to, "/"); full {
		// RFC 6121 §4.3.2: whether that resource is there, and nothing else.
		t := tuple{resource: resource}
		for i := range w.known {
			t.open = t.open || w.known[i].resource == resource && w.known[i].open
		}
		p.send(t.stanza(key.ours, who.from))
		return
	}
	p.freshen(w)
	available := false
	for i := range w.known {
		if t := &w.known[i]; t.open {
			available = true
			p.sendTuple(t, key.ours, who.from)
			w.told[t.resource] = *t
		}
	}
	if !available {
		e := presenceStanza("unavailable", key.ours, who.from)
		if !w.at.IsZero() {
			e.Add(stanza.New("urn:xmpp:delay", "delay", stanza.Attr{Local: "stamp", Value: w.at.UTC().Format(time.RFC3339)}))
		}
		p.send(e)
	}
}

// tell tells the other what has changed since he was told last.
func (p *presence) tell(w *watch) {
	if w.isOver() || w.offline || w.state != active {
		return
	}
	p.freshen(w)
	key := w.r.key
	gone := w.openTold()
	for i := range w.known {
		gone = slices.DeleteFunc(gone, func(t tuple) bool { return t.resource == w.known[i].resource })
	}
	for i := range gone {
		delete(w.told, gone[i].resource)
		p.send(gone[i].stanza(key.ours, key.theirs))
	}
	for i := range w.known {
		t := &w.known[i]
		if old, ok := w.told[t.resource]; ok && old.same(t) {
			continue
		}
		w.told[t.resource] = *t
		p.sendTuple(t, key.ours, key.theirs)
	}
	p.shrink(w)
}

// shrink forgets that the other was told of resources that are no more.
func (p *presence) shrink(w *watch) {
	if len(w.told) <= len(w.known) {
		return
	}
	for resource, t := range w.told {
		if !t.open && !slices.ContainsFunc(w.known, func(k tuple) bool { return k.resource == resource }) {
			delete(w.told, resource)
		}
	}
}

// freshen takes back what the other was told in a run that did not end well.
func (p *presence) freshen(w *watch) {
	if w.stale {
		w.stale = false
		p.send(presenceStanza("unavailable", w.r.key.ours, w.r.key.theirs))
	}
}

// sendTuple sends presence of our user.
func (p *presence) sendTuple(t *tuple, from, to string) {
	e := t.stanza(from, to)
	if t.open && p.caps != nil {
		e.Add(p.caps())
	}
	p.send(e)
}

func byResource(a, b tuple) int { return strings.Compare(a.resource, b.resource) }
