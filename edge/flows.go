package edge

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/sipedge/sipedge/remoteaccess"
)

// A FlowInfo is what can be seen of one connection.
type FlowInfo struct {
	ID        uint64
	Role      string         // "federation", "internal", "remote", "bridge"
	Listener  string         // its name; "" if we dialled
	Target    string         // what it was dialled for, or the bridge; "" if it came to us
	Transport string         // "tls", "tcp", "wss"; "" for a bridge, which is no connection
	Local     netip.AddrPort // not valid for a bridge, as Remote
	Remote    netip.AddrPort
	Peer      string               // what its certificate proves
	SignIn    *remoteaccess.SignIn // nil: nobody is signed in
	Since     time.Time
	Silent    time.Duration // since it said something, to within a second
	Began     int64         // requests that it began and that wait for their answer
	Sent      int64         // requests that were sent on it and wait
}

// Flows returns all that are open, by number, and those of bridges.
func (e *Edge) Flows() []FlowInfo {
	var list []FlowInfo
	for _, b := range e.bridges {
		list = append(list, b.info())
	}
	e.wire.each(func(f *Flow) bool {
		list = append(list, f.info())
		return true
	})
	slices.SortFunc(list, func(a, b FlowInfo) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Flow returns one; ok is false if there is none with this number.
func (e *Edge) Flow(id uint64) (i FlowInfo, ok bool) {
	for _, b := range e.bridges {
		if b.flow.ID == id {
			return b.info(), true
		}
	}
	f := e.wire.flow(id)
	if f == nil {
		return FlowInfo{}, false
	}
	return f.info(), true
}

// Drop ends a connection, which that of a bridge is not. Whoever was at the other end may
// come again.
func (e *Edge) Drop(id uint64) (i FlowInfo, ok bool) {
	f := e.wire.flow(id)
	if f == nil {
		return FlowInfo{}, false
	}
	i = f.info()
	if f.Role == RoleRemote {
		e.endSignIn(f, errDropped)
	} else {
		f.finish(errDropped)
	}
	return i, true
}

// info is what can be seen of a bridge's flow: that it is there, and what waits.
func (b *bridge) info() FlowInfo {
	f := b.flow
	return FlowInfo{ID: f.ID, Role: f.Role.String(), Target: "bridge " + b.Name, Since: f.state.since, Began: f.state.open.Load(), Sent: f.state.sent.Load()}
}

func (f *Flow) info() FlowInfo {
	i := FlowInfo{
		ID: f.ID, Role: f.Role.String(), Listener: f.Listener, Target: f.state.link.String(), Local: f.Local, Remote: f.Remote,
		Transport: f.Transport().String(), Peer: peerName(f), Since: f.state.since, Began: f.state.open.Load(), Sent: f.state.sent.Load(),
		Silent: max(0, time.Duration(f.w.ticks()-f.clocks.heard.Load())*f.w.timeouts.tick()),
	}
	if s := f.user(time.Now()); s != nil {
		i.SignIn = s.SignIn
	}
	return i
}
