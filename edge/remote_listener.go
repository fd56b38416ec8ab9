package edge

import (
	"errors"
	"time"

	"github.com/sipedge/sipedge/certs"
)

var (
	errPartnerNow = errors.New("edge: the certificate may be a partner's now")
	errUnsigned   = errors.New("edge: too many connections on which nobody has signed in")
)

// mayBePartner reports whether a certificate may be a partner's: a listed one's, or where
// others are let in, that of anybody who has a domain. Who else comes to a listener for
// both is taken for a user.
func (e *Edge) mayBePartner(id *certs.Identity) bool {
	if id == nil || id.IsZero() {
		return false
	}
	lists := e.partners.Load()
	if lists.Knows(id) {
		return true
	}
	return lists.Discovers() && !e.isOurs(id)
}

// isOurs reports whether a certificate names a domain of ours: a device of our own
// company's may have one, and is no partner's.
func (e *Edge) isOurs(id *certs.Identity) bool {
	for _, d := range id.Domains() {
		if _, ok := e.byDomain[d]; ok {
			return true
		}
	}
	return false
}

// sort says who is at the other end of a new connection to a listener for partners and
// users (RoleOutside), by the certificate and nothing else.
func (e *Edge) sort(l *listener, f *Flow, err error) {
	f.Role = RoleRemote
	switch p := certs.ProblemOf(err); {
	case err == nil && e.mayBePartner(f.Peer):
		f.Role = RoleFederation
	case err == nil:
		if missed, ok := l.failures.take(time.Now()); ok {
			e.log.Info(logNoPartner, keyFlow, f.ID, keyListener, l.name, keyRemote, f.Remote, keyPeer, peerName(f), keyMissed, missed)
		}
	case p != certs.NoneSent:
		if missed, ok := l.failures.take(time.Now()); ok {
			e.log.Warn(logNoPartner, keyFlow, f.ID, keyListener, l.name, keyRemote, f.Remote, keyProblem, p, keyErr, err, keyMissed, missed)
		}
		f.Peer = nil
	default:
		f.Peer = nil
	}
}

// forUsers reports whether users sign in at a listener.
func (s *listenerSettings) forUsers() bool { return s.role == RoleRemote || s.role == RoleOutside }

// unsignedRoom is how many connections there may be on which nobody has signed in: three
// quarters of the places, the rest is for those who have, and for addresses from which
// somebody has before.
func (w *wire) unsignedRoom() int64 { return int64(w.places) * 3 / 4 }

// usersTLS says what a listener for users asks of those who come: nothing, a certificate
// of a company's own devices (client_ca), or one that a partner may have.
func (e *Edge) usersTLS(t *trust, s listenerSettings) certs.ServerOptions {
	o := certs.ServerOptions{Keypair: t.keypair, Peer: certs.NotAsked, Protocols: s.ws.protocols()}
	switch {
	case s.role == RoleOutside:
		o.Peer, o.Verifier, o.Hints = certs.Requested, t.verifier, t.roots.Hints
		o.Unasked = []string{alpnHTTP} // COMPAT(Chromium): it cancels a WebSocket whose server asks
	case t.roots != nil:
		o.Peer, o.Verifier, o.Hints = certs.Required, t.verifier, t.roots.Hints
	}
	return o
}
