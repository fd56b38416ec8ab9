package federation

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/sipedge/sipedge/allowlists"
)

// decisions puts in what was decided while the edge ran. The file wins: it is
// what people read and keep.
func (c *compiler) decisions(list []Decision) {
	open := make(map[string]Decision, len(list))
	for _, d := range list {
		domain, err := Normal(d.Domain)
		if err != nil || !d.Action.Valid() {
			c.notice(d, "is not understood")
			continue
		}
		d.Domain = domain
		if have, ok := open[domain]; ok && have.At.After(d.At) {
			d = have
		}
		open[domain] = d
	}
	c.conflicts(open)
	for _, domain := range slices.Sorted(maps.Keys(open)) {
		c.decided(open[domain])
	}
}

// conflicts takes those out that the file has something to say about.
func (c *compiler) conflicts(open map[string]Decision) {
	for i := range c.entries {
		e := &c.entries[i]
		if d, ok := open[e.Domain]; ok {
			delete(open, e.Domain)
			if d.Action != ActionIgnore {
				c.noticed = append(c.noticed, allowlists.Problem{File: c.file, Line: e.Rule.Line,
					Text: fmt.Sprintf("conflict: %s and the decision to %s it (%s); the file wins", e.Rule.Name, d.Action, allowlists.Origin(d.By, d.At))})
			}
		}
	}
}

// decided puts one in. A decision to ignore a domain changes nothing.
func (c *compiler) decided(d Decision) {
	if _, ok := c.own[d.Domain]; ok {
		c.notice(d, "is of a domain of our own, and not in force")
		return
	}
	first := len(c.entries)
	switch d.Action {
	case ActionBlock:
		c.block(d.Domain, d.Note, allowlists.Rule{Name: blockedPrefix + d.Domain, File: allowlists.Origin(d.By, d.At)})
	case ActionAllow:
		var p PartnerConfig
		if d.Partner != nil {
			p = *d.Partner
		}
		p.Note = cmp.Or(d.Note, p.Note)
		t, errs := c.terms(p)
		for _, err := range errs {
			c.notice(d, fmt.Sprintf("is not in force: %v", err))
		}
		if errs == nil && len(p.Servers) > 0 {
			own := *t // others may share it
			own.card, t = true, &own
		}
		if errs == nil {
			c.allow(d.Domain, p, t, allowlists.Rule{Name: rulePrefix + d.Domain, File: allowlists.Origin(d.By, d.At)})
		}
	}
	if len(c.entries) > first {
		have := c.details[first]
		have.decision = &d
		c.details[first] = have
	}
}

// notice warns of a decision.
func (c *compiler) notice(d Decision, text string) {
	c.noticed = append(c.noticed, allowlists.Problem{File: "decisions",
		Text: fmt.Sprintf("the decision to %s %s (%s) %s", allowlists.OneLine(string(d.Action)), allowlists.OneLine(d.Domain), allowlists.Origin(d.By, d.At), text)})
}
