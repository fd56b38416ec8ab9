package remoteaccess

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A SignIn is one device of one user, signed in on one flow, because the home
// server said yes. It is immutable once it is in a table.
type SignIn struct {
	User      string // address of record in normal form, "alice@example.com"
	Flow      uint64
	Device    string // what tells it from the user's other devices; never empty
	Contact   string // where the client says that it is
	Agent     string // what it calls itself
	Transport string // "tls" or "wss"
	Remote    netip.AddrPort
	Outbound  bool      // the registrar does outbound for it (RFC 5626)
	Since     time.Time // signed in, on this flow
	Refreshed time.Time
	Until     time.Time // the registration's end
	Groups    []string  // of the directory, as they were asked about last
	Terms     Terms
}

// Users knows which user each flow belongs to, and which flows a user has. It is
// safe for concurrent use. It is memory: after a restart everybody signs in again.
type Users struct {
	mu     sync.RWMutex
	byFlow map[uint64]*SignIn
	byUser map[string][]*SignIn // in the order of Since
}

// NewUsers makes an empty table. Its bound is that of connections: a flow is one
// user's at most.
func NewUsers() *Users {
	return &Users{byFlow: make(map[uint64]*SignIn), byUser: make(map[string][]*SignIn)}
}

// Put notes that s is signed in, instead of what its flow was before. Other flows of
// the same device are over: they are taken out, and returned, so that they can be
// closed. It reports false, and changes nothing, if the flow is another user's or if
// the user would have more than most devices.
func (u *Users) Put(s *SignIn, most int) (over []*SignIn, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if old := u.byFlow[s.Flow]; old != nil && old.User != s.User {
		return nil, false
	}
	if list := u.byUser[s.User]; most > 0 && len(list) == 1 && list[0].Flow == s.Flow {
		// It registers again, as most do most of the time, and nobody else is concerned.
		u.byFlow[s.Flow], u.byUser[s.User] = s, []*SignIn{s}
		return nil, true
	}
	others := 0
	for _, o := range u.byUser[s.User] {
		switch {
		case o.Flow == s.Flow:
		case o.Device == s.Device:
			over = append(over, o)
		default:
			others++
		}
	}
	if others >= most {
		return nil, false
	}
	u.remove(s.Flow)
	for _, o := range over {
		u.remove(o.Flow)
	}
	u.byFlow[s.Flow] = s
	list := append(slices.Clone(u.byUser[s.User]), s)
	slices.SortStableFunc(list, func(a, b *SignIn) int { return a.Since.Compare(b.Since) })
	u.byUser[s.User] = list
	return over, true
}

// End takes out what is signed in on a flow, and returns it; nil: nothing was.
func (u *Users) End(flow uint64) *SignIn {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.remove(flow)
}

// remove takes one out. The caller holds u.mu.
func (u *Users) remove(flow uint64) *SignIn {
	s := u.byFlow[flow]
	if s == nil {
		return nil
	}
	delete(u.byFlow, flow)
	// Whoever has the old list goes on reading it.
	list := slices.DeleteFunc(slices.Clone(u.byUser[s.User]), func(o *SignIn) bool { return o.Flow == flow })
	if len(list) == 0 {
		delete(u.byUser, s.User)
	} else {
		u.byUser[s.User] = list
	}
	return s
}

// Of returns where a user is signed in, the longest first. The list must not be
// changed.
func (u *Users) Of(user string) []*SignIn {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.byUser[user]
}

// On returns what is signed in on a flow, nil if nothing is.
func (u *Users) On(flow uint64) *SignIn {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.byFlow[flow]
}

// Room reports whether a user may sign in from one device more, of most.
func (u *Users) Room(user, device string, flow uint64, most int) bool {
	others := 0
	for _, o := range u.Of(user) {
		if o.Flow != flow && o.Device != device {
			others++
		}
	}
	return others < most
}

// Over returns those whose registration has ended.
func (u *Users) Over(now time.Time) (list []*SignIn) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	for _, s := range u.byFlow {
		if !now.Before(s.Until) {
			list = append(list, s)
		}
	}
	return list
}

// All returns all, by user and time.
func (u *Users) All() []*SignIn {
	u.mu.RLock()
	list := make([]*SignIn, 0, len(u.byFlow))
	for _, s := range u.byFlow {
		list = append(list, s)
	}
	u.mu.RUnlock()
	slices.SortFunc(list, func(a, b *SignIn) int {
		return cmp.Or(cmp.Compare(a.User, b.User), a.Since.Compare(b.Since), cmp.Compare(a.Flow, b.Flow))
	})
	return list
}

// Len returns how many flows and how many users there are.
func (u *Users) Len() (flows, users int) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return len(u.byFlow), len(u.byUser)
}
