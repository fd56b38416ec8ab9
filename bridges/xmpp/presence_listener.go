package xmpp

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/pidf"
)

// enlist enters a listener for some time.
func (p *presence) enlist(l *listener, expires time.Duration) {
	l.index = len(l.c.listeners)
	l.c.listeners = append(l.c.listeners, l)
	p.listeners++
	p.stat.Dialogs++
	l.end.ring = func() { p.finish(l, "timeout") }
	l.next.ring = func() { p.notifyAfter(l) }
	l.expires = time.Now().Add(expires)
	p.alarms.set(&l.end, l.expires)
}

// strike takes a listener out.
func (p *presence) strike(l *listener) {
	if l.over {
		return
	}
	l.over = true
	p.alarms.clear(&l.end)
	p.alarms.clear(&l.next)
	list := l.c.listeners
	last := len(list) - 1
	list[l.index] = list[last]
	list[l.index].index = l.index
	list[last] = nil
	l.c.listeners = list[:last]
	p.listeners--
	p.stat.Dialogs--
}

// open accepts the SUBSCRIBE of a listener. It is called when the roster is written.
func (p *presence) open(l *listener, expires time.Duration) {
	l.in.Data = l // and so of the dialog
	l.dialog = l.in.Answer(accepted(expires), "")
	l.in = nil
}

// accepted is a 200 to SUBSCRIBE.
func accepted(expires time.Duration) bridges.Response {
	return bridges.Response{Status: 200, Fields: bridges.Fields{{Name: "Expires", Value: strconv.Itoa(int(expires / time.Second))}}}
}

// refreshed takes a SUBSCRIBE within a dialog.
func (p *presence) refreshed(in *bridges.Incoming, expires time.Duration) {
	l, ok := in.Dialog.Data.(*listener)
	if !ok || l.over {
		p.answer(in, bridges.Response{Status: 481})
		return
	}
	p.answer(in, accepted(expires))
	if expires == 0 {
		p.finish(l, "timeout")
		return
	}
	l.expires = time.Now().Add(expires)
	p.alarms.set(&l.end, l.expires)
	c := l.c
	asks := p.authorize(c)
	p.notifyAfter(l)
	p.after(func() {
		switch {
		case asks:
			p.sendSubscribe(c)
		case c.r.item.To && time.Since(c.heard) >= ghosts:
			p.probe(c)
		}
	})
}

// finish ends a subscription with its last NOTIFY. A device that went leaves nobody
// there for the contact, unless he watches our user and knows better (RFC 8048
// §5.3.3).
func (p *presence) finish(l *listener, reason string) {
	c := l.c
	p.strike(l)
	p.after(func() {
		doc, lang := []byte(nil), ""
		if reason == "timeout" {
			doc, lang = p.closedDoc(c)
		}
		p.notifyState(l, "terminated;reason="+reason, doc, lang)
	})
	if reason == "timeout" && len(c.listeners) == 0 && (c.r.watch == nil || len(c.r.watch.openTold()) == 0) {
		p.send(presenceStanza("unavailable", c.r.key.ours, c.r.key.theirs))
	}
	p.release(c.r)
}

// finishAll ends all subscriptions to a contact.
func (p *presence) finishAll(c *contact, reason string) {
	for len(c.listeners) > 0 {
		p.finish(c.listeners[len(c.listeners)-1], reason)
	}
}

// notifyAfter sends a NOTIFY when the roster is written: one, whatever else comes
// until then, since it says what is so when it is sent.
func (p *presence) notifyAfter(l *listener) {
	if l.owed {
		return
	}
	l.owed = true
	p.after(func() { p.notifyNow(l) })
}

// notifyNow sends a NOTIFY with what the device may know.
func (p *presence) notifyNow(l *listener) {
	p.alarms.clear(&l.next)
	l.owed = false
	if l.over {
		return
	}
	l.last = time.Now()
	left := max(0, l.expires.Sub(l.last).Round(time.Second)/time.Second)
	state := ";expires=" + strconv.Itoa(int(left))
	c := l.c
	switch {
	case !c.r.item.To:
		p.notifyState(l, "pending"+state, nil, "")
	case !c.known:
		p.notifyState(l, "active"+state, nil, "")
	default:
		l.shown = true
		doc, lang := p.document(c)
		p.notifyState(l, "active"+state, doc, lang)
	}
}

// notifySoon sends a NOTIFY now, or when the last one is old enough (RFC 3856 §6.10).
// What a device sees first waits only for what comes together: leave comes a moment
// before the presence that it is for, and nobody would be there for five seconds.
func (p *presence) notifySoon(l *listener) {
	if l.next.isSet() || l.owed {
		return
	}
	now := time.Now()
	due := l.last.Add(notifyPause)
	if !l.shown {
		due = earlier(due, now.Add(fetchCollect))
	}
	if due.After(now) {
		p.alarms.set(&l.next, due)
		return
	}
	p.notifyAfter(l)
}

// notifyState sends a NOTIFY. It is called when the roster is written.
func (p *presence) notifyState(l *listener, state string, doc []byte, lang string) {
	if l.dialog == nil {
		return
	}
	// Where nothing has come yet, what is said is our own word; so is an end that says
	// nothing of the contact, which passes the doors even when he may not any more.
	proof := max(l.c.proof, ownWord)
	if doc == nil && strings.HasPrefix(state, "terminated") {
		proof = ownWord
	}
	r := &bridges.Request{Method: "NOTIFY", Proof: proof, Fields: bridges.Fields{
		{Name: "Event", Value: l.event}, {Name: "Subscription-State", Value: state},
	}}
	if doc != nil {
		r.ContentType, r.Body = pidf.Type, doc
		if lang != "" {
			r.Fields = append(r.Fields, bridges.Field{Name: "Content-Language", Value: lang})
		}
	}
	l.dialog.Do(r, func(resp *bridges.Response) {
		// RFC 6665 §4.2.2: who cannot be notified is a listener no more.
		if resp.Status == 408 || endsSubscription(resp.Status) {
			p.loop.post(func() { p.hungUp(l, resp) })
		}
	})
}

// hungUp takes the end of a subscription from the other side.
func (p *presence) hungUp(l *listener, resp *bridges.Response) {
	if l.over {
		return
	}
	p.log.Info("subscription was ended by its device", "user", l.c.r.key.ours, "contact", l.c.r.key.theirs, "status", resp.Status)
	p.strike(l)
	l.dialog.End()
	p.release(l.c.r)
}

// document returns the document of a contact's resources, which all his listeners
// share.
func (p *presence) document(c *contact) (doc []byte, lang string) {
	now := time.Now()
	if c.doc != nil && now.Before(c.docTill) {
		return c.doc, c.docLang
	}
	open := slices.ContainsFunc(c.resources, func(r resource) bool { return r.Open })
	var tuples []pidf.Tuple
	last := -1
	c.docTill = now.Add(24 * time.Hour)
	for i, r := range c.resources {
		till := r.gone.Add(goneFor)
		switch {
		case r.Open:
			tuples = append(tuples, r.Tuple)
		case !open:
			if last < 0 || r.gone.After(c.resources[last].gone) {
				last = i
			}
		case now.Before(till):
			tuples = append(tuples, r.Tuple)
			if till.Before(c.docTill) {
				c.docTill = till
			}
		}
	}
	if !open {
		gone := pidf.Tuple{}
		if last >= 0 {
			gone = c.resources[last].Tuple
		}
		tuples = append(tuples, gone)
	}
	c.doc = pidf.Append(nil, p.entity(c), tuples)
	c.docLang = commonLanguage(tuples)
	return c.doc, c.docLang
}

// closedDoc returns a document that says that the contact is not available.
func (p *presence) closedDoc(c *contact) (doc []byte, lang string) {
	return pidf.Append(nil, p.entity(c), []pidf.Tuple{{}}), ""
}

// commonLanguage returns the language of all tuples, "" if they differ.
func commonLanguage(tuples []pidf.Tuple) string {
	lang := tuples[0].Lang
	for i := range tuples {
		if tuples[i].Lang != lang {
			return ""
		}
	}
	return lang
}

// entity is the pres URI of a contact (RFC 3863 §4.1.1).
func (p *presence) entity(c *contact) string {
	uri, err := p.userURI(c.r.key.theirs)
	if err != nil {
		return "pres:" + c.r.key.theirs
	}
	return "pres:" + strings.TrimPrefix(uri, "sip:")
}
