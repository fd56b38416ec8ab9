package xmpp

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/certs"
)

// A Bridge is the bridge to XMPP. It carries traffic once: whoever wants to begin
// anew makes another one.
type Bridge struct {
	config Config
	deps   Deps
	roots  *certs.Roots
	addr   *address.Table
	finder s2s.Finder    // nil: the Locator; tests have their own DNS
	begun  chan struct{} // closed when it carries traffic

	mu   sync.Mutex
	work *work // guarded by mu; nil before Run
}

var _ bridges.Bridge = (*Bridge)(nil)

// New makes the bridge and opens no port. Errors are of type [allowlists.Problem];
// all are returned at once.
func New(c Config, d Deps) (*Bridge, []error) {
	b := &Bridge{config: c, deps: d, begun: make(chan struct{})}
	if errs := b.check(); len(errs) > 0 {
		return b, errs
	}
	b.addr = b.addresses()
	return b, nil
}

// addresses makes the table of names that the configuration means.
func (b *Bridge) addresses() *address.Table {
	d := address.Domains{Gateway: b.config.Gateway, SIPGateway: b.config.SIPGateway}
	for _, domain := range b.deps.Domains {
		if slices.Contains(b.config.Domains, domain) {
			d.Native = append(d.Native, domain)
		} else {
			d.Tunnelled = append(d.Tunnelled, domain)
		}
	}
	return address.New(d)
}

// served are the domains whose XMPP server we are, as JIDs have them.
func (b *Bridge) served() (list []string) {
	for _, d := range append(slices.Clone(b.config.Domains), b.config.Gateway) {
		if u, err := address.Domain(d); d != "" && err == nil {
			list = append(list, u)
		}
	}
	return list
}

// Address says how XMPP calls a SIP URI, for explain.
func (b *Bridge) Address(uri string) (string, error) {
	j, err := b.addr.JID(uri)
	return j.String(), err
}

// Roots are the authorities that the bridge trusts; the edge reads them again when
// they change.
func (b *Bridge) Roots() *certs.Roots { return b.roots }

// Config returns the section with its defaults, and domains in normal form.
func (b *Bridge) Config() Config { return b.config }

// Name is the bridge's name.
func (b *Bridge) Name() string { return Network }

// A work is a bridge that carries traffic, with all its parts.
type work struct {
	b        *Bridge
	log      *slog.Logger
	server   *s2s.Server
	gateway  *gateway
	presence *presence // nil where nothing is kept
	accounts *accounts
}

// How long the parts may take to say goodbye; the Keeper waits 10 s for all.
const (
	presenceGoodbye = 3 * time.Second
	looksEvery      = 2 * time.Second
	judgesEvery     = time.Minute
)

// Run carries traffic until ctx is done. Then it tells the network that our users
// are not there any more.
func (b *Bridge) Run(ctx context.Context, e *bridges.Endpoint) error {
	if b.deps.Ports == nil {
		return errors.New("xmpp: no ports to listen on")
	}
	w, err := b.newWork(e)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.work = w
	b.mu.Unlock()
	return w.run(ctx, e)
}

// newWork makes the parts.
func (b *Bridge) newWork(e *bridges.Endpoint) (*work, error) {
	c, d := &b.config, &b.deps
	w := &work{b: b, log: d.Log}
	set := settings{
		served: make(map[string]bool), hold: c.Hold, chat: c.MessageType == "chat", hideResources: c.HideResources,
		maxMessage: c.MaxMessage, contacts: c.FirstContacts, microsoft: d.Microsoft, software: software(), host: b.host(),
	}
	for _, domain := range b.served() {
		set.served[domain] = true
	}
	if set.hold == 0 {
		set.hold = defaultHold
	}
	if set.maxMessage == 0 {
		set.maxMessage = defaultMaxMessage
	}
	var err error
	if w.server, err = s2s.New(b.streams(w)); err != nil {
		return nil, err
	}
	w.gateway = newGateway(set, b.addr, e, w, d.Log)
	w.accounts = newAccounts(w.gateway, b.roots)
	w.gateway.hasAccount, w.gateway.suspects = w.accounts.has, d.Suspects
	if d.Store != nil {
		w.presence = newPresence(presenceConfig{
			log: d.Log, sip: e, xmpp: w, addresses: b.addr, store: d.Store, may: b.may, caps: ourCaps,
			later: w.gateway.later.Do, blame: w.gateway.blame,
		})
		w.gateway.watch = w.presence
	}
	return w, nil
}

// Defaults of the section.
const (
	defaultHold       = 2 * time.Second
	defaultMaxMessage = 64 << 10
)

// host is our name where people or old protocols want one.
func (b *Bridge) host() string {
	if len(b.config.Domains) > 0 {
		return b.config.Domains[0]
	}
	return b.config.Gateway
}

// software is what others are told of our version.
func software() string {
	if info, ok := debug.ReadBuildInfo(); ok && strings.HasPrefix(info.Main.Version, "v") {
		return info.Main.Version
	}
	return "development"
}

// streams is the configuration of the streams between servers.
func (b *Bridge) streams(w *work) s2s.Config {
	c, d := &b.config, &b.deps
	forbidden := make(map[string]bool)
	for _, domain := range c.DialbackForbidden {
		forbidden[domain] = true
	}
	finder := b.finder
	if finder == nil && d.Locator != nil {
		finder = d.Locator
	}
	return s2s.Config{
		Domains: b.served(), Keypair: d.Certificates[c.Certificate], Verifier: b.roots.Verifier(), Finder: finder,
		Allow: b.allows,
		Dialback: func(domain string) bool {
			n, err := allowlists.NormalDomain(domain)
			return err == nil && (c.Dialback == nil || *c.Dialback) && !forbidden[n]
		},
		Handle: func(s *s2s.Stanza) { w.gateway.stanza(s) },
		Limits: s2s.Limits{Queue: c.Queue, Stanza: c.MaxStanza, OfAddress: c.StreamsPerSource, Streams: c.Streams, Rate: c.StanzaRate},
		Guard:  func(f func()) func() { return func() { defer w.gateway.guard(); f() } },
		Log:    d.Log,
	}
}

// allows reports whether a foreign domain, as in JIDs, may have streams.
func (b *Bridge) allows(domain string) bool {
	return b.listed(domain) && !b.deps.Suspects.out(domain)
}

// listed reports whether the lists let it have streams. That it is shut out for a while
// takes nothing from our users: who watches whom stays.
func (b *Bridge) listed(domain string) bool {
	n, err := allowlists.NormalDomain(domain)
	return err == nil && b.deps.Allow != nil && b.deps.Allow(n)
}

// may says whether one of our users may deal with somebody of the network.
func (b *Bridge) may(user, foreign string, inbound bool) allowlists.Verdict {
	if !b.listed(stanza.Domain(foreign)) {
		return allowlists.Refusal(allowlists.BridgeNetwork, allowlists.Rule{Name: "lists"})
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(user, "sip:"), ";")
	return b.policy().May(name, Network, inbound)
}

// policy is who may use the network now.
func (b *Bridge) policy() *bridges.Policy {
	if b.deps.Policy == nil {
		return nil
	}
	return b.deps.Policy()
}

// Send sends a stanza by the account of our user, if he has one, else by the servers'
// streams.
func (w *work) Send(e *stanza.Element, done func(s2s.Outcome)) (up bool) {
	if done != nil {
		told := done
		done = func(o s2s.Outcome) {
			defer w.gateway.guard()
			told(o)
		}
	}
	if a := w.accounts.of(e.Attr("from")); a != nil {
		return a.send(e, done)
	}
	return w.server.Send(e, done)
}

// run lets the parts work until ctx is done, or until one of them cannot go on.
func (w *work) run(ctx context.Context, e *bridges.Endpoint) error {
	c := &w.b.config
	ports, err := w.b.deps.Ports.Take(append(slices.Clone(c.Address), c.DirectTLS...))
	if err != nil {
		return err
	}
	// The streams end last: by them the others say goodbye.
	serve, endServe := context.WithCancel(context.WithoutCancel(ctx))
	defer endServe()
	group := guarded{fail: w.gateway.breaks}
	group.run(func() { _ = w.server.Serve(serve, ports[:len(c.Address)], ports[len(c.Address):]) })
	defer group.wait()
	defer endServe()
	if w.presence != nil {
		if err := w.presence.start(w.gateway.breaks); err != nil {
			return err
		}
	}
	e.Handle(w.gateway)
	close(w.b.begun)
	over, end := context.WithCancel(ctx)
	defer end()
	var looks guarded
	looks.fail = w.gateway.breaks
	looks.run(func() { w.look(over) })
	err = w.gateway.run(ctx)
	end()
	looks.wait()
	w.gateway.sessions.endAll()
	if w.presence != nil {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), presenceGoodbye)
		w.presence.stop(late)
		cancel()
	}
	w.accounts.stop()
	return err
}

// look follows what administrators decide: who has an account, and which domains may
// have streams.
func (w *work) look(ctx context.Context) {
	t := time.NewTicker(looksEvery)
	defer t.Stop()
	var policy *bridges.Policy
	judged := time.Now()
	for first := true; ; first = false {
		now := w.b.policy()
		changed := now != policy || first
		if policy = now; changed {
			w.accounts.update(now.Accounts(Network))
		}
		// The lists of partners may have changed, too, and nobody tells.
		if w.presence != nil && !first && (changed || time.Since(judged) > judgesEvery) {
			judged = time.Now()
			w.presence.reconsider()
		}
		for _, l := range w.server.Links() {
			if !w.b.allows(l.Remote) {
				w.server.Shut(l.Remote)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// A guarded group runs goroutines whose panics are the end of the bridge, and not of
// the program.
type guarded struct {
	group sync.WaitGroup
	fail  func(error)
}

func (g *guarded) run(f func()) {
	g.group.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				g.fail(panicked(p))
			}
		}()
		f()
	})
}

func (g *guarded) wait() { g.group.Wait() }

// Status says how the bridge is. It does not wait.
func (b *Bridge) Status() bridges.Status {
	b.mu.Lock()
	w := b.work
	b.mu.Unlock()
	if w == nil {
		return bridges.Status{}
	}
	s := bridges.Status{Links: append(b.deps.Suspects.links(), w.server.Links()...), Waiting: w.server.Waiting()}
	s.Sent, s.Received, _ = w.server.Counts()
	s.Failed = w.gateway.journal.failed.Load()
	if w.presence != nil {
		s.Failed += w.presence.status().Refused
	}
	for _, l := range w.accounts.links() {
		s.Links = append(s.Links, l)
		s.Sent += l.Sent
		s.Received += l.Received
	}
	return s
}
