package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges"
	xmppaccount "github.com/sipedge/sipedge/bridges/xmpp/account"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
)

type probeXMPPCommand struct {
	Domain       string `arg:"" help:"The domain to reach: one of ours, to see whether the XMPP network reaches us."`
	Account      string `required:"" placeholder:"JID" help:"An ordinary account on another server, to look with. Nobody sees that it is there, and no message is sent or taken."`
	PasswordFile string `placeholder:"FILE" help:"A file whose first line is the account's password. Default: it is asked for, or is the first line that is piped in."`
	Server       string `placeholder:"HOST[:PORT]" help:"The account's server. Default: what DNS says."`
	DirectTLS    bool   `name:"direct-tls" help:"The server named by --server wants TLS at once."`
	CA           string `name:"ca" placeholder:"FILE" help:"The authorities that the server's certificate may be from. Default: those of the system."`
	Mechanism    string `placeholder:"NAME" help:"How to log in: PLAIN, SCRAM-SHA-1, SCRAM-SHA-256, SCRAM-SHA-512. Default: the strongest SCRAM that both sides have."`
	JSON         bool   `name:"json" help:"Print JSON."`
}

const probeXMPPTime = 2 * time.Minute // for all steps together

// probeXMPPReport is what probe xmpp prints. Its JSON is for machines and keeps its
// names.
type probeXMPPReport struct {
	Answer  string         `json:"answer"` // "yes" or "no"
	Domain  string         `json:"domain"`
	Account string         `json:"account"`
	Counts  map[string]int `json:"counts"`
	Groups  findings       `json:"groups"`
}

// Run logs in from outside and looks whether a domain is reached.
func (c probeXMPPCommand) Run(s streams) error {
	domain, err := federation.Normal(c.Domain)
	if err != nil {
		return exit{exitUsage, fmt.Errorf("%s: %w", escaped(c.Domain), err)}
	}
	home, err := federation.Normal(c.Account[strings.LastIndexByte(c.Account, '@')+1:])
	if err != nil || !strings.Contains(c.Account, "@") {
		return exit{exitUsage, fmt.Errorf("%s is no address of an account", escaped(c.Account))}
	}
	if home == domain {
		return exit{exitUsage, fmt.Errorf("%s is the domain of the account: an account elsewhere shows whether others reach it", domain)}
	}
	a := xmppaccount.Account{JID: c.Account, Server: c.Server, Direct: c.DirectTLS, Mechanism: c.Mechanism}
	if c.CA != "" {
		if a.TLS, err = authorities(c.CA); err != nil {
			return exit{exitUsage, err}
		}
	}
	if a.Password, err = password(c.PasswordFile, "Password of "+escaped(c.Account)+": ", s.err); err != nil {
		return exit{exitUsage, err}
	}
	stamps, err := probeStamps(edge.Config{})
	if err != nil {
		return err
	}
	if err := takeProbe(stamps, home, time.Now()); err != nil { // a guess of a password, too
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeXMPPTime)
	defer cancel()
	r := reportOfSteps(domain, c.Account, a.Check(ctx, domain))
	if err := r.print(s, c.JSON); err != nil {
		return err
	}
	if r.Answer == "no" {
		return exit{code: exitNo}
	}
	return nil
}

// authorities reads whom to trust.
func authorities(file string) (*tls.Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificate in it", file)
	}
	return &tls.Config{RootCAs: pool}, nil
}

// What a check does with the domain, in its order.
var domainSteps = []string{"what it is", "ping"}

// reportOfSteps makes findings of what was looked at.
func reportOfSteps(domain, jid string, steps []bridges.Step) *probeXMPPReport {
	ours := group{Name: "the account's server"}
	theirs := group{Name: domain}
	r := &probeXMPPReport{Answer: "no", Domain: domain, Account: escaped(jid)}
	for _, step := range steps {
		g, subject := &ours, step.Name
		if rest, ok := strings.CutPrefix(step.Name, domain+": "); ok {
			g, subject = &theirs, rest
		}
		if step.OK {
			g.add(fine, escaped(subject), escaped(step.Detail))
		} else {
			g.add(failed, escaped(subject), escaped(step.Detail), remedyOfStep(domain, subject))
		}
	}
	if missing := domainSteps[min(len(theirs.Findings), len(domainSteps)):]; len(missing) > 0 {
		notChecked(&theirs, missing, "the step before failed")
	} else if theirs.stands() && ours.stands() {
		r.Answer = "yes"
	}
	r.Groups = findings{ours, theirs}
	r.Counts = r.Groups.counts()
	return r
}

// remedyOfStep says what to do about a step that failed.
func remedyOfStep(domain, step string) string {
	switch {
	case step == "DNS" || strings.HasPrefix(step, "connect "):
		return "This is about the account's server, not about us: --server names another place of it."
	case step == "TLS":
		return "This is about the account's server: --ca FILE names the authority of its certificate, --direct-tls wants TLS at once."
	case step == "login":
		return "Look at the account and its password; --mechanism names another way to log in."
	case step == "what it is" || step == "ping":
		return "The account's server must find us by SRV _xmpp-server._tcp." + domain + " and _xmpps-server._tcp." + domain +
			", reach that port, and be able to prove its domain to us, or we ours to it. \"sipedge doctor\" looks at our side; our log says whether it came, and why it was refused."
	}
	return "Look at what was given on the command line."
}

// print writes the report for machines or for people.
func (r *probeXMPPReport) print(s streams, asJSON bool) error {
	if asJSON {
		return writeJSON(s.out, r)
	}
	p := newPage(s.out)
	p.title("sipedge probe xmpp "+r.Domain, "asked by "+r.Account)
	p.groups(r.Groups)
	if r.Answer == "yes" {
		p.end(green, "YES: "+r.Domain+" is reached by XMPP, and answers. "+r.Groups.tally()+".")
	} else {
		p.end(red, "NO: it stops at "+r.Groups.first()+". "+r.Groups.tally()+".")
	}
	return nil
}
