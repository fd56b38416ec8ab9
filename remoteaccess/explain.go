package remoteaccess

import (
	"strconv"
	"strings"

	"github.com/sipedge/sipedge/allowlists"
)

// A Said is what is said to one question about a user, and which rule said it.
type Said struct {
	Key   string // "allow", "kinds", "federation", "bridges", "devices"
	Value string // as it is written in the file
	Rule  allowlists.Rule
}

// Explain returns what goes for a user, key by key, and why. Its parameters are
// those of Terms. Where a rule refuses before anything is said it is all there is.
func (a *Access) Explain(user, domain []byte, groups []string) []Said {
	var f finding
	if rule := a.judge(&f, user, domain, groups); rule != nil {
		return []Said{{Key: "allow", Value: "false", Rule: *rule}}
	}
	return []Said{
		{"allow", strconv.FormatBool(f.allow == yes), f.by[keyAllow].rule},
		{"kinds", kindsText(f.kinds), f.by[keyKinds].rule},
		{"federation", strconv.FormatBool(f.federation == yes), f.by[keyFederation].rule},
		{"bridges", strconv.FormatBool(f.bridges == yes), f.by[keyBridges].rule},
		{"devices", strconv.Itoa(f.devices), f.by[keyDevices].rule},
	}
}

// kindsText lists kinds as the file does; "all" is what no list says.
func kindsText(k allowlists.Kinds) string {
	if k == AllKinds {
		return "all"
	}
	return strings.ReplaceAll(k.String(), "+", ", ")
}

// An Entry is one section or decision, for those who list them.
type Entry struct {
	Kind string // "user", "pattern", "group", "decision", "default"
	Name string // the address, pattern or group
	DN   string // of a group, as it is compared
	// Members are those of a group that have their whole address there.
	Members []string
	Said    []Said // what it says, and nothing of what it leaves out
	Note    string // of the administrator
	Rule    allowlists.Rule
}

// Entries returns all sections and decisions in the order in which they count: users,
// decisions, patterns, groups, the default.
func (a *Access) Entries() []Entry {
	if a == nil || a.fallback == nil {
		return nil
	}
	var list []Entry
	add := func(kind string, entries ...*entry) {
		for _, e := range entries {
			list = append(list, Entry{Kind: kind, Name: e.name, DN: e.dn, Members: e.named, Said: e.said(), Note: e.note, Rule: e.rule})
		}
	}
	add("user", sortedEntries(a.exact)...)
	add("decision", sortedEntries(a.decided)...)
	add("pattern", a.patterns...)
	add("group", a.groups...)
	add("default", a.fallback)
	return list
}

// said lists what a section says.
func (e *entry) said() (list []Said) {
	add := func(key, value string) { list = append(list, Said{key, value, e.rule}) }
	if e.allow != silent {
		add("allow", strconv.FormatBool(e.allow == yes))
	}
	if e.kinds != 0 {
		add("kinds", kindsText(e.kinds))
	}
	if e.federation != silent {
		add("federation", strconv.FormatBool(e.federation == yes))
	}
	if e.bridges != silent {
		add("bridges", strconv.FormatBool(e.bridges == yes))
	}
	if e.devices != 0 {
		add("devices", strconv.Itoa(e.devices))
	}
	return list
}

// Member names the groups, as remote.toml does, of those that Groups of the directory
// returned, and those whose members take the user.
func (a *Access) Member(user, domain []byte, groups []string) (names []string) {
	if a == nil {
		return nil
	}
	in := make(map[string]bool, len(groups))
	for _, dn := range groups {
		in[dn] = true
	}
	for _, e := range a.groups {
		if e.dn != "" && in[e.dn] || e.members != nil && e.members.Match(allowlists.Address{User: user, Domain: domain}) {
			names = append(names, e.name)
		}
	}
	return names
}
