package locate

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// A Target is an SRV record as it stands in DNS, also one that nobody can dial.
type Target struct {
	Host                   string // in normal form if it is a host name, else as DNS writes it
	Port, Priority, Weight uint16
	Usable                 bool // it leads to a host and a port
}

// Records are what DNS says about one name, for people who look for a mistake.
// Nothing is remembered, and nothing that is wrong is passed over.
type Records struct {
	Name    string
	Alias   string       // what Name is an alias of in the end, "" if it is none
	Targets []Target     // of SRV, in the order of priority; at most 32
	Addrs   []netip.Addr // of A and AAAA; at most 64
	More    int          // records beyond those
	Err     error        // around one of the errors of this package; nil if there are records
}

// Services asks for the SRV records of a domain's edge, of each service that
// Partner knows, the better first.
func (l *Locator) Services(ctx context.Context, domain string) []Records {
	list := make([]Records, len(services))
	ctx, cancel := context.WithTimeout(ctx, l.total)
	defer cancel()
	var all sync.WaitGroup
	for i, s := range services {
		all.Go(func() { list[i] = l.inspect(ctx, s+domain, dns.TypeSRV) })
	}
	all.Wait()
	return list
}

// Service asks for the SRV records of one name, like "_sip._tls.example.com".
func (l *Locator) Service(ctx context.Context, name string) Records {
	ctx, cancel := context.WithTimeout(ctx, l.total)
	defer cancel()
	return l.inspect(ctx, name, dns.TypeSRV)
}

// Addresses asks for the A and AAAA records of a host. The hosts file of this
// machine is not looked at.
func (l *Locator) Addresses(ctx context.Context, host string) Records {
	if ip, ok := parseIP(host); ok {
		return Records{Name: host, Addrs: []netip.Addr{ip}}
	}
	ctx, cancel := context.WithTimeout(ctx, l.total)
	defer cancel()
	var v4, v6 Records
	var both sync.WaitGroup
	both.Go(func() { v6 = l.inspect(ctx, host, dns.TypeAAAA) })
	v4 = l.inspect(ctx, host, dns.TypeA)
	both.Wait()
	r := Records{Name: host, Alias: cmp.Or(v4.Alias, v6.Alias), More: v4.More + v6.More}
	if r.Addrs = append(v4.Addrs, v6.Addrs...); len(r.Addrs) > 0 {
		return r
	}
	r.Err = v4.Err
	if errors.Is(v4.Err, ErrNoRecords) {
		r.Err = v6.Err
	}
	return r
}

// Forbidden returns why a partner's DNS may not send us to addr, around
// ErrForbiddenAddress, or nil.
func (l *Locator) Forbidden(addr netip.AddrPort) error { return l.rules.check(addr) }

// Resolvers returns who is asked, each an address with port.
func (l *Locator) Resolvers() []string { return slices.Clone(l.dns.servers) }

// inspect asks for one name and type, and follows aliases.
func (l *Locator) inspect(ctx context.Context, name string, qtype uint16) Records {
	out := Records{Name: name}
	r := newReader(name, qtype)
	for {
		m, err := l.dns.ask(ctx, r.name, qtype)
		if err != nil {
			out.Err = err
			return out
		}
		again, err := r.read(m)
		if end := strings.TrimSuffix(r.name, "."); !strings.EqualFold(end, name) {
			out.Alias = end
		}
		if err == nil && again {
			continue
		}
		for _, at := range m.answers {
			if rr, err := m.record(at); err == nil && strings.EqualFold(rr.Header().Name, r.name) {
				out.take(rr)
			}
		}
		slices.SortStableFunc(out.Targets, func(a, b Target) int {
			return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(b.Weight, a.Weight), strings.Compare(a.Host, b.Host))
		})
		slices.SortFunc(out.Addrs, netip.Addr.Compare)
		if len(out.Targets) == 0 && len(out.Addrs) == 0 {
			out.Err = cmp.Or(err, error(ErrNoRecords))
		}
		return out
	}
}

// take notes one record.
func (out *Records) take(rr dns.RR) {
	switch rr := rr.(type) {
	case *dns.SRV:
		t := Target{Host: strings.TrimSuffix(rr.Target, "."), Port: rr.Port, Priority: rr.Priority, Weight: rr.Weight}
		host, ok := hostName(t.Host)
		if ip, isIP := parseIP(t.Host); isIP {
			host, ok = ip.String(), true
		}
		if ok {
			t.Host, t.Usable = host, rr.Port > 0
		}
		if len(out.Targets) == maxTargets {
			out.More++
			return
		}
		out.Targets = append(out.Targets, t)
	case *dns.A:
		out.takeAddr(rr.A)
	case *dns.AAAA:
		out.takeAddr(rr.AAAA)
	}
}

func (out *Records) takeAddr(ip []byte) {
	a, ok := netip.AddrFromSlice(ip)
	switch {
	case !ok:
	case len(out.Addrs) == maxHops:
		out.More++
	default:
		out.Addrs = append(out.Addrs, a.Unmap())
	}
}
