package xmpp

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A model is what a reader of RFC 8048 would say of presence by what he sees go by.
// Everything happens at random, and after each step what came out is held against
// it.
type model struct {
	*stage
	rng   *rand.Rand
	trace []string
	pairs map[rosterKey]*modelPair

	answers []func() // to probes

	mu       sync.Mutex
	requests []*bridges.Incoming // that came home
	count    int
}

// A modelPair is one of our users and one of the network.
type modelPair struct {
	key       rosterKey
	forbidden bool // by the lists

	// The other watches our user.
	epoch     int             // counts the other's subscriptions
	allowed   bool            // a NOTIFY of this epoch was active
	left      bool            // the last epoch was ended by the other or by the lists
	watches   bool            // he was told "subscribed", and nothing else since
	view      map[string]bool // what of our user is available to him
	notifiers []*modelDialog  // in which our user notifies
	asked     []*bridges.Incoming

	// Our user watches the other.
	state     string          // "none", "asked", "granted"
	open      map[string]bool // resources of the other
	unsure    bool            // not all of them are known since the restart
	listeners []*modelDialog
}

type modelDialog struct {
	d       *bridges.Dialog
	epoch   int
	over    bool
	expires time.Time
	fetch   bool
}

// requested takes what comes home. A NOTIFY is answered at once, now and then with the
// news that nobody wants it.
func (m *model) requested(in *bridges.Incoming) {
	m.mu.Lock()
	m.requests = append(m.requests, in)
	m.count++
	status := []int{200, 200, 200, 481, 200, 500, 200}[m.count%7]
	m.mu.Unlock()
	if in.Method == "NOTIFY" {
		l := in.Dialog.Data.(*modelDialog)
		if status == 481 {
			in.Data = hungUp{l}
		} else {
			in.Data = l
		}
		in.Answer(bridges.Response{Status: status}, "")
	}
}

// hungUp is a device that has answered that it does not listen.
type hungUp struct{ *modelDialog }

type homeHandler func(*bridges.Incoming)

func (h homeHandler) Request(in *bridges.Incoming) { h(in) }
func (h homeHandler) Canceled(*bridges.Incoming)   {}

func TestPresenceKeepsItsPromisesWhateverHappens(t *testing.T) {
	seeds := 12
	if testing.Short() || raced {
		seeds = 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				m := &model{stage: newStage(t, dir, presenceLimits{concurrent: 2}), rng: rand.New(rand.NewPCG(uint64(seed), 7)), pairs: map[rosterKey]*modelPair{}}
				m.home.Handle(homeHandler(m.requested))
				m.may = func(user, foreign string, inbound bool) (v allowlists.Verdict) {
					key := rosterKey{strings.TrimPrefix(user, "sip:"), foreign}
					if !m.pairs[key].forbidden {
						v.Action = allowlists.Allow
					}
					return v
				}
				for _, ours := range []string{romeo, "tybalt@example.net"} {
					for _, theirs := range []string{juliet, "nurse@fabrikam.example"} {
						k := rosterKey{ours, theirs}
						m.pairs[k] = &modelPair{key: k, state: "none", view: map[string]bool{}, open: map[string]bool{}}
					}
				}
				for range 250 {
					m.step()
					m.check()
				}
				m.finish()
			})
		})
	}
}

func (m *model) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s\nafter\n  %s", fmt.Sprintf(format, args...), strings.Join(m.trace[max(0, len(m.trace)-60):], "\n  "))
}

func (m *model) note(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
}

func pick[T any](rng *rand.Rand, list ...T) T { return list[rng.IntN(len(list))] }

// step lets one thing happen.
func (m *model) step() {
	p := m.pairs[pick(m.rng, slices.SortedFunc(maps.Keys(m.pairs), func(a, b rosterKey) int { return strings.Compare(a.record(), b.record()) })...)]
	switch m.rng.IntN(13) {
	case 0, 1, 2:
		m.presence(p, pick(m.rng, "subscribe", "subscribe", "unsubscribe", "probe", "probe", "subscribed", "subscribed", "unsubscribed", "error"))
	case 3, 4:
		m.resource(p)
	case 5, 6:
		m.listen(p)
	case 7:
		m.relisten(p)
	case 8, 9, 10:
		m.notifyOne(p)
	case 11:
		d := pick(m.rng, time.Millisecond, time.Second, notifyPause, 40*time.Second, 6*time.Minute, 20*time.Minute)
		m.note("%s pass", d)
		time.Sleep(d)
	case 12:
		switch m.rng.IntN(8) {
		case 0, 1:
			m.note("the lists say otherwise of %v", p.key)
			m.flip(p)
		case 2:
			m.again()
		}
	}
	synctest.Wait()
}

// again ends presence and begins anew. Nobody is available to anybody then, all
// dialogs have ended, and the authorizations are what they were.
func (m *model) again() {
	m.note("a restart")
	m.stage.end()
	synctest.Wait()
	m.checkWire()
	m.reopen()
	m.home.Handle(homeHandler(m.requested))
	for _, p := range m.pairs {
		for _, l := range p.listeners {
			if !l.over {
				m.fatalf("a dialog of %v has not ended", p.key)
			}
		}
		if len(p.view) > 0 {
			m.fatalf("%v is still available to %s", p.view, p.key.theirs)
		}
		p.notifiers, p.asked, p.listeners = nil, nil, nil
		p.unsure = true
	}
}

func (m *model) flip(p *modelPair) {
	onLoop(m.stage, func() bool { p.forbidden = !p.forbidden; return true })
	m.p.reconsider()
	if p.forbidden {
		p.state = "none"
		clear(p.open)
		p.leave()
	}
}

// leave notes that the other watches no more.
func (p *modelPair) leave() {
	p.epoch++
	p.allowed, p.left = false, true
}

// presence lets the other send something that is no presence in the narrow sense.
func (m *model) presence(p *modelPair, kind string) {
	e := presenceStanza(kind, p.key.theirs, p.key.ours)
	if kind == "error" {
		condition := pick(m.rng, "gone", "forbidden", "remote-server-timeout", "undefined-condition")
		e.Add((&stanza.Error{Condition: condition}).Element())
		kind += " " + condition
		if p.state != "none" {
			switch condition {
			case "gone", "forbidden":
				p.state = "none"
				clear(p.open)
			case "remote-server-timeout":
				if p.state == "granted" {
					clear(p.open)
				}
			}
		}
	}
	m.note("%s: %s to %s", p.key.theirs, kind, p.key.ours)
	switch {
	case kind == "unsubscribe":
		p.leave()
		p.watches = false
	case kind == "subscribed" && p.state == "asked":
		p.state = "granted"
	case kind == "unsubscribed" && p.state != "none":
		p.state = "none"
		clear(p.open)
	}
	for range 1 + m.rng.IntN(2) { // twice is like once
		m.stanzaIn(e)
	}
}

func (m *model) stanzaIn(e *stanza.Element) {
	m.p.stanza(e, bridges.ProofCertificate)
	synctest.Wait()
}

// resource lets a resource of the other come, change or go.
func (m *model) resource(p *modelPair) {
	name := pick(m.rng, "a", "b", "c")
	kind := pick(m.rng, "", "", "unavailable")
	from := p.key.theirs + "/" + name
	if kind != "" && m.rng.IntN(4) == 0 {
		from = p.key.theirs
	}
	m.note("%s: presence %s to %s", from, kind, p.key.ours)
	e := presenceStanza(kind, from, p.key.ours)
	if kind == "" {
		e.AddText(stanza.NS, "show", pick(m.rng, "away", "dnd"))
	}
	if p.state != "none" {
		switch {
		case kind == "":
			p.open[name] = true
		case from == p.key.theirs:
			clear(p.open)
		default:
			delete(p.open, name)
		}
	}
	m.stanzaIn(e)
}

// listen lets a device of our user subscribe.
func (m *model) listen(p *modelPair) {
	expires := pick(m.rng, 0, 60, 600, 3600)
	m.note("%s: SUBSCRIBE %d to %s", p.key.ours, expires, p.key.theirs)
	r := m.subscribeRequest(expires)
	r.URI, r.To.URI, r.From.URI = "sip:"+p.key.theirs, "sip:"+p.key.theirs, "sip:"+p.key.ours
	l := &modelDialog{expires: time.Now().Add(time.Duration(expires) * time.Second), fetch: expires == 0}
	r.Data = l
	before := p.state
	if !p.forbidden && expires > 0 && p.state == "none" {
		p.state = "asked"
	}
	p.listeners = append(p.listeners, l)
	resp, d := m.home.Send(m.t, r)
	l.d = d
	if l.over = l.over || resp.Status >= 300; resp.Status >= 300 != p.forbidden {
		m.fatalf("SUBSCRIBE of %v: %d; forbidden %v, %s before", p.key, resp.Status, p.forbidden, before)
	}
}

// relisten lets a device refresh or go.
func (m *model) relisten(p *modelPair) {
	for _, l := range p.listeners {
		if l.over || l.fetch {
			continue
		}
		expires := pick(m.rng, 0, 600)
		m.note("%s: refresh %d to %s", p.key.ours, expires, p.key.theirs)
		if l.expires = time.Now().Add(time.Duration(expires) * time.Second); p.state == "none" {
			m.fatalf("a dialog of %v goes on", p.key)
		}
		resp := m.home.SendWithin(m.t, l.d, &bridges.Request{Method: "SUBSCRIBE", Fields: m.subscribeRequest(expires).Fields})
		if resp.Status != 200 {
			m.fatalf("refresh of %v: %d", p.key, resp.Status)
		}
		return
	}
}

// notifyOne lets our user answer a SUBSCRIBE, or notify.
func (m *model) notifyOne(p *modelPair) {
	if len(p.asked) > 0 && m.rng.IntN(3) > 0 {
		in := p.asked[0]
		p.asked = p.asked[1:]
		status := pick(m.rng, 200, 200, 200, 200, 403, 404, 408, 480, 481, 500, 603)
		m.note("%s: %d to SUBSCRIBE %s of %s", p.key.ours, status, in.Fields.Get("Expires"), p.key.theirs)
		d := in.Answer(bridges.Response{Status: status, Fields: bridges.Fields{{Name: "Expires", Value: in.Fields.Get("Expires")}}}, "u")
		if status == 200 && in.Dialog == nil && d != nil {
			epoch, _ := in.Data.(int)
			p.notifiers = append(p.notifiers, &modelDialog{d: d, epoch: epoch, fetch: in.Fields.Get("Expires") == "0"})
		}
		return
	}
	if len(p.notifiers) == 0 {
		return
	}
	n := pick(m.rng, p.notifiers...)
	state := pick(m.rng, "pending", "active", "active", "active", "terminated;reason=timeout", "terminated;reason=rejected", "terminated;reason=giveup", "terminated;reason=noresource")
	if n.fetch {
		state = "terminated;reason=timeout"
	}
	body := pick(m.rng, "", document("x"), document("x away", "y"), document("y closed"), document())
	m.note("%s: NOTIFY %s to %s (epoch %d of %d) %d octets", p.key.ours, state, p.key.theirs, n.epoch, p.epoch, len(body))
	if state == "active" && n.epoch == p.epoch {
		p.allowed = true
	}
	if status := m.notify(n.d, state, body); status != 200 && status != 481 {
		m.fatalf("NOTIFY of %v: %d", p.key, status)
	}
	if strings.HasPrefix(state, "terminated") {
		p.notifiers = slices.DeleteFunc(p.notifiers, func(o *modelDialog) bool { return o == n })
	}
}

// check holds what came out, and what presence knows, against the model.
func (m *model) check() {
	m.t.Helper()
	m.checkWire()
	onLoop(m.stage, func() bool { m.checkState(); return true })
	if m.t.Failed() {
		m.fatalf("presence contradicts itself")
	}
	answers := m.answers
	m.answers = nil
	for _, f := range answers {
		f()
	}
	if len(answers) > 0 {
		m.check()
	}
}

// checkWire holds what came out against the model.
func (m *model) checkWire() {
	m.t.Helper()
	for _, xml := range m.wire.take() {
		m.note("    %s", xml)
		m.checkStanza(parsed(m.t, xml))
	}
	m.mu.Lock()
	list := m.requests
	m.requests = nil
	m.mu.Unlock()
	for _, in := range list {
		m.checkRequest(in)
	}
	for _, in := range list {
		if l, ok := in.Data.(hungUp); ok {
			l.over = true // what was on its way before that came all the same
		}
	}
}

func (m *model) checkStanza(e *stanza.Element) {
	kind, from, to := e.Attr("type"), e.Attr("from"), e.Attr("to")
	if from == "example.net" {
		if kind != "probe" {
			m.fatalf("the domain sent %s", kind)
		}
		return
	}
	ours, resource, _ := strings.Cut(from, "/")
	theirs, _, _ := strings.Cut(to, "/")
	p := m.pairs[rosterKey{ours, theirs}]
	if p == nil {
		m.fatalf("sent to nobody we know: %s", to)
	}
	switch kind {
	case "subscribed":
		if !p.allowed {
			m.fatalf("subscribed to %v, and no NOTIFY was active", p.key)
		}
		p.watches, p.left = true, false
	case "unsubscribed":
		if p.watches {
			p.epoch++
			p.allowed = false
		}
		p.watches = false
		if len(p.view) > 0 && !p.left { // else it answers a probe before the home server has answered
			m.fatalf("unsubscribed to %v, and %v is still available to him", p.key, p.view)
		}
	case "":
		if !p.watches {
			m.fatalf("presence to %v, who does not watch", p.key)
		}
		p.view[resource] = true
	case "unavailable":
		if delete(p.view, resource); resource == "" {
			clear(p.view)
		}
	case "subscribe":
		if p.state != "asked" {
			m.fatalf("subscribe to %v, which is %s", p.key, p.state)
		}
	case "unsubscribe":
		if !p.forbidden {
			m.fatalf("unsubscribe to %v", p.key)
		}
	case "probe":
		m.answers = append(m.answers, func() { m.answerProbe(p) })
	case "error":
	default:
		m.fatalf("sent a %s", kind)
	}
}

// answerProbe lets the other's server say who is there, if our user has leave.
func (m *model) answerProbe(p *modelPair) {
	if p.state != "granted" {
		return
	}
	p.unsure = false
	if len(p.open) == 0 {
		m.stanzaIn(presenceStanza("unavailable", p.key.theirs, p.key.ours))
	}
	for name := range p.open {
		m.stanzaIn(presenceStanza("", p.key.theirs+"/"+name, p.key.ours))
	}
}

func (m *model) checkRequest(in *bridges.Incoming) {
	if in.Method == "SUBSCRIBE" {
		p := m.pairs[rosterKey{strings.TrimPrefix(in.To.URI, "sip:"), strings.TrimPrefix(in.From.URI, "sip:")}]
		m.note("    SUBSCRIBE %s of %s to %s", in.Fields.Get("Expires"), p.key.theirs, p.key.ours)
		in.Data = p.epoch
		p.asked = append(p.asked, in)
		return
	}
	l := in.Dialog.Data.(*modelDialog)
	p := m.pairs[rosterKey{strings.TrimPrefix(in.To.URI, "sip:"), strings.TrimPrefix(in.From.URI, "sip:")}]
	state, _, _ := strings.Cut(in.Fields.Get("Subscription-State"), ";")
	got := tuplesIn(m.t, string(in.Body))
	m.note("    NOTIFY %s of %s to %s: %s", in.Fields.Get("Subscription-State"), p.key.theirs, p.key.ours, got)
	want := map[string]string{"none": "terminated", "asked": "pending", "granted": "active"}[p.state]
	switch {
	case l.over:
		m.fatalf("NOTIFY %s of %v in a dialog that is over", state, p.key)
	case state == "terminated":
		l.over = true
	case state != want:
		m.fatalf("NOTIFY %s of %v, which is %s", state, p.key, p.state)
	case state == "pending" && got != "":
		m.fatalf("NOTIFY of %v, who has not given leave, says %s", p.key, got)
	case state == "active" && got != "" && !p.unsure:
		for _, name := range []string{"a", "b", "c"} {
			if strings.Contains(got, "+"+name) != p.open[name] {
				m.fatalf("NOTIFY of %v says %s, and open are %v", p.key, got, p.open)
			}
		}
	}
}

// checkState looks for contradictions within presence. It is on its loop.
func (m *model) checkState() {
	var listeners int
	states := map[watchState]int{}
	for key, r := range m.p.relations {
		p := m.pairs[key]
		if w := r.watch; w != nil {
			states[w.state]++
			if (w.state == pending) != (r.item.Pending != 0) || (w.state != pending) != r.item.From {
				m.t.Errorf("%v: watch %s, roster %+v", key, w.state, r.item)
			}
			if w.offline {
				clear(p.view) // his server has forgotten
			}
			if w.state == active && w.usage == nil && !w.queued {
				m.t.Errorf("%v is active without a subscription", key)
			}
			if w.usage == nil && !w.queued && !w.visiting && !w.retry.isSet() && !w.offline {
				m.t.Errorf("%v (%s) waits for nothing", key, w.state)
			}
			for resource, t := range w.told {
				if t.Open != p.view[resource] {
					m.t.Errorf("%v was told %s %v, and his view is %v", key, resource, t.Open, p.view)
				}
			}
		} else if r.item.From || r.item.Pending != 0 {
			m.t.Errorf("%v: no watch, roster %+v", key, r.item)
		}
		if c := r.contact; c != nil {
			listeners += len(c.listeners)
			for i, l := range c.listeners {
				if l.index != i || l.over || !l.end.isSet() {
					m.t.Errorf("%v: device %d has index %d, over %v", key, i, l.index, l.over)
				}
			}
		}
		want := map[string]bool{"none": !r.item.To && r.item.Asked == 0, "asked": !r.item.To && r.item.Asked != 0, "granted": r.item.To && r.item.Asked == 0}
		if !want[p.state] {
			m.t.Errorf("%v is %s, roster %+v", key, p.state, r.item)
		}
		if value, ok := m.p.rosters.bucket.Get(key.record()); ok {
			var item rosterItem
			if json.Unmarshal(value, &item); item != r.item {
				m.t.Errorf("%v: %+v is on the disk, want %+v", key, item, r.item)
			}
		} else if !r.item.isOver(time.Now()) {
			m.t.Errorf("%v is not on the disk", key)
		}
	}
	s := m.p.stat
	if listeners != m.p.listeners || listeners != s.Dialogs || states[active] != s.Active || states[pending] != s.Pending || states[suspended] != s.Suspended {
		m.t.Errorf("%d devices, watches %v; status %+v", listeners, states, s)
	}
	for i, a := range m.p.alarms {
		if a.index != i+1 {
			m.t.Errorf("alarm %d has index %d", i, a.index)
		}
	}
}

// finish lets all that was begun come to its end.
func (m *model) finish() {
	for range 4 {
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		m.check()
	}
	for _, p := range m.pairs {
		for _, l := range p.listeners {
			if !l.over && time.Since(l.expires) > time.Second {
				m.fatalf("a dialog of %v has not ended", p.key)
			}
		}
	}
	m.stage.end()
	synctest.Wait()
	m.checkWire()
	for _, p := range m.pairs {
		if len(p.view) > 0 {
			m.fatalf("%v is still available to %s", p.view, p.key.theirs)
		}
	}
	for _, p := range m.pairs {
		for _, in := range p.asked {
			in.Answer(bridges.Response{Status: 480}, "")
		}
	}
}
