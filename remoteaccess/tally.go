package remoteaccess

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// A subject is one name of an attempt, and the numbers under which it is counted.
type subject struct {
	name    string
	hash    uint64
	pair    uint64  // with the source
	user    uint64  // over all sources
	key     homeKey // of where it has signed in
	trusted bool    // bans of the source and the user do not stop it
}

// identify finds out what an attempt is counted as: all that needs no lock.
func (g *Guard) identify(s *slot, a *Attempt) {
	s.signed, s.bare, s.mixed = a.Signed, !a.Credentials.guess, a.Credentials.mixed()
	s.prefix = a.Source
	if a.Source.IsValid() {
		s.sourceHash = g.sourceHash(a.Source)
		s.source = number(s.sourceHash, ofSource)
		s.place = g.place(a.Source)
	}
	user := strings.ToLower(printable(a.User)) // as bans and names in credentials are
	g.subject(s, user)
	for _, name := range a.Credentials.names {
		g.subject(s, name)
	}
	s.named = s.n
	for _, name := range a.Credentials.names {
		g.meant(s, name, user)
	}
}

// meant adds whose account it may be that credentials name with a domain: many a home
// server does not look at that, so that one account has as many names as there are
// domains. What fails counts for it; it is nobody who must be known, or becomes so.
func (g *Guard) meant(s *slot, name, address string) {
	domain := address[strings.LastIndexByte(address, '@')+1:]
	at := strings.IndexByte(name, '@')
	if at < 0 {
		at = len(name)
	}
	back := strings.LastIndexByte(name[:at], '\\') + 1
	if back == 0 && at == len(name) || back == at || domain == address {
		return // it was cut, or says nothing
	}
	name = name[back:at]
	for _, w := range s.who[:s.n] {
		if len(w.name) == len(name)+1+len(domain) && w.name[:len(name)] == name && w.name[len(name)] == '@' && w.name[len(name)+1:] == domain {
			return
		}
	}
	g.subject(s, name+"@"+domain)
}

// subject adds a name.
func (g *Guard) subject(s *slot, name string) {
	first := s.n == 0
	if name = clip(name); name == "" || slices.ContainsFunc(s.who[:s.n], func(w subject) bool { return w.name == name }) {
		return
	}
	w := &s.who[s.n]
	s.n++
	w.name, w.hash, w.key = name, maphash.String(g.seed, name), g.homeKey(name)
	w.user = number(w.hash, ofUser)
	w.pair = pairNumber(w.hash, s.sourceHash, first && s.signed)
}

// What a number is made of, so that those of different kinds are different.
const (
	ofUser = iota + 1
	ofSource
	ofPair
	ofSignedPair
)

// number mixes a hash with its kind. Nobody outside knows the hash, so nobody can
// choose two that come to the same.
func number(hash uint64, kind uint64) uint64 {
	h := hash + kind*0x9e3779b97f4a7c15
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

func pairNumber(name, source uint64, signed bool) uint64 {
	kind := uint64(ofPair)
	if signed {
		kind = ofSignedPair
	}
	return number(name^bits.RotateLeft64(number(source, ofSource), 31), kind)
}

func (g *Guard) sourceHash(p netip.Prefix) uint64 {
	octets := sourceOctets(p)
	return maphash.Bytes(g.seed, octets[:])
}

// sourceOctets are what makes a source another one than others.
func sourceOctets(p netip.Prefix) (octets [18]byte) {
	as16 := p.Addr().As16()
	copy(octets[:], as16[:])
	octets[16] = byte(p.Bits())
	if p.Addr().Is4() {
		octets[17] = 4
	}
	return octets
}

// clip keeps a name within maxName; longer ones stay different.
func clip(name string) string {
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	const digest = 32
	return strings.ToValidUTF8(name[:maxName-1-digest], "") + "~" + hex.EncodeToString(sum[:digest/2])
}

// A failure is when it was, and who it was of: at a source the user, of a user
// the source.
type failure struct {
	at  int64 // milliseconds
	who uint64
}

// A tally counts the failures of a pair, user or source, the oldest first.
type tally struct {
	failures []failure
	turn     uint64 // of the last ticket when the last one was counted
}

func newTallies(most int) *simplelru.LRU[uint64, *tally] {
	l, err := simplelru.NewLRU[uint64, *tally](most, nil)
	if err != nil {
		panic(err) // most is a constant
	}
	return l
}

// muchAhead is how far a failure may lie in the future before the clock must have
// been set back.
const muchAhead = time.Minute

// count returns how many failures there were within the window, and forgets the
// others.
func (t *tally) count(window time.Duration, now time.Time) int {
	if t == nil {
		return 0
	}
	from, to := now.Add(-window).UnixMilli(), now.Add(muchAhead).UnixMilli()
	old := 0
	for old < len(t.failures) && (t.failures[old].at <= from || t.failures[old].at > to) {
		old++
	}
	t.failures = slices.Delete(t.failures, 0, old)
	return len(t.failures)
}

// different returns how many different ones failed.
func (t *tally) different() int {
	all := make([]uint64, len(t.failures))
	for i, f := range t.failures {
		all[i] = f.who
	}
	slices.Sort(all)
	return len(slices.Compact(all))
}

// add counts a failure. There are never more than can matter.
func (t *tally) add(f failure, most int) {
	if n := len(t.failures) - most + 1; n > 0 {
		t.failures = slices.Delete(t.failures, 0, n)
	}
	t.failures = append(t.failures, f)
}

// unseen returns one of those who may have failed: one that has not failed before, if
// there is one, so that nobody passes for one user by always naming the same one besides.
func (t *tally) unseen(who []subject) (hash uint64) {
	for _, w := range who {
		hash = w.hash
		if !slices.ContainsFunc(t.failures, func(f failure) bool { return f.who == hash }) {
			return hash
		}
	}
	return hash
}

// forgive takes the last failure of who back.
func (t *tally) forgive(who uint64) {
	for i := len(t.failures) - 1; i >= 0; i-- {
		if t.failures[i].who == who {
			t.failures = slices.Delete(t.failures, i, i+1)
			return
		}
	}
}

// tallyOf returns the tally under a number, and makes one if there is none.
func tallyOf(in *simplelru.LRU[uint64, *tally], id uint64) *tally {
	t, ok := in.Get(id)
	if !ok {
		t = new(tally)
		in.Add(id, t)
	}
	return t
}

// forgive takes back the last failure of who, and the tally with the last one.
func forgive(in *simplelru.LRU[uint64, *tally], id, who uint64) {
	t, ok := in.Peek(id)
	if !ok {
		return
	}
	if t.forgive(who); len(t.failures) == 0 {
		in.Remove(id)
	}
}
