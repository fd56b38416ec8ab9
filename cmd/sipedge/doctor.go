package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp"
	"github.com/sipedge/sipedge/cmd/sipedge/internal/settings"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/remoteaccess"
)

type doctorCommand struct {
	configFlag
	User string `placeholder:"NAME" help:"Who runs the edge. Default: the owner of state_dir, or who asks."`
	JSON bool   `name:"json" help:"Print JSON."`
}

const (
	doctorTime   = 30 * time.Second // for all checks together
	doctorChecks = 8                // at the same time
)

// A doctor examines our own side: what others need from us, and what we need
// to run. It changes nothing and asks no partner anything.
type doctor struct {
	flag     configFlag
	user     account
	conf     edge.Config // as far as it could be read
	partners *federation.Partners
	access   *remoteaccess.Access
	bridge   settings.BridgeSections
	accounts []bridges.Account // of users, on public networks
	locator  *locate.Locator   // nil: the configuration is faulty
	now      time.Time
}

// doctorReport is what doctor prints. Its JSON is for machines and keeps its
// names.
type doctorReport struct {
	OK     bool           `json:"ok"`
	Config string         `json:"config"`
	Name   string         `json:"name,omitempty"`
	User   string         `json:"user"`
	Counts map[string]int `json:"counts"`
	Groups findings       `json:"groups"`
}

// Run examines our own side.
func (c doctorCommand) Run(s streams) error {
	ctx, cancel := context.WithTimeout(context.Background(), doctorTime)
	defer cancel()
	d := &doctor{flag: c.configFlag, now: time.Now()}
	configuration, valid := d.configuration(c.Config)
	if d.locator != nil {
		defer d.locator.Close()
	}
	var err error
	if d.user, err = d.servingUser(c.User); err != nil {
		return exit{exitUsage, fmt.Errorf("--user: %w", err)}
	}
	all := findings{configuration}
	if d.conf.File != "" {
		all = append(all, d.files(c.Config))
	}
	if valid {
		all = append(all, d.examine(ctx)...)
	} else {
		all = append(all, group{"certificates, names, clock, ports, pools", []finding{
			{unchecked, "the rest", "not checked: the configuration is faulty", "Mend what failed above, and ask again."}}})
	}
	r := doctorReport{all.ok(), c.Config, d.conf.Name, d.user.name, all.counts(), all}
	if err := r.print(s, c.JSON); err != nil {
		return err
	}
	switch {
	case !valid:
		return exit{code: exitConfiguration}
	case !r.OK:
		return exit{code: exitNo}
	}
	return nil
}

// print writes the report for machines or for people.
func (r doctorReport) print(s streams, asJSON bool) error {
	if asJSON {
		return writeJSON(s.out, r)
	}
	p := newPage(s.out)
	p.title("sipedge doctor", escaped(strings.TrimSpace(r.Name+" ("+r.Config+")")))
	p.groups(r.Groups)
	n := r.Groups.count()
	switch tally := r.Groups.tally(); {
	case n[failed] > 0:
		p.end(red, tally+". Begin with what says FAIL.")
	case n[warned] > 0:
		p.end(yellow, tally+". It works; what says warn will not for everybody, or not for long.")
	case n[unchecked] > 0:
		p.end(green, tally+". Nothing to mend, as far as it could be checked.")
	default:
		p.end(green, tally+". Nothing to mend.")
	}
	return nil
}

// configuration reads the files with the code that serve starts with.
func (d *doctor) configuration(path string) (g group, valid bool) {
	g.Name = "configuration"
	var faults bytes.Buffer
	set, e, err := setup(path, slog.New(slog.DiscardHandler), &faults)
	if err != nil {
		d.listFaults(&g, path, faults.String())
		return g, false
	}
	defer e.Close()
	d.conf, d.partners, d.access, d.bridge = set.Edge, set.Partners, set.Remote, set.Bridge
	d.accounts = set.Bridges.Accounts(xmpp.Network)
	listed, blocked := set.Partners.Len()
	g.add(fine, "files", fmt.Sprintf("%s, %s, %s, %d blocked", plural(len(d.conf.Listeners), "listener"),
		plural(len(d.conf.Pools), "pool"), plural(listed, "partner"), blocked))
	for _, w := range e.Warnings() {
		if !strings.HasPrefix(w, "[certificate.") { // they have a group of their own
			g.add(warned, "sipedge.toml", escaped(w), "Change it, unless it is meant so.")
		}
	}
	for _, w := range set.Partners.Warnings() {
		g.add(warned, escaped(fmt.Sprintf("%s:%d", w.File, w.Line)), escaped(w.Text), "Change the entry, unless it is meant so.")
	}
	for _, err := range slices.Concat(remoteWarnings(set), bridgeWarnings(set)) {
		subject, text, _ := strings.Cut(err.Error(), ": warning: ")
		g.add(warned, escaped(subject), escaped(text), "Change it, unless it is meant so.")
	}
	if set.NoPartners {
		g.add(noted, "partners", "there is no "+set.PartnersPath+": nobody is a partner", "Write one, with a section for each partner.")
	}
	if d.locator, err = locate.New(d.conf.DNS, nil, nil); err != nil {
		g.add(failed, "[dns]", err.Error(), "Mend the section.")
		return g, false
	}
	return g, true
}

// listFaults notes what setup said, and keeps what the files say all the same:
// a key that cannot be read is a matter of permissions.
func (d *doctor) listFaults(g *group, path, text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		subject, fault, ok := strings.Cut(line, ": ")
		switch {
		case strings.HasSuffix(line, " in the configuration"):
			continue
		case !ok:
			subject, fault = "file", line
		}
		g.add(failed, escaped(subject), escaped(fault), "Mend it; sipedge check lists the same.")
	}
	d.conf, d.bridge, _ = settings.LoadMain(path)
}

// servingUser is who will run the edge.
func (d *doctor) servingUser(name string) (account, error) {
	if name != "" {
		return accountNamed(name)
	}
	if d.conf.StateDir != "" {
		if info, err := os.Stat(beside(d.conf.Dir, d.conf.StateDir)); err == nil {
			uid, _ := ownerOf(info)
			return accountNumbered(uid), nil
		}
	}
	return accountNumbered(uint32(os.Getuid())), nil
}

// files judges all files that the configuration names.
func (d *doctor) files(config string) group {
	g := group{Name: "files, for " + plain(d.user.name)}
	if d.user.uid == 0 {
		g.add(noted, "user", "root reads and writes everything, so that little is judged here", "Run the edge as a user of its own, and say who with --user.")
	}
	directory, _ := d.access.LDAP()
	list := append(filesOf(config, d.conf, directory), d.bridgeFiles()...)
	g.Findings = append(g.Findings, closed(list, d.user)...)
	for _, f := range list {
		g.Findings = append(g.Findings, f.check(d.user))
	}
	if d.conf.StateDir != "" {
		g.Findings = append(g.Findings, checkState(beside(d.conf.Dir, d.conf.StateDir), d.user)...)
	}
	for i, f := range g.Findings {
		g.Findings[i] = finding{f.Level, plain(f.Subject), plain(f.Evidence), plain(f.Remedy)}
	}
	return g
}

// examine makes all checks that need a valid configuration, many at a time, and
// returns them in their order.
func (d *doctor) examine(ctx context.Context) (all findings) {
	type check func(context.Context) group
	var checks []check
	for _, name := range sorted(d.conf.Certificates) {
		checks = append(checks, func(context.Context) group { return d.certificate(name) })
	}
	checks = append(checks, d.ourName)
	for _, domain := range d.conf.Domains {
		checks = append(checks, func(ctx context.Context) group { return d.domain(ctx, domain) })
	}
	if len(d.forUsers()) > 0 {
		for _, domain := range d.conf.Domains {
			checks = append(checks, func(ctx context.Context) group { return d.users(ctx, domain) })
		}
	}
	for _, domain := range d.xmppDomains() {
		checks = append(checks, func(ctx context.Context) group { return d.xmpp(ctx, domain) })
	}
	checks = append(checks, d.clock, d.ports)
	if c, ok := d.access.LDAP(); ok {
		checks = append(checks, func(ctx context.Context) group { return d.directory(ctx, c) })
	}
	for _, name := range sorted(d.conf.Pools) {
		checks = append(checks, func(ctx context.Context) group { return d.pool(ctx, name) })
	}
	all = make(findings, len(checks))
	var run errgroup.Group
	run.SetLimit(doctorChecks)
	for i, c := range checks {
		run.Go(func() error {
			all[i] = c(ctx)
			return nil
		})
	}
	_ = run.Wait() // the checks have no errors, only findings
	return all
}

// clock judges the clock by what is here: the kernel, and this program's age.
func (d *doctor) clock(context.Context) group {
	g := group{Name: "clock", Findings: []finding{kernelClock()}}
	const format = "2006-01-02 15:04:05 UTC"
	shown := d.now.UTC().Format(format)
	if info, err := os.Stat(cmp.Or(executable(), os.Args[0])); err == nil && d.now.Before(info.ModTime().Add(-time.Minute)) {
		g.add(failed, "time", shown+", before this program was installed ("+info.ModTime().UTC().Format(format)+")", "Set the clock: certificates are judged by it.")
		return g
	}
	g.add(fine, "time", shown+", after this program was installed")
	return g
}

func executable() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	return path
}
