package remoteaccess

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/singleflight"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/store"
)

// ErrDirectoryAway says that the directory does not answer, and that it has said
// nothing of the user before.
var ErrDirectoryAway = errors.New("remoteaccess: the directory is away")

// How long what the directory said counts, beside cache of [ldap].
const (
	mostKnown  = 30 * 24 * time.Hour // of users that it knows, while it is away
	unknownFor = time.Minute         // that it knows no such user
)

// After how long a directory is asked again that did not answer. One that refuses our
// password is given more time: it may lock who tries too often.
const (
	retryAfter        = time.Second
	retryAfterRefusal = 30 * time.Second
)

// What is kept and done at a time, at most. Whom the directory does not know cannot
// push out whom it knows.
const (
	maxMembers  = 50_000
	maxUnknown  = 10_000
	maxSearches = 4
	maxWaiting  = 1_024
)

// A Directory says who is in which group. It asks the LDAP directory of the Access
// that it follows, and remembers what it was told: users that it knows stay what they
// were while the directory is away, others are not known. It is safe for concurrent
// use.
type Directory struct {
	path   func(string) string // of a file that the configuration names
	bucket *store.Bucket       // nil: memory only
	log    *slog.Logger
	now    func() time.Time

	asks    singleflight.Group
	places  chan struct{} // each search has one
	waiting atomic.Int64  // for a place

	mu       sync.Mutex // guards what follows
	link     *link      // nil: there is no directory to ask
	wanted   map[string]bool
	origin   string // of what is asked, and where: what was said of something else does not count
	known    *simplelru.LRU[string, *member]
	unknown  *simplelru.LRU[string, time.Time] // until when
	dirty    map[string]bool
	trouble  string // why it is away; "": it answers
	since    time.Time
	retry    time.Time
	searches int
	failures int
}

// A member is what is known of a user.
type member struct {
	groups []string
	at     time.Time // when the directory said so
	saved  time.Time // the at that the bucket has
	origin string
}

// OpenDirectory follows a, and reads what is known from the bucket. A nil bucket is
// memory only. The errors are those of the files that [ldap] names; it connects to
// nobody yet.
func OpenDirectory(a *Access, path func(string) string, bucket *store.Bucket, log *slog.Logger) (*Directory, []error) {
	return openDirectory(a, path, bucket, log, maxMembers, maxUnknown)
}

func openDirectory(a *Access, path func(string) string, bucket *store.Bucket, log *slog.Logger, known, unknown int) (*Directory, []error) {
	d := &Directory{
		path: path, bucket: bucket, log: log, now: time.Now,
		places: make(chan struct{}, maxSearches), dirty: make(map[string]bool),
	}
	d.known, _ = simplelru.NewLRU(known, func(key string, _ *member) { d.dirty[key] = true })
	d.unknown, _ = simplelru.NewLRU[string, time.Time](unknown, nil)
	if errs := d.Follow(a); errs != nil {
		return nil, errs
	}
	d.load()
	return d, nil
}

// Follow asks from now on what a wants to know, of whom a names. With errors nothing
// has changed.
func (d *Directory) Follow(a *Access) []error {
	c, ok := a.LDAP()
	var l *link
	if ok && a.AsksGroups() {
		var errs []error
		if l, errs = newLink(c, d.path); errs != nil {
			for i, err := range errs {
				errs[i] = allowlists.Problem{File: a.fallback.rule.File, Line: c.Line, Text: "[ldap]: " + err.Error()}
			}
			return errs
		}
	}
	d.mu.Lock()
	old := d.link
	d.link, d.wanted, d.trouble, d.retry = l, nil, "", time.Time{}
	if l != nil {
		d.wanted = make(map[string]bool, len(a.byDN))
		for dn := range a.byDN {
			d.wanted[dn] = true
		}
		d.origin = originOf(l.config, d.wanted)
	}
	d.unknown.Purge()
	d.mu.Unlock()
	old.close()
	return nil
}

// originOf names a question. How the directory is reached does not belong to it.
func originOf(c LDAPConfig, wanted map[string]bool) string {
	parts := []string{c.Base, c.Filter, c.Attribute, c.GroupFilter, c.GroupBase}
	return hashOf(append(parts, slices.Sorted(maps.Keys(wanted))...))
}

// Close ends the connection to the directory. Nobody is asked any more.
func (d *Directory) Close() {
	if d == nil {
		return
	}
	d.mu.Lock()
	l := d.link
	d.mu.Unlock()
	l.close()
}

// Groups returns the groups of a user, as Terms wants them: of those that the Access
// names. The user is as it is on the wire, the domain in normal form. While the
// directory is away it returns what was known; if that is nothing the error is
// ErrDirectoryAway. A user that the directory does not know is in no group.
func (d *Directory) Groups(ctx context.Context, user, domain string) ([]string, error) {
	name, ok := searchable(user)
	if d == nil || !ok {
		return nil, nil
	}
	key := name + "@" + domain
	d.mu.Lock()
	l := d.link
	groups, known, fresh := d.remembered(key)
	d.mu.Unlock()
	switch {
	case l == nil:
		return nil, nil // no group of the directory is asked for
	case fresh:
		return groups, nil
	}
	answers := d.asks.DoChan(fmt.Sprintf("%p %s", l, key), func() (any, error) { return d.ask(l, key, name, domain) })
	select {
	case <-ctx.Done():
		if known {
			return groups, nil
		}
		return nil, fmt.Errorf("%w: %w", ErrDirectoryAway, ctx.Err())
	case r := <-answers:
		if r.Err == nil {
			return r.Val.([]string), nil
		}
		if known {
			return groups, nil
		}
		return nil, r.Err
	}
}

// searchable returns the name of a user as the directory has it, and whether it can
// be one. Names that the home server may take for others have no groups: see odd.
func searchable(user string) (string, bool) {
	var room [maxUser]byte
	name, ok := allowlists.AppendUser(room[:0], []byte(user))
	return string(name), ok && len(name) > 0 && !allowlists.OddUser(name)
}

// remembered returns what is known of a user, and whether that is enough. The caller
// holds mu.
func (d *Directory) remembered(key string) (groups []string, known, fresh bool) {
	if d.link == nil {
		return nil, false, false
	}
	now := d.now()
	if m, ok := d.known.Get(key); ok && m.origin == d.origin {
		age := now.Sub(m.at)
		if age < mostKnown {
			return m.groups, true, 0 <= age && age < d.link.config.Cache
		}
		d.known.Remove(key)
	}
	if until, ok := d.unknown.Get(key); ok {
		if now.Before(until) {
			return nil, true, true
		}
		d.unknown.Remove(key)
	}
	return nil, false, false
}

// ask asks the directory about one user. It is the top of the goroutine that
// singleflight starts, and ends when the time of a search is over.
func (d *Directory) ask(l *link, key, user, domain string) (groups []string, err error) {
	defer func() {
		if p := recover(); p != nil {
			d.log.Error("directory search panicked", "panic", p, "stack", string(debug.Stack()))
			groups, err = nil, fmt.Errorf("%w: panic in a search", ErrDirectoryAway)
		}
	}()
	d.mu.Lock()
	groups, _, fresh := d.remembered(key)
	d.mu.Unlock()
	if fresh {
		return groups, nil // another search has ended since we looked
	}
	if err := d.place(l.config.Timeout); err != nil {
		return nil, err
	}
	defer func() { <-d.places }()
	wanted, err := d.claim(l)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.config.Timeout)
	defer cancel()
	m, err := l.ask(ctx, user, domain, wanted)
	switch {
	case err != nil:
		return nil, d.failed(l, err)
	case m.unclear != "":
		d.log.Error("groups of a user not known", "user", key, "err", m.unclear)
		return nil, fmt.Errorf("%w as far as this user goes: %s", ErrDirectoryAway, m.unclear)
	}
	return d.learn(l, key, m), nil
}

// place waits for one of the places of searches.
func (d *Directory) place(most time.Duration) error {
	select {
	case d.places <- struct{}{}:
		return nil
	default:
	}
	defer d.waiting.Add(-1)
	if d.waiting.Add(1) > maxWaiting {
		return fmt.Errorf("%w: too many users are looked up", ErrDirectoryAway)
	}
	patience := time.NewTimer(most)
	defer patience.Stop()
	select {
	case d.places <- struct{}{}:
		return nil
	case <-patience.C:
		return fmt.Errorf("%w: too many users are looked up", ErrDirectoryAway)
	}
}

// claim takes leave to search. While the directory is away there is one a second.
func (d *Directory) claim(l *link) (wanted map[string]bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	switch {
	case d.link != l:
		return nil, fmt.Errorf("%w: it was replaced", ErrDirectoryAway)
	case d.trouble != "" && now.Before(d.retry):
		return nil, fmt.Errorf("%w: %s", ErrDirectoryAway, d.trouble)
	case d.trouble != "":
		d.retry = now.Add(retryAfter)
	}
	d.searches++
	return d.wanted, nil
}

// failed notes that the directory did not answer, or not to the point.
func (d *Directory) failed(l *link, err error) error {
	text := clipped(err.Error())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failures++
	if d.link != l {
		return fmt.Errorf("%w: it was replaced", ErrDirectoryAway)
	}
	now := d.now()
	if d.trouble != text {
		d.log.Error("directory away", "server", l.server.address, "err", text)
	}
	if d.trouble == "" {
		d.since = now
	}
	d.trouble, d.retry = text, now.Add(retryAfter)
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultInvalidCredentials, ldap.LDAPResultInsufficientAccessRights) {
		d.retry = now.Add(retryAfterRefusal)
	}
	return fmt.Errorf("%w: %s", ErrDirectoryAway, text)
}

// clipped makes what a directory said fit for one line.
func clipped(s string) string {
	const most = 300
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), most)]
}

// learn remembers what the directory said.
func (d *Directory) learn(l *link, key string, m membership) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.link != l {
		return m.groups
	}
	now := d.now()
	if d.trouble != "" {
		d.log.Info("directory back", "server", l.server.address, "away", now.Sub(d.since))
		d.trouble = ""
	}
	if m.ambiguous {
		d.log.Warn("user found several times in the directory, and taken for none of them", "user", key)
	}
	if !m.found {
		if d.known.Contains(key) {
			d.known.Remove(key)
		}
		d.unknown.Add(key, now.Add(unknownFor))
		return nil
	}
	d.unknown.Remove(key)
	d.remember(key, &member{groups: m.groups, at: now, origin: d.origin})
	return m.groups
}

// A DirectoryView is how it goes with the directory, for those who ask.
type DirectoryView struct {
	Server   string    `json:"server,omitempty"` // "": none is asked
	Known    int       `json:"known"`            // users
	Searches int       `json:"searches"`
	Failures int       `json:"failures"`
	Away     time.Time `json:"away,omitzero"` // since when; zero: it answers
	Trouble  string    `json:"trouble,omitempty"`
}

// View returns how it goes.
func (d *Directory) View() DirectoryView {
	if d == nil {
		return DirectoryView{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	v := DirectoryView{Known: d.known.Len(), Searches: d.searches, Failures: d.failures, Trouble: d.trouble}
	if d.trouble != "" {
		v.Away = d.since
	}
	if d.link != nil {
		v.Server = d.link.server.address
	}
	return v
}
