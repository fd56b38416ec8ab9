package locate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// found is what is remembered about a domain or host: servers or an error.
type found struct {
	hops   []Hop
	names  []string     // of the hosts that hops and those beyond maxHops belong to
	xmpp   []XMPPTarget // of an XMPP domain, with the same hops
	secure bool         // the records that name the targets are signed
	end    time.Time    // until when the records are true, by their TTL
	until  time.Time    // when they are to be asked for again
	stale  error        // why some are old: there are no newer ones to be had
	err    error
	view   atomic.Pointer[view]
}

// again is f, now out of date, until the next attempt.
func (f *found) again(failed *found) *found {
	return &found{hops: f.hops, names: f.names, xmpp: f.xmpp, secure: f.secure, end: f.end, until: failed.until, stale: failed.err}
}

// view is found's hops in the order that the failures of some moment ask for.
type view struct {
	hops       []Hop
	generation uint64    // of the failures that it was made from
	until      time.Time // when the first of them is forgotten; zero: never
}

// ordered returns the hops with those that failed lately last.
func (f *found) ordered(l *Locator) []Hop {
	generation := l.failures.generation.Load()
	if v := f.view.Load(); v != nil && v.generation == generation && (v.until.IsZero() || l.now().Before(v.until)) {
		return v.hops
	}
	v := &view{generation: generation}
	v.hops, v.until = l.failures.sort(f.hops)
	f.view.Store(v)
	return v.hops
}

// findPartner asks for a partner's SRV records and the addresses of all targets.
func (d *Directory) findPartner(ctx context.Context, domain string) *found {
	query, srv := d.records(ctx, domain)
	f := &found{end: srv.end, until: srv.until, stale: srv.stale}
	if srv.err != nil {
		f.err = &Error{Domain: domain, Query: query, Err: srv.err, NoService: errors.Is(srv.err, ErrNoRecords)}
		return f
	}
	targets := order(srv.targets, d.l.random)
	f.resolve(domain, query, targets, d.targetAddresses(ctx, targets), d.l)
	return f
}

// resolve takes the addresses of all targets, and an error if there is none that may
// be dialled.
func (f *found) resolve(domain, query string, targets []target, answers []*answer, l *Locator) {
	err, forbidden := error(ErrNoRecords), error(nil)
	for i, a := range answers {
		if a.err != nil && !isAnswer(a.err) {
			err, query = a.err, targets[i].host+" A, AAAA"
		}
		if e := f.add(targets[i], a, l); e != nil {
			forbidden = e
		}
	}
	if len(f.hops) == 0 {
		if forbidden != nil && isAnswer(err) {
			err = forbidden
		}
		f.err = &Error{Domain: domain, Query: query, Err: err}
	}
}

// add takes the addresses of one target, but for those that must not be dialled,
// of which it tells the last.
func (f *found) add(t target, a *answer, l *Locator) (forbidden error) {
	f.until = earlier(f.until, a.until)
	if a.err != nil {
		return nil
	}
	f.end, f.stale = earlier(f.end, a.end), cmp.Or(f.stale, a.stale)
	for _, ip := range interleave(a.addrs, l.random) {
		h := Hop{Host: t.host, Addr: netip.AddrPortFrom(ip, t.port), FromDNS: true}
		if e := l.rules.check(h.Addr); e != nil {
			forbidden = fmt.Errorf("%s: %w", h, e)
			continue
		}
		f.name(h.Host)
		if len(f.hops) < maxHops {
			f.hops = append(f.hops, h)
		}
	}
	return forbidden
}

// findHost asks for the addresses of a host that the admin wrote down.
func (d *Directory) findHost(ctx context.Context, host string) *found {
	a := d.addresses(ctx, host)
	f := &found{end: a.end, until: a.until, stale: a.stale}
	if a.err != nil {
		f.err = &Error{Domain: host, Query: host + " A, AAAA", Err: a.err}
		return f
	}
	f.hops = hopsTo(host, a.addrs, d.l.random)
	return f
}

// hopsTo makes hops without a port of a host's addresses.
func hopsTo(host string, addrs []netip.Addr, random func(int) int) []Hop {
	hops := make([]Hop, 0, len(addrs))
	for _, a := range interleave(addrs, random) {
		hops = append(hops, Hop{Host: host, Addr: netip.AddrPortFrom(a, 0)})
	}
	return hops
}

// name adds the name of a host to those that the domain leads to.
func (f *found) name(host string) {
	if _, ok := parseIP(host); !ok && !slices.Contains(f.names, host) {
		f.names = append(f.names, host)
	}
}

// records asks for all services at once, so that the second costs no time, and
// returns the first that has servers. One that failed is not the same as one
// that does not exist: if none has servers, the failure is what is told.
func (d *Directory) records(ctx context.Context, domain string) (query string, best *answer) {
	// The addresses need some of the time too.
	// A service that is not waited for is asked for to the end: Close has to know of it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.l.total*3/5)
	var asked sync.WaitGroup
	asked.Add(len(services))
	var results [len(services)]chan *answer
	for i, s := range services {
		results[i] = make(chan *answer, 1)
		d.l.running.Go(func() {
			defer asked.Done()
			results[i] <- d.query(ctx, s+domain, dns.TypeSRV)
		})
	}
	d.l.running.Go(func() {
		asked.Wait()
		cancel()
	})
	until := time.Time{}
	for i, s := range services {
		a := <-results[i]
		if a.err == nil {
			if !until.IsZero() {
				a = a.again(until)
			}
			return s + domain + " SRV", a
		}
		if !isAnswer(a.err) {
			until = a.until // ask again soon for the better service
		}
		if best == nil || isAnswer(best.err) {
			query, best = s+domain+" SRV", a
		}
	}
	return query, best
}

// targetAddresses asks for the addresses of all targets, each host once.
func (d *Directory) targetAddresses(ctx context.Context, targets []target) []*answer {
	answers := make([]*answer, len(targets))
	var g errgroup.Group
	g.SetLimit(maxParallel / 2) // each asks for A and AAAA
	for i, t := range targets {
		g.Go(func() error {
			answers[i] = d.addresses(ctx, t.host)
			return nil
		})
	}
	_ = g.Wait() // the errors are in the answers
	return answers
}

// addresses returns the A and AAAA records of a host together.
func (d *Directory) addresses(ctx context.Context, host string) *answer {
	if ip, ok := parseIP(host); ok {
		end := d.l.now().Add(maxTTL)
		return &answer{addrs: []netip.Addr{ip}, end: end, until: end}
	}
	var v4, v6 *answer
	var both sync.WaitGroup
	both.Go(func() { v6 = d.query(ctx, host, dns.TypeAAAA) })
	v4 = d.query(ctx, host, dns.TypeA)
	both.Wait()
	return together(v6, v4)
}

// together joins the answers for the two families. That a host has none of one
// family is no reason to ask again soon if it has some of the other. If one of them
// is signed, so is what leads to the host (RFC 7673 §3.2).
func together(a, b *answer) *answer {
	switch {
	case a.err == nil && b.err == nil:
		both := *a
		both.addrs, both.end, both.until = slices.Concat(a.addrs, b.addrs), earlier(a.end, b.end), earlier(a.until, b.until)
		both.stale = cmp.Or(a.stale, b.stale)
		if b.secure && !a.secure {
			both.secure, both.alias = true, b.alias
		}
		return &both
	case a.err == nil && isAnswer(b.err):
		return a
	case b.err == nil && isAnswer(a.err):
		return b
	case a.err == nil:
		return a.again(b.until)
	case b.err == nil:
		return b.again(a.until)
	case isAnswer(a.err):
		return b.again(a.until)
	}
	return a.again(b.until)
}

// again is a, to be asked for again when something else is.
func (a *answer) again(until time.Time) *answer {
	b := *a
	b.until = earlier(a.until, until)
	return &b
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
