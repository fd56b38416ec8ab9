package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/edge"
)

// flowCommand is what administrators do about connections. All of it speaks with the
// running edge.
type flowCommand struct {
	List flowListCommand `cmd:"" help:"List the connections that are open: partners, users, home servers, and the bridges."`
	Show flowShowCommand `cmd:"" help:"Show one connection."`
	Drop flowDropCommand `cmd:"" help:"End one connection; whoever it was may come again."`
}

// flowArg is the argument of commands about one connection.
type flowArg struct {
	Flow string `arg:"" placeholder:"NUMBER" help:"Its number, as the list and the log have it (flow=)."`
}

func (a flowArg) number() (string, error) {
	n := strings.TrimPrefix(a.Flow, "flow=")
	if n == "" || len(n) > 20 || strings.Trim(n, "0123456789") != "" {
		return "", exit{exitUsage, fmt.Errorf("%q is not the number of a flow", a.Flow)}
	}
	return n, nil
}

type flowListCommand struct {
	configFlag
	JSON bool   `name:"json" help:"Print JSON."`
	Word string `arg:"" optional:"" help:"Only those in whose entry this occurs: a role, an address, a user, a name on a certificate."`
}

// Help explains the columns.
func (flowListCommand) Help() string {
	return `AGE is how long the connection is open, SILENT how long nothing has come on it, OPEN how many requests on it wait for their answer, in both directions. WHO is the user, the names on the certificate, or the home server that we dialled. A bridge is a flow too, since the log has its number, and no connection: "bridge show" has those.`
}

// Run lists connections.
func (c flowListCommand) Run(s streams) error {
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		list, err := edge.Flows(ctx, c.Word)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(s.out, list)
		case len(list.Flows) == 0 && c.Word != "":
			return exit{exitNotFound, fmt.Errorf("no flow's entry has %q in it", c.Word)}
		case len(list.Flows) == 0:
			_, err := fmt.Fprintln(s.out, "No connection is open.")
			return err
		}
		p := newPage(s.out)
		flowTable(p, list.Flows, time.Now())
		fmt.Fprintln(p.out)
		p.text("", "", flowNumbers(list.Flows))
		p.step("To see all about one: ", c.command("flow", "show", "NUMBER"))
		return nil
	})
}

// flowTable has a line for each connection.
func flowTable(p *page, flows []admin.Flow, now time.Time) {
	t := table{
		page: p, head: []string{"FLOW", "ROLE", "REMOTE", "BY", "AGE", "SILENT", "OPEN", "WHO"},
		state: 1, right: map[int]bool{4: true, 5: true, 6: true},
	}
	for _, f := range flows {
		silent := inShort(min(seconds(f.Silent), now.Sub(f.Since)))
		if isBridge(f) {
			f.Remote, f.Transport, silent = "-", "-", "-"
		}
		t.row(roleStyle(f.Role), f.ID, f.Role, f.Remote, f.Transport, inShort(now.Sub(f.Since)), silent, fmt.Sprint(f.Began+f.Sent), whoIs(f))
	}
	t.print()
}

// roleStyle tells roles apart.
func roleStyle(role string) string {
	switch role {
	case edge.RoleRemote.String():
		return cyan
	case edge.RoleFederation.String():
		return yellow
	}
	return ""
}

// whoIs is who is at the other end.
func whoIs(f admin.Flow) string {
	switch {
	case f.SignIn != nil:
		return f.SignIn.User
	case f.Role == edge.RoleRemote.String():
		return "nobody signed in"
	case f.Target != "":
		return f.Target
	}
	return f.Peer
}

// flowNumbers sums the list up.
func flowNumbers(flows []admin.Flow) string {
	count := make(map[string]int)
	users := 0
	for _, f := range flows {
		count[f.Role]++
		if f.SignIn != nil {
			users++
		}
	}
	var parts []string
	for _, role := range sorted(count) {
		part := fmt.Sprint(count[role], " ", role)
		if role == edge.RoleRemote.String() {
			part += fmt.Sprintf(" (%d signed in)", users)
		}
		parts = append(parts, part)
	}
	return plural(len(flows), "flow") + ": " + strings.Join(parts, ", ")
}

// inShort is a time as tables show it: "12s", "5m", "3h", "2d".
func inShort(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

type flowShowCommand struct {
	configFlag
	flowArg
	JSON bool `name:"json" help:"Print JSON."`
}

// Run shows one connection.
func (c flowShowCommand) Run(s streams) error {
	id, err := c.number()
	if err != nil {
		return err
	}
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		f, err := edge.Flow(ctx, id)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(s.out, f)
		}
		p := newPage(s.out)
		p.title("Flow " + f.ID)
		flowFacts(f, time.Now()).print(p)
		if f.SignIn != nil {
			fmt.Fprintln(p.out)
			p.title(namedUser(f.SignIn.User) + " is signed in")
			signInFacts(*f.SignIn).without("from", "flow").print(p)
		}
		fmt.Fprintln(p.out)
		if isBridge(f) {
			p.step("To see its connections: ", c.command("bridge", "show", strings.TrimPrefix(f.Target, "bridge ")))
			return nil
		}
		if f.SignIn != nil {
			p.step("To see the user: ", c.command("user", "show", shellWord(f.SignIn.User)))
		}
		p.step("To end it: ", c.command("flow", "drop", f.ID))
		return nil
	})
}

// flowFacts is what there is to say about a connection.
func flowFacts(f admin.Flow, now time.Time) (list facts) {
	list.add("role", f.Role)
	if isBridge(f) {
		list.add("is", f.Target+", no connection")
		list.add("open since", minute(f.Since)+" UTC, "+ago(now.Sub(f.Since)))
		list.add("waiting", waiting(f))
		return list
	}
	switch {
	case f.Listener != "":
		list.add("came to", "listener "+f.Listener+", "+f.Local)
	case f.Target != "":
		list.add("dialled for", f.Target)
	}
	list.add("remote", f.Remote+" by "+f.Transport)
	list.add("proved", f.Peer)
	if f.Role == edge.RoleRemote.String() && f.SignIn == nil {
		list.add("user", "nobody is signed in")
	}
	list.add("open since", minute(f.Since)+" UTC, "+ago(now.Sub(f.Since)))
	list.add("last heard", ago(seconds(f.Silent)))
	list.add("waiting", waiting(f))
	return list
}

// isBridge reports whether it is a bridge, and no connection.
func isBridge(f admin.Flow) bool { return f.Role == edge.RoleBridge.String() }

func waiting(f admin.Flow) string {
	return fmt.Sprintf("%s from there, %s to there", plural(int(f.Began), "request"), plural(int(f.Sent), "request"))
}

// without leaves facts out.
func (f facts) without(names ...string) facts {
	return slices.DeleteFunc(slices.Clone(f), func(line [2]string) bool { return slices.Contains(names, line[0]) })
}

type flowDropCommand struct {
	configFlag
	flowArg
}

// Run ends one connection.
func (c flowDropCommand) Run(s streams) error {
	id, err := c.number()
	if err != nil {
		return err
	}
	return c.talk(func(ctx context.Context, client *admin.Client) error {
		f, err := client.Drop(ctx, id)
		if err != nil {
			return err
		}
		p := newPage(s.out)
		p.text("", "", fmt.Sprintf("Flow %s is ended: %s, %s from %s.", f.ID, f.Role, plain(whoIs(f)), f.Remote))
		switch {
		case f.SignIn != nil:
			p.step("Their client may come again. To see how to keep them out: ", c.command("user", "show", shellWord(f.SignIn.User)))
		case f.Role == edge.RoleRemote.String():
			p.step("Whoever it was may come again. To keep the address from signing in: ", c.command("ban", "add", host(f.Remote), "--for", "24h"))
		case f.Role == edge.RoleFederation.String():
			p.step("The partner may come again. To keep one out: ", c.command("partner", "block", "DOMAIN"))
		default:
			p.text("", "", "Home servers come again, and the edge dials them again.")
		}
		return nil
	})
}
