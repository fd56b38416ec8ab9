// Package locate finds the servers of partners and pools (RFC 3263, RFC 2782):
// SRV records, then addresses, in the order in which they are to be tried.
//
// What it finds is remembered: good answers for as long as DNS says, within
// bounds, and for a while longer when DNS says nothing more; bad ones shortly;
// and an address that failed sorts last for a while.
// Work and memory are bounded whatever DNS answers, and an address that DNS
// named is checked again when it is dialled ([Locator.Control]), so that no
// partner can point us at ourselves or at our inside.
//
// It asks for no NAPTR: partners are reached by TLS over TCP only, so there is
// nothing to choose (RFC 3263 §4.1). It does not connect. It checks no signatures
// either: a resolver on loopback does (RFC 4035 §4.9.3), and its word goes along with
// what is found for XMPP domains. A signature that is wrong is an answer that cannot
// be had, and never one without signature.
package locate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config is the section [dns].
type Config struct {
	// Servers are the resolvers to ask, each an address with or without port.
	// Default: the system's (/etc/resolv.conf).
	Servers []string `toml:"servers"`
	// AllowedRanges are ranges that answers may point to although they are
	// loopback, private or otherwise not public, such as "10.0.0.0/8". Default:
	// none.
	AllowedRanges []string `toml:"allowed_ranges"`
	// Whether the resolvers check signatures (DNSSEC). Then certificates count that
	// signed DNS names (DANE). Their word can be believed only if nobody is between
	// them and us: all of them must be on loopback. Default: true if they are, but
	// not for the resolver of Docker, which passes on what others say. Say false if
	// yours does that.
	Validating *bool `toml:"validating"`
	// How long an answer is still used after its time is over, while no resolver
	// gives a new one. At most 168h; "0s": never. Default 1h.
	Stale *time.Duration `toml:"stale"`
}

// A Hop is one address to dial.
type Hop struct {
	Host    string         // the name that led to it: an SRV target, or the host that the admin wrote
	Addr    netip.AddrPort // never the zero address
	FromDNS bool           // a partner's DNS chose the address, not the admin
}

func (h Hop) String() string { return h.Host + " (" + h.Addr.String() + ")" }

// Bounds of one lookup and of what is remembered.
const (
	lookupTime   = 5 * time.Second // a partner or a host, whole
	maxTargets   = 32              // SRV targets that are looked at
	maxHops      = 64              // addresses in one answer
	maxParallel  = 8               // queries that one lookup has under way
	retryAfter   = 2 * time.Second // how long a lookup that failed is not tried again
	defaultStale = time.Hour
	maxStale     = 7 * 24 * time.Hour
	// patience is how long somebody waits for a new answer who could go on with
	// the one that has just ended.
	patience = 200 * time.Millisecond
)

// How much is done and remembered for those whom the admin named, and for others.
var (
	partnerRoom  = room{lookups: 64, waiting: 4096, domains: 8192, answers: 16384}
	hostRoom     = room{lookups: 64, waiting: 4096, domains: 4096, answers: 8192}
	xmppRoom     = room{lookups: 128, waiting: 1024, domains: 4096, answers: 8192}
	strangerRoom = room{lookups: 16, waiting: 256, domains: 1024, answers: 4096}
)

// services are the SRV names of a partner's edge, the better first: the one of
// Microsoft-style federation, then that of RFC 3263 §4.1.
var services = [...]string{"_sipfederationtls._tcp.", "_sips._tcp."}

// A Locator finds servers. It is safe for concurrent use. The Directory that it
// is itself is for partners that the admin listed.
type Locator struct {
	*Directory
	strangers *Directory
	named     *Directory // hosts that the admin wrote down
	xmpp      *Directory // XMPP domains, listed or not

	dns      *client
	rules    rules
	failures *failures

	log      *slog.Logger
	now      func() time.Time
	random   func(n int) int
	total    time.Duration
	patience time.Duration
	stale    time.Duration // how long after its end an answer is used if there is no other
	hosts    string        // the system's hosts file; "" when resolvers are configured
	base     context.Context
	stop     context.CancelFunc

	mu      sync.Mutex // guards closed, and running against Close
	closed  bool
	running sync.WaitGroup
}

// New makes a Locator. Own returns the addresses that we listen on: no partner's
// DNS may send us there. It may be nil.
func New(c Config, own func() []netip.AddrPort, log *slog.Logger) (*Locator, error) {
	servers, err := c.resolvers()
	if err != nil {
		return nil, err
	}
	ranges, err := c.ranges()
	if err != nil {
		return nil, err
	}
	validates, err := c.validates(servers)
	if err != nil {
		return nil, err
	}
	stale, err := c.stale()
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &Locator{
		dns:      &client{servers: servers, validates: validates, timeout: queryTime},
		rules:    rules{allowed: ranges, own: own},
		log:      log,
		now:      time.Now,
		random:   rand.IntN,
		total:    lookupTime,
		patience: patience,
		stale:    stale,
	}
	if len(c.Servers) == 0 {
		l.hosts = hostsFile
	}
	l.Directory, l.strangers = newDirectory(l, partnerRoom), newDirectory(l, strangerRoom)
	l.named = newDirectory(l, hostRoom)
	l.named.search = l.named.findHost
	l.xmpp = newDirectory(l, xmppRoom)
	l.xmpp.search = l.xmpp.findXMPP
	l.failures = newFailures(func() time.Time { return l.now() })
	l.base, l.stop = context.WithCancel(context.Background())
	return l, nil
}

// Check returns what is wrong with the section, all at once.
func (c Config) Check() error {
	servers, err1 := c.resolvers()
	_, err2 := c.validates(servers)
	_, err3 := c.ranges()
	_, err4 := c.stale()
	return errors.Join(err1, err2, err3, err4)
}

func (c Config) stale() (time.Duration, error) {
	if c.Stale == nil {
		return defaultStale, nil
	}
	if *c.Stale < 0 || *c.Stale > maxStale {
		return 0, fmt.Errorf("stale %v: not between 0s and %v", *c.Stale, maxStale)
	}
	return *c.Stale, nil
}

// Close ends the lookups that are under way and waits for them.
func (l *Locator) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.stop()
	l.running.Wait()
}

// Strangers returns the Directory for domains that nobody listed.
func (l *Locator) Strangers() *Directory { return l.strangers }

// Host finds the addresses of a server that the admin wrote down: an address,
// or a name with A and AAAA records. It may be anywhere, so Control lets it pass.
func (l *Locator) Host(ctx context.Context, host string, port int) ([]Hop, error) {
	if port < 1 || port > 65535 {
		return nil, &Error{Domain: host, Err: fmt.Errorf("%w: port %d", ErrNoRecords, port)}
	}
	if ip, ok := parseIP(host); ok {
		return []Hop{{Host: host, Addr: netip.AddrPortFrom(ip, uint16(port))}}, nil
	}
	name, ok := hostName(host)
	if !ok {
		return nil, &Error{Domain: host, Err: fmt.Errorf("%w: not a host name", ErrNoRecords)}
	}
	if addrs := l.localHost(name); len(addrs) > 0 {
		return l.atPort(hopsTo(name, addrs, l.random), port), nil
	}
	f, err := l.named.find(ctx, name)
	if err != nil {
		return nil, err
	}
	return l.atPort(f.hops, port), nil
}

// Server is Host for a server of a partner. If the partner chose its name, where
// that leads is as little trusted as what its SRV records say.
func (l *Locator) Server(ctx context.Context, host string, port int, theirs bool) ([]Hop, error) {
	hops, err := l.Host(ctx, host, port)
	if _, ok := parseIP(host); ok || !theirs {
		return hops, err
	}
	for i := range hops { // a copy
		hops[i].FromDNS = true
	}
	return hops, err
}

// atPort returns the hops of a host, which have no port yet, with one.
func (l *Locator) atPort(hops []Hop, port int) []Hop {
	hops = slices.Clone(hops)
	for i := range hops {
		hops[i].Addr = netip.AddrPortFrom(hops[i].Addr.Addr(), uint16(port))
	}
	hops, _ = l.failures.sort(hops)
	return hops
}

// Failed remembers that an address could not be used, so that others are tried
// before it.
func (l *Locator) Failed(addr netip.AddrPort) { l.failures.add(addr) }

// Succeeded forgets that an address failed.
func (l *Locator) Succeeded(addr netip.AddrPort) { l.failures.remove(addr) }

// work runs f with the time of one lookup, until Close. It is the top of the
// goroutine that singleflight starts: a panic there, on an answer from outside,
// must not end the edge.
func (l *Locator) work(f func(context.Context) (any, error)) (v any, err error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, fmt.Errorf("%w: locator is closed", ErrTimeout)
	}
	l.running.Add(1)
	l.mu.Unlock()
	defer l.running.Done()
	defer func() {
		if p := recover(); p != nil {
			l.log.Error("lookup panicked", "panic", p, "stack", string(debug.Stack()))
			v, err = nil, fmt.Errorf("%w: panic in a lookup", ErrServfail)
		}
	}()
	ctx, cancel := context.WithTimeout(l.base, l.total)
	defer cancel()
	return f(ctx)
}

func parseIP(host string) (netip.Addr, bool) {
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	a, err := netip.ParseAddr(host)
	return a.Unmap(), err == nil
}

// domainName returns a domain in normal form, without allocation if it has it
// already. Numeric names are addresses to some resolvers and no domains, and
// localhost is nobody's (RFC 6761 §6.3).
func domainName(s string) (string, bool) {
	name, ok := hostName(s)
	return name, ok && strings.IndexByte(name, '_') < 0 && name != "localhost" && !strings.HasSuffix(name, ".localhost")
}

// hostName is domainName, and takes underscores: COMPAT(Windows), whose old
// domains have them in host names.
func hostName(s string) (string, bool) {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return "", false
	}
	upper, label, digits := false, 0, true
	for i := 0; i <= len(s); i++ {
		if i == len(s) || s[i] == '.' {
			if label == 0 || label > 63 || s[i-1] == '-' || s[i-label] == '-' {
				return "", false
			}
			if i < len(s) {
				label, digits = 0, true
			}
			continue
		}
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', c == '-', c == '_':
			digits = false
		case '0' <= c && c <= '9':
		case 'A' <= c && c <= 'Z':
			upper, digits = true, false
		default:
			return "", false
		}
		label++
	}
	if digits || strings.HasPrefix(s[len(s)-label:], "0x") || strings.HasPrefix(s[len(s)-label:], "0X") {
		return "", false
	}
	if upper {
		s = strings.ToLower(s) // ASCII only: checked above
	}
	return s, true
}
