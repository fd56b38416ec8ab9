package xmpp

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/store"
)

// rosterBucket keeps the rosters of our users: SIP has none, and a server of the
// XMPP network must (RFC 6121 §3).
const rosterBucket = "xmpp-rosters"

// rosterKeys bounds the two addresses of a record together. No address that
// anybody uses comes near; what is longer is refused.
const rosterKeys = 1024

// running is the record that is there while presence runs. Where it is found at the
// start, the last run did not say goodbye to those who were told that somebody
// is available.
const running = "!running"

// A rosterKey is one of our users and somebody of the network: bare JIDs.
type rosterKey struct{ ours, theirs string }

func (k rosterKey) record() string { return k.ours + " " + k.theirs }

// A rosterItem is what our user's roster says of somebody (RFC 6121 §2.1.2,
// appendix A). The zero item is not kept.
type rosterItem struct {
	// To: our user has leave to see the presence of the other.
	To bool `json:"to,omitempty"`
	// Asked is when the other was asked for it last, in Unix seconds; 0: not since it was
	// answered. It is "pending out".
	Asked int64 `json:"asked,omitempty"`
	// Denied is when the other said no.
	Denied int64 `json:"denied,omitempty"`

	// From: the other has leave to see the presence of our user.
	From bool `json:"from,omitempty"`
	// Pending is when the other asked for it; 0: not, or it is answered. It is "pending
	// in".
	Pending int64 `json:"pending,omitempty"`
	// Refused is when our user said no.
	Refused int64 `json:"refused,omitempty"`
	// Proof is what proved the other's domain when he asked last.
	Proof bridges.Proof `json:"proof,omitempty"`
}

// subscription is the state in the words of RFC 6121 appendix A.
func (i *rosterItem) subscription() string {
	state := "none"
	switch {
	case i.To && i.From:
		return "both"
	case i.To:
		state = "to"
	case i.From:
		state = "from"
	}
	switch out, in := i.Asked != 0, i.Pending != 0; {
	case out && in:
		return state + "+out+in"
	case out:
		return state + "+out"
	case in:
		return state + "+in"
	}
	return state
}

// repeatAfter is how long the same question is not asked again: people who are
// asked for leave again and again say so, and servers block whoever asks.
const repeatAfter = 24 * time.Hour

// isRecent reports whether at, in Unix seconds, is less than repeatAfter ago.
func isRecent(at int64, now time.Time) bool {
	return at != 0 && now.Sub(time.Unix(at, 0)) < repeatAfter
}

// isOver reports whether the item says nothing any more.
func (i *rosterItem) isOver(now time.Time) bool {
	return !i.To && !i.From && i.Asked == 0 && i.Pending == 0 && !isRecent(i.Denied, now) && !isRecent(i.Refused, now)
}

// rosters is the bucket. It belongs to the loop of presence.
type rosters struct {
	log    *slog.Logger
	bucket *store.Bucket
	kept   map[rosterKey]bool // what is on the disk
	dirty  map[rosterKey]*relation
	failed bool // the last write failed
	tried  time.Time
}

// writeAgain is how long after a failure the disk is left alone.
const writeAgain = time.Second

var errNotWritten = errors.New("xmpp: rosters are not written")

// openRosters opens the bucket and calls load with each item. crashed says that the
// last run did not end well.
func openRosters(s *store.Store, records int, log *slog.Logger, load func(rosterKey, rosterItem)) (r *rosters, crashed bool, err error) {
	bucket, err := s.Bucket(rosterBucket, store.Limits{Records: records + 1, Key: rosterKeys + 1, Value: 512})
	if err != nil {
		return nil, false, err
	}
	r = &rosters{log: log, bucket: bucket, kept: make(map[rosterKey]bool), dirty: make(map[rosterKey]*relation)}
	bucket.Each(func(key string, value []byte) bool {
		ours, theirs, ok := strings.Cut(key, " ")
		var item rosterItem
		switch {
		case key == running:
			crashed = true
		case !ok || json.Unmarshal(value, &item) != nil:
			log.Error("record of a roster was not readable", "key", key)
		default:
			k := rosterKey{ours, theirs}
			r.kept[k] = true
			load(k, item)
		}
		return true
	})
	if err := bucket.Put(running, []byte("1")); err != nil {
		return nil, false, fmt.Errorf("open the rosters: %w", err)
	}
	return r, crashed, nil
}

// put has a relation's item written before what it leads to is done.
func (r *rosters) put(rel *relation) { r.dirty[rel.key] = rel }

// write writes what has changed. What could not be written is tried again with
// the next change, or later.
func (r *rosters) write(now time.Time) error {
	if len(r.dirty) == 0 {
		return nil
	}
	if r.failed && now.Sub(r.tried) < writeAgain {
		return errNotWritten
	}
	r.tried = now
	changes := make([]store.Change, 0, len(r.dirty))
	for key, rel := range r.dirty {
		if rel.item.isOver(now) {
			if r.kept[key] {
				changes = append(changes, store.Change{Key: key.record(), Delete: true})
			}
			continue
		}
		value, err := json.Marshal(&rel.item)
		if err != nil {
			return err // only a bug of ours
		}
		changes = append(changes, store.Change{Key: key.record(), Value: value})
	}
	if len(changes) > 0 {
		if err := r.bucket.Write(changes...); err != nil {
			if !r.failed {
				r.log.Error("rosters could not be written", "records", len(changes), "err", err)
			}
			r.failed = true
			return err
		}
	}
	for key, rel := range r.dirty {
		if rel.item.isOver(now) {
			delete(r.kept, key)
		} else {
			r.kept[key] = true
		}
	}
	clear(r.dirty)
	r.failed = false
	return nil
}

// close says that everybody was said goodbye to.
func (r *rosters) close() error { return r.bucket.Delete(running) }
