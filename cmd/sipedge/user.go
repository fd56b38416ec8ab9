package main

import (
	"fmt"
	"strings"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/remoteaccess"
)

// userCommand is what administrators do about our own users outside. All of it speaks
// with the running edge.
type userCommand struct {
	List   userListCommand   `cmd:"" help:"List users: signed in from outside, named by remote.toml, decided about."`
	Show   userShowCommand   `cmd:"" help:"Show all about one user: may they sign in and why, where they are, what stops them."`
	Allow  userAllowCommand  `cmd:"" help:"Let a user sign in from outside, in force at once."`
	Deny   userDenyCommand   `cmd:"" help:"Keep a user out, in force at once; who is signed in is signed out."`
	Forget userForgetCommand `cmd:"" help:"Take back what was decided about a user."`
	Kick   userKickCommand   `cmd:"" help:"Sign a user out everywhere outside; deny keeps them out."`
}

// userArg is the argument of commands about one user.
type userArg struct {
	User string `arg:"" placeholder:"USER@DOMAIN" help:"The user, in a domain of ours."`
}

// normal is the user in the form in which he is compared.
func (a userArg) normal() (string, error) { return a.normalBy(remoteaccess.NormalUser) }

// normalBridged is normal for commands about bridges, whose patterns stand in another
// file.
func (a userArg) normalBridged() (string, error) { return a.normalBy(bridges.NormalUser) }

func (a userArg) normalBy(read func(string) (string, error)) (string, error) {
	text := strings.TrimPrefix(strings.TrimPrefix(a.User, "sips:"), "sip:")
	name, err := read(text)
	if err != nil {
		return "", exit{exitUsage, fmt.Errorf("%q is not the address of a user: %w", a.User, err)}
	}
	return name, nil
}

// namedUser is a user as he is shown: as people read the domain, and as lists compare
// it.
func namedUser(user string) string {
	local, domain, _ := strings.Cut(user, "@")
	if u := federation.Unicode(domain); u != domain {
		return plain(local+"@"+u) + " (" + plain(user) + ")"
	}
	return plain(user)
}

// shellWord is a word of a command that others may have chosen.
func shellWord(word string) string { return quoted(plain(word)) }

// userDecidedBy says who decided what about a user, and when: "allowed by root,
// 2026-11-22".
func userDecidedBy(d *remoteaccess.Decision) string {
	word := "denied"
	if d.Allow {
		word = "allowed"
	}
	return fmt.Sprintf("%s by %s, %s", word, plain(d.By), day(d.At))
}

// because is the rule that says whether a user may sign in, without his name.
func because(u admin.User) string {
	switch {
	case u.Rule.Name != "user "+u.User:
		return u.Rule.String()
	case u.Rule.Line > 0:
		return writtenAt(u.Rule)
	case u.Decision != nil:
		return u.Decision.By + ", " + day(u.Decision.At)
	}
	return u.Rule.File
}

// writtenAt is where a rule is written, or its name if it is nowhere.
func writtenAt(r admin.Rule) string {
	switch {
	case r.Line > 0:
		return fmt.Sprintf("%s:%d", r.File, r.Line)
	case r.File != "":
		return r.File
	}
	return r.Name
}

// inFile reports whether remote.toml names the user and says whether he may, so that
// nobody can decide otherwise by command.
func inFile(u admin.User) bool {
	return u.Rule.Line > 0 && (u.Rule.Name == "user "+u.User || u.Rule.Name == "user "+local(u.User))
}

// local is the part of an address before the @.
func local(address string) string {
	user, _, _ := strings.Cut(address, "@")
	return user
}

// keepOut says how to keep a user out who may sign in.
func (c configFlag) keepOut(p *page, u admin.User) {
	if inFile(u) {
		p.text("", "", plain("To keep them out: "+changeIn(u, false)+"; or a ban, at once:"))
		p.step("  ", c.command("ban", "add", shellWord(u.User), "--for", "24h"))
		return
	}
	p.step("To keep them out: ", c.command("user", "deny", shellWord(u.User)))
}

// letIn says how to let a user in who may not sign in.
func (c configFlag) letIn(p *page, u admin.User) {
	if inFile(u) {
		p.text("", "", plain("To let them in: "+changeIn(u, true)))
		return
	}
	p.step("To let them in: ", c.command("user", "allow", shellWord(u.User)))
}

// changeIn is what to write into remote.toml about a user whom it names.
func changeIn(u admin.User, allow bool) string {
	return fmt.Sprintf("allow = %v in [user.%q], %s", allow, strings.TrimPrefix(u.Rule.Name, "user "), writtenAt(u.Rule))
}

// step is what can be done next. A command is not broken into lines, so that it can be
// copied.
func (p *page) step(text, command string) { fmt.Fprintln(p.out, text+command) }

// devices is "signed in on 2 devices".
func devices(in []admin.SignIn) string {
	if len(in) == 0 {
		return "not signed in"
	}
	return "signed in on " + plural(len(in), "device")
}

// host is an address without its port.
func host(remote string) string {
	if i := strings.LastIndexByte(remote, ':'); i >= 0 {
		return strings.Trim(remote[:i], "[]")
	}
	return remote
}
