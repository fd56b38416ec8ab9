package locatetest

import (
	"net"
	"strings"

	"github.com/miekg/dns"
)

// answer is the handler of both listeners.
func (s *Server) answer(w dns.ResponseWriter, q *dns.Msg) {
	if len(q.Question) != 1 {
		return
	}
	zone, fault := s.take(q.Question[0])
	m := lookup(zone, q)
	m.AuthenticatedData = s.isSigned(m)
	size, edns := dns.MinMsgSize, q.IsEdns0()
	if edns != nil {
		size = int(edns.UDPSize())
		m.SetEdns0(edns.UDPSize(), false)
	}
	overUDP := w.LocalAddr().Network() == "udp"
	if overUDP {
		m.Truncate(size)
	}
	send := func(m *dns.Msg) { _ = w.WriteMsg(m) } // who asked may have gone
	switch fault {
	case Honest:
		send(m)
	case Servfail:
		send(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
	case NoEDNS:
		if edns != nil {
			m = new(dns.Msg).SetRcode(q, dns.RcodeFormatError)
		}
		send(m)
	case WrongID:
		send(withID(m))
	case WrongQuestion:
		send(withQuestion(m))
	case Forge:
		send(withID(m))
		send(withQuestion(m))
		send(m)
	case Truncate, TruncateEver, CutStream:
		if overUDP || fault == TruncateEver {
			m = cut(m)
		}
		if !overUDP && fault == CutStream {
			sendCut(w, m)
			return
		}
		send(m)
	case PointerLoop:
		_, _ = w.Write(pointerLoop(q))
	case Garbage:
		raw, _ := m.Pack()
		_, _ = w.Write(append(raw[:12], "\xff\xff\xff\xff\xff nonsense"...))
	case Hold:
		s.hold(q, send)
	case ForgeSource:
		s.fromElsewhere(w, withNothing(m))
		send(m)
	case Poison:
		send(poisoned(m))
	case Silence:
	}
}

// hold answers when Release has been called, from the zone as it is then.
func (s *Server) hold(q *dns.Msg, send func(*dns.Msg)) {
	<-s.released
	s.mu.Lock()
	zone := s.zones[0]
	s.mu.Unlock()
	send(lookup(zone, q))
}

// fromElsewhere sends an answer from an address that was not asked.
func (s *Server) fromElsewhere(w dns.ResponseWriter, m *dns.Msg) {
	to, ok := w.RemoteAddr().(*net.UDPAddr)
	if !ok {
		return
	}
	c, err := net.DialUDP("udp", nil, to)
	if err != nil {
		return
	}
	defer c.Close()
	raw, _ := m.Pack()
	_, _ = c.Write(raw)
}

// poisoned adds records that nobody asked for, in all sections: that all hosts
// of the answer, and two others, are at 192.0.2.66.
func poisoned(m *dns.Msg) *dns.Msg {
	p := m.Copy()
	names := []string{"example.com.", "edge.contoso.example."}
	for _, rr := range m.Answer {
		if srv, ok := rr.(*dns.SRV); ok {
			names = append(names, srv.Target)
		}
	}
	for _, name := range names {
		if strings.EqualFold(name, m.Question[0].Name) {
			continue // that would be an answer
		}
		a := &dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 3600}, A: net.IPv4(192, 0, 2, 66)}
		p.Answer, p.Ns, p.Extra = append(p.Answer, a), append(p.Ns, a), append(p.Extra, a)
	}
	return p
}

// lookup answers from the zone.
func lookup(zone []dns.RR, q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable, m.Compress = true, true
	name, exists := q.Question[0].Name, false
	for range 16 {
		alias := ""
		for _, rr := range zone {
			h := rr.Header()
			if !strings.EqualFold(h.Name, name) {
				continue
			}
			exists = true
			if h.Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			} else if c, ok := rr.(*dns.CNAME); ok {
				m.Answer = append(m.Answer, rr)
				alias = c.Target
			}
		}
		if alias == "" {
			break
		}
		name = alias
	}
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	if len(m.Answer) == 0 {
		for _, rr := range zone {
			if soa, ok := rr.(*dns.SOA); ok && dns.IsSubDomain(soa.Hdr.Name, name) {
				m.Ns = append(m.Ns, rr)
			}
		}
	}
	return m
}

// The wrong messages carry no records that could be taken for right ones: a
// test that sees an address knows that the right message was read.
func withNothing(m *dns.Msg) *dns.Msg {
	wrong := m.Copy()
	wrong.Answer, wrong.Rcode = nil, dns.RcodeNameError
	return wrong
}

func withID(m *dns.Msg) *dns.Msg {
	wrong := withNothing(m)
	wrong.Id ^= 0x5555
	return wrong
}

func withQuestion(m *dns.Msg) *dns.Msg {
	wrong := withNothing(m)
	wrong.Question[0].Name = "wrong.invalid."
	return wrong
}

func cut(m *dns.Msg) *dns.Msg {
	c := m.Copy()
	c.Answer, c.Ns, c.Truncated = nil, nil, true
	return c
}

// sendCut sends a message that ends in the middle.
func sendCut(w dns.ResponseWriter, m *dns.Msg) {
	raw, _ := m.Pack()
	_, _ = w.Write(raw[:len(raw)/2])
}

// pointerLoop answers with a record whose name is a pointer to itself.
func pointerLoop(q *dns.Msg) []byte {
	m := new(dns.Msg).SetReply(q)
	raw, _ := m.Pack()
	raw[7] = 1 // one answer
	at := len(raw)
	return append(raw, 0xc0|byte(at>>8), byte(at), 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
}
