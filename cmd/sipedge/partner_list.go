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
		case len(list.Partners) == 0 && c.Word != "":
			return exit{exitNotFound, fmt.Errorf("no partner's entry has %q in it", c.Word)}
		case len(list.Partners) == 0:
			_, err := fmt.Fprintln(s.out, "There are no partners, and nobody has been here.")
			return err
		}
		if err := c.print(s.out, list.Partners); err != nil {
			return err
		}
		for _, w := range list.Warnings {
			fmt.Fprintln(s.err, "warning:", plain(w))
		}
		return nil
	})
}

// print prints the table, then what needs a sentence, then the numbers.
func (c partnerListCommand) print(w io.Writer, partners []admin.Partner) error {
	t := newTable(w, "", "DOMAIN", "STATE", "BEGUN BY", "UNTIL", "FROM", "OWNER")
	for _, p := range partners {
		mark := ""
		if p.Overruled != nil {
			mark = "!"
		}
		name := cmp.Or(p.Unicode, p.Domain)
		t.row(mark, name, p.State, begunBy(p), until(p.Config.Until), place(p), clip(p.Config.Owner, 30))
		if p.Unicode != "" {
			t.row("", "  "+p.Domain)
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, p := range partners {
		if p.Overruled != nil {
			fmt.Fprintf(w, "\n! %s: a decision (%s) is not in force.\n  %s has the domain, and the file wins.\n  To take it back: %s\n",
				named(p.Domain), decidedBy(p.Overruled), place(p), c.command("partner", "forget", p.Domain))
		}
	}
	_, err := fmt.Fprintf(w, "\n%s\n", c.numbers(partners))
	return err
}

// numbers sums the list up.
func (c partnerListCommand) numbers(partners []admin.Partner) string {
	count, waiting := make(map[string]int), 0
	var order []string
	for _, p := range partners {
		if count[p.State]++; count[p.State] == 1 {
			order = append(order, p.State)
		}
		if p.Source == admin.SourceDiscovered {
			waiting++
		}
	}
	var parts []string
	for _, state := range order {
		parts = append(parts, fmt.Sprint(count[state], " ", state))
	}
	text := strings.Join(parts, ", ")
	if waiting > 0 {
		text += fmt.Sprintf("; %d to decide about: %s", waiting, c.command("partner", "discovered"))
	}
	return text
}

// begunBy says who may begin something.
func begunBy(p admin.Partner) string {
	return map[string]string{"both": "both", "in": "them", "out": "us"}[p.Config.Direction]
}

// place is where a partner's entry stands.
func place(p admin.Partner) string {
	switch {
	case p.Source == admin.SourceFile:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	case p.Decision != nil:
		return fmt.Sprintf("%s, %s", plain(p.Decision.By), day(p.Decision.At))
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
