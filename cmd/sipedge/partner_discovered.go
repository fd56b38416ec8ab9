package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
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
		return c.print(s.out, list.Discovered)
	})
}

// print prints two tables: those that wait, and those that do not.
func (c partnerDiscoveredCommand) print(w io.Writer, all []admin.Discovered) error {
	waiting := 0
	for ; waiting < len(all) && all[waiting].Waiting; waiting++ {
	}
	if waiting > 0 {
		fmt.Fprintf(w, "%s to decide about:\n\n", plural(waiting, "domain"))
		if err := discoveredTable(w, all[:waiting]); err != nil {
			return err
		}
		fmt.Fprintf(w, "\nTo decide:  %s\n            %s\n            %s\n",
			c.command("partner", "allow", "DOMAIN"), c.command("partner", "block", "DOMAIN"), c.command("partner", "ignore", "DOMAIN"))
	}
	if waiting == len(all) {
		return nil
	}
	if waiting > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%s decided about:\n\n", plural(len(all)-waiting, "domain"))
	return discoveredTable(w, all[waiting:])
}

// discoveredTable has a line of numbers for each domain, and below it who the
// domain is.
func discoveredTable(w io.Writer, list []admin.Discovered) error {
	t := newTable(w, "DOMAIN", "LAST SEEN (UTC)", "STATE", "LET IN", "REFUSED", "ADDRESSES")
	for _, d := range list {
		state := d.State
		if d.Listed != "" {
			state = "listed"
		}
		t.row(cmp.Or(d.Unicode, d.Domain), minute(d.LastSeen), state,
			fmt.Sprint(d.Messages), fmt.Sprint(d.Refused), fmt.Sprint(d.Addressees))
	}
	lines := t.lines()
	fmt.Fprintln(w, lines[0])
	for i, d := range list {
		fmt.Fprintln(w, lines[i+1])
		for _, about := range discoveredDetails(d) {
			if _, err := fmt.Fprintln(w, "  "+plain(about)); err != nil {
				return err
			}
		}
	}
	return nil
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
