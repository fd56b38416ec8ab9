// Package s2s is the server-to-server side of XMPP (RFC 6120): streams in and
// out, what proves the domain at the other end, and what became of each stanza.
//
// A stanza that was sent ends in exactly one [Outcome]. Where both sides can
// acknowledge (XEP-0198), what was not acknowledged when a stream ended is sent
// again on the next one, in order and before what is new: delivery is at least
// once then, and the peer may see a stanza twice if it had taken it and the
// acknowledgement was lost. Without acknowledgements a stanza counts as sent when
// its last octet is written, and is sent again only if it certainly never left.
//
// Nothing is ever said or heard without TLS but the way to it. A domain is proved
// by a certificate, by DANE (RFC 7712), or by dialback (XEP-0220) where the
// administrator allows that; the weakest of the three is marked as what it is.
//
// The package knows nothing of SIP and of people: it carries stanzas between our
// domains and others. It resumes no stream (XEP-0198 §5) and follows no
// see-other-host (RFC 6120 §4.9.3.19).
package s2s

import (
	"errors"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// Why a stanza could not be delivered. Each is wrapped with what the other side
// said.
var (
	ErrNoServer    = errors.New("s2s: no such domain")            // DNS says it has no servers, or its server does not know it
	ErrUnreachable = errors.New("s2s: cannot be reached")         // DNS or connections fail
	ErrRefused     = errors.New("s2s: the other side refuses us") // policy, ours too, or it does not trust us
	ErrUntrusted   = errors.New("s2s: not proved")                // its certificate, and no dialback
	ErrTimeout     = errors.New("s2s: no stream in time")
	ErrQueueFull   = errors.New("s2s: too much waiting")
	ErrTooLarge    = errors.New("s2s: larger than the other side takes")
	ErrLost        = errors.New("s2s: stream ended before the stanza was acknowledged")
	ErrStopped     = errors.New("s2s: stopped")
)

// An Outcome is what became of a stanza that was sent.
type Outcome struct {
	Acked bool  // the other server has it (XEP-0198)
	Sent  bool  // written to a stream that knows no acknowledgements
	Err   error // one of the errors above; nil if Acked or Sent
}

// A Stanza is one that came in. From and To are checked: From's domain is proved
// by the stream, To's is ours.
type Stanza struct {
	*stanza.Element
	From, To string // domains, normal form: U-labels in lower case, no trailing dot
	Proof    bridges.Proof
	Stream   uint64 // that it came on, another number for each; 0: nobody knows
}
