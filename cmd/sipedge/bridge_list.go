package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sipedge/sipedge/admin"
)

type bridgeListCommand struct {
	configFlag
	JSON bool `name:"json" help:"Print JSON."`
}

// Help explains the columns.
func (bridgeListCommand) Help() string {
	return `UP is how many connections to foreign servers are open, OTHER how many are being made or cannot be. WAITING is what waits for one, SENT, RECEIVED and FAILED what went out, came in and was lost or refused since the bridge began.`
}

// Run lists the bridges of the running edge.
func (c bridgeListCommand) Run(s streams) error {
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		list, err := edge.Bridges(ctx)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(s.out, list)
		}
		p := newPage(s.out)
		if len(list.Bridges) == 0 {
			p.text("", "", "This edge has no bridges: its configuration has no section [bridge.xmpp].")
			return nil
		}
		bridgeTable(p, list.Bridges)
		for _, b := range list.Bridges {
			c.remark(p, b)
		}
		fmt.Fprintln(p.out)
		p.step("To see all about one: ", c.command("bridge", "show", "NETWORK"))
		return nil
	})
}

// bridgeTable has a line for each bridge.
func bridgeTable(p *page, list []admin.Bridge) {
	t := table{
		page: p, head: []string{"NETWORK", "STATE", "UP", "OTHER", "WAITING", "SENT", "RECEIVED", "FAILED", "SINCE (UTC)"},
		state: 1, right: map[int]bool{2: true, 3: true, 4: true, 5: true, 6: true, 7: true},
	}
	for _, b := range list {
		since := ""
		if !b.Since.IsZero() {
			since = minute(b.Since)
		}
		t.row(bridgeStyle(b), b.Network, bridgeState(b), fmt.Sprint(b.Streams.Up), fmt.Sprint(b.Streams.Other), fmt.Sprint(b.Waiting),
			fmt.Sprint(b.Sent), fmt.Sprint(b.Received), fmt.Sprint(b.Failed), since)
	}
	t.print()
}

// remark says what is not as it should be.
func (c configFlag) remark(p *page, b admin.Bridge) {
	if b.Pause != nil {
		fmt.Fprintln(p.out)
		p.text("", "", fmt.Sprintf("%s is paused%s.", b.Network, pausedBy(b.Pause)))
		p.step("To let it go on: ", c.command("bridge", "resume", b.Network))
	}
	if b.Reason != "" && b.Restarts > 0 {
		fmt.Fprintln(p.out)
		p.text("", "", plain(fmt.Sprintf("%s was started anew %s, the last time because: %s", b.Network, times(b.Restarts), b.Reason)))
	}
	if !b.Next.IsZero() {
		p.text("", "", fmt.Sprintf("It begins again in %s.", inShort(time.Until(b.Next))))
	}
}

// pausedBy is " by root since 2026-11-22 09:00 UTC: why".
func pausedBy(by *admin.Pause) string {
	text := ""
	if by.By != "" {
		text += " by " + plain(by.By)
	}
	if !by.At.IsZero() {
		text += " since " + minute(by.At) + " UTC"
	}
	if by.Note != "" {
		text += ": " + plain(by.Note)
	}
	return text
}

// times is "once" or "3 times".
func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprint(n, " times")
}
