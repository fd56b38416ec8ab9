package xmpp

import (
	"slices"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/pidf"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// granted takes a subscribed: our user may watch the other. Where he has not asked it
// means nothing (RFC 6121 §3.1.6).
func (p *presence) granted(key rosterKey) {
	r := p.relations[key]
	if r == nil || r.item.To || r.item.Asked == 0 {
		return
	}
	p.change(r, func(i *rosterItem) { i.To, i.Asked, i.Denied = true, 0, 0 })
	c := p.newContact(r)
	for _, l := range c.listeners {
		p.notifyAfter(l)
	}
	p.after(func() { p.probe(c) })
}

// denied takes an unsubscribed: our user may not, or not any more.
func (p *presence) denied(key rosterKey) {
	r := p.relations[key]
	if r == nil || !r.item.To && r.item.Asked == 0 {
		return
	}
	p.revoke(r, "rejected", true)
}

// revoke takes the leave of our user away, and ends his subscriptions. denied: the other
// has said so, and is not asked again today if he never gave it.
func (p *presence) revoke(r *relation, reason string, denied bool) {
	now := time.Now().Unix()
	p.change(r, func(i *rosterItem) {
		if i.Asked != 0 && denied {
			i.Denied = now
		}
		i.To, i.Asked = false, 0
	})
	if c := r.contact; c != nil {
		c.resources, c.known, c.complete, c.doc = nil, false, false, nil
		p.finishAll(c, reason)
	}
	p.release(r)
}

// errored takes an error, which answers our subscribe or a probe.
func (p *presence) errored(key rosterKey, err *stanza.Error) {
	r := p.relations[key]
	if r == nil {
		return
	}
	if w := r.watch; w != nil && w.state == active && (err.Condition == "gone" || err.Condition == "item-not-found") {
		p.away(w) // there is nobody to be told
	}
	if !r.item.To && r.item.Asked == 0 {
		return
	}
	p.journal.drop("presence was answered with an error", "from", key.theirs, "to", key.ours, "condition", err.Condition, "text", clip(err.Text, 256))
	switch err.Condition {
	case "gone", "item-not-found", "jid-malformed":
		p.revoke(r, "noresource", false)
	case "forbidden", "not-allowed", "not-authorized", "registration-required":
		p.revoke(r, "rejected", true)
	case "remote-server-not-found", "remote-server-timeout", "recipient-unavailable", "service-unavailable":
		if r.contact != nil {
			p.unreachable(r.contact)
		}
	}
}

// unreachable takes note that a contact's server cannot be reached: what it said
// counts no more, and the leave stays.
func (p *presence) unreachable(c *contact) {
	if !c.r.item.To {
		c.unsent = true
		return
	}
	now := time.Now()
	for i := range c.resources {
		c.resources[i].leave(now)
	}
	c.heard, c.complete = time.Time{}, false
	p.changed(c, true)
}

// leave makes a resource unavailable.
func (r *resource) leave(now time.Time) {
	if r.Open {
		r.Tuple = pidf.Tuple{Resource: r.Resource, Contact: r.Contact}
		r.gone = now
	}
}

// heard takes presence of somebody of the network.
func (p *presence) heard(key rosterKey, from address.JID, t pidf.Tuple, proof bridges.Proof) {
	r := p.relations[key]
	if r == nil {
		return // our user does not watch him: it is for nobody
	}
	if r.watch != nil {
		p.prove(r.watch, proof)
	}
	c := r.contact
	if !r.item.To && r.item.Asked == 0 && (c == nil || len(c.fetches) == 0) {
		return
	}
	c = p.newContact(r)
	uri, err := p.addresses.URI(from)
	if err != nil {
		return
	}
	t.Contact = uri
	c.heard = time.Now()
	changed := p.note(c, t) || !c.known
	c.known = true
	c.complete = c.complete || t.Resource == "" && !t.Open
	if len(c.fetches) > 0 {
		p.alarms.set(&c.collect, earlier(c.collect.at, c.heard.Add(fetchCollect)))
	}
	if r.item.To {
		p.changed(c, changed)
		p.cameAndWent(r, c)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (c *contact) isOnline() bool {
	return slices.ContainsFunc(c.resources, func(r resource) bool { return r.Open })
}

// note enters presence of a resource, and reports whether anything changed.
// Unavailable presence without a resource is of all (RFC 6121 §4.5.4).
func (p *presence) note(c *contact, t pidf.Tuple) (changed bool) {
	now := time.Now()
	found := false
	for i := range c.resources {
		r := &c.resources[i]
		switch {
		case r.Resource == t.Resource:
			found, r.doubted = true, false
			if !r.Same(&t) {
				changed = true
				r.Tuple = t
			}
			if t.Open {
				r.gone = time.Time{}
			} else if r.gone.IsZero() {
				r.gone = now
			}
		case t.Resource == "" && !t.Open && r.Open:
			r.leave(now)
			changed = true
		}
	}
	if found || t.Resource == "" && !t.Open && len(c.resources) > 0 {
		return changed
	}
	c.resources = slices.DeleteFunc(c.resources, func(r resource) bool { return !r.Open && now.Sub(r.gone) >= goneFor })
	if len(c.resources) >= p.lim.resources {
		if p.loop.lost.Add(1); !t.Open {
			return changed
		}
		i := slices.IndexFunc(c.resources, func(r resource) bool { return !r.Open })
		if i < 0 {
			return changed
		}
		c.resources = slices.Delete(c.resources, i, i+1)
	}
	r := resource{Tuple: t}
	if !t.Open {
		r.gone = now
	}
	c.resources = append(c.resources, r)
	return true
}

// confirm takes out the resources that an answer to a probe did not name.
func (p *presence) confirm(c *contact) {
	if c.heard.Before(c.probed) {
		return // it was not answered
	}
	c.complete = true
	now, changed := time.Now(), false
	for i := range c.resources {
		if r := &c.resources[i]; r.doubted && r.Open {
			r.leave(now)
			changed = true
		}
		c.resources[i].doubted = false
	}
	if c.r.item.To {
		p.changed(c, changed)
		p.cameAndWent(c.r, c)
	}
}

// changed notifies the devices that listen of what has changed.
func (p *presence) changed(c *contact, changed bool) {
	if !changed {
		return
	}
	c.doc = nil
	for _, l := range c.listeners {
		p.notifySoon(l)
	}
}
