package bridges

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sipedge/sipedge/store"
)

// A Pause is that an administrator has paused a bridge. It is kept in the store, so
// that an edge which is started anew does not let go on what somebody has stopped.
type Pause struct {
	At   time.Time `json:"at"`
	By   string    `json:"by,omitempty"` // who, as the control socket knows
	Note string    `json:"note,omitempty"`
}

// PausesBucket opens the bucket of s that OpenPauses wants.
func PausesBucket(s *store.Store) (*store.Bucket, error) {
	return s.Bucket("bridge-pauses", store.Limits{Records: 4 * len(Networks), Key: maxNetwork, Value: 8 << 10})
}

// Pauses are those of all bridges. They are safe for concurrent use; nil ones are
// none.
type Pauses struct {
	bucket *store.Bucket // nil: memory only

	mu   sync.Mutex
	list map[string]Pause // guarded by mu; by network
}

// OpenPauses reads which bridges are paused. A nil bucket is memory only. One that
// cannot be read is a pause all the same.
func OpenPauses(bucket *store.Bucket, log *slog.Logger) *Pauses {
	p := &Pauses{bucket: bucket, list: make(map[string]Pause)}
	if bucket == nil {
		return p
	}
	bucket.Each(func(network string, value []byte) bool {
		var what Pause
		if err := json.Unmarshal(value, &what); err != nil {
			log.Error("pause not read", "bridge", network, "err", err)
			what = Pause{Note: "what was noted cannot be read any more"}
		}
		p.list[network] = what
		return true
	})
	if damage := bucket.Damage(); damage != nil {
		log.Error("pauses of bridges were damaged", "file", damage.Path, "err", damage)
		for _, network := range damage.Keys {
			if networkOf(network) != 0 {
				p.list[network] = Pause{Note: "what was noted cannot be read any more"}
			}
		}
	}
	return p
}

// Of returns whether a bridge is paused, and by whom.
func (p *Pauses) Of(network string) (Pause, bool) {
	if p == nil {
		return Pause{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	what, ok := p.list[network]
	return what, ok
}

// Put notes that a bridge is paused. When it returns nil, that is on the disk.
func (p *Pauses) Put(network string, what Pause) error {
	switch {
	case networkOf(network) == 0:
		return fmt.Errorf("bridges: %.80q is no network", network)
	case len(what.By) > maxDecider || len(what.Note) > maxNote:
		return errors.New("bridges: by or note of a pause is too long")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bucket != nil {
		data, err := json.Marshal(what)
		if err != nil {
			return err
		}
		if err := p.bucket.Put(network, data); err != nil {
			return fmt.Errorf("note that the bridge to %s is paused: %w", network, err)
		}
	}
	p.list[network] = what
	return nil
}

// End notes that a bridge is not paused any more. It is as lasting as Put.
func (p *Pauses) End(network string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.list[network]; !ok {
		return nil
	}
	if p.bucket != nil {
		if err := p.bucket.Delete(network); err != nil {
			return fmt.Errorf("note that the bridge to %s goes on: %w", network, err)
		}
	}
	delete(p.list, network)
	return nil
}
