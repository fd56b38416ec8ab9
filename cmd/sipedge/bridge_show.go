package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/sipedge/sipedge/admin"
)

type bridgeShowCommand struct {
	configFlag
	networkArg
	JSON bool   `name:"json" help:"Print JSON."`
	Word string `arg:"" optional:"" help:"Only those connections and rules in whose entry this occurs: a domain, a state, a proof, a user."`
}

// Help explains the columns.
func (bridgeShowCommand) Help() string {
	return `DIR says who opened the connection: in is the other server, out we, both that stanzas go both ways on it. PROOF is what proves the other server: a certificate, DANE (signed DNS), dialback (DNS alone), or that a user of ours has an account there.`
}

// Run shows one bridge.
func (c bridgeShowCommand) Run(s streams) error {
	if err := c.check(); err != nil {
		return err
	}
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		b, err := edge.Bridge(ctx, c.Network, c.Word)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(s.out, b)
		}
		c.warnFaulty(s.err, "bridges.toml", b.Faults)
		c.print(newPage(s.out), b)
		warn(s.err, b.Warnings)
		return nil
	})
}

func (c bridgeShowCommand) print(p *page, b admin.Bridge) {
	p.title("Bridge to " + b.Network)
	var f facts
	since := ""
	if !b.Since.IsZero() {
		since = ", since " + minute(b.Since) + " UTC"
	}
	f.add("state", bridgeState(b)+since)
	f.add("listens", strings.Join(b.Addresses, ", "))
	f.add("streams", fmt.Sprintf("%d up, %d other", b.Streams.Up, b.Streams.Other))
	f.add("carried", fmt.Sprintf("%d sent, %d received, %d failed, %d waiting", b.Sent, b.Received, b.Failed, b.Waiting))
	if b.Abandoned > 0 {
		f.add("hanging", fmt.Sprintf("%d that were left behind", b.Abandoned))
	}
	f.print(p)
	c.remark(p, b)
	if len(b.Links) > 0 {
		fmt.Fprintln(p.out)
		linkTable(p, b.Links)
	}
	if len(b.Rules) > 0 {
		fmt.Fprintln(p.out)
		ruleTable(p, b.Rules)
	}
	if len(b.Links)+len(b.Rules) == 0 && c.Word != "" {
		fmt.Fprintln(p.out)
		p.text("", "", fmt.Sprintf("No connection and no rule has %q in it.", plain(c.Word)))
	}
	fmt.Fprintln(p.out)
	p.step("To see whether somebody can be reached: ", c.command("bridge", "test", b.Network, "ADDRESS"))
	p.step("To see what goes for a user: ", c.command("bridge", "user", b.Network, "USER@DOMAIN"))
}

// linkTable has a line for each connection.
func linkTable(p *page, links []admin.BridgeLink) {
	t := table{
		page: p, head: []string{"REMOTE", "LOCAL", "DIR", "STATE", "PROOF", "SENT", "RCVD", "WAIT", "DETAIL"},
		state: 3, right: map[int]bool{5: true, 6: true, 7: true}, longest: 24,
	}
	for _, l := range links {
		style := map[string]string{"up": green, "connecting": yellow, "waiting": yellow, "down": red}[l.State]
		t.row(style, l.Remote, l.Local, l.Direction, l.State, l.Proof, fmt.Sprint(l.Sent), fmt.Sprint(l.Received), fmt.Sprint(l.Waiting), l.Detail)
	}
	t.print()
}

// ruleTable has a line for each section, decision and account.
func ruleTable(p *page, rules []admin.BridgeRule) {
	t := table{page: p, head: []string{"USER", "KIND", "INBOUND", "OUTBOUND", "ACCOUNT", "WRITTEN"}, state: -1}
	for _, r := range rules {
		t.row("", r.Name, r.Kind, r.Inbound, r.Outbound, r.Account, cmp.Or(standsAt(r.Rule), "nowhere"))
	}
	t.print()
}

type bridgeUserCommand struct {
	configFlag
	networkArg
	userArg
	JSON bool `name:"json" help:"Print JSON."`
}

// Run shows what goes for one user.
func (c bridgeUserCommand) Run(s streams) error {
	if err := c.check(); err != nil {
		return err
	}
	name, err := c.normalBridged()
	if err != nil {
		return err
	}
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		u, err := edge.BridgeUser(ctx, c.Network, name)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(s.out, u)
		}
		c.warnFaulty(s.err, "bridges.toml", u.Faults)
		c.print(newPage(s.out), u)
		return nil
	})
}

func (c bridgeUserCommand) print(p *page, u admin.BridgeUser) {
	p.title(namedUser(u.User) + " and " + u.Network)
	var f facts
	may := func(m admin.MayUse) string {
		return map[bool]string{true: "yes, ", false: "no, "}[m.May] + m.Rule.String()
	}
	f.add("inbound", may(u.Inbound))
	f.add("outbound", may(u.Outbound))
	if u.Account != nil {
		f.add("account", *u.Account)
	}
	if d := u.Decision; d != nil {
		name := "decided"
		if u.Overruled {
			name = "overruled"
		}
		f.add(name, decidedBridge(d))
		f.add("note", d.Note)
	}
	f.print(p)
	fmt.Fprintln(p.out)
	name := shellWord(u.User)
	if !u.Inbound.May || !u.Outbound.May {
		p.step("To allow it: ", c.command("bridge", "allow", u.Network, name))
	}
	if u.Inbound.May || u.Outbound.May {
		p.step("To deny it: ", c.command("bridge", "deny", u.Network, name))
	}
	if u.Decision != nil {
		p.step("To take the decision back: ", c.command("bridge", "forget", u.Network, name))
	}
}
