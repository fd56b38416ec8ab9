package federation

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/sipedge/sipedge/allowlists"
)

// compiler gathers what becomes Partners, and the faults on the way.
type compiler struct {
	file     string
	now      time.Time
	own      map[string]allowlists.Verdict
	entries  []allowlists.Entry
	known    []partner
	details  map[int]details
	problems []allowlists.Problem
	noticed  []allowlists.Problem
	shared   map[[sha256.Size]byte]*terms // by what they say
	upstream *terms                       // the way to the clearing house; nil: none
	unlisted *terms                       // of those in no list; nil: refused
	changes  time.Time                    // the next end date
	ended    time.Time                    // the last one that has passed
	kinds    bool
}

// With is what counts beside the file.
type With struct {
	Decisions []Decision // made while the edge runs; the file wins
	Now       time.Time  // for entries with an end date; zero: the machine's clock
}

// Compile makes Partners of the file; own are our domains. With errors, each an
// allowlists.Problem with its line and all of them at once, there are no Partners.
// A decision that is at fault is no error but a warning: what was decided while
// the edge ran must not keep it from starting.
func Compile(f File, own []string, with With) (*Partners, []error) {
	if f.File == "" {
		f.File = "partners.toml"
	}
	if with.Now.IsZero() {
		with.Now = time.Now() // without a clock nothing would ever end
	}
	c := &compiler{
		file: f.File, now: with.Now, own: make(map[string]allowlists.Verdict),
		details: make(map[int]details), shared: make(map[[sha256.Size]byte]*terms),
	}
	c.ours(own)
	unlisted := c.section(f.Federation)
	for _, domain := range allowlists.ByLine(f.Partners, func(p PartnerConfig) int { return p.Line }) {
		c.partner(domain, f.Partners[domain])
	}
	for _, domain := range allowlists.ByLine(f.Blocked, func(b BlockedConfig) int { return b.Line }) {
		c.blocked(domain, f.Blocked[domain])
	}
	c.decisions(with.Decisions)
	c.gather()
	lists, problems := allowlists.Compile(c.entries, unlisted)
	c.problems = append(c.problems, problems...)
	if c.problems != nil {
		return nil, allowlists.InOrder(c.problems)
	}
	p := &Partners{
		lists: lists, known: c.known, details: c.details, own: c.own, unlisted: c.unlisted, upstream: c.upstream,
		section: f.Federation, now: c.now, changes: c.changes, ended: c.ended, noticed: c.noticed, kinds: c.kinds,
		none: allowlists.Refusal(allowlists.IdentityNone, unlisted),
	}
	p.names = namesOf(p)
	return p, nil
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

// What the names of rules begin with.
const (
	rulePrefix    = "partner "
	blockedPrefix = "blocked "
)

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
	t, errs := c.terms(p)
	for _, err := range errs {
		c.fault(p.Line, "partner %q: %v", name, err)
	}
	if len(c.problems) == before {
		c.allow(domain, p, t, allowlists.Rule{Name: rulePrefix + domain, File: c.file, Line: p.Line})
	}
}

// allow puts an entry that allows in.
func (c *compiler) allow(domain string, p PartnerConfig, t *terms, rule allowlists.Rule) {
	k := partner{domain: domain, terms: t}
	if !p.Until.IsZero() {
		end := p.Until.End()
		k.expired = !c.now.Before(end)
		if k.expired && end.After(c.ended) {
			c.ended = end
		}
		if !k.expired && (c.changes.IsZero() || end.Before(c.changes)) {
			c.changes = end
		}
	}
	if d := (details{until: p.Until, owner: p.Owner, ticket: p.Ticket, note: p.Note}); d != (details{}) {
		c.details[len(c.entries)] = d
	}
	c.kinds = c.kinds || t.lists.AsksKinds()
	c.known = append(c.known, k)
	c.entries = append(c.entries, allowlists.Entry{Domain: domain, Terms: t.lists, Rule: rule})
}

// blocked reads one [blocked."DOMAIN"].
func (c *compiler) blocked(name string, b BlockedConfig) {
	domain, err := Normal(name)
	if err != nil {
		c.fault(b.Line, "blocked %q: %v", name, err)
		return
	}
	if _, ok := c.own[domain]; ok {
		c.fault(b.Line, "blocked %q is a domain of our own: nobody outside may speak for it anyhow", name)
		return
	}
	c.block(domain, b.Because, allowlists.Rule{Name: blockedPrefix + domain, File: c.file, Line: b.Line})
}

// block puts an entry that blocks in.
func (c *compiler) block(domain, because string, rule allowlists.Rule) {
	if because != "" {
		c.details[len(c.entries)] = details{note: because}
	}
	c.known = append(c.known, partner{domain: domain, terms: nobody})
	c.entries = append(c.entries, allowlists.Entry{Domain: domain, Blocked: true, Rule: rule})
}
