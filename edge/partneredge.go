package edge

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/sip"
)

// partnerRecheck is how often a partner's DNS records are looked at again while
// requests go there. package locate's cache answers until their TTL is over.
const partnerRecheck = 2 * time.Second

// A partnerEdge is the edge of one partner domain, as far as we send there. Its
// links belong to this domain alone, whatever addresses they lead to.
type partnerEdge struct {
	edge  *Edge
	route federation.Route
	tier  atomic.Int32 // of the route, as lists have it now: nobody is cut off for being allowed
	open  atomic.Int64 // requests that wait for this partner
	used  atomic.Int64 // when one last asked for it, by the clock of e.began

	mu        sync.Mutex
	links     []*link
	hops      []locate.Hop // what links were made of
	named     int          // so many of them DNS names now; the rest is retired
	checked   time.Time
	resolving bool
	closed    bool
	waiting   []*tx
	pending   []*buffer // ACKs
}

// String names the partner, or the clearing house that is the way to many.
func (p *partnerEdge) String() string {
	if p.route.Key != p.route.Domain {
		return "upstream"
	}
	return "partner " + p.route.Domain
}

var errPartnerGone = errors.New("edge: the partner is no longer listed")

// partnerEdge returns the edge of a partner's domain, making it if need be.
func (e *Edge) partnerEdge(domain []byte) (*partnerEdge, bool) {
	e.partnersMu.RLock()
	p, ok := e.partnerEdges[string(domain)]
	e.partnersMu.RUnlock()
	if !ok {
		p, ok = e.dialPartner(domain)
	}
	if ok {
		p.used.Store(int64(time.Since(e.began)))
	}
	return p, ok
}

// dialPartner finds the way to a partner, which many may share, and makes its
// edge if need be.
func (e *Edge) dialPartner(domain []byte) (*partnerEdge, bool) {
	e.partnersMu.Lock()
	defer e.partnersMu.Unlock()
	route, ok := e.partners.Load().Dial(domain)
	if !ok {
		return nil, false
	}
	if p, ok := e.partnerEdges[route.Key]; ok {
		return p, true
	}
	if route.Tier == federation.TierDiscovered && !e.makeRoom() {
		return nil, false
	}
	p := &partnerEdge{edge: e, route: route}
	p.tier.Store(int32(route.Tier))
	p.used.Store(int64(time.Since(e.began)))
	if route.Direct() {
		p.links = p.direct()
	}
	e.partnerEdges[route.Key] = p
	return p, true
}

// maxDiscovered bounds the edges of partners that nobody listed: our users can
// write to any domain that there is.
const maxDiscovered = 1000

// makeRoom makes room for the edge of one more discovered partner, if need be by
// letting go of that which was idle longest. The caller holds e.partnersMu.
func (e *Edge) makeRoom() bool {
	n, oldest := 0, (*partnerEdge)(nil)
	for _, p := range e.partnerEdges {
		if federation.Tier(p.tier.Load()) != federation.TierDiscovered {
			continue
		}
		n++
		if p.open.Load() == 0 && (oldest == nil || p.used.Load() < oldest.used.Load()) {
			oldest = p
		}
	}
	if n < maxDiscovered {
		return true
	}
	if oldest == nil {
		return false
	}
	delete(e.partnerEdges, oldest.route.Key)
	e.work.Go(oldest.shut)
	return true
}

// direct makes the links to the servers that the administrator wrote down.
// They may be anywhere, but for the names on a partner's card.
func (p *partnerEdge) direct() []*link {
	var links []*link
	for _, addr := range p.route.Servers[:min(len(p.route.Servers), maxHops)] {
		host, port := splitHostPort(addr)
		links = append(links, p.link(addr, host, func(ctx context.Context) ([]locate.Hop, error) {
			return p.edge.locator.Server(ctx, host, port, p.route.FromCard)
		}))
	}
	return links
}

// link makes one link of the partner.
func (p *partnerEdge) link(addr, host string, resolve func(context.Context) ([]locate.Hop, error)) *link {
	conf := p.edge.outside.client(p.route, host)
	return &link{
		edge:    p.edge,
		name:    p.String() + " " + addr,
		host:    string(sip.AppendDomain(nil, []byte(host))),
		role:    RoleFederation,
		resolve: resolve,
		secure:  func(string) *tls.Config { return conf },
		trust:   p.edge.outside,
	}
}

// hopsNow returns the links to try, or nil if they are being looked up.
func (p *partnerEdge) hopsNow() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.route.Direct() {
		return p.links
	}
	if time.Since(p.checked) > partnerRecheck && !p.unchanged() {
		p.lookup()
	}
	return p.usable()
}

// usable returns the links that DNS names, or else those that are open still.
// The caller holds p.mu.
func (p *partnerEdge) usable() []*link {
	if p.named == 0 && !slices.ContainsFunc(p.links, func(l *link) bool { return l.ready() != nil }) {
		return nil
	}
	return p.links
}

// unchanged reports whether DNS is known to say what it said. The caller holds p.mu.
func (p *partnerEdge) unchanged() bool {
	hops, ok := p.edge.directory(federation.Tier(p.tier.Load())).CachedPartner(p.route.Domain)
	if !ok || p.named != len(p.links) || !slices.Equal(hops[:min(len(hops), maxHops)], p.hops) {
		return false
	}
	p.checked = time.Now()
	return true
}

// lookup starts a DNS lookup unless one is going on. The caller holds p.mu.
func (p *partnerEdge) lookup() {
	if p.resolving || p.closed {
		return
	}
	p.resolving = true
	p.edge.work.Go(p.resolve)
}

// resolve finds the partner's servers and sends what waits for them.
func (p *partnerEdge) resolve() {
	defer p.edge.guard(func() { p.drain(errBug) })
	ctx, cancel := context.WithTimeout(p.edge.ctx, dialTimeout)
	defer cancel()
	hops, err := p.edge.directory(federation.Tier(p.tier.Load())).Partner(ctx, p.route.Domain)
	p.mu.Lock()
	var old []*link
	switch {
	case p.closed:
		err = errPartnerGone // while we asked: what waits must not go there any more
	default:
		old = p.replace(hops, time.Now()) // none if there was an error
	}
	p.mu.Unlock()
	for _, l := range old {
		l.shut(errPartnerGone)
	}
	p.drain(err)
}

// replace makes links for hops, keeps those that there are, and returns those
// that are of no more use. A connection that is open is no less good because DNS
// has changed, says nonsense or is silent: it stays the last resort for a while.
// The caller holds p.mu.
func (p *partnerEdge) replace(hops []locate.Hop, now time.Time) (old []*link) {
	hops = slices.Clone(hops[:min(len(hops), maxHops)])
	links := make([]*link, len(hops))
	for i, hop := range hops {
		if k := slices.Index(p.hops, hop); k >= 0 {
			links[i] = p.links[k]
			links[i].revive()
			continue
		}
		links[i] = p.link(hop.Addr.String(), hop.Host, func(context.Context) ([]locate.Hop, error) {
			return []locate.Hop{hop}, nil
		})
	}
	p.named = len(hops)
	for k, l := range p.links {
		switch {
		case slices.Contains(links, l):
		case len(links) < maxHops && l.retire(now):
			links, hops = append(links, l), append(hops, p.hops[k])
		default:
			old = append(old, l)
		}
	}
	p.hops, p.links = hops, links
	return old
}

// drain sends what waited for the lookup. Until all of it is on its way later
// requests wait behind it, so that the order stays.
func (p *partnerEdge) drain(err error) {
	var t turn
	defer t.end()
	for {
		p.mu.Lock()
		list, raws, links := p.waiting, p.pending, p.links
		p.waiting, p.pending = nil, nil
		if len(list) == 0 && len(raws) == 0 {
			p.resolving = false
			if err == nil {
				p.checked = time.Now()
			}
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		for _, x := range list {
			x.located(&t, links, err)
		}
		for _, raw := range raws {
			if len(links) > 0 {
				links[0].sendRaw(&t, raw.b)
			}
			p.edge.buffers.put(raw)
		}
	}
}

// located sends x now that its next hops are known, or says that they are not.
func (x *tx) located(t *turn, links []*link, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.state != txFinding {
		return
	}
	x.way.links = links
	switch i := x.way.instead; {
	case len(links) > 0:
	case i == nil || !locate.NoService(err):
		x.way.failed(cmp.Or(err, locate.ErrNoRecords))
	case !i.verdict.Allowed():
		x.audit.rule = i.verdict.Rule
		x.answer(t, i.verdict.Code(), i.verdict.Reason)
		return
	default:
		x.cross(i.bridge)
	}
	x.next(t, nil)
}

// wait lets x wait for the lookup. It reports false if there are links now, or
// too much waits.
func (p *partnerEdge) wait(x *tx) (links []*link, waiting bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.links) > 0 && (p.named > 0 || p.route.Direct()) && !p.first() {
		return p.links, false
	}
	if p.closed || len(p.waiting) >= linkWaiting {
		return nil, false
	}
	p.waiting = append(p.waiting, x)
	p.lookup()
	return nil, true
}

// first reports whether the very first lookup is still being drained.
func (p *partnerEdge) first() bool { return p.resolving && p.checked.IsZero() && !p.route.Direct() }

// sendRaw sends an ACK to the partner's first server.
func (p *partnerEdge) sendRaw(t *turn, b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(p.links) > 0:
		best := p.links[0]
		for _, l := range p.links {
			if l.ready() != nil {
				best = l
				break
			}
		}
		best.sendRaw(t, b)
	case !p.closed && len(p.pending) < linkWaiting && len(b) <= longestACK:
		p.pending = append(p.pending, p.edge.copied(b))
		p.lookup()
	}
}

// shut closes the links to a partner that is no longer one, or is another now.
func (p *partnerEdge) shut() {
	p.mu.Lock()
	p.closed = true
	links := p.links
	p.mu.Unlock()
	for _, l := range links {
		l.shut(errPartnerGone)
	}
}

// splitHostPort reads an address that the checks of the configuration passed.
func splitHostPort(addr string) (string, int) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, 5061
	}
	n, _ := strconv.Atoi(port)
	return host, n
}
