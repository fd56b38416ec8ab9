package xmpp

import (
	"sync"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/body"
)

// The times of typing notices.
const (
	// XMPP says once that somebody types, and SIP wants to hear it again: every 80 s
	// with a refresh of 90 s, for as long as people type at most.
	ourRefresh  = 90 * time.Second
	repeatEvery = 80 * time.Second
	repeatFor   = 5 * time.Minute
	maxTyping   = 16_384
)

// isTyping is what SIP is told of somebody who types.
var isTyping = &body.Composing{Active: true, Refresh: ourRefresh, ContentType: "text/plain"}

// typing is who types to whom, both ways (RFC 3994, XEP-0085). A pair has one state
// for each direction.
type typing struct {
	g   *gateway
	max int

	mu     sync.Mutex // guards what follows, and the fields of each typist
	toXMPP map[ends]*typist
	toSIP  map[ends]*typist
}

// A typist is somebody who types just now, as the other side was told.
type typist struct {
	all    *typing
	timer  timer
	out    *outward // towards XMPP
	in     *inward  // towards SIP
	until  time.Time
	active time.Time // when he was last known to type
}

func newTyping(g *gateway) *typing {
	return &typing{g: g, max: maxTyping, toXMPP: make(map[ends]*typist), toSIP: make(map[ends]*typist)}
}

// fromSIP takes a notice of one of our users. It goes on only to whom chat states were
// seen from: others would show them as empty messages (XEP-0085 §4).
func (t *typing) fromSIP(w *outward, c *body.Composing) {
	if !t.g.traits.takesStates(w.pair.theirs) {
		return
	}
	if !c.Active {
		if t.forget(t.toXMPP, w.pair) != nil {
			t.g.sendAlone(w, "active") // RFC 7573 §6
		}
		return
	}
	t.mu.Lock()
	p := t.toXMPP[w.pair]
	first := p == nil
	if first && len(t.toXMPP) >= t.max {
		t.mu.Unlock()
		return
	}
	if first {
		p = &typist{all: t}
		t.toXMPP[w.pair] = p
	}
	p.out = w
	t.mu.Unlock()
	t.g.clock.start(&p.timer, c.Refresh, p)
	if first {
		t.g.sendAlone(w, "composing")
	}
}

// wrote notes that our user has sent what he typed (RFC 3994 §3.3), and reports
// whether the other one had been told that he types.
func (t *typing) wrote(who ends) bool { return t.forget(t.toXMPP, who) != nil }

// forget takes out who does not type any more.
func (t *typing) forget(from map[ends]*typist, who ends) *typist {
	t.mu.Lock()
	p := from[who]
	delete(from, who)
	t.mu.Unlock()
	if p != nil {
		t.g.clock.stop(&p.timer)
	}
	return p
}

// expired: our user was not heard of for as long as he promised; or the other one
// still types, and SIP is told again.
func (p *typist) expired() {
	t := p.all
	t.mu.Lock()
	if w := p.out; w != nil {
		mine := t.toXMPP[w.pair] == p
		if mine {
			delete(t.toXMPP, w.pair)
		}
		t.mu.Unlock()
		if mine {
			t.g.sendAlone(w, "active")
		}
		return
	}
	w := p.in
	mine, again := t.toSIP[w.pair] == p, time.Now().Before(p.until)
	if mine && !again {
		delete(t.toSIP, w.pair) // what we said last ends by itself
	}
	t.mu.Unlock()
	if mine && again {
		t.g.clock.start(&p.timer, repeatEvery, p)
		t.g.sendComposing(w, isTyping)
	}
}

// fromXMPP takes a chat state of somebody outside.
func (t *typing) fromXMPP(w *inward, state string) {
	if state != "composing" {
		// Only what was said is taken back; and who leaves does not type.
		if p := t.forget(t.toSIP, w.pair); p != nil {
			t.g.sendComposing(w, &body.Composing{LastActive: p.active})
		}
		return
	}
	if !t.g.contacts.haveMet(w.pair) || !t.g.traits.takesTyping(w.pair.ours) {
		return // a stranger who types is nobody's business
	}
	now := time.Now()
	t.mu.Lock()
	p := t.toSIP[w.pair]
	first := p == nil
	if first && len(t.toSIP) >= t.max {
		t.mu.Unlock()
		return
	}
	if first {
		p = &typist{all: t}
		t.toSIP[w.pair] = p
	}
	p.in, p.active, p.until = w, now, now.Add(repeatFor)
	t.mu.Unlock()
	if first {
		t.g.clock.start(&p.timer, repeatEvery, p)
		t.g.sendComposing(w, isTyping)
	}
}

// came notes that somebody outside has sent what he typed.
func (t *typing) came(who ends) { t.forget(t.toSIP, who) }

// sendComposing tells one of our users whether somebody types (RFC 3994 §4).
func (g *gateway) sendComposing(w *inward, c *body.Composing) {
	if s := g.sessions.of(w.pair, w.thread); s != nil {
		s.sendComposing(c)
		return
	}
	r := w.request("MESSAGE")
	r.ContentType, r.Body = body.TypeComposing, c.Append(nil)
	r.CallID = g.threads.toSIP(w.pair, w.thread)
	g.sip.Do(r, func(resp *bridges.Response, _ *bridges.Dialog) { g.composingAnswered(w.pair, resp) })
}

// composingAnswered looks whether a user wants such notices.
func (g *gateway) composingAnswered(who ends, resp *bridges.Response) {
	switch resp.Status {
	case 405, 415, 488:
		// RFC 3994 §4: a 415 ends it.
		g.traits.refusedTyping(who.ours)
		g.typing.forget(g.typing.toSIP, who)
	}
}
