package edge

import (
	"errors"

	"github.com/sipedge/sipedge/sip"
)

// What a flow of a user may cost, and less as long as nobody has signed in on it: anybody
// can open one.
const (
	remoteTransactions = 200      // open on one flow
	unsignedHeader     = 32 << 10 // octets; a REGISTER with a Kerberos ticket has some 20,000
	unsignedBody       = 16 << 10
	unsignedHeld       = 64 << 20 // octets of messages that are not complete, all flows together
	unsignedFlows      = 512      // of one source
)

var (
	errUnfinished = errors.New("edge: unfinished messages of those who have not signed in take too much")
	errManyFlows  = errors.New("edge: too many connections from one address on which nobody has signed in")
)

// unsignedLimits are the limits of messages on flows on which nobody has signed in.
func unsignedLimits(l sip.Limits) sip.Limits {
	l.Header = min(positive(l.Header, sip.DefaultHeader), unsignedHeader)
	l.Body = min(positive(l.Body, sip.DefaultBody), unsignedBody)
	return l
}

// limit sets what the next messages may cost. It is the reader's alone.
func (f *Flow) limit() {
	if f.Role != RoleRemote {
		return
	}
	l := f.w.limits
	if f.state.signed.Load() == nil {
		l = f.w.unsignedLimits
	}
	f.in.framer.Limits = l
	if f.ws != nil {
		f.ws.limit(l)
	}
}

// hold counts what a flow keeps of a message that is not complete, as long as nobody has
// signed in on it, and reports whether that is still to be borne. It is the reader's
// alone.
func (f *Flow) hold() bool {
	n := 0
	if f.state.signed.Load() == nil && !f.closed() {
		if f.in.buf != nil {
			n = cap(f.in.buf.b)
		}
		if f.conn.in != nil {
			n += cap(f.conn.in.b)
		}
		if f.ws != nil {
			n += f.ws.gathered()
		}
	}
	all := f.w.unfinished.Add(int64(n - f.held))
	f.held = n
	return n == 0 || all <= unsignedHeld
}

// letGo takes a flow that ends out of the count.
func (f *Flow) letGo() {
	f.w.unfinished.Add(int64(-f.held))
	f.held = 0
}
