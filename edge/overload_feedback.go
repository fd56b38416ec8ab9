package edge

import (
	"bytes"
	"fmt"
	"time"

	"github.com/sipedge/sipedge/sip"
)

// Feedback to peers that take part in overload control (RFC 7339): the Vias of
// our answers, relayed ones and our own, say by how much they should send less.
// So a peer that listens is not refused at all, and its requests can go another
// way at once.
//
// Only peers that proved who they are and that we know are told: how busy we are
// is nobody else's business (RFC 7339 §5.2). We choose the loss-based way always,
// which every client must know (RFC 7339 §4.2), so that there is nothing to
// remember about a choice (RFC 7339 §5.1, §5.8).
//
// As a client we do not take part: requests leave without "oc". Home servers say
// 503 when they cannot, and a pool has others; partners get from us no more than
// our users and home servers have to say. What a client writes there stays in
// its Via on the way inside, although RFC 7339 §5.6 would rather have it taken
// off: it is not the topmost one there and means nothing, and all else stays as
// it came.

// feedbackLasts is for how long what we said counts (RFC 7339 §4.3): some ticks.
const feedbackLasts = 500 * time.Millisecond

// mostLess is the most that a peer is asked to send less, in percent: with 100 it
// would not hear from us again.
const mostLess = 95

// hears reports whether the peer of f may know how busy we are.
func (f *Flow) hears() bool {
	s := &f.state
	return f.Role == RoleInternal || f.Role == RoleFederation && f.Peer != nil && (s.link != nil || s.known.Load())
}

// throttle is what the peer of f is told, if it takes part.
func (e *Edge) throttle(f *Flow) []byte {
	d, _ := e.demandOf(f, nil) // no bridge hears
	if !d.asks.Load() {
		d.asks.Store(true)
	}
	p := d.feedback.Load()
	if p == nil {
		p = e.overload.calm.Load()
	}
	if p == nil {
		return nil
	}
	return *p
}

// throttleFor is what our own answer to m says about overload: nil if its sender
// does not ask, or must not know.
func (e *Edge) throttleFor(f *Flow, m *sip.Message) []byte {
	if !f.hears() || !bytes.Contains(m.Value(sip.Via), offer) {
		return nil // nearly all; the Via need not be read for that
	}
	if via, err := m.TopVia(); err != nil || !via.Throttles {
		return nil
	}
	return e.throttle(f)
}

// offer is in each Via whose sender takes part. Nobody spells it otherwise, and if
// somebody does, the answers that we relay tell him all the same.
var offer = []byte("oc-algo")

// calmFeedback says that we take part and have no wish (RFC 7339 §5.1): for the
// rate-based way, too, in which 0 alone would mean to send nothing.
func calmFeedback(seq int64) *[]byte { return feedback(0, 0, seq) }

// feedback is the text of one (RFC 7339 §4, §9). seq is a time in microseconds,
// rounded to what the grammar has room for.
func feedback(percent int, lasts time.Duration, seq int64) *[]byte {
	const unit = int64(10 * time.Microsecond / time.Microsecond)
	b := fmt.Appendf(nil, `oc=%d;oc-algo="loss";oc-validity=%d;oc-seq=%d.%05d`,
		percent, lasts.Milliseconds(), seq/1e6, seq%1e6/unit)
	return &b
}

// sequence returns the next number of a feedback: a time, so that it grows over
// restarts, too (RFC 7339 §4.4).
func (w *overloadWatch) sequence() int64 {
	w.seq = max(time.Now().UnixMicro(), w.seq+10)
	return w.seq
}

// tell makes the feedback of the next tick: new for those who sent something in
// this one, and none of their own for the others, who count as calm.
func (w *overloadWatch) tell(active []*demand) {
	limited := !w.since.IsZero()
	if !limited && len(w.told) == 0 {
		return
	}
	seq := w.sequence()
	if len(w.told) > 0 {
		w.e.overload.calm.Store(calmFeedback(seq))
	}
	now := w.e.overload.tick.Load()
	keep := w.told[:0]
	for _, d := range w.told {
		if !limited || d.tick.Load()+1 < now {
			d.percent = 0
			d.feedback.Store(nil)
			d.told = false
			continue
		}
		keep = append(keep, d)
	}
	clear(w.told[len(keep):])
	w.told = keep
	if !limited {
		return
	}
	for _, d := range active {
		if !d.asks.Load() {
			continue
		}
		if d.less(w.control.paceOf(d)); d.percent < 1 && !d.told {
			continue
		}
		d.feedback.Store(feedback(int(d.percent), feedbackLasts, seq))
		if !d.told {
			d.told = true
			w.told = append(w.told, d)
		}
	}
}

// less finds by how much the peer should send less so that it sends limit
// octets per second. What it sends now is what is left after it did what we asked
// of it; one that does not do so gains nothing by that, since it is refused.
func (d *demand) less(limit float64) {
	want := 0.0
	if whole := d.last / (1 - d.percent/100); limit > 0 && whole > limit {
		want = 100 * (1 - limit/whole)
	}
	d.percent = min((d.percent+want)/2, mostLess)
}

// paceOf is the limit that holds for d, 0 for none.
func (c *control) paceOf(d *demand) float64 {
	if d.pool {
		return c.inside.limit
	}
	return c.outside.limit
}
