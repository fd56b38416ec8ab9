// Package locatetest is a DNS server on loopback for tests and the demo: it
// answers from a zone given as text, and misbehaves on request.
//
// It answers as a resolver would: aliases are followed within the zone, and what
// the zone does not have does not exist.
package locatetest

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// A Fault is a way to answer wrongly. The zero Fault is to answer rightly.
type Fault int

const (
	Honest        Fault = iota
	Truncate            // nothing but the flag over UDP; all over TCP
	TruncateEver        // nothing but the flag over TCP too
	WrongID             // an answer to a message nobody sent
	WrongQuestion       // an answer to a question nobody asked
	Forge               // a wrong id, a wrong question, then the right answer
	Servfail            // SERVFAIL
	Silence             // no answer at all
	NoEDNS              // FORMERR if the question has EDNS
	PointerLoop         // a name that points at itself (RFC 1035 §4.1.4)
	Garbage             // the right header, then nonsense
	CutStream           // the flag over UDP; over TCP a message that ends in the middle
	Hold                // the answer comes when Release has been called
	ForgeSource         // a wrong answer from another address, then the right one
	Poison              // the right answer, and records that nobody asked for
)

// A Server answers questions on one loopback address, by UDP and TCP.
type Server struct {
	udp, tcp *dns.Server
	addr     string

	mu      sync.Mutex // guards what follows
	zones   [][]dns.RR // answered from in turn, one question of a name and type after the other
	faults  map[string]Fault
	queries map[string]int
	total   int
	signed  []string // domains

	release  sync.Once
	released chan struct{} // closed when nothing is held any more
}

// Serve starts a server with a zone (RFC 1035 §5). Names without a final dot
// are below the root; records without TTL get an hour.
func Serve(zone string) (*Server, error) {
	s := &Server{faults: map[string]Fault{}, queries: map[string]int{}, released: make(chan struct{})}
	if err := s.SetZone(zone); err != nil {
		return nil, err
	}
	pc, ln, err := listen()
	if err != nil {
		return nil, fmt.Errorf("serve dns: %w", err)
	}
	s.addr = pc.LocalAddr().String()
	s.udp = &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(s.answer)}
	s.tcp = &dns.Server{Listener: ln, Handler: dns.HandlerFunc(s.answer)}
	for _, d := range []*dns.Server{s.udp, s.tcp} {
		started := make(chan struct{})
		d.NotifyStartedFunc = func() { close(started) }
		go func() { _ = d.ActivateAndServe() }() // ends by Close
		<-started
	}
	return s, nil
}

// listen finds a port that is free for both.
func listen() (pc net.PacketConn, ln net.Listener, err error) {
	for range 20 {
		if pc, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			return nil, nil, err
		}
		if ln, err = net.Listen("tcp", pc.LocalAddr().String()); err == nil {
			return pc, ln, nil
		}
		pc.Close()
	}
	return nil, nil, err
}

// Addr returns where the server listens, as an address with port.
func (s *Server) Addr() string { return s.addr }

// Release lets the answers come that are held, and from now on nothing is.
func (s *Server) Release() { s.release.Do(func() { close(s.released) }) }

// Close ends the server.
func (s *Server) Close() {
	s.Release()
	_ = s.udp.Shutdown()
	_ = s.tcp.Shutdown()
}

// SetZone replaces the zone.
func (s *Server) SetZone(zone string) error { return s.SetZones(zone) }

// SetZones replaces the zone by several: each question of a name and type is
// answered from the next one, as a zone that flips between two answers.
func (s *Server) SetZones(zones ...string) error {
	var all [][]dns.RR
	for _, z := range zones {
		rrs, err := parse(z)
		if err != nil {
			return err
		}
		all = append(all, rrs)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zones, s.queries = all, map[string]int{}
	return nil
}

func parse(zone string) ([]dns.RR, error) {
	p := dns.NewZoneParser(strings.NewReader(zone), ".", "")
	p.SetDefaultTTL(3600)
	var rrs []dns.RR
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		rrs = append(rrs, rr)
	}
	if err := p.Err(); err != nil {
		return nil, fmt.Errorf("parse zone: %w", err)
	}
	return rrs, nil
}

// Misbehave makes the server answer questions about name with a fault, until
// told otherwise; name "" stands for all that have no fault of their own.
func (s *Server) Misbehave(name string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[fqdn(name)] = f
}

// Sign makes the server say, also to those who did not ask, that all in these domains,
// and that there is nothing else in them, is signed and checked (RFC 4035 §3.2.3), as
// a resolver that validates does. Where an alias leads out of them nothing is signed.
// Without domains it says so of nothing.
func (s *Server) Sign(domains ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signed = nil
	for _, d := range domains {
		s.signed = append(s.signed, fqdn(d))
	}
}

// isSigned reports whether all names in an answer are.
func (s *Server) isSigned(m *dns.Msg) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	signed := func(name string) bool {
		return slices.ContainsFunc(s.signed, func(d string) bool { return dns.IsSubDomain(d, name) })
	}
	for _, rr := range m.Answer {
		if c, ok := rr.(*dns.CNAME); !signed(rr.Header().Name) || ok && !signed(c.Target) {
			return false
		}
	}
	return signed(m.Question[0].Name)
}

// Queries returns how many questions came since the start.
func (s *Server) Queries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// QueriesFor returns how many questions of one name and type came since the
// zone was set.
func (s *Server) QueriesFor(name string, qtype uint16) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries[key(name, qtype)]
}

func fqdn(name string) string { return strings.ToLower(dns.Fqdn(name)) }

func key(name string, qtype uint16) string { return fqdn(name) + "/" + dns.TypeToString[qtype] }

// take counts a question and returns the records and the fault to answer with.
func (s *Server) take(q dns.Question) ([]dns.RR, Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key(q.Name, q.Qtype)
	n := s.queries[k]
	s.queries[k]++
	s.total++
	f, ok := s.faults[fqdn(q.Name)]
	if !ok {
		f = s.faults["."]
	}
	return s.zones[n%len(s.zones)], f
}
