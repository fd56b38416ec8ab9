package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/bridges"
)

// bridgeCommand is what administrators do about bridges to public networks. All of it
// speaks with the running edge.
type bridgeCommand struct {
	List   bridgeListCommand   `cmd:"" help:"List the bridges: how each is, and what it carries."`
	Show   bridgeShowCommand   `cmd:"" help:"Show one bridge: its connections, and who may use it."`
	Test   bridgeTestCommand   `cmd:"" help:"See whether somebody on the network could be reached now; nobody is written to."`
	Pause  bridgePauseCommand  `cmd:"" help:"Stop what is new on a bridge, both ways, until it is resumed."`
	Resume bridgeResumeCommand `cmd:"" help:"Let a paused bridge go on."`
	User   bridgeUserCommand   `cmd:"" help:"Show whether one user may use a network, and why."`
	Allow  bridgeAllowCommand  `cmd:"" help:"Let a user use a network, in force at once."`
	Deny   bridgeDenyCommand   `cmd:"" help:"Keep a user from a network, in force at once."`
	Forget bridgeForgetCommand `cmd:"" help:"Take back what was decided about a user and a network."`
}

// networkArg is the argument of commands about one bridge.
type networkArg struct {
	Network string `arg:"" placeholder:"NETWORK" help:"The network that it leads to: xmpp."`
}

// check refuses what is no network.
func (a networkArg) check() error {
	if slices.Contains(bridges.Networks[:], a.Network) {
		return nil
	}
	return exit{exitUsage, fmt.Errorf("%q is no network; there is %s", a.Network, strings.Join(bridges.Networks[:], ", "))}
}

// waysFlag says which way is meant; neither is both.
type waysFlag struct {
	Inbound  bool `help:"Only that others there reach the user. Default: both ways."`
	Outbound bool `help:"Only that the user reaches others there. Default: both ways."`
}

// wish is the decision about the ways that are meant.
func (f waysFlag) wish(may bool, note string) admin.BridgeWish {
	w := admin.BridgeWish{Note: note}
	if f.Inbound || !f.Outbound {
		w.Inbound = &may
	}
	if f.Outbound || !f.Inbound {
		w.Outbound = &may
	}
	return w
}

// bridgeState is how a bridge is, in a word or two.
func bridgeState(b admin.Bridge) string {
	if b.Pause != nil && b.State != bridges.Paused.String() {
		return b.State + ", paused"
	}
	return b.State
}

// bridgeStyle is the colour of that.
func bridgeStyle(b admin.Bridge) string {
	switch {
	case b.State == bridges.Running.String() && b.Pause == nil:
		return green
	case b.State == bridges.Hung.String() || b.State == bridges.Restarting.String():
		return red
	}
	return yellow
}

// mayBoth says what a user may: "reach others, and be reached".
func mayBoth(u admin.BridgeUser) string {
	switch {
	case u.Inbound.May && u.Outbound.May:
		return "may use " + u.Network + " both ways"
	case u.Inbound.May:
		return "may be reached from " + u.Network + ", and not reach others there"
	case u.Outbound.May:
		return "may reach others on " + u.Network + ", and not be reached from there"
	}
	return "may not use " + u.Network
}

// decidedBridge says who decided what, and when: "allow xmpp, by root, 2026-11-22".
func decidedBridge(d *bridges.Decision) string {
	what, _, _ := strings.Cut(d.String(), " for ")
	return fmt.Sprintf("%s, by %s, %s", what, plain(d.By), day(d.At))
}
