package allowlists

import "fmt"

// An Entry is one line of a list as it was written: a partner, or a domain that
// is blocked.
type Entry struct {
	Domain  string // in normal form
	Blocked bool   // nothing else matters then
	Terms   *Terms // of a partner
	Rule    Rule
}

// A Partner is a compiled entry. It belongs to its Lists and must not be
// changed.
type Partner struct {
	Domain string
	Rule   Rule
	Terms  *Terms

	// Index is the entry's place in what was given to Compile, so that others
	// can keep what they know about the partner beside it.
	Index int
}

// Lists is an immutable snapshot of who may talk to whom. It is safe for
// concurrent use. A nil or zero Lists allows nothing.
type Lists struct {
	partners map[string]*Partner
	blocked  map[string]Verdict
	unlisted Verdict
}

// Compile makes Lists of entries. Unlisted is the Rule that refuses everybody
// else. With problems there are no Lists.
func Compile(entries []Entry, unlisted Rule) (*Lists, []Problem) {
	l := &Lists{
		partners: make(map[string]*Partner, len(entries)),
		blocked:  make(map[string]Verdict),
		unlisted: Refusal(PartnerNotAllowed, unlisted),
	}
	var problems []Problem
	room := make([]Partner, len(entries)) // side by side: see federation's gather
	for i, e := range entries {
		if err := l.add(&room[i], i, e); err != nil {
			problems = append(problems, Problem{e.Rule.File, e.Rule.Line, err.Error()})
		}
	}
	if problems != nil {
		return nil, problems
	}
	return l, nil
}

// add puts one entry in. That a domain may be in only one entry is for the
// administrator's sake: Decide would be sure of itself all the same.
func (l *Lists) add(p *Partner, i int, e Entry) error {
	if e.Domain == "" {
		return fmt.Errorf("%s has no domain", e.Rule.Name)
	}
	if first, ok := l.first(e.Domain); ok {
		return fmt.Errorf("%s is in two entries: this one and %s", e.Domain, first)
	}
	if e.Blocked {
		l.blocked[e.Domain] = Refusal(PartnerBlocked, e.Rule)
		return nil
	}
	*p = Partner{Domain: e.Domain, Rule: e.Rule, Terms: e.Terms, Index: i}
	l.partners[e.Domain] = p
	return nil
}

// first finds the Rule of the entry that has domain already.
func (l *Lists) first(domain string) (Rule, bool) {
	if v, ok := l.blocked[domain]; ok {
		return v.Rule, true
	}
	if p, ok := l.partners[domain]; ok {
		return p.Rule, true
	}
	return Rule{}, false
}

// Decide answers q. Blocked wins over everything, and a domain matches exactly:
// a subdomain is someone else.
func (l *Lists) Decide(q Question) Verdict {
	p, v := l.Listed(q.Remote)
	if p == nil {
		return v
	}
	return p.May(&q)
}

// Listed finds the partner that has domain; without one, the Verdict says why:
// blocked, or not listed.
func (l *Lists) Listed(domain []byte) (*Partner, Verdict) {
	if l == nil {
		return nil, Verdict{Status: 403, Reason: PartnerNotAllowed}
	}
	if v, ok := l.blocked[string(domain)]; ok {
		return nil, v
	}
	if p, ok := l.partners[string(domain)]; ok {
		return p, Allowance(PartnerAllowed, p.Rule)
	}
	v := l.unlisted
	if v.Reason == ReasonNone {
		v.Status, v.Reason = 403, PartnerNotAllowed
	}
	return nil, v
}

// Partner finds the partner that has domain, unless it is blocked.
func (l *Lists) Partner(domain []byte) (*Partner, bool) {
	p, _ := l.Listed(domain)
	return p, p != nil
}

// Len returns how many partners there are, and how many blocked domains.
func (l *Lists) Len() (partners, blocked int) {
	if l == nil {
		return 0, 0
	}
	return len(l.partners), len(l.blocked)
}

// Check makes one check of the partner's terms, whatever the others say: May
// gives the answer of the first that refuses.
func (p *Partner) Check(c Check, q *Question) Verdict {
	if p.Terms == nil || q.Direction < In || q.Direction > Out {
		return Refusal(PartnerDirection, p.Rule)
	}
	if r := p.Terms.check(c, q); r != ReasonNone {
		return Refusal(r, p.Rule)
	}
	return Allowance(PartnerAllowed, p.Rule)
}

// May reports whether the partner's terms let the request pass.
func (p *Partner) May(q *Question) Verdict {
	if r := p.Terms.judge(q); r != ReasonNone {
		return Refusal(r, p.Rule)
	}
	return Allowance(PartnerAllowed, p.Rule)
}
