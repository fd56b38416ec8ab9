package home

import (
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// presence is what users have published, and who watches them.
type presence struct {
	mu        sync.Mutex
	documents map[string]publication // by user: one each, the newest
	watchers  map[string]*watcher    // by Call-ID and tags
}

// A publication is the event state of one user (RFC 3903 §4).
type publication struct {
	etag    string
	body    []byte
	expires time.Time
}

// A watcher is one subscription (RFC 6665 §4.2).
type watcher struct {
	user    string // who is watched
	dialog  *dialog
	flow    *flow // a user of ours; nil: somebody behind the edge
	expires time.Time
}

func eventPackage(req *sip.Request) string {
	name, _, _ := strings.Cut(header(req, "Event", "o"), ";")
	return strings.ToLower(strings.TrimSpace(name))
}

// publish is RFC 3903 §6: a user says how he is.
func (s *Server) publish(f *flow, req *sip.Request) {
	user := strings.ToLower(req.Recipient.User)
	life, ok := seconds(header(req, "Expires", ""), defaultExpires)
	switch {
	case !s.isHimself(f, req, user):
		s.respond(f, req, 403, "Not Your Address")
	case eventPackage(req) != "presence":
		s.respond(f, req, 489, "Bad Event", sip.NewHeader("Allow-Events", "presence"))
	case !ok:
		s.respond(f, req, 400, "Bad Expires")
	default:
		etag, err := s.presence.store(user, header(req, "SIP-If-Match", ""), req, life)
		if err != nil {
			s.respond(f, req, err.status, err.reason)
			return
		}
		s.respond(f, req, 200, "OK", sip.NewHeader("SIP-ETag", etag), expiresHeader(life))
		s.notify(user)
	}
}

// isHimself reports whether a request comes from the user whom it is about:
// inside from where he signed in, and outside the edge has looked at From.
func (s *Server) isHimself(f *flow, req *sip.Request, user string) bool {
	from := req.From().Address
	if f.edge {
		return s.isOurs(from) && strings.ToLower(from.User) == user
	}
	return f.signedIn(user)
}

// store keeps, refreshes, changes or removes the publication, by what the
// request has: a body, a SIP-If-Match, both (RFC 3903 §4.1).
func (p *presence) store(user, match string, req *sip.Request, life time.Duration) (etag string, err *fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, had := p.documents[user]
	if match != "" && (!had || old.etag != match) {
		return "", &fault{412, "Conditional Request Failed"}
	}
	body := req.Body()
	switch {
	case len(body) == 0 && match == "":
		return "", &fault{400, "Nothing Published"}
	case len(body) == 0:
		body = old.body
	case header(req, "Content-Type", "c") != pidfType:
		return "", &fault{415, "Unsupported Media Type"}
	default:
		if _, err := ParsePresence(body); err != nil {
			return "", &fault{400, "Bad Presence Document"}
		}
	}
	etag = sip.GenerateTagN(16)
	if life == 0 {
		delete(p.documents, user)
		return etag, nil
	}
	p.documents[user] = publication{etag, body, time.Now().Add(life)}
	return etag, nil
}

func expiresHeader(life time.Duration) sip.Header {
	h := sip.ExpiresHeader(life / time.Second)
	return &h
}

// subscribe is RFC 6665 §4.2.1: a new watcher, one that goes on, or one that
// has seen enough. Each gets the state at once.
func (s *Server) subscribe(f *flow, req *sip.Request) {
	life, ok := seconds(header(req, "Expires", ""), defaultExpires)
	if !ok {
		s.respond(f, req, 400, "Bad Expires")
		return
	}
	w, err := s.watcher(f, req)
	if err != nil {
		s.respond(f, req, err.status, err.reason)
		return
	}
	s.presence.mu.Lock()
	w.dialog.retarget(req)
	w.expires = time.Now().Add(life)
	s.presence.mu.Unlock()

	req.To().Params.Add("tag", w.dialog.local.tag)
	contact := f.side.uri()
	contact.User = "presence"
	contact.UriParams.Remove("lr")
	s.respond(f, req, 200, "OK", &sip.ContactHeader{Address: contact}, expiresHeader(life))
	s.tell(w, time.Now())
}

// watcher finds the subscription that a SUBSCRIBE refreshes, or makes one.
func (s *Server) watcher(f *flow, req *sip.Request) (*watcher, *fault) {
	s.presence.mu.Lock()
	defer s.presence.mu.Unlock()
	if tag, ok := req.To().Params.Get("tag"); ok {
		w := s.presence.watchers[req.CallID().Value()+" "+tag]
		if w == nil || !w.dialog.named(req) {
			return nil, &fault{481, "Subscription Does Not Exist"}
		}
		return w, nil
	}
	user := strings.ToLower(req.Recipient.User)
	if _, ok := s.cfg.Users[user]; !ok || !s.isOurs(req.Recipient) {
		return nil, &fault{404, "Not Found"}
	}
	if contactOf(req) == nil {
		return nil, &fault{400, "Missing Contact"}
	}
	if len(s.presence.watchers) >= maxWatchers {
		return nil, &fault{503, "Too Many Subscriptions"}
	}
	w := &watcher{user: user, dialog: answering(req, sip.GenerateTagN(16))}
	if !f.edge {
		w.flow = f
	}
	s.presence.watchers[w.dialog.key()] = w
	s.ledger.add(req)
	return w, nil
}

// notify tells everybody who watches a user.
func (s *Server) notify(user string) {
	s.presence.mu.Lock()
	var list []*watcher
	for _, w := range s.presence.watchers {
		if w.user == user {
			list = append(list, w)
		}
	}
	s.presence.mu.Unlock()
	for _, w := range list {
		s.tell(w, time.Now())
	}
}

// tell sends one NOTIFY (RFC 6665 §4.2.2), the last one if the time is over.
func (s *Server) tell(w *watcher, now time.Time) {
	body := s.document(w.user)
	s.presence.mu.Lock()
	if s.presence.watchers[w.dialog.key()] != w {
		s.presence.mu.Unlock()
		return
	}
	req := w.dialog.request(sip.NOTIFY)
	left := w.expires.Sub(now)
	state := "active;expires=" + expiresHeader(left.Round(time.Second)).Value()
	if left <= 0 {
		state = "terminated;reason=timeout"
		delete(s.presence.watchers, w.dialog.key())
	}
	s.presence.mu.Unlock()

	req.AppendHeader(sip.NewHeader("Event", "presence"))
	req.AppendHeader(sip.NewHeader("Subscription-State", state))
	req.AppendHeader(sip.NewHeader("Content-Type", pidfType))
	req.SetBody(body)
	s.originate(w, req)
}

// originate sends a request that begins here. Its answer comes to notified.
func (s *Server) originate(w *watcher, req *sip.Request) {
	to := w.flow
	if to == nil {
		var err error
		if to, err = s.edgeFlow(); err != nil {
			s.log.Warn("edge unreachable", "error", err)
			return
		}
	}
	contact := to.side.uri()
	contact.User = "presence"
	contact.UriParams.Remove("lr")
	req.AppendHeader(&sip.ContactHeader{Address: contact})
	via := &sip.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: to.side.transport,
		Host: to.side.addr.Addr().String(), Port: int(to.side.addr.Port()),
	}
	via.Params.Add("branch", s.branch(ourself, to.id, 0, req))
	req.PrependHeader(via)
	if err := to.send(req); err != nil {
		s.log.Info("request lost", "flow", to, "error", err)
	}
}

// notified ends the subscription of a watcher who does not know it any more
// (RFC 6665 §4.2.2).
func (s *Server) notified(res *sip.Response) {
	if res.StatusCode < 300 || res.From() == nil {
		return
	}
	tag, _ := res.From().Params.Get("tag")
	s.presence.mu.Lock()
	defer s.presence.mu.Unlock()
	delete(s.presence.watchers, res.CallID().Value()+" "+tag)
}

// document is what a user has published, or else whether he is signed in.
func (s *Server) document(user string) []byte {
	s.presence.mu.Lock()
	p, ok := s.presence.documents[user]
	s.presence.mu.Unlock()
	if ok {
		return p.body
	}
	_, signedIn := s.registrar.newest(user, "")
	return Presence{Entity: "pres:" + user + "@" + s.cfg.Domain, Open: signedIn}.Document()
}

// expirePresence ends what has had its time.
func (s *Server) expirePresence(now time.Time) {
	var users []string
	var over []*watcher
	s.presence.mu.Lock()
	for user, p := range s.presence.documents {
		if !p.expires.After(now) {
			delete(s.presence.documents, user)
			users = append(users, user)
		}
	}
	for _, w := range s.presence.watchers {
		if !w.expires.After(now) {
			over = append(over, w)
		}
	}
	s.presence.mu.Unlock()
	for _, w := range over {
		s.tell(w, now)
	}
	for _, user := range users {
		s.notify(user)
	}
}
