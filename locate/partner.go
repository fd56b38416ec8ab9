package locate

import (
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

// found is what is remembered about a partner: servers or an error.
type found struct {
	hops  []Hop
	names []string // of the hosts that hops and those beyond maxHops belong to
	until time.Time
	err   error
	view  atomic.Pointer[view]
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
	f := &found{until: srv.until}
	if srv.err != nil {
		f.err = &Error{Domain: domain, Query: query, Err: srv.err}
		return f
	}
	targets := order(srv.targets, d.l.random)
	answers := d.targetAddresses(ctx, targets)
	err, forbidden := error(ErrNoRecords), error(nil)
	for i, a := range answers {
		f.until = earlier(f.until, a.until)
		if a.err != nil && !errors.Is(a.err, ErrNoRecords) {
			err, query = a.err, targets[i].host+" A, AAAA"
		}
		for _, ip := range interleave(a.addrs, d.l.random) {
			h := Hop{Host: targets[i].host, Addr: netip.AddrPortFrom(ip, targets[i].port), FromDNS: true}
			if e := d.l.rules.check(h.Addr); e != nil {
				forbidden = fmt.Errorf("%s: %w", h, e)
				continue
			}
			f.name(h.Host)
			if len(f.hops) < maxHops {
				f.hops = append(f.hops, h)
			}
		}
	}
	if len(f.hops) == 0 {
		if forbidden != nil {
			err = forbidden
		}
		f.err = &Error{Domain: domain, Query: query, Err: err}
	}
	return f
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
	ctx, cancel := context.WithTimeout(ctx, d.l.total*3/5)
	defer cancel()
	var results [len(services)]chan *answer
	for i, s := range services {
		results[i] = make(chan *answer, 1)
		d.l.running.Go(func() { results[i] <- d.query(ctx, s+domain, dns.TypeSRV) })
	}
	until := time.Time{}
	for i, s := range services {
		a := <-results[i]
		if a.err == nil {
			if !until.IsZero() {
				a = &answer{targets: a.targets, until: earlier(a.until, until)}
			}
			return s + domain + " SRV", a
		}
		if !errors.Is(a.err, ErrNoRecords) {
			until = a.until // ask again soon for the better service
		}
		if best == nil || errors.Is(best.err, ErrNoRecords) {
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
		return &answer{addrs: []netip.Addr{ip}, until: d.l.now().Add(maxTTL)}
	}
	var v4, v6 *answer
	var both sync.WaitGroup
	both.Go(func() { v6 = d.query(ctx, host, dns.TypeAAAA) })
	v4 = d.query(ctx, host, dns.TypeA)
	both.Wait()
	a := &answer{until: earlier(v4.until, v6.until)}
	a.addrs = append(append(a.addrs, v6.addrs...), v4.addrs...)
	if len(a.addrs) > 0 {
		return a
	}
	a.err = v4.err
	if errors.Is(v4.err, ErrNoRecords) {
		a.err = v6.err
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
