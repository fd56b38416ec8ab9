package edge

import (
	"bytes"
	"strconv"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

// registered is told of the final answer to a REGISTER from outside, before it goes
// back, and returns why it may not: one must not be told that it is signed in where it
// is not. All else that a home server says goes back also to who may not sign in: what
// it says to one of two, and not to the other, would tell them apart. The caller holds
// x.mu.
func (x *tx) registered(m *sip.Message) error {
	reg, e, f := x.plan.signIn, x.edge, x.flow
	switch {
	case m.Status()/100 != 2:
		return nil
	case x.plan.hide:
		return errNotEnabled
	case f.closed():
		return nil // who signs out and hangs up waits for no answer, and nobody is signed in on this
	}
	if reg.contact == nil {
		return nil // it asked, and knows the password; a flow belongs to who registers on it
	}
	x.knowsPath(m)
	left, mine := reg.granted(m)
	if left <= 0 {
		if s := f.state.signed.Load(); s == nil || reg.takesBack(s) {
			e.endSignIn(f, nil) // not where it was another device's registration that was taken back
		}
		return nil
	}
	if reg.named {
		mine = contactParams{} // a registrar may have sent back what it was sent
	}
	s := x.newSignIn(m, left)
	return e.signIn(f, s, reg.access, mine)
}

// newSignIn is what a registration that was granted makes of the flow.
func (x *tx) newSignIn(m *sip.Message, left time.Duration) *signIn {
	reg, e, f := x.plan.signIn, x.edge, x.flow
	in := new(struct { // in one piece: the two live as long
		signIn
		shown remoteaccess.SignIn
	})
	contact, last := reg.contact[:min(len(reg.contact), maxDevice)], ""
	if before := f.state.signed.Load(); before != nil {
		last = before.Contact
	}
	now := time.Now()
	shown := &in.shown // field by field: it is large, and would be copied
	shown.User, shown.Flow, shown.Device, shown.Agent = reg.user, f.ID, reg.device, reg.agent
	shown.Contact = kept(last, contact)
	shown.Transport, shown.Remote = f.Transport().String(), f.Remote
	shown.Since, shown.Refreshed, shown.Until = now, now, now.Add(left)
	shown.Outbound = lists(m, sip.Require, "outbound")
	shown.Groups, shown.Terms = reg.groups, reg.terms
	s := &in.signIn
	s.SignIn, s.pool, s.domain, s.routes = shown, reg.pool, reg.domain, e.serviceRoutes(f, m)
	s.timer = seconds(m.Value(sip.FlowTimer), e.flowTimer) // a registrar may have said it
	return s
}

// takesBack reports whether a registration that ends is that by which somebody signed in.
// Not every client names its instance again when it takes its address back.
func (reg *registration) takesBack(s *signIn) bool {
	return string(reg.contact) == "*" || s.Device == reg.device || reg.instance == nil && s.Contact == clipped(reg.contact, maxDevice)
}

// knowsPath warns of a registrar that seems not to know Path: one that does repeats it to
// a client that asks (RFC 3327 §5.3). Without it home servers would look for the client at
// the address in its Contact, which may be any. The caller holds x.mu.
func (x *tx) knowsPath(m *sip.Message) {
	p := x.plan.signIn.pool
	if m.Count(sip.Path) > 0 || p.pathless.Load() {
		return
	}
	req := x.edge.index(x.req)
	if req == nil {
		return
	}
	if lists(req, sip.Supported, "path") && p.pathless.CompareAndSwap(false, true) {
		x.edge.log.Warn(logNoPath, keyPool, p.name, keyTarget, x.link.String())
	}
	x.edge.messages.Put(req)
}

// unregistered answers a REGISTER whose answer may not go back. The caller holds x.mu.
func (x *tx) unregistered(t *turn, err error) {
	x.audit.reason = allowlists.AccessNotEnabled
	if err == errMixedUp {
		x.audit.reason = allowlists.AccessDevices
	}
	x.finish(x.instead(t, 403))
	if !x.plan.hide {
		x.flow.finish(err)
	}
}

// granted is how long the registrar keeps what was registered; none: it is out. mine
// is the Contact in its answer, if it can be told.
func (reg *registration) granted(m *sip.Message) (left time.Duration, mine contactParams) {
	if string(reg.contact) == "*" {
		return 0, mine
	}
	otherwise := lifetime(m, reg.asked)
	elems := m.Elements(sip.Contact)
	n := 0
	var only contactParams
	for elem, ok := elems.Next(); ok && n < 100; elem, ok = elems.Next() {
		addr, err := sip.ParseNameAddr(elem)
		if err != nil {
			continue
		}
		p := readContactParams(addr.Params)
		if n++; reg.is(addr.URI, &p) {
			return p.lifetime(otherwise), p
		}
		only = p
	}
	switch {
	case reg.asked == 0:
		return 0, mine // it is not in the list: that was the wish
	case n == 1:
		return only.lifetime(otherwise), only // a registrar that writes Contacts anew
	}
	return otherwise, mine
}

// is reports whether a Contact in an answer is what was registered.
func (reg *registration) is(uri []byte, p *contactParams) bool {
	if reg.instance != nil && p.tracked {
		return bytes.EqualFold(p.instance, reg.instance) && (len(p.regID) == 0 || reg.regID == "" || string(p.regID) == reg.regID)
	}
	return bytes.Equal(spelling(uri), reg.contact)
}

// serviceRoutes are the ways that the registrar wants the client's requests to take
// (RFC 3608 §5): who is signed in may bring these as Route, and no other. Those on top
// that are ours, as a home server may write them, are for the client alone.
func (e *Edge) serviceRoutes(f *Flow, m *sip.Message) (routes [][]byte) {
	if m.Count(sip.ServiceRoute) == 0 {
		return nil
	}
	elems := m.Elements(sip.ServiceRoute)
	octets := 0
	for elem, ok := elems.Next(); ok; elem, ok = elems.Next() {
		addr, err := sip.ParseNameAddr(elem)
		if octets += len(elem); err != nil || len(routes) == maxServices || octets > maxServiceAt {
			return nil
		}
		if uri, ok := elementURI(elem); ok && len(routes) == 0 && (e.isOurRoute(uri) || e.isOurOwn(f, uri)) {
			continue
		}
		routes = append(routes, spelling(addr.URI))
	}
	return routes
}

// gruus are the temporary names that an answer gives a client (RFC 5627 §5.2), after
// those that it had: they hold until it registers anew altogether.
func gruus(p contactParams, before [][]byte) [][]byte {
	if p.gruu == nil || len(p.gruu) > maxDevice {
		return before
	}
	uri, err := sip.ParseURI(bytes.Trim(p.gruu, `"`))
	if err != nil || len(uri.User) == 0 {
		return before
	}
	names := append(before[:len(before):len(before)], bytes.Clone(uri.User))
	return names[max(0, len(names)-maxNames):]
}

// toUser adds to an answer what our user outside is told by the edge itself.
func (p *plan) toUser(s *scratch, x *tx, m *sip.Message) {
	if s.edit.Add == nil {
		s.lines = s.lines[:0]
	}
	if p.signIn == nil || m.Status()/100 != 2 || m.Count(sip.FlowTimer) > 0 || !lists(m, sip.Require, "outbound") {
		return
	}
	if p.signIn.firstHop {
		// RFC 5626 §5.4: so that a dead flow is noticed, and the client knows how
		// often to show that it lives.
		s.lines = append(s.lines, "Flow-Timer: "...)
		s.lines = strconv.AppendInt(s.lines, int64(x.edge.flowTimer/time.Second), 10)
		s.lines = append(s.lines, "\r\n"...)
		s.edit.Add = s.lines
	}
}
