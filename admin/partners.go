package admin

import (
	"net/http"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/federation"
)

// A Partner is a domain that we know something about, as GET /v1/partners has
// it: one in partners.toml, one that somebody decided about, one that came by
// itself, or all of these.
type Partner struct {
	federation.Description
	Source string `json:"source"` // where State comes from: "file", "decision", "discovered"
	// Overruled is a decision that is not in force, because the file names the
	// domain or because of its terms.
	Overruled *federation.Decision `json:"overruled,omitempty"`
	// Record is what was seen of it while it was not listed.
	Record *federation.Record `json:"record,omitempty"`
}

// The sources.
const (
	SourceFile       = "file"
	SourceDecision   = "decision"
	SourceDiscovered = "discovered"
)

// StateUnsound is the state of a decision that is not in force, where there is
// nothing else about the domain.
const StateUnsound = "not in force"

// PartnerList is GET /v1/partners: everybody, by domain.
type PartnerList struct {
	Partners []Partner `json:"partners"`
	Warnings []string  `json:"warnings,omitempty"` // about the lists
	// Faults are those of partners.toml as it is now, if it is faulty: what is shown is
	// by the last good one.
	Faults []string `json:"faults,omitempty"`
}

// partners lists all, or those in whose entry a word occurs.
func (s *Server) partners(c *call) (any, error) {
	lists := s.Lists.Partners()
	all := make(map[string]*Partner)
	for d := range lists.All() {
		p := Partner{Description: d, Source: SourceFile}
		if d.Decision != nil {
			p.Source = SourceDecision
		}
		all[d.Domain] = &p
	}
	for _, d := range s.Discovery.Decisions() {
		addDecision(all, d)
	}
	for _, r := range s.Discovery.Records() {
		addRecord(all, r)
	}
	list := PartnerList{Partners: []Partner{}, Faults: faultTexts(s.Lists.Faults())}
	word := strings.ToLower(c.query.Get("word"))
	for _, p := range all {
		if p.mentions(word) {
			list.Partners = append(list.Partners, *p)
		}
	}
	slices.SortFunc(list.Partners, func(a, b Partner) int { return strings.Compare(a.Domain, b.Domain) })
	for _, w := range lists.Warnings() {
		list.Warnings = append(list.Warnings, w.Error())
	}
	return list, nil
}

// partner shows one domain.
func (s *Server) partner(c *call) (any, error) {
	domain, err := c.domain()
	if err != nil {
		return nil, err
	}
	one := make(map[string]*Partner)
	lists := s.Lists.Partners()
	if d, ok := lists.Describe(domain); ok {
		one[domain] = &Partner{Description: d, Source: SourceFile}
		if d.Decision != nil {
			one[domain].Source = SourceDecision
		}
	}
	if d := s.decision(domain); d != nil {
		addDecision(one, *d)
	}
	if r, ok := s.Discovery.Record(domain); ok {
		addRecord(one, r)
	}
	if p := one[domain]; p != nil {
		return *p, nil
	}
	if ours(lists, domain) {
		return nil, problem(http.StatusNotFound, CodeOwnDomain, "%s is a domain of our own: it lives in a pool", domain)
	}
	return nil, problem(http.StatusNotFound, CodeNotFound, "nothing is known of %s: it is in no list, nobody has decided about it, and it has not been here", domain)
}

// addDecision adds what the lists do not show of a decision: that it changes
// nothing, or that it is not in force.
func addDecision(all map[string]*Partner, d federation.Decision) {
	p := all[d.Domain]
	switch {
	case p == nil:
		state := StateUnsound
		if d.Action == federation.ActionIgnore {
			state = federation.StateIgnored
		}
		all[d.Domain] = &Partner{Source: SourceDecision, Description: federation.Description{
			Domain: d.Domain, Unicode: unicodeOf(d.Domain), State: state, Note: d.Note, Decision: &d,
		}}
	case p.Decision == nil:
		p.Overruled = &d
	}
}

// addRecord adds what was seen of a domain.
func addRecord(all map[string]*Partner, r federation.Record) {
	p := all[r.Domain]
	if p == nil {
		p = &Partner{Source: SourceDiscovered, Description: federation.Description{
			Domain: r.Domain, Unicode: unicodeOf(r.Domain), State: r.State,
		}}
		all[r.Domain] = p
	}
	r.Decision = nil // said already
	p.Record = &r
}

// mentions reports whether a word, in lower case, occurs in what people filter
// by.
func (p *Partner) mentions(word string) bool {
	if word == "" {
		return true
	}
	for _, s := range []string{
		p.Domain, p.Unicode, p.State, p.Source, p.Config.Direction, p.Config.Owner, p.Config.Ticket, p.Config.Note, p.Note,
	} {
		if strings.Contains(strings.ToLower(s), word) {
			return true
		}
	}
	return p.Overruled != nil && strings.Contains("conflict", word)
}

// inFile returns the rule of partners.toml that has a domain.
func inFile(lists *federation.Partners, domain string) (rule string, ok bool) {
	d, ok := lists.Describe(domain)
	if !ok || d.Decision != nil {
		return "", false
	}
	return allowlists.Rule{Name: d.Rule, File: d.File, Line: d.Line}.String(), true
}

// ours reports whether a domain is our own: it is that for everybody, also for
// one who has proved nothing.
func ours(lists *federation.Partners, domain string) bool {
	return lists.Speaks(nil, []byte(domain), "").Reason == allowlists.IdentityOwnDomain
}

// unicodeOf is a domain as people read it, "" if that is the same.
func unicodeOf(domain string) string {
	if u := federation.Unicode(domain); u != domain {
		return u
	}
	return ""
}
