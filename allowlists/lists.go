package allowlists

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// An Entry is one line of a list as it was written: a partner, or a domain that
// is blocked.
type Entry struct {
	Domain    string   // in normal form
	Blocked   bool     // nothing else matters then
	Methods   []string // none: all
	Direction string   // "both" or "", "in", "out"
	Rule      Rule
}

// A Partner is a compiled entry. It belongs to its Lists and must not be
// changed.
type Partner struct {
	Domain string
	Rule   Rule

	// Index is the entry's place in what was given to Compile, so that others
	// can keep what they know about the partner beside it.
	Index int

	ways    [2]bool  // by Direction
	methods []string // empty: all
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
	if err := p.compile(i, e); err != nil {
		return fmt.Errorf("%s: %w", e.Rule.Name, err)
	}
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

// inCall are the methods that exist only within what an INVITE began: who may
// INVITE may end a call, too (RFC 3261 §9, §13, §15; RFC 3262; RFC 3311).
var inCall = []string{"ACK", "CANCEL", "BYE", "PRACK", "UPDATE"}

func (p *Partner) compile(i int, e Entry) error {
	*p = Partner{Domain: e.Domain, Rule: e.Rule, Index: i}
	switch e.Direction {
	case "", "both":
		p.ways = [2]bool{In: true, Out: true}
	case "in":
		p.ways[In] = true
	case "out":
		p.ways[Out] = true
	default:
		return fmt.Errorf("direction %q is none of \"both\", \"in\", \"out\"", e.Direction)
	}
	if e.Methods != nil && len(e.Methods) == 0 {
		return errors.New("methods is empty; leave it out to allow all")
	}
	for _, m := range e.Methods {
		if err := method(m); err != nil {
			return err
		}
	}
	p.methods = slices.Clone(e.Methods)
	if slices.Contains(p.methods, "INVITE") {
		p.methods = append(p.methods, inCall...)
	}
	return nil
}

// method refuses what no request can have as its method. Methods are
// case-sensitive, so "message" would be an entry that never matches.
func method(m string) error {
	if !token(m) {
		return fmt.Errorf("method %q is not a SIP method name", m)
	}
	if upper := strings.ToUpper(m); upper != m && slices.Contains(registered, upper) {
		return fmt.Errorf("method %q must be written %q: case counts", m, upper)
	}
	return nil
}

// registered are the methods of IANA's registry (RFC 3261 §27.4).
var registered = []string{
	"ACK", "BYE", "CANCEL", "INFO", "INVITE", "MESSAGE", "NOTIFY", "OPTIONS", "PRACK",
	"PUBLISH", "REFER", "REGISTER", "SUBSCRIBE", "UPDATE",
}

// token reports whether s is a token (RFC 3261 §25.1), as each method is.
func token(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '.', c == '!', c == '%', c == '*', c == '_', c == '+', c == '`', c == '\'', c == '~':
		default:
			return false
		}
	}
	return s != ""
}

// Decide answers q. Blocked wins over everything, and a domain matches exactly:
// a subdomain is someone else.
func (l *Lists) Decide(q Question) Verdict {
	p, v := l.Listed(q.Remote)
	if p == nil {
		return v
	}
	return p.May(q.Direction, q.Method)
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

// May reports whether a request of this method may pass in this direction.
func (p *Partner) May(d Direction, method []byte) Verdict {
	if d < 0 || int(d) >= len(p.ways) || !p.ways[d] {
		return Refusal(PartnerDirection, p.Rule)
	}
	if len(p.methods) == 0 {
		return Allowance(PartnerAllowed, p.Rule)
	}
	for _, m := range p.methods {
		if m == string(method) {
			return Allowance(PartnerAllowed, p.Rule)
		}
	}
	return Refusal(PartnerMethod, p.Rule)
}
