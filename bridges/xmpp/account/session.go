package account

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/address"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A Config is what a Session needs.
type Config struct {
	Account
	Queue    int          // stanzas that wait or are not confirmed; 0: 100
	Features []string     // that clients may see, besides those of the session (XEP-0030)
	Log      *slog.Logger // nil: nothing is logged
}

// A Handler takes what comes from an account. It is called from one goroutine, in
// order, and must not wait for anything.
type Handler interface {
	// Stanza takes a message, a presence, an error to one of both, or news of
	// the contact list: an iq with a query of jabber:iq:roster. From and to are
	// always there; from is as the account's server says.
	Stanza(e *stanza.Element)
	// Changed says that a session is there, and the user available at his server; or
	// why it is not.
	Changed(up bool, err error)
}

// A Session keeps one account logged in. It is safe for concurrent use.
type Session struct {
	conf    Config
	handler Handler
	log     *slog.Logger
	pace    pace

	mu       sync.Mutex
	stream   *stream // nil: no session
	waiting  []*sending
	sent     []*sending // not confirmed yet
	ping     string     // id of the ping that is out, "" if none
	covers   int        // how many of sent it confirms
	pinged   time.Time
	presence *stanza.Element // the last one to everybody
	wake     chan struct{}   // has one when there is something to write
	settled  chan struct{}   // closed when nothing waits and all is confirmed; nil: nobody asks
}

// pace is how long things take; tests are in a hurry.
type pace struct {
	quiet       time.Duration // without an octet until we ask whether the server is there
	first, most time.Duration // between two attempts to connect
	refused     time.Duration // the same after wrong credentials
	leave       time.Duration // for what is not confirmed when the session ends
}

func defaultPace() pace {
	return pace{quiet: time.Minute, first: time.Second, most: 5 * time.Minute, refused: 15 * time.Minute, leave: 3 * time.Second}
}

// New makes a Session, which Run begins.
func New(c Config, h Handler) *Session {
	s := &Session{conf: c, handler: h, log: c.Log, pace: defaultPace(), wake: make(chan struct{}, 1)}
	if s.conf.Queue <= 0 {
		s.conf.Queue = 100
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// Run keeps the account logged in until ctx is done; then it says goodbye. It
// returns an error only if the configuration is none. Run must not be called
// twice.
func (s *Session) Run(ctx context.Context) error {
	bare, _, err := s.conf.address()
	if err != nil {
		return err
	}
	wait := s.pace.first
	for {
		began := time.Now()
		err := s.once(ctx, bare)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > s.pace.most/4 {
			wait = s.pace.first // it was up for a while
		}
		pause := wait/2 + rand.N(wait/2+1)
		if errors.Is(err, ErrCredentials) {
			pause = s.pace.refused // servers count guesses
		}
		wait = min(2*wait, s.pace.most)
		s.log.Warn("account session failed", "account", bare.String(), "err", err, "retry", pause.Round(time.Second))
		s.handler.Changed(false, err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// once is one session, from its beginning to its end.
func (s *Session) once(ctx context.Context, bare address.JID) error {
	stream, full, err := s.conf.connect(ctx, nil)
	if err != nil {
		return err
	}
	stream.quiet = s.pace.quiet
	defer stream.Close()
	s.log.Info("account session began", "account", bare.String(), "address", full)
	r := &receiver{session: s, stream: stream, bare: bare, full: full}
	s.begin(stream, func() { s.handler.Changed(true, nil) })

	written := make(chan error, 1)
	over, stop := context.WithCancel(context.Background())
	defer stop() // in case the handler panics
	defer s.end()
	go func() {
		var err error
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("account: panic: %v", p)
			}
			stream.Close() // ends reading, too
			written <- err
		}()
		err = s.write(over, stream)
	}()
	read, left := make(chan struct{}), make(chan struct{})
	stay := context.AfterFunc(ctx, func() {
		defer close(left)
		s.leave(stream, read)
	})
	err = r.read()
	close(read)
	stop()
	if e := <-written; e != nil && !errors.Is(e, context.Canceled) {
		err = errors.Join(err, e)
	}
	s.end()
	if !stay() {
		<-left
		s.handler.Changed(false, nil)
		return nil
	}
	return err
}

// leave ends a session as one should: what was sent gets a little time to be
// confirmed, and the server hears that we go and may say the same.
func (s *Session) leave(stream *stream, read <-chan struct{}) {
	var err error
	defer func() {
		if err != nil {
			s.log.Error("account session panicked", "err", err)
		}
	}()
	defer caught(&err)
	defer stream.Close()
	s.mu.Lock()
	settled := make(chan struct{})
	s.settled = settled
	s.settle()
	s.mu.Unlock()
	late := time.After(s.pace.leave)
	select {
	case <-settled:
	case <-read:
	case <-late:
	}
	stream.write(stanza.New(stanza.NS, "presence", attr("type", "unavailable")))
	stream.goodbye()
	select {
	case <-read:
	case <-late:
	}
}
