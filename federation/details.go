package federation

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/sipedge/sipedge/allowlists"
)

// details are what only people ask for, of the few entries that have any.
type details struct {
	until    Date
	owner    string
	ticket   string
	note     string
	decision *Decision // nil: from the file
}

// A Description is all that is known about one entry, for people.
type Description struct {
	Domain  string `json:"domain"`            // A-labels
	Unicode string `json:"unicode,omitempty"` // as people read it, if that differs
	State   string `json:"state"`             // "allowed", "direct", "expired", "blocked"
	Rule    string `json:"rule"`              // what logs and explain call it
	File    string `json:"file,omitempty"`    // where it is written; of a decision, who made it
	Line    int    `json:"line,omitempty"`
	Way     string `json:"way,omitempty"` // how its edge is found: "servers", "upstream", "dns"; "xmpp": by the bridge
	// Config is what goes for the partner: what was written, and the defaults
	// for what was not.
	Config PartnerConfig `json:"config,omitzero"`
	// Note is why it is blocked.
	Note string `json:"note,omitempty"`
	// Ends is the first moment at which the entry no longer counts.
	Ends     time.Time `json:"ends,omitzero"`
	Decision *Decision `json:"decision,omitempty"` // nil: it is written in the file
}

// Describe returns what is known about the entry of a domain, in normal form.
func (p *Partners) Describe(domain string) (Description, bool) {
	if p == nil || p.lists == nil {
		return Description{}, false
	}
	i, ok := slices.BinarySearchFunc(p.sorted(), domain, func(i int, domain string) int {
		return strings.Compare(p.known[i].domain, domain)
	})
	if !ok {
		return Description{}, false
	}
	return p.describe(p.sorted()[i]), true
}

// All returns the entries in the order of their names, those that are blocked
// among them.
func (p *Partners) All() iter.Seq[Description] {
	return func(yield func(Description) bool) {
		if p == nil {
			return
		}
		for _, i := range p.sorted() {
			if !yield(p.describe(i)) {
				return
			}
		}
	}
}

// sorted returns the entries by name. Only people ask for it, so it is made when
// the first one does.
func (p *Partners) sorted() []int {
	p.byName.Do(func() {
		p.order = make([]int, len(p.known))
		for i := range p.order {
			p.order[i] = i
		}
		slices.SortFunc(p.order, func(a, b int) int { return strings.Compare(p.known[a].domain, p.known[b].domain) })
	})
	return p.order
}

func (p *Partners) describe(i int) Description {
	k, about := &p.known[i], p.details[i]
	_, v := p.lists.Listed([]byte(k.domain))
	d := Description{
		Domain: k.domain, Rule: v.Rule.Name, File: v.Rule.File, Line: v.Rule.Line, Decision: about.decision,
	}
	if u := Unicode(k.domain); u != k.domain {
		d.Unicode = u
	}
	if v.Reason == allowlists.PartnerBlocked {
		d.State, d.Note = "blocked", about.note
		return d
	}
	d.State = k.tier().String()
	d.Config = k.config
	d.Config.Until, d.Config.Owner, d.Config.Ticket, d.Config.Note = about.until, about.owner, about.ticket, about.note
	d.Way = k.effective(&d.Config)
	if !about.until.IsZero() {
		d.Ends = about.until.End()
	}
	if k.expired {
		d.State = "expired"
	}
	return d
}

// effective fills in what the entry does not say, and returns how the partner's
// edge is found.
func (t *terms) effective(c *PartnerConfig) (way string) {
	c.Servers, c.PeerName = t.servers, t.peerName
	c.Direction = cmp.Or(c.Direction, "both")
	c.PeerUsage = string(t.policy)
	c.Network = cmp.Or(t.network, "any")
	c.Verification, c.Unmarked = t.verification.String(), t.unmarked.String()
	switch {
	case bridged(t.network):
		return t.network
	case t.upstream:
		return "upstream"
	case len(t.servers) > 0:
		return "servers"
	}
	c.SRVTarget = cmp.Or(c.SRVTarget, "in_domain")
	return "dns"
}
