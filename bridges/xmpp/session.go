package xmpp

import (
	"sync"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/body"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A session is one of instant messages, between one of our users and somebody outside.
type session struct {
	g                  *gateway
	pair               ends
	ours               address.JID
	oursURI, theirsURI string
	hops               int
	timer              timer

	mu     sync.Mutex  // guards what follows
	theirs address.JID // the device that spoke last
	thread string
	proof  bridges.Proof
	dialog *bridges.Dialog  // nil while our INVITE is not answered
	sent   *bridges.Request // that INVITE
	held   []heldLetter
	notice *body.Composing // that waits as well
	media  *body.Offer     // what our user's client has said that it takes; nil: nothing yet
	info   bool            // it tells by INFO that somebody types
	over   bool
}

// A heldLetter waits for its session.
type heldLetter struct {
	w *inward
	l *letter
}

// outward returns between whom something within the session is.
func (s *session) outward(in *bridges.Incoming) *outward {
	s.touch()
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &outward{
		from: s.ours, to: s.theirs, pair: s.pair, fromURI: s.oursURI, toURI: s.theirsURI,
		callID: s.thread, session: s, hops: s.hops, sole: true,
	}
	if w.callID == "" && s.dialog != nil {
		w.callID = s.dialog.CallID()
	}
	return w
}

// touch starts the idle time anew.
func (s *session) touch() { s.g.clock.start(&s.timer, sessionIdle, s) }

// accept answers the INVITE of our user.
func (s *session) accept(in *bridges.Incoming) {
	d := in.Answer(bridges.Response{Status: 200, ContentType: body.TypeSDP, Body: s.media.Answer(s.g.set.host)}, "")
	if d == nil {
		s.g.sessions.drop(s)
		return
	}
	// Much may have happened while the answer was under way.
	s.mu.Lock()
	s.dialog = d
	over := s.over
	s.mu.Unlock()
	if over {
		s.bye(d)
		return
	}
	s.touch()
	s.flush()
}

// invitedAgain answers an INVITE or UPDATE within the session: nothing has changed.
func (s *session) invitedAgain(in *bridges.Incoming) {
	s.touch()
	if len(in.Body) > 0 {
		o, refusal := s.g.offerOf(&in.Request)
		if refusal.Status != 0 {
			in.Answer(refusal, "")
			return
		}
		in.Answer(bridges.Response{Status: 200, ContentType: body.TypeSDP, Body: o.Answer(s.g.set.host)}, "")
		return
	}
	in.Answer(bridges.Response{Status: 200, ContentType: body.TypeSDP, Body: body.NewOffer(s.g.set.host)}, "")
}

// invite asks our user's client for a session. What was written waits for it.
func (s *session) invite(w *inward) {
	r := w.request("INVITE")
	r.From.URI, r.URI = s.theirsURI, s.oursURI
	r.ContentType, r.Body = body.TypeSDP, body.NewOffer(s.g.set.host)
	r.Data = s
	if id := s.g.threads.toSIP(w.pair, w.thread); id != "" {
		r.CallID = id
	}
	s.mu.Lock()
	s.sent = r
	s.mu.Unlock()
	s.g.clock.start(&s.timer, sessionOpening, s)
	s.g.sip.Do(r, s.answered)
}

// answered takes the answer to our INVITE.
func (s *session) answered(resp *bridges.Response, d *bridges.Dialog) {
	if resp.Status < 200 {
		return
	}
	g := s.g
	s.mu.Lock()
	s.sent = nil
	if d == nil || s.over {
		held := s.held
		s.held, s.over = nil, true
		s.mu.Unlock()
		s.leave()
		if d != nil {
			s.bye(d) // it came after we gave up
			resp = &bridges.Response{Status: 480}
		}
		s.refused(resp, held)
		return
	}
	s.dialog = d
	s.media, _ = body.ReadOffer(resp.Body)
	s.mu.Unlock()
	s.touch()
	g.traits.wroteBySession(s.pair.ours, true)
	s.flush()
}

// leave takes the session out of the table.
func (s *session) leave() {
	s.g.clock.stop(&s.timer)
	s.g.sessions.drop(s)
}

// refused: no session, for whatever reason. Without sessions, what was written goes
// by page mode; else its writers are told.
func (s *session) refused(resp *bridges.Response, held []heldLetter) {
	page := false
	switch resp.Status {
	case 405, 415, 488, 501, 606:
		// RFC 7573 §4 leaves it to us for how long this is remembered.
		s.g.traits.refusedSession(s.pair.ours)
		page = true
	}
	for _, h := range held {
		if page {
			s.g.page(h.w, h.l)
		} else {
			s.g.taken(h.w, resp)
		}
	}
}

// flush sends what waited for the session, in its order.
func (s *session) flush() {
	for {
		s.mu.Lock()
		if len(s.held) == 0 || s.dialog == nil {
			notice := s.notice
			s.held, s.notice = nil, nil
			s.mu.Unlock()
			if notice != nil {
				s.sendComposing(notice)
			}
			return
		}
		h, d := s.held[0], s.dialog
		s.held[0] = heldLetter{}
		s.held = s.held[1:]
		s.say(d, h.w, h.l) // with the lock: what comes now stands behind it
		s.mu.Unlock()
	}
}

// send sends a letter within the session, or lets it wait for it. false: the session is
// over, or too much waits.
func (s *session) send(w *inward, l *letter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
		return false
	case s.dialog == nil || len(s.held) > 0:
		if len(s.held) >= maxHeld {
			s.g.fail(w, &stanza.Error{Condition: "resource-constraint", Type: "wait", Text: "too much waits for the other side"})
			return true
		}
		s.held = append(s.held, heldLetter{w, l})
		return true
	}
	s.theirs, s.proof = w.from, w.proof
	s.say(s.dialog, w, l)
	return true
}

// say sends a letter as a MESSAGE within the dialog. The lock is held, so that letters
// keep their order.
func (s *session) say(d *bridges.Dialog, w *inward, l *letter) {
	g := s.g
	r := &bridges.Request{Method: "MESSAGE", Fields: l.fields(), ContentType: body.TypePlain, Body: []byte(l.text), Proof: w.proof, Hops: w.hops}
	if l.wantsReport() && s.takes(body.TypeCPIM) && !w.pair.areLong() {
		r.ContentType, r.Body = body.TypeCPIM, g.wrap(w, l)
	}
	g.clock.start(&s.timer, sessionIdle, s)
	d.Do(r, func(resp *bridges.Response) {
		if resp.Status == 481 || resp.Status == 408 && resp.Local {
			// The session is gone without our having heard of it: the letter
			// begins another one.
			s.ended(false)
			g.again(w, l)
			return
		}
		g.taken(w, resp)
	})
}

// again sends a letter whose session was gone, once.
func (g *gateway) again(w *inward, l *letter) {
	if l.retried {
		g.fail(w, &stanza.Error{Condition: "recipient-unavailable", Type: "wait"})
		return
	}
	l.retried = true
	if !g.sessions.take(w, l) {
		g.page(w, l)
	}
}

// sendComposing tells our user's client whether somebody types, in the way that it
// knows.
func (s *session) sendComposing(c *body.Composing) {
	s.mu.Lock()
	d, info, proof := s.dialog, s.info || !s.takes(body.TypeComposing), s.proof
	if d == nil {
		s.notice = c
	}
	s.mu.Unlock()
	if d == nil || !s.g.traits.takesTyping(s.pair.ours) {
		return
	}
	r := &bridges.Request{Method: "MESSAGE", ContentType: body.TypeComposing, Proof: proof, Hops: s.hops}
	if info {
		r.Method, r.ContentType, r.Body = "INFO", body.TypeKeyboard, c.AppendKeyboard(nil)
	} else {
		r.Body = c.Append(nil)
	}
	d.Do(r, func(resp *bridges.Response) { s.g.composingAnswered(s.pair, resp) })
}

// takes reports whether our user's client takes a media type within the session. The
// lock is held.
func (s *session) takes(kind string) bool { return s.media != nil && s.media.Takes(kind) }

// keyboard notes that our user's client tells by INFO that he types, and so wants to
// hear it.
func (s *session) keyboard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info = !s.takes(body.TypeComposing)
}

// expired ends a session in which nothing was said, or gives up waiting for our INVITE.
func (s *session) expired() {
	s.mu.Lock()
	sent := s.sent
	s.mu.Unlock()
	if sent != nil {
		s.mu.Lock()
		s.over = true
		s.mu.Unlock()
		s.g.sip.Cancel(sent) // its answer ends the rest
		return
	}
	s.hangUp()
}

// hangUp ends the session from our side.
func (s *session) hangUp() {
	s.mu.Lock()
	d, sent, was := s.dialog, s.sent, s.over
	s.over = true
	s.mu.Unlock()
	if was {
		return
	}
	s.leave()
	switch {
	case d != nil:
		s.bye(d)
	case sent != nil:
		s.g.sip.Cancel(sent)
	}
}

// bye ends a dialog. It is our word that the other one has left: his is not asked for.
func (s *session) bye(d *bridges.Dialog) {
	s.mu.Lock()
	proof := s.proof
	s.mu.Unlock()
	d.Do(&bridges.Request{Method: "BYE", Proof: proof}, func(*bridges.Response) {})
}

// ended: our user has ended the session, or his client knows it no more.
func (s *session) ended(byUser bool) {
	s.mu.Lock()
	was := s.over
	s.over = true
	s.mu.Unlock()
	if was {
		return
	}
	w := s.outward(nil)
	s.leave()
	s.g.typing.wrote(s.pair)
	s.g.typing.came(s.pair)
	if byUser {
		s.g.sendGone(w)
	}
}
