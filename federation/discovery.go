package federation

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/store"
)

// Discovery remembers partners that nobody listed, and keeps them within the
// limits of that tier.
//
// A record is kept for each domain, and the limits for each registrable domain
// (the public suffix of its registry and one label): whoever owns evil.example
// has a thousand names in it for nothing, so im.evil.example and
// sip.evil.example share one rate, one count of addressees and one place on the
// watch list. Suffixes under which a company gives names to its customers are
// not counted as public, for the same reason: their names cost nothing.
//
// Three things are limited. Messages a second; fewer of them while too many of
// its requests fail as guesses do; and how many different addresses of ours it
// may name at all, whether they exist or not. With one more it is on the watch
// list: refused until an administrator decides. Addresses are counted by keyed
// hashes, never kept. The key is in the same store, so who has the store can ask
// it about an address, but not read any from it.
//
// Everything is in memory and bounded, whatever strangers do; Run writes it down
// behind the data path, which never waits for the disk. A Discovery is safe for
// concurrent use. A nil Discovery remembers nothing and lets nobody pass.
type Discovery struct {
	log     *slog.Logger
	bucket  *store.Bucket // nil: memory only
	decided *store.Bucket // nil: memory only
	secret  [32]byte      // of the hashes; never changed
	bounds  [classes]int  // the most records of each class; never changed
	shut    string        // the file of damaged decisions for whose sake nobody passes; "": none; never changed

	writing  sync.Mutex // one flush at a time
	deciding sync.Mutex // one decision at a time

	pressing atomic.Bool // something happened that is to be written soon

	mu        sync.Mutex
	records   map[string]*record   // guarded by mu; by domain
	owners    map[string]*owner    // guarded by mu; by registrable domain
	decisions map[string]*Decision // guarded by mu; by domain; never changed once in
	count     [classes]int         // guarded by mu; of records
	gone      map[string]struct{}  // guarded by mu; keys of the store that have to go
	unsaved   bool                 // guarded by mu; the secret is not in the store
}

// A record is what is known of one domain.
type record struct {
	domain      string
	owner       *owner
	class       class
	decision    *Decision // nil: none; never changed
	first, last time.Time
	certificate string
	fingerprint string
	messages    uint64
	refused     uint64
	failed      uint64
	saved       bool // in the store, in some state
	dirty       bool // not in the store as it is now
}

// What a Record's State can be.
const (
	StateKnocking   = "knocking"   // was never let in
	StateTalking    = "talking"    // is let in
	StateSuspicious = "suspicious" // is let in, slowly
	StateWatched    = "watched"    // is refused until somebody decides
	StateAllowed    = "allowed"    // somebody decided
	StateBlocked    = "blocked"
	StateIgnored    = "ignored" // somebody decided that there is nothing to decide
)

// A Record is what is known of a domain that nobody listed. Addressees are those
// of all names under the registrable domain, whose limits it shares; so are the
// states suspicious and watched.
type Record struct {
	Domain       string    `json:"domain"`
	Registrable  string    `json:"registrable"`
	State        string    `json:"state"`
	FirstSeen    time.Time `json:"first_seen"`
	LastSeen     time.Time `json:"last_seen"`
	WatchedSince time.Time `json:"watched_since,omitzero"`
	Certificate  string    `json:"certificate,omitempty"` // whose, as its subject and issuer say
	Fingerprint  string    `json:"fingerprint,omitempty"` // SHA-256 of it
	Messages     uint64    `json:"messages"`              // let in
	Refused      uint64    `json:"refused"`               // not let in
	Failed       uint64    `json:"failed"`                // let in, and answered as a bad guess
	Addressees   int       `json:"addressees"`            // different addresses of ours
	Decision     *Decision `json:"decision,omitempty"`
}

// Buckets opens the buckets of s that OpenDiscovery wants, with the limits that
// fit what it keeps.
func Buckets(s *store.Store) (discovered, decisions *store.Bucket, err error) {
	const domain = 253
	discovered, err = s.Bucket("discovered", store.Limits{
		Records: 2*(maxKnocking+maxTalking+maxWatched+maxDecisions) + 1,
		Key:     len(ownerPrefix) + domain,
		Value:   4*8*MaxAddresses/3 + 4<<10,
	})
	if err != nil {
		return nil, nil, err
	}
	decisions, err = s.Bucket("decisions", store.Limits{Records: maxDecisions, Key: domain, Value: 64 << 10})
	return discovered, decisions, err
}

// OpenDiscovery reads what is known from the buckets. A nil bucket is memory
// only. What cannot be read is left out and logged.
func OpenDiscovery(discovered, decisions *store.Bucket, log *slog.Logger) (*Discovery, error) {
	d := &Discovery{
		log:       log,
		bucket:    discovered,
		decided:   decisions,
		records:   make(map[string]*record),
		owners:    make(map[string]*owner),
		decisions: make(map[string]*Decision),
		gone:      make(map[string]struct{}),
		bounds:    [classes]int{maxKnocking, maxTalking, maxWatched, maxDecisions},
	}
	rand.Read(d.secret[:]) // never fails
	d.unsaved = true
	d.load()
	return d, nil
}

// Take decides whether a request of a discovered partner may pass, and counts
// it. Addressee is the address of ours that it names, "user@domain"; nil for one
// within a dialog, which names nobody new. A Verdict that allows has no reason of
// its own. For a partner that is known nothing is allocated.
func (d *Discovery) Take(domain []byte, id *certs.Identity, addressee []byte, lim DiscoveryLimits, now time.Time) allowlists.Verdict {
	if v := d.Shut(); !v.Allowed() {
		return v
	}
	var who uint64
	if addressee != nil {
		who = d.hash(addressee)
	}
	d.mu.Lock()
	r, v := d.find(domain, now)
	var e event
	if r != nil {
		v, e = d.take(r, who, lim.Defaults(), now)
		r.seen(id, now, v.Allowed())
		d.settle(r)
	}
	d.mu.Unlock()
	d.tell(e)
	return v
}

// Shut returns why nobody who is unlisted may pass, whoever it is: decisions were
// damaged, and who was blocked is not known. A Verdict that allows has no reason.
func (d *Discovery) Shut() allowlists.Verdict {
	switch {
	case d == nil:
		return refuseNobody
	case d.shut != "":
		return allowlists.Refusal(allowlists.PartnerNotAllowed, allowlists.Rule{Name: "damaged decisions", File: d.shut})
	}
	return pass
}

// Confirm decides whether an ACK of a discovered partner may pass: so many a
// second as requests, but counted apart from them. Only who was let in has
// anything to confirm, and who is watched no more.
func (d *Discovery) Confirm(domain []byte, lim DiscoveryLimits, now time.Time) allowlists.Verdict {
	if d == nil {
		return refuseNobody
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r, ok := d.records[string(domain)]
	switch {
	case !ok:
		return refuseNobody
	case r.action() == ActionBlock:
		return refuseBlocked
	case r.owner.isWatched():
		return refuseWatched
	case !r.owner.acks.take(lim.Defaults().Rate, now):
		return refuseRate
	}
	return pass
}

// take judges one request of a domain that has a record. That somebody allowed the
// domain is for the lists to say: while they ask about it here, they do not let
// it in as one that is allowed.
func (d *Discovery) take(r *record, who uint64, lim DiscoveryLimits, now time.Time) (allowlists.Verdict, event) {
	if r.action() == ActionBlock { // and the lists are about to know
		return refuseBlocked, event{}
	}
	before := r.owner.isWatched()
	v, e := r.owner.take(who, lim, now)
	if r.owner.isWatched() && !before {
		d.settleAll(r.owner)
	}
	return v, e
}

// find returns the record of domain, and makes one if there may be one. One more
// name of somebody who is on the watch list gets none, but what the others get.
func (d *Discovery) find(domain []byte, now time.Time) (*record, allowlists.Verdict) {
	if r, ok := d.records[string(domain)]; ok {
		return r, allowlists.Verdict{}
	}
	name := string(domain)
	if !hostname(name) {
		return nil, refuseNobody
	}
	if o := d.owners[registrable(name)]; o != nil && o.isWatched() && d.decisions[name] == nil {
		return nil, refuseWatched
	}
	return d.add(&record{domain: name, first: now, last: now}), allowlists.Verdict{}
}

// seen notes that the domain was here.
func (r *record) seen(id *certs.Identity, now time.Time, allowed bool) {
	r.last, r.dirty = now, true
	if allowed {
		r.messages++
	} else {
		r.refused++
	}
	if id == nil || id.IsZero() {
		return
	}
	if f := id.Fingerprint(); f != r.fingerprint {
		r.fingerprint, r.certificate = f, id.Subject()
	}
}

// Knock notes that a domain that nobody listed was refused, although it had
// proved who it is: somebody may want to allow it.
func (d *Discovery) Knock(domain []byte, id *certs.Identity, now time.Time) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if r, _ := d.find(domain, now); r != nil {
		r.seen(id, now, false)
	}
}

// Answered notes the final answer that a request of the domain got from inside.
// It is for those that Take was given with an addressee: how a dialog goes on says
// nothing about guesses.
func (d *Discovery) Answered(domain []byte, status int, now time.Time) {
	outcome := outcomeOf(status)
	if d == nil || outcome == outcomeNone {
		return
	}
	d.mu.Lock()
	var e event
	if r, ok := d.records[string(domain)]; ok {
		if r.dirty = true; outcome == outcomeFailed {
			r.failed++
		}
		e = r.owner.answered(outcome, now)
	}
	d.mu.Unlock()
	d.tell(e)
}

// Watched is the Verdict about a partner that is on the watch list.
func Watched() allowlists.Verdict { return refuseWatched }

// An event is what deserves a line in the log, which is written when the lock is
// given back.
type event struct {
	text  string // "": nothing happened
	owner string
	asked int
}

func (d *Discovery) tell(e event) {
	if e.text != "" {
		d.log.Warn(e.text, "partner", e.owner, "addressees", e.asked)
		d.pressing.Store(true) // commands that read the store should see it soon
	}
}

// Records returns what is known of each domain, in their order.
func (d *Discovery) Records() []Record {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	all := make([]Record, 0, len(d.records))
	for _, r := range d.records {
		all = append(all, r.export())
	}
	d.mu.Unlock()
	slices.SortFunc(all, func(a, b Record) int { return strings.Compare(a.Domain, b.Domain) })
	return all
}

// Record returns what is known of one domain.
func (d *Discovery) Record(domain string) (Record, bool) {
	if d == nil {
		return Record{}, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r, ok := d.records[domain]
	if !ok {
		return Record{}, false
	}
	return r.export(), true
}

// export makes of a record what others see.
func (r *record) export() Record {
	return Record{
		Domain: r.domain, Registrable: r.owner.domain, State: r.state(),
		FirstSeen: r.first.UTC(), LastSeen: r.last.UTC(), WatchedSince: r.owner.watched.UTC(),
		Certificate: r.certificate, Fingerprint: r.fingerprint,
		Messages: r.messages, Refused: r.refused, Failed: r.failed,
		Addressees: r.owner.addressees, Decision: r.decision,
	}
}

// action is what an administrator decided, "" if nothing.
func (r *record) action() Action {
	if r.decision == nil {
		return ""
	}
	return r.decision.Action
}

func (r *record) state() string {
	action := r.action()
	switch {
	case action == ActionAllow:
		return StateAllowed
	case action == ActionBlock:
		return StateBlocked
	case r.owner.isWatched(): // since it was ignored
		return StateWatched
	case action == ActionIgnore:
		return StateIgnored
	case r.owner.suspicious:
		return StateSuspicious
	case r.messages > 0:
		return StateTalking
	}
	return StateKnocking
}

// hash is how an addressee is counted: a keyed hash, so that nobody can choose
// addresses that count as one. It is never 0.
func (d *Discovery) hash(addressee []byte) uint64 {
	var room [len(d.secret) + 256]byte
	sum := sha256.Sum256(append(append(room[:0], d.secret[:]...), addressee...))
	return max(binary.BigEndian.Uint64(sum[:]), 1)
}

// flushEvery is how much of what is known a crash may take.
const flushEvery = 3 * time.Second

// Run writes what has changed to the store every few seconds, at once what is
// pressing, and once more when ctx ends.
func (d *Discovery) Run(ctx context.Context) {
	if d == nil {
		return
	}
	const parts = 6
	tick := time.NewTicker(flushEvery / parts)
	defer tick.Stop()
	ticks := 0
	failing := false
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true
		case <-tick.C:
			if ticks++; ticks%parts != 0 && !d.pressing.Swap(false) {
				continue
			}
		}
		err := d.flush()
		if err != nil && !failing {
			d.log.Error("discovered partners not written", "err", err)
		}
		failing = err != nil
	}
}
