package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/sipedge/sipedge/admin"
)

type userShowCommand struct {
	configFlag
	userArg
	JSON bool `name:"json" help:"Print JSON."`
}

// Run shows one user.
func (c userShowCommand) Run(s streams) error {
	name, err := c.normal()
	if err != nil {
		return err
	}
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		u, err := edge.User(ctx, name)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(s.out, u)
		}
		c.warnFaulty(s.err, "remote.toml", u.Faults)
		c.print(newPage(s.out), u)
		return nil
	})
}

// print answers what an administrator asks: may he and why, where is he, what stops
// him, and how to change it.
func (c userShowCommand) print(p *page, u admin.User) {
	p.title(namedUser(u.User))
	var f facts
	f.add("state", u.State+", "+devices(u.SignIns))
	f.add("groups", strings.Join(u.Groups, ", "))
	f.add("directory", u.Trouble)
	if d := u.Decision; d != nil && !u.Overruled {
		f.add("decided", userDecidedBy(d))
		f.add("note", d.Note)
	} else if d != nil {
		f.add("overruled", userDecidedBy(d)+"; "+writtenAt(u.Rule)+" wins. To take it back:")
		f.add("", c.command("user", "forget", shellWord(u.User)))
	}
	f.print(p)
	fmt.Fprintln(p.out)
	termTable(p, u.Terms)
	for i, s := range u.SignIns {
		fmt.Fprintln(p.out)
		p.title(fmt.Sprintf("Device %d of %d", i+1, len(u.SignIns)))
		signInFacts(s).print(p)
	}
	if len(u.Bans) > 0 {
		fmt.Fprintln(p.out)
		banTable(p, u.Bans)
	}
	fmt.Fprintln(p.out)
	c.next(p, u)
}

// termTable has a line for each key, with the rule that says so.
func termTable(p *page, terms []admin.Term) {
	t := table{page: p, head: []string{"KEY", "VALUE", "RULE"}, state: 1}
	for _, term := range terms {
		style := ""
		if term.Key == "allow" {
			style = map[string]string{"true": green, "false": red}[term.Value]
		}
		t.row(style, term.Key, term.Value, term.Rule.String())
	}
	t.print()
}

// signInFacts is where one device is signed in.
func signInFacts(s admin.SignIn) (f facts) {
	f.add("from", s.Remote+" by "+s.Transport)
	f.add("software", s.Software)
	if s.Device != "contact "+s.Contact {
		f.add("device", s.Device)
	}
	f.add("contact", s.Contact)
	f.add("since", fmt.Sprintf("%s UTC, refreshed %s", minute(s.Since), minute(s.Refreshed)))
	until := minute(s.Until) + " UTC, unless refreshed"
	if s.Outbound {
		until += "; the home server does outbound"
	}
	f.add("until", until)
	f.add("flow", s.Flow)
	return f
}

// next says how to change it.
func (c userShowCommand) next(p *page, u admin.User) {
	name := shellWord(u.User)
	switch {
	case u.State == admin.StateAllowed:
		c.keepOut(p, u)
	default:
		c.letIn(p, u)
	}
	if u.Decision != nil && !u.Overruled {
		p.step("To take the decision back: ", c.command("user", "forget", name))
	}
	if len(u.SignIns) > 0 {
		p.step("To sign them out: ", c.command("user", "kick", name))
	}
	for _, b := range u.Bans {
		p.step("To lift the ban: ", c.command("ban", "lift", banWords(b.Key)))
	}
}
