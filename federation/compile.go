package federation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
)

// compiler gathers what becomes Partners, and the faults on the way.
type compiler struct {
	file     string
	own      map[string]allowlists.Verdict
	entries  []allowlists.Entry
	known    []partner
	problems []allowlists.Problem
	terms    map[string]*terms // by what they say
	unlisted *terms            // of those in no list; nil: refused
}

// With is what counts beside the file.
type With struct {
	Decisions []Decision // made while the edge runs; the file wins
	Now       time.Time  // for entries with an end date
}

// Compile makes Partners of the file; own are our domains. With errors, each an
// allowlists.Problem with its line and all of them at once, there are no Partners.
func Compile(f File, own []string, with With) (*Partners, []error) {
	if f.File == "" {
		f.File = "partners.toml"
	}
	c := &compiler{file: f.File, own: make(map[string]allowlists.Verdict), terms: make(map[string]*terms)}
	c.ours(own)
	unlisted := c.section(f.Federation)
	for _, domain := range byLine(f.Partners, func(p PartnerConfig) int { return p.Line }) {
		c.partner(domain, f.Partners[domain])
	}
	for _, domain := range byLine(f.Blocked, func(b BlockedConfig) int { return b.Line }) {
		c.blocked(domain, f.Blocked[domain])
	}
	c.gather()
	lists, problems := allowlists.Compile(c.entries, unlisted)
	c.problems = append(c.problems, problems...)
	if c.problems != nil {
		return nil, inOrder(c.problems)
	}
	none := allowlists.Refusal(allowlists.IdentityNone, unlisted)
	return &Partners{lists: lists, known: c.known, own: c.own, none: none, names: namesOf(c.known), unlisted: c.unlisted}, nil
}

// byLine returns the names of a section's tables in the order of the file, so
// that the second of two equal entries is the one that is reported.
func byLine[T any](tables map[string]T, line func(T) int) []string {
	type table struct {
		name string
		line int
	}
	order := make([]table, 0, len(tables))
	for name, t := range tables {
		order = append(order, table{name, line(t)})
	}
	slices.SortFunc(order, func(a, b table) int {
		return cmp.Or(cmp.Compare(a.line, b.line), strings.Compare(a.name, b.name))
	})
	names := make([]string, len(order))
	for i, t := range order {
		names[i] = t.name
	}
	return names
}

func inOrder(problems []allowlists.Problem) []error {
	slices.SortStableFunc(problems, func(a, b allowlists.Problem) int { return cmp.Compare(a.Line, b.Line) })
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errs
}

func (c *compiler) fault(line int, format string, args ...any) {
	c.problems = append(c.problems, allowlists.Problem{File: c.file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// ours notes our own domains. That they are well-formed is checked where they
// are written, in sipedge.toml; one that is not can equal no From either.
func (c *compiler) ours(domains []string) {
	for _, d := range domains {
		if domain, err := Normal(d); err == nil {
			rule := allowlists.Rule{Name: "our own domain " + domain}
			c.own[domain] = allowlists.Refusal(allowlists.IdentityOwnDomain, rule)
		}
	}
}

// section reads [federation] and returns the Rule for domains that are not
// listed.
func (c *compiler) section(s Section) allowlists.Rule {
	line := cmp.Or(s.UnlistedLine, s.Line)
	switch s.Unlisted {
	case "", "refuse":
	case "discover":
		c.unlisted = &terms{policy: certs.UsageFederation}
	default:
		c.fault(line, `unlisted = %q in [federation] is none of "refuse", "discover"`, s.Unlisted)
	}
	return allowlists.Rule{Name: "[federation] unlisted", File: c.file, Line: line}
}

// gather puts the names of all entries side by side into one piece of memory,
// and lets domain and rule share theirs: with 100,000 partners, which of them a
// message is from is never in the processor's cache, and names that lie among
// what reading the file left behind take longest to come.
func (c *compiler) gather() {
	var all strings.Builder
	for _, e := range c.entries {
		all.WriteString(e.Rule.Name)
	}
	rest := all.String()
	for i := range c.entries {
		e := &c.entries[i]
		n := len(e.Rule.Name)
		e.Rule.Name, rest = rest[:n], rest[n:]
		e.Domain = e.Rule.Name[n-len(e.Domain):]
		c.known[i].domain = e.Domain
	}
}

// rulePrefix begins the names of partners' rules.
const rulePrefix = "partner "

// same returns one copy for all terms that are equal.
func (c *compiler) same(t *terms) *terms {
	key := fmt.Sprintf("%q %q %q %q %t %t", t.servers, t.hosts, t.peerName, t.policy, t.wildcard, t.cn)
	if have, ok := c.terms[key]; ok {
		return have
	}
	c.terms[key] = t
	return t
}

// partner reads one [partner."DOMAIN"].
func (c *compiler) partner(name string, p PartnerConfig) {
	before := len(c.problems)
	domain, err := Normal(name)
	if err != nil {
		c.fault(p.Line, "partner %q: %v", name, err)
	}
	if _, ok := c.own[domain]; ok {
		c.fault(p.Line, "partner %q is a domain of our own: it lives in a pool", name)
	}
	k := partner{domain, &terms{wildcard: p.AllowWildcard, cn: p.AllowCN}}
	c.usage(&k, name, p)
	c.servers(&k, name, p)
	if len(c.problems) > before {
		return
	}
	rule := allowlists.Rule{Name: rulePrefix + domain, File: c.file, Line: p.Line}
	k.terms = c.same(k.terms)
	c.known = append(c.known, k)
	c.entries = append(c.entries, allowlists.Entry{
		Domain: domain, Methods: p.Methods, Direction: p.Direction, Rule: rule,
	})
}

func (c *compiler) usage(k *partner, name string, p PartnerConfig) {
	k.policy = cmp.Or(certs.UsagePolicy(p.PeerUsage), certs.UsageFederation)
	if !k.policy.Valid() {
		c.fault(p.Line, `partner %q: peer_usage %q is none of "federation", "strict", "server"`, name, p.PeerUsage)
	}
}

// servers reads what makes a partner direct: servers, and the names that their
// certificates must prove.
func (c *compiler) servers(k *partner, name string, p PartnerConfig) {
	if p.Servers != nil && len(p.Servers) == 0 {
		c.fault(p.Line, "partner %q: servers is empty; leave it out to find them by DNS", name)
	}
	for _, s := range p.Servers {
		host, address, err := normalServer(s)
		if err != nil {
			c.fault(p.Line, "partner %q: server %q: %v", name, s, err)
			continue
		}
		k.servers = append(k.servers, address)
		if !slices.Contains(k.hosts, host) {
			k.hosts = append(k.hosts, host)
		}
	}
	if p.PeerName == "" {
		return
	}
	host, err := normalHost(p.PeerName)
	if err != nil {
		c.fault(p.Line, "partner %q: peer_name %q: %v", name, p.PeerName, err)
		return
	}
	if len(p.Servers) == 0 {
		c.fault(p.Line, "partner %q: peer_name needs servers; without them the certificate must name the domain", name)
	}
	k.peerName, k.hosts = host, []string{host}
}

// blocked reads one [blocked."DOMAIN"].
func (c *compiler) blocked(name string, b BlockedConfig) {
	domain, err := Normal(name)
	if err != nil {
		c.fault(b.Line, "blocked %q: %v", name, err)
		return
	}
	rule := allowlists.Rule{Name: "blocked " + domain, File: c.file, Line: b.Line}
	c.known = append(c.known, partner{domain, c.same(new(terms))})
	c.entries = append(c.entries, allowlists.Entry{Domain: domain, Blocked: true, Rule: rule})
}
