package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/home"
	"github.com/sipedge/sipedge/locate/locatetest"
)

// demoCommand plays the product: two companies on loopback, each with an edge as
// serve runs it, one that is on the XMPP network, and the scenes between them.
type demoCommand struct {
	Once bool   `help:"Play the scenes and exit: 0 if all went as expected, 1 if not."`
	JSON bool   `name:"json" help:"Print JSON instead of the screen; without --once the edges stay up all the same."`
	Keep bool   `help:"Keep the folder with the files."`
	Dir  string `default:"." type:"existingdir" placeholder:"DIR" help:"Where to make that folder. Default: here."`

	// xmpp makes the company on the XMPP network; nil: newJabberServer.
	xmpp func() (xmppCompany, error)
}

// exitInterrupted is what shells expect of a command that Ctrl-C ended before
// it was done.
const exitInterrupted = 130

// Run plays the demo until SIGINT or SIGTERM; a second one ends the process at
// once.
func (c demoCommand) Run(s streams) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	sip.SetDefaultLogger(slog.New(slog.DiscardHandler)) // sipgo's, for what takes no logger
	return c.play(ctx, s.out)
}

// play builds the world, plays the scenes, and stays until ctx ends unless it
// is for once.
func (c demoCommand) play(ctx context.Context, out io.Writer) (err error) {
	began := time.Now()
	newXMPP := c.xmpp
	if newXMPP == nil {
		newXMPP = newJabberServer
	}
	d, err := startDemo(ctx, c.Dir, newXMPP)
	switch {
	case err != nil && ctx.Err() != nil:
		return exit{code: exitInterrupted}
	case err != nil:
		return fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, d.end(c.Keep)) }()
	show := newDemoScreen(out, c)
	show.world(d)
	report := d.play(ctx, show)
	if ctx.Err() != nil {
		return exit{code: exitInterrupted}
	}
	report.Seconds = time.Since(began).Seconds()
	if err := show.end(d, report); err != nil {
		return err
	}
	if !c.Once {
		<-ctx.Done()
		show.over(d)
	}
	if !report.OK {
		return exit{code: exitFailed} // the report has said why
	}
	return nil
}

// A demo is the world of the scenes.
type demo struct {
	scratch      string
	acme, globex *demoCompany
	xmpp         xmppCompany
	xmppWorld    xmppWorld
	kim          xmppClient // her client, there
	dns          *locatetest.Server
	audit        *auditLog
	strangers    map[string]*demoStranger // by the domain of their certificate
	calls        chan *home.Call          // that bob took
}

// startDemo makes the world and lets it run. Ports are written into files before
// they are opened; when somebody takes one in between, such as a second demo
// that starts at the same moment, it begins again with others.
func startDemo(ctx context.Context, dir string, newXMPP func() (xmppCompany, error)) (*demo, error) {
	for tries := 5; ; tries-- {
		d, err := newDemo(dir, newXMPP)
		if err != nil {
			return nil, err
		}
		if err = d.start(ctx); err == nil {
			return d, nil
		}
		err = errors.Join(err, d.end(false))
		if tries == 0 || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
	}
}

// newDemo makes the world as files and addresses. But for DNS, nothing runs yet.
func newDemo(dir string, newXMPP func() (xmppCompany, error)) (*demo, error) {
	scratch, err := makeScratch(dir)
	if err != nil {
		return nil, err
	}
	d := &demo{scratch: scratch, audit: newAuditLog(), strangers: map[string]*demoStranger{}, calls: make(chan *home.Call, 16)}
	if d.xmpp, err = newXMPP(); err != nil {
		return nil, errors.Join(err, d.end(false))
	}
	if err := d.build(); err != nil {
		return nil, errors.Join(err, d.end(false))
	}
	return d, nil
}

// makeScratch makes a folder with a name that is short enough to type.
func makeScratch(dir string) (scratch string, err error) {
	for range 100 {
		scratch = filepath.Join(dir, fmt.Sprintf("sipedge-demo-%04x", rand.N(1<<16)))
		if err = os.Mkdir(scratch, 0o700); !errors.Is(err, fs.ErrExist) {
			return scratch, err
		}
	}
	return "", err
}

func (d *demo) build() (err error) {
	if d.acme, err = newDemoCompany(1, "acme.example", "globex.example", 1, "alice", "carl"); err != nil {
		return err
	}
	d.acme.Blocked = "spam.example"
	if err := d.acme.sendsOut("rita"); err != nil {
		return err
	}
	if err := d.acme.crosses(jabberDomain, "alice"); err != nil {
		return err
	}
	if d.globex, err = newDemoCompany(2, "globex.example", "acme.example", 2, "bob"); err != nil {
		return err
	}
	d.globex.Open = true
	public, err := certs.NewAuthority("A public CA")
	if err != nil {
		return err
	}
	if err := d.addStrangers(public, "initech.example", "spam.example", "flood.example"); err != nil {
		return err
	}
	if err := d.certifyXMPP(public); err != nil {
		return err
	}
	if d.dns, err = locatetest.Serve(d.zone()); err != nil {
		return err
	}
	addr, err := netip.ParseAddrPort(d.dns.Addr())
	if err != nil {
		return err
	}
	// What partners exchange: each trusts the authority of the other, and both
	// one that everybody trusts.
	roots := slices.Concat(d.acme.authority.PEM(), d.globex.authority.PEM(), public.PEM())
	return errors.Join(d.acme.write(d.scratch, roots, addr), d.globex.write(d.scratch, roots, addr))
}

// addStrangers gives each domain a certificate of an authority that both edges
// trust. It proves who they are, and no more.
func (d *demo) addStrangers(public *certs.Authority, domains ...string) error {
	both := d.acme.authority.Pool()
	both.AppendCertsFromPEM(d.globex.authority.PEM())
	for _, domain := range domains {
		kp, err := public.Keypair(certs.Leaf{Names: []string{"edge." + domain}, URIs: []string{"sip:" + domain}})
		if err != nil {
			return err
		}
		d.strangers[domain] = &demoStranger{kp, &certs.Verifier{Roots: func() *x509.CertPool { return both }}}
	}
	return nil
}

// zone is what DNS knows of the companies: where their SIP is, and where their XMPP.
func (d *demo) zone() (zone string) {
	for _, c := range d.companies() {
		zone += fmt.Sprintf("_sipfederationtls._tcp.%s. IN SRV 0 0 %d %s.\n%[3]s. IN A %[4]s\n",
			c.Domain, c.outside.Port(), c.edgeName(), c.outside.Addr())
	}
	for domain, at := range map[string]netip.AddrPort{d.acme.Domain: d.acme.bridge, jabberDomain: d.xmpp.place()} {
		zone += fmt.Sprintf("_xmpp-server._tcp.%s. IN SRV 0 0 %d xmpp.%[1]s.\nxmpp.%[1]s. IN A %[3]s\n", domain, at.Port(), at.Addr())
	}
	return zone
}

func (d *demo) companies() []*demoCompany { return []*demoCompany{d.acme, d.globex} }

func (d *demo) start(ctx context.Context) error {
	d.globex.onCall = func(c *home.Call) {
		c.Ring()
		c.Accept()
		select {
		case d.calls <- c:
		default: // a call that no scene waits for
		}
	}
	for _, c := range d.companies() {
		if err := c.start(ctx, d.audit); err != nil {
			return err
		}
	}
	return d.openXMPP(ctx)
}

// end stops all and removes the files.
func (d *demo) end(keep bool) error {
	var errs []error
	for _, c := range d.companies() {
		if c != nil {
			errs = append(errs, c.stop())
		}
	}
	errs = append(errs, d.closeXMPP())
	if d.dns != nil {
		d.dns.Close()
	}
	if !keep {
		errs = append(errs, os.RemoveAll(d.scratch))
	}
	return errors.Join(errs...)
}

// play plays all the scenes in their order.
func (d *demo) play(ctx context.Context, show *demoScreen) demoReport {
	report := demoReport{Version: version(), Scratch: d.scratch, OK: true}
	for i, s := range d.scenes() {
		r := playScene(ctx, i+1, s)
		if ctx.Err() != nil {
			break // by Ctrl-C: that is no failure of the scene
		}
		report.Scenes = append(report.Scenes, r)
		report.OK = report.OK && r.OK
		show.scene(r)
	}
	return report
}

func playScene(ctx context.Context, number int, s scene) sceneReport {
	ctx, cancel := context.WithTimeout(ctx, scenePatience)
	defer cancel()
	r := sceneReport{Number: number, Title: s.title, From: s.from, To: s.to, Methods: s.methods, Want: s.want}
	got, err := s.play(ctx)
	r.Got = got
	if err != nil {
		r.Error = err.Error()
	}
	r.OK = err == nil && s.want.matches(got)
	return r
}
