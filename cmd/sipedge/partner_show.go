package main

import (
	"cmp"
	"context"
	"fmt"
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
		c.print(newPage(s.out), p)
		return nil
	})
}

// print prints what there is to say; what is as it always is has no line.
func (c partnerShowCommand) print(w *page, p admin.Partner) {
	w.title(named(p.Domain))
	var f facts
	f.add("state", p.State)
	if p.Source == admin.SourceDecision {
		f.add("decided", "by "+place(p))
	} else if p.Source == admin.SourceFile {
		f.add("written", place(p))
	}
	if p.Way != "" {
		f.terms(p)
	}
	f.add("note", cmp.Or(p.Note, p.Config.Note))
	if p.Record != nil {
		f.seen(*p.Record)
	}
	if d := p.Overruled; d != nil {
		f.add("overruled", decidedBy(d)+"; "+place(p)+" wins. To take it back:")
		f.add("", c.command("partner", "forget", p.Domain))
	}
	if p.Source == admin.SourceDiscovered {
		f.add("to decide", c.command("partner", "allow|block|ignore", p.Domain))
	}
	f.print(w)
}

// terms are what an entry says.
func (f *facts) terms(p admin.Partner) {
	list := func(names []string) string { return strings.Join(names, ", ") }
	number := func(n int, unit string) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprint(n, " ", unit)
	}
	k := p.Config
	f.add("edge", map[string]string{
		"servers": list(k.Servers), "upstream": "the clearing house: " + list(k.Servers), "dns": "found by DNS SRV",
		federation.NetworkXMPP: "none: it is reached by the XMPP bridge",
	}[p.Way])
	if p.Way == "dns" && k.Network == federation.NetworkSIP {
		f.add("network", "SIP, never a bridge")
	}
	f.add("must prove", cmp.Or(k.PeerName, map[string]string{"servers": "the host of each server", "dns": "the domain, or a server in it that SRV names"}[p.Way]))
	for i, pin := range k.Pins {
		f.add([]string{"keys", ""}[min(i, 1)], pin)
	}
	f.add("begun by", map[string]string{"both": "both", "in": "them", "out": "us"}[k.Direction])
	f.add("methods", list(k.Methods))
	f.add("kinds", list(k.Kinds))
	f.add("our users", list(k.Users))
	f.add("their users", list(k.TheirUsers))
	f.add("message", number(k.MaxMessage, "octets at most"))
	f.add("body", number(k.MaxBody, "octets at most"))
	if k.Rate > 0 {
		f.add("rate", fmt.Sprintf("%g a second", k.Rate))
	}
	f.add("subscriptions", number(k.Subscriptions, "at a time"))
	f.add("verification", k.Verification)
	f.add("until", until(k.Until))
	f.add("owner", k.Owner)
	f.add("ticket", k.Ticket)
}

// seen is what was seen of a domain while nobody had listed it.
func (f *facts) seen(r federation.Record) {
	f.add("first seen", minute(r.FirstSeen)+" UTC")
	f.add("last seen", minute(r.LastSeen)+" UTC")
	f.add("messages", fmt.Sprintf("while unlisted: %d let in, %d of them to nobody; %d refused", r.Messages, r.Failed, r.Refused))
	f.add("addresses", fmt.Sprint("asked for ", r.Addressees, " of ours"))
	f.add("certificate", r.Certificate)
	f.add("SHA-256", r.Fingerprint)
	if !r.WatchedSince.IsZero() {
		f.add("watched", "since "+minute(r.WatchedSince)+" UTC")
	}
}
