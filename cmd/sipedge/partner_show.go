package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/federation"
)

type partnerShowCommand struct {
	configFlag
	domainArg
	JSON bool `name:"json" help:"Print JSON."`
}

// Run shows one domain.
func (c partnerShowCommand) Run(s streams) error {
	domain, err := c.normal()
	if err != nil {
		return err
	}
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		p, err := edge.Partner(ctx, domain)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(s.out, p)
		}
		return c.print(s.out, p)
	})
}

// print prints what there is to say; what is as it always is has no line.
func (c partnerShowCommand) print(w io.Writer, p admin.Partner) error {
	fmt.Fprintln(w, named(p.Domain))
	t := newTable(w)
	line := func(name, value string) {
		if value != "" {
			t.row("  "+name, value)
		}
	}
	line("state", p.State)
	line("written", place(p))
	if p.Source != admin.SourceDiscovered && p.Way != "" {
		terms(line, p)
	}
	line("note", cmp.Or(p.Note, p.Config.Note))
	if r := p.Record; r != nil {
		seen(line, *r)
	}
	if d := p.Overruled; d != nil {
		line("overruled", decidedBy(d)+"; "+place(p)+" wins. To take it back:")
		line("", c.command("partner", "forget", p.Domain))
	}
	if p.Source == admin.SourceDiscovered {
		line("to decide", c.command("partner", "allow|block|ignore", p.Domain))
	}
	return t.flush()
}

// terms are what an entry says.
func terms(line func(name, value string), p admin.Partner) {
	list := func(names []string) string { return strings.Join(names, ", ") }
	number := func(n int, unit string) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprint(n, " ", unit)
	}
	k := p.Config
	line("edge", map[string]string{
		"servers": list(k.Servers), "upstream": "the clearing house: " + list(k.Servers), "dns": "found by DNS SRV",
	}[p.Way])
	line("must prove", cmp.Or(k.PeerName, map[string]string{"servers": "the host of each server", "dns": "the domain"}[p.Way]))
	for i, pin := range k.Pins {
		line([]string{"keys", ""}[min(i, 1)], pin)
	}
	line("begun by", begunBy(p))
	line("methods", list(k.Methods))
	line("kinds", list(k.Kinds))
	line("our users", list(k.Users))
	line("their users", list(k.TheirUsers))
	line("message", number(k.MaxMessage, "octets at most"))
	line("body", number(k.MaxBody, "octets at most"))
	if k.Rate > 0 {
		line("rate", fmt.Sprintf("%g a second", k.Rate))
	}
	line("subscriptions", number(k.Subscriptions, "at a time"))
	line("verification", k.Verification)
	line("until", until(k.Until))
	line("owner", k.Owner)
	line("ticket", k.Ticket)
}

// seen is what was seen of a domain while nobody had listed it.
func seen(line func(name, value string), r federation.Record) {
	line("first seen", minute(r.FirstSeen)+" UTC")
	line("last seen", minute(r.LastSeen)+" UTC")
	line("messages", fmt.Sprintf("%d let in, %d of them to nobody; %d refused", r.Messages, r.Failed, r.Refused))
	line("addressees", fmt.Sprint(r.Addressees, " of ours"))
	line("certificate", r.Certificate)
	line("", r.Fingerprint)
	if !r.WatchedSince.IsZero() {
		line("watched", "since "+minute(r.WatchedSince)+" UTC")
	}
}
