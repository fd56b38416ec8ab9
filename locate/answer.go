package locate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// How long answers are believed, whatever their TTL says.
const (
	minTTL      = time.Second
	maxTTL      = time.Hour
	negativeTTL = 30 * time.Second
	// staleTime is how long after its end an answer is still used when no
	// resolver gives a new one (RFC 8767 §5), and staleTTL for how long then.
	staleTime = 10 * time.Minute
	staleTTL  = 30 * time.Second

	maxAliases = 8
)

// answer is what DNS says about one name and type: records, or why none. It is
// never changed once it is remembered.
type answer struct {
	targets []target     // of SRV
	addrs   []netip.Addr // of A and AAAA
	err     error
	end     time.Time // until when the records are true, by their TTL
	until   time.Time // when it is to be asked again: end, unless the answer is stale
}

// query returns the records of one name and type, from memory if it can.
func (d *Directory) query(ctx context.Context, name string, qtype uint16) *answer {
	key := name + "/" + dns.TypeToString[qtype]
	old, ok := d.answers.Get(key)
	if ok && d.l.now().Before(old.until) {
		return old
	}
	// A flight of its own: it must not end early because the lookup that
	// happened to ask first has little time left.
	ch := d.queries.DoChan(key, func() (any, error) {
		return d.l.work(func(ctx context.Context) (any, error) {
			a := d.ask(ctx, name, qtype)
			if a.err != nil && !errors.Is(a.err, ErrNoRecords) {
				a = d.stale(old, a, key)
			}
			d.answers.Add(key, a)
			return a, nil
		})
	})
	select {
	case r := <-ch:
		if r.Err != nil {
			return &answer{err: r.Err, until: d.l.now().Add(retryAfter)}
		}
		return r.Val.(*answer)
	case <-ctx.Done():
		a := &answer{err: ErrTimeout, until: d.l.now().Add(retryAfter)}
		return d.stale(old, a, key)
	}
}

// stale returns the old answer for a while instead of a failure, if it has not
// been out of date for long.
func (d *Directory) stale(old, failed *answer, key string) *answer {
	now := d.l.now()
	if old == nil || old.err != nil || now.After(old.end.Add(staleTime)) {
		return failed
	}
	d.l.log.Warn("stale dns answer used", "query", key, "error", failed.err)
	return &answer{targets: old.targets, addrs: old.addrs, end: old.end, until: now.Add(staleTTL)}
}

// ask puts the question to the resolvers and follows aliases.
func (d *Directory) ask(ctx context.Context, name string, qtype uint16) *answer {
	r := reader{name: dns.Fqdn(name), qtype: qtype, ttl: maxTTL}
	for {
		m, err := d.l.dns.ask(ctx, r.name, qtype)
		if err != nil {
			return &answer{err: err, until: d.l.now().Add(retryAfter)}
		}
		again, err := r.read(m)
		switch {
		case errors.Is(err, ErrNoRecords):
			return &answer{err: err, until: d.l.now().Add(negative(m))}
		case err != nil:
			return &answer{err: err, until: d.l.now().Add(negativeTTL)}
		case !again:
			end := d.l.now().Add(max(r.ttl, minTTL))
			return &answer{targets: best(r.targets), addrs: r.addrs, end: end, until: end}
		}
	}
}

// best keeps the targets of best priority: what is remembered must be small
// however long the answer was.
func best(targets []target) []target {
	if len(targets) <= maxTargets {
		return targets
	}
	slices.SortStableFunc(targets, func(a, b target) int { return cmp.Compare(a.priority, b.priority) })
	return slices.Clone(targets[:maxTargets])
}

// negative is how long an answer without records is believed: what the zone
// says (RFC 2308 §5), at most half a minute, so that a partner who sets up DNS
// is not told "no" for long.
func negative(m *dns.Msg) time.Duration {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			ttl := time.Duration(min(soa.Hdr.Ttl, soa.Minttl)) * time.Second
			return min(max(ttl, minTTL), negativeTTL)
		}
	}
	return negativeTTL
}

// reader collects the records for a name over one or more messages.
type reader struct {
	name    string // what is asked for now: the end of the aliases so far
	qtype   uint16
	aliases int
	ttl     time.Duration
	targets []target
	addrs   []netip.Addr
}

// read takes the records of one message. Only those count that belong to the
// name asked for, or to what it is an alias of. Again says that the message ends
// in an alias whose records are still to be asked for.
func (r *reader) read(m *dns.Msg) (again bool, err error) {
	asked := r.name
	for {
		next, ok := r.alias(m)
		if !ok {
			break
		}
		if r.aliases++; r.aliases > maxAliases {
			return false, fmt.Errorf("%w: %w", ErrServfail, errTooManyAliases)
		}
		r.name = next
	}
	n, refused := 0, false
	for _, rr := range m.Answer {
		if h := rr.Header(); h.Rrtype == r.qtype && h.Class == dns.ClassINET && strings.EqualFold(h.Name, r.name) {
			n++
			r.take(rr)
			refused = refused || isRefusal(rr)
		}
	}
	switch {
	case len(r.targets) > 0 || len(r.addrs) > 0:
		return false, nil
	case refused:
		return false, fmt.Errorf("%w: the domain says that it has no such service", ErrNoRecords)
	case n == 0 && m.Rcode == dns.RcodeSuccess && r.name != asked && len(m.Ns) == 0:
		return true, nil
	}
	return false, ErrNoRecords
}

// alias returns what the current name is an alias of, by this message.
func (r *reader) alias(m *dns.Msg) (string, bool) {
	for _, rr := range m.Answer {
		if c, ok := rr.(*dns.CNAME); ok && strings.EqualFold(c.Hdr.Name, r.name) {
			r.lower(c.Hdr.Ttl)
			return c.Target, true
		}
	}
	return "", false
}

// isRefusal knows the target ".": "the service is decidedly not available at
// this domain" (RFC 2782, "Target").
func isRefusal(rr dns.RR) bool {
	srv, ok := rr.(*dns.SRV)
	return ok && srv.Target == "."
}

func (r *reader) take(rr dns.RR) {
	switch rr := rr.(type) {
	case *dns.SRV:
		r.takeTarget(rr)
	case *dns.A:
		r.takeAddr(rr.A, rr.Hdr.Ttl)
	case *dns.AAAA:
		r.takeAddr(rr.AAAA, rr.Hdr.Ttl)
	}
}

// takeTarget keeps a target that can be dialled. RFC 2782 allows no address
// there, but its meaning is plain, and it is checked like any other.
func (r *reader) takeTarget(rr *dns.SRV) {
	host := strings.TrimSuffix(rr.Target, ".")
	if ip, ok := parseIP(host); ok {
		host = ip.String()
	} else if host, ok = hostName(host); !ok {
		return
	}
	if rr.Port == 0 {
		return
	}
	r.lower(rr.Hdr.Ttl)
	r.targets = append(r.targets, target{host, rr.Port, rr.Priority, rr.Weight})
}

func (r *reader) takeAddr(ip []byte, ttl uint32) {
	a, ok := netip.AddrFromSlice(ip)
	if !ok || len(r.addrs) == maxHops {
		return
	}
	r.lower(ttl)
	r.addrs = append(r.addrs, a.Unmap())
}

func (r *reader) lower(ttl uint32) {
	r.ttl = min(r.ttl, time.Duration(ttl)*time.Second)
}
