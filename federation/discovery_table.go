package federation

import (
	"slices"
)

// A class is what a record is to the bounds of the table. Who arrives can only
// drive out those of the same class.
type class int

const (
	knocking class = iota // was never let in
	talking               // was
	watched               // its owner is on the watch list
	decided               // an administrator decided about it
	classes
)

// How many records there are at most. Of the first two, a fifth goes when they
// are full: those that were seen least recently. Nobody drives out who is watched;
// when that list is full, who is put on it stays among the talking, refused all
// the same, and is forgotten like them. An administrator's decisions are bounded
// by themselves.
const (
	maxKnocking  = 500
	maxTalking   = 1000
	maxWatched   = 1000
	maxDecisions = 10_000
	purgeShare   = 5
	maxNames     = 16 // of one owner
)

// classOf returns where a record belongs.
func (d *Discovery) classOf(r *record) class {
	switch {
	case r.decision != nil:
		return decided
	case r.owner.isWatched() && (r.class == watched || d.count[watched] < d.bounds[watched]):
		return watched
	case r.messages > 0:
		return talking
	}
	return knocking
}

// add puts a new record in. Its owner may be new, too.
func (d *Discovery) add(r *record) *record {
	name := registrable(r.domain)
	o := d.owners[name]
	if o == nil {
		o = &owner{domain: name}
		d.owners[name] = o
	}
	d.crowd(o)
	r.owner, r.decision = o, d.decisions[r.domain]
	o.names = append(o.names, r) // so that o stays when others go
	r.class = d.classOf(r)
	d.room(r.class)
	d.count[r.class]++
	d.records[r.domain] = r
	return r
}

// settle moves a record to the class where it belongs.
func (d *Discovery) settle(r *record) {
	to := d.classOf(r)
	if to == r.class {
		return
	}
	d.count[r.class]--
	d.room(to) // r is not there yet, so it is not what goes
	r.class = to
	d.count[to]++
}

// settleAll moves all records of an owner.
func (d *Discovery) settleAll(o *owner) {
	for _, r := range slices.Clone(o.names) {
		if d.records[r.domain] == r { // it may have had to make room for the one before
			d.settle(r)
		}
	}
}

// room makes room for one more of a class.
func (d *Discovery) room(c class) {
	if d.count[c] < d.bounds[c] || c == watched || c == decided {
		return
	}
	var all []*record
	for _, r := range d.records {
		if r.class == c {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, byLastSeen)
	for _, r := range all[:min(len(all), max(d.bounds[c]/purgeShare, 1))] {
		d.drop(r)
	}
}

// crowd makes room for one more name of an owner, at the cost of its others: with
// a thousand names nobody drives out strangers.
func (d *Discovery) crowd(o *owner) {
	var free []*record
	for _, r := range o.names {
		if r.decision == nil {
			free = append(free, r)
		}
	}
	if len(free) >= maxNames {
		d.drop(slices.MinFunc(free, byLastSeen))
	}
}

func byLastSeen(a, b *record) int { return a.last.Compare(b.last) }

// drop forgets a record, and with its last one the owner.
func (d *Discovery) drop(r *record) {
	d.count[r.class]--
	delete(d.records, r.domain)
	if r.saved {
		d.gone[recordPrefix+r.domain] = struct{}{}
	}
	o := r.owner
	o.names = slices.DeleteFunc(o.names, func(other *record) bool { return other == r })
	if len(o.names) > 0 {
		return
	}
	delete(d.owners, o.domain)
	if o.saved {
		d.gone[ownerPrefix+o.domain] = struct{}{}
	}
}
