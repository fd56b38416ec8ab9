package federation

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sipedge/sipedge/store"
)

// The keys of the bucket of what was discovered.
const (
	recordPrefix = "domain/"
	ownerPrefix  = "owner/"
	secretKey    = "secret"
)

// A savedRecord is a record as the store has it, under its domain.
type savedRecord struct {
	First       time.Time `json:"first_seen"`
	Last        time.Time `json:"last_seen"`
	Certificate string    `json:"certificate,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"`
	Messages    uint64    `json:"messages"`
	Refused     uint64    `json:"refused"`
	Failed      uint64    `json:"failed"`
}

// A savedOwner is an owner as the store has it, under its domain. How much of
// its second it has used is not worth writing.
type savedOwner struct {
	Asked      []byte    `json:"asked,omitempty"` // eight octets each, sorted
	Addressees int       `json:"addressees"`
	Good       float64   `json:"good"`
	Failed     float64   `json:"failed"`
	At         time.Time `json:"at,omitzero"`
	Suspicious bool      `json:"suspicious,omitempty"`
	Watched    time.Time `json:"watched,omitzero"`
}

func (r *record) save() savedRecord {
	return savedRecord{r.first.UTC(), r.last.UTC(), r.certificate, r.fingerprint, r.messages, r.refused, r.failed}
}

func (o *owner) save() savedOwner {
	s := savedOwner{
		Addressees: o.addressees, Good: o.score.good, Failed: o.score.failed, At: o.score.at.UTC(),
		Suspicious: o.suspicious, Watched: o.watched.UTC(),
	}
	for _, who := range o.asked {
		s.Asked = binary.BigEndian.AppendUint64(s.Asked, who)
	}
	return s
}

// owner makes of what the store had an owner that holds together.
func (s savedOwner) owner(domain string) *owner {
	o := &owner{domain: domain, suspicious: s.Suspicious, watched: s.Watched, addressees: max(s.Addressees, 0), saved: true}
	o.score = score{good: max(s.Good, 0), failed: max(s.Failed, 0), at: s.At}
	if o.isWatched() {
		return o
	}
	for i := 0; i+8 <= len(s.Asked) && len(o.asked) < MaxAddresses; i += 8 {
		o.asked = append(o.asked, binary.BigEndian.Uint64(s.Asked[i:]))
	}
	slices.Sort(o.asked)
	o.asked = slices.Compact(o.asked)
	o.addressees = len(o.asked)
	return o
}

// flushBatch is how many records are written at a time: as long as copying them
// takes, the data path waits.
const flushBatch = 64

// flush writes what has changed. What could not be written is tried again the
// next time.
func (d *Discovery) flush() error {
	if d.bucket == nil {
		return nil
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	if err := d.flushGone(); err != nil {
		return err
	}
	d.mu.Lock()
	var records []*record
	for _, r := range d.records {
		if r.dirty {
			records = append(records, r)
		}
	}
	var owners []*owner
	for _, o := range d.owners {
		if o.dirty {
			owners = append(owners, o)
		}
	}
	d.mu.Unlock()
	for batch := range slices.Chunk(owners, flushBatch) {
		if err := d.flushOwners(batch); err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(records, flushBatch) {
		if err := d.flushRecords(batch); err != nil {
			return err
		}
	}
	return nil
}

// flushGone takes out what was forgotten, before anything new needs its room, and
// writes the secret, without which hashes are worth nothing.
func (d *Discovery) flushGone() error {
	d.mu.Lock()
	gone, unsaved := d.gone, d.unsaved
	d.gone = make(map[string]struct{})
	d.mu.Unlock()
	var changes []store.Change
	for key := range gone {
		changes = append(changes, store.Change{Key: key, Delete: true})
	}
	if unsaved {
		changes = append(changes, store.Change{Key: secretKey, Value: d.secret[:]})
	}
	if len(changes) == 0 {
		return nil
	}
	err := d.bucket.Write(changes...)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		maps.Copy(d.gone, gone)
		return err
	}
	d.unsaved = false
	return nil
}

func (d *Discovery) flushRecords(batch []*record) error {
	saved := make([]savedRecord, len(batch))
	d.mu.Lock()
	batch = slices.DeleteFunc(batch, func(r *record) bool { return d.records[r.domain] != r }) // forgotten since
	for i, r := range batch {
		saved[i], r.dirty, r.saved = r.save(), false, true
	}
	d.mu.Unlock()
	changes := make([]store.Change, len(batch))
	for i, r := range batch {
		changes[i] = change(recordPrefix+r.domain, saved[i])
	}
	err := d.bucket.Write(changes...)
	if err != nil {
		d.mu.Lock()
		for _, r := range batch {
			r.dirty = true
		}
		d.mu.Unlock()
	}
	return err
}

func (d *Discovery) flushOwners(batch []*owner) error {
	saved := make([]savedOwner, len(batch))
	d.mu.Lock()
	batch = slices.DeleteFunc(batch, func(o *owner) bool { return d.owners[o.domain] != o })
	for i, o := range batch {
		saved[i], o.dirty, o.saved = o.save(), false, true
	}
	d.mu.Unlock()
	changes := make([]store.Change, len(batch))
	for i, o := range batch {
		changes[i] = change(ownerPrefix+o.domain, saved[i])
	}
	err := d.bucket.Write(changes...)
	if err != nil {
		d.mu.Lock()
		for _, o := range batch {
			o.dirty = true
		}
		d.mu.Unlock()
	}
	return err
}

// change puts what under key.
func change(key string, what any) store.Change {
	data, err := json.Marshal(what)
	if err != nil {
		panic(err) // numbers, times and text: each has its JSON
	}
	return store.Change{Key: key, Value: data}
}

// load reads what the buckets have. What is not as it should be is left out: it
// can cost a partner its history, and never the edge its start.
func (d *Discovery) load() {
	for _, b := range []*store.Bucket{d.decided, d.bucket} {
		if b == nil {
			continue
		}
		if damage := b.Damage(); damage != nil {
			d.log.Error("store damaged", "err", damage)
		}
	}
	if d.decided != nil {
		d.decided.Each(d.loadDecision)
		d.loadDamage()
	}
	if d.bucket == nil {
		return
	}
	if secret, ok := d.bucket.Get(secretKey); ok && len(secret) == len(d.secret) {
		copy(d.secret[:], secret)
		d.unsaved = false
	}
	owners := make(map[string]*owner)
	d.bucket.Each(func(key string, value []byte) bool {
		if domain, ok := strings.CutPrefix(key, ownerPrefix); ok {
			d.loadOwner(owners, domain, value)
		}
		return true
	})
	d.loadLost(owners)
	d.bucket.Each(func(key string, value []byte) bool {
		if domain, ok := strings.CutPrefix(key, recordPrefix); ok {
			d.loadRecord(owners, domain, value)
		}
		return true
	})
	d.loaded(owners)
}

// loadDecision takes in one decision. One that cannot be read may have been a
// block, and counts as one until somebody decides anew.
func (d *Discovery) loadDecision(domain string, value []byte) bool {
	var what Decision
	err := json.Unmarshal(value, &what)
	if err == nil {
		err = what.check()
	}
	if err == nil && what.Domain != domain {
		err = fmt.Errorf("it is about %.80q", what.Domain)
	}
	switch normal, bad := Normal(domain); {
	case err == nil:
		d.decisions[domain] = &what
	case bad != nil || normal != domain:
		d.log.Error("decision not read", "partner", domain, "err", err)
	default:
		d.log.Error("decision not read", "partner", domain, "action", string(ActionBlock), "err", err)
		d.decisions[domain] = lostDecision(domain)
	}
	return true
}

// lostDecision is what counts in the place of one that cannot be read.
func lostDecision(domain string) *Decision {
	return &Decision{Domain: domain, Action: ActionBlock, At: time.Now().UTC(), By: "sipedge", Note: "what was decided cannot be read any more: decide anew"}
}

// loadDamage keeps damage to decisions from opening a door. Those that the
// damaged lines seem to be about are blocked: an older decision may have come
// back, or none be left. Which others are lost nobody knows, so that nobody who is
// unlisted is let in until somebody has looked at what was kept aside.
func (d *Discovery) loadDamage() {
	if damage := d.decided.Damage(); damage != nil {
		for _, domain := range damage.Keys {
			normal, err := Normal(domain)
			if err != nil || normal != domain {
				continue
			}
			what := lostDecision(domain)
			d.decisions[domain] = what
			d.log.Error("decision lost", "partner", domain, "action", string(what.Action))
			if err := d.keep(what); err != nil && !errors.Is(err, store.ErrReadOnly) {
				d.log.Error("decision not written", "partner", domain, "err", err)
			}
		}
		d.shut = damage.Path
	}
	if kept := d.decided.Kept(); len(kept) > 0 {
		d.shut = kept[0]
	}
	if d.shut != "" {
		d.log.Error("decisions were damaged: unlisted domains are refused until the file is taken away and the edge started anew", "file", d.shut)
	}
}

// loadLost puts on the watch list whom damaged lines seem to be about: they may
// have been on it.
func (d *Discovery) loadLost(owners map[string]*owner) {
	damage := d.bucket.Damage()
	if damage == nil {
		return
	}
	for _, key := range damage.Keys {
		domain, ok := strings.CutPrefix(key, ownerPrefix)
		if !ok || !hostname(domain) || owners[domain] != nil && owners[domain].isWatched() {
			continue
		}
		o := &owner{domain: domain, saved: owners[domain] != nil}
		o.watch(time.Now())
		owners[domain] = o
		d.log.Error("discovered partner put on the watch list: what was known of it is damaged", "partner", domain)
	}
}

func (d *Discovery) loadOwner(owners map[string]*owner, domain string, value []byte) {
	var s savedOwner
	if err := json.Unmarshal(value, &s); err != nil {
		d.log.Error("discovered partner not read", "partner", domain, "err", err)
		d.gone[ownerPrefix+domain] = struct{}{}
		return
	}
	owners[domain] = s.owner(domain)
}

func (d *Discovery) loadRecord(owners map[string]*owner, domain string, value []byte) {
	var s savedRecord
	err := json.Unmarshal(value, &s)
	if err == nil && !hostname(domain) {
		err = fmt.Errorf("%q is not a domain", domain)
	}
	if err != nil {
		d.log.Error("discovered partner not read", "partner", domain, "err", err)
		d.gone[recordPrefix+domain] = struct{}{}
		return
	}
	name := registrable(domain)
	if o := owners[name]; o != nil && d.owners[name] == nil {
		d.owners[name] = o
	}
	d.add(&record{
		domain: domain, first: s.First, last: s.Last, certificate: s.Certificate, fingerprint: s.Fingerprint,
		messages: s.Messages, refused: s.Refused, failed: s.Failed, saved: true,
	})
}

// loaded makes what was read hold together: owners without records go, but for
// those on the watch list, whose records were lost or not yet written; and who
// was ignored after it was put on the watch list is off it, even if the edge
// ended before it could write that.
func (d *Discovery) loaded(owners map[string]*owner) {
	for domain, o := range owners {
		switch {
		case d.owners[domain] != nil:
		case o.isWatched() && hostname(domain) && registrable(domain) == domain && d.count[watched] < d.bounds[watched]:
			d.owners[domain] = o
			d.add(&record{domain: domain, first: o.watched, last: o.watched, dirty: true})
		case o.isWatched():
			d.log.Error("watch list entry not kept", "partner", domain)
			fallthrough
		default:
			d.gone[ownerPrefix+domain] = struct{}{}
		}
	}
	for _, what := range d.decisions {
		o := d.owners[registrable(what.Domain)]
		if o != nil && what.Action == ActionIgnore && o.isWatched() && !what.At.Before(o.watched) {
			o.forgive()
			d.settleAll(o)
		}
	}
}
