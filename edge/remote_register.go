package edge

import (
	"bytes"
	"errors"
	"strings"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

// A registration is what a REGISTER from outside asks for. It lives as long as its
// transaction.
type registration struct {
	user     string // address of record in normal form
	domain   []byte
	pool     *pool
	device   string
	instance []byte // +sip.instance, with its quotes; nil without
	regID    string
	contact  []byte // the first one's URI, in its one spelling; nil: it only asks
	asked    time.Duration
	named    bool // the client has brought a temporary GRUU, which is the registrar's to give
	firstHop bool // nobody stands between the client and us
	agent    string
	groups   []string
	access   *remoteaccess.Access // whose terms these are
	terms    remoteaccess.Terms
	path     []byte // the token of our Path
}

// Bounds of a REGISTER.
const (
	maxContacts  = 10      // of one REGISTER
	maxDevice    = 256     // octets of what tells devices apart
	maxAgent     = 100     // octets of a client's name for itself that are kept
	maxServices  = 8       // values of Service-Route
	maxServiceAt = 1 << 10 // octets of them
	maxNames     = 16      // temporary GRUUs of one flow
)

// admitRegister asks whether a flow may ask the home server to sign somebody in: for a
// domain of ours, in the name of whom is to be signed in, and one user on one flow.
// Who asks in the name of somebody who may not sign in from outside is challenged as
// anybody is, and refused when the answer comes: else one could ask who may.
func (e *Edge) admitRegister(r *request, s *signIn) allowlists.Verdict {
	if r.bound {
		return step(r, "dialog", "a REGISTER is in none", allowlists.Refusal(allowlists.RouteTokenInvalid, r.f.state.rule))
	}
	reg, v := e.readRegister(r, s)
	if !v.Allowed() {
		return v
	}
	if v := e.paceOf(r, s); !v.Allowed() {
		return v
	}
	groups, err := e.groupsOf(r, r.fromURI.User, reg.domain)
	if err != nil && !errors.Is(err, remoteaccess.ErrDirectoryAway) {
		e.log.Error(logDirectory, keyErr, err)
	}
	if err != nil && s != nil {
		groups, err = s.Groups, nil // what is known of who is signed in
	}
	reg.groups, reg.access = groups, e.access.Load()
	reg.terms = reg.access.Terms(r.fromURI.User, reg.domain, groups)
	var refused allowlists.Verdict
	switch {
	case err != nil && !reg.terms.Allow:
		refused = allowlists.Refusal(allowlists.AccessDirectoryAway, reg.terms.Rule)
	case !reg.terms.Allow:
		refused = allowlists.Refusal(allowlists.AccessNotEnabled, reg.terms.Rule)
	case !e.users.Room(reg.user, reg.device, r.f.ID, reg.terms.Devices) && reg.contact != nil && reg.asked > 0:
		refused = allowlists.Refusal(allowlists.AccessDevices, reg.terms.DevicesRule)
	}
	if v := e.tryRegister(r, reg, s != nil, refused); !v.Allowed() {
		return v
	}
	r.plan.signIn = reg
	return allowlists.Allowance(allowlists.AccessSigningIn, reg.terms.Rule)
}

// tryRegister judges the credentials of a REGISTER, and one that must be refused.
// Who may not sign in, who is locked out and who does not exist are not told apart:
// without credentials, or with such as only begin an exchange, each is challenged by the
// home server, and with a guess each gets the same answer.
func (e *Edge) tryRegister(r *request, reg *registration, signed bool, refused allowlists.Verdict) allowlists.Verdict {
	enabled := refused.Reason == allowlists.ReasonNone
	if r.note != nil {
		e.explainBan(r, reg.user, signed)
		return e.explainAccess(r, &reg.terms)
	}
	if !enabled && signed {
		e.endSignIn(r.f, errNotEnabled) // it was let in once, and is no longer
		return refused
	}
	c := remoteaccess.ReadCredentials(r.m)
	v := e.try(r, reg.user, signed, c)
	switch {
	case !c.Guess() && !c.Broken && (r.lockedUser || v.Allowed() && !enabled):
		r.plan.hide = true
		return pass
	case !v.Allowed():
		return v
	case refused.Reason == allowlists.AccessNotEnabled:
		r.trial.Settle(remoteaccess.OutcomeFailed) // as if they had been tried, and were wrong
		return refused
	case !enabled: // for now: nobody guesses with what is not tried, and many may come at once
		return refused
	}
	return pass
}

// readRegister reads what a REGISTER asks for. What it says of addresses is believed
// of nobody: they are all the user's own, or it is refused.
func (e *Edge) readRegister(r *request, s *signIn) (*registration, allowlists.Verdict) {
	p := e.poolOf(r.to)
	if p == nil || len(r.uri.User) > 0 || !r.uri.IsSIP() {
		// RFC 3261 §10.2: the Request-URI is a domain.
		return nil, step(r, "domain", r.to, allowlists.Refusal(allowlists.AccessNotSignedIn, r.f.state.rule))
	}
	to, err := r.m.ToURI()
	var room [maxParty + 1]byte
	user, ok := appendAOR(room[:0], &to)
	// RFC 3261 §10.3 step 5: the user must be one of the domain in the Request-URI.
	if err != nil || !ok || !bytes.Equal(domainPart(user), r.to) || !sameAddress(&r.fromURI, &to) && !isAddress(&r.fromURI, string(user)) {
		// RFC 3261 §10.2 knows a third party that registers somebody else. From
		// outside there is none.
		return nil, step(r, "speaker", "From and To of a REGISTER are one user of ours",
			allowlists.Refusal(allowlists.AccessFromMismatch, allowlists.Rule{Name: "From and To of a REGISTER"}))
	}
	if s != nil && s.User != string(user) {
		return nil, mismatch(r, "To", s.User)
	}
	reg := &registration{pool: p, asked: lifetime(r.m, defaultLifetime)}
	agent := r.m.Value(sip.UserAgent)
	agent = agent[:min(len(agent), maxAgent)]
	if s != nil {
		reg.user, reg.domain = s.User, s.domain
		reg.agent = kept(s.Agent, agent)
	} else {
		reg.user, reg.domain = string(user), bytes.Clone(domainPart(user))
		reg.agent = clean(string(agent))
	}
	if v := e.readContacts(r, reg, s); !v.Allowed() {
		return nil, v
	}
	return reg, e.readHops(r, reg)
}

// kept is text as a string, safe to show: the one that was kept of the last time, if
// it is the same. Most who register do so again and again, and bring nothing new.
func kept(last string, text []byte) string {
	if string(text) == last && isPlain(last) { // else it only looks like what was made of another
		return last
	}
	return clean(string(text))
}

// domainPart is what stands behind the @ of an address of record.
func domainPart(aor []byte) []byte { return aor[bytes.LastIndexByte(aor, '@')+1:] }

// clipped is text of somebody else, cut and made safe to show.
func clipped(b []byte, most int) string { return clean(string(b[:min(len(b), most)])) }

// readContacts reads the Contacts of a REGISTER (RFC 3261 §10.2.1).
func (e *Edge) readContacts(r *request, reg *registration, s *signIn) allowlists.Verdict {
	elems := r.m.Elements(sip.Contact)
	n, numbered, wanted, header := 0, 0, 0, reg.asked
	for elem, ok := elems.Next(); ok; elem, ok = elems.Next() {
		if n++; n > maxContacts {
			return fault(sip.Faultf(400, "Too many Contacts"))
		}
		if string(elem) == "*" {
			// RFC 3261 §10.2.2: alone, and with Expires: 0.
			if n > 1 || header != 0 {
				return fault(sip.Faultf(400, "Contact: * needs Expires: 0"))
			}
			reg.contact = []byte("*")
			continue
		}
		addr, err := sip.ParseNameAddr(elem)
		if err != nil || string(reg.contact) == "*" {
			return fault(sip.Faultf(400, "Malformed Contact"))
		}
		uri, err := sip.ParseURI(addr.URI)
		if err != nil || !uri.IsSIP() {
			return fault(sip.Faultf(400, "Malformed Contact"))
		}
		if !e.contactOf(&uri, reg.user, namesOf(s)) {
			return mismatch(r, "Contact", reg.user)
		}
		p := readContactParams(addr.Params)
		asked := p.lifetime(header)
		if asked > 0 {
			wanted++
		}
		if p.numbered && asked > 0 {
			numbered++
		}
		reg.named = reg.named || p.gruu != nil
		if reg.contact == nil || reg.asked == 0 && asked > 0 {
			reg.read(addr.URI, p, asked)
		}
	}
	if numbered > 0 && wanted > 1 {
		return fault(sip.Faultf(400, "A flow is registered alone")) // RFC 5626 §6
	}
	reg.nameDevice(r, s)
	return pass
}

// read takes a Contact for that of this device.
func (reg *registration) read(uri []byte, p contactParams, asked time.Duration) {
	reg.contact, reg.asked = spelling(uri), asked
	reg.instance, reg.regID = nil, ""
	if len(p.instance) > 0 {
		reg.instance = bytes.Clone(p.instance[:min(len(p.instance), maxDevice)])
	}
	if p.numbered && len(p.regID) <= 10 && reg.instance != nil {
		reg.regID = string(p.regID) // without an instance it means nothing (RFC 5626 §6)
	}
}

// nameDevice tells the device from others of its user: by instance and reg-id
// (RFC 5626 §4.1), the endpoint of the Microsoft dialect, or the Contact, by which
// registrars know it (RFC 3261 §10.2.4).
func (reg *registration) nameDevice(r *request, s *signIn) {
	if s != nil && reg.isDevice(s.Device) {
		reg.device = s.Device
		return
	}
	from, _ := r.m.From()
	epid, _ := from.Param("epid")
	switch {
	case reg.instance != nil:
		reg.device = strings.TrimSpace("instance " + strings.Trim(strings.ToLower(string(reg.instance)), `"<>`) + " " + reg.regID)
	case len(epid) > 0 && len(epid) <= maxDevice:
		reg.device = "epid " + string(epid)
	default:
		reg.device = "contact " + string(reg.contact[:min(len(reg.contact), maxDevice)])
	}
}

// isDevice reports whether a name is that of this device for sure: by instance and
// reg-id as they came. It is for the many REGISTERs that bring nothing new.
func (reg *registration) isDevice(name string) bool {
	name, ok := strings.CutPrefix(name, "instance ")
	id := bytes.Trim(reg.instance, `"<>`)
	return ok && reg.regID != "" && len(name) == len(id)+1+len(reg.regID) &&
		name[:len(id)] == string(id) && name[len(id)] == ' ' && name[len(id)+1:] == reg.regID
}

// namesOf are the temporary GRUUs of who is signed in.
func namesOf(s *signIn) [][]byte {
	if s == nil {
		return nil
	}
	return s.names
}

// readHops finds out whether we are the first hop (RFC 5626 §5.1). If we are not and
// the client wants a flow of its own, somebody between us would have had to say that
// it knows how.
func (e *Edge) readHops(r *request, reg *registration) allowlists.Verdict {
	reg.firstHop = r.m.Vias() == 1
	if reg.firstHop || reg.regID == "" || !lists(r.m, sip.Supported, "outbound") {
		return pass
	}
	paths := r.m.Elements(sip.Path)
	last, ok := paths.Next()
	for next, more := last, ok; more; next, more = paths.Next() {
		last = next
	}
	if uri, ok := elementURI(last); ok {
		if _, ob := sip.Param(uri.Params, "ob"); ob {
			return pass
		}
	}
	return step(r, "outbound", "a hop before us does not know it", allowlists.Refusal(allowlists.AccessFirstHop, allowlists.Rule{}))
}

// lists reports whether a header with a list of words has one of them.
func lists(m *sip.Message, h sip.Header, word string) bool {
	if m.Count(h) == 0 {
		return false
	}
	elems := m.Elements(h)
	for elem, ok := elems.Next(); ok; elem, ok = elems.Next() {
		if strings.EqualFold(string(elem), word) {
			return true
		}
	}
	return false
}

// path puts our Path on a REGISTER, with the token of the flow that it came on
// (RFC 3327 §5.2, RFC 5626 §5.1). Registrars that know no Path would reach the client
// by its Contact, which leads nowhere from inside; so it is put on whether the client
// says that it knows Path or not, which it need not.
func (p *plan) path(s *scratch, x *tx) {
	if p.hide {
		s.edit.Drop = withoutContact
		return
	}
	// A registrar takes no sips Contact without a sips Path (RFC 5630 §5.2).
	s.near = p.signIn.pool.side.appendRoute(s.near[:0], p.signIn.path, p.sips)
	if p.signIn.firstHop {
		s.near = append(s.near[:len(s.near)-1], ";ob>"...)
	}
	s.edit.PushPath = s.near
}

// A pathToken is the token of our Path that was last made for a flow: it is the same as
// long as the same device registers there.
type pathToken struct {
	user, device string
	pool         *pool
	text         []byte
}

// pathToken returns the token of our Path for a registration. It is the reader's alone.
func (f *Flow) pathToken(s *signer, reg *registration) []byte {
	if p := f.state.path; p != nil && p.user == reg.user && p.device == reg.device && p.pool == reg.pool {
		return p.text
	}
	k := token{
		kind: tokenPath, pool: s.name(0, reg.pool.name), flow: f.ID,
		device: s.digest(0, []byte(reg.user), []byte(reg.device)), party: []byte(reg.user),
	}
	p := &pathToken{user: reg.user, device: reg.device, pool: reg.pool, text: s.seal(nil, &k)}
	f.state.path = p
	return p.text
}
