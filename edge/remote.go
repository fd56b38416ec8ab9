package edge

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

// Remote is what decides about our own users outside. The zero Remote lets nobody in.
type Remote struct {
	Access    *remoteaccess.Access
	Guard     *remoteaccess.Guard     // nil: guesses are not counted
	Directory *remoteaccess.Directory // nil: there is none
}

// A signIn is what the home server's yes has made of a flow: one user's, until
// the registration ends. It is immutable.
type signIn struct {
	*remoteaccess.SignIn
	pool   *pool
	domain []byte        // of User
	routes [][]byte      // Service-Route of the answer (RFC 3608 §5)
	names  [][]byte      // temporary GRUUs that the registrar gave it (RFC 5627 §5.2)
	timer  time.Duration // how often the client was told to show that it lives
}

// Why a flow of a user outside ends.
var (
	errSignInTimeout = errors.New("edge: nobody signed in for too long")
	errKicked        = errors.New("edge: signed out by an administrator")
	errDropped       = errors.New("edge: ended by an administrator")
	errNotEnabled    = errors.New("edge: the user may no longer sign in from outside")
	errReplaced      = errors.New("edge: the device has signed in again on another connection")
	errMixedUp       = errors.New("edge: the home server said yes to what may not be")
)

// user returns who is signed in on a flow, nil if nobody is: not yet, or no longer.
func (f *Flow) user(now time.Time) *signIn {
	s := f.state.signed.Load()
	if s == nil || !now.Before(s.Until) {
		return nil
	}
	return s
}

// admitRemote asks whether a flow that nobody's certificate speaks for may say this.
// Until the home server has said yes to a REGISTER it may say nothing else; then it
// may speak as that user.
func (e *Edge) admitRemote(r *request) allowlists.Verdict {
	r.plan.remote = true
	s := r.f.user(r.began)
	if string(r.m.Method()) == "REGISTER" {
		return e.admitRegister(r, s)
	}
	if s == nil {
		return step(r, "sign-in", "nobody is signed in on this connection", e.notSignedIn(r))
	}
	r.user = s
	if r.note != nil {
		step(r, "sign-in", "assumed: "+s.User, pass)
		e.explainBan(r, s.User, true)
		if v := e.explainAccess(r, &s.Terms); !v.Allowed() {
			return v
		}
	}
	if v := e.speaksAs(r, s); !v.Allowed() {
		return v
	}
	if r.bound && (r.token.kind != tokenUser || string(r.token.party) != s.User) {
		return step(r, "dialog", "another one's token", allowlists.Refusal(allowlists.RouteTokenInvalid, s.Terms.Rule))
	}
	if v := e.termsAllow(r, s, &r.uri, r.to); !v.Allowed() {
		return v
	}
	if c := remoteaccess.ReadCredentials(r.m); c.Present() {
		if v := e.try(r, s.User, true, c); !v.Allowed() {
			return v
		}
	}
	return allowlists.Allowance(allowlists.AccessAllowed, s.Terms.Rule)
}

// notSignedIn is the verdict on what a flow says on which nobody is signed in. One
// whose certificate holds and is no partner's may belong to somebody who would like
// to be one.
func (e *Edge) notSignedIn(r *request) allowlists.Verdict {
	if r.f.Peer != nil && !r.f.Peer.IsZero() && e.poolOf(r.from) == nil && r.note == nil {
		r.plan.remote = false
		if v := e.admitPartner(r); !v.Allowed() {
			return v
		}
		// It has been listed since; as a partner it comes in with its next connection.
		r.grant = federation.Grant{}
	}
	return allowlists.Refusal(allowlists.AccessNotSignedIn, r.f.state.rule)
}

// speaksAs reports whether the request speaks in the name of who is signed in, and of
// nobody else. Within a dialog that may be the name by which he was called.
func (e *Edge) speaksAs(r *request, s *signIn) allowlists.Verdict {
	if !isAddress(&r.fromURI, s.User) && !e.calledSo(r, s) {
		return mismatch(r, "From", s.User)
	}
	for _, h := range [...]sip.Header{sip.PPreferredIdentity, sip.ReferredBy} {
		if r.m.Count(h) == 0 {
			continue
		}
		elems := r.m.Elements(h)
		for elem, ok := elems.Next(); ok; elem, ok = elems.Next() {
			if uri, ok := elementURI(elem); !ok || !isAddress(&uri, s.User) {
				return mismatch(r, h.String(), s.User)
			}
		}
	}
	if r.m.Count(sip.Contact) == 0 {
		return pass
	}
	elems := r.m.Elements(sip.Contact)
	for elem, ok := elems.Next(); ok; elem, ok = elems.Next() {
		if uri, ok := elementURI(elem); !ok || !e.contactOf(&uri, s.User, s.names) {
			return mismatch(r, "Contact", s.User)
		}
	}
	return pass
}

// mismatch is the verdict on a header that names somebody else than the user.
func mismatch(r *request, name, user string) allowlists.Verdict {
	said := name + " is not " + user
	return step(r, "speaker", said, allowlists.Refusal(allowlists.AccessFromMismatch, allowlists.Rule{Name: said}))
}

// contactOf reports whether a Contact may be that of a user. It says where the device
// is, which may be anything and is never dialled: what is for the device comes to this
// flow. But in a domain of ours it is a name: the user's own, or one that the registrar
// made for it (RFC 5627 §3.1), which are the names.
func (e *Edge) contactOf(uri *sip.URI, user string, names [][]byte) bool {
	var room [256]byte
	if e.poolOf(sip.AppendDomain(room[:0], uri.Host)) == nil || isAddress(uri, user) {
		return true
	}
	return len(uri.User) > 0 && slices.ContainsFunc(names, func(n []byte) bool { return bytes.Equal(n, uri.User) })
}

// isAddress reports whether a URI is that of an address of record in normal form.
func isAddress(uri *sip.URI, address string) bool {
	var room [maxParty + 1]byte
	a, ok := appendAOR(room[:0], uri)
	return ok && string(a) == address
}

// sameAddress reports whether two URIs are written so alike that they have the same
// address of record, if they have one.
func sameAddress(a, b *sip.URI) bool {
	return a.Password == nil && b.Password == nil && bytes.Equal(a.User, b.User) && bytes.Equal(a.Host, b.Host) && bytes.Equal(a.Scheme, b.Scheme)
}

// appendAOR appends the address of record that a URI names, in normal form: as it is
// shown, so that who is signed in is found by what a person writes, and short enough
// for our tokens.
func appendAOR(dst []byte, uri *sip.URI) ([]byte, bool) {
	if !uri.IsSIP() || len(uri.User) == 0 || uri.Password != nil {
		return dst, false
	}
	var room [maxParty]byte
	user, ok := allowlists.AppendUser(room[:0], uri.User)
	if !ok {
		return dst, false
	}
	from := len(dst)
	dst = append(allowlists.AppendShown(dst, user), '@')
	if len(dst)-from+len(uri.Host) > maxParty {
		return dst, false
	}
	return sip.AppendDomain(dst, uri.Host), true
}

// termsAllow asks whether what is between a user outside and somebody else may be: of this
// kind, and with other companies.
func (e *Edge) termsAllow(r *request, s *signIn, other *sip.URI, domain []byte) allowlists.Verdict {
	t := &s.Terms
	if t.Kinds != remoteaccess.AllKinds {
		if k := kindsOf(r.m); k&^t.Kinds != 0 {
			v := allowlists.Refusal(allowlists.AccessKind, t.KindsRule)
			return step(r, "kinds", k.String()+"; may: "+t.Kinds.String(), notAcceptable(r.m, v))
		}
	}
	if t.Federation && t.Bridges || r.bound || e.poolOf(domain) != nil || isTelephone(other) || e.asksUs(r) {
		return pass
	}
	switch bridged := e.crosses(r, domain, t.Federation != t.Bridges); {
	case bridged && !t.Bridges:
		return step(r, "bridges", domain, allowlists.Refusal(allowlists.AccessBridges, t.BridgesRule))
	case !bridged && !t.Federation:
		return step(r, "federation", domain, allowlists.Refusal(allowlists.AccessFederation, t.FederationRule))
	}
	return pass
}

// crosses reports whether what is between a user outside and somebody of a foreign
// domain goes by a bridge. Where that depends on DNS, and matters, it is asked, as for
// a partner whom nobody knows, while the user's connection waits.
func (e *Edge) crosses(r *request, domain []byte, matters bool) bool {
	if e.bridges == nil {
		return false
	}
	if r.f.Role == RoleInternal && r.m.Count(sip.SipedgeBridge) > 0 {
		return true // we said so when it came in
	}
	pin, tier := e.partners.Load().Network(domain)
	switch {
	case pin != "":
		return pin != federation.NetworkSIP
	case r.tunnel != nil, e.outside == nil:
		return true
	}
	switch e.sipService(domain, tier) {
	case serviceThere:
		return false
	case serviceAbsent:
		return true
	}
	if !matters || r.f.Role != RoleRemote {
		return false // nor does a home server wait for DNS: all of the company is behind it
	}
	_, err := e.edgesOf(r, tier, string(domain))
	return locate.NoService(err)
}

// isTelephone reports whether a URI is a telephone number in nobody's domain (RFC 3966). No
// partner can have it in From, and where it leads the home server knows.
func isTelephone(u *sip.URI) bool { return bytes.EqualFold(u.Scheme, []byte("tel")) }

// groupsOf asks the directory, if lists need it.
func (e *Edge) groupsOf(r *request, user, domain []byte) ([]string, error) {
	if e.remote.Directory == nil || !e.access.Load().AsksGroupsOf(user, domain) {
		return nil, nil
	}
	if r.turn != nil {
		r.turn.end() // what is queued for others must not wait with us
	}
	return e.remote.Directory.Groups(e.ctx, string(user), string(domain))
}
