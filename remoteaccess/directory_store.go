package remoteaccess

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/store"
)

// A savedMember is what the store has of a user that the directory knows.
type savedMember struct {
	Groups []string  `json:"groups"`
	At     time.Time `json:"at"`
	Origin string    `json:"origin"`
}

// GroupsBucket opens the bucket of s that OpenDirectory wants.
func GroupsBucket(s *store.Store) (*store.Bucket, error) {
	return s.Bucket("remote-groups", store.Limits{Records: maxMembers, Key: allowlists.MaxAddress, Value: maxSaved})
}

// maxSaved is how long a record may be. Who is in so many groups that it is longer is
// not saved.
const maxSaved = 64 << 10

func hashOf(parts []string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12])
}

// savedAgain is how old the time of what the store has may be, while nothing else
// changes: it tells for how long it counts, in days.
const savedAgain = 24 * time.Hour

// remember puts a user among the known. The caller holds mu.
func (d *Directory) remember(key string, m *member) {
	if had, ok := d.known.Peek(key); ok {
		same := had.origin == m.origin && slices.Equal(had.groups, m.groups)
		if m.saved = had.saved; !same {
			m.saved = time.Time{}
		} else {
			m.groups = had.groups
		}
	}
	d.known.Add(key, m)
	if m.at.Sub(m.saved) >= savedAgain {
		d.dirty[key] = true
	}
}

// load reads what the bucket has. What is not as it should be is left out: its users
// are asked about again.
func (d *Directory) load() {
	if d.bucket == nil {
		return
	}
	if damage := d.bucket.Damage(); damage != nil {
		d.log.Error("store damaged", "err", damage)
		for _, key := range damage.Keys { // an older state may have come back
			d.dirty[key] = true
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	damaged := len(d.dirty) > 0
	d.bucket.Each(func(key string, value []byte) bool {
		var s savedMember
		age := time.Duration(0)
		err := json.Unmarshal(value, &s)
		if age = now.Sub(s.At); err != nil || damaged && d.dirty[key] || age < 0 || age >= mostKnown {
			d.dirty[key] = true
			return true
		}
		d.known.Add(key, &member{groups: s.Groups, at: s.At, saved: s.At, origin: s.Origin})
		return true
	})
}

// flushEvery is how much of what is known a crash may take. A user of whom it is lost
// is asked about again.
const flushEvery = 3 * time.Second

// Run writes what is known to the store every few seconds, and once more when ctx
// ends; then it closes.
func (d *Directory) Run(ctx context.Context) {
	if d == nil {
		return
	}
	defer d.Close()
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	failing := false
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true
		case <-tick.C:
		}
		err := d.flush()
		if err != nil && !failing {
			d.log.Error("groups of users not written", "err", err)
		}
		failing = err != nil
	}
}

// flushBatch is how many records are written at a time.
const flushBatch = 64

// flush writes what has changed. What could not be written is tried again the next
// time.
func (d *Directory) flush() error {
	if d.bucket == nil {
		d.mu.Lock()
		clear(d.dirty)
		d.mu.Unlock()
		return nil
	}
	for {
		changes := d.changes()
		if len(changes) == 0 {
			return nil
		}
		if err := d.bucket.Write(changes...); err != nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			for _, c := range changes {
				d.dirty[c.Key] = true
			}
			return err
		}
	}
}

// changes takes some of what has changed out: what goes before what comes, which may
// need its room.
func (d *Directory) changes() (list []store.Change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key := range d.dirty {
		if len(list) < flushBatch && !d.known.Contains(key) {
			list = append(list, store.Change{Key: key, Delete: true})
			delete(d.dirty, key)
		}
	}
	for key := range d.dirty {
		m, ok := d.known.Peek(key)
		if !ok || len(list) >= flushBatch {
			continue
		}
		data, err := json.Marshal(savedMember{m.groups, m.at.UTC(), m.origin})
		if err != nil {
			panic(err) // text and a time
		}
		list = append(list, store.Change{Key: key, Value: data, Delete: len(data) > maxSaved})
		m.saved = m.at
		delete(d.dirty, key)
	}
	return list
}
