// Package remoteaccess lets our own users in from outside (RFC 5626 §5).
//
// It says who may sign in there and what they may do then: remote.toml, what
// administrators decide beside it, and the groups of a directory. It does not
// check passwords: the registrar does. Nor does it know connections or messages on
// their way: the edge has those, and asks.
package remoteaccess

import (
	"slices"

	"github.com/sipedge/sipedge/allowlists"
)

// Access is who may sign in from outside: an immutable snapshot of remote.toml and
// of what was decided beside it. It is safe for concurrent use. A nil or zero Access
// lets nobody in.
type Access struct {
	own      map[string]bool   // our domains
	exact    map[string]*entry // by the key of the pattern
	decided  map[string]*entry // by the same; of decisions
	patterns []*entry          // with stars; the most literal first
	groups   []*entry          // in the order of the file
	byDN     map[string]int    // places in groups, by canonical DN
	fallback *entry            // [default], complete
	odd      *entry            // refuses names that may be somebody else's
	shut     *entry            // refuses whom no section and no decision names; nil: decisions are whole
	ldap     LDAPConfig
	guard    GuardConfig
	warnings []allowlists.Problem
}

// An entry is one section, compiled: what it says, and of whom.
type entry struct {
	rule    allowlists.Rule
	name    string
	pattern *allowlists.Pattern // of a user's section
	dn      string              // of a group: canonical
	members *allowlists.Users   // of a group; nil: nobody
	named   []string            // of members, those without a star
	note    string
	says
}

// says is what a section says. The zero says is silent.
type says struct {
	allow, federation, bridges choice
	kinds                      allowlists.Kinds // 0: not said
	devices                    int              // 0: not said
}

// A choice is what is said to a question of yes or no.
type choice int8

const (
	silent choice = iota
	no
	yes
)

func choiceOf(b *bool) choice {
	switch {
	case b == nil:
		return silent
	case *b:
		return yes
	}
	return no
}

// AllKinds is what may pass where nothing is said: also what has no name.
const AllKinds = allowlists.KindIM | allowlists.KindPresence | allowlists.KindCalls | allowlists.KindFiles | allowlists.KindOther

// Terms is what goes for one user outside. The zero Terms refuse.
type Terms struct {
	Allow      bool
	Kinds      allowlists.Kinds // that may pass
	Federation bool             // with partners
	Bridges    bool             // with public networks
	Devices    int              // that may be signed in at a time
	Rule       allowlists.Rule  // what decided Allow

	KindsRule, FederationRule, BridgesRule, DevicesRule allowlists.Rule // what decided those
}

// maxGroups is how many groups there may be: each is looked at for each sign-in.
const maxGroups = 256

// maxUser is how many octets the name of a user may have in normal form.
const maxUser = allowlists.MaxUser

// Terms returns what goes for a user. The user is as it is on the wire, the domain
// in normal form, groups are DNs as [Directory.Groups] returns them. It allocates
// nothing.
func (a *Access) Terms(user, domain []byte, groups []string) Terms {
	var f finding
	if rule := a.judge(&f, user, domain, groups); rule != nil {
		return Terms{Rule: *rule}
	}
	return Terms{
		Allow: f.allow == yes, Kinds: f.kinds, Federation: f.federation == yes, Bridges: f.bridges == yes,
		Devices: f.devices, Rule: f.by[keyAllow].rule,
		KindsRule: f.by[keyKinds].rule, FederationRule: f.by[keyFederation].rule, BridgesRule: f.by[keyBridges].rule, DevicesRule: f.by[keyDevices].rule,
	}
}

// AsksGroups reports whether there are groups of the directory, so that it must be
// asked before Terms can be, at least for some.
func (a *Access) AsksGroups() bool { return a != nil && len(a.byDN) > 0 }

// AsksGroupsOf reports whether it makes a difference for a user in which groups of
// the directory he is. Of one who may not in any case, or of whom all is said, the
// directory need not be asked, and it does not matter whether it is away.
func (a *Access) AsksGroupsOf(user, domain []byte) bool {
	if !a.AsksGroups() {
		return false
	}
	var f finding
	var room [maxUser + 1 + 255]byte
	name, rule := a.narrow(&f, &room, user, domain)
	if rule != nil {
		return false
	}
	f.takePatterns(a.patterns, name, domain)
	for _, e := range a.groups {
		switch {
		case f.allow == no:
			return false
		case e.has(user, domain):
			f.take(e)
		case e.dn != "" && f.lacks(&e.says):
			return true
		}
	}
	return false
}

// Len returns how many sections of users there are, and of groups.
func (a *Access) Len() (users, groups int) {
	if a == nil {
		return 0, 0
	}
	return len(a.exact) + len(a.patterns), len(a.groups)
}

// Warnings returns what the administrator should know about a file that works, by
// line.
func (a *Access) Warnings() []allowlists.Problem {
	if a == nil {
		return nil
	}
	return slices.Clone(a.warnings)
}

// What sections say something about.
const (
	keyAllow = iota
	keyKinds
	keyFederation
	keyBridges
	keyDevices
	keys
)

// A finding is what several sections say of one user, and which said it.
type finding struct {
	says
	by [keys]*entry
}

// take fills in what e says and nobody said before.
func (f *finding) take(e *entry) {
	if f.allow == silent && e.allow != silent {
		f.allow, f.by[keyAllow] = e.allow, e
	}
	if f.kinds == 0 && e.kinds != 0 {
		f.kinds, f.by[keyKinds] = e.kinds, e
	}
	if f.federation == silent && e.federation != silent {
		f.federation, f.by[keyFederation] = e.federation, e
	}
	if f.bridges == silent && e.bridges != silent {
		f.bridges, f.by[keyBridges] = e.bridges, e
	}
	if f.devices == 0 && e.devices != 0 {
		f.devices, f.by[keyDevices] = e.devices, e
	}
}

// lacks reports whether s says something that nobody said before.
func (f *finding) lacks(s *says) bool {
	return f.allow == silent && s.allow != silent || f.kinds == 0 && s.kinds != 0 || f.devices == 0 && s.devices != 0 ||
		f.federation == silent && s.federation != silent || f.bridges == silent && s.bridges != silent
}

func (f *finding) takePatterns(patterns []*entry, name, domain []byte) {
	for _, e := range patterns {
		if e.pattern.Match(name, domain) {
			f.take(e)
		}
	}
}

// has reports whether a group names the user among its members.
func (e *entry) has(user, domain []byte) bool {
	return e.members != nil && e.members.Match(allowlists.Address{User: user, Domain: domain})
}

// judge finds what is said of a user. A rule that is returned refuses whatever else
// is said.
func (a *Access) judge(f *finding, user, domain []byte, groups []string) *allowlists.Rule {
	var room [maxUser + 1 + 255]byte
	name, rule := a.narrow(f, &room, user, domain)
	if rule != nil {
		return rule
	}
	f.takePatterns(a.patterns, name, domain)
	var in [maxGroups]bool
	for _, dn := range groups {
		if i, ok := a.byDN[dn]; ok {
			in[i] = true
		}
	}
	for i, e := range a.groups {
		if in[i] || e.has(user, domain) {
			f.take(e)
		}
	}
	f.take(a.fallback)
	return nil
}

// narrow takes what is said of this user alone, and what goes before all that is said
// of more than one. The name is the user in the form in which it is compared.
func (a *Access) narrow(f *finding, room *[maxUser + 1 + 255]byte, user, domain []byte) (name []byte, refused *allowlists.Rule) {
	if a == nil || a.fallback == nil {
		return nil, &allowlists.Rule{Name: noFile}
	}
	name, ok := allowlists.AppendUser(room[:0:maxUser], user)
	switch {
	case !ok || len(name) == 0:
		return nil, &allowlists.Rule{Name: "no user"}
	case string(name) == anonymous || string(domain) == anonymousDomain:
		return nil, &allowlists.Rule{Name: "nobody is anonymous outside"}
	case !a.own[string(domain)]:
		return nil, &allowlists.Rule{Name: "not a domain of ours"}
	}
	full := append(append(room[:len(name)], '@'), domain...)
	for _, e := range [...]*entry{a.exact[string(full)], a.exact[string(full[:len(name)+1])], a.decided[string(full)]} {
		if e != nil {
			f.take(e)
		}
	}
	if allowlists.OddUser(name) {
		f.take(a.odd)
	}
	if a.shut != nil {
		f.take(a.shut)
	}
	return name, nil
}

// Nobody has these names: they stand for those who do not say who they are
// (RFC 3261 §8.1.1.3, RFC 3323 §4.1.1.3).
const (
	anonymous       = "anonymous"
	anonymousDomain = "anonymous.invalid"
)

// noFile is the rule that refuses where there is no file.
const noFile = "no remote.toml"

// Guard returns what is to be done about those who guess; without a file the defaults.
func (a *Access) Guard() GuardConfig {
	if a == nil {
		return GuardConfig{}
	}
	return a.guard
}
