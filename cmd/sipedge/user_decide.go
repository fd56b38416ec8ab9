package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sipedge/sipedge/admin"
)

type userAllowCommand struct {
	configFlag
	userArg
	noteFlag
}

type userDenyCommand struct {
	configFlag
	userArg
	noteFlag
}

type userForgetCommand struct {
	configFlag
	userArg
}

type userKickCommand struct {
	configFlag
	userArg
}

// Run lets a user in.
func (c userAllowCommand) Run(s streams) error {
	return c.decideAccess(s, c.userArg, admin.AccessWish{Decision: admin.AccessAllow, Note: c.Note})
}

// Run keeps a user out.
func (c userDenyCommand) Run(s streams) error {
	return c.decideAccess(s, c.userArg, admin.AccessWish{Decision: admin.AccessDeny, Note: c.Note})
}

// decideAccess makes one decision and says what it changed.
func (c configFlag) decideAccess(s streams, arg userArg, w admin.AccessWish) error {
	name, err := arg.normal()
	if err != nil {
		return err
	}
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		a, err := edge.DecideAccess(ctx, name, w)
		if err != nil {
			return c.inFileHint(ctx, edge, name, w, err)
		}
		warn(s.err, a.Warnings)
		c.warnFaulty(s.err, "remote.toml", a.User.Faults)
		p, may, before := newPage(s.out), "may sign in from outside", ""
		if !a.Decision.Allow {
			may = "may not sign in from outside"
		}
		if a.Previous != nil {
			before = " (before: " + userDecidedBy(a.Previous) + ")"
		}
		p.text("", "", fmt.Sprintf("%s %s, in force now%s.", namedUser(name), may, before))
		saySignedOut(p, a.SignedOut)
		p.step("To see what goes for them: ", c.command("user", "show", shellWord(name)))
		p.step("To take it back: ", c.command("user", "forget", shellWord(name)))
		return nil
	})
}

// inFileHint adds to the error of a decision that the file does not leave open how to
// get there all the same.
func (c configFlag) inFileHint(ctx context.Context, edge *admin.Client, name string, w admin.AccessWish, err error) error {
	var p *admin.Problem
	if !errors.As(err, &p) || p.Code != admin.CodeInFile {
		return err
	}
	u, failed := edge.User(ctx, name)
	if failed != nil {
		return err // of the two the one that was asked about
	}
	var hint bytes.Buffer
	lines := &page{out: &hint}
	switch allow := w.Decision == admin.AccessAllow; {
	case allow == (u.State == admin.StateAllowed):
		lines.step("It is so already. To see why: ", c.command("user", "show", shellWord(name)))
	case allow:
		c.letIn(lines, u)
	default:
		c.keepOut(lines, u)
	}
	return fmt.Errorf("%w\n%s", err, strings.TrimSpace(hint.String()))
}

// saySignedOut says where a user was signed in until now.
func saySignedOut(p *page, out []admin.SignIn) {
	for _, s := range out {
		text := "signed out: " + s.Remote + " by " + s.Transport
		if s.Software != "" {
			text += ", " + s.Software
		}
		p.text("  ", "  ", plain(text))
	}
}

// Run takes a decision back.
func (c userForgetCommand) Run(s streams) error {
	name, err := c.normal()
	if err != nil {
		return err
	}
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		a, err := edge.RevokeAccess(ctx, name)
		if err != nil {
			return err
		}
		p := newPage(s.out)
		p.text("", "", fmt.Sprintf("%s: the decision is taken back, in force now (before: %s). Now %s, by %s.",
			namedUser(name), userDecidedBy(a.Previous), a.User.State, plain(a.User.Rule.String())))
		saySignedOut(p, a.SignedOut)
		return nil
	})
}

// Run signs a user out.
func (c userKickCommand) Run(s streams) error {
	name, err := c.normal()
	if err != nil {
		return err
	}
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		a, err := edge.Kick(ctx, name)
		if err != nil {
			return err
		}
		p := newPage(s.out)
		p.text("", "", fmt.Sprintf("%s is signed out from %s.", namedUser(name), plural(len(a.SignedOut), "device")))
		saySignedOut(p, a.SignedOut)
		if !a.MaySignInAgain {
			p.step("Their clients may not sign in again. To see why: ", c.command("user", "show", shellWord(name)))
			return nil
		}
		p.text("", "", "Their clients sign in again within a minute or so, unless they are kept out.")
		c.keepOut(p, a.User)
		return nil
	})
}
