package xmpp

import (
	"slices"
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/pidf"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// lost says that nothing is known any more of the presentity: he is unavailable to the
// other.
func (p *presence) lost(w *watch) {
	for _, t := range w.openTold() {
		p.send(t.Stanza(w.r.key.ours, w.r.key.theirs))
	}
	clear(w.told)
	w.known, w.said = nil, false
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
		t := pidf.Tuple{Resource: resource}
		for i := range w.known {
			t.Open = t.Open || w.known[i].Resource == resource && w.known[i].Open
		}
		p.send(t.Stanza(key.ours, who.from))
		return
	}
	p.freshen(w)
	available := false
	for i := range w.known {
		if t := &w.known[i]; t.Open {
			available = true
			w.told[t.Resource] = *t
			p.sendTuple(w, t, who.from)
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
		gone = slices.DeleteFunc(gone, func(t pidf.Tuple) bool { return t.Resource == w.known[i].Resource })
	}
	for i := range gone {
		delete(w.told, gone[i].Resource)
		p.send(gone[i].Stanza(key.ours, key.theirs))
	}
	for i := range w.known {
		t := &w.known[i]
		if old, ok := w.told[t.Resource]; ok && old.Same(t) {
			continue
		}
		w.told[t.Resource] = *t
		p.sendTuple(w, t, key.theirs)
	}
	p.shrink(w)
}

// shrink forgets that the other was told of resources that are no more.
func (p *presence) shrink(w *watch) {
	if len(w.told) <= len(w.known) {
		return
	}
	for resource, t := range w.told {
		if !t.Open && !slices.ContainsFunc(w.known, func(k pidf.Tuple) bool { return k.Resource == resource }) {
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

// sendTuple sends presence of our user. If it does not arrive, it is told again with the
// next NOTIFY.
func (p *presence) sendTuple(w *watch, t *pidf.Tuple, to string) {
	e := t.Stanza(w.r.key.ours, to)
	if t.Open && p.caps != nil {
		e.Add(p.caps())
	}
	resource := t.Resource
	p.sendFor(e, func() {
		p.loop.lost.Add(1)
		delete(w.told, resource)
	})
}

func byResource(a, b pidf.Tuple) int { return strings.Compare(a.Resource, b.Resource) }
