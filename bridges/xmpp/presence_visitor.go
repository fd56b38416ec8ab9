package xmpp

import (
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A visitorKey is a bare JID of the network, and the domain of ours it has to do with.
type visitorKey struct{ theirs, domain string }

// A visitor is somebody of whom we want to know whether his server still knows
// him, before his subscriptions are refreshed.
type visitor struct {
	state   visitorState
	waiting []func(ok bool)
	limit   alarm
}

type visitorState uint8

const (
	visitorAsked visitorState = iota
	visitorThere
	visitorGone
)

// What is known of a visitor counts for a whole burst of refreshes. A server that
// says nothing to a probe of a stranger is within its rights (RFC 6121 §4.3.2), and
// counts as there.
const (
	visitorCounts = 10 * time.Minute
	probeAnswer   = 10 * time.Second
)

// sawVisitor notes that something came from a bare JID.
func (p *presence) sawVisitor(key visitorKey, kind string) {
	v := p.visitors[key]
	if v == nil {
		if v = p.newVisitor(key); v == nil {
			return
		}
	}
	p.settle(v, kind != "error")
}

// newVisitor returns nil if there are too many.
func (p *presence) newVisitor(key visitorKey) *visitor {
	if len(p.visitors) >= p.lim.relations {
		return nil
	}
	v := &visitor{}
	v.limit.ring = func() {
		if v.state == visitorAsked {
			p.settle(v, true)
		} else {
			delete(p.visitors, key)
		}
	}
	p.visitors[key] = v
	return v
}

// settle notes what is known of a visitor.
func (p *presence) settle(v *visitor, there bool) {
	if v.state = visitorGone; there {
		v.state = visitorThere
	}
	waiting := v.waiting
	v.waiting = nil
	p.alarms.set(&v.limit, time.Now().Add(visitorCounts))
	for _, f := range waiting {
		f(there)
	}
}

// visit finds out whether somebody is still known at his server and calls f then. It
// costs that server about what a refresh costs ours, which takes the gain out of
// having many subscriptions refreshed (RFC 8048 §8.1).
func (p *presence) visit(key rosterKey, f func(ok bool)) {
	k := visitorKey{key.theirs, stanza.Domain(key.ours)}
	v := p.visitors[k]
	switch {
	case v != nil && v.state != visitorAsked:
		f(v.state == visitorThere)
		return
	case v != nil:
		v.waiting = append(v.waiting, f)
		return
	}
	if v = p.newVisitor(k); v == nil {
		f(true)
		return
	}
	v.waiting = append(v.waiting, f)
	p.alarms.set(&v.limit, time.Now().Add(probeAnswer))
	p.sendFor(p.newProbe(k.domain, key.theirs), func() {
		if p.visitors[k] == v && v.state == visitorAsked {
			p.settle(v, false)
		}
	})
}
