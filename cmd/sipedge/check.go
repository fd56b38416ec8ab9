package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/cmd/sipedge/internal/settings"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/remoteaccess"
)

type checkCommand struct {
	configFlag
	Strict bool `help:"Exit with code 8 if there are warnings."`
}

// Run checks the configuration with the code that serve starts with, up to the
// ports, which it leaves alone.
func (c checkCommand) Run(s streams) error {
	set, e, err := setup(c.Config, slog.New(slog.DiscardHandler), s.err)
	if err != nil {
		return err
	}
	defer e.Close()
	warned := len(e.Warnings())
	for _, w := range e.Warnings() {
		sayLine(s.err, w)
	}
	for _, w := range set.Partners.Warnings() {
		w.Text = "warning: " + w.Text
		sayLine(s.err, w.Error())
		warned++
	}
	for _, w := range slices.Concat(remoteWarnings(set), bridgeWarnings(set), unnamed(set, e)) {
		sayLine(s.err, w.Error())
		warned++
	}
	summary(set, s)
	if warned == 0 || !c.Strict {
		return nil
	}
	fmt.Fprintf(s.err, "%s: %s\n", c.Config, plural(warned, "warning"))
	return exit{code: exitNo}
}

// summary prints what the configuration amounts to.
func summary(set *settings.Settings, s streams) {
	partners, blocked := set.Partners.Len()
	rows := [][2]string{{"ok", fmt.Sprintf("%s, %s, %s, %d blocked",
		plural(len(set.Edge.Listeners), "listener"), plural(len(set.Edge.Pools), "pool"), plural(partners, "partner"), blocked)}}
	add := func(name, text string) { rows = append(rows, [2]string{name, text}) }
	for _, name := range sorted(set.Edge.Listeners) {
		l := set.Edge.Listeners[name]
		add("listener "+name, fmt.Sprintf("%s %s%s", l.Role, l.Address, transportOf(l)))
	}
	for _, name := range sorted(set.Edge.Pools) {
		p := set.Edge.Pools[name]
		add("pool "+name, fmt.Sprintf("%s at %s", strings.Join(p.Domains, ", "), strings.Join(p.Servers, ", ")))
	}
	if text := remoteAccess(set); text != "" {
		add("remote access", text)
	}
	for _, row := range bridgeRows(set) {
		add(row[0], row[1])
	}
	if set.NoPartners {
		sayLine(s.err, fmt.Sprintf("there is no %s: nobody is a partner", set.PartnersPath))
	}
	column := 0
	for _, r := range rows {
		column = max(column, utf8.RuneCountInString(r[0])+2)
	}
	p := newPage(s.out)
	for _, r := range rows {
		p.text(pad(r[0], column), strings.Repeat(" ", column), r[1])
	}
}

// transportOf is how a listener for users is come to, "" for others.
func transportOf(l edge.ListenerConfig) string {
	if !forUsers(l) {
		return ""
	}
	text := " by " + cmp.Or(l.Transport, "tls")
	if strings.Contains(l.Transport, "wss") {
		text += ", pages of " + cmp.Or(strings.Join(l.Origins, ", "), "its own host")
		if l.WithoutOrigin {
			text += ", clients without an origin"
		}
	}
	return text
}

// remoteAccess says how many rules there are about users outside, "" if there are none.
func remoteAccess(set *settings.Settings) string {
	users, groups := set.Remote.Len()
	text := plural(users, "user") + ", " + plural(groups, "group")
	decided := len(decisions(set.Remote))
	switch {
	case decided > 0:
		return text + ", " + plural(decided, "decision")
	case set.NoRemote:
		return ""
	}
	return text
}

// decisions are what was decided about users outside.
func decisions(a *remoteaccess.Access) []remoteaccess.Entry {
	return slices.DeleteFunc(a.Entries(), func(e remoteaccess.Entry) bool { return e.Kind != "decision" })
}

// remoteWarnings is what works about users outside and is likely not meant.
func remoteWarnings(set *settings.Settings) (list []error) {
	for _, w := range set.Remote.Warnings() {
		w.Text = "warning: " + w.Text
		list = append(list, w)
	}
	listeners := false
	for _, l := range set.Edge.Listeners {
		listeners = listeners || forUsers(l)
	}
	switch {
	case !set.NoRemote && !listeners:
		list = append(list, allowlists.Problem{File: filepath.Base(set.RemotePath),
			Text: `warning: users may sign in, and there is no listener for them: none has role = "remote" or "outside"`})
	case set.NoRemote && listeners && len(decisions(set.Remote)) == 0:
		list = append(list, allowlists.Problem{File: set.Edge.File,
			Text: "warning: there is a listener for users, and nobody may sign in from outside (no " + filepath.Base(set.RemotePath) + ")"})
	}
	return list
}

// bridgeRows say which bridges there are, and how many rules about them.
func bridgeRows(set *settings.Settings) (rows [][2]string) {
	c := set.Bridge.XMPP
	if c == nil {
		return nil
	}
	users, accounts := set.Bridges.Len()
	text := plural(users, "user") + ", " + plural(accounts, "account")
	if n := len(bridgeDecisions(set.Bridges)); n > 0 {
		text += ", " + plural(n, "decision")
	}
	ports := slices.Clone(c.Address)
	for _, a := range c.DirectTLS {
		ports = append(ports, a+" (direct TLS)")
	}
	return [][2]string{{"bridge xmpp", strings.Join(ports, ", ") + ": " + text}}
}

// bridgeDecisions are what was decided about users and bridges.
func bridgeDecisions(p *bridges.Policy) []bridges.Entry {
	return slices.DeleteFunc(p.Entries(), func(e bridges.Entry) bool { return e.Kind != "decision" })
}

// bridgeWarnings is what works about bridges and is likely not meant.
func bridgeWarnings(set *settings.Settings) (list []error) {
	for _, w := range set.Bridges.Warnings() {
		w.Text = "warning: " + w.Text
		list = append(list, w)
	}
	switch c := set.Bridge.XMPP; {
	case c == nil && !set.NoBridges:
		list = append(list, allowlists.Problem{File: filepath.Base(set.BridgesPath), Text: "warning: there is no bridge: " + set.Edge.File + " has no [bridge.xmpp]"})
	case c != nil && set.NoBridges && len(bridgeDecisions(set.Bridges)) == 0:
		list = append(list, allowlists.Problem{File: set.Edge.File, Line: c.Line,
			Text: "warning: [bridge.xmpp]: nobody may use it (no " + filepath.Base(set.BridgesPath) + ")"})
	}
	return slices.Concat(list, noPasswords(set), sharedPorts(set))
}

// noPasswords says which accounts have no password that can be read: serve starts
// without them, since it may come later.
func noPasswords(set *settings.Settings) (list []error) {
	for _, a := range set.Bridges.Accounts("xmpp") {
		if info, err := os.Stat(a.PasswordFile); err != nil || !info.Mode().IsRegular() {
			list = append(list, allowlists.Problem{File: a.Rule.File, Line: a.Rule.Line,
				Text: fmt.Sprintf("warning: %s: no file %s holds its password: the account is left out", a.Rule.Name, a.PasswordFile)})
		}
	}
	return list
}

// unnamed says which domains the certificate of the bridge does not name.
func unnamed(set *settings.Settings, e *edge.Edge) (list []error) {
	c := set.Bridge.XMPP
	if c == nil {
		return nil
	}
	pair := e.Keypairs()[c.Certificate]
	if pair == nil {
		return nil
	}
	id, err := certs.ReadIdentity(pair.Leaf())
	if err != nil {
		return nil
	}
	for _, domain := range xmppDomains(set.Edge, c) {
		if !id.SpeaksXMPP(domain) {
			list = append(list, bridgeWarning(set, "certificate %q does not name %s: servers that insist on certificates will not talk to us", c.Certificate, domain))
		}
	}
	return list
}

// sharedPorts says which addresses a listener has already.
func sharedPorts(set *settings.Settings) (list []error) {
	c := set.Bridge.XMPP
	if c == nil {
		return nil
	}
	for _, name := range sorted(set.Edge.Listeners) {
		if a := set.Edge.Listeners[name].Address; slices.Contains(c.Address, a) || slices.Contains(c.DirectTLS, a) {
			list = append(list, bridgeWarning(set, "%s is the address of [listener.%s], too; only one can have it", a, name))
		}
	}
	return list
}

// bridgeWarning is one about the section of the bridge.
func bridgeWarning(set *settings.Settings, format string, args ...any) error {
	return allowlists.Problem{File: set.Edge.File, Line: set.Bridge.XMPP.Line, Text: "warning: [bridge.xmpp]: " + fmt.Sprintf(format, args...)}
}

// plural is "1 pool" or "2 pools".
func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprint(n, " ", noun)
}
