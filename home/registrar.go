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

// A binding is one place where a user is signed in: a contact and the way that
// leads there. Inside that is a connection, not the address in the contact
// (RFC 5626 §3.1); outside it is the Path through the edge, whose connection
// that is.
type binding struct {
	user     string
	contact  sip.Uri
	params   sip.HeaderParams // of the contact, without expires
	instance string
	key      string   // instance and reg-id; "": the contact is the key
	flow     *flow    // inside; nil for one through the edge
	path     []string // through the edge
	number   uint64   // names the binding as long as its way is the same
	expires  time.Time
}

// The registrar is the location table (RFC 3261 §10.3).
type registrar struct {
	mu       sync.Mutex
	bindings map[string][]binding // by user, the newest first
	next     uint64
}

// register is RFC 3261 §10.3: who asks, has he the password, what changes.
func (s *Server) register(f *flow, req *sip.Request) {
	if unknown := unknownExtensions(req); unknown != "" {
		s.respond(f, req, 420, "Bad Extension", sip.NewHeader("Unsupported", unknown))
		return
	}
	user, p := s.proves(f, req)
	switch p {
	case unproved, stale:
		s.challenge(f, req, p == stale)
		return
	case wrong:
		s.log.Info("wrong password", "flow", f, "user", user)
		s.respond(f, req, 403, "Wrong User Or Password")
		if !f.edge && f.guessed() { // the edge's connection is everybody's, and the edge counts
			f.close()
		}
		return
	}
	if to := req.To().Address; !s.isOurs(to) || strings.ToLower(to.User) != user {
		s.respond(f, req, 403, "Not Your Address")
		return
	}
	if !f.edge {
		f.signIn(user)
	}
	reg, err := readRegistration(f, req)
	if err == nil {
		err = s.registrar.update(user, f, reg)
	}
	if err != nil {
		s.refuseRegister(f, req, err)
		return
	}
	s.respond(f, req, 200, "OK", s.granted(user, req, reg)...)
	s.notify(user)
}

// refuseRegister names the extension that a 421 misses (RFC 3261 §21.4.16).
func (s *Server) refuseRegister(f *flow, req *sip.Request, err *fault) {
	s.log.Info("request refused", "flow", f, "method", req.Method, "status", err.status, "error", err)
	if err.status == 421 {
		s.respond(f, req, err.status, err.reason, sip.NewHeader("Require", "path"))
		return
	}
	s.respond(f, req, err.status, err.reason)
}

// update writes a registration into the table, all of it or nothing. One
// without contacts only asks.
func (r *registrar) update(user string, f *flow, reg registration) *fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	var after []binding
	if !reg.all {
		after = slices.Clone(r.bindings[user])
	}
	for _, c := range reg.contacts {
		b := r.bind(user, f, reg, c)
		if i := slices.IndexFunc(after, c.replaces); i >= 0 && after[i].sameWay(b) {
			b.number = after[i].number // what is under way finds it
		}
		after = slices.DeleteFunc(after, c.replaces)
		if c.life > 0 {
			after = slices.Insert(after, 0, b)
		}
	}
	if len(after) > maxBindings {
		if !f.edge {
			return &fault{403, "Signed In Too Often"}
		}
		// Nobody tells us at once that a user outside has gone, so the oldest
		// makes room.
		after = after[:maxBindings]
	}
	r.set(user, after)
	return nil
}

func (r *registrar) bind(user string, f *flow, reg registration, c contact) binding {
	r.next++
	b := binding{
		user: user, contact: c.uri, params: c.params, instance: c.instance, key: c.key,
		number: r.next, expires: time.Now().Add(c.life),
	}
	if f.edge {
		b.path = reg.path
	} else {
		b.flow = f
	}
	return b
}

// sameWay reports whether a request to b goes where one to other goes.
func (b binding) sameWay(other binding) bool {
	return b.flow == other.flow && slices.Equal(b.path, other.path) && sameContact(b.contact, other.contact)
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
	text, ok := param(c.Params, "expires")
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

// contacts is what the user has now, for the 200, with GRUUs in a domain unless
// that is empty.
func (r *registrar) contacts(user, domain string) []sip.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []sip.Header
	for _, b := range r.bindings[user] {
		h := &sip.ContactHeader{Address: *b.contact.Clone(), Params: b.params.Clone()}
		h.Params.Add("expires", strconv.Itoa(int(time.Until(b.expires).Round(time.Second)/time.Second)))
		if g := gruu(user, domain, b.instance); g != "" {
			h.Params.Add("pub-gruu", g)
		}
		list = append(list, h)
	}
	return list
}

// newest returns where the user signed in last; with the URN of an instance,
// where that one did.
func (r *registrar) newest(user, urn string) (binding, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.bindings[user] {
		if urn == "" || strings.EqualFold(b.instance, `"<`+urn+`>"`) {
			return b, true
		}
	}
	return binding{}, false
}

// contact finds the sign-in whose contact a request in a dialog names. That of
// the user who is spoken to counts first: anybody may sign in with the contact
// of somebody else.
func (r *registrar) contact(u sip.Uri, user string) (binding, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	named := func(b binding) bool { return sameContact(b.contact, u) }
	if i := slices.IndexFunc(r.bindings[user], named); i >= 0 {
		return r.bindings[user][i], true
	}
	for _, list := range r.bindings {
		if i := slices.IndexFunc(list, named); i >= 0 {
			return list[i], true
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

// dropNumber forgets one sign-in, and names its user.
func (r *registrar) dropNumber(n uint64) []string {
	return r.drop(func(b binding) bool { return b.number == n })
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
