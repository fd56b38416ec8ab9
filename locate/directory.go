package locate

import (
	"context"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// room is how much one Directory may do and remember.
type room struct {
	lookups int // at the same time
	waiting int // lookups that wait for one of those
	domains int // that are remembered
	answers int // of DNS that are remembered
}

// A Directory finds the edges of domains, with room of its own. Whom the admin
// listed and whom nobody knows are in two of them, so that strangers, however
// many and however slow their DNS, neither delay a partner nor push one out.
type Directory struct {
	l       *Locator
	search  func(ctx context.Context, name string) *found
	slots   chan struct{} // one for each lookup under way
	waiting chan struct{} // one for each lookup, also those that wait for a slot
	domains *lru.Cache[string, *found]
	lookups singleflight.Group // by domain
	answers *lru.Cache[string, *answer]
	queries singleflight.Group // by name and type
}

func newDirectory(l *Locator, r room) *Directory {
	d := &Directory{l: l, slots: make(chan struct{}, r.lookups), waiting: make(chan struct{}, r.lookups+r.waiting)}
	d.search = d.findPartner
	// These fail only for a size below one.
	d.domains, _ = lru.New[string, *found](r.domains)
	d.answers, _ = lru.New[string, *answer](r.answers)
	return d
}

// Partner finds the edge servers of a domain by SRV records, in the order in
// which they are to be tried, those that failed lately last. The slice is
// shared: it must not be changed. An error is an *Error around ErrNoRecords,
// ErrServfail, ErrTimeout or ErrForbiddenAddress, or ctx's own.
func (d *Directory) Partner(ctx context.Context, domain string) ([]Hop, error) {
	f, err := d.partner(ctx, domain)
	if err != nil {
		return nil, err
	}
	return f.ordered(d.l), nil
}

// CachedPartner returns what Partner found before, if it still holds. It never
// waits, and allocates only when an address has failed or recovered since. A
// domain that is known to have no servers is not "found": Partner then says why
// at once.
func (d *Directory) CachedPartner(domain string) ([]Hop, bool) {
	f, ok := d.cached(domain)
	if !ok {
		return nil, false
	}
	return f.ordered(d.l), true
}

// CachedAbsent reports whether it is known that a domain has no such service: Partner's
// error would be one of NoService. It never waits.
func (d *Directory) CachedAbsent(domain string) bool {
	name, ok := domainName(domain)
	if !ok {
		return false
	}
	f, ok := d.domains.Get(name)
	return ok && NoService(f.err) && d.l.now().Before(f.until)
}

// Targets returns the names of the hosts that a domain's SRV records lead to, in
// normal form and in the order of the records: those that have an address which
// may be dialled. Whoever proves to be one of them is an edge of that domain, as
// far as DNS can be believed. A target that is an address and no name is not
// among them. The slice is shared: it must not be changed. Errors are Partner's.
func (d *Directory) Targets(ctx context.Context, domain string) ([]string, error) {
	f, err := d.partner(ctx, domain)
	if err != nil {
		return nil, err
	}
	return f.names, nil
}

// CachedTargets returns what Targets found before, if it still holds. It neither
// waits nor allocates.
func (d *Directory) CachedTargets(domain string) ([]string, bool) {
	f, ok := d.cached(domain)
	if !ok {
		return nil, false
	}
	return f.names, true
}

// partner returns what is known about a domain.
func (d *Directory) partner(ctx context.Context, domain string) (*found, error) {
	name, ok := domainName(domain)
	if !ok {
		return nil, &Error{Domain: domain, Err: fmt.Errorf("%w: not a domain name", ErrNoRecords)}
	}
	return d.find(ctx, name)
}

func (d *Directory) cached(domain string) (*found, bool) {
	name, ok := domainName(domain)
	if !ok {
		return nil, false
	}
	f, ok := d.domains.Get(name)
	return f, ok && f.err == nil && d.l.now().Before(f.until)
}

// find returns what is known about a name, looking it up if need be.
func (d *Directory) find(ctx context.Context, name string) (*found, error) {
	f, ok := d.domains.Get(name)
	if !ok || !d.l.now().Before(f.until) {
		var err error
		if f, err = d.refresh(ctx, name, f); err != nil {
			return nil, &Error{Domain: name, Err: err}
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	return f, nil
}

// refresh looks a name up, one time for all who ask for it now. That goes on
// when a caller no longer waits, and is bounded by itself.
//
// Old is what was known before, or nil. If it can still be used nobody waits
// long for what is new: not at all if the last lookup failed too, and else until
// patience is over (RFC 8767 §5, the client response timer).
func (d *Directory) refresh(ctx context.Context, name string, old *found) (*found, error) {
	ch := d.lookups.DoChan(name, func() (any, error) {
		select {
		case d.waiting <- struct{}{}:
			defer func() { <-d.waiting }()
		default:
			return nil, errTooMany
		}
		return d.l.work(func(ctx context.Context) (any, error) { return d.lookup(ctx, name) })
	})
	if !d.l.current(old) {
		old = nil
	}
	var patience <-chan time.Time
	switch {
	case old != nil && old.stale != nil:
		return old, nil
	case old != nil:
		t := time.NewTimer(d.l.patience)
		defer t.Stop()
		patience = t.C
	}
	select {
	case r := <-ch:
		if r.Err == nil {
			return r.Val.(*found), nil
		}
		return orElse(old, r.Err)
	case <-patience:
		return old, nil
	case <-ctx.Done():
		return orElse(old, context.Cause(ctx))
	}
}

func orElse(old *found, err error) (*found, error) {
	if old != nil {
		return old, nil
	}
	return nil, err
}

// lookup asks DNS for a name when there is a slot, and remembers what it says.
func (d *Directory) lookup(ctx context.Context, name string) (*found, error) {
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return nil, errTooMany // not remembered: it says nothing about the domain
	}
	f := d.search(ctx, name)
	old, ok := d.domains.Peek(name)
	if ok && f.err != nil && !isAnswer(f.err) && d.l.current(old) {
		f = old.again(f)
	}
	d.tell(name, old, f)
	d.domains.Add(name, f)
	return f, nil
}

// tell logs when old answers begin to be used, and when that is over.
func (d *Directory) tell(name string, old, now *found) {
	was := old != nil && old.stale != nil
	switch {
	case now.stale != nil && !was:
		d.l.log.Warn("stale dns answer used", "domain", name, "age", d.l.now().Sub(now.end).Round(time.Second), "err", now.stale)
	case was && now.stale == nil && now.err == nil:
		d.l.log.Info("dns answers again", "domain", name)
	}
}

// current reports whether f is good and not out of date for too long.
func (l *Locator) current(f *found) bool { return f != nil && f.err == nil && l.usable(f.end) }
