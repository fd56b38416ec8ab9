package account

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// The servers of clients take stanzas in order (RFC 6120 §10.1), and answer an iq.
// So the answer to a ping (XEP-0199) behind some stanzas says that the server has
// taken them: that is when they count as delivered.

// A sending is a stanza on its way.
type sending struct {
	e    *stanza.Element
	done func(error)
}

func (p *sending) end(err error) {
	if p.done != nil {
		p.done(err)
	}
}

// Send queues a message or a presence. done, unless it is nil, is called exactly
// once, with nil when the account's server has the stanza for sure; it may be
// called before Send returns. Send never waits.
//
// A presence to everybody is remembered and sent again whenever a session begins.
func (s *Session) Send(e *stanza.Element, done func(error)) {
	p := &sending{e, done}
	if err := s.queue(p); err != nil {
		p.end(err)
	}
}

func (s *Session) queue(p *sending) error {
	if len(stanza.AppendFor(nil, p.e, stanza.NSClient)) > maxSent {
		return ErrTooLarge
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := p.e.Attr("type"); p.e.Is(stanza.NS, "presence") && p.e.Attr("to") == "" && (t == "" || t == "unavailable") {
		s.presence = p.e
	}
	if s.stream == nil {
		return ErrDown
	}
	if len(s.waiting)+len(s.sent) >= s.conf.Queue {
		return ErrQueueFull
	}
	s.waiting = append(s.waiting, p)
	s.poke()
	return nil
}

// poke wakes the writer.
func (s *Session) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// begin makes a stream the session's. The contact list is asked for first, so that
// its changes are told (RFC 6121 §2.2); then we are available. up is called when
// the server has taken both.
func (s *Session) begin(stream *stream, up func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stream, s.ping, s.settled = stream, "", nil
	list := stanza.New(stanza.NS, "iq", attr("type", "get"), attr("id", rosterID))
	list.Add(stanza.New(nsRoster, "query"))
	available := s.presence
	if available == nil {
		available = stanza.New(stanza.NS, "presence")
	}
	s.waiting = append(s.waiting, &sending{e: list}, &sending{available, func(err error) {
		if err == nil {
			up()
		}
	}})
	s.poke()
}

// end takes the stream away. What is not confirmed is lost, or not: who sent it
// must decide.
func (s *Session) end() {
	s.mu.Lock()
	s.stream = nil
	waiting, sent := s.waiting, s.sent
	s.waiting, s.sent = nil, nil
	s.mu.Unlock()
	for _, p := range sent {
		p.end(ErrLost)
	}
	for _, p := range waiting {
		p.end(ErrDown)
	}
}

// write writes what is queued, until ctx is done.
func (s *Session) write(ctx context.Context, stream *stream) (err error) {
	defer caught(&err)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		}
		if err := stream.write(s.batch()...); err != nil {
			return err
		}
	}
}

// batch returns what is to be written now.
func (s *Session) batch() []*stanza.Element {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*stanza.Element
	for _, p := range s.waiting {
		out = append(out, p.e)
	}
	s.sent = append(s.sent, s.waiting...)
	s.waiting = nil
	if s.ping == "" && len(s.sent) > 0 {
		out = append(out, s.newPing())
	}
	return out
}

// newPing makes a ping that confirms all that is sent. The lock is held.
func (s *Session) newPing() *stanza.Element {
	s.ping, s.covers, s.pinged = "p"+rand.Text(), len(s.sent), time.Now()
	e := stanza.New(stanza.NS, "iq", attr("type", "get"), attr("id", s.ping))
	e.Add(stanza.New(nsPing, "ping"))
	return e
}

// pong takes the answer to a ping; an error is one, too.
func (s *Session) pong(id string) bool {
	s.mu.Lock()
	if s.ping == "" || id != s.ping {
		s.mu.Unlock()
		return false
	}
	confirmed := s.sent[:s.covers]
	s.sent = append([]*sending(nil), s.sent[s.covers:]...)
	s.ping = ""
	if len(s.sent) > 0 {
		s.poke()
	}
	s.settle()
	s.mu.Unlock()
	for _, p := range confirmed {
		p.end(nil)
	}
	return true
}

// settle tells who wants to leave that nothing is on its way. The lock is held.
func (s *Session) settle() {
	if s.settled != nil && len(s.waiting)+len(s.sent) == 0 {
		close(s.settled)
		s.settled = nil
	}
}

// alive is asked when nothing has come for a while, and now and then. It pings, and
// says no if the last ping was not answered in time.
func (s *Session) alive(silent bool) (ping *stanza.Element, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ping != "" && time.Since(s.pinged) > 3*s.pace.quiet/2:
		return nil, false
	case s.ping == "" && silent:
		return s.newPing(), true
	}
	return nil, true
}
