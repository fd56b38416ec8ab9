package xmpp

import (
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/store"
)

// Network is the bridge's name in configuration, log and commands.
const Network = "xmpp"

// Config is a section [bridge.xmpp]: the bridge to the XMPP network. Without the
// section there is none.
type Config struct {
	// Where servers of other domains connect, with STARTTLS, like ["203.0.113.10:5269"].
	// Default: none; then direct_tls is needed.
	Address []string `toml:"address"`
	// Where they connect with TLS from the first octet (XEP-0368), like
	// ["203.0.113.10:5270"]. Default: none.
	DirectTLS []string `toml:"direct_tls"`
	// The certificate shown, by its name in [certificate.NAME]. It must name the
	// domains.
	Certificate string `toml:"certificate"`
	// Who may have signed the other servers' certificates: "system" (default) or a PEM
	// file.
	PeerCA string `toml:"peer_ca"`
	// A CRL file (PEM or DER) of that authority. Default none.
	PeerCRL string `toml:"peer_crl"`
	// Our domains whose XMPP server the edge is. Default: all.
	Domains []string `toml:"domains"`
	// A domain of our own under which users of the domains that are not in domains are
	// known to XMPP, as in alice\40example.com@sip.example.com. Default: none.
	Gateway string `toml:"gateway"`
	// A domain under which our users may write to XMPP users whose domain is reached by
	// SIP, as in juliet%40example.net@xmpp.example.com. Default: none.
	SIPGateway string `toml:"sip_gateway"`
	// false: only certificates and DNSSEC prove who another server is; dialback
	// (XEP-0220), which rests on DNS alone, does not. Default true.
	Dialback *bool `toml:"dialback"`
	// Domains that dialback does not prove, whatever dialback says.
	DialbackForbidden []string `toml:"dialback_forbidden"`
	// How long a sender waits for the other server to acknowledge his message, before
	// he is told that nobody knows yet. Default 2s.
	Hold time.Duration `toml:"hold"`
	// The type of messages outside of conversations: "" (normal, as RFC 7572 says;
	// default) or "chat".
	MessageType string `toml:"message_type"`
	// true: our users are not told from which of his devices somebody writes. Those whose
	// home server speaks the Microsoft dialect never are. Default false.
	HideResources bool `toml:"hide_resources"`
	// Octets of a message towards our users. RFC 3428 §8 has 1,300 for the whole request, for
	// networks that lose large packets; set it lower where a home server has clients by UDP.
	// Default 65,536.
	MaxMessage int `toml:"max_message,positive"`
	// How many new pairs of somebody there and one of our users a foreign domain may make
	// an hour by writing first; a sixth of it at once, and an eighth of it for one person.
	// Default 600.
	FirstContacts int `toml:"first_contacts,positive"`
	// Octets of one stanza, 10,000 to 1,048,576. Default 262,144.
	MaxStanza int `toml:"max_stanza,positive"`
	// Stanzas that wait for the connection to one domain. Default 100.
	Queue int `toml:"queue,positive"`
	// Stanzas a second that one foreign domain may send, twice as many at once; the next
	// waits. Default 1,000.
	StanzaRate float64 `toml:"stanza_rate,positive"`
	// Streams that one source address may have opened. Default 50.
	StreamsPerSource int `toml:"streams_per_source,positive"`
	// Streams that others may have opened together. Default 2,000.
	Streams int `toml:"streams,positive"`

	Line int `toml:",line"`
}

// Deps are what a bridge needs of the edge that it belongs to.
type Deps struct {
	// Certificates are those of [certificate.NAME], by name. The edge reads them again
	// when they change.
	Certificates map[string]*certs.Keypair
	Locator      *locate.Locator
	// Store is nil where nothing is kept: in check and explain.
	Store   *store.Store
	Domains []string // our own, in normal form
	// Resolves a path of the configuration file.
	Path     func(string) string
	File     string // name of the configuration file, for faults
	StateDir string
	// Policy says who of our users may use the network; it is asked anew each time.
	Policy func() *bridges.Policy
	// Microsoft reports whether the home server of one of our domains speaks the
	// Microsoft dialect, whose clients want sessions for messages. Nil: none does.
	Microsoft func(domain string) bool
	// Allow reports whether the lists let a foreign domain have a stream at all, in
	// normal form. Each request is still asked about.
	Allow func(domain string) bool
	// Roots are the authorities to trust, if they are loaded already: the edge reads
	// those of the first Bridge again when they change, and gives them to all others.
	// Nil: New loads them.
	Roots *certs.Roots
	// Ports are open at Address and DirectTLS of the Config, and lent to each
	// incarnation: Ports.Take. Nil in check and explain.
	Ports *bridges.Ports
	// Suspects outlive incarnations, too; nil: nobody is shut out for what he sends.
	Suspects *Suspects
	Log      *slog.Logger
}

// maxHold is the longest hold: the sender's own patience ends after 64*T1, 32 s
// (RFC 3261 §17.1.2.2).
const maxHold = 20 * time.Second

// complaints collects what is wrong with a section.
type complaints struct {
	file string
	line int
	errs []error
}

func (p *complaints) add(format string, args ...any) {
	p.errs = append(p.errs, allowlists.Problem{File: p.file, Line: p.line, Text: "[bridge.xmpp]: " + fmt.Sprintf(format, args...)})
}

// check looks at the section, and fills in what it leaves out.
func (b *Bridge) check() []error {
	c, d := &b.config, b.deps
	p := complaints{file: d.File, line: c.Line}
	if len(c.Address) == 0 && len(c.DirectTLS) == 0 {
		p.add("there is no address to listen on; address is for STARTTLS, like [\"203.0.113.10:5269\"]")
	}
	for _, a := range slices.Concat(c.Address, c.DirectTLS) {
		if _, err := net.ResolveTCPAddr("tcp", a); err != nil || a == "" {
			p.add("address %q is not an address with a port, such as \"203.0.113.10:5269\"", a)
		}
	}
	if _, ok := d.Certificates[c.Certificate]; !ok && c.Certificate != "" {
		p.add("there is no [certificate.%s]", c.Certificate)
	} else if c.Certificate == "" {
		p.add("certificate is missing")
	}
	b.authorities(&p)
	b.domains(&p)
	if c.MessageType != "" && c.MessageType != "chat" {
		p.add("message_type %q is none of \"\", \"chat\"", c.MessageType)
	}
	if c.MaxStanza != 0 && (c.MaxStanza < 10_000 || c.MaxStanza > 1<<20) {
		p.add("max_stanza must be 10000 to %d, not %d", 1<<20, c.MaxStanza)
	}
	if c.Hold < 0 || c.Hold > maxHold {
		p.add("hold must be more than 0 and at most %v; leave it out for the default", maxHold)
	}
	return p.errs
}

// authorities loads whom the bridge trusts.
func (b *Bridge) authorities(p *complaints) {
	c := &b.config
	if c.PeerCA == "" {
		c.PeerCA = certs.SystemRoots
	}
	if b.roots = b.deps.Roots; b.roots != nil {
		return
	}
	ca, crl := c.PeerCA, c.PeerCRL
	if ca != certs.SystemRoots {
		ca = b.deps.Path(ca)
	}
	if crl != "" {
		crl = b.deps.Path(crl)
	}
	var err error
	if b.roots, err = certs.LoadRoots(ca, crl); err != nil {
		p.add("%v", err)
	}
}

// domains brings domains into normal form.
func (b *Bridge) domains(p *complaints) {
	c := &b.config
	if len(c.Domains) == 0 {
		c.Domains = slices.Clone(b.deps.Domains)
	}
	normal := func(key string, name *string) {
		n, err := allowlists.NormalDomain(*name)
		if err != nil {
			p.add("%s %q is not a domain", key, *name)
			return
		}
		*name = n
	}
	for i := range c.Domains {
		if normal("domains:", &c.Domains[i]); !slices.Contains(b.deps.Domains, c.Domains[i]) {
			p.add("domains: %s is no domain of ours", c.Domains[i])
		}
	}
	for i := range c.DialbackForbidden {
		normal("dialback_forbidden:", &c.DialbackForbidden[i])
	}
	for _, g := range []struct {
		key  string
		name *string
	}{{"gateway", &c.Gateway}, {"sip_gateway", &c.SIPGateway}} {
		if *g.name == "" {
			continue
		}
		if normal(g.key, g.name); slices.Contains(b.deps.Domains, *g.name) {
			p.add("%s: %s is a domain of our users", g.key, *g.name)
		}
	}
}
