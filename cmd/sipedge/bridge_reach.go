package main

import (
	"context"
	"fmt"

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
		printTest(newPage(s.out), a)
		return nil
	})
	if err == nil && !ok {
		return exit{code: exitNo}
	}
	return err
}

// printTest has a line for each step.
func printTest(p *page, a admin.BridgeTest) {
	p.title("Can " + plain(a.Address) + " be reached?")
	for _, step := range a.Steps {
		l := failed
		if step.OK {
			l = fine
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
		p.text("", "", "Yes.")
	default:
		p.text("", "", "No, or not by all ways.")
	}
}
