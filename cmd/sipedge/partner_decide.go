package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/federation"
)

type noteFlag struct {
	Note string `placeholder:"TEXT" help:"Why, for those who read it later."`
}

type partnerAllowCommand struct {
	configFlag
	domainArg
	noteFlag
}

type partnerBlockCommand struct {
	configFlag
	domainArg
	noteFlag
}

type partnerIgnoreCommand struct {
	configFlag
	domainArg
	noteFlag
}

type partnerForgetCommand struct {
	configFlag
	domainArg
}

// Run allows a domain.
func (c partnerAllowCommand) Run(s streams) error {
	return c.decide(s, c.domainArg, admin.Wish{Action: federation.ActionAllow, Note: c.Note})
}

// Run blocks a domain.
func (c partnerBlockCommand) Run(s streams) error {
	return c.decide(s, c.domainArg, admin.Wish{Action: federation.ActionBlock, Note: c.Note})
}

// Run has a domain be what it is, without asking about it again.
func (c partnerIgnoreCommand) Run(s streams) error {
	return c.decide(s, c.domainArg, admin.Wish{Action: federation.ActionIgnore, Note: c.Note})
}

// decide makes one decision and says what it changed.
func (c configFlag) decide(s streams, arg domainArg, w admin.Wish) error {
	domain, err := arg.normal()
	if err != nil {
		return err
	}
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		a, err := edge.Decide(ctx, domain, w)
		if err != nil {
			return c.partnerFileHint(ctx, edge, domain, w, err)
		}
		warn(s.err, a.Warnings)
		c.reportDecision(s.out, domain, a)
		return nil
	})
}

// partnerFileHint adds to the error of a decision that the file does not leave open
// which line to change.
func (c configFlag) partnerFileHint(ctx context.Context, edge *admin.Client, domain string, w admin.Wish, err error) error {
	var problem *admin.Problem
	if !errors.As(err, &problem) || problem.Code != admin.CodeInFile {
		return err
	}
	p, failed := edge.Partner(ctx, domain)
	if failed != nil || p.Source != admin.SourceFile || p.Line == 0 {
		return err // of the two the one that was asked about
	}
	section := map[federation.Action]string{federation.ActionAllow: "partner", federation.ActionBlock: "blocked"}[w.Action]
	switch blocked := p.State == "blocked"; {
	case section == "":
		return err
	case blocked == (w.Action == federation.ActionBlock):
		return fmt.Errorf("%w\nTo see what it says: %s", err, c.command("partner", "show", domain))
	}
	return fmt.Errorf("%w\nTo %s it: write [%s.%q] instead, %s", err, w.Action, section, domain, place(p))
}

// reportDecision says what is in force now and how to take it back.
func (c configFlag) reportDecision(w io.Writer, domain string, a admin.Decided) {
	before := ""
	if a.Previous != nil {
		before = " (it was " + decidedBy(a.Previous) + ")"
	}
	switch a.Decision.Action {
	case federation.ActionAllow:
		fmt.Fprintf(w, "%s is allowed, in force now%s.\n", named(domain), before)
	case federation.ActionBlock:
		fmt.Fprintf(w, "%s is blocked, in force now%s.\n", named(domain), before)
	case federation.ActionIgnore:
		fmt.Fprintf(w, "%s stays as it is, and no longer waits for a decision%s.\n", named(domain), before)
	}
	if a.Previous != nil && a.Previous.Partner != nil && a.Decision.Partner == nil {
		fmt.Fprintln(w, "The servers and keys of its card no longer count.")
	}
	fmt.Fprintf(w, "To take it back: %s\n", c.command("partner", "forget", domain))
}

// Run takes a decision back.
func (c partnerForgetCommand) Run(s streams) error {
	domain, err := c.normal()
	if err != nil {
		return err
	}
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		a, err := edge.Revoke(ctx, domain)
		if err != nil {
			return err
		}
		now := "it is in no list, and gets what unlisted in [federation] says"
		if p, err := edge.Partner(ctx, domain); err == nil && p.Source == admin.SourceFile {
			now = place(p) + " says what it is: " + p.State
		}
		newPage(s.out).text("", "", fmt.Sprintf("%s: the decision is taken back, in force now (it was %s); %s.", named(domain), decidedBy(a.Previous), now))
		return nil
	})
}
