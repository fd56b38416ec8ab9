package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/sipedge/sipedge/admin"
)

type bridgeTestCommand struct {
	configFlag
	networkArg
	JSON    bool   `name:"json" help:"Print JSON."`
	Address string `arg:"" placeholder:"ADDRESS" help:"Somebody there, or a domain: juliet@example.net, example.net."`
}

// Run has the running edge look whether somebody could be reached.
func (c bridgeTestCommand) Run(s streams) error {
	if err := c.check(); err != nil {
		return err
	}
	var ok bool
	err := c.talk(func(ctx context.Context, edge *admin.Client) error {
		a, err := edge.TestBridge(ctx, c.Network, c.Address)
		if ok = a.OK; err != nil {
			return err
		}
		if c.JSON {
			return printJSON(s.out, a)
		}
		c.print(newPage(s.out), a)
		return nil
	})
	if err == nil && !ok {
		return exit{code: exitNo}
	}
	return err
}

// print has a line for each step.
func (c bridgeTestCommand) print(p *page, a admin.BridgeTest) {
	p.title("Can " + plain(a.Address) + " be reached?")
	wrong, otherwise := make(map[string]bool), false
	for _, step := range a.Steps {
		l := fine
		switch {
		case step.Passed:
			l, otherwise = warned, true
		case !step.OK:
			l, wrong[step.Name] = failed, true
		}
		text := plain(step.Name)
		if step.Detail != "" {
			text += ": " + plain(step.Detail)
		}
		p.text("  "+p.paint(l.style(), pad(l.word(), 4))+"  ", "        ", text)
	}
	fmt.Fprintln(p.out)
	switch {
	case len(a.Steps) == 0:
		p.text("", "", "Nothing could be looked at.")
	case a.OK:
		said := "Yes."
		if strings.Contains(a.Address, "@") {
			said = "Yes, as far as the server. Whether there is such a user, only a message shows."
		}
		if otherwise {
			said += " Where it says warn, another way led on."
		}
		p.text("", "", said)
	default:
		p.text("", "", "No.")
	}
	if wrong["pause"] {
		p.step("To let it go on: ", c.command("bridge", "resume", c.Network))
	}
	if wrong["lists"] {
		domain, _, _ := strings.Cut(a.Address[strings.LastIndexByte(a.Address, '@')+1:], "/")
		p.step("To see why: ", c.command("partner", "show", shellWord(domain)))
	}
	if wrong["bridge"] {
		p.step("To see why: ", c.command("bridge", "show", c.Network))
	}
}
