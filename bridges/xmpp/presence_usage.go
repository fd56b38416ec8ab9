package xmpp

import (
	"crypto/rand"
	mrand "math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/pidf"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A usage is a SUBSCRIBE of ours and the dialog that comes of it (RFC 6665 §4.1).
type usage struct {
	call   string // Call-ID
	ours   string // bare JID of the presentity; never changes
	watch  *watch // whose it is; nil: nobody's any more, it is being ended
	fetch  bool   // asks once, with Expires 0
	asking bool   // a SUBSCRIBE is on its way

	dialog  *bridges.Dialog // nil: there is none yet
	heard   bool            // a NOTIFY has come since the last SUBSCRIBE
	timerN  time.Time       // until when one must
	expires time.Time       // zero: it has not been accepted yet
	end     alarm           // at timerN, or at expires
	bye     func()          // what to do when Expires 0 was answered
}

// subscribeFor is Expires of our SUBSCRIBEs (RFC 3856 §6.4).
const subscribeFor = time.Hour

// timerN is how long after a SUBSCRIBE a NOTIFY must come: 64*T1 (RFC 6665
// §4.1.2.4), and a moment more, so that an answer that times out comes first.
const timerN = 33 * time.Second

// owner returns whose the usage is; nil: nobody's any more. A watch may have ended
// while it asked once.
func (u *usage) owner() *watch {
	if u.watch != nil && u.watch.isOver() {
		u.watch = nil
	}
	return u.watch
}

// isUp reports whether there is a dialog to send within.
func (u *usage) isUp() bool { return u.dialog != nil && !u.dialog.Ended() }

// A gate lets only so many SUBSCRIBEs to one of our domains be open at once, so that
// a restart, or a home server that comes back, does not meet all of them together.
type gate struct {
	open         int
	urgent, calm []func()
}

// enter calls f when there is a place, for which leaveGate must be called once.
func (p *presence) enter(domain string, urgent bool, f func()) {
	g := p.gates[domain]
	if g == nil {
		g = &gate{}
		p.gates[domain] = g
	}
	switch {
	case g.open < p.lim.concurrent:
		g.open++
		p.after(f)
	case urgent:
		g.urgent = append(g.urgent, f)
	default:
		g.calm = append(g.calm, f)
	}
}

// leaveGate gives a place back.
func (p *presence) leaveGate(domain string) {
	g := p.gates[domain]
	line := &g.urgent
	if len(*line) == 0 {
		line = &g.calm
	}
	if len(*line) == 0 {
		if g.open--; g.open == 0 {
			delete(p.gates, domain)
		}
		return
	}
	f := (*line)[0]
	(*line)[0] = nil
	*line = (*line)[1:]
	p.after(f)
}

// follow sends SUBSCRIBE for a watch: within its dialog if there is one. urgent:
// somebody waits for it.
func (p *presence) follow(w *watch, urgent bool) {
	if w.queued || w.usage != nil && w.usage.asking {
		return
	}
	w.queued = true
	p.alarms.clear(&w.retry)
	domain := stanza.Domain(w.r.key.ours)
	p.enter(domain, urgent, func() {
		w.queued = false
		if w.isOver() || w.offline {
			p.leaveGate(domain)
			return
		}
		u := w.usage
		if u == nil || !u.isUp() {
			if u != nil {
				p.forget(u)
			}
			u = p.newUsage(w, false)
			w.usage = u
		}
		p.ask(u, max(subscribeFor, w.interval))
	})
}

// fetch asks the presentity once, for somebody who sent a probe: a SUBSCRIBE with
// Expires 0 in a dialog of its own (RFC 8048 §7.1).
func (p *presence) fetch(w *watch, who asker) {
	for _, a := range w.asking {
		if a == who {
			return
		}
	}
	if len(w.asking) == 8 {
		return
	}
	w.asking = append(w.asking, who)
	if len(w.asking) > 1 {
		return // it is under way
	}
	domain := stanza.Domain(w.r.key.ours)
	p.enter(domain, true, func() {
		if w.isOver() {
			p.leaveGate(domain)
			return
		}
		p.ask(p.newUsage(w, true), 0)
	})
}

// newUsage makes one with a Call-ID of its own.
func (p *presence) newUsage(w *watch, fetch bool) *usage {
	u := &usage{call: randomText(26), ours: w.r.key.ours, watch: w, fetch: fetch}
	u.end.ring = func() { p.ended(u) }
	p.usages[u.call] = u
	return u
}

// ask sends the SUBSCRIBE of a usage. A place of the gate is taken.
func (p *presence) ask(u *usage, expires time.Duration) {
	w := u.watch
	domain := stanza.Domain(u.ours)
	u.asking, u.heard, u.timerN = true, false, time.Now().Add(timerN)
	p.alarms.set(&u.end, u.timerN)
	answered := func(resp *bridges.Response, d *bridges.Dialog) {
		p.loop.post(func() {
			p.leaveGate(domain)
			p.answered(u, resp, d)
		})
	}
	r := &bridges.Request{
		Method: "SUBSCRIBE", Proof: w.proof, Data: u, CallID: u.call,
		Fields: bridges.Fields{
			{Name: "Event", Value: "presence"},
			{Name: "Accept", Value: pidf.Type},
			{Name: "Expires", Value: strconv.Itoa(int(expires / time.Second))},
		},
	}
	if u.isUp() {
		u.dialog.Do(r, func(resp *bridges.Response) { answered(resp, u.dialog) })
		return
	}
	user, err := p.userURI(w.r.key.ours)
	if err != nil {
		answered(&bridges.Response{Status: err.Status, Local: true}, nil)
		return
	}
	other, err := p.userURI(w.r.key.theirs)
	if err != nil {
		answered(&bridges.Response{Status: err.Status, Local: true}, nil)
		return
	}
	r.URI, r.From.URI, r.To.URI = user, other, user
	p.sip.Do(r, answered)
}

// userURI returns the SIP URI of a bare JID.
func (p *presence) userURI(bare string) (string, *address.Error) {
	j, err := address.Parse(bare)
	if err != nil {
		return "", err.(*address.Error)
	}
	uri, err := p.addresses.URI(j)
	if err != nil {
		return "", err.(*address.Error)
	}
	return uri, nil
}

// quit ends a usage that is nobody's any more: with Expires 0 if there is a dialog,
// else when there is one. Its last NOTIFY is still answered.
func (p *presence) quit(u *usage) {
	u.watch = nil
	if u.asking {
		return // when that is answered
	}
	if !u.isUp() {
		p.forget(u)
		return
	}
	u.asking = true
	p.alarms.set(&u.end, time.Now().Add(timerN))
	p.after(func() {
		u.dialog.Do(&bridges.Request{Method: "SUBSCRIBE", Fields: bridges.Fields{
			{Name: "Event", Value: "presence"}, {Name: "Accept", Value: pidf.Type}, {Name: "Expires", Value: "0"},
		}}, func(resp *bridges.Response) {
			p.loop.post(func() {
				u.asking = false
				p.sayBye(u)
				if resp.Status >= 300 || !u.isUp() {
					p.forget(u)
				}
			})
		})
	})
}

func (p *presence) sayBye(u *usage) {
	if bye := u.bye; bye != nil {
		u.bye = nil
		bye()
	}
}

// forget ends a usage without a word. What still comes in its dialog is answered by
// the Endpoint with 481.
func (p *presence) forget(u *usage) {
	p.sayBye(u)
	if u.watch != nil && u.watch.usage == u {
		u.watch.usage = nil
	}
	u.watch = nil
	p.alarms.clear(&u.end)
	if p.usages[u.call] == u {
		delete(p.usages, u.call)
	}
	if u.dialog != nil {
		u.dialog.End()
	}
}

// answered takes the final answer to a SUBSCRIBE; d is its dialog.
func (p *presence) answered(u *usage, resp *bridges.Response, d *bridges.Dialog) {
	u.asking = false
	switch {
	case u.dialog == nil:
		u.dialog = d
	case d != nil && d != u.dialog:
		d.End() // another one was first (RFC 3856 §6.9)
	}
	w := u.owner()
	switch {
	case w == nil && p.usages[u.call] != u:
		if d != nil {
			d.End()
		}
	case w == nil && resp.Status >= 300:
		p.forget(u)
	case w == nil:
		p.quit(u)
	case resp.Status >= 300 && u.fetch:
		p.fetchFailed(u, resp)
	case resp.Status >= 300:
		p.failed(u, resp)
	default:
		p.accepted(u, resp)
	}
}

// accepted takes a 2xx: the subscription is there, and nothing is known yet
// (RFC 8048 §5.2.1).
func (p *presence) accepted(u *usage, resp *bridges.Response) {
	if u.fetch || p.usages[u.call] != u {
		return
	}
	if resp.Status == 204 {
		u.heard = true // RFC 5839 §7.1: no NOTIFY follows
	}
	lasts := max(subscribeFor, u.watch.interval)
	if n, err := strconv.ParseUint(strings.TrimSpace(resp.Fields.Get("Expires")), 10, 31); err == nil {
		lasts = min(lasts, time.Duration(n)*time.Second)
	}
	p.lasts(u, lasts)
}

// lasts notes how long the subscription of a usage goes on, and when to refresh it:
// in good time, and not with all others that began at the same time.
func (p *presence) lasts(u *usage, d time.Duration) {
	d = max(d, 30*time.Second)
	now := time.Now()
	u.expires = now.Add(d)
	if p.alarms.set(&u.end, u.expires); !u.heard {
		p.alarms.set(&u.end, u.timerN)
	}
	w := u.watch
	if w.offline {
		return
	}
	early := d/12 + spread(d/6)
	p.alarms.set(&w.retry, u.expires.Add(-early))
}

// again is told that it is time to subscribe again, or to refresh.
func (p *presence) again(w *watch) {
	if w.visiting {
		return
	}
	w.visiting = true
	p.visit(w.r.key, func(ok bool) {
		w.visiting = false
		switch {
		case w.isOver() || w.offline:
		case ok:
			if w.state == suspended {
				p.become(w, active)
			}
			p.follow(w, false)
		case w.state == active:
			p.away(w) // his server does not know him, or cannot be reached
		case w.state == pending:
			p.tryLater(w)
		default:
			w.offline = true
		}
	})
}

// ended is told that a usage has come to its end: no NOTIFY has come, or it was
// not refreshed.
func (p *presence) ended(u *usage) {
	w := u.owner()
	switch {
	case w == nil:
		p.forget(u)
	case u.asking:
		// The answer decides. It comes within Timer F.
	case u.fetch:
		p.fetchFailed(u, &bridges.Response{Status: 408, Local: true})
	default:
		p.forget(u)
		p.lost(w)
		p.tryLater(w)
	}
}

// spread returns a time between 0 and d, so that what began together does not go on
// together.
func spread(d time.Duration) time.Duration { return time.Duration(mrand.Int64N(int64(d) + 1)) }

// randomText returns n letters and digits that nobody guesses.
func randomText(n int) string {
	s := rand.Text()
	for len(s) < n {
		s += rand.Text()
	}
	return s[:n]
}
