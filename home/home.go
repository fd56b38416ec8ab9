// Package home is a small home server: a registrar with digest sign-in
// (RFC 3261 §10, RFC 8760), a presence agent (RFC 3903, RFC 3856, RFC 6665)
// and a router of MESSAGE and INVITE, for one domain, behind an edge. It is
// for the demo, for tests and for trying sipedge out. It is not meant for
// anybody's real users: nothing is stored, passwords stand in the
// configuration, and its tables have small fixed limits.
//
// It reads and writes messages with emiago/sipgo, and so shares the limits of
// that library: a message that passes leaves in sipgo's spelling, not octet
// for octet, and a message that sipgo cannot read closes the connection. The
// connections are its own, because sipgo tells nobody which certificate a
// request came with.
//
// Users outside sign in through the edge and are reached by the Path that it
// adds (RFC 3327, RFC 5626). Who they are, home judges by the password; what
// they say later, it believes the edge, which has compared From with the
// sign-in. Their requests to other domains go back to the edge.
//
// Requests are forwarded without state (RFC 3261 §16.11). That keeps CANCEL,
// ACK and every 2xx right, also a 2xx that crosses a CANCEL, which sipgo's
// transactions swallow. The price: no forking (the newest sign-in of a user
// gets the request), no 100 and no 408 of its own, and a CANCEL that follows a
// new sign-in goes to the new place. The edge in front keeps the timers. Only
// what goes to users outside is remembered for a while: when the edge says that
// the connection is gone, it goes to the user's next device.
//
// User is the other half: a scripted user agent, built on the whole of sipgo,
// that signs in to one or more home servers, or from outside to an edge, and
// sends, receives, watches and calls.
package home

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Fixed limits. A home server for the demo meets no load; it shall not grow
// without end when somebody tries.
const (
	maxFlows         = 1024             // connections, both sides together
	maxMessage       = 64 << 10         // octets of one message
	maxBindings      = 10               // places where one user is signed in
	maxWatchers      = 1024             // subscriptions, all users together
	maxLedger        = 4096             // entries; older ones are forgotten
	maxAttempts      = 256              // requests that may be tried at another device
	handshakeTimeout = 5 * time.Second  // TLS, from accept
	messageTimeout   = 10 * time.Second // first octet to last
	idleTimeout      = 15 * time.Minute // between messages
	writeTimeout     = 5 * time.Second
	dialTimeout      = 3 * time.Second
	sweepEvery       = time.Second
)

// Config is what a home server needs to know.
type Config struct {
	Domain string            // the domain whose users live here, lower case
	Users  map[string]string // who may sign in: name and password

	// Listen is where the edge reaches us, UserListen where users sign in (plain
	// TCP, so a loopback address). Both default to a kernel port of 127.0.0.1.
	Listen     string
	UserListen string

	// Edge is the edge's internal listener, host:port: the way to every domain
	// but ours. Without it there is no way out; SetEdge can tell later.
	Edge string

	// TLS is what we show the edge and what it must prove. Without it the edge's
	// side is plain TCP and Peers says which addresses are the edge.
	TLS *TLS

	// Peers are the addresses that are the edge when there is no TLS. Default:
	// the loopback addresses.
	Peers []netip.Prefix

	// Algorithms are those by which a password may be proved, the best first
	// (RFC 8760 §2.3). Default: SHA-256, then MD5.
	Algorithms []string

	Log *slog.Logger // default: nothing is logged
}

// A Server is a running home server.
type Server struct {
	cfg      Config
	log      *slog.Logger
	key      []byte // signs nonces and branches
	tls      *tls.Config
	edgeSide *side
	userSide *side
	ctx      context.Context
	stop     context.CancelFunc
	wg       sync.WaitGroup

	registrar registrar
	presence  presence
	ledger    ledger
	attempts  attempts

	mu    sync.Mutex // guards what follows
	edge  string
	flows map[uint64]*flow
	next  uint64

	dialing sync.Mutex // one dial at a time
	out     *flow      // the connection that we made to the edge; guarded by dialing
}

// Start listens on both sides and serves until Close or Die.
func Start(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Log, key: make([]byte, 32), edge: cfg.Edge, flows: map[uint64]*flow{}}
	rand.Read(s.key)
	if cfg.TLS != nil {
		s.tls = s.edgeTLS()
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.registrar.bindings = map[string][]binding{}
	s.attempts.list = map[string]attempt{}
	s.presence.documents = map[string]publication{}
	s.presence.watchers = map[string]*watcher{}

	if s.edgeSide, err = listen(cfg.Listen, cfg.TLS != nil); err != nil {
		return nil, err
	}
	if s.userSide, err = listen(cfg.UserListen, false); err != nil {
		s.edgeSide.Close()
		return nil, err
	}
	s.wg.Go(func() { s.accept(s.edgeSide, s.admitEdge) })
	s.wg.Go(func() { s.accept(s.userSide, s.admitUser) })
	s.wg.Go(s.sweep)
	return s, nil
}

func (c Config) withDefaults() (Config, error) {
	if c.Domain == "" {
		return c, errors.New("home: a home server needs a domain")
	}
	c.Domain = strings.ToLower(c.Domain)
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.UserListen == "" {
		c.UserListen = "127.0.0.1:0"
	}
	if c.Peers == nil {
		c.Peers = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	if c.Algorithms == nil {
		c.Algorithms = []string{"SHA-256", "MD5"}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Addr is where the edge reaches us.
func (s *Server) Addr() netip.AddrPort { return s.edgeSide.addr }

// UserAddr is where users sign in.
func (s *Server) UserAddr() netip.AddrPort { return s.userSide.addr }

// SetEdge names the edge's internal listener, host:port.
func (s *Server) SetEdge(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.edge = addr
}

// Close ends the server and waits until all of it has ended.
func (s *Server) Close() error {
	s.end((*flow).close)
	return nil
}

// Die ends the server as a crash does: the listeners vanish and every
// connection is reset, without a word of TLS or SIP.
func (s *Server) Die() { s.end((*flow).reset) }

func (s *Server) end(hangUp func(*flow)) {
	s.stop()
	s.edgeSide.Close()
	s.userSide.Close()
	for _, f := range s.allFlows() {
		hangUp(f)
	}
	s.wg.Wait()
}

func (s *Server) allFlows() []*flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*flow, 0, len(s.flows))
	for _, f := range s.flows {
		all = append(all, f)
	}
	return all
}

// sweep lets sign-ins, publications and subscriptions end in time.
func (s *Server) sweep() {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-t.C:
			for _, user := range s.registrar.expire(now) {
				s.notify(user)
			}
			s.expirePresence(now)
			s.attempts.expire(now)
		}
	}
}

// A side is one of the two sockets that we listen on, and how it is written in
// Via and Record-Route.
type side struct {
	net.Listener
	addr      netip.AddrPort
	transport string // TCP or TLS, as in Via
}

func listen(addr string, overTLS bool) (*side, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	transport := "TCP"
	if overTLS {
		transport = "TLS"
	}
	return &side{Listener: l, addr: netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), transport: transport}, nil
}
