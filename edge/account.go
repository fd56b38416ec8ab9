package edge

import (
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

// An account is what one peer has us keep, over all its connections: whoever
// opens a hundred of them has a hundred times the limit of one, and must not
// have everybody's. A peer is who proved to be the same partner, or the same
// stranger, by whatever certificate. A nil account is
// that of a peer without one, and of our home servers, over whose few connections
// all of the company comes: what waits for one partner is counted there. It
// counts nothing.
type account struct {
	open     atomic.Int64 // transactions
	flows    atomic.Int64 // connections that it opened
	held     atomic.Int64 // octets
	unsigned atomic.Int64 // connections of users on which nobody has signed in
	searches atomic.Int64 // lookups of domains that it claims
	refused  refusals     // bounds what it can make us write to the log
	lines    flowLines    // of a partner
	demand   demand       // what it wants while there is too much to do
}

// share is the part of all that one peer may use: with less it would not get
// through a busy hour, with more it could keep the others out alone.
const share = 4

// rememberedAccounts bounds the peers that are counted.
const rememberedAccounts = 8192

// account finds the account of the peer of f.
func (e *Edge) account(f *Flow) *account {
	a, name, known := new(account), "", e.accounts
	switch {
	case f.Role == RoleInternal:
		return nil
	case f.Role == RoleRemote && !e.perSource():
		return a // each flow for itself
	case f.Role == RoleRemote:
		name, known = remoteaccess.SourceOf(f.Remote.Addr()).String(), e.sources
	case f.Peer == nil || f.Peer.IsZero():
		return nil
	default:
		name = e.partners.Load().Account(f.Peer)
	}
	return remembered(known, name, a)
}

// remembered returns the account with a name, which is a if there is none.
func remembered(known *lru.Cache[string, *account], name string, a *account) *account {
	if old, ok, _ := known.PeekOrAdd(name, a); ok {
		known.Get(name) // it was used just now
		return old
	}
	return a
}

// behind is a domain that a bridge reaches.
type behind struct{ bridge, domain string }

// accountBehind finds the account of whoever sent m by a bridge: all that one owner
// of domains has there shares one, and the bridge itself has none.
func (e *Edge) accountBehind(f *Flow, m *sip.Message) *account {
	var room [256]byte
	var domain []byte
	if uri, err := m.FromURI(); err == nil {
		if domain = sip.AppendDomain(room[:0], uri.Host); e.tunnels[string(domain)] == f.bridge {
			_, domain = inner(room[:0], uri.User)
		}
	}
	who := behind{f.bridge.Name, string(domain)}
	name, ok := e.owners.Get(who)
	if !ok {
		name = who.bridge + " " + federation.Owner(domain) // the public suffix list is dear
		e.owners.Add(who, name)
	}
	if a, ok := e.accounts.Get(name); ok {
		return a
	}
	return remembered(e.accounts, name, new(account))
}

// account is that of who sent r.
func (r *request) account(e *Edge) *account {
	if r.f.bridge != nil {
		return e.accountBehind(r.f, r.m)
	}
	return r.f.state.account
}

// keeps notes that n octets more are kept for a peer, or fewer.
func (e *Edge) keeps(a *account, n int64) {
	e.table.held.Add(n)
	if a != nil {
		a.held.Add(n)
	}
}

// begins notes that n transactions more of a peer are open on f, or fewer.
func (f *Flow) begins(a *account, n int64) {
	f.state.open.Add(n)
	if a != nil {
		a.open.Add(n)
	}
}

// seat reports whether there is a place for the connection f of a partner, or
// of a stranger whom we may know tomorrow: neither may take them all.
func (e *Edge) seat(f *Flow) bool {
	a := f.state.account
	if a == nil || f.Role != RoleFederation || f.state.link != nil || !e.perSource() {
		return true
	}
	f.state.seated = true
	limit := int64(max(e.limits.Connections/share, 1))
	fits := a.flows.Add(1) <= limit
	if f.state.stranger = !f.state.known.Load(); f.state.stranger {
		fits = e.strangers.Add(1) <= limit && fits
	}
	return fits
}

// unseat gives the place of f back.
func (e *Edge) unseat(f *Flow) {
	if f.state.seated {
		f.state.account.flows.Add(-1)
	}
	if f.state.stranger {
		e.strangers.Add(-1)
	}
}

// full names the limit that a request of n octets on f would break, "" if none.
// Behind a bridge are many peers, each of which has what a connection has.
func (e *Edge) full(f *Flow, a *account, n int64) string {
	l := &e.limits
	switch {
	case f.bridge != nil && a.open.Load() < int64(l.Transactions):
	case f.Role != RoleInternal && f.state.open.Load() >= int64(l.Transactions),
		f.Role == RoleRemote && f.state.open.Load() >= remoteTransactions:
		return "transactions"
	}
	switch {
	case e.table.active.Load() >= int64(l.TotalTransactions),
		a != nil && a.open.Load() >= max(int64(l.TotalTransactions/share), 1):
		return "total_transactions"
	case !e.fits(a, n):
		return "memory"
	}
	return ""
}

// fits reports whether n octets more may be kept for a peer.
func (e *Edge) fits(a *account, n int64) bool {
	limit := int64(e.limits.Memory)
	if a != nil && a.held.Load()+n > limit/share {
		return false
	}
	return e.table.held.Load()+n <= limit
}
