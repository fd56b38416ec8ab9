package home

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

const (
	defaultExpires = time.Hour
	maxExpires     = 2 * time.Hour
)

// A binding is one place where a user is signed in: a contact and the
// connection that leads there (RFC 5626 §3.1: the connection is the way, not
// the address in the contact).
type binding struct {
	user    string
	contact sip.Uri
	flow    *flow
	expires time.Time
}

// The registrar is the location table (RFC 3261 §10.3).
type registrar struct {
	mu       sync.Mutex
	bindings map[string][]binding // by user, the newest first
}

// register is RFC 3261 §10.3: who asks, has he the password, what changes.
func (s *Server) register(f *flow, req *sip.Request) {
	user, p := s.proves(f, req)
	switch p {
	case unproved, stale:
		s.challenge(f, req, p == stale)
		return
	case wrong:
		s.log.Info("wrong password", "flow", f, "user", user)
		s.respond(f, req, 403, "Wrong User Or Password")
		if f.guessed() {
			f.close()
		}
		return
	}
	if to := req.To().Address; !s.isOurs(to) || strings.ToLower(to.User) != user {
		s.respond(f, req, 403, "Not Your Address")
		return
	}
	f.signIn(user)
	if err := s.registrar.update(user, f, req); err != nil {
		s.respond(f, req, err.status, err.reason)
		return
	}
	s.respond(f, req, 200, "OK", s.registrar.contacts(user)...)
	s.notify(user)
}

// update writes the contacts of a REGISTER into the table, all or none. A
// REGISTER without contacts only asks.
func (r *registrar) update(user string, f *flow, req *sip.Request) *fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	after := slices.Clone(r.bindings[user])
	for _, h := range req.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok {
			return &fault{400, "Bad Contact"}
		}
		life, ok := lifetime(req, c)
		if !ok {
			return &fault{400, "Bad Expires"}
		}
		if c.Address.Wildcard {
			if life != 0 {
				return &fault{400, "Bad Contact"} // RFC 3261 §10.2.2
			}
			after = nil
			continue
		}
		after = slices.DeleteFunc(after, func(b binding) bool { return sameContact(b.contact, c.Address) })
		if life > 0 {
			after = slices.Insert(after, 0, binding{user, *c.Address.Clone(), f, time.Now().Add(life)})
		}
	}
	if len(after) > maxBindings {
		return &fault{403, "Signed In Too Often"}
	}
	r.set(user, after)
	return nil
}

func (r *registrar) set(user string, list []binding) {
	if len(list) == 0 {
		delete(r.bindings, user)
		return
	}
	r.bindings[user] = list
}

// lifetime is the contact's own expires, the request's, or ours, in this order
// (RFC 3261 §10.2.1.1).
func lifetime(req *sip.Request, c *sip.ContactHeader) (time.Duration, bool) {
	text, ok := c.Params.Get("expires")
	if !ok {
		text = header(req, "Expires", "")
	}
	return seconds(text, defaultExpires)
}

func seconds(text string, otherwise time.Duration) (time.Duration, bool) {
	if text == "" {
		return otherwise, true
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, false
	}
	return min(time.Duration(n)*time.Second, maxExpires), true
}

// contacts is what the user has now, for the 200 (RFC 3261 §10.3 step 8).
func (r *registrar) contacts(user string) []sip.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []sip.Header
	for _, b := range r.bindings[user] {
		h := &sip.ContactHeader{Address: *b.contact.Clone()}
		h.Params.Add("expires", strconv.Itoa(int(time.Until(b.expires).Round(time.Second)/time.Second)))
		list = append(list, h)
	}
	return list
}

// newest returns where the user signed in last.
func (r *registrar) newest(user string) (binding, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if list := r.bindings[user]; len(list) > 0 {
		return list[0], true
	}
	return binding{}, false
}

// contact finds the sign-in whose contact a request in a dialog names.
func (r *registrar) contact(u sip.Uri) (binding, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, list := range r.bindings {
		for _, b := range list {
			if sameContact(b.contact, u) {
				return b, true
			}
		}
	}
	return binding{}, false
}

// sameContact is RFC 3261 §19.1.4 for what contacts of this server look like.
func sameContact(a, b sip.Uri) bool {
	return a.Scheme == b.Scheme && a.User == b.User && strings.EqualFold(a.Host, b.Host) && a.Port == b.Port
}

// dropFlow forgets the sign-ins over a connection that has ended, and names
// their users.
func (r *registrar) dropFlow(f *flow) []string {
	return r.drop(func(b binding) bool { return b.flow == f })
}

// expire forgets the sign-ins whose time is over, and names their users.
func (r *registrar) expire(now time.Time) []string {
	return r.drop(func(b binding) bool { return !b.expires.After(now) })
}

func (r *registrar) drop(gone func(binding) bool) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var users []string
	for user, list := range r.bindings {
		if !slices.ContainsFunc(list, gone) {
			continue
		}
		r.set(user, slices.DeleteFunc(slices.Clone(list), gone))
		users = append(users, user)
	}
	return users
}
