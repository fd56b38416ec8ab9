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
	minTTL = time.Second
	maxTTL = time.Hour // also of one above 2^31, which is long and not zero (RFC 8767 §4)
	// negativeTTL is short, so that neither a partner who sets up DNS nor one
	// whose resolver has told us nonsense is gone for long.
	negativeTTL = 5 * time.Second

	maxAliases = 8
)

// answer is what DNS says about one name and type: records, or why none. It is
// never changed once it is remembered.
type answer struct {
	targets []target     // of SRV
	addrs   []netip.Addr // of A and AAAA
	tlsa    []TLSA
	alias   string // what the name is an alias of in the end, "" if it is none
	secure  bool   // signed from the first alias to the last record, or to the proof that there is none
	err     error
	end     time.Time // until when the records are true, by their TTL
	until   time.Time // when it is to be asked again: end, unless the answer is stale
	stale   error     // why the records are old: there are no newer ones to be had
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
			if a.err != nil && !isAnswer(a.err) {
				a = d.l.keep(old, a)
			}
			d.answers.Add(key, a)
			return a, nil
		})
	})
	select {
	case r := <-ch:
		if r.Err != nil {
			return d.l.keep(old, d.l.failure(r.Err))
		}
		return r.Val.(*answer)
	case <-ctx.Done():
		return d.l.keep(old, d.l.failure(ErrTimeout))
	}
}

// isAnswer reports whether DNS has spoken, though not as one would wish: that is
// believed. All else is no answer, and the last one goes on to hold for a while.
func isAnswer(err error) bool {
	return errors.Is(err, ErrNoRecords) || errors.Is(err, ErrForbiddenAddress)
}

func (l *Locator) failure(err error) *answer {
	return &answer{err: err, until: l.now().Add(retryAfter)}
}

// keep returns the old answer for a while instead of a failure, if it has not
// been out of date for too long (RFC 8767 §5). It never does with what is said about
// certificates: a key that is no longer named must not be believed any more.
func (l *Locator) keep(old, failed *answer) *answer {
	if old == nil || old.err != nil || old.tlsa != nil || !l.usable(old.end) {
		return failed
	}
	kept := *old
	kept.until, kept.stale = failed.until, failed.err
	return &kept
}

// usable reports whether records that were true until end may still be used
// when there are no newer ones.
func (l *Locator) usable(end time.Time) bool { return l.now().Before(end.Add(l.stale)) }

// ask puts the question to the resolvers and follows aliases.
func (d *Directory) ask(ctx context.Context, name string, qtype uint16) *answer {
	r := newReader(name, qtype)
	for {
		m, err := d.l.dns.ask(ctx, r.name, qtype)
		if err != nil {
			return d.l.failure(err)
		}
		again, err := r.read(m)
		switch {
		case errors.Is(err, ErrNoRecords):
			return &answer{err: err, secure: r.secure, until: d.l.now().Add(negative(m))}
		case err != nil:
			return d.l.failure(err)
		case !again:
			end := d.l.now().Add(max(r.ttl, minTTL))
			return &answer{
				targets: best(r.targets), addrs: r.addrs, tlsa: r.tlsa, alias: r.alias(), secure: r.secure, end: end, until: end,
			}
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
// says (RFC 2308 §5), within bounds.
func negative(m *message) time.Duration {
	if m.soa == 0 {
		return negativeTTL
	}
	rr, err := m.record(m.soa)
	soa, ok := rr.(*dns.SOA)
	if err != nil || !ok {
		return negativeTTL
	}
	ttl := time.Duration(min(soa.Hdr.Ttl, soa.Minttl)) * time.Second
	return min(max(ttl, minTTL), negativeTTL)
}

// reader collects the records for a name over one or more messages.
type reader struct {
	name    string // what is asked for now: the end of the aliases so far
	qtype   uint16
	aliases int
	secure  bool // all that was read so far is signed
	ttl     time.Duration
	targets []target
	addrs   []netip.Addr
	tlsa    []TLSA
	octets  int  // of data in tlsa
	refused bool // the target "." was among the records
}

func newReader(name string, qtype uint16) reader {
	return reader{name: dns.Fqdn(name), qtype: qtype, secure: true, ttl: maxTTL}
}

// alias is where the name led, "" if it is no alias or leads to no host.
func (r *reader) alias() string {
	if r.aliases == 0 {
		return ""
	}
	host, _ := hostName(r.name)
	return host
}

// read takes the records of one message. Only those count that belong to the
// name asked for, or to what it is an alias of. Again says that the message ends
// in an alias whose records are still to be asked for.
func (r *reader) read(m *message) (again bool, err error) {
	asked := r.name
	// One link without a signature makes the chain one (RFC 7672 §2.1.3).
	r.secure = r.secure && m.authentic
	if err := r.follow(m); err != nil {
		return false, err
	}
	n, err := r.collect(m)
	switch {
	case err != nil:
		return false, fmt.Errorf("%w: %w", ErrServfail, err)
	case len(r.targets) > 0 || len(r.addrs) > 0 || len(r.tlsa) > 0:
		return false, nil
	case r.refused:
		return false, errNotOffered
	case n > 0 && r.qtype == dns.TypeSRV:
		return false, errNoTarget
	case n == 0 && m.rcode == dns.RcodeSuccess && r.name != asked && m.authority == 0:
		return true, nil
	}
	return false, ErrNoRecords
}

// follow goes along the aliases that the message has for the name.
func (r *reader) follow(m *message) error {
	if len(m.cnames) > maxCNAMEs {
		return fmt.Errorf("%w: %w", ErrServfail, errTooManyAliases)
	}
	aliases := make([]*dns.CNAME, 0, len(m.cnames))
	for _, at := range m.cnames {
		rr, err := m.record(at)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrServfail, err)
		}
		if c, ok := rr.(*dns.CNAME); ok {
			aliases = append(aliases, c)
		}
	}
	for {
		i := slices.IndexFunc(aliases, func(c *dns.CNAME) bool { return strings.EqualFold(c.Hdr.Name, r.name) })
		if i < 0 {
			return nil
		}
		if r.aliases++; r.aliases > maxAliases {
			return fmt.Errorf("%w: %w", ErrServfail, errTooManyAliases)
		}
		r.lower(aliases[i].Hdr.Ttl)
		r.name = aliases[i].Target
	}
}

// collect takes the records of the name and counts them.
func (r *reader) collect(m *message) (n int, err error) {
	for _, at := range m.answers {
		rr, err := m.record(at)
		if err != nil {
			return n, err
		}
		if strings.EqualFold(rr.Header().Name, r.name) {
			n++
			r.take(rr)
		}
	}
	return n, nil
}

func (r *reader) take(rr dns.RR) {
	switch rr := rr.(type) {
	case *dns.SRV:
		r.takeTarget(rr)
	case *dns.A:
		r.takeAddr(rr.A, rr.Hdr.Ttl)
	case *dns.AAAA:
		r.takeAddr(rr.AAAA, rr.Hdr.Ttl)
	case *dns.TLSA:
		r.takeTLSA(rr)
	}
}

// takeTarget keeps a target that can be dialled. The target "." means that "the
// service is decidedly not available at this domain" (RFC 2782, "Target"). It
// allows neither an address there nor an alias, but both are found in the wild
// and their meaning is plain; where they lead is checked as for any other.
func (r *reader) takeTarget(rr *dns.SRV) {
	r.refused = r.refused || rr.Target == "."
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
	r.targets = append(r.targets, target{host: host, port: rr.Port, priority: rr.Priority, weight: rr.Weight})
	if len(r.targets) > 4*maxTargets {
		r.targets = best(r.targets)
	}
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
