package xmpp

import (
	"sync"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/body"
)

// Sessions of instant messages in the Microsoft dialect: an INVITE that offers m=message
// over sip, MESSAGEs within its dialog, and BYE. To XMPP each is one chat with a
// thread, as RFC 7573 says of sessions over MSRP.
//
// COMPAT(Microsoft): all of sessions.go and session.go.

const (
	maxSessions    = 16_384
	maxOfPair      = 4 // of the same two; the oldest ends
	maxHeld        = 16
	sessionIdle    = 10 * time.Minute
	sessionOpening = time.Minute // for our INVITE to be answered
)

// sessions are those that are open or being opened.
type sessions struct {
	g   *gateway
	max int

	mu     sync.Mutex // guards what follows
	byPair map[ends][]*session
	count  int
}

func newSessions(g *gateway) *sessions {
	return &sessions{g: g, max: maxSessions, byPair: make(map[ends][]*session)}
}

// add enters a session, as the newest of its pair. The oldest of too many is returned:
// it is to be ended. false: there is no room.
func (l *sessions) add(s *session) (oldest *session, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count >= l.max {
		return nil, false
	}
	list := l.byPair[s.pair]
	if len(list) >= maxOfPair {
		oldest, list = list[0], list[1:]
		l.count--
	}
	l.byPair[s.pair] = append(list[:len(list):len(list)], s)
	l.count++
	return oldest, true
}

// drop takes a session out. Nothing is sent.
func (l *sessions) drop(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.byPair[s.pair]
	for i, other := range list {
		if other != s {
			continue
		}
		l.count--
		if len(list) == 1 {
			delete(l.byPair, s.pair)
			return
		}
		l.byPair[s.pair] = append(list[:i:i], list[i+1:]...)
		return
	}
}

// of returns the session of a pair with this thread, else the newest one, nil if there
// is none: who answers is in the conversation that he sees, whatever he calls it.
func (l *sessions) of(who ends, thread string) *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.byPair[who]
	for _, s := range list {
		if thread != "" && s.thread == thread {
			return s
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[len(list)-1]
}

// endAll ends all sessions, since the gateway ends: nobody would know them afterwards.
func (l *sessions) endAll() {
	l.mu.Lock()
	var list []*session
	for _, of := range l.byPair {
		list = append(list, of...)
	}
	l.mu.Unlock()
	for _, s := range list {
		s.hangUp()
	}
}

// size returns how many there are.
func (l *sessions) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// take sends a letter within a session, and begins one where our user wants one. false:
// it goes without.
func (l *sessions) take(w *inward, m *letter) bool {
	g := l.g
	if s := l.of(w.pair, w.thread); s != nil && s.send(w, m) {
		return true
	}
	if !w.chat || !g.traits.wantsSession(w.pair.ours, hostPart(w.userURI)) {
		return false
	}
	s := &session{g: g, pair: w.pair, thread: w.thread, ours: w.to.Bare(), theirs: w.from, oursURI: w.userURI, theirsURI: w.bareURI, proof: w.proof}
	s.held = []heldLetter{{w, m}}
	oldest, ok := l.add(s)
	if !ok {
		return false
	}
	if oldest != nil {
		oldest.hangUp()
	}
	s.invite(w)
	return true
}

// invited answers the INVITE of one of our users (RFC 7573 §5): the gateway does so
// itself, and asks nobody, since XMPP knows no such question.
//
// A first message in the INVITE itself (Ms-Text-Format) is left alone: without "Supported:
// ms-text-format" in the answer it comes again as a MESSAGE, whose answer can say what
// became of it.
func (g *gateway) invited(in *bridges.Incoming) {
	if s, ok := dialogSession(in.Dialog); ok {
		s.invitedAgain(in)
		return
	}
	if in.Dialog != nil {
		in.Answer(bridges.Response{Status: 488}, "")
		return
	}
	w, fault := g.outward(in)
	if fault != nil {
		in.Answer(refusalOfAddress(fault), "")
		return
	}
	o, refusal := g.offerOf(&in.Request)
	if refusal.Status != 0 {
		in.Answer(refusal, "")
		return
	}
	s := g.sessionFor(w, o)
	oldest, ok := g.sessions.add(s)
	if !ok {
		in.Answer(bridges.Response{Status: 480, Fields: bridges.Fields{{Name: "Retry-After", Value: retryAfter}}}, "")
		return
	}
	if oldest != nil {
		oldest.hangUp()
	}
	g.traits.wroteBySession(w.pair.ours, true)
	in.Data = s
	s.accept(in)
}

// offerOf reads what an INVITE offers; refusal, if it has a Status, is the answer where
// that is no session of messages within the dialog. A client that would have had one over
// MSRP, or a call, goes on without then.
func (g *gateway) offerOf(r *bridges.Request) (o *body.Offer, refusal bridges.Response) {
	warn := func(code, text string) bridges.Response {
		return bridges.Response{Status: 488, Fields: bridges.Fields{
			{Name: "Warning", Value: code + " " + g.set.host + " \"" + text + "\""}, // RFC 3261 §20.43
		}}
	}
	if len(r.Body) == 0 {
		return nil, warn("399", "An offer is needed")
	}
	if body.MediaType(r.ContentType) != body.TypeSDP {
		return nil, bridges.Response{Status: 415, Fields: bridges.Fields{{Name: "Accept", Value: body.TypeSDP}}}
	}
	o, ok := body.ReadOffer(r.Body)
	switch {
	case !ok:
		return nil, bridges.Response{Status: 400, Phrase: "Bad session description"}
	case o.Kind == body.MSRPSession:
		return nil, warn("302", "Incompatible transport protocol")
	case o.Kind != body.SIPSession:
		return nil, warn("304", "Media type not available")
	}
	return o, refusal
}

// sessionFor makes the session that one of our users asks for.
func (g *gateway) sessionFor(w *outward, o *body.Offer) *session {
	return &session{
		g: g, pair: w.pair, thread: w.callID, ours: w.from, theirs: w.to,
		oursURI: w.fromURI, theirsURI: w.toURI, hops: w.hops, media: o, proof: ownWord,
	}
}

// dialogSession returns the session of a dialog.
func dialogSession(d *bridges.Dialog) (*session, bool) {
	if d == nil {
		return nil, false
	}
	s, ok := d.Data.(*session)
	return s, ok
}

// updated answers an UPDATE: of a session it changes nothing.
func (g *gateway) updated(in *bridges.Incoming) {
	s, ok := dialogSession(in.Dialog)
	switch {
	case !ok:
		in.Answer(bridges.Response{Status: 481}, "")
	case len(in.Body) > 0:
		s.invitedAgain(in)
	default:
		s.touch()
		in.Answer(bridges.Response{Status: 200}, "")
	}
}

// hungUp takes a BYE: our user has closed the window.
func (g *gateway) hungUp(in *bridges.Incoming) {
	s, ok := dialogSession(in.Dialog)
	if !ok {
		in.Answer(bridges.Response{Status: 481}, "")
		return
	}
	in.Answer(bridges.Response{Status: 200}, "")
	s.ended(true)
}

// gone ends the session of somebody outside who has left the conversation
// (RFC 7573 §6.1). Without a session it means nothing to SIP.
func (g *gateway) gone(w *inward) {
	g.typing.came(w.pair)
	if s := g.sessions.of(w.pair, w.thread); s != nil {
		s.hangUp()
	}
}

// info takes an INFO: the typing notice of older clients.
func (g *gateway) info(in *bridges.Incoming) {
	s, ok := dialogSession(in.Dialog)
	if !ok {
		in.Answer(bridges.Response{Status: 481}, "")
		return
	}
	if in.ContentType == "" && len(in.Body) == 0 {
		in.Answer(bridges.Response{Status: 200}, "") // a sign of life
		return
	}
	kind := body.MediaType(in.ContentType)
	if kind != body.TypeKeyboard {
		in.Answer(bridges.Response{Status: 415, Fields: bridges.Fields{{Name: "Accept", Value: body.TypeKeyboard}}}, "")
		return
	}
	c, err := body.ReadKeyboard(in.Body)
	if err != nil {
		in.Answer(refusalOf(err), "")
		return
	}
	s.keyboard()
	g.typing.fromSIP(s.outward(in), c)
	in.Answer(bridges.Response{Status: 200}, "")
}

// sendGone tells somebody outside that our user has left the conversation
// (XEP-0085 §5.5).
func (g *gateway) sendGone(w *outward) {
	if !g.traits.takesStates(w.pair.theirs) {
		return
	}
	g.sendAlone(w, "gone")
}
