package admin

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/remoteaccess"
)

// A register is what is looked at for each user, read once for all of them.
type register struct {
	access  *remoteaccess.Access
	entries []remoteaccess.Entry
	named   map[string]*remoteaccess.Entry // sections that name a user and say whether he may
	decided map[string]remoteaccess.Decision
	bans    banBook
	signIns func(user string) []*remoteaccess.SignIn
}

func (s *Server) register() register {
	r := register{
		access: s.Access.Remote(), named: make(map[string]*remoteaccess.Entry), decided: make(map[string]remoteaccess.Decision),
		bans: newBanBook(s.Guard.List()), signIns: s.Edge.Users().Of,
	}
	r.entries = r.access.Entries()
	for i, e := range r.entries {
		if e.Kind == "user" && slices.ContainsFunc(e.Said, func(s remoteaccess.Said) bool { return s.Key == "allow" }) {
			r.named[e.Name] = &r.entries[i]
		}
	}
	for _, d := range s.Decisions.List() {
		r.decided[d.User] = d
	}
	return r
}

// section returns the section of remote.toml that names the user and says whether he
// may, nil if there is none. It wins over decisions.
func (r register) section(user string) *remoteaccess.Entry {
	local, _ := cut(user)
	return cmp.Or(r.named[user], r.named[local])
}

// user is what a list has of one. With guess nobody knows his groups unless he is
// signed in.
func (r register) user(name string, groups []string, guess bool) User {
	local, domain := cut(name)
	u := User{User: name, State: StateDenied, SignIns: signIns(r.signIns(name)), Bans: []remoteaccess.Ban{}}
	if d := unicodeOf(domain); d != "" {
		u.Unicode = local + "@" + d
	}
	terms := r.access.Terms([]byte(local), []byte(domain), groups)
	u.Rule = Rule(terms.Rule)
	named := strings.HasPrefix(terms.Rule.Name, "user ") // which counts before groups
	switch {
	case guess && !named && len(u.SignIns) == 0:
		u.State = StateByGroup
	case terms.Allow:
		u.State = StateAllowed
	}
	if d, ok := r.decided[name]; ok {
		u.Decision, u.Overruled = &d, r.section(name) != nil
	}
	u.Bans = append(u.Bans, r.bans.about(name, r.signIns(name))...)
	return u
}

// A banBook finds bans by whom they are about: there may be as many as users.
type banBook struct {
	byUser   map[string][]remoteaccess.Ban
	bySource map[netip.Prefix][]remoteaccess.Ban // without a user
	lengths  map[int]bool                        // of these
}

func newBanBook(bans []remoteaccess.Ban) banBook {
	b := banBook{byUser: make(map[string][]remoteaccess.Ban), bySource: make(map[netip.Prefix][]remoteaccess.Ban), lengths: make(map[int]bool)}
	for _, ban := range bans {
		if ban.User != "" {
			user := strings.ToLower(ban.User)
			b.byUser[user] = append(b.byUser[user], ban)
		} else {
			b.bySource[ban.Source] = append(b.bySource[ban.Source], ban)
			b.lengths[ban.Source.Bits()] = true
		}
	}
	return b
}

// about returns the bans of a user, and of the sources that he is signed in from.
func (b banBook) about(user string, in []*remoteaccess.SignIn) []remoteaccess.Ban {
	list := slices.Clone(b.byUser[strings.ToLower(user)])
	seen := make(map[netip.Prefix]bool)
	for _, s := range in {
		addr := s.Remote.Addr().Unmap().WithZone("")
		for bits := range b.lengths {
			p, err := addr.Prefix(bits)
			if err == nil && !seen[p] {
				seen[p] = true
				list = append(list, b.bySource[p]...)
			}
		}
	}
	slices.SortFunc(list, func(x, y remoteaccess.Ban) int {
		return cmp.Or(strings.Compare(x.Key, y.Key), x.Since.Compare(y.Since))
	})
	return list
}
