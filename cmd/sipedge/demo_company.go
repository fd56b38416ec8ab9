package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/home"
)

// A demoCompany is one company of the demo: an edge as serve runs it, from
// files, home servers behind it, and the people who are signed in there.
type demoCompany struct {
	Domain  string // acme.example
	Partner string // the other one
	Blocked string // a domain it wants nothing from
	Network string // a domain of the XMPP network that it talks to
	Open    bool   // whom nobody listed may talk, if it proves who it is

	dir       string
	authority *certs.Authority
	outside   netip.AddrPort // the edge, for partners
	inside    netip.AddrPort // the edge, for its home servers
	remote    netip.AddrPort // the edge, for its people outside; zero: they have no business there
	bridge    netip.AddrPort // the edge, for servers of the XMPP network; zero: it has no bridge
	homeAt    []demoHomeAt
	passwords map[string]string
	outsiders []string // those of its people who are outside
	bridged   []string // those who may use the XMPP network
	ports     demoPorts

	onCall func(*home.Call) // what its people do when called

	homes []*home.Server
	users map[string]*home.User
	edge  *demoEdge
	log   *os.File
}

// demoHomeAt is where a home server listens: for the edge and for users.
type demoHomeAt struct{ edge, user netip.AddrPort }

// newDemoCompany gives a company its authority and its addresses: 127.0.n.x,
// with the ports that are usual for SIP, where the system lets us. The users are inside.
func newDemoCompany(n int, domain, partner string, homes int, users ...string) (*demoCompany, error) {
	c := &demoCompany{Domain: domain, Partner: partner, passwords: map[string]string{}, users: map[string]*home.User{}}
	var err error
	if c.authority, err = certs.NewAuthority(domain + " private CA"); err != nil {
		return nil, err
	}
	subnet := "127.0." + strconv.Itoa(n) + "."
	c.outside = c.ports.pick(subnet+"1", 5061)
	c.inside = c.ports.pick(subnet+"2", 5061)
	for i := range homes {
		host := subnet + strconv.Itoa(10+i)
		c.homeAt = append(c.homeAt, demoHomeAt{c.ports.pick(host, 5061), c.ports.pick(host, 5060)})
	}
	for _, name := range users {
		c.passwords[name] = name + "-secret"
	}
	if c.ports.err != nil {
		c.ports.releaseAll()
	}
	return c, c.ports.err
}

// sendsOut gives a company people outside, and a port for them.
func (c *demoCompany) sendsOut(names ...string) error {
	c.remote = c.ports.pick(c.outside.Addr().String(), 8443)
	for _, name := range names {
		c.passwords[name] = name + "-secret"
		c.outsiders = append(c.outsiders, name)
	}
	return c.ports.err
}

// crosses gives a company a bridge to the XMPP network, which some may use.
func (c *demoCompany) crosses(network string, names ...string) error {
	c.bridge = c.ports.pick(c.outside.Addr().String(), 5269)
	c.Network, c.bridged = network, names
	return c.ports.err
}

// insiders are those of its people who are not outside.
func (c *demoCompany) insiders() []string {
	return slices.DeleteFunc(sorted(c.passwords), func(name string) bool { return slices.Contains(c.outsiders, name) })
}

// demoPorts finds addresses that are free. It holds each until it is needed, so
// that nobody else finds the same one: a second demo goes to other ports.
type demoPorts struct {
	held map[netip.AddrPort]net.Listener
	err  error
}

// pick prefers the usual port, then any port of the same address, then any
// port: not every system has more of loopback than 127.0.0.1.
func (p *demoPorts) pick(host string, port int) netip.AddrPort {
	var errs []error
	for _, addr := range []string{net.JoinHostPort(host, strconv.Itoa(port)), net.JoinHostPort(host, "0"), "127.0.0.1:0"} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		at := l.Addr().(*net.TCPAddr).AddrPort()
		if p.held == nil {
			p.held = map[netip.AddrPort]net.Listener{}
		}
		p.held[at] = l
		return at
	}
	p.err = errors.Join(errs...)
	return netip.AddrPort{}
}

// release lets go of addresses that are now to be listened on.
func (p *demoPorts) release(list ...netip.AddrPort) {
	for _, at := range list {
		if l := p.held[at]; l != nil {
			l.Close()
			delete(p.held, at)
		}
	}
}

func (p *demoPorts) releaseAll() { p.release(slices.Collect(maps.Keys(p.held))...) }

// name is the company without its top domain, for the terminal.
func (c *demoCompany) name() string { return strings.TrimSuffix(c.Domain, ".example") }

func (c *demoCompany) edgeName() string { return "edge." + c.Domain }
func (c *demoCompany) homeName() string { return "sip." + c.Domain }
func (c *demoCompany) config() string   { return filepath.Join(c.dir, "sipedge.toml") }

// address is a user's, user@domain.
func (c *demoCompany) address(user string) string { return user + "@" + c.Domain }

// write puts the company's files into its folder: the two that sipedge reads,
// and what they name. roots are the authorities that its edge trusts outside.
func (c *demoCompany) write(scratch string, roots []byte, dns netip.AddrPort) error {
	c.dir = filepath.Join(scratch, c.name())
	if err := os.MkdirAll(filepath.Join(c.dir, "certs"), 0o700); err != nil {
		return err
	}
	files := map[string][]byte{
		"certs/partners-ca.pem": roots,
		"certs/inside-ca.pem":   c.authority.PEM(),
	}
	for name, leaf := range map[string]certs.Leaf{
		// For SIP the URI counts, for XMPP the domain's own name.
		"outside": {CN: c.edgeName(), Names: []string{c.edgeName(), c.Domain}, URIs: []string{"sip:" + c.Domain}},
		"inside":  {CN: c.edgeName(), Names: []string{c.edgeName()}},
	} {
		cert, key, err := c.authority.Issue(leaf)
		if err != nil {
			return err
		}
		files["certs/"+name+".pem"], files["certs/"+name+".key"] = cert, key
	}
	texts := map[string]string{"sipedge.toml": demoEdgeFile, "partners.toml": demoPartnersFile}
	if c.outsiders != nil {
		texts["remote.toml"] = demoRemoteFile
	}
	if c.bridged != nil {
		texts["bridges.toml"] = demoBridgesFile
	}
	for name, text := range texts {
		var b strings.Builder
		if err := template.Must(template.New(name).Parse(text)).Execute(&b, c.facts(dns)); err != nil {
			return err
		}
		files[name] = []byte(b.String())
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(c.dir, name), files[name], 0o600); err != nil {
			return err
		}
	}
	return nil
}

// facts are what the templates name.
func (c *demoCompany) facts(dns netip.AddrPort) map[string]any {
	var servers []string
	for _, at := range c.homeAt {
		servers = append(servers, strconv.Quote(at.edge.String()))
	}
	return map[string]any{
		"Name": c.edgeName(), "Domain": c.Domain, "Partner": c.Partner, "Blocked": c.Blocked, "Open": c.Open,
		"Outside": c.outside, "Inside": c.inside, "Home": c.homeName(), "Remote": c.remote, "Outsiders": c.outsiders,
		"Bridge": c.bridge, "Network": c.Network, "Bridged": c.bridged,
		"Servers": strings.Join(servers, ", "), "DNS": dns,
	}
}

const demoEdgeFile = `# The edge of {{.Domain}}, written by "sipedge demo".
name      = "{{.Name}}"
domains   = ["{{.Domain}}"]
state_dir = "state"

[certificate.outside]
cert = "certs/outside.pem"
key  = "certs/outside.key"
[certificate.inside]
cert = "certs/inside.pem"
key  = "certs/inside.key"

[listener.federation]
role        = "federation"
address     = "{{.Outside}}"
certificate = "outside"
peer_ca     = "certs/partners-ca.pem"   # our authority, our partner's, and a public one

{{if .Outsiders}}[listener.remote]
role        = "remote"                  # our own people outside: no certificate, they sign in
address     = "{{.Remote}}"
certificate = "outside"
transport   = "tls+wss"                 # from web pages as well
origins     = ["*"]                     # whichever: this is a demo

{{end}}[listener.internal]
role        = "internal"
address     = "{{.Inside}}"
certificate = "inside"
peer_ca     = "certs/inside-ca.pem"

{{if .Bridged}}[bridge.xmpp]                           # we are the XMPP server of our domain
address     = ["{{.Bridge}}"]
certificate = "outside"                 # it names the domain
peer_ca     = "certs/partners-ca.pem"

{{end}}[pool.main]
domains   = ["{{.Domain}}"]
servers   = [{{.Servers}}]
peer_name = "{{.Home}}"

[dns]
servers        = ["{{.DNS}}"]
allowed_ranges = ["127.0.0.0/8"]        # all of the demo is on loopback
`

const demoPartnersFile = `# Whom {{.Domain}} talks to. The edge reads this file again when it changes.
[federation]
unlisted = "{{if .Open}}discover{{else}}refuse{{end}}"

[partner."{{.Partner}}"]                # its edge is found by DNS SRV
{{- if .Network}}

[partner."{{.Network}}"]                # has no SIP service in DNS, and so is reached by XMPP
{{- end}}
{{- if .Blocked}}

[blocked."{{.Blocked}}"]
because = "unsolicited calls"
{{- end}}
`

const demoRemoteFile = `# Who of {{.Domain}} may sign in from outside. The edge reads this file again when it changes.
[default]
allow = false
{{range .Outsiders}}
[user."{{.}}@{{$.Domain}}"]
allow = true
{{end}}`

const demoBridgesFile = `# Who of {{.Domain}} may use public networks. The edge reads this file again when it changes.
{{range .Bridged}}
[user."{{.}}@{{$.Domain}}"]
inbound  = ["xmpp"]                     # may be written to and watched from there
outbound = ["xmpp"]                     # may write and watch there
{{end}}`

// start runs the home servers, then the edge, and signs the people in.
func (c *demoCompany) start(ctx context.Context, audit *auditLog) error {
	for _, at := range c.homeAt {
		kp, err := c.authority.Keypair(certs.Leaf{CN: c.homeName(), Names: []string{c.homeName()}})
		if err != nil {
			return err
		}
		c.ports.release(at.edge, at.user)
		h, err := home.Start(home.Config{
			Domain: c.Domain, Users: c.passwords,
			Listen: at.edge.String(), UserListen: at.user.String(), Edge: c.inside.String(),
			TLS: &home.TLS{Keypair: kp, Roots: c.authority.Pool(), Edge: c.edgeName()},
			// COMPAT(baresip): 1.0, Debian's, gives up where anything else is offered.
			Algorithms: []string{"MD5"},
		})
		if err != nil {
			return err
		}
		c.homes = append(c.homes, h)
	}
	var err error
	if c.log, err = os.Create(filepath.Join(c.dir, "edge.log")); err != nil {
		return err
	}
	c.ports.release(c.outside, c.inside, c.remote, c.bridge)
	handler := &auditHandler{slog.NewTextHandler(c.log, nil), c.Domain, audit}
	if c.edge, err = startDemoEdge(c.config(), slog.New(handler)); err != nil {
		return fmt.Errorf("edge of %s: %w", c.Domain, err)
	}
	for name, password := range c.passwords {
		if slices.Contains(c.outsiders, name) {
			continue // a scene of its own
		}
		u, err := home.SignIn(ctx, home.UserConfig{
			Name: name, Domain: c.Domain, Password: password, Servers: c.userSides(), OnCall: c.onCall,
		})
		if err != nil {
			return err
		}
		c.users[name] = u
	}
	return nil
}

// userSides is where people sign in.
func (c *demoCompany) userSides() []string {
	var list []string
	for _, at := range c.homeAt {
		list = append(list, at.user.String())
	}
	return list
}

// control is the way to the running edge that commands take.
func (c *demoCompany) control() *admin.Client {
	return admin.NewClient(admin.SocketPath(filepath.Join(c.dir, "state")))
}

// stop ends what start began.
func (c *demoCompany) stop() error {
	var errs []error
	c.ports.releaseAll()
	for _, u := range c.users {
		errs = append(errs, u.Close())
	}
	if c.edge != nil {
		errs = append(errs, c.edge.stop())
	}
	for _, h := range c.homes {
		errs = append(errs, h.Close())
	}
	if c.log != nil {
		errs = append(errs, c.log.Close())
	}
	return errors.Join(errs...)
}
