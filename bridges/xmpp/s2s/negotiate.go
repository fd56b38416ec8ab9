package s2s

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A negotiation is what comes before the first stanza on a stream that we open
// (RFC 6120 §4.3).
type negotiation struct {
	*stream
	ctx     context.Context
	target  target
	how     how
	stage   int
	proof   bridges.Proof // of them
	offers  offers
	refused error // why they do not believe our certificate
}

func (n *negotiation) run() error {
	n.set(func() { n.provedBy = time.Now().Add(attemptTime) })
	if !n.target.Direct {
		if err := n.startTLS(); err != nil {
			return err
		}
	}
	n.hide = n.how.noCertificate
	err := n.stream.secure()
	n.how.look.tls(n.stream, err)
	if err != nil {
		return n.unshown(err)
	}
	if err := n.judge(); err != nil {
		return err
	}
	n.stage = stageStream
	if err := n.begin(); err != nil {
		return n.unshown(err)
	}
	n.how.look.offers(n.offers)
	n.stage = stageAuth
	// From here on the other side may have to ask others before it answers.
	n.set(func() { n.provedBy = time.Time{} })
	if n.how.key != nil {
		return n.ask(n.how.key)
	}
	if err := n.authenticate(); err != nil {
		return err
	}
	if n.offers.manage && !n.how.noManage {
		if err := n.enable(); err != nil {
			return err
		}
	}
	n.src.unlimited()
	n.mu.Lock()
	n.peer = n.offers
	n.server = n.proof
	if n.bidi {
		n.proofs[n.remote] = n.proof
	}
	n.mu.Unlock()
	return nil
}

// expect reads one element that is not a stream error.
func (n *negotiation) expect() (*stanza.Element, error) {
	e, err := n.next()
	switch {
	case err == io.EOF:
		return nil, errEnded
	case err != nil:
		return nil, err
	case e.Is(stanza.NSStreams, "error"):
		return nil, complaintOf(e, "stream", nsErrors)
	}
	return e, nil
}

// errEnded is that the other side said goodbye without a reason.
var errEnded = fmt.Errorf("%w: it ended the stream", ErrUnreachable)

// begin opens the stream, again after TLS and SASL, and reads what is offered.
func (n *negotiation) begin() error {
	n.open(header{from: n.local, to: n.remote})
	e, err := n.r.Open()
	n.src.complete()
	if err != nil {
		return err
	}
	var h header
	if f := h.read(e, n.r.Content()); f != nil {
		return f
	}
	if n.tls != nil {
		switch {
		case h.from != "" && h.from != n.remote && h.from != n.local:
			// COMPAT(jackal): it says our name for its own. What counts is its
			// certificate.
			return &fault{condition: "invalid-from", text: h.from + " is not " + n.remote}
		case h.to != "" && h.to != n.local:
			return &fault{condition: "improper-addressing", text: h.to + " is not " + n.local}
		}
	}
	n.mu.Lock()
	n.id = h.id
	n.mu.Unlock()
	f, err := n.expect()
	if err != nil {
		return err
	}
	if !f.Is(stanza.NSStreams, "features") {
		return &fault{condition: "unsupported-stanza-type", text: "features come first"}
	}
	n.offers = readOffers(f)
	return nil
}

// startTLS does what is needed without TLS, and no more. It is tried whether it is
// offered or not: somebody may have taken the offer away (RFC 7590 §3.1).
func (n *negotiation) startTLS() error {
	n.stage = stageStream
	if err := n.begin(); err != nil {
		return err
	}
	n.say(stanza.New(nsTLS, "starttls"))
	e, err := n.expect()
	switch {
	case err == nil && e.Is(nsTLS, "proceed"):
		n.flush()
		n.stage = stageTLS
		n.how.look.step("STARTTLS", nil, "begun")
		return nil
	case !n.offers.startTLS:
		err = &fault{condition: "policy-violation", text: "TLS is needed", err: fmt.Errorf("%w: it offers no TLS", ErrUntrusted)}
	case err != nil:
	case e.Is(nsTLS, "failure"): // RFC 6120 §5.4.2.2
		err = fmt.Errorf("%w: it offers TLS and cannot do it", ErrUntrusted)
	default:
		err = &fault{condition: "unsupported-stanza-type", text: "neither proceed nor failure"}
	}
	n.how.look.step("STARTTLS", err, "")
	return err
}

// judge looks whose certificate it is. If nobody's that we know, only DNS leads to
// this server, as with dialback: where that is allowed it goes on.
func (n *negotiation) judge() error {
	proof, why, denied := n.s.judgeServer(n.stream, n.target)
	if n.how.key != nil && !denied {
		n.proof = proof
		return nil // that is dialback
	}
	weak := n.s.dialback(n.remote) && !denied
	n.how.look.certificate(n.stream, proof, why, weak)
	if proof == bridges.ProofNone {
		if !weak {
			return &fault{
				condition: "not-authorized", text: "your certificate does not prove " + n.remote,
				err: fmt.Errorf("%w: %s", ErrUntrusted, why),
			}
		}
		proof = bridges.ProofDialback
	}
	n.proof = proof
	n.mu.Lock()
	n.unproved = why
	n.mu.Unlock()
	return nil
}

// maxEarly is how many stanzas may come while we wait whether they are
// acknowledged.
const maxEarly = 100

// enable asks for acknowledgements (XEP-0198 §3). On a stream both ways stanzas may
// come before the answer; they are not counted.
func (n *negotiation) enable() error {
	n.say(stanza.New(nsManage, "enable"))
	n.set(func() { n.provedBy = time.Now().Add(attemptTime) })
	for {
		e, err := n.expect()
		switch {
		case isTimeout(err) && n.ctx.Err() == nil:
			return &errAgain{func(h *how) { h.noManage = true }, err}
		case err != nil:
			return err
		case e.Is(nsManage, "enabled"):
			n.mu.Lock()
			n.acks = true
			n.mu.Unlock()
		case e.Is(nsManage, "failed"):
		case e.IsStanza() && n.bidi && len(n.early) < maxEarly:
			n.early = append(n.early, e)
			continue
		default:
			return &fault{condition: "unsupported-stanza-type", text: words(e.Local)}
		}
		n.set(func() { n.provedBy = time.Time{} })
		return nil
	}
}
