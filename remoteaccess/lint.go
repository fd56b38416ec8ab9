package remoteaccess

import (
	"cmp"
	"slices"

	"github.com/sipedge/sipedge/allowlists"
)

// lint notes what works and is likely not meant.
func (c *compiler) lint(f File) {
	if c.a.fallback.allow == yes {
		c.warn(f.Default.Line, "[default]: allow = true: every user of our domains may sign in from outside, and every name may be tried")
	}
	for _, e := range c.a.groups {
		if e.says == (says{}) {
			c.warn(e.rule.Line, "%s does nothing: it has no rules", e.rule.Name)
		}
	}
	for _, list := range [][]*entry{sortedEntries(c.a.exact), c.a.patterns} {
		for _, e := range list {
			c.lintUser(e)
		}
	}
	if f.LDAP.used() {
		c.lintLDAP(f.LDAP)
	}
	if !f.Absent && !c.anybody() {
		c.warn(0, "nobody may sign in from outside: nothing in the file says allow = true")
	}
	slices.SortStableFunc(c.a.warnings, func(a, b allowlists.Problem) int { return cmp.Compare(a.Line, b.Line) })
}

// lintUser looks at one section of a user.
func (c *compiler) lintUser(e *entry) {
	user, _, _ := allowlists.ParsePattern(e.pattern.String())
	switch {
	case e.says == (says{}):
		c.warn(e.rule.Line, "%s does nothing: it has no rules", e.rule.Name)
	case e.pattern.Exact() && user == anonymous || e.pattern.Domain() == anonymousDomain:
		c.warn(e.rule.Line, "%s does nothing: nobody is anonymous outside", e.rule.Name)
	case e.allow == no && (e.kinds != 0 || e.federation != silent || e.bridges != silent || e.devices != 0):
		c.warn(e.rule.Line, "%s: with allow = false the other keys do nothing", e.rule.Name)
	}
}

// lintLDAP looks at [ldap].
func (c *compiler) lintLDAP(l LDAPConfig) {
	if len(c.a.byDN) == 0 {
		c.warn(l.Line, "[ldap] does nothing: no group has a dn")
	}
	if l.Plain {
		c.warn(l.Line, "[ldap]: plain = true: passwords and answers go over the network in the clear")
	}
	if l.GroupFilter != "" || l.Nested {
		if l.Attribute != "" {
			c.warn(l.Line, "[ldap]: attribute does nothing: groups are searched for")
		}
	} else if l.GroupBase != "" {
		c.warn(l.Line, "[ldap]: group_base does nothing without group_filter or nested")
	}
}

// anybody reports whether anything says that somebody may sign in.
func (c *compiler) anybody() bool {
	may := func(e *entry) bool { return e.allow == yes }
	return may(c.a.fallback) || slices.ContainsFunc(c.a.groups, may) || slices.ContainsFunc(c.a.patterns, may) ||
		slices.ContainsFunc(sortedEntries(c.a.exact), may) || slices.ContainsFunc(sortedEntries(c.a.decided), may)
}

// sortedEntries returns entries in the order of the file.
func sortedEntries(m map[string]*entry) []*entry {
	list := make([]*entry, 0, len(m))
	for _, e := range m {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.rule.Line, b.rule.Line), cmp.Compare(a.name, b.name))
	})
	return list
}
