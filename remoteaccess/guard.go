package remoteaccess

import (
	"crypto/rand"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/sipedge/sipedge/sip"
	"github.com/sipedge/sipedge/store"
)

// A Guard makes guessing not pay. The home server judges passwords; the Guard
// counts what it answers, and says before each request whether it may go inside.
//
// It counts failures of a user at a source (a pair), of a source, and of a user
// over all sources, and bans whom it has seen too often. Where a user has signed
// in before, within GuardConfig.Remember, the ban of the source or of the user
// does not stop him, only that of the pair: a stranger who guesses, even from
// the same hotel, does not keep him out. A flow that is signed in is counted
// apart from its source, so that not even the guesses of a neighbour reach it.
//
// A request takes a Ticket, which its answer gives back. As many may be under
// way at once as there are failures left: a thousand guesses sent before the
// first answer comes get no further than those sent one by one.
//
// Names are remembered as they are claimed, only in memory and in bans, which
// people must be able to read. Where users have signed in from is kept as keyed
// hashes; the key is in the same store, so who has the store can ask it about a
// name, but not read any from it.
//
// Known and unknown users cost the same: the Guard has no list of users.
//
// Everything is bounded, whatever strangers do; Run writes behind the data path,
// which never waits for the disk. A Guard is safe for concurrent use. A nil
// Guard lets nobody pass.
type Guard struct {
	log    *slog.Logger
	now    func() time.Time
	bucket *store.Bucket // of bans; nil: memory only
	places *store.Bucket // of where users have signed in; nil: memory only
	seed   maphash.Seed  // of all numbers in memory; never changed
	secret [32]byte      // of the hashes in places; never changed

	writing sync.Mutex // taken before mu, and held while the store changes

	mu     sync.Mutex
	config GuardConfig // guarded by mu; with all defaults

	pairs   *simplelru.LRU[uint64, *tally] // guarded by mu
	users   *simplelru.LRU[uint64, *tally] // guarded by mu
	sources *simplelru.LRU[uint64, *tally] // guarded by mu
	endless *simplelru.LRU[uint64, rounds] // guarded by mu; by pair
	spray   spray                          // guarded by mu
	known   known                          // guarded by mu
	bans    banTable                       // guarded by mu
	desk    desk                           // guarded by mu; tickets
	unsaved bool                           // guarded by mu; the secret is not in the store
}

// How many pairs, users and sources are counted at a time. Those that failed
// least recently give way; bans are elsewhere, and do not.
const (
	maxPairs   = 1 << 15
	maxUsers   = 1 << 14
	maxSources = 1 << 15
)

// OpenGuard reads what is known from the buckets. A nil bucket is memory only. What
// cannot be read is left out and logged.
func OpenGuard(c GuardConfig, bans, known *store.Bucket, log *slog.Logger, now func() time.Time) (*Guard, error) {
	if errs := c.Check(); errs != nil {
		return nil, errs[0]
	}
	g := &Guard{
		log: log, now: now, bucket: bans, places: known, seed: maphash.MakeSeed(), config: c.Defaults(),
		pairs: newTallies(maxPairs), users: newTallies(maxUsers), sources: newTallies(maxSources), endless: newRounds(maxPairs),
		spray: newSpray(maxFailing), known: newKnown(maxKnown), bans: newBanTable(maxAutomatic, maxByHand), desk: newDesk(maxTickets),
		unsaved: true,
	}
	rand.Read(g.secret[:]) // never fails
	g.load()
	return g, nil
}

// Configure changes the limits. What has been counted and banned stays.
func (g *Guard) Configure(c GuardConfig) error {
	if errs := c.Check(); errs != nil {
		return errs[0]
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.config = c.Defaults()
	return nil
}

// An Attempt is a request that may be a sign-in.
type Attempt struct {
	User        string       // the address of record in its normal form, "alice@example.com"
	Credentials Credentials  // what the request brings; none: it is asked whether the user may try at all
	Source      netip.Prefix // from SourceOf; none: not known, and not counted
	Signed      bool         // the flow is signed in as User
}

// An Action is what to do with an Attempt. The zero Action stops it.
type Action int

// What can be done with an attempt.
const (
	Stop Action = iota // as if there were no such user
	Wait               // too many are under way: answer that it may be tried again in a moment
	Pass               // it may go inside
)

// String returns the action as a word.
func (a Action) String() string {
	switch a {
	case Wait:
		return "wait"
	case Pass:
		return "pass"
	}
	return "stop"
}

// A Judgement is what a Guard says about an Attempt.
type Judgement struct {
	Action Action
	Ban    Ban    // why it is stopped, for the log and never for the wire; zero: it is Broken
	Ticket Ticket // of one that passes: Settle it
}

// Judge says whether a request may go inside. It is for every REGISTER, and for
// every other request with credentials.
func (g *Guard) Judge(a Attempt) Judgement {
	if g == nil || a.Credentials.Broken {
		return Judgement{}
	}
	var s slot
	g.identify(&s, &a)
	g.mu.Lock()
	defer g.mu.Unlock()
	s.at = g.now()
	g.desk.expire(s.at)
	b := g.stopper(&s)
	room := g.room(&s)
	if b != nil {
		return Judgement{Ban: b.Ban}
	}
	if !room {
		return Judgement{Action: Wait}
	}
	t, ok := g.desk.take(&s)
	switch {
	case ok:
		t.guard, t.brought = g, a.Credentials.left()
	case !s.bare: // of what is no guess nobody has to hear how it ends
		return Judgement{Action: Wait}
	}
	return Judgement{Action: Pass, Ticket: t}
}

// Look returns the ban that would stop an attempt, and counts nothing; the zero Ban is
// none. Without a source it is one from where nobody has been.
func (g *Guard) Look(a Attempt) Ban {
	if g == nil {
		return Ban{}
	}
	var s slot
	g.identify(&s, &a)
	g.mu.Lock()
	defer g.mu.Unlock()
	s.at = g.now()
	if b := g.stopper(&s); b != nil {
		return b.Ban
	}
	return Ban{}
}

// A Ticket stands for an attempt that is under way. One that is not settled is
// given back by itself after a while, as if nobody had answered. The zero Ticket
// is none.
type Ticket struct {
	guard   *Guard
	slot    uint32
	turn    uint32
	brought brought
}

// Outcome is what an answer of the home server says of the attempt; register: it was
// a REGISTER.
func (t Ticket) Outcome(register bool, resp *sip.Message) Outcome {
	return t.brought.outcome(register, resp)
}

// Settle says what came of the attempt. Only the first time counts, from
// whatever goroutine.
func (t Ticket) Settle(o Outcome) {
	if t.guard != nil {
		t.guard.settle(t, o)
	}
}

// A GuardView is what can be seen of guessing.
type GuardView struct {
	Users      int       `json:"users"`   // different ones who failed where they had not signed in before, within the window
	Sources    int       `json:"sources"` // different ones from which they did
	Window     string    `json:"window"`
	Spray      bool      `json:"spray"` // it looks as if one password is tried on many users
	SpraySince time.Time `json:"spray_since,omitzero"`
	Bans       int       `json:"bans"`
	UnderWay   int       `json:"under_way"` // attempts without an answer
	Known      int       `json:"known"`     // users of whom it is known where they have signed in
}
