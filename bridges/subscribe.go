package bridges

import (
	"slices"
	"strings"
	"sync"

	"github.com/sipedge/sipedge/sip"
)

// A subID is what a NOTIFY has of its SUBSCRIBE (RFC 6665 §4.4.1).
type subID struct{ call, tag string }

// A subscription is a SUBSCRIBE of ours outside dialogs, while NOTIFYs may still
// make dialogs of it: Timer N (RFC 6665 §4.1.2.4).
type subscription struct {
	e       *Endpoint
	id      subID
	event   string
	from    string
	to      string
	seq     uint32
	proof   Proof
	data    any
	contact string
	timer   timer // Endpoint.mu guards it

	mu     sync.Mutex // guards what follows
	made   []string   // tags of the dialogs, also of those that are over
	silent *Dialog    // that which the 2xx made
}

// expired: no more dialogs, and that which the 2xx made is over if no NOTIFY has come
// (RFC 6665 §4.1.2.4).
func (s *subscription) expired() {
	s.close()
	s.mu.Lock()
	d := s.silent
	s.mu.Unlock()
	if d == nil {
		return
	}
	d.mu.Lock()
	silent := d.byAnswer
	d.mu.Unlock()
	if silent {
		d.End()
	}
}

// close lets no more dialogs be made.
func (s *subscription) close() {
	e := s.e
	e.mu.Lock()
	defer e.mu.Unlock()
	s.timer.stop()
	if e.subs[s.id] == s {
		delete(e.subs, s.id)
	}
}

// accepted is told of the 2xx, and returns the dialog that its notifier has with us:
// that of a NOTIFY which came before, or a new one. RFC 6665 §4.4.1 makes dialogs
// by the NOTIFY alone; but who wants to end a subscription at once, or to refresh
// it where the NOTIFY got lost, needs one to do it in.
func (s *subscription) accepted(m *sip.Message) *Dialog {
	d := newDialog(s.e, s.id.call, s.id.tag, m, false)
	s.e.mu.Lock()
	other := s.e.dialogs[d.id]
	s.e.mu.Unlock()
	if other != nil {
		return other
	}
	if d.target == "" {
		return nil
	}
	d.byAnswer = true
	if d = s.keep(d); d != nil {
		s.mu.Lock()
		s.silent = d
		s.mu.Unlock()
	}
	return d
}

// notified makes the dialog of a NOTIFY that came outside those there are, nil if it
// belongs to nothing.
func (e *Endpoint) notified(in *Incoming, m *sip.Message) *Dialog {
	if !isNotify(in.Method) {
		return nil
	}
	e.mu.Lock()
	s := e.subs[subID{in.CallID, in.To.Tag}]
	e.mu.Unlock()
	if s == nil || !sameEvent(s.event, in.Fields.Get("Event")) {
		return nil
	}
	d := newDialog(e, in.CallID, in.To.Tag, m, true)
	if d.target == "" {
		return nil
	}
	d.heard = false // until it is held against the dialog like all that follow
	return s.keep(d)
}

// keep enters a dialog of the subscription; nil: there are too many.
func (s *subscription) keep(d *Dialog) *Dialog {
	e := s.e
	d.from, d.to = s.from, s.to
	d.seq, d.proof, d.Data, d.contact = s.seq, s.proof, s.data, s.contact
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.made) >= e.lim.forks || slices.Contains(s.made, d.id.remote) || !e.keepDialog(d) {
		return nil
	}
	s.made = append(s.made, d.id.remote)
	return d
}

// sameEvent compares Event fields by package and id (RFC 6665 §8.2.1).
func sameEvent(a, b string) bool {
	name, params, _ := strings.Cut(a, ";")
	other, otherParams, _ := strings.Cut(b, ";")
	return strings.TrimSpace(name) == strings.TrimSpace(other) && eventID(params) == eventID(otherParams)
}

func eventID(params string) string {
	for p := range strings.SplitSeq(params, ";") {
		if name, v, ok := strings.Cut(p, "="); ok && strings.EqualFold(strings.TrimSpace(name), "id") {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
