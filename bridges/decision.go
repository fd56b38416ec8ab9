package bridges

import (
	"cmp"
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

// A Decision is what an administrator decided by command about one user and one
// network. It is kept in the store, apart from bridges.toml.
type Decision struct {
	User    string `json:"user"` // "alice@example.com", in normal form
	Network string `json:"network"`
	// Whether he may be reached, and reach others; nil: nothing was decided.
	Inbound  *bool     `json:"inbound,omitempty"`
	Outbound *bool     `json:"outbound,omitempty"`
	At       time.Time `json:"at"`
	By       string    `json:"by,omitempty"` // who, as the control socket knows
	Note     string    `json:"note,omitempty"`
}

// ways are what it says, by direction.
func (d Decision) ways() [2]*bool {
	return [2]*bool{allowlists.In: d.Inbound, allowlists.Out: d.Outbound}
}

// verb is what it does, for people: "allow xmpp inbound, deny xmpp outbound".
func (d Decision) verb() string {
	words := map[bool]string{true: "allow ", false: "deny "}
	network := allowlists.OneLine(d.Network)
	in, out := d.Inbound, d.Outbound
	switch {
	case in != nil && out != nil && *in == *out:
		return words[*in] + network
	case in != nil && out != nil:
		return words[*in] + network + " inbound and " + words[*out] + "it outbound"
	case in != nil:
		return words[*in] + network + " inbound"
	case out != nil:
		return words[*out] + network + " outbound"
	}
	return "do nothing about " + network
}

// String is the decision as people read it.
func (d Decision) String() string { return d.verb() + " for " + d.User }

// Over is d with what is left open in it as old says.
func (d Decision) Over(old Decision) Decision {
	d.Inbound, d.Outbound = cmp.Or(d.Inbound, old.Inbound), cmp.Or(d.Outbound, old.Outbound)
	return d
}

// ErrNoDecision says that nobody decided about a user and a network.
var ErrNoDecision = errors.New("bridges: no decision about this user")

// How many decisions there may be, and what people may write in one, in octets.
const (
	maxDecisions = 10_000
	maxDecider   = 256
	maxNote      = 1024
	maxNetwork   = 16
)

// DecisionsBucket opens the bucket of s that OpenDecisions wants.
func DecisionsBucket(s *store.Store) (*store.Bucket, error) {
	return s.Bucket("bridge-decisions", store.Limits{Records: maxDecisions, Key: maxNetwork + 1 + allowlists.MaxAddress, Value: 8 << 10})
}

// Decisions are what administrators decided about users and networks. They are safe
// for concurrent use; nil ones are none.
type Decisions struct {
	bucket *store.Bucket // nil: memory only
	log    *slog.Logger
	shut   string // the damaged file; "": whole

	deciding sync.Mutex // held while one is written; taken before mu

	mu   sync.Mutex
	list map[string]Decision // guarded by mu; by key
}

// key is what a decision is kept under.
func (d Decision) key() string { return d.Network + " " + d.User }

// OpenDecisions reads what was decided. A nil bucket is memory only. A decision that
// cannot be read counts as one that denies; if others may be missing, Shut says so.
func OpenDecisions(bucket *store.Bucket, log *slog.Logger) *Decisions {
	d := &Decisions{bucket: bucket, log: log, list: make(map[string]Decision)}
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
	slices.SortFunc(all, func(a, b Decision) int {
		return cmp.Or(strings.Compare(a.User, b.User), strings.Compare(a.Network, b.Network))
	})
	return all
}

// Of returns what was decided about a user, in normal form, and a network.
func (d *Decisions) Of(user, network string) (Decision, bool) {
	if d == nil {
		return Decision{}, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	have, ok := d.list[Decision{User: user, Network: network}.key()]
	return have, ok
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

// Decide takes what an administrator decided, in place of what was decided before
// about the same user and network. When it returns nil, the decision is on the disk.
// It is in force with the next Compile.
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
	d.list[what.key()] = what
	return nil
}

// Revoke takes back what was decided about a user and a network. It is as lasting as
// Decide.
func (d *Decisions) Revoke(user, network string) error {
	name, err := NormalUser(user)
	if err != nil {
		return fmt.Errorf("bridges: %.80q: %w", user, err)
	}
	d.deciding.Lock()
	defer d.deciding.Unlock()
	have, ok := d.Of(name, network)
	if !ok {
		return fmt.Errorf("%w: %s", ErrNoDecision, name)
	}
	if d.bucket != nil {
		if err := d.bucket.Delete(have.key()); err != nil {
			return fmt.Errorf("revoke the decision about %s: %w", name, err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.list, have.key())
	return nil
}

// NormalUser brings the address of one user, as a person writes it, into the form in
// which it is compared.
func NormalUser(s string) (string, error) { return allowlists.NormalUser(s, "bridges.toml") }

// check brings the user to its normal form and refuses what is no Decision.
func (d *Decision) check() error {
	user, err := NormalUser(d.User)
	switch {
	case err != nil:
		return fmt.Errorf("bridges: decision about %.80q: %w", d.User, err)
	case networkOf(d.Network) == 0:
		return fmt.Errorf("bridges: %.80q is no network", d.Network)
	case d.Inbound == nil && d.Outbound == nil:
		return errors.New("bridges: a decision needs a direction")
	case d.At.IsZero():
		return errors.New("bridges: a decision needs its time")
	case len(d.By) > maxDecider || len(d.Note) > maxNote:
		return errors.New("bridges: by or note of a decision is too long")
	}
	d.User = user
	return nil
}

// keep writes a decision down.
func (d *Decisions) keep(what Decision) error {
	d.mu.Lock()
	_, had := d.list[what.key()]
	n := len(d.list)
	d.mu.Unlock()
	if !had && n >= maxDecisions {
		return store.ErrFull
	}
	if d.bucket == nil {
		return nil
	}
	data, err := json.Marshal(what)
	if err != nil {
		return err
	}
	return d.bucket.Put(what.key(), data)
}

// load takes in one decision. One that cannot be read may have been a denial.
func (d *Decisions) load(key string, value []byte) bool {
	var what Decision
	err := json.Unmarshal(value, &what)
	if err == nil {
		err = what.check()
	}
	if err == nil && what.key() != key {
		err = fmt.Errorf("it is about %.80q", what.key())
	}
	if err == nil {
		d.list[key] = what
	} else {
		d.lost(key, err)
	}
	return true
}

// lost denies a user about whom a decision cannot be read any more. It reports
// whether the key is that of one at all.
func (d *Decisions) lost(key string, err error) bool {
	network, user, _ := strings.Cut(key, " ")
	if name, bad := NormalUser(user); bad != nil || name != user || networkOf(network) == 0 {
		d.log.Error("decision not read", "user", allowlists.OneLine(user), "err", err)
		return false
	}
	d.log.Error("decision not read", "user", user, "network", network, "allow", false, "err", err)
	d.list[key] = Decision{User: user, Network: network, Inbound: new(bool), Outbound: new(bool), At: time.Now().UTC(), By: "sipedge",
		Note: "what was decided cannot be read any more: decide anew"}
	return true
}

// damage keeps damage to decisions from opening a door, as remoteaccess does.
func (d *Decisions) damage() {
	if damage := d.bucket.Damage(); damage != nil {
		for _, key := range damage.Keys {
			if !d.lost(key, damage) {
				continue
			}
			if err := d.keep(d.list[key]); err != nil && !errors.Is(err, store.ErrReadOnly) {
				d.log.Error("decision not written", "user", d.list[key].User, "err", err)
			}
		}
		d.shut = damage.Path
	}
	if kept := d.bucket.Kept(); len(kept) > 0 {
		d.shut = kept[0]
	}
	if d.shut != "" {
		d.log.Error("decisions about bridges were damaged: only users that bridges.toml or a decision names may use one until the file is taken away and the edge started anew", "file", d.shut)
	}
}
