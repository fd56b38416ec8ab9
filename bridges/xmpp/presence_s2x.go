package xmpp

import (
	"strconv"
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/pidf"
)

// A contact is somebody of the network whom our user watches, as our user may see him:
// whether he has leave says the roster item.
type contact struct {
	r         *relation
	listeners []*listener
	fetches   []*listener // SUBSCRIBEs with Expires 0 that wait for an answer to a probe

	resources []resource
	known     bool          // something has come since our user had leave
	complete  bool          // resources are all that there are
	heard     time.Time     // when
	probed    time.Time     // when the last probe went out
	unsent    bool          // our subscribe could not be delivered
	proof     bridges.Proof // of the contact's domain, when something came from him last

	doc     []byte // the document of all resources; nil: to be made
	docLang string // Content-Language, "" if there are several
	docTill time.Time
	collect alarm // when fetches are answered
	confirm alarm // when an answer to a probe is complete
}

// A resource is one device of a contact.
type resource struct {
	pidf.Tuple
	gone    time.Time // since when it is unavailable; zero: it is not
	doubted bool      // a probe was sent since it was heard of last
}

// A listener is a subscription of our user's device: a dialog in which the contact's
// presence is notified (RFC 6665 §4.2).
type listener struct {
	c       *contact
	in      *bridges.Incoming
	dialog  *bridges.Dialog
	event   string
	index   int // in c.listeners
	expires time.Time
	last    time.Time // of the last NOTIFY
	shown   bool      // it has seen a document
	owed    bool      // a NOTIFY goes out when the roster is written
	end     alarm
	next    alarm // of a NOTIFY that must wait
	over    bool
}

// How often presence is notified to one device at most (RFC 3856 §6.10), how long a
// resource that has gone is still in documents, how long a fetch waits, and how
// short a subscription may be.
const (
	notifyPause  = 5 * time.Second
	goneFor      = time.Minute
	fetchWait    = 2 * time.Second
	fetchCollect = 250 * time.Millisecond
	minExpires   = time.Minute
)

// A server that was cut off does not say that its users have gone. So it is probed
// when a device refreshes and what is known is older than ghosts; and where it answers
// a probe, a resource that it does not name within probeLasts is no more.
const (
	ghosts     = time.Hour
	probeLasts = 30 * time.Second
)

// subscribe takes a SUBSCRIBE of our user.
func (p *presence) subscribe(in *bridges.Incoming) {
	expires, refusal := readSubscribe(in)
	if refusal.Status != 0 {
		in.Answer(refusal, "")
		return
	}
	if in.Dialog != nil {
		if !p.loop.offer(func() { p.refreshed(in, expires) }) {
			in.Answer(busy, "")
		}
		return
	}
	ours, err := p.addresses.JID(in.From.URI)
	if err == nil && ours.Localpart() == "" {
		err = address.ErrURI
	}
	var theirs address.JID
	if err == nil {
		theirs, err = p.addresses.JID(in.URI)
	}
	if err != nil {
		e := err.(*address.Error)
		in.Answer(bridges.Response{Status: e.Status, Phrase: e.Text}, "")
		return
	}
	key := rosterKey{ours.Bare().String(), theirs.Bare().String()}
	if !p.loop.offer(func() { p.listen(in, key, expires) }) {
		in.Answer(busy, "")
	}
}

// readSubscribe reads what a SUBSCRIBE wants; a Status says that it is refused.
func readSubscribe(in *bridges.Incoming) (expires time.Duration, refusal bridges.Response) {
	if !isPresence(in.Fields.Get("Event")) {
		return 0, badEvent
	}
	if !acceptsPIDF(in.Fields) {
		return 0, bridges.Response{Status: 406, Fields: bridges.Fields{{Name: "Accept", Value: pidf.Type}}}
	}
	expires = subscribeFor // RFC 3856 §6.4
	if v := strings.TrimSpace(in.Fields.Get("Expires")); v != "" {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return 0, bridges.Response{Status: 400, Phrase: "Bad Expires"}
		}
		expires = min(expires, time.Duration(n)*time.Second)
	}
	if expires > 0 && expires < minExpires {
		// RFC 6665 §4.2.1.1.
		seconds := strconv.Itoa(int(minExpires / time.Second))
		return 0, bridges.Response{Status: 423, Fields: bridges.Fields{{Name: "Min-Expires", Value: seconds}}}
	}
	return expires, bridges.Response{}
}

// acceptsPIDF reports whether the Accept fields allow PIDF; none do (RFC 3856
// §6.5).
func acceptsPIDF(fields bridges.Fields) bool {
	any := false
	for _, f := range fields {
		if !strings.EqualFold(f.Name, "Accept") {
			continue
		}
		for r := range strings.SplitSeq(f.Value, ",") {
			r, _, _ = strings.Cut(r, ";")
			switch r = strings.ToLower(strings.TrimSpace(r)); r {
			case pidf.Type, "application/*", "*/*":
				return true
			}
			any = any || r != ""
		}
	}
	return !any
}

// listen takes a SUBSCRIBE outside dialogs.
func (p *presence) listen(in *bridges.Incoming, key rosterKey, expires time.Duration) {
	user, err := p.userURI(key.ours)
	if err != nil {
		p.answer(in, bridges.Response{Status: err.Status, Phrase: err.Text})
		return
	}
	if v := p.may(user, key.theirs, false); !v.Allowed() {
		p.log.Info("subscription was refused", "user", user, "to", key.theirs, "reason", v.Reason, "rule", v.Rule)
		p.stat.Refused++
		p.answer(in, bridges.Response{Status: v.Code()})
		return
	}
	r := p.relations[key]
	isNew := r == nil
	if c := p.contactOf(r); !p.hasRoom(key) || p.listeners >= p.lim.listeners || isNew && p.rosters.failed ||
		c != nil && len(c.listeners)+len(c.fetches) >= p.lim.perContact {
		p.log.Warn("subscription had no room", "user", user, "to", key.theirs, "relations", len(p.relations), "dialogs", p.listeners)
		p.stat.Refused++
		p.answer(in, busy)
		return
	}
	r = p.relation(key)
	c := p.newContact(r)
	l := &listener{c: c, in: in, event: in.Fields.Get("Event")}
	if expires == 0 {
		p.listenOnce(l)
		return
	}
	p.enlist(l, expires)
	l.owed = true // the first one, in the dialog that is opened then
	wasNone := r.item == (rosterItem{})
	asks := p.authorize(c)
	p.afterWrite(func(err error) {
		if err != nil && wasNone {
			p.strike(l)
			p.change(r, func(i *rosterItem) { i.Asked = 0 })
			p.release(r)
			in.Answer(busy, "")
			return
		}
		p.open(l, expires)
		p.notifyNow(l)
		switch {
		case asks:
			p.sendSubscribe(c)
		case r.item.To && time.Since(c.heard) >= fresh:
			p.probe(c)
		}
	})
}

// contactOf returns the contact of a relation, which may be nil.
func (p *presence) contactOf(r *relation) *contact {
	if r == nil {
		return nil
	}
	return r.contact
}

// newContact returns the contact of a relation, a new one if there is none.
func (p *presence) newContact(r *relation) *contact {
	if r.contact == nil {
		c := &contact{r: r}
		c.collect.ring = func() { p.answerFetches(c) }
		c.confirm.ring = func() { p.confirm(c) }
		r.contact = c
	}
	return r.contact
}

// forgetContact forgets what is known of a contact.
func (p *presence) forgetContact(c *contact) {
	p.alarms.clear(&c.collect)
	p.alarms.clear(&c.confirm)
	c.r.contact = nil
}

// authorize sees to it that our user has asked for leave, and reports whether the
// contact must be asked now: not again within a day (RFC 6121 §3.1.2).
func (p *presence) authorize(c *contact) (asks bool) {
	now, i := time.Now(), &c.r.item
	if i.To {
		return false
	}
	since := max(i.Asked, i.Denied)
	asks = c.unsent || !isRecent(since, now)
	if asks {
		since = now.Unix()
	}
	if i.Asked == 0 {
		c.resources, c.known, c.complete, c.doc = nil, false, false, nil // what answered a fetch is no leave
	}
	if i.Asked != since || i.Denied != 0 || i.Refused != 0 {
		p.change(c.r, func(i *rosterItem) {
			// Who wants to watch somebody will not mind to be asked by him again.
			i.Asked, i.Denied, i.Refused = since, 0, 0
		})
	}
	c.unsent = false
	return asks
}

// sendSubscribe asks a contact for leave.
func (p *presence) sendSubscribe(c *contact) {
	e := presenceStanza("subscribe", c.r.key.ours, c.r.key.theirs)
	e.SetAttr("id", p.newID("s"))
	p.sendFor(e, func() {
		// It is asked again with the next SUBSCRIBE.
		if c.r.contact == c && !c.r.item.To {
			c.unsent = true
		}
	})
}

// probe asks the contact's server for his presence, not more often than every ten
// seconds.
func (p *presence) probe(c *contact) {
	now := time.Now()
	if now.Sub(c.probed) < 10*time.Second {
		return
	}
	c.probed = now
	for i := range c.resources {
		c.resources[i].doubted = c.resources[i].Open
	}
	p.alarms.set(&c.confirm, now.Add(probeLasts))
	p.sendFor(p.newProbe(c.r.key.ours, c.r.key.theirs), func() {
		if c.r.contact == c {
			p.unreachable(c)
		}
	})
}

// listenOnce takes a SUBSCRIBE with Expires 0: what our user may see, once (RFC 6665
// §4.4.3).
func (p *presence) listenOnce(l *listener) {
	l.over = true // it is never in the list
	c := l.c
	i := &c.r.item
	if i.To && time.Since(c.heard) < fresh || i.Asked != 0 {
		// A contact who was asked and has not answered is not probed: that his server
		// says "unsubscribed" then would be taken for his answer.
		p.after(func() {
			p.open(l, 0)
			p.answerOnce(l)
		})
		return
	}
	p.after(func() { p.open(l, 0) })
	c.fetches = append(c.fetches, l)
	if !c.collect.isSet() {
		p.alarms.set(&c.collect, time.Now().Add(fetchWait))
	}
	p.after(func() { p.probe(c) })
}

// answerFetches answers those who wait.
func (p *presence) answerFetches(c *contact) {
	for _, l := range c.fetches {
		p.after(func() { p.answerOnce(l) })
	}
	c.fetches = nil
	p.after(func() { p.release(c.r) })
}

// answerOnce sends the one NOTIFY of a fetch.
func (p *presence) answerOnce(l *listener) {
	var doc []byte
	lang := ""
	if c := l.c; c.known && c.r.item.Asked == 0 {
		doc, lang = p.document(c)
	}
	p.notifyState(l, "terminated;reason=timeout", doc, lang)
	p.release(l.c.r)
}
