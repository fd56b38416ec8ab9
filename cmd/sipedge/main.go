// Command sipedge is a SIP edge: it stands between a company's home servers and
// who is outside (partners, its own users, the XMPP network), and lets pass what its
// lists allow.
//
// This package reads flags and files, wires the packages together and handles
// signals; what the edge does lies in package edge.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Exit codes. The unit file tells systemd not to restart after usage and
// configuration.
const (
	exitDone          = 0
	exitFailed        = 1
	exitUsage         = 2
	exitConfiguration = 3
	exitUnreachable   = 4 // no edge runs there
	exitNotPermitted  = 5
	exitNotFound      = 6
	exitConflict      = 7 // a file says otherwise, and wins
	exitNo            = 8 // asked and answered: it would not pass
)

// commands is the command line.
type commands struct {
	Serve   serveCommand   `cmd:"" help:"Run the edge."`
	Check   checkCommand   `cmd:"" help:"Check the configuration as serve would, and list all faults."`
	Explain explainCommand `cmd:"" help:"Would this request pass, and why?"`
	Doctor  doctorCommand  `cmd:"" help:"Examine our own side: files, certificates, names, clock, ports, pools."`
	Probe   probeCommand   `cmd:"" help:"Examine another side, step by step: a partner's (probe DOMAIN), or XMPP from outside (probe xmpp DOMAIN)."`
	Partner partnerCommand `cmd:"" help:"Look at partners and decide about them: list, show, discovered, allow, block, ignore, forget, card, add."`
	User    userCommand    `cmd:"" help:"Look at our users outside and decide about them: list, show, allow, deny, forget, kick."`
	Flow    flowCommand    `cmd:"" help:"Look at the connections that are open, and end one: list, show, drop."`
	Bridge  bridgeCommand  `cmd:"" help:"Look at bridges to public networks and decide who may use them: list, show, test, pause, resume, user, allow, deny, forget."`
	Ban     banCommand     `cmd:"" help:"Look at who is banned from signing in, and decide: list, add, lift."`
	Demo    demoCommand    `cmd:"" help:"See two companies federate on this machine; nothing to install or configure."`
	Version versionCommand `cmd:"" help:"Print the version."`

	ShowVersion versionFlag `name:"version" help:"Print the version."`
}

// configFlag is the flag that most commands share.
type configFlag struct {
	Config string `short:"c" default:"sipedge.toml" env:"SIPEDGE_CONFIG" placeholder:"FILE" help:"The configuration; partners.toml, remote.toml and bridges.toml lie beside it. Default: ${default}."`
}

// streams are where a command writes: its result, and everything else.
type streams struct{ out, err io.Writer }

// An exit is an error that knows the exit code. What there is to say has been
// said if it wraps nothing.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string { return fmt.Sprint("exit ", e.code, ": ", e.err) }
func (e exit) Unwrap() error { return e.err }

func main() {
	os.Exit(run(os.Args[1:], streams{os.Stdout, os.Stderr}))
}

// run is main without the process around it.
func run(args []string, s streams) int {
	if len(args) == 0 {
		run([]string{"--help"}, streams{s.err, s.err}) // nothing was asked for, and nothing done
		return exitUsage
	}
	over := false // kong wants to end: it has printed its help
	parser, err := kong.New(new(commands),
		kong.Name("sipedge"),
		kong.Description("A SIP edge: federation, users outside and the XMPP network for the home servers behind it."),
		kong.Writers(s.out, s.err),
		kong.Exit(func(int) { over = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		panic(err) // the struct above is wrong
	}
	ctx, err := parser.Parse(asksHelp(args))
	switch {
	case over:
		return exitDone
	case err != nil:
		fmt.Fprintf(s.err, "sipedge: %s\nTry \"%s --help\".\n", misuse(err), chosen(err))
		return exitUsage
	}
	return finish(ctx.Run(s), s.err)
}

// misuse says what is wrong with a command line. Kong lists with the words that a flag
// takes the empty one, which stands for its being left out.
func misuse(err error) string {
	return strings.Replace(err.Error(), `must be one of "",`, "must be one of ", 1)
}

// chosen is the command that was understood before something was not: its help knows
// what it takes.
func chosen(err error) string {
	var p *kong.ParseError
	if !errors.As(err, &p) || p.Context == nil {
		return "sipedge"
	}
	name := "sipedge"
	for _, step := range p.Context.Path {
		if step.Command != nil {
			name = step.Command.FullPath()
		}
	}
	return name
}

// asksHelp lets people ask for help as they do elsewhere, by "sipedge help user list".
func asksHelp(args []string) []string {
	if len(args) > 0 && args[0] == "help" {
		return append(slices.Clone(args[1:]), "--help")
	}
	return args
}

// plainLines makes the words of an error safe to print: others may have chosen
// some of them. Lines stay lines.
func plainLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = plain(l)
	}
	return strings.Join(lines, "\n")
}

// finish says what went wrong, if it has not been said, and returns the code.
func finish(err error, w io.Writer) int {
	var e exit
	switch {
	case err == nil:
		return exitDone
	case !errors.As(err, &e):
		e = exit{exitFailed, err}
	}
	if e.err != nil {
		for line := range strings.SplitSeq("sipedge: "+plainLines(e.err.Error()), "\n") {
			if strings.Contains(line, " sipedge ") { // a command, which is not broken
				fmt.Fprintln(w, line)
			} else {
				sayLine(w, line)
			}
		}
	}
	return e.code
}
