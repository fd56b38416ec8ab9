package s2s

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// next reads one element.
func (st *stream) next() (*stanza.Element, error) {
	e, err := st.r.Next()
	st.src.complete()
	return e, err
}

// read handles what comes until the stream ends. Negotiation is over, at least
// the part of it that must come first.
func (st *stream) read() error {
	for _, e := range st.early {
		if err := st.element(e); err != nil {
			return err
		}
	}
	if st.early != nil {
		// They came before both sides began to count (XEP-0198 §3).
		st.early = nil
		st.mu.Lock()
		st.handled = 0
		st.mu.Unlock()
	}
	for {
		e, err := st.next()
		if err != nil {
			return err
		}
		if err := st.element(e); err != nil {
			return err
		}
	}
}

// element handles one element of a stream. An error ends it.
func (st *stream) element(e *stanza.Element) error {
	switch {
	case e.IsStanza():
		return st.stanza(e)
	case e.Space == nsManage:
		return st.manage(e)
	case e.Space == stanza.NSDialback:
		return st.dialback(e)
	case e.Is(stanza.NSStreams, "error"):
		return complaintOf(e, "stream", nsErrors)
	case st.in && e.Space == nsSASL:
		return st.external(e)
	case st.in && e.Is(nsBidi, "bidi"):
		st.bothWays(e)
		return nil
	case st.in && e.Is(nsCanBidi, "bidi"):
		// COMPAT(ejabberd): 24.10 asks for streams both ways by the name of the
		// feature. The stream goes one way then, which it takes as well.
		return nil
	case !st.in && e.Is(stanza.NSStreams, "features"):
		// Offered anew once something is proved. We have what we need.
		return nil
	}
	// RFC 6120 §4.9.3.24.
	return &fault{condition: "unsupported-stanza-type", text: words(e.Local)}
}

// stanza hands a stanza on, if it may come on this stream (RFC 6120 §8.1.1.2,
// §8.1.2.2).
func (st *stream) stanza(e *stanza.Element) error {
	sender, ok1 := Normal(stanza.Domain(e.Attr("from")))
	ours, ok2 := Normal(stanza.Domain(e.Attr("to")))
	st.mu.Lock()
	nobody, proof := len(st.proofs) == 0, st.proofs[sender]
	st.mu.Unlock()
	switch {
	case nobody:
		return &fault{condition: "not-authorized"} // RFC 6120 §4.9.3.12
	case !ok1 || !ok2:
		return &fault{condition: "improper-addressing", text: "from and to must be addresses"}
	case proof == bridges.ProofNone:
		return &fault{condition: "invalid-from", text: sender + " is not proved on this stream"}
	case !st.s.ours[ours]:
		return &fault{condition: "host-unknown", text: ours + " is not here"}
	}
	if err := st.pace(sender); err != nil {
		return err
	}
	// What is answered to it may go out on this stream.
	st.offerRoutes()
	st.received.Add(1)
	st.s.received.Add(1)
	st.s.c.Handle(&Stanza{Element: e, From: sender, To: ours, Proof: proof, Stream: st.number})
	st.mu.Lock()
	st.handled++
	st.heard = time.Now()
	st.mu.Unlock()
	return nil
}

// pace waits when a domain sends more than it may: then it is read more slowly, and
// nothing is lost.
func (st *stream) pace(domain string) error {
	wait := st.s.rates.take(domain)
	if wait <= 0 {
		return nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-st.s.base.Done():
		return ErrStopped
	}
}

// safely runs what reads a stream, so that a panic there costs this stream only.
func (st *stream) safely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			st.s.log.Error("stream panicked", "remote", st.remote, "panic", p, "stack", string(debug.Stack()))
			err = &fault{condition: "internal-server-error", err: fmt.Errorf("panic: %v", p)}
		}
	}()
	return f()
}
