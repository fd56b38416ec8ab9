package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/federation"
)

type partnerListCommand struct {
	configFlag
	JSON bool   `name:"json" help:"Print JSON."`
	Word string `arg:"" optional:"" help:"Only those in whose entry this occurs: part of a name, a state, an owner, \"decision\", \"conflict\"."`
}

// Run lists the partners that the running edge knows.
func (c partnerListCommand) Run(s streams) error {
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		list, err := edge.Partners(ctx, c.Word)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(s.out, list)
		}
		c.warnFaulty(s.err, "partners.toml", list.Faults)
		switch {
		case len(list.Partners) == 0 && c.Word != "":
			return exit{exitNotFound, fmt.Errorf("no partner's entry has %q in it", c.Word)}
		case len(list.Partners) == 0:
			_, err := fmt.Fprintln(s.out, "There are no partners, and nobody has been here.")
			return err
		}
		p := newPage(s.out)
		partnerTable(p, list.Partners)
		c.conflicts(p, list.Partners)
		fmt.Fprintln(p.out)
		text, waiting := numbers(list.Partners)
		p.text("", "", text)
		if waiting > 0 {
			p.text("", "", fmt.Sprintf("To decide about %s: %s", plural(waiting, "domain"), c.command("partner", "discovered")))
		}
		warn(s.err, slices.DeleteFunc(list.Warnings, func(w string) bool {
			return isConflict(w) || !strings.Contains(strings.ToLower(w), strings.ToLower(c.Word))
		}))
		return nil
	})
}

// partnerTable has a line for each partner.
func partnerTable(p *page, partners []admin.Partner) {
	t := table{page: p, head: []string{"", "DOMAIN", "STATE", "DIRECTION", "UNTIL", "FROM", "OWNER"}, name: 1, state: 2}
	for _, e := range partners {
		mark := ""
		if e.Overruled != nil {
			mark = "!"
		}
		r := t.row(stateStyle(e.State), mark, cmp.Or(e.Unicode, e.Domain), e.State, e.Config.Direction, until(e.Config.Until), place(e), e.Config.Owner)
		if e.Unicode != "" {
			r.below = append(r.below, e.Domain)
		}
	}
	t.print()
}

// conflicts says what is not in force and how to be rid of it.
func (c partnerListCommand) conflicts(p *page, partners []admin.Partner) {
	for _, e := range partners {
		if e.Overruled == nil {
			continue
		}
		fmt.Fprintln(p.out)
		p.text(p.paint(red, "!")+" ", "  ", fmt.Sprintf("%s: a decision (%s) is not in force: %s has the domain, and the file wins.",
			named(e.Domain), decidedBy(e.Overruled), place(e)))
		p.text("  ", "  ", "To take it back: "+c.command("partner", "forget", e.Domain))
	}
}

// isConflict reports whether a warning says what conflicts has said.
func isConflict(warning string) bool { return strings.Contains(warning, ": conflict: ") }

// stateOrder is how states are counted: the best known first.
var stateOrder = []string{
	"direct", "allowed", "blocked", "expired", admin.StateUnsound, federation.StateIgnored,
	federation.StateTalking, federation.StateKnocking, federation.StateSuspicious, federation.StateWatched,
}

// numbers sums the list up, and counts those that wait for a decision.
func numbers(partners []admin.Partner) (text string, waiting int) {
	count := make(map[string]int)
	for _, p := range partners {
		count[p.State]++
		if p.Source == admin.SourceDiscovered {
			waiting++
		}
	}
	order := slices.Concat(stateOrder, sorted(count)) // what is not in the order comes last
	var parts []string
	for _, state := range order {
		if n := count[state]; n > 0 {
			parts = append(parts, fmt.Sprint(n, " ", state))
			delete(count, state)
		}
	}
	return strings.Join(parts, ", "), waiting
}

// place is where a partner's entry stands.
func place(p admin.Partner) string {
	switch {
	case p.Source == admin.SourceFile:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	case p.Decision != nil:
		return fmt.Sprintf("%s, %s", p.Decision.By, day(p.Decision.At))
	case p.Record != nil:
		return "seen " + day(p.Record.LastSeen)
	}
	return ""
}

// until is the last day of an entry, "" if it has none.
func until(d federation.Date) string {
	if d.IsZero() {
		return ""
	}
	return d.String()
}
