package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/cmd/sipedge/internal/settings"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
)

// partnerCommand is what administrators do about partners. All but card speak
// with the running edge.
type partnerCommand struct {
	List       partnerListCommand       `cmd:"" help:"List partners: of the file, decided and discovered."`
	Show       partnerShowCommand       `cmd:"" help:"Show all that is known about one domain."`
	Discovered partnerDiscoveredCommand `cmd:"" help:"List domains that came without being listed; first those that wait for a decision."`
	Allow      partnerAllowCommand      `cmd:"" help:"Allow a domain, in force at once."`
	Block      partnerBlockCommand      `cmd:"" help:"Block a domain, in force at once."`
	Ignore     partnerIgnoreCommand     `cmd:"" help:"Leave a discovered domain as it is, and do not show it as waiting."`
	Forget     partnerForgetCommand     `cmd:"" help:"Take back what was decided about a domain."`
	Card       partnerCardCommand       `cmd:"" help:"Write the card that partners need from us."`
	Add        partnerAddCommand        `cmd:"" help:"Check a partner's card, and allow what it names."`
}

// talk asks the running edge of a configuration, and gives errors their exit
// codes.
func (c configFlag) talk(ask func(context.Context, *admin.Client) error) error {
	conf, err := c.edgeConfig()
	if err != nil {
		return err
	}
	return c.talkTo(conf, ask)
}

func (c configFlag) talkTo(conf edge.Config, ask func(context.Context, *admin.Client) error) error {
	if conf.StateDir == "" {
		return exit{exitConfiguration, fmt.Errorf("%s: state_dir is missing; the control socket of the edge lies there", c.Config)}
	}
	return c.explained(ask(context.Background(), admin.NewClient(admin.SocketPath(stateDir(conf)))))
}

// edgeConfig reads the main file.
func (c configFlag) edgeConfig() (edge.Config, error) {
	conf, err := settings.LoadEdge(c.Config)
	if err != nil {
		return conf, exit{exitConfiguration, err}
	}
	return conf, nil
}

// explained gives an answer of the edge its exit code, and says what to do.
func (c configFlag) explained(err error) error {
	var p *admin.Problem
	switch {
	case errors.Is(err, admin.ErrNotRunning):
		return exit{exitUnreachable, fmt.Errorf("%w\nTo start it: %s", err, c.command("serve"))}
	case errors.Is(err, admin.ErrNotPermitted):
		return exit{exitNotPermitted, err}
	case errors.As(err, &p):
		switch p.Status {
		case http.StatusNotFound:
			return exit{exitNotFound, err}
		case http.StatusConflict:
			return exit{exitConflict, err}
		}
	}
	return err
}

// command is a command of ours for another one to name, with the configuration
// that it needs.
func (c configFlag) command(words ...string) string {
	text := "sipedge " + strings.Join(words, " ")
	if c.Config != "sipedge.toml" {
		text += " -c " + quoted(c.Config)
	}
	return text
}

// domainArg is the argument of commands about one domain.
type domainArg struct {
	Domain string `arg:"" help:"The domain, in Unicode or as A-labels."`
}

// normal is the domain in the form that lists compare.
func (a domainArg) normal() (string, error) {
	d, err := federation.Normal(a.Domain)
	if err != nil {
		return "", exit{exitUsage, fmt.Errorf("%q is not a domain", a.Domain)}
	}
	return d, nil
}

// named is a domain as it is shown: as people read it, and as lists compare it.
func named(domain string) string {
	if u := federation.Unicode(domain); u != domain {
		return plain(u) + " (" + domain + ")"
	}
	return domain
}

// minute is a time as lists show it, in UTC.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// day is a date as lists show it.
func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// decidedBy says who decided what, and when: "allowed by root, 2026-11-22".
func decidedBy(d *federation.Decision) string {
	word := map[federation.Action]string{
		federation.ActionAllow: "allowed", federation.ActionBlock: "blocked", federation.ActionIgnore: "ignored",
	}[d.Action]
	return fmt.Sprintf("%s by %s, %s", word, plain(d.By), day(d.At))
}

// printJSON prints what the edge answered, for machines.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// warn prints what the edge warns of.
func warn(w io.Writer, warnings []string) {
	p := newPage(w)
	for _, text := range warnings {
		p.text(p.paint(yellow, "warning:")+" ", "         ", plain(text))
	}
}

// warnFaulty says that a list as it is now is not in force, and why.
func (c configFlag) warnFaulty(w io.Writer, file string, faults []string) {
	if len(faults) == 0 {
		return
	}
	text := file + " is faulty and not in force; what was in it before still is. " + faults[0]
	if len(faults) > 1 {
		text += ", and more"
	}
	warn(w, []string{text})
	newPage(w).step("To see all that is wrong: ", c.command("check"))
}
