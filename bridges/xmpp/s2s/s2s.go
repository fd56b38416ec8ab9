// Package s2s is the server-to-server side of XMPP (RFC 6120): streams in and
// out, what proves the domain at the other end, and what became of each stanza.
//
// It knows nothing of SIP and of people: it carries stanzas between our domains
// and others.
package s2s

import (
	"errors"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// Why a stanza could not be delivered. Each is wrapped with what the other side
// said.
var (
	ErrNoServer    = errors.New("s2s: no such domain")            // DNS says it has no servers
	ErrUnreachable = errors.New("s2s: cannot be reached")         // DNS or connections fail
	ErrRefused     = errors.New("s2s: the other side refuses us") // policy, or it does not trust us
	ErrUntrusted   = errors.New("s2s: not proved")                // its certificate, and no dialback
	ErrTimeout     = errors.New("s2s: no stream in time")
	ErrQueueFull   = errors.New("s2s: too much waiting")
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
	From, To string // domains, normal form
	Proof    bridges.Proof
}
