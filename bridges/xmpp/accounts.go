package xmpp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/account"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/certs"
)

// accounts are the accounts that users of ours have on public servers, and the
// sessions that we hold there for them. What such a user says leaves by his account, and
// what comes to the account comes to him.
type accounts struct {
	g     *gateway
	roots *certs.Roots
	group guarded

	mu     sync.Mutex // guards what follows
	byUser map[string]*connector
	over   bool
}

// newAccounts makes the table; update fills it.
func newAccounts(g *gateway, roots *certs.Roots) *accounts {
	return &accounts{g: g, roots: roots, group: guarded{fail: g.breaks}, byUser: make(map[string]*connector)}
}

// has reports whether one of our users, a bare JID, has an account.
func (l *accounts) has(user string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byUser[user] != nil
}

// of returns the account by which a stanza leaves that is from somebody of ours, nil if
// it leaves by the servers' streams.
func (l *accounts) of(from string) *connector {
	bare, _, _ := strings.Cut(from, "/")
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byUser[bare]
}

// update begins the sessions of accounts that are new, and ends those of accounts that are
// no more, or are others now.
func (l *accounts) update(list []bridges.Account) {
	want := make(map[string]bridges.Account, len(list))
	for _, a := range list {
		j, err := l.g.addr.JID("sip:" + a.User)
		if err != nil {
			l.g.log.Warn("account was left out", "user", a.User, "account", a.JID, "err", err)
			continue
		}
		a.Rule, a.Note = noRule, ""
		want[bareOf(j)] = a
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for user, c := range l.byUser {
		if a, ok := want[user]; !ok || a != c.account || c.hasNewPassword() {
			c.end()
			delete(l.byUser, user)
		}
	}
	for user, a := range want {
		if l.byUser[user] != nil || l.over {
			continue
		}
		c, err := l.connect(user, a)
		if err != nil {
			l.g.log.Warn("account was left out", "user", a.User, "account", a.JID, "err", err)
			continue
		}
		l.byUser[user] = c
	}
}

// connect begins a session.
func (l *accounts) connect(user string, a bridges.Account) (*connector, error) {
	j, err := address.Parse(a.JID)
	if err != nil {
		return nil, err
	}
	password, err := readPassword(a.PasswordFile)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	c := &connector{g: l.g, account: a, user: user, bare: j.Bare().String(), end: end, since: time.Now()}
	c.conf = account.Config{
		Account: account.Account{
			JID: a.JID, Password: password, Server: a.Server, Mechanism: a.Mechanism,
			TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: l.pool()},
		},
		Features: slices.Clone(ourUsers.features), Log: l.g.log,
	}
	c.session = account.New(c.conf, c)
	l.group.run(func() { c.run(ctx) })
	return c, nil
}

// afterPanic is how long an account rests whose session panicked.
const afterPanic = time.Minute

// run keeps the session until ctx is done. A panic costs this account its session and
// no other's.
func (c *connector) run(ctx context.Context) {
	for {
		err := c.once(ctx)
		if ctx.Err() != nil {
			return
		}
		c.g.log.Error("account session ended", "user", c.account.User, "account", c.bare, "err", err)
		c.Changed(false, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(afterPanic):
		}
		c.mu.Lock()
		c.session = account.New(c.conf, c)
		c.mu.Unlock()
	}
}

// once runs one session to its end.
func (c *connector) once(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	return c.session.Run(ctx)
}

// pool are the authorities that accounts' servers are trusted by.
func (l *accounts) pool() *x509.CertPool {
	if l.roots == nil {
		return nil
	}
	return l.roots.Pool()
}

// maxPassword bounds the file of a password.
const maxPassword = 1024

// readPassword reads a password that nobody else can read.
func readPassword(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s: others can read it; its mode must be 0600", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPassword))
	if err != nil {
		return "", err
	}
	password := strings.TrimRight(string(b), "\r\n")
	if password == "" {
		return "", fmt.Errorf("%s: empty", path)
	}
	return password, nil
}

// hasNewPassword reports whether somebody has written another password into the file.
func (c *connector) hasNewPassword() bool {
	password, err := readPassword(c.account.PasswordFile)
	return err == nil && password != c.conf.Password
}

// stop ends all sessions.
func (l *accounts) stop() {
	l.mu.Lock()
	l.over = true
	for user, c := range l.byUser {
		c.end()
		delete(l.byUser, user)
	}
	l.mu.Unlock()
	l.group.wait()
}

// links tells how the sessions are.
func (l *accounts) links() (list []bridges.Link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.byUser {
		list = append(list, c.link())
	}
	slices.SortFunc(list, func(a, b bridges.Link) int { return strings.Compare(a.Local, b.Local) })
	return list
}

// outcomeOf says what became of a stanza that went by an account.
func outcomeOf(err error) s2s.Outcome {
	switch {
	case err == nil:
		return s2s.Outcome{Acked: true}
	case errors.Is(err, account.ErrQueueFull):
		return s2s.Outcome{Err: fmt.Errorf("%w: %w", s2s.ErrQueueFull, err)}
	case errors.Is(err, account.ErrTooLarge):
		return s2s.Outcome{Err: fmt.Errorf("%w: %w", s2s.ErrTooLarge, err)}
	case errors.Is(err, account.ErrLost):
		return s2s.Outcome{Err: fmt.Errorf("%w: %w", s2s.ErrLost, err)}
	}
	return s2s.Outcome{Err: fmt.Errorf("%w: %w", s2s.ErrUnreachable, err)}
}

// A connector is one account of a user of ours, and its session.
type connector struct {
	g       *gateway
	account bridges.Account
	user    string // our user, a bare JID of ours
	bare    string // the account
	conf    account.Config
	end     context.CancelFunc

	mu       sync.Mutex // guards what follows
	session  *account.Session
	up       bool
	sessions uint64 // that there were
	why      error
	since    time.Time
	sent     uint64
	received uint64
	roster   roster
}

// link describes the session.
func (c *connector) link() bridges.Link {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := bridges.Link{
		Local: c.account.User, Remote: c.bare, Direction: "both", State: "connecting", Proof: bridges.ProofAccount,
		Since: c.since, Sent: c.sent, Received: c.received, Detail: "account",
	}
	switch {
	case c.up:
		l.State = "up"
	case c.why != nil:
		l.State = "down"
		l.Detail, _, _ = strings.Cut(c.why.Error(), "\n")
	}
	return l
}

// Changed is that of account.Handler.
func (c *connector) Changed(up bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up != up || c.why == nil {
		c.since = time.Now()
	}
	if up {
		c.sessions++
	}
	c.up, c.why = up, err
	if up {
		return
	}
	// Without the lock: what is said now leads back here.
	gone := c.roster.forget()
	go c.lost(gone)
}

// send sends a stanza of our user's by his account. Where he is there, his server says.
func (c *connector) send(e *stanza.Element, done func(s2s.Outcome)) (up bool) {
	if done == nil {
		done = func(s2s.Outcome) {}
	}
	c.mu.Lock()
	up = c.up
	c.sent++
	session := c.session
	c.mu.Unlock()
	if e.Local == "iq" {
		// Its answer would come to the session, and not to us.
		go done(s2s.Outcome{Err: fmt.Errorf("%w: no questions by an account", s2s.ErrRefused)})
		return up
	}
	out := *e
	out.Attrs = slices.Clone(e.Attrs)
	out.SetAttr("from", "")
	if e.Local == "presence" && !c.passes(&out, stanzaDevice(e)) {
		go done(s2s.Outcome{Acked: true})
		return up
	}
	session.Send(&out, func(err error) { go done(outcomeOf(err)) })
	return up
}

// Stanza is that of account.Handler: what comes to the account comes to our user.
func (c *connector) Stanza(e *stanza.Element) {
	defer c.g.guard()
	if e.Local == "iq" {
		c.listed(e)
		return
	}
	from, err := address.Parse(e.Attr("from"))
	if err != nil {
		c.g.journal.drop("sender of a malformed address", "from", e.Attr("from"), "to", c.user)
		return
	}
	if bareOf(from) == c.bare {
		return // another device of the same account
	}
	c.mu.Lock()
	c.received++
	c.mu.Unlock()
	e.SetAttr("to", c.user)
	if e.Local == "presence" {
		c.saw(from, e)
	}
	c.deliver(e)
}

// deliver hands a stanza in as if it came by a stream.
func (c *connector) deliver(e *stanza.Element) {
	from, err := address.Parse(e.Attr("from"))
	if err != nil {
		return
	}
	c.mu.Lock()
	session := c.sessions
	c.mu.Unlock()
	c.g.stanza(&s2s.Stanza{
		Element: e, From: from.Domainpart(), To: stanza.Domain(c.user), Proof: bridges.ProofAccount, Stream: session,
	})
}
