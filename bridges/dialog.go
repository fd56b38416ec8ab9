package bridges

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sipedge/sipedge/sip"
)

// A dialogID names a dialog (RFC 3261 §12).
type dialogID struct{ call, local, remote string }

// A Dialog is one (RFC 3261 §12), or a subscription's (RFC 6665 §4.1). A NOTIFY
// that comes before the answer to its SUBSCRIBE makes the dialog, and the answer
// brings the same one.
//
// It ends with a BYE, with the NOTIFY that ends its subscription, with a 481, and
// by [Dialog.End].
type Dialog struct {
	Data any // its owner's

	e       *Endpoint
	id      dialogID
	from    string       // ours, as a value of From without its tag
	to      string       // the other side's
	invite  bool         // a call, no subscription
	contact string       // user part of our Contact; "": that of from
	size    int64        // octets of all this; Endpoint.mu guards it
	used    atomic.Int64 // when something went or came last, by the Endpoint's clock

	mu       sync.Mutex // guards what follows; nothing is locked or called under it
	ended    bool
	seq      uint32 // of our last request
	remote   uint32 // of the last one of the other side
	heard    bool   // there was one
	target   string
	routes   []string
	byAnswer bool // made by the 2xx to SUBSCRIBE; the NOTIFY is to come
	proof    Proof
	pending  *Incoming // INVITE of the other side that is not answered
	asking   bool      // an INVITE of ours is not answered
	waiting  *unacked  // a 2xx of ours without its ACK
	out      []posted
	posting  bool
}

// target returns the URI of Contact, "" if there is none that can be sent to.
func target(m *sip.Message) string {
	n, err := sip.ParseNameAddr(m.Value(sip.Contact))
	if err != nil || checkURI(n.URI) != nil {
		return ""
	}
	return string(n.URI)
}

// routes copies the route set (RFC 3261 §12.1.1, §12.1.2); false: it is none that
// could be used.
func routes(m *sip.Message) (list []string, ok bool) {
	if m.Count(sip.RecordRoute) == 0 {
		return nil, true
	}
	elements := m.Elements(sip.RecordRoute)
	for {
		elem, more := elements.Next()
		if !more {
			return list, true
		}
		n, err := sip.ParseNameAddr(elem)
		if err != nil || len(list) == maxRoutes {
			return nil, false
		}
		// Without the display name, which is for nobody.
		route := "<" + string(n.URI) + ">"
		if params := unfold(n.Params); params != "" && clean(params) {
			route += ";" + params
		}
		list = append(list, route)
	}
}

// routed reports whether the route set of m could be used.
func routed(m *sip.Message) bool {
	_, ok := routes(m)
	return ok
}

// maxRoutes bounds a route set.
const maxRoutes = 32

// newDialog makes the dialog of a message that came: of a request (as its server),
// or of an answer (as its client). Its routes have been looked at.
func newDialog(e *Endpoint, callID, local string, m *sip.Message, server bool) *Dialog {
	d := &Dialog{e: e, target: target(m)}
	d.routes, _ = routes(m)
	var n sip.NameAddr
	if server {
		n, _ = m.From()
		d.remote, _, _ = m.CSeq()
		d.heard = true
	} else {
		n, _ = m.To()
		slices.Reverse(d.routes) // RFC 3261 §12.1.2
	}
	d.id = dialogID{callID, local, string(n.Tag())}
	return d
}

// dialog makes the dialog of a request that is answered; nil: there is no room.
func (in *Incoming) dialog(contact string) *Dialog {
	m := &in.raw.m
	d := newDialog(in.e, in.CallID, in.tag, m, true)
	from, _ := m.From()
	to, _ := m.To()
	d.from, d.to = value(to), value(from)
	d.invite = in.Method == "INVITE"
	d.seq = in.e.nextSeq()
	d.contact, d.Data = contact, in.Data
	if d.invite {
		d.pending = in
	}
	if !in.e.keepDialog(d) {
		return nil
	}
	return d
}

// value is an address as it came, without the parameters of its field.
func value(n sip.NameAddr) string {
	if len(n.Display) == 0 || !clean(unfold(n.Display)) {
		return "<" + string(n.URI) + ">"
	}
	return unfold(n.Display) + " <" + string(n.URI) + ">"
}

// keepDialog enters a dialog; false: there is no room. One that is not kept can still
// send, but nothing comes in it.
func (e *Endpoint) keepDialog(d *Dialog) bool {
	d.size = int64(len(d.id.call) + len(d.id.local) + len(d.id.remote) + len(d.from) + len(d.to) + len(d.target))
	for _, r := range d.routes {
		d.size += int64(len(r))
	}
	d.used.Store(int64(e.clock.now()))
	e.mu.Lock()
	ok := !e.ended && len(e.dialogs) < e.lim.dialogs && e.described+d.size <= e.lim.described
	if ok {
		e.dialogs[d.id] = d
		e.described += d.size
	}
	e.mu.Unlock()
	if !ok {
		e.warn("too many dialogs of a bridge", "call_id", d.id.call)
	}
	return ok
}

// forgetDialog takes a dialog out. Endpoint.mu is held.
func (e *Endpoint) forgetDialog(d *Dialog) {
	if e.dialogs[d.id] == d {
		delete(e.dialogs, d.id)
		e.described -= d.size
	}
}

// sweep ends dialogs that their owner has forgotten: neither side said anything in
// them for days.
func (e *Endpoint) sweep(now time.Duration) {
	var old []*Dialog
	e.mu.Lock()
	for _, d := range e.dialogs {
		if now-time.Duration(d.used.Load()) > idle {
			old = append(old, d)
		}
	}
	e.mu.Unlock()
	for _, d := range old {
		d.End()
	}
}

// dialogOf finds the dialog of a request that came, nil if there is none.
func (e *Endpoint) dialogOf(m *sip.Message) *Dialog {
	to, _ := m.To()
	from, _ := m.From()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dialogs[dialogID{string(m.CallID()), string(to.Tag()), string(from.Tag())}]
}

// CallID returns the dialog's Call-ID.
func (d *Dialog) CallID() string { return d.id.call }

// Ended reports whether the dialog is over.
func (d *Dialog) Ended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ended
}

// End forgets the dialog; nothing is sent.
func (d *Dialog) End() {
	d.mu.Lock()
	over := d.ended
	d.ended = true
	d.mu.Unlock()
	if over {
		return
	}
	e := d.e
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forgetDialog(d)
}
