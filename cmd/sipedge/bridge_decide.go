package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/sipedge/sipedge/admin"
)

type bridgeAllowCommand struct {
	configFlag
	networkArg
	userArg
	waysFlag
	noteFlag
}

type bridgeDenyCommand struct {
	configFlag
	networkArg
	userArg
	waysFlag
	noteFlag
}

type bridgeForgetCommand struct {
	configFlag
	networkArg
	userArg
}

// Run lets a user use a network.
func (c bridgeAllowCommand) Run(s streams) error {
	return c.decideBridge(s, c.networkArg, c.userArg, c.wish(true, c.Note))
}

// Run keeps a user from a network.
func (c bridgeDenyCommand) Run(s streams) error {
	return c.decideBridge(s, c.networkArg, c.userArg, c.wish(false, c.Note))
}

// decideBridge makes one decision and says what it changed.
func (c configFlag) decideBridge(s streams, network networkArg, user userArg, w admin.BridgeWish) error {
	if err := network.check(); err != nil {
		return err
	}
	name, err := user.normalBridged()
	if err != nil {
		return err
	}
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		a, err := edge.DecideBridge(ctx, network.Network, name, w)
		var p *admin.Problem
		switch {
		case errors.As(err, &p) && p.Code == admin.CodeInFile:
			return fmt.Errorf("%w\nTo see what goes for them: %s", err, c.command("bridge", "user", network.Network, shellWord(name)))
		case err != nil:
			return err
		}
		warn(s.err, a.Warnings)
		c.warnFaulty(s.err, "bridges.toml", a.User.Faults)
		page, before := newPage(s.out), ""
		if a.Previous != nil {
			before = " (before: " + decidedBridge(a.Previous) + ")"
		}
		page.text("", "", fmt.Sprintf("%s %s, in force now%s.", namedUser(name), mayBoth(a.User), before))
		page.step("To see why: ", c.command("bridge", "user", network.Network, shellWord(name)))
		page.step("To take it back: ", c.command("bridge", "forget", network.Network, shellWord(name)))
		return nil
	})
}

// Run takes a decision back.
func (c bridgeForgetCommand) Run(s streams) error {
	if err := c.check(); err != nil {
		return err
	}
	name, err := c.normalBridged()
	if err != nil {
		return err
	}
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		a, err := edge.RevokeBridge(ctx, c.Network, name)
		if err != nil {
			return err
		}
		newPage(s.out).text("", "", fmt.Sprintf("%s: the decision is taken back, in force now (before: %s). Now they %s.",
			namedUser(name), decidedBridge(a.Previous), mayBoth(a.User)))
		return nil
	})
}

type bridgePauseCommand struct {
	configFlag
	networkArg
	noteFlag
}

// Run pauses a bridge.
func (c bridgePauseCommand) Run(s streams) error {
	if err := c.check(); err != nil {
		return err
	}
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		if _, err := edge.PauseBridge(ctx, c.Network, admin.PauseWish{Note: c.Note}); err != nil {
			return err
		}
		p := newPage(s.out)
		p.text("", "", fmt.Sprintf("The bridge to %s is paused, also when the edge is started anew. What is new is refused (480), both ways; what has begun goes on.", c.Network))
		p.step("To let it go on: ", c.command("bridge", "resume", c.Network))
		return nil
	})
}

type bridgeResumeCommand struct {
	configFlag
	networkArg
}

// Run lets a bridge go on.
func (c bridgeResumeCommand) Run(s streams) error {
	if err := c.check(); err != nil {
		return err
	}
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		b, err := edge.ResumeBridge(ctx, c.Network)
		if err != nil {
			return err
		}
		newPage(s.out).text("", "", fmt.Sprintf("The bridge to %s goes on: %s.", c.Network, bridgeState(b)))
		return nil
	})
}
