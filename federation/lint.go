package federation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sipedge/sipedge/allowlists"
)

// soon is how many days before its end an entry is spoken of.
const soon = 30

// mostFindings is how many warnings of one sort are told each. The others are
// counted: nobody reads a hundred thousand lines.
const mostFindings = 100

// Warnings returns what the administrator should know about lists that work, by
// line: conflicts, entries that do nothing or soon will, names that look like
// others. It looks at all entries, so it is for people who ask, not for each
// reload.
func (p *Partners) Warnings() []allowlists.Problem {
	if p == nil || p.lists == nil {
		return nil
	}
	l := &linter{p: p, list: slices.Clone(p.noticed), counts: make(map[string]int), linted: make(map[*terms][]string)}
	l.section()
	for i := range p.known {
		l.entry(i)
	}
	l.lookalikes()
	slices.SortStableFunc(l.list, func(a, b allowlists.Problem) int { return cmp.Compare(a.Line, b.Line) })
	for _, sort := range l.sorts {
		if n := l.counts[sort] - mostFindings; n > 0 {
			l.list = append(l.list, allowlists.Problem{File: p.none.Rule.File, Text: fmt.Sprintf("%d more such warnings: %s", n, sort)})
		}
	}
	return l.list
}

// linter collects warnings.
type linter struct {
	p      *Partners
	list   []allowlists.Problem
	sorts  []string // in the order in which they were found
	counts map[string]int
	linted map[*terms][]string // what is to be said about terms
}

// warn notes a warning of a sort, at the place of a rule.
func (l *linter) warn(sort string, rule allowlists.Rule, format string, args ...any) {
	if l.counts[sort] == 0 {
		l.sorts = append(l.sorts, sort)
	}
	if l.counts[sort]++; l.counts[sort] > mostFindings {
		return
	}
	text := fmt.Sprintf(format, args...)
	if rule.Line == 0 {
		text = rule.File + ": " + text // a decision: it is written in no line
		rule.File = "decisions"
	}
	l.list = append(l.list, allowlists.Problem{File: rule.File, Line: rule.Line, Text: text})
}

// section looks at [federation].
func (l *linter) section() {
	s, rule := l.p.section, l.p.none.Rule
	if s.Unlisted != "discover" && (s.DiscoveredRate != 0 || s.SuspiciousRate != 0 || s.DiscoveredAddresses != 0) {
		l.warn("keys without effect", rule, `[federation]: discovered_rate, suspicious_rate and discovered_addresses do nothing without unlisted = "discover"`)
	}
	if limits := l.p.Discovery(); limits.SuspiciousRate > limits.Rate {
		l.warn("keys without effect", rule, "[federation]: suspicious_rate is above discovered_rate: who is suspicious may send more")
	}
}

// entry looks at one entry.
func (l *linter) entry(i int) {
	k := &l.p.known[i]
	_, v := l.p.lists.Listed([]byte(k.domain))
	if v.Reason == allowlists.PartnerBlocked {
		if l.p.unlisted != nil {
			l.warn("blocked domains without their subdomains", v.Rule,
				"%s leaves its subdomains to unlisted = %q: names match exactly", v.Rule.Name, l.p.section.Unlisted)
		}
		return
	}
	l.ends(i, v.Rule)
	for _, text := range l.terms(k.terms) {
		l.warn("rules that do nothing", v.Rule, "%s: %s", v.Rule.Name, text)
	}
	l.theirs(k, v.Rule)
}

// ends looks at the entry's end date.
func (l *linter) ends(i int, rule allowlists.Rule) {
	until := l.p.details[i].until
	if until.IsZero() {
		return
	}
	y, m, d := l.p.now.UTC().Date()
	days := int(until.End().Sub(Date{y, m, d}.End()) / (24 * time.Hour))
	switch {
	case days < 0:
		l.warn("entries past their date", rule, "%s: ended on %s, and is refused since", rule.Name, until)
	case days == 0:
		l.warn("entries that end", rule, "%s: ends today, %s, at midnight UTC", rule.Name, until)
	case days == 1:
		l.warn("entries that end", rule, "%s: ends tomorrow, %s, at midnight UTC", rule.Name, until)
	case days <= soon:
		l.warn("entries that end", rule, "%s: ends in %d days, on %s", rule.Name, days, until)
	}
}

// terms looks at what entries with the same terms say, once.
func (l *linter) terms(t *terms) []string {
	if list, ok := l.linted[t]; ok {
		return list
	}
	c := t.config
	list := c.allowed().Lint()
	for _, pattern := range normalPatterns(c.Users) {
		if _, domain, _ := allowlists.ParsePattern(pattern); domain != "" {
			if _, ours := l.p.own[domain]; !ours {
				list = append(list, fmt.Sprintf("users %q matches nobody: %s is no domain of ours", pattern, Unicode(domain)))
			}
		}
	}
	if len(t.servers) > 0 && c.SRVTarget != "" {
		list = append(list, "srv_target does nothing: its edge is not looked up by DNS SRV")
	}
	if bridged(t.network) && (c.SRVTarget != "" || c.PeerUsage != "" || c.AllowWildcard || c.AllowCN) {
		list = append(list, fmt.Sprintf("srv_target, peer_usage, allow_wildcard and allow_cn do nothing with network = %q: they are of SIP", t.network))
	}
	if c.Unmarked != "" && t.verification != VerifySource {
		list = append(list, fmt.Sprintf("unmarked does nothing: verification is %q whatever the mark", t.verification))
	}
	if c.Subscriptions > 0 && c.Methods != nil && !slices.Contains(c.Methods, "SUBSCRIBE") {
		list = append(list, "subscriptions does nothing: SUBSCRIBE is not in methods")
	}
	l.linted[t] = list
	return list
}

// theirs looks for patterns of users whom the partner cannot have.
func (l *linter) theirs(k *partner, rule allowlists.Rule) {
	for _, pattern := range k.config.TheirUsers {
		_, at, ok := strings.Cut(pattern, "@")
		if !ok {
			continue
		}
		if domain, err := Normal(at); err == nil && domain != k.domain {
			l.warn("users of other domains", rule, "%s: their_users %q matches nobody: its domain is %s", rule.Name, pattern, Unicode(k.domain))
		}
	}
}
