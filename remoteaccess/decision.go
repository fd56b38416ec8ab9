package remoteaccess

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/store"
)

// A Decision is what an administrator decided about one user by command. It is kept
// in the store, apart from remote.toml.
type Decision struct {
	User  string    `json:"user"` // "alice@example.com", in normal form
	Allow bool      `json:"allow"`
	At    time.Time `json:"at"`
	By    string    `json:"by,omitempty"` // who, as the control socket knows
	Note  string    `json:"note,omitempty"`
}

// ErrNoDecision says that nobody decided about a user.
var ErrNoDecision = errors.New("remoteaccess: no decision about this user")

// How many decisions there may be, and what people may write in one, in octets.
const (
	maxDecisions = 10_000
	maxDecider   = 256
	maxNote      = 1024
)

// DecisionsBucket opens the bucket of s that OpenDecisions wants.
func DecisionsBucket(s *store.Store) (*store.Bucket, error) {
	return s.Bucket("remote-decisions", store.Limits{Records: maxDecisions, Key: allowlists.MaxAddress, Value: 8 << 10})
}

// Decisions are what administrators decided about users. They are safe for
// concurrent use; nil ones are none.
type Decisions struct {
	bucket *store.Bucket // nil: memory only
	log    *slog.Logger
	most   int
	shut   string // the damaged file; "": whole

	deciding sync.Mutex // held while one is written; taken before mu

	mu   sync.Mutex
	list map[string]Decision // guarded by mu; by User
}

// OpenDecisions reads what was decided. A nil bucket is memory only. A decision
// that cannot be read counts as one that denies; if others may be missing, Shut says
// so.
func OpenDecisions(bucket *store.Bucket, log *slog.Logger) *Decisions {
	d := &Decisions{bucket: bucket, log: log, most: maxDecisions, list: make(map[string]Decision)}
	if bucket == nil {
		return d
	}
	bucket.Each(d.load)
	d.damage()
	return d
}

// List returns the decisions, in the order of the users.
func (d *Decisions) List() []Decision {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	all := make([]Decision, 0, len(d.list))
	for _, have := range d.list {
		all = append(all, have)
	}
	d.mu.Unlock()
	slices.SortFunc(all, func(a, b Decision) int { return strings.Compare(a.User, b.User) })
	return all
}

// Shut returns the file of decisions that is damaged, "" if none is: somebody may
// have been denied of whom nobody knows any more.
func (d *Decisions) Shut() string {
	if d == nil {
		return ""
	}
	return d.shut
}

// With returns what Compile needs to know.
func (d *Decisions) With() With { return With{Decisions: d.List(), Shut: d.Shut()} }

// Decide takes what an administrator decided about a user, in place of what was
// decided before. When it returns nil, the decision is on the disk. It is in force
// with the next Compile.
func (d *Decisions) Decide(what Decision) error {
	if err := what.check(); err != nil {
		return err
	}
	d.deciding.Lock()
	defer d.deciding.Unlock()
	if err := d.keep(what); err != nil {
		return fmt.Errorf("decide about %s: %w", what.User, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list[what.User] = what
	return nil
}

// Revoke takes back what was decided about a user. It is as lasting as Decide.
func (d *Decisions) Revoke(user string) error {
	name, err := NormalUser(user)
	if err != nil {
		return fmt.Errorf("remoteaccess: %.80q: %w", user, err)
	}
	d.deciding.Lock()
	defer d.deciding.Unlock()
	d.mu.Lock()
	_, ok := d.list[name]
	d.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: %s", ErrNoDecision, name)
	}
	if d.bucket != nil {
		if err := d.bucket.Delete(name); err != nil {
			return fmt.Errorf("revoke the decision about %s: %w", name, err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.list, name)
	return nil
}

// NormalUser brings the address of one user, as a person writes it, into the form in
// which it is compared.
func NormalUser(s string) (string, error) { return allowlists.NormalUser(s, "remote.toml") }

// check brings the user to its normal form and refuses what is no Decision.
func (what *Decision) check() error {
	user, err := NormalUser(what.User)
	switch {
	case err != nil:
		return fmt.Errorf("remoteaccess: decision about %.80q: %w", what.User, err)
	case what.At.IsZero():
		return errors.New("remoteaccess: a decision needs its time")
	case len(what.By) > maxDecider || len(what.Note) > maxNote:
		return errors.New("remoteaccess: by or note of a decision is too long")
	}
	what.User = user
	return nil
}

// keep writes a decision down.
func (d *Decisions) keep(what Decision) error {
	d.mu.Lock()
	_, had := d.list[what.User]
	n := len(d.list)
	d.mu.Unlock()
	if !had && n >= d.most {
		return store.ErrFull
	}
	if d.bucket == nil {
		return nil
	}
	data, err := json.Marshal(what)
	if err != nil {
		return err
	}
	return d.bucket.Put(what.User, data)
}

// load takes in one decision. One that cannot be read may have been a denial.
func (d *Decisions) load(user string, value []byte) bool {
	var what Decision
	err := json.Unmarshal(value, &what)
	if err == nil {
		err = what.check()
	}
	if err == nil && what.User != user {
		err = fmt.Errorf("it is about %.80q", what.User)
	}
	if err == nil {
		d.list[user] = what
	} else {
		d.lost(user, err)
	}
	return true
}

// lost denies a user about whom a decision cannot be read any more. It reports
// whether user is one at all.
func (d *Decisions) lost(user string, err error) bool {
	if name, bad := NormalUser(user); bad != nil || name != user {
		d.log.Error("decision not read", "user", allowlists.OneLine(user), "err", err)
		return false
	}
	d.log.Error("decision not read", "user", user, "allow", false, "err", err)
	d.list[user] = Decision{User: user, At: time.Now().UTC(), By: "sipedge", Note: "what was decided cannot be read any more: decide anew"}
	return true
}

// damage keeps damage to decisions from opening a door. Users that the damaged
// lines seem to be about are denied: an older decision may have come back, or none be
// left. Which others are lost nobody knows.
func (d *Decisions) damage() {
	if damage := d.bucket.Damage(); damage != nil {
		for _, user := range damage.Keys {
			if !d.lost(user, damage) {
				continue
			}
			if err := d.keep(d.list[user]); err != nil && !errors.Is(err, store.ErrReadOnly) {
				d.log.Error("decision not written", "user", user, "err", err)
			}
		}
		d.shut = damage.Path
	}
	if kept := d.bucket.Kept(); len(kept) > 0 {
		d.shut = kept[0]
	}
	if d.shut != "" {
		d.log.Error("decisions about users were damaged: only users that remote.toml or a decision names may sign in from outside until the file is taken away and the edge started anew", "file", d.shut)
	}
}
