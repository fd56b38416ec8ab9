package locate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/miekg/dns"
)

// XMPPRecords say where an XMPP domain's servers are.
type XMPPRecords struct {
	Targets []XMPPTarget // in the order in which they are to be tried; those that failed lately last
	Secure  bool         // the records that name the targets are signed, or the proof that there are none
}

// An XMPPTarget is a server of an XMPP domain.
type XMPPTarget struct {
	Host   string // normal form, or an address
	Alias  string // what Host is an alias of in the end, "" if it is none
	Port   int
	Direct bool  // TLS from the first octet (XEP-0368)
	Secure bool  // its addresses are signed, with all aliases: TLSA records are to be asked for (RFC 7673 §3.2)
	Hops   []Hop // may be none
}

// xmppServices are the SRV names of an XMPP domain's servers (RFC 6120 §3.2.1,
// XEP-0368 §3).
var xmppServices = [...]struct {
	prefix string
	direct bool
}{{"_xmpp-server._tcp.", false}, {"_xmpps-server._tcp.", true}}

// xmppPort is where a domain's server is if no record says so (RFC 6120 §3.2.2).
const xmppPort = 5269

// XMPP finds the servers of an XMPP domain: those of both services as if they were
// one (XEP-0368 §3); if there is no record of either, the host of the domain's own
// name. What it returns is the caller's, but for the hops. Errors are Partner's.
func (l *Locator) XMPP(ctx context.Context, domain string) (XMPPRecords, error) {
	name, ok := domainName(domain)
	if !ok {
		return XMPPRecords{}, &Error{Domain: domain, Err: fmt.Errorf("%w: not a domain name", ErrNoRecords)}
	}
	f, err := l.xmpp.find(ctx, name)
	if err != nil {
		return XMPPRecords{}, err
	}
	return XMPPRecords{Targets: l.failures.sortTargets(f.xmpp), Secure: f.secure}, nil
}

// sortTargets returns targets with those last whose addresses have all failed.
func (f *failures) sortTargets(targets []XMPPTarget) []XMPPTarget {
	sorted := make([]XMPPTarget, 0, len(targets))
	var last []XMPPTarget
	now := f.now()
	for _, t := range targets {
		t.Hops, _ = f.sort(t.Hops)
		if len(t.Hops) > 0 && f.failed(t.Hops[0], now) {
			last = append(last, t)
			continue
		}
		sorted = append(sorted, t)
	}
	return append(sorted, last...)
}

// findXMPP asks for a domain's SRV records and the addresses of all targets.
func (d *Directory) findXMPP(ctx context.Context, domain string) *found {
	query, srv := d.xmppRecords(ctx, domain)
	f := &found{end: srv.end, until: srv.until, stale: srv.stale, secure: srv.secure}
	if srv.err != nil {
		f.err = &Error{Domain: domain, Query: query, Err: srv.err}
		return f
	}
	targets := order(srv.targets, d.l.random)
	answers := d.targetAddresses(ctx, targets)
	f.resolve(domain, query, targets, answers, d.l)
	for i, t := range targets {
		a, port := answers[i], int(t.port)
		x := XMPPTarget{Host: t.host, Alias: a.alias, Port: port, Direct: t.direct, Secure: a.err == nil && a.secure}
		// The same server may be there with both ways to begin.
		for _, h := range f.hops {
			if h.Host == t.host && h.Addr.Port() == t.port && !slices.Contains(x.Hops, h) {
				x.Hops = append(x.Hops, h)
			}
		}
		f.xmpp = append(f.xmpp, x)
	}
	f.hops = nil
	return f
}

// xmppRecords asks for both services and mixes what there is. Only if neither has
// any record, and none says that there is no such service, it is the domain itself
// (RFC 6120 §3.2.1 step 8, XEP-0368 §5).
func (d *Directory) xmppRecords(ctx context.Context, domain string) (query string, all *answer) {
	// The addresses need some of the time too.
	ctx, cancel := context.WithTimeout(ctx, d.l.total*3/5)
	defer cancel()
	var answers [len(xmppServices)]*answer
	var both sync.WaitGroup
	for i, s := range xmppServices {
		both.Go(func() { answers[i] = d.query(ctx, s.prefix+domain, dns.TypeSRV) })
	}
	both.Wait()
	bare, failed := true, -1
	for i, a := range answers {
		switch {
		case a.err == nil:
			all = all.mix(a, xmppServices[i].direct)
		case !isAnswer(a.err):
			failed = i
		case errors.Is(a.err, errNotOffered), errors.Is(a.err, errNoTarget):
			bare = false
			query = xmppServices[i].prefix + domain + " SRV"
		}
	}
	switch {
	case all != nil && failed >= 0:
		all.until = earlier(all.until, answers[failed].until) // ask again soon for the other service
	case failed >= 0:
		return xmppServices[failed].prefix + domain + " SRV", answers[failed]
	case all == nil && bare:
		return domain + " A, AAAA", bareDomain(domain, answers[0], answers[1])
	case all == nil:
		return query, &answer{err: refusal(answers[0], answers[1]), until: earlier(answers[0].until, answers[1].until)}
	}
	all.targets = best(all.targets)
	return xmppServices[0].prefix + domain + " SRV", all
}

// mix adds the targets of a service to those of another, or to none.
func (a *answer) mix(b *answer, direct bool) *answer {
	mixed := *b
	mixed.targets = slices.Clone(b.targets)
	for i := range mixed.targets {
		mixed.targets[i].direct = direct
	}
	if a != nil {
		mixed.targets = slices.Concat(a.targets, mixed.targets)
		mixed.end, mixed.until = earlier(a.end, b.end), earlier(a.until, b.until)
		mixed.stale = cmp.Or(a.stale, b.stale)
		mixed.secure = a.secure && b.secure
	}
	return &mixed
}

// refusal is the more telling of two answers that there is nothing.
func refusal(a, b *answer) error {
	for _, e := range []error{errNotOffered, errNoTarget} {
		if errors.Is(a.err, e) || errors.Is(b.err, e) {
			return e
		}
	}
	return a.err
}

// bareDomain is the domain itself as the only target, as secure as the proof that
// there are no records, and for as long.
func bareDomain(domain string, a, b *answer) *answer {
	until := earlier(a.until, b.until)
	return &answer{targets: []target{{host: domain, port: xmppPort}}, secure: a.secure && b.secure, end: until, until: until}
}

// TLSA finds what DNS says about the certificate of a server at a port (RFC 6698 §3).
// Host is a target's Host or Alias. What is not secure proves nothing. That there are
// no records is no error; an error is that it cannot be known whether there are any,
// and then nobody must go on as if there were none (RFC 7673 §3.4). It is never
// answered from what is out of date.
func (l *Locator) TLSA(ctx context.Context, host string, port int) (records []TLSA, secure bool, err error) {
	if _, ok := parseIP(host); ok {
		return nil, false, nil
	}
	prefix := fmt.Sprintf("_%d._tcp.", port)
	name, ok := hostName(host)
	if !ok || len(prefix)+len(name) > 253 {
		return nil, false, nil
	}
	a := l.xmpp.queryInTurn(ctx, prefix+name, dns.TypeTLSA)
	switch {
	case a.err == nil:
		return slices.Clone(a.tlsa), a.secure, nil
	case isAnswer(a.err):
		return nil, a.secure, nil
	}
	return nil, false, &Error{Domain: host, Query: prefix + name + " TLSA", Err: a.err}
}

// queryInTurn is query, and takes one of the places that lookups have.
func (d *Directory) queryInTurn(ctx context.Context, name string, qtype uint16) *answer {
	if a, ok := d.answers.Get(name + "/" + dns.TypeToString[qtype]); ok && d.l.now().Before(a.until) {
		return a
	}
	ctx, cancel := context.WithTimeout(ctx, d.l.total)
	defer cancel()
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return d.l.failure(errTooMany)
	}
	return d.query(ctx, name, qtype)
}
