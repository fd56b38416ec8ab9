package xmpp

import (
	"strings"
	"time"
)

// What is remembered of people: how many, and for how long.
const (
	maxPeople     = 32_768
	keepTraits    = 30 * 24 * time.Hour
	keepRefusal   = 24 * time.Hour // of typing notices and wrappers
	keepPageMode  = time.Hour      // of sessions
	askAgain      = 24 * time.Hour // what a device understands
	keepResources = 24 * time.Hour
)

// A user is what one of our users was seen to understand. The zero user is one of
// whom nothing is known.
type user struct {
	sessions   bool      // the last thing that he wrote came in a session
	wrapped    bool      // his device understands message/cpim
	noSessions time.Time // until then: sessions were refused
	noTyping   time.Time // until then: typing notices were refused
	noWrapper  time.Time // until then: message/cpim was refused
	askedAt    time.Time // when his device was asked what it understands
	language   string    // Accept-Language of what he wrote
}

// A peer is what somebody outside was seen to understand.
type peer struct {
	states   bool // chat states (XEP-0085)
	receipts bool // delivery receipts (XEP-0184)
	markers  bool // chat markers (XEP-0333)
}

// traits are what people understand.
type traits struct {
	microsoft func(domain string) bool
	users     *memory[string, user] // by bare JID
	peers     *memory[string, peer] // by bare JID
	// resources are those of our users that are real devices (GRUUs): full JIDs from
	// which something was sent. What XMPP knows of presence has others, too, and those
	// no home server could find.
	resources *memory[string, bool]
}

func newTraits(microsoft func(domain string) bool) *traits {
	return &traits{
		microsoft: microsoft,
		users:     newMemory[string, user](maxPeople, keepTraits),
		peers:     newMemory[string, peer](maxPeople, keepTraits),
		resources: newMemory[string, bool](maxPeople, keepResources),
	}
}

// wantsSession reports whether what is written to a user goes into a session.
func (t *traits) wantsSession(ours, sipDomain string) bool {
	u, _ := t.users.get(ours)
	if time.Now().Before(u.noSessions) {
		return false
	}
	return u.sessions || t.microsoft != nil && t.microsoft(sipDomain)
}

// wroteBySession notes by what a user of ours has written last.
func (t *traits) wroteBySession(ours string, session bool) {
	if u, _ := t.users.get(ours); u.sessions == session && (!session || u.noSessions.IsZero()) {
		return
	}
	t.users.change(ours, func(u *user) {
		if u.sessions = session; session {
			u.noSessions = time.Time{}
		}
	})
}

// refusedSession notes that there are no sessions with a user, for an hour.
func (t *traits) refusedSession(ours string) {
	t.users.change(ours, func(u *user) { u.sessions, u.noSessions = false, time.Now().Add(keepPageMode) })
}

// takesTyping reports whether a user's device may be told who types.
func (t *traits) takesTyping(ours string) bool {
	u, _ := t.users.get(ours)
	return !time.Now().Before(u.noTyping)
}

// refusedTyping notes that it does not want to know (RFC 3994 §4).
func (t *traits) refusedTyping(ours string) {
	t.users.change(ours, func(u *user) { u.noTyping = time.Now().Add(keepRefusal) })
}

// takesWrapper reports whether a user's device is known to understand
// message/cpim, and if not, whether it should be asked.
func (t *traits) takesWrapper(ours string) (takes, ask bool) {
	u, _ := t.users.get(ours)
	now := time.Now()
	if now.Before(u.noWrapper) {
		return false, false
	}
	return u.wrapped, !u.wrapped && now.Sub(u.askedAt) > askAgain
}

// wrapper notes whether a user's device understands message/cpim.
func (t *traits) wrapper(ours string, takes bool) {
	if u, _ := t.users.get(ours); takes && u.wrapped && u.noWrapper.IsZero() {
		return
	}
	t.users.change(ours, func(u *user) {
		if u.wrapped, u.noWrapper = takes, (time.Time{}); !takes {
			u.noWrapper = time.Now().Add(keepRefusal)
		}
	})
}

// reads notes which languages a user reads.
func (t *traits) reads(ours, accept string) {
	if u, _ := t.users.get(ours); u.language != accept && len(accept) <= maxLanguages {
		t.users.change(ours, func(u *user) { u.language = accept })
	}
}

// maxLanguages bounds what is remembered of an Accept-Language field.
const maxLanguages = 128

// language returns which languages a user reads, as Accept-Language says it; "" if he has
// not said.
func (t *traits) language(ours string) string {
	u, _ := t.users.get(ours)
	return u.language
}

// asked notes that a user's device was asked.
func (t *traits) asked(ours string) {
	t.users.change(ours, func(u *user) { u.askedAt = time.Now() })
}

// seen notes what a message of somebody outside says of his client.
func (t *traits) seen(theirs string, c *content) {
	t.offers(theirs, peer{
		states:   c.State != "",
		receipts: c.WantsReceipt || c.Received != "",
		markers:  c.Markable || c.Displayed != "",
	})
}

// offers adds to what somebody's client is known to understand.
func (t *traits) offers(theirs string, p peer) {
	if p == (peer{}) {
		return
	}
	if known, _ := t.peers.get(theirs); known.with(p) == known {
		return
	}
	t.peers.change(theirs, func(known *peer) { *known = known.with(p) })
}

func (p peer) with(o peer) peer {
	return peer{p.states || o.states, p.receipts || o.receipts, p.markers || o.markers}
}

// takesStates reports whether somebody outside may be told who types.
func (t *traits) takesStates(theirs string) bool {
	p, _ := t.peers.get(theirs)
	return p.states
}

// accepts reports whether a value of Accept, or of accept-types, takes a media type.
func accepts(value, mediaType string) bool {
	for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == ' ' }) {
		t, _, _ := strings.Cut(part, ";")
		if t == "*" || strings.EqualFold(t, mediaType) {
			return true
		}
	}
	return false
}
