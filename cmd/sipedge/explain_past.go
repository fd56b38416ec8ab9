package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/edge"
)

// A past is what explain --ref prints: what was, and what would be today.
type past struct {
	Refused refusedRequest `json:"refused"`
	Meaning string         `json:"meaning,omitempty"`
	Today   *report        `json:"today,omitempty"`
	// NotAsked is why today is not known.
	NotAsked string `json:"not_asked,omitempty"`
}

// explainRef finds a refusal by its reference, and asks the doors again.
func (c explainCommand) explainRef(s streams) error {
	ref, err := readRef(c.Ref)
	if err != nil {
		return exit{exitUsage, err}
	}
	found, err := c.find(ref)
	switch {
	case errors.Is(err, errNoRecord):
		return exit{exitNotFound, c.notFound(ref)}
	case err != nil:
		return err
	}
	p := past{Refused: found, Meaning: meaning(allowlists.Reason(found.Reason))}
	p.Today, err = c.askAgain(found, s.err)
	if err != nil {
		p.NotAsked = err.Error()
	}
	if c.JSON {
		return writeJSON(s.out, p)
	}
	return p.print(s.out)
}

// notFound says what it can mean that nothing is known of a reference.
func (c explainCommand) notFound(ref string) error {
	where := "in what the edge keeps (" + c.Config + ": state_dir)"
	if c.Log != "" {
		where = "in " + c.Log
	}
	return fmt.Errorf("%s is not found %s. It may be\n"+
		"  of another edge: the Warning names it before the text\n"+
		"  older than what is kept: %d files of %d MiB each\n"+
		"  left out: of a peer that is refused all the time, %d lines a second are written (missed=N counts the others)\n"+
		"  not written down yet: try again in a second",
		ref, where, auditFiles, auditSize>>20, 20)
}

// askAgain asks the doors today about a request of the past, as far as it is
// known: neither its body nor its dialog are kept, and of the certificate only
// the names.
func (c explainCommand) askAgain(p refusedRequest, faults io.Writer) (*report, error) {
	set, e, err := setup(c.Config, slog.New(slog.DiscardHandler), faults)
	if err != nil {
		return nil, errors.New("the configuration is faulty")
	}
	defer e.Close()
	again := explainCommand{configFlag: c.configFlag, From: p.From, To: p.To, Method: p.Method, Remote: p.Role == edge.RoleRemote.String()}
	if p.Role == edge.RoleBridge.String() {
		again.Bridge, again.Proof = strings.TrimPrefix(p.Peer, "bridge "), p.Proof
	}
	if again.Remote && p.Method == "REGISTER" {
		again.To = p.From // what was written down of it is where it went
	}
	q, err := again.query(set.Edge)
	if err != nil {
		return nil, fmt.Errorf("it cannot be asked about again: %w", err)
	}
	q.Inside = p.Role == edge.RoleInternal.String() || p.Role == "" && q.Inside
	if at, err := netip.ParseAddrPort(p.Remote); err == nil && q.Remote {
		q.Source = at.Addr()
	}
	q.Tries = p.Reason == string(allowlists.AccessLockedOut) // it brought some
	r := newReport(c.configFlag, q)
	if !q.Inside && !q.Remote && q.Bridge == "" {
		if q.Peer, err = remembered(p.Peer); err != nil {
			return nil, err
		}
	}
	return r, r.walk(set, e, q)
}

// remembered is an identity with the names that were written down of one.
func remembered(peer string) (*certs.Identity, error) {
	if peer == "" || peer == "nobody" {
		return nil, nil
	}
	peer, _, _ = strings.Cut(peer, " and ")
	authority, err := certs.NewAuthority("explain")
	if err != nil {
		return nil, err
	}
	pair, err := authority.Keypair(certs.Leaf{Names: strings.Split(peer, ",")})
	if err != nil {
		return nil, fmt.Errorf("its certificate cannot be made up again: %w", err)
	}
	id, err := certs.ReadIdentity(pair.Leaf())
	return &id, err
}

// print prints what was, and what would be today.
func (p past) print(w io.Writer) error {
	pg := newPage(w)
	r := p.Refused
	const margin = "       "
	word, style := "DENY", red
	if r.Status == 0 || r.Status >= 200 && r.Status < 300 {
		word, style = "PASSED", green
	}
	fmt.Fprintf(w, "%s%s%s\n", pg.paint(style+";"+bold, word), margin[len(word):], pg.paint(bold, plain(r.Reason)))
	if p.Meaning != "" {
		pg.text(margin, margin, p.Meaning)
	}
	if r.Rule != "" {
		pg.text("by     ", margin, plain(r.Rule))
	}
	fmt.Fprintln(w)
	line := func(name, value string) {
		if value != "" {
			pg.text("  "+pad(name, 10)+"  ", strings.Repeat(" ", 14), escaped(value))
		}
	}
	line("reference", r.Ref)
	line("when", r.Time.UTC().Format("2006-01-02 15:04:05")+" UTC, "+ago(time.Since(r.Time)))
	line("who", who(r))
	line("from", r.From)
	line("to", r.To)
	line("method", r.Method)
	line("call-id", r.CallID)
	line("answer", answered(r))
	line("tried", r.Target)
	if r.Missed > 0 {
		line("missed", fmt.Sprintf("%d more of this peer, just before, were not written down", r.Missed))
	}
	fmt.Fprintln(w)
	if p.Today == nil {
		pg.text("", "", "What it would be today is not known: "+plain(p.NotAsked)+".")
		return nil
	}
	pg.text("", "", "Asked again today, as a new request without its body:")
	fmt.Fprintln(w)
	return p.Today.write(w, false)
}

// who names the peer by its certificate and its address.
func who(r refusedRequest) string {
	name := r.Peer
	switch {
	case r.Role == edge.RoleInternal.String() && name == "":
		name = "a home server by plain TCP"
	case r.Role == edge.RoleRemote.String() && name == "":
		name = "a user outside, or somebody who would be one"
	case r.Role == edge.RoleBridge.String() && r.Proof != "":
		name += ", which proves the domain by: " + r.Proof
	case name == "":
		name = "somebody without a certificate"
	}
	if r.Remote == "" {
		return name
	}
	return name + ", from " + r.Remote
}

func answered(r refusedRequest) string {
	if r.Status == 0 {
		return "none"
	}
	return fmt.Sprintf("%d, with the reference in the Warning", r.Status)
}

// ago is a time that has passed, as people say it.
func ago(d time.Duration) string {
	switch {
	case d < 0:
		return "in the future"
	case d < time.Minute:
		return plural(int(d.Seconds()), "second") + " ago"
	case d < time.Hour:
		return plural(int(d.Minutes()), "minute") + " ago"
	case d < 48*time.Hour:
		return plural(int(d.Hours()), "hour") + " ago"
	}
	return plural(int(d.Hours()/24), "day") + " ago"
}
