package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/cmd/sipedge/internal/settings"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/sip"
	"github.com/sipedge/sipedge/store"
)

// probeCommand is the commands that look at a side that is not ours, from there.
type probeCommand struct {
	SIP  probeSIPCommand  `cmd:"" name:"sip" default:"withargs" help:"Examine a partner's side; \"probe DOMAIN\" is the same."`
	XMPP probeXMPPCommand `cmd:"" name:"xmpp" help:"See whether users of another XMPP server reach a domain, as one of them."`
}

type probeSIPCommand struct {
	Domain string     `arg:"" help:"The partner's domain."`
	Config string     `short:"c" env:"SIPEDGE_CONFIG" placeholder:"FILE" help:"Whose certificates, authorities, resolvers and lists to look with. Default: sipedge.toml if it is there, else those of the system and none of ours."`
	From   netip.Addr `placeholder:"ADDRESS" help:"Which of our addresses to ask from. Default: what the system chooses."`
	JSON   bool       `name:"json" help:"Print JSON."`
}

const (
	probeTime  = 45 * time.Second // for all steps together
	probeCalls = 8                // addresses that are tried
	probeLines = 4                // of them at the same time
)

// A probe looks at a partner's side, step by step, with our eyes.
type probe struct {
	domain   string
	us       asker
	from     netip.Addr
	now      time.Time
	conf     edge.Config
	partners *federation.Partners // nil: without a configuration
	keypair  *certs.Keypair       // nil: we show none
	roots    *certs.Roots
	route    federation.Route
	locator  *locate.Locator
	targets  []string // names of the servers that DNS leads to
}

// probeReport is what probe prints. Its JSON is for machines and keeps its names.
type probeReport struct {
	Answer  string         `json:"answer"` // "yes", "no", or "unknown" without our certificate
	Domain  string         `json:"domain"`
	AskedBy string         `json:"asked_by"`
	Counts  map[string]int `json:"counts"`
	Groups  findings       `json:"groups"`

	reached, tried int
}

// Run looks at a partner's side.
func (c probeSIPCommand) Run(s streams) error {
	domain, err := federation.Normal(c.Domain)
	if err != nil {
		return exit{exitUsage, fmt.Errorf("%s: %w", escaped(c.Domain), err)}
	}
	p := &probe{domain: domain, from: c.From.Unmap(), now: time.Now()}
	we, err := p.prepare(c.Config, s)
	if err != nil {
		return err
	}
	defer p.locator.Close()
	if err := p.permitted(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	r := p.examine(ctx, we)
	if err := r.print(s, c.JSON); err != nil {
		return err
	}
	if r.Answer == "no" {
		return exit{code: exitNo}
	}
	return nil
}

// permitted asks whether one more probe may be sent now, and notes it.
func (p *probe) permitted() error {
	file, err := probeStamps(p.conf)
	if err != nil {
		return err
	}
	return takeProbe(file, p.domain, p.now)
}

// prepare reads whose eyes to look with, and says so.
func (p *probe) prepare(config string, s streams) (group, error) {
	g := group{Name: "we"}
	if config == "" {
		if _, err := os.Stat("sipedge.toml"); errors.Is(err, fs.ErrNotExist) {
			return g, p.withoutConfig(&g)
		}
		config = "sipedge.toml"
	}
	i := new(installation)
	defer i.close()
	set, errs := settings.Load(config, i.decided(store.OpenReadOnly, slog.New(slog.DiscardHandler)), func(*settings.Settings) []error { return nil })
	if len(errs) > 0 {
		for _, err := range errs {
			sayLine(s.err, err.Error())
		}
		return g, exit{exitConfiguration, errors.New(faultsIn(config, errs))}
	}
	p.conf, p.partners = set.Edge, set.Partners
	if ours(p.conf.Domains, p.domain) {
		return g, exit{exitUsage, fmt.Errorf("%s is a domain of ours: sipedge doctor looks at our own side", p.domain)}
	}
	p.us = asker{name: p.conf.Name, agent: agentOf(p.conf.Name)}
	if len(p.conf.Domains) > 0 {
		p.us.domain, _ = federation.Normal(p.conf.Domains[0])
	}
	if !sip.ValidHost([]byte(p.us.name)) {
		return g, exit{exitConfiguration, fmt.Errorf("%s: name %q is not a host name", config, p.conf.Name)}
	}
	g.add(fine, "name", p.us.name+", for "+p.us.domain)
	if err := p.eyes(&g); err != nil {
		return g, exit{exitConfiguration, err}
	}
	p.listed(&g)
	return g, nil
}

func agentOf(name string) string { return "sipedge/" + version() + " probe by " + name }

// withoutConfig looks with what every machine has.
func (p *probe) withoutConfig(g *group) (err error) {
	name, err := os.Hostname()
	if err != nil || !sip.ValidHost([]byte(name)) {
		name = "anonymous.invalid" // RFC 3323 §4.1.1.3
	}
	p.us = asker{name: name, agent: agentOf(name)}
	g.add(noted, "name", p.us.name+", the name of this machine", "There is no configuration: -c FILE names one.")
	g.add(noted, "certificate", "we have none to show", "Whether they take ours, and whether our lists have them, is not checked without -c FILE.")
	if p.roots, err = certs.LoadRoots(certs.SystemRoots, ""); err != nil {
		return err
	}
	g.add(fine, "authorities", "those of the system")
	if p.locator, err = locate.New(locate.Config{}, nil, nil); err != nil {
		return err
	}
	g.add(fine, "resolvers", few(p.locator.Resolvers()))
	p.route, err = p.plainRoute()
	return err
}

// eyes reads our certificate, and whom we trust: those of the listener for
// partners, as the edge does when it connects.
func (p *probe) eyes(g *group) (err error) {
	var l edge.ListenerConfig
	var own []netip.AddrPort
	for _, name := range sorted(p.conf.Listeners) {
		c := p.conf.Listeners[name]
		if at, ok := listens(c.Address); ok {
			own = append(own, at)
		}
		if c.Role == "federation" && l.Role == "" {
			l = c
		}
	}
	if l.Role == "" {
		return errors.New("there is no [listener.NAME] with role = \"federation\": partners see its certificate")
	}
	c := p.conf.Certificates[l.Certificate]
	p.keypair, err = certs.Load(beside(p.conf.Dir, c.Cert), beside(p.conf.Dir, c.Key))
	if err != nil {
		g.add(noted, "certificate", "we show none: "+escaped(err.Error()), "Whether they take ours is not checked. Run probe as who may read the key.")
	} else {
		leaf := p.keypair.Leaf()
		id, _ := certs.ReadIdentity(leaf) // what proves nothing says so by its usage
		g.add(fine, "certificate", escaped(l.Certificate)+": "+namesIn(leaf)+"; usage "+id.Usage().String())
	}
	ca := cmp.Or(l.PeerCA, certs.SystemRoots)
	if p.roots, err = rootsBeside(p.conf.Dir, ca, l.PeerCRL); err != nil {
		return err
	}
	g.add(fine, "authorities", escaped(ca))
	if p.locator, err = locate.New(p.conf.DNS, func() []netip.AddrPort { return own }, nil); err != nil {
		return err
	}
	g.add(fine, "resolvers", few(p.locator.Resolvers()))
	return nil
}

// listed says what our lists say about the domain, and takes the way to it.
func (p *probe) listed(g *group) {
	const subject = "our lists"
	grant := p.partners.Permit(federation.Request{Method: []byte("MESSAGE"), Remote: []byte(p.domain)})
	by := grant.Rule.String()
	if grant.Allowed() {
		g.add(fine, subject, escaped(fmt.Sprintf("%s: %s", grant.Tier, by)))
	} else {
		remedy := meaning(grant.Reason)
		if grant.Reason == allowlists.PartnerNotAllowed {
			remedy += " To allow it: [partner.\"" + p.domain + "\"] in partners.toml."
		}
		g.add(noted, subject, escaped(fmt.Sprintf("would not let a MESSAGE go there: %s by %s", grant.Reason, by)), remedy)
	}
	var ok bool
	if p.route, ok = p.partners.Dial([]byte(p.domain)); !ok {
		p.route, _ = p.plainRoute() // the domain is in normal form: it cannot fail
	}
}

// plainRoute is the way to a partner about whom nothing special is written.
func (p *probe) plainRoute() (federation.Route, error) {
	file := federation.File{Partners: map[string]federation.PartnerConfig{p.domain: {}}}
	plain, errs := federation.Compile(file, nil, federation.With{Now: p.now})
	if len(errs) > 0 {
		return federation.Route{}, errs[0]
	}
	route, _ := plain.Dial([]byte(p.domain))
	return route, nil
}

// examine takes all steps.
func (p *probe) examine(ctx context.Context, we group) *probeReport {
	dns, hops := p.find(ctx)
	all := findings{we, dns}
	r := &probeReport{Domain: p.domain, AskedBy: p.us.name, tried: len(hops)}
	calls := make([]*call, len(hops))
	servers := make([]group, len(hops))
	reached := make([]bool, len(hops))
	var run errgroup.Group
	run.SetLimit(probeLines)
	for i, hop := range hops {
		run.Go(func() error {
			calls[i] = p.call(ctx, hop)
			servers[i], reached[i] = p.judge(ctx, calls[i])
			return nil
		})
	}
	_ = run.Wait() // the calls have no errors, only findings
	for _, ok := range reached {
		if ok {
			r.reached++
		}
	}
	all = append(all, servers...)
	if len(hops) == 0 {
		g := group{Name: "server"}
		notChecked(&g, allSteps, "there is no address")
		all = append(all, g)
	}
	if r.reached == 0 && all.ok() && len(hops) > 0 && p.keypair != nil {
		all.blame()
	}
	r.Groups, r.Counts = all, all.counts()
	switch {
	case !all.ok():
		r.Answer = "no"
	case r.reached > 0:
		r.Answer = "yes"
	default:
		r.Answer = "unknown"
	}
	return r
}

// blame turns what would not matter if another address answered into failures:
// none did.
func (all findings) blame() {
	for _, g := range all {
		for i, f := range g.Findings {
			if f.Subject == stepTCP && f.Level == noted {
				g.Findings[i].Level = failed
			}
		}
	}
}

// print writes the report for machines or for people.
func (r *probeReport) print(s streams, asJSON bool) error {
	if asJSON {
		return writeJSON(s.out, r)
	}
	p := newPage(s.out)
	p.title("sipedge probe "+r.Domain, "asked by "+r.AskedBy)
	p.groups(r.Groups)
	at := fmt.Sprintf("%s answers at %d of %d addresses", r.Domain, r.reached, r.tried)
	switch r.tried {
	case 0:
		at = r.Domain + " cannot be found"
	case 1:
		at = fmt.Sprintf("%s answers at %d of 1 address", r.Domain, r.reached)
	}
	switch r.Answer {
	case "yes":
		p.end(green, "YES: "+at+". "+r.Groups.tally()+".")
	case "no":
		p.end(red, "NO: "+at+"; it stops at "+r.Groups.first()+". "+r.Groups.tally()+".")
	default:
		p.end(yellow, "NOT KNOWN: as far as one can see without our certificate, nothing is wrong. "+r.Groups.tally()+".")
	}
	return nil
}

// first names the first failure.
func (all findings) first() string {
	for _, g := range all {
		i := slices.IndexFunc(g.Findings, func(f finding) bool { return f.Level == failed })
		if i >= 0 {
			return g.Findings[i].Subject + " (" + g.Name + ")"
		}
	}
	return ""
}
