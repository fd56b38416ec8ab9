package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/admin"
)

type userListCommand struct {
	configFlag
	JSON bool   `name:"json" help:"Print JSON."`
	Word string `arg:"" optional:"" help:"Only those in whose entry this occurs: part of a name, \"signed in\", a state, an address, \"decision\", \"conflict\", \"banned\"."`
}

// Run lists the users that the running edge knows.
func (c userListCommand) Run(s streams) error {
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		list, err := edge.Users(ctx, c.Word)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(s.out, list)
		}
		c.warnFaulty(s.err, "remote.toml", list.Faults)
		if len(list.Users)+len(list.Sections) == 0 {
			return exit{exitNotFound, fmt.Errorf("no user's entry has %q in it", c.Word)}
		}
		p := newPage(s.out)
		c.print(p, list)
		warn(s.err, slices.DeleteFunc(list.Warnings, func(w string) bool {
			return isConflict(w) || !strings.Contains(strings.ToLower(w), strings.ToLower(c.Word))
		}))
		return nil
	})
}

// print prints the users, then what goes for others, last the numbers.
func (c userListCommand) print(p *page, list admin.UserList) {
	if len(list.Users) > 0 {
		userTable(p, list.Users)
		c.remarks(p, list.Users)
		fmt.Fprintln(p.out)
	}
	if len(list.Sections) > 0 {
		sectionTable(p, list.Sections)
		fmt.Fprintln(p.out)
	}
	if len(list.Users) == 0 {
		p.text("", "", "Nobody is signed in from outside, named or decided about.")
		return
	}
	p.text("", "", userNumbers(list.Users))
	p.step("To see all about one: ", c.command("user", "show", "USER@DOMAIN"))
}

// userTable has a line for each user.
func userTable(p *page, users []admin.User) {
	t := table{
		page: p, head: []string{"", "USER", "STATE", "DEVICES", "FROM", "SINCE (UTC)", "RULE"},
		name: 1, state: 2, right: map[int]bool{3: true},
	}
	for _, u := range users {
		mark, number, from, since := "", "", "", ""
		if u.Overruled || len(u.Bans) > 0 {
			mark = "!"
		}
		if n := len(u.SignIns); n > 0 {
			last := u.SignIns[n-1]
			number, from, since = fmt.Sprint(n), host(last.Remote), minute(last.Since)
		}
		r := t.row(stateStyle(u.State), mark, cmp.Or(u.Unicode, u.User), u.State, number, from, since, because(u))
		if u.Unicode != "" {
			r.below = append(r.below, u.User)
		}
	}
	t.print()
}

// sectionTable has a line for what goes for more than one user.
func sectionTable(p *page, list []admin.Section) {
	t := table{page: p, head: []string{"FOR OTHERS", "WRITTEN", "SAYS"}, name: 0, state: -1}
	for _, s := range list {
		var says []string
		for _, term := range s.Says {
			says = append(says, term.Key+" "+strings.ReplaceAll(term.Value, ", ", "+"))
		}
		t.row("", s.Rule.Name, cmp.Or(standsAt(s.Rule), "nowhere"), strings.Join(says, ", "))
	}
	t.print()
}

// standsAt is where a section stands, "" if nowhere.
func standsAt(r admin.Rule) string {
	if r.File == "" {
		return ""
	}
	return writtenAt(r)
}

// remarks says what is not in force, and whom a ban stops.
func (c userListCommand) remarks(p *page, users []admin.User) {
	for _, u := range users {
		if !u.Overruled && len(u.Bans) == 0 {
			continue
		}
		fmt.Fprintln(p.out)
		mark := p.paint(red, "!") + " "
		if u.Overruled {
			p.text(mark, "  ", fmt.Sprintf("%s: a decision (%s) is not in force: %s has the user, and the file wins.",
				namedUser(u.User), userDecidedBy(u.Decision), writtenAt(u.Rule)))
			p.step("  "+"To take it back: ", c.command("user", "forget", shellWord(u.User)))
			mark = "  "
		}
		for _, b := range u.Bans {
			p.text(mark, "  ", fmt.Sprintf("%s: %s.", namedUser(u.User), banEffect(b)))
			p.step("  "+"To lift it: ", c.command("ban", "lift", banWords(b.Key)))
			mark = "  "
		}
	}
}

// userNumbers sums the list up.
func userNumbers(users []admin.User) string {
	count := make(map[string]int)
	in, on := 0, 0
	for _, u := range users {
		count[u.State]++
		if n := len(u.SignIns); n > 0 {
			in, on = in+1, on+n
		}
	}
	parts := []string{"nobody signed in"}
	if in > 0 {
		parts[0] = fmt.Sprintf("%d signed in on %s", in, plural(on, "device"))
	}
	for _, state := range []string{admin.StateAllowed, admin.StateDenied, admin.StateByGroup} {
		if n := count[state]; n > 0 {
			parts = append(parts, fmt.Sprint(n, " ", state))
		}
	}
	return plural(len(users), "user") + ": " + strings.Join(parts, ", ")
}
