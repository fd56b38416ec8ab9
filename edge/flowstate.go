package edge

import (
	"sync/atomic"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/sip"
)

// flowState is what the edge remembers of a flow, beside the connection
// itself.
type flowState struct {
	since  time.Time       // when it was opened
	side   *side           // how we name ourselves on this connection
	pools  []*pool         // internal: whose home server it is
	rule   allowlists.Rule // the listener, or the pool that we dialled
	link   *link           // dialled: what for
	server *server         // dialled: the home server
	// federation: a name that the peer proved, to be told to pools that ask; "" none
	peerHost string
	known    atomic.Bool            // federation: a listed partner when we last looked
	proved   atomic.Pointer[string] // the listed domain that DNS led to its peer, the last one
	account  *account               // what its peer has us keep
	open     atomic.Int64           // transactions that it began
	sent     atomic.Int64           // requests that were sent on it and wait
	refused  refusals               // bounds what it can make us write to the log, without an account
	strange  int                    // requests of a stranger that were refused; the reader's alone

	signed    atomic.Pointer[signIn] // remote: who has signed in on it; nil: nobody
	counted   bool                   // remote: among those that nobody has signed in on; guarded by Edge.signing
	learned   bool                   // remote: its source is among the known ones
	path      *pathToken             // remote: the token of our Path; the reader's alone
	registers budget                 // remote: REGISTERs while somebody is signed in; the reader's alone

	searches int       // searches in a row that DNS did not answer; the reader's alone
	searched time.Time // when the last one ended

	seated, stranger bool // counted as its peer's; as no partner's
}

// answered takes the answer to a health check.
func (s *flowState) answered(m *sip.Message) {
	if s.server != nil {
		s.server.answered(m)
	}
}
