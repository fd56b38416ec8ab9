package remoteaccess

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/allowlists"
)

// With is what counts beside the file.
type With struct {
	Decisions []Decision // made while the edge runs
	// Shut is the file of decisions that is damaged. Then only who is named, by the
	// file or a decision, may sign in.
	Shut string
}

// What one user may have at most, and has if nothing is said.
const (
	maxDevices     = 64
	defaultDevices = 8
)

// maxPatterns is how many sections of users with a star there may be: each is looked
// at for each sign-in.
const maxPatterns = 256

// compiler gathers what becomes Access, and the faults on the way.
type compiler struct {
	file     string
	a        *Access
	dns      map[string]string // which group has a DN
	problems []allowlists.Problem
}

// Compile makes Access of the file; own are our domains. With errors, each an
// allowlists.Problem with its line and all of them at once, there is no Access. A
// decision that is at fault is no error but a warning.
func Compile(f File, own []string, with With) (*Access, []error) {
	if f.File == "" {
		f.File = "remote.toml"
	}
	c := &compiler{file: f.File, dns: make(map[string]string), a: &Access{
		own: make(map[string]bool), exact: make(map[string]*entry), decided: make(map[string]*entry),
		byDN: make(map[string]int), ldap: f.LDAP, guard: f.Guard,
	}}
	for _, domain := range own { // whether they are well-formed is checked where they are written
		if d, err := allowlists.NormalDomain(domain); err == nil {
			c.a.own[d] = true
		}
	}
	c.standing(f, with)
	for _, name := range allowlists.ByLine(f.Groups, func(g GroupConfig) int { return g.Line }) {
		c.group(name, f.Groups[name], f.LDAP)
	}
	for _, name := range allowlists.ByLine(f.Users, func(u UserConfig) int { return u.Line }) {
		c.user(name, f.Users[name])
	}
	c.bounds(f)
	if f.LDAP.used() {
		for _, err := range f.LDAP.check() {
			c.fault(f.LDAP.Line, "[ldap]: %v", err)
		}
	}
	for _, err := range f.Guard.Check() {
		c.fault(f.Guard.Line, "[guard]: %v", err)
	}
	if c.problems != nil {
		return nil, allowlists.InOrder(c.problems)
	}
	slices.SortStableFunc(c.a.patterns, func(a, b *entry) int { return allowlists.MostLiteral(a.pattern, b.pattern) })
	c.decisions(with.Decisions)
	c.lint(f)
	return c.a, nil
}

func (c *compiler) fault(line int, format string, args ...any) {
	c.problems = append(c.problems, allowlists.Problem{File: c.file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// standing makes the entries that take everybody.
func (c *compiler) standing(f File, with With) {
	s := c.says("[default]", f.Default)
	s.allow = max(s.allow, no)
	s.federation, s.bridges = cmp.Or(s.federation, yes), cmp.Or(s.bridges, yes)
	s.kinds, s.devices = cmp.Or(s.kinds, AllKinds), cmp.Or(s.devices, defaultDevices)
	rule := allowlists.Rule{Name: "default", File: c.file, Line: f.Default.Line}
	if f.Absent {
		rule = allowlists.Rule{Name: noFile}
	}
	c.a.fallback = &entry{rule: rule, name: "default", says: s}
	c.a.odd = &entry{rule: allowlists.Rule{Name: "a user with parameters, escapes or letters beyond ASCII that no section names", File: c.file}, says: says{allow: no}}
	if with.Shut != "" {
		c.a.shut = &entry{rule: allowlists.Rule{Name: "damaged decisions", File: with.Shut}, says: says{allow: no}}
	}
}

// says reads what a section says.
func (c *compiler) says(where string, r Rules) says {
	s := says{allow: choiceOf(r.Allow), federation: choiceOf(r.Federation), bridges: choiceOf(r.Bridges), devices: r.Devices}
	if r.Devices < 0 || r.Devices > maxDevices {
		c.fault(r.Line, "%s: devices must be 1 to %d, not %d", where, maxDevices, r.Devices)
	}
	if r.Kinds != nil && len(r.Kinds) == 0 {
		c.fault(r.Line, "%s: kinds is empty; leave it out for everything", where)
	}
	for _, name := range r.Kinds {
		kind, ok := allowlists.ParseKind(name)
		switch {
		case !ok:
			c.fault(r.Line, `%s: kinds %q is none of "im", "presence", "calls", "files"`, where, name)
		case s.kinds&kind != 0:
			c.fault(r.Line, "%s: kinds has %q twice", where, name)
		}
		s.kinds |= kind
	}
	return s
}

// pattern reads one pattern of users, as a fault if it is none of ours.
func (c *compiler) pattern(line int, where, text string) *allowlists.Pattern {
	p, err := allowlists.NewPattern(text)
	switch {
	case err != nil:
		c.fault(line, "%s %q: %v", where, text, err)
		return nil
	case p.Domain() != "" && !c.a.own[p.Domain()]:
		c.fault(line, "%s %q: %s is no domain of ours", where, text, allowlists.UnicodeDomain(p.Domain()))
		return nil
	}
	return p
}

// group reads one [group.NAME].
func (c *compiler) group(name string, g GroupConfig, l LDAPConfig) {
	where := fmt.Sprintf("group %q", name)
	e := &entry{rule: allowlists.Rule{Name: "group " + allowlists.OneLine(name), File: c.file, Line: g.Line}, name: name, note: g.Note, says: c.says(where, g.Rules)}
	if g.DN == "" && len(g.Members) == 0 {
		c.fault(g.Line, "%s has nobody in it: it needs dn, members, or both", where)
	} else if g.Members != nil && len(g.Members) == 0 {
		c.fault(g.Line, "%s: members is empty; leave it out", where)
	}
	if g.DN != "" {
		c.dn(where, e, g, l)
	}
	var members []string
	for _, text := range g.Members {
		if p := c.pattern(g.Line, where+": members", text); p != nil {
			members = append(members, p.String())
			if p.Exact() && p.Domain() != "" {
				e.named = append(e.named, p.String())
			}
		}
	}
	if len(members) > 0 {
		users, errs := allowlists.NewUsers("members", members)
		for _, err := range errs {
			c.fault(g.Line, "%s: %v", where, err)
		}
		e.members = users
	}
	c.a.groups = append(c.a.groups, e)
}

// dn notes which group of the directory an entry is.
func (c *compiler) dn(where string, e *entry, g GroupConfig, l LDAPConfig) {
	dn, err := canonicalDN(g.DN)
	switch {
	case err != nil:
		c.fault(g.Line, "%s: dn %q: %v", where, g.DN, err)
		return
	case !l.used():
		c.fault(g.Line, "%s has a dn, and there is no [ldap] to ask who is in it", where)
	}
	if first, ok := c.dns[dn]; ok {
		c.fault(g.Line, "%s has the same dn as group %q", where, first)
		return
	}
	c.dns[dn], c.a.byDN[dn], e.dn = e.name, len(c.a.groups), dn
}

// user reads one [user."ADDRESS"].
func (c *compiler) user(text string, u UserConfig) {
	s := c.says(fmt.Sprintf("user %q", text), u.Rules)
	p := c.pattern(u.Line, "user", text)
	if p == nil {
		return
	}
	e := &entry{rule: allowlists.Rule{Name: "user " + p.String(), File: c.file, Line: u.Line}, name: p.String(), pattern: p, note: u.Note, says: s}
	first := c.a.exact[p.Key()]
	if !p.Exact() {
		if i := slices.IndexFunc(c.a.patterns, func(o *entry) bool { return o.pattern.Key() == p.Key() }); i >= 0 {
			first = c.a.patterns[i]
		}
	}
	switch {
	case first != nil:
		c.fault(u.Line, "user %q is the same as in line %d: %s", text, first.rule.Line, p)
	case p.Exact():
		c.a.exact[p.Key()] = e
	default:
		c.a.patterns = append(c.a.patterns, e)
	}
}

// bounds checks how many there are of what each sign-in looks at.
func (c *compiler) bounds(f File) {
	if len(f.Groups) > maxGroups {
		c.fault(0, "%d groups; more than %d would slow every sign-in down", len(f.Groups), maxGroups)
	}
	if n := len(c.a.patterns); n > maxPatterns {
		c.fault(0, "%d users with a star; more than %d would slow every sign-in down", n, maxPatterns)
	}
}

// decisions puts in what was decided while the edge ran. The file wins where it
// names the user and says whether he may.
func (c *compiler) decisions(list []Decision) {
	for _, d := range list {
		p, err := allowlists.NewPattern(d.User)
		switch {
		case err != nil || !p.Exact() || p.Domain() == "":
			c.notice(d, "is not understood")
			continue
		case !c.a.own[p.Domain()]:
			c.notice(d, "is about a domain that is not ours, and not in force")
			continue
		}
		for _, key := range []string{p.Key(), strings.TrimSuffix(p.Key(), p.Domain())} {
			if e := c.a.exact[key]; e != nil && e.allow != silent {
				c.warn(e.rule.Line, "conflict: %s and the decision to %s (%s); the file wins", e.rule.Name, d.verb(), allowlists.Origin(d.By, d.At))
				break
			}
		}
		e := &entry{rule: allowlists.Rule{Name: "user " + p.String(), File: allowlists.Origin(d.By, d.At)}, name: p.String(), pattern: p, note: d.Note, says: says{allow: choiceOf(&d.Allow)}}
		c.a.decided[p.Key()] = e
	}
}

func (d Decision) verb() string {
	if d.Allow {
		return "allow"
	}
	return "deny"
}

// notice warns of a decision.
func (c *compiler) notice(d Decision, text string) {
	c.a.warnings = append(c.a.warnings, allowlists.Problem{File: "decisions",
		Text: fmt.Sprintf("the decision to %s %s (%s) %s", d.verb(), allowlists.OneLine(d.User), allowlists.Origin(d.By, d.At), text)})
}

func (c *compiler) warn(line int, format string, args ...any) {
	c.a.warnings = append(c.a.warnings, allowlists.Problem{File: c.file, Line: line, Text: fmt.Sprintf(format, args...)})
}
