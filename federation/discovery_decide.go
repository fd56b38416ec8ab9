package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/store"
)

// ErrNoDecision says that nobody decided about a domain.
var ErrNoDecision = errors.New("federation: no decision about this domain")

// What people may write in a Decision, in octets.
const (
	maxBy   = 256
	maxNote = 1024
)

// Decisions returns what administrators decided, in the order of the domains.
// Their Partners must not be changed.
func (d *Discovery) Decisions() []Decision {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	all := make([]Decision, 0, len(d.decisions))
	for _, have := range d.decisions {
		all = append(all, *have)
	}
	d.mu.Unlock()
	slices.SortFunc(all, func(a, b Decision) int { return strings.Compare(a.Domain, b.Domain) })
	return all
}

// Decide takes what an administrator decided about a domain, in place of what was
// decided before. When it returns nil, the decision is on the disk. To ignore a
// domain that is watched takes it, with all names under its registrable domain,
// off the watch list, and its count begins anew; if it goes on as before it will
// be watched again. To allow it leaves the others watched.
func (d *Discovery) Decide(what Decision) error {
	if err := what.check(); err != nil {
		return err
	}
	d.deciding.Lock()
	defer d.deciding.Unlock()
	if err := d.keep(&what); err != nil {
		return fmt.Errorf("decide about %s: %w", what.Domain, err)
	}
	d.mu.Lock()
	d.decide(what.Domain, &what)
	o := d.owners[registrable(what.Domain)]
	forgiven := o != nil && what.Action == ActionIgnore
	if forgiven {
		o.forgive()
		d.settleAll(o)
	}
	d.mu.Unlock()
	if forgiven {
		d.forgiven(o)
	}
	return nil
}

// forgiven writes down that an owner begins anew. If that fails, Run tries it
// again.
func (d *Discovery) forgiven(o *owner) {
	if d.bucket == nil {
		return
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	if err := d.flushOwners([]*owner{o}); err != nil {
		d.log.Error("discovered partners not written", "err", err)
	}
}

// Revoke takes back what was decided about a domain: it is again what it was
// without. It is as lasting as Decide.
func (d *Discovery) Revoke(domain string) error {
	d.deciding.Lock()
	defer d.deciding.Unlock()
	d.mu.Lock()
	_, ok := d.decisions[domain]
	d.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: %s", ErrNoDecision, domain)
	}
	if d.decided != nil {
		if err := d.decided.Delete(domain); err != nil {
			return fmt.Errorf("revoke the decision about %s: %w", domain, err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.decide(domain, nil)
	return nil
}

// check brings the domain to its normal form and refuses what is no Decision.
func (what *Decision) check() error {
	domain, err := Normal(what.Domain)
	switch {
	case err != nil:
		return fmt.Errorf("federation: decision about %.80q: %w", what.Domain, err)
	case !what.Action.Valid():
		return fmt.Errorf("federation: %.80q is nothing to decide", what.Action)
	case what.At.IsZero():
		return errors.New("federation: a decision needs its time")
	case len(what.By) > maxBy || len(what.Note) > maxNote:
		return errors.New("federation: by or note of a decision is too long")
	}
	what.Domain = domain
	return nil
}

// keep writes a decision down.
func (d *Discovery) keep(what *Decision) error {
	d.mu.Lock()
	_, had := d.decisions[what.Domain]
	n := len(d.decisions)
	d.mu.Unlock()
	if !had && n >= maxDecisions {
		return store.ErrFull
	}
	if d.decided == nil {
		return nil
	}
	data, err := json.Marshal(what)
	if err != nil {
		return err
	}
	return d.decided.Put(what.Domain, data)
}

// decide puts a decision in force here; nil takes it back.
func (d *Discovery) decide(domain string, what *Decision) {
	if what == nil {
		delete(d.decisions, domain)
	} else {
		d.decisions[domain] = what
	}
	if r, ok := d.records[domain]; ok {
		r.decision = what
		d.settle(r)
	}
}
