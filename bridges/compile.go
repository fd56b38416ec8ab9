package bridges

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/allowlists"
)

// With is what counts beside the file.
type With struct {
	Decisions []Decision // made while the edge runs
	// Shut is the file of decisions that is damaged. Then only who is named, by the
	// file or a decision, may use a bridge.
	Shut string
}

// Bounds of the file.
const (
	maxPatterns = 256 // sections of users with a star: each is looked at for each request
	maxAccounts = 1000
)

// compiler gathers what becomes a Policy, and the faults on the way.
type compiler struct {
	file     string
	dir      string
	p        *Policy
	problems []allowlists.Problem
}

// Compile makes a Policy of the file; own are our domains. With errors, each an
// allowlists.Problem with its line and all of them at once, there is no Policy. A
// decision that is at fault is no error but a warning.
func Compile(f File, own []string, with With) (*Policy, []error) {
	c := &compiler{file: cmp.Or(f.File, "bridges.toml"), dir: f.Dir, p: &Policy{
		own: make(map[string]bool), exact: make(map[string]*entry), decided: make(map[string]*entry),
	}}
	for _, domain := range own { // whether they are well-formed is checked where they are written
		if d, err := allowlists.NormalDomain(domain); err == nil {
			c.p.own[d] = true
		}
	}
	c.standing(f, with)
	for _, name := range allowlists.ByLine(f.Users, func(u UserConfig) int { return u.Line }) {
		c.user(name, f.Users[name])
	}
	for _, name := range allowlists.ByLine(f.Accounts, func(a AccountConfig) int { return a.Line }) {
		c.account(name, f.Accounts[name])
	}
	c.bounds()
	if c.problems != nil {
		return nil, allowlists.InOrder(c.problems)
	}
	slices.SortStableFunc(c.p.patterns, func(a, b *entry) int { return allowlists.MostLiteral(a.pattern, b.pattern) })
	slices.SortStableFunc(c.p.accounts, func(a, b Account) int { return strings.Compare(a.User, b.User) })
	c.decisions(with.Decisions)
	c.lint(f)
	return c.p, nil
}

func (c *compiler) fault(line int, format string, args ...any) {
	c.problems = append(c.problems, allowlists.Problem{File: c.file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// standing makes the entries that take everybody.
func (c *compiler) standing(f File, with With) {
	nobody := [2]says{{no: allNetworks}, {no: allNetworks}}
	s := c.says("[default]", f.Default)
	for d := range s {
		s[d].no = allNetworks &^ s[d].yes
	}
	rule := allowlists.Rule{Name: "default", File: c.file, Line: f.Default.Line}
	if f.Absent {
		rule = allowlists.Rule{Name: noFile}
	}
	c.p.fallback = &entry{rule: rule, name: "default", says: s}
	c.p.odd = &entry{rule: allowlists.Rule{Name: "a user with parameters, escapes or letters beyond ASCII that no section names", File: c.file}, says: nobody}
	if with.Shut != "" {
		c.p.shut = &entry{rule: allowlists.Rule{Name: "damaged decisions", File: with.Shut}, says: nobody}
	}
}

// says reads what a section says. A list says yes to what is in it, and no to all
// else.
func (c *compiler) says(where string, r Rules) (s [2]says) {
	for d, list := range [2][]string{allowlists.In: r.Inbound, allowlists.Out: r.Outbound} {
		if list == nil {
			continue
		}
		key := [2]string{allowlists.In: "inbound", allowlists.Out: "outbound"}[d]
		for _, name := range list {
			n := networkOf(name)
			switch {
			case n == 0:
				c.fault(r.Line, "%s: %s %q is no network; there is \"%s\"", where, key, name, strings.Join(Networks[:], `", "`))
			case s[d].yes&n != 0:
				c.fault(r.Line, "%s: %s has %q twice", where, key, name)
			}
			s[d].yes |= n
		}
		s[d].no = allNetworks &^ s[d].yes
	}
	return s
}

// pattern reads one pattern of users; nil if it is none of ours, which is a fault.
func (c *compiler) pattern(line int, where, text string) *allowlists.Pattern {
	p, err := allowlists.NewPattern(text)
	switch {
	case err != nil:
		c.fault(line, "%s %q: %v", where, text, err)
		return nil
	case p.Domain() != "" && !c.p.own[p.Domain()]:
		c.fault(line, "%s %q: %s is no domain of ours", where, text, allowlists.UnicodeDomain(p.Domain()))
		return nil
	}
	return p
}

// user reads one [user."ADDRESS"].
func (c *compiler) user(text string, u UserConfig) {
	s := c.says(fmt.Sprintf("user %q", text), u.Rules)
	p := c.pattern(u.Line, "user", text)
	if p == nil {
		return
	}
	e := &entry{rule: allowlists.Rule{Name: "user " + p.String(), File: c.file, Line: u.Line}, name: p.String(), pattern: p, note: u.Note, says: s}
	first := c.p.exact[p.Key()]
	if !p.Exact() {
		if i := slices.IndexFunc(c.p.patterns, func(o *entry) bool { return o.pattern.Key() == p.Key() }); i >= 0 {
			first = c.p.patterns[i]
		}
	}
	switch {
	case first != nil:
		c.fault(u.Line, "user %q is the same as in line %d: %s", text, first.rule.Line, p)
	case p.Exact():
		c.p.exact[p.Key()] = e
	default:
		c.p.patterns = append(c.p.patterns, e)
	}
}

// account reads one [account."ADDRESS"].
func (c *compiler) account(text string, a AccountConfig) {
	where := fmt.Sprintf("account %q", text)
	p := c.pattern(a.Line, "account", text)
	if p != nil && (!p.Exact() || p.Domain() == "") {
		c.fault(a.Line, "%s is one user's: write it as user@domain", where)
		return
	}
	switch {
	case a.Network == "":
		c.fault(a.Line, "%s: network is missing; there is \"%s\"", where, strings.Join(Networks[:], `", "`))
	case networkOf(a.Network) == 0:
		c.fault(a.Line, "%s: network %q is no network; there is \"%s\"", where, a.Network, strings.Join(Networks[:], `", "`))
	}
	if user, domain, ok := strings.Cut(a.JID, "@"); !ok || user == "" || domain == "" {
		c.fault(a.Line, "%s: jid %q is no address of an account, like \"alice@jabber.example\"", where, a.JID)
	}
	if a.PasswordFile == "" {
		c.fault(a.Line, "%s: password_file is missing", where)
	}
	if p == nil {
		return
	}
	if i := slices.IndexFunc(c.p.accounts, func(o Account) bool { return o.User == p.String() && o.Network == a.Network }); i >= 0 {
		c.fault(a.Line, "%s is the same user as in line %d", where, c.p.accounts[i].Rule.Line)
		return
	}
	file := a.PasswordFile
	if !filepath.IsAbs(file) {
		file = filepath.Join(c.dir, file)
	}
	c.p.accounts = append(c.p.accounts, Account{
		User: p.String(), Network: a.Network, JID: a.JID, PasswordFile: file, Server: a.Server, Mechanism: a.Mechanism, Note: a.Note,
		Rule: allowlists.Rule{Name: "account " + p.String(), File: c.file, Line: a.Line},
	})
}

// bounds checks how many there are of what is bounded.
func (c *compiler) bounds() {
	if n := len(c.p.patterns); n > maxPatterns {
		c.fault(0, "%d users with a star; more than %d would slow every request down", n, maxPatterns)
	}
	if n := len(c.p.accounts); n > maxAccounts {
		c.fault(0, "%d accounts; there may be %d, since each is a connection of its own", n, maxAccounts)
	}
}

// decisions puts in what was decided while the edge ran. The file wins where it
// names the user.
func (c *compiler) decisions(list []Decision) {
	for _, d := range list {
		p, err := allowlists.NewPattern(d.User)
		n := networkOf(d.Network)
		switch {
		case err != nil || !p.Exact() || p.Domain() == "" || n == 0:
			c.notice(d, "is not understood")
			continue
		case !c.p.own[p.Domain()]:
			c.notice(d, "is about a domain that is not ours, and not in force")
			continue
		}
		c.conflicts(d, p, n)
		e := c.p.decided[p.Key()]
		if e == nil {
			e = &entry{rule: allowlists.Rule{Name: "user " + p.String(), File: allowlists.Origin(d.By, d.At)}, name: p.String(), pattern: p, note: d.Note}
			c.p.decided[p.Key()] = e
		}
		for dir, may := range d.ways() {
			switch {
			case may == nil:
			case *may:
				e.says[dir].yes |= n
			default:
				e.says[dir].no |= n
			}
		}
	}
}

// conflicts warns where the file says something else than a decision, or the same.
func (c *compiler) conflicts(d Decision, p *allowlists.Pattern, n networks) {
	for _, key := range []string{p.Key(), strings.TrimSuffix(p.Key(), p.Domain())} {
		e := c.p.exact[key]
		if e == nil {
			continue
		}
		for dir, may := range d.ways() {
			if may != nil && (e.says[dir].yes|e.says[dir].no)&n != 0 {
				c.warn(e.rule.Line, "conflict: %s and the decision to %s (%s); the file wins", e.rule.Name, d.verb(), allowlists.Origin(d.By, d.At))
				return
			}
		}
	}
}

// notice warns of a decision.
func (c *compiler) notice(d Decision, text string) {
	c.p.warnings = append(c.p.warnings, allowlists.Problem{File: "decisions",
		Text: fmt.Sprintf("the decision to %s for %s (%s) %s", d.verb(), allowlists.OneLine(d.User), allowlists.Origin(d.By, d.At), text)})
}

func (c *compiler) warn(line int, format string, args ...any) {
	c.p.warnings = append(c.p.warnings, allowlists.Problem{File: c.file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// lint notes what works and is likely not meant.
func (c *compiler) lint(f File) {
	for _, list := range [][]*entry{inFileOrder(c.p.exact), c.p.patterns} {
		for _, e := range list {
			if e.says == ([2]says{}) {
				c.warn(e.rule.Line, "%s does nothing: it has no rules", e.rule.Name)
			}
		}
	}
	if c.p.fallback.says[allowlists.In].yes != 0 {
		c.warn(f.Default.Line, "[default]: inbound: every user of our domains may be written to by anybody there, and every name may be tried")
	}
	for _, a := range c.p.accounts {
		if !c.p.May(a.User, a.Network, true).Allowed() && !c.p.May(a.User, a.Network, false).Allowed() {
			c.warn(a.Rule.Line, "%s does nothing: its user may not use %s", a.Rule.Name, a.Network)
		}
	}
	if !f.Absent && !c.anybody() {
		c.warn(0, "nobody may use a bridge: nothing in the file allows it")
	}
	slices.SortStableFunc(c.p.warnings, func(a, b allowlists.Problem) int { return cmp.Compare(a.Line, b.Line) })
}

// anybody reports whether anything lets somebody use a network.
func (c *compiler) anybody() bool {
	may := func(e *entry) bool { return e.says[0].yes|e.says[1].yes != 0 }
	return may(c.p.fallback) || slices.ContainsFunc(c.p.patterns, may) ||
		slices.ContainsFunc(inFileOrder(c.p.exact), may) || slices.ContainsFunc(inFileOrder(c.p.decided), may)
}
