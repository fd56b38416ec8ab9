package s2s

import (
	"strconv"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// manage handles an element of stream management (XEP-0198).
func (st *stream) manage(e *stanza.Element) error {
	switch e.Local {
	case "r":
		st.mu.Lock()
		var answer *stanza.Element
		if st.acks {
			answer = st.acknowledgement()
		}
		st.mu.Unlock()
		return st.answer(answer)
	case "a":
		return st.ack(e.Attr("h"))
	case "enable":
		return st.enable()
	case "resume":
		return st.answer(smFailed("feature-not-implemented"))
	}
	// <enabled/> and <failed/> are answers, and are taken where we ask.
	return &fault{condition: "unsupported-stanza-type", text: words(e.Local) + " of stream management"}
}

// acknowledgement says how many stanzas we took. mu is held.
func (st *stream) acknowledgement() *stanza.Element {
	return stanza.New(nsManage, "a", attr("h", strconv.FormatUint(uint64(st.handled), 10)))
}

func smFailed(condition string) *stanza.Element {
	e := stanza.New(nsManage, "failed")
	e.Add(stanza.New(stanza.NSErrors, condition))
	return e
}

// enable begins to acknowledge, both ways. Only who opened the stream may ask, and
// only when something is proved (XEP-0198 §2).
func (st *stream) enable() error {
	st.mu.Lock()
	if !st.in || st.acks || len(st.proofs) == 0 {
		st.mu.Unlock()
		return st.answer(smFailed("unexpected-request"))
	}
	st.sayLocked(stanza.New(nsManage, "enabled"))
	st.acks, st.acked, st.handled = true, 0, 0
	st.mu.Unlock()
	st.wake()
	st.offerRoutes()
	return nil
}

// ack takes what the other side says it took. The number wraps (XEP-0198 §4).
func (st *stream) ack(value string) error {
	h, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return &fault{condition: "invalid-xml", text: "no number of stanzas"}
	}
	st.mu.Lock()
	if !st.acks {
		st.mu.Unlock()
		return nil
	}
	// What stands before was written before both sides began to count.
	before := 0
	for before < st.items.n && !st.items.at(before).counted {
		before++
	}
	n := int(uint32(h) - st.acked)
	if n > st.items.n-before || n > 0 && st.items.at(before+n-1).end > st.taken {
		st.mu.Unlock()
		return &fault{condition: "undefined-condition", text: tooHigh}
	}
	var written []item
	if n > 0 {
		written = st.items.take(before) // they have what came after
	}
	items := st.items.take(n)
	st.acked = uint32(h)
	st.requested = time.Time{}
	more := st.items.n > 0 && n > 0
	if n > 0 {
		st.spoke = time.Now()
		st.progress = st.spoke
	}
	if more && !st.said {
		// What was written since is asked about even if nothing new comes. Who has taken
		// nothing since is asked later: else the two of us would do nothing else.
		st.out = append(st.out, request...)
		st.offset += uint64(len(request))
		st.requested = time.Now()
	}
	st.mu.Unlock()
	st.s.settle(written, Outcome{Sent: true})
	st.s.settle(items, Outcome{Acked: true})
	if more {
		st.wake()
	}
	st.eased()
	return nil
}
