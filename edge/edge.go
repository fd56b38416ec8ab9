// Package edge is the program itself: listeners, flows, the two doors, routing,
// the stateful proxy of RFC 3261 §16, and the pools of home servers.
//
// Start reading at handle.go: handleRequest is the only way through. What it
// asks lies in validate.go, admit.go, route.go; what it does then in forward.go
// and tx.go; the way back is relay.go. Connections are flow.go and what it
// rests on: conn.go, reader.go, writer.go, listener.go, dial.go.
//
// It stores nothing: a dialog's way is in signed tokens in the messages
// (token.go), transactions are in memory and end with the process. It speaks
// SIP over streams only; it checks no passwords, and it reads no
// bodies but where a partner's entry has kinds (kind.go).
package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

// An Edge is one running edge. It is safe for concurrent use.
type Edge struct {
	log      *slog.Logger
	config   Config
	limits   Limits // config's, with the defaults filled in
	name     string
	names    map[string]bool // hosts by which we are meant
	boot     uint64          // tells this run from others
	began    time.Time
	locator  *locate.Locator
	keys     keyFile
	tokens   *signer
	targets  *lru.Cache[uint64, struct{}] // Contacts that moved within a dialog
	accounts *lru.Cache[string, *account] // by what federation calls the peer
	owners   *lru.Cache[behind, string]   // their names for who comes by bridges
	sources  *lru.Cache[string, *account] // of users outside, by source

	settings  []listenerSettings
	sides     map[string]*side // by listener
	listeners []*listener
	trust     []*trust // what is read again when files change
	outside   *trust   // towards partners; nil: no federation listener
	pools     []*pool
	byDomain  map[string]*pool
	inside    []access // who may come to an internal listener
	msft      bool     // a pool speaks the Microsoft dialect

	wire    *wire
	buffers *buffers
	table   *table

	bridges []*bridge                      // set before Listen
	tunnels map[string]*bridge             // by the domain under which they take foreign addresses; nil: none
	policy  atomic.Pointer[bridges.Policy] // who of our users may use them

	remote    Remote
	access    atomic.Pointer[remoteaccess.Access]
	users     *remoteaccess.Users
	signing   sync.Mutex                        // held while a flow gets or loses its user; guards paces
	paces     *lru.Cache[netip.Prefix, *budget] // of sources that ask to be signed in
	flowTimer time.Duration                     // how often clients outside show that they live
	marks     []string                          // headers by which pools are told who is outside
	dropMarks func([]byte) bool                 // takes them off; nil: there are none
	certified map[string]func(string) bool      // by listener: a name on its certificate

	discovery     *federation.Discovery
	meter         federation.Meter // of those whose entries say how much they may send
	acks          federation.Meter // the same, of ACKs
	subscriptions subscriptions    // that partners hold with our users

	partners     atomic.Pointer[federation.Partners]
	partnersMu   sync.RWMutex
	partnerEdges map[string]*partnerEdge // guarded by partnersMu

	requests, messages, scratch sync.Pool

	endedMu sync.Mutex
	ended   []*Flow // gone, and something may be left of them; guarded by endedMu

	overload  overload
	counts    tally
	crowd     flowLines     // about flows of those from outside who are no partners
	strangers atomic.Int64  // connections of those who were no partner when they came
	refs      atomic.Uint64 // references that were given, from a random start

	warnings []string                  // of New
	pairs    map[string]*certs.Keypair // our certificates, by name
	ports    []netip.AddrPort          // that others in this process listen on, set before Listen
	draining atomic.Bool               // nothing new is taken

	ctx  context.Context // of the run
	stop context.CancelFunc
	work sync.WaitGroup // dialling, lookups, health checks
}

// tally counts requests by what became of them.
type tally struct {
	forwarded, answered, refused, dropped atomic.Uint64
}

// rememberedTargets bounds the Contacts that are remembered because they moved.
const rememberedTargets = 1 << 16

// New makes an edge from its configuration and the lists of the moment. With a
// nil discovery nobody is remembered, and nobody whom the lists do not have is
// let in; with the zero Remote nobody signs in from outside. It opens no port. Errors
// are of type [allowlists.Problem] where a line of the configuration is to blame; all
// are returned at once.
func New(c Config, partners *federation.Partners, discovery *federation.Discovery, remote Remote, log *slog.Logger) (*Edge, []error) {
	e := &Edge{
		remote:       remote,
		users:        remoteaccess.NewUsers(),
		certified:    make(map[string]func(string) bool),
		discovery:    discovery,
		log:          log,
		config:       c,
		limits:       c.Limits.defaults(),
		name:         strings.ToLower(c.Name),
		names:        make(map[string]bool),
		boot:         rand.Uint64(),
		began:        time.Now(),
		sides:        make(map[string]*side),
		byDomain:     make(map[string]*pool),
		partnerEdges: make(map[string]*partnerEdge),
		table:        newTable(),
	}
	e.ctx, e.stop = context.WithCancel(context.Background())
	e.refs.Store(rand.Uint64())
	e.partners.Store(partners)
	e.access.Store(remote.Access)
	e.paces, _ = lru.New[netip.Prefix, *budget](rememberedSources) // fails only for sizes below 1
	e.requests.New = func() any { return new(request) }
	e.messages.New = func() any { return new(sip.Message) }
	e.scratch.New = func() any { return new(scratch) }
	e.targets, _ = lru.New[uint64, struct{}](rememberedTargets) // fails only for sizes below 1
	e.accounts, _ = lru.New[string, *account](rememberedAccounts)
	e.owners, _ = lru.New[behind, string](rememberedAccounts)
	e.sources, _ = lru.New[string, *account](rememberedAccounts)
	e.wire = newWire(e.limits.wire(log), e)
	e.wire.lastID.Store(rand.Uint64() >> 8) // an ID in a token from before a restart must be nobody's
	e.buffers = &e.wire.buffers
	e.overload.delay = e.newDelay()
	e.overload.calm.Store(calmFeedback(time.Now().UnixMicro()))
	e.flowTimer = e.limits.FlowTimer
	b := builder{e: e, config: &c}
	b.build()
	return e, b.errs
}

// Listen opens the ports, and makes the key of our tokens if there is none.
func (e *Edge) Listen() error {
	if err := e.keys.make(); err != nil {
		return fmt.Errorf("make the key of our tokens: %w", err)
	}
	keys, err := e.keys.read()
	if err != nil {
		return err
	}
	e.tokens = newSigner(keys)
	e.tokens.learn(e.homeNames())
	if e.hasUsers() {
		e.turnTickets(false)
	}
	e.sayDescriptors()
	for _, s := range e.settings {
		l, err := e.wire.listen(s)
		if err != nil {
			e.Close()
			return err
		}
		e.listeners = append(e.listeners, l)
	}
	return nil
}

// sayDescriptors says how many connections the limit on open files leaves, and warns if
// that is less than what the configuration promises.
func (e *Edge) sayDescriptors() {
	w := e.wire
	e.log.Info(logDescriptors, "limit", w.descriptors, "outside", w.outside, "inside", w.descriptors-w.outside)
	wanted := 0
	for _, s := range e.settings {
		wanted = max(wanted, s.connections)
	}
	if wanted > w.outside {
		e.log.Warn(logFewFiles, "limit", w.descriptors, "connections", wanted, "possible", w.outside)
	}
}

// Close closes the ports of an edge that does not run.
func (e *Edge) Close() {
	for _, l := range e.listeners {
		l.close()
	}
	e.stop()
}

// An Address is a port that is open.
type Address struct {
	Listener, Role string
	Addr           netip.AddrPort
}

// Addresses returns the open ports, after Listen.
func (e *Edge) Addresses() []Address {
	var list []Address
	for _, l := range e.listeners {
		list = append(list, Address{l.name, l.role.String(), l.addr()})
	}
	return list
}

// Warnings are what New noticed that is no error: certificates that end soon.
func (e *Edge) Warnings() []string { return e.warnings }

// Run carries messages until ctx is done. Then it takes nothing new, waits a
// little for what has begun, and ends everything before it returns.
func (e *Edge) Run(ctx context.Context) {
	defer context.AfterFunc(ctx, e.drain)()
	var group sync.WaitGroup
	group.Go(func() { e.wire.run(e.ctx) })
	group.Go(func() { e.table.run(e.ctx.Done(), e.fire) })
	group.Go(e.watchFiles)
	group.Go(func() { e.every(buryEvery, e.bury) })
	group.Go(func() { e.every(forgetEvery, e.forgetSubscriptions) })
	group.Go(func() { e.every(expireEvery, e.expireSignIns) })
	if on := e.config.Limits.Overload; on == nil || *on {
		group.Go(e.watchOverload)
	}
	for _, p := range e.pools {
		for _, s := range p.servers {
			group.Go(s.watch)
		}
	}
	for _, l := range e.listeners {
		group.Go(func() { l.serve(e.ctx) })
	}
	for _, b := range e.bridges {
		group.Go(func() { b.run(e.ctx) })
	}
	group.Wait()
	e.work.Wait()
}

// drain lets open transactions end, but not for ever: what was taken from a
// peer should get its answer.
func (e *Edge) drain() {
	defer e.stop()
	e.draining.Store(true)
	for _, l := range e.listeners {
		l.close()
	}
	e.log.Info(logDraining, keyOpen, e.table.active.Load())
	limit := time.NewTimer(e.limits.DrainTimeout)
	defer limit.Stop()
	clock := time.NewTicker(tick / 4)
	defer clock.Stop()
	for e.table.active.Load() > 0 {
		select {
		case <-limit.C:
			return
		case <-e.ctx.Done():
			return
		case <-clock.C:
		}
	}
}

// fire runs a transaction's timer. A bug in one must not stop the others.
func (e *Edge) fire(t *turn, x *tx) {
	defer e.guard(nil)
	x.fire(t)
}

// errBug is why what waited for a goroutine of ours that panicked goes no
// further.
var errBug = errors.New("edge: a bug, see the log")

// guard is deferred at the top of a goroutine that works for many peers: a bug
// there, on a message of one of them, must not end the edge. Then, unless nil, is
// called after a panic.
func (e *Edge) guard(then func()) {
	p := recover()
	if p == nil {
		return
	}
	e.wire.counts.panics.Add(1)
	e.log.Error(logBug, keyErr, fmt.Sprint(p), keyStack, string(debug.Stack()))
	if then != nil {
		defer e.guard(nil)
		then()
	}
}

// opened is told of a new flow, before its first message.
func (e *Edge) opened(f *Flow) {
	s := &f.state
	s.since = time.Now()
	s.account = e.account(f)
	switch {
	case s.link != nil && s.server != nil:
		s.side, s.pools, s.rule = s.server.pool.side, []*pool{s.server.pool}, s.server.pool.rule
	case s.link != nil:
		s.side = e.outside.side
	case f.Role == RoleInternal:
		s.side = e.sides[f.Listener]
		s.rule = e.listenerRule(f)
		s.pools = e.poolsOf(f)
	case f.Role == RoleRemote:
		s.side = e.sides[f.Listener].over(f.Transport())
		e.openedRemote(f)
	default:
		s.side = e.sides[f.Listener]
		s.known.Store(e.partners.Load().Knows(f.Peer))
	}
	if e.msft && f.Role == RoleFederation {
		s.peerHost = peerHost(f.Peer)
	}
	if !e.seat(f) {
		f.close(errSeats)
	}
	e.flowLine(&e.linesAbout(f).openings, f, logFlowOpened, keyFlow, f.ID, keyRole, f.Role, keyListener, f.Listener, keyPeer, peerName(f),
		keyRemote, f.Remote, keyTarget, s.link.String())
}

// listenerRule names the listener that took a flow.
func (e *Edge) listenerRule(f *Flow) allowlists.Rule {
	return allowlists.Rule{Name: "listener " + f.Listener, File: e.config.File, Line: e.config.Listeners[f.Listener].Line}
}

// gone is told that a flow has ended: what was sent on it goes elsewhere or
// fails, and calls that it began are taken back.
func (e *Edge) gone(f *Flow, err error) {
	e.unseat(f)
	if f.Role == RoleRemote {
		e.goneRemote(f)
	}
	e.flowLine(&e.linesAbout(f).closings, f, logFlowClosed, keyFlow, f.ID, keyRole, f.Role, keyPeer, peerName(f), keyRemote, f.Remote, keyErr, err)
	if e.ctx.Err() != nil {
		return
	}
	if f.state.sent.Load() == 0 && f.state.open.Load() == 0 {
		return
	}
	e.endedMu.Lock()
	e.ended = append(e.ended, f)
	e.endedMu.Unlock()
	if f.Role == RoleInternal || f.state.link != nil {
		e.bury() // what waits there should go elsewhere at once
	}
}

// buryEvery is how often the transactions of ended flows are looked for. It
// takes a walk over all transactions, so a partner that connects and goes a
// hundred times a second must not have us walk as often.
const buryEvery = tick

// every calls do again and again until the edge ends.
func (e *Edge) every(d time.Duration, do func()) {
	clock := time.NewTicker(d)
	defer clock.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-clock.C:
			do()
		}
	}
}

// bury ends what flows that are gone have left: what was sent on them goes
// elsewhere or fails, and calls that they began are taken back.
func (e *Edge) bury() {
	e.endedMu.Lock()
	flows := e.ended
	e.ended = nil
	e.endedMu.Unlock()
	if len(flows) == 0 {
		return
	}
	gone := make(map[*Flow]bool, len(flows))
	for _, f := range flows {
		gone[f] = true
	}
	var t turn
	defer t.end()
	for _, x := range e.table.collect(nil) {
		x.lost(&t, gone)
		if gone[x.flow] {
			x.abandoned(&t)
		}
	}
}

// index reads a stored message again; nil if there is none.
func (e *Edge) index(b *buffer) *sip.Message {
	if b == nil || len(b.b) == 0 {
		return nil
	}
	// As it left, a message has more than its sender was allowed.
	lim := e.wire.limits
	lim.Header, lim.Fields = e.limits.Header+ourOctets, e.limits.Fields+ourFields
	m := e.messages.Get().(*sip.Message)
	if err := m.Parse(b.b, lim); err != nil {
		e.messages.Put(m)
		return nil
	}
	return m
}

// What a message grows by on its way through us, at most: a Via, two
// Record-Routes with tokens, Max-Forwards.
const (
	ourOctets = 4 << 10
	ourFields = 8
)

// copied returns a pooled copy of b.
func (e *Edge) copied(b []byte) *buffer {
	c := e.buffers.get(len(b))
	c.b = append(c.b, b...)
	return c
}

// isUs reports whether a host means this edge.
func (e *Edge) isUs(host []byte) bool {
	var room [256]byte
	return e.names[string(sip.AppendDomain(room[:0], host))]
}

// isOurRoute reports whether a Route element is ours: our name, and one of our
// ports or none.
func (e *Edge) isOurRoute(u sip.URI) bool { return u.IsSIP() && e.isUs(u.Host) }

// poolOf returns the pool of a domain of ours, or nil.
func (e *Edge) poolOf(domain []byte) *pool { return e.byDomain[string(domain)] }

// homeNames are the names in our tokens.
func (e *Edge) homeNames() (names []string) {
	for _, p := range e.pools {
		names = append(names, p.name)
		for _, s := range p.servers {
			names = append(names, s.addr)
		}
	}
	return names
}

// poolByHash returns the pool that a token names, or nil.
func (e *Edge) poolByHash(h uint32, key int) *pool {
	for _, p := range e.pools {
		if e.tokens.name(key, p.name) == h {
			return p
		}
	}
	return nil
}

// An access says who may come to an internal listener, and for which pool.
type access struct {
	pool  *pool
	names []string       // that the certificate must prove one of
	addrs []netip.Prefix // with plain TCP
}

// poolsOf returns the pools whose home server is at the other end of an
// internal flow.
func (e *Edge) poolsOf(f *Flow) (list []*pool) {
	for _, a := range e.inside {
		if a.admits(f) && !slices.Contains(list, a.pool) {
			list = append(list, a.pool)
		}
	}
	return list
}

func (a *access) admits(f *Flow) bool {
	if f.Peer == nil {
		return slices.ContainsFunc(a.addrs, func(p netip.Prefix) bool { return p.Contains(f.Remote.Addr()) })
	}
	return slices.ContainsFunc(a.names, f.Peer.CoversHost)
}

// limitsRule names a key of the section [limits].
func (e *Edge) limitsRule(key string) allowlists.Rule {
	return allowlists.Rule{Name: "[limits] " + key, File: e.config.File, Line: e.config.Limits.Line}
}

// SetPartners puts new lists in force, for the next message on every
// connection. Connections of those who are no longer listed are closed, both
// ways.
func (e *Edge) SetPartners(p *federation.Partners) {
	e.partnersMu.Lock()
	e.partners.Store(p)
	var changed []*partnerEdge
	for key, edge := range e.partnerEdges {
		route, ok := p.Dial([]byte(key))
		if !ok || !route.Same(edge.route) {
			changed = append(changed, edge)
			delete(e.partnerEdges, key)
		}
		edge.tier.Store(int32(route.Tier))
	}
	e.partnersMu.Unlock()
	for _, edge := range changed {
		edge.shut()
	}
	for _, s := range e.settings {
		if s.role == RoleFederation {
			rotate(s.tls)
		}
	}
	e.wire.each(func(f *Flow) bool {
		if f.Role == RoleFederation && f.state.link == nil && f.state.known.Load() && !e.stays(f) {
			e.log.Info(logPartnerOut, keyFlow, f.ID, keyPeer, peerName(f))
			f.close(errPartnerGone)
		}
		if f.Role == RoleRemote && f.state.signed.Load() == nil && e.mayBePartner(f.Peer) {
			f.finish(errPartnerNow) // it comes back as what it is
		}
		return true
	})
	partners, blocked := p.Len()
	e.log.Info(logPartners, "partners", partners, "blocked", blocked)
}

// sortedKeys returns the names of sections in a fixed order, so that errors,
// logs and defaults do not change from run to run.
func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
