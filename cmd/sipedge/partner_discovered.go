package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/federation"
)

type partnerDiscoveredCommand struct {
	configFlag
	JSON bool `name:"json" help:"Print JSON."`
}

// Run lists the domains that came by themselves.
func (c partnerDiscoveredCommand) Run(s streams) error {
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		list, err := edge.Discovered(ctx)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(s.out, list)
		case len(list.Discovered) == 0:
			_, err := fmt.Fprintln(s.out, "No domain has been here that was not listed.")
			return err
		}
		c.print(newPage(s.out), list.Discovered)
		return nil
	})
}

// print prints two tables, those that wait and those that do not, and last what
// can be done.
func (c partnerDiscoveredCommand) print(p *page, all []admin.Discovered) {
	waiting := 0
	for ; waiting < len(all) && all[waiting].Waiting; waiting++ {
	}
	if waiting > 0 {
		p.title(plural(waiting, "domain") + " to decide about")
		discoveredTable(p, all[:waiting])
		fmt.Fprintln(p.out)
	}
	if decided := len(all) - waiting; decided > 0 {
		p.title(plural(decided, "domain") + " decided about")
		discoveredTable(p, all[waiting:])
		fmt.Fprintln(p.out)
	}
	if waiting == 0 {
		p.text("", "", "Nobody waits for a decision.")
		return
	}
	var f facts
	f.add("to decide", c.command("partner", "allow", "DOMAIN"))
	f.add("", c.command("partner", "block", "DOMAIN"))
	f.add("", c.command("partner", "ignore", "DOMAIN"))
	f.print(p)
}

// discoveredTable has a line of numbers for each domain, and below it who the
// domain is.
func discoveredTable(p *page, list []admin.Discovered) {
	t := table{
		page: p, head: []string{"DOMAIN", "LAST SEEN (UTC)", "STATE", "LET IN", "REFUSED", "ADDRESSES"},
		state: 2, right: map[int]bool{3: true, 4: true, 5: true},
	}
	for _, d := range list {
		state := d.State
		if d.Listed != "" {
			state = "listed"
		}
		r := t.row(stateStyle(state), cmp.Or(d.Unicode, d.Domain), minute(d.LastSeen), state,
			fmt.Sprint(d.Messages), fmt.Sprint(d.Refused), fmt.Sprint(d.Addressees))
		r.below = discoveredDetails(d)
	}
	t.print()
}

// discoveredDetails are what stands below a domain.
func discoveredDetails(d admin.Discovered) (lines []string) {
	if d.Unicode != "" {
		lines = append(lines, d.Domain)
	}
	switch {
	case d.Listed != "":
		lines = append(lines, "now in the file: "+d.Listed)
	case d.Decision != nil:
		lines = append(lines, decidedBy(d.Decision))
	}
	if d.State == federation.StateWatched {
		lines = append(lines, "refused since "+minute(d.WatchedSince)+": it asked for too many of our addresses")
	}
	if d.State == federation.StateSuspicious {
		lines = append(lines, fmt.Sprintf("slowed down: %d of its messages were for nobody", d.Failed))
	}
	lines = append(lines, "first seen "+minute(d.FirstSeen))
	if who, _, _ := strings.Cut(d.Certificate, ", serial "); who != "" {
		lines = append(lines, "certificate "+who)
	}
	return lines
}
