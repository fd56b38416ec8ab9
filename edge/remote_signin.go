package edge

import (
	"time"

	"github.com/sipedge/sipedge/remoteaccess"
)

// signIn gives a flow to a user: from now on it may speak as that one. It fails
// where that would mix users up or be a device too many: the home server said yes
// to what was asked at the same moment elsewhere. So it does where remote.toml has
// changed meanwhile, and lets the user in no longer. The flow must end then. asked is
// whose terms s has: they are the same until that changes.
func (e *Edge) signIn(f *Flow, s *signIn, asked *remoteaccess.Access, mine contactParams) error {
	e.signing.Lock()
	if f.closed() {
		// It may have been ended while the answer was read, and nobody would take its
		// user back again.
		e.signing.Unlock()
		return nil
	}
	if now := e.access.Load(); now != asked {
		user, _, _ := cutAddress(s.User)
		s.Terms = now.Terms([]byte(user), s.domain, s.Groups)
	}
	before := f.state.signed.Load()
	if before != nil && before.User == s.User {
		s.Since = before.Since
		s.names = before.names
	}
	s.names = gruus(mine, s.names)
	err := errNotEnabled
	var over []*remoteaccess.SignIn
	if s.Terms.Allow {
		var ok bool
		if over, ok = e.users.Put(s.SignIn, s.Terms.Devices); ok {
			f.state.signed.Store(s)
			e.uncount(f)
			err = nil
		} else {
			err = errMixedUp
		}
	}
	e.signing.Unlock()
	if err != nil {
		e.log.Warn(logSignInRefused, keyFlow, f.ID, keyUser, s.User, keyErr, err)
		return err
	}
	for _, o := range over {
		if old := e.wire.flow(o.Flow); old != nil {
			if s := old.state.signed.Swap(nil); s != nil {
				e.log.Info(logSignedOut, keyFlow, old.ID, keyUser, s.User, keyErr, errReplaced)
			}
			old.finish(errReplaced)
		}
	}
	f.limitSilence(f.maySilence(s))
	if !f.state.learned {
		f.state.learned = true
		e.wire.admission.knows(f.Remote.Addr())
	}
	if before == nil {
		e.log.Info(logSignedIn, keyFlow, f.ID, keyUser, s.User, keyRemote, f.Remote, keyDevice, clean(s.Device), keyRule, s.Terms.Rule.String())
	}
	return nil
}

// maySilence is how long a flow may say nothing: longer than the client was told to
// (RFC 5626 §5.4), or, where it was told nothing, what [limits] says. A browser cannot
// show that it lives, so we ask it (RFC 7118 §6): there it is for the ping to notice.
func (f *Flow) maySilence(s *signIn) time.Duration {
	if !s.Outbound || f.ws != nil {
		return 0
	}
	return s.timer + s.timer/4 + 10*time.Second
}

// endSignIn takes a flow back from its user, who has signed out or may no longer be
// there. With a reason the flow ends, too; without, it may sign in again.
func (e *Edge) endSignIn(f *Flow, reason error) {
	e.signing.Lock()
	s := f.state.signed.Swap(nil)
	if s != nil {
		e.users.End(f.ID)
		if !f.closed() {
			e.count(f)
		}
	}
	e.signing.Unlock()
	if s != nil {
		e.log.Info(logSignedOut, keyFlow, f.ID, keyUser, s.User, keyErr, reason)
		f.limitSilence(0)
	}
	if reason != nil {
		f.finish(reason)
	}
}

// count puts a flow among those on which nobody is signed in, and gives it a time in
// which somebody must be. The caller holds e.signing.
func (e *Edge) count(f *Flow) {
	if !f.state.counted {
		f.state.counted = true
		e.wire.unsigned.Add(1)
		f.state.account.unsigned.Add(1)
	}
	f.clocks.unsigned.Store(e.wire.ticks())
}

// uncount takes it out. The caller holds e.signing.
func (e *Edge) uncount(f *Flow) {
	if f.state.counted {
		f.state.counted = false
		e.wire.unsigned.Add(-1)
		f.state.account.unsigned.Add(-1)
	}
	f.clocks.unsigned.Store(0)
}

// openedRemote is told of a new flow of whoever will turn out to be a user.
func (e *Edge) openedRemote(f *Flow) {
	f.state.rule = e.listenerRule(f)
	e.signing.Lock()
	e.count(f)
	e.signing.Unlock()
	if e.perSource() && f.state.account.unsigned.Load() > unsignedFlows {
		f.finish(errManyFlows)
	}
}

// goneRemote is told that such a flow has ended.
func (e *Edge) goneRemote(f *Flow) {
	e.signing.Lock()
	defer e.signing.Unlock()
	e.uncount(f)
	if s := f.state.signed.Swap(nil); s != nil {
		e.users.End(f.ID)
		e.log.Info(logSignedOut, keyFlow, f.ID, keyUser, s.User)
	}
}

// expireEvery is how often registrations are looked for that have ended. What a flow
// may say is judged by the clock, so nothing passes in between.
const expireEvery = time.Second

// expireSignIns takes back the flows whose registration has ended.
func (e *Edge) expireSignIns() {
	now := time.Now()
	for _, o := range e.users.Over(now) {
		f := e.wire.flow(o.Flow)
		if f == nil {
			e.users.End(o.Flow)
			continue
		}
		if f.user(now) == nil { // it may have been refreshed in this moment
			e.endSignIn(f, nil)
		}
	}
}

// SetAccess puts in force who may sign in from outside. Who no longer may is signed
// out; what the others may changes with their next message.
func (e *Edge) SetAccess(a *remoteaccess.Access) {
	// Who signs in at this moment is judged by a, or is among those who are looked at.
	e.signing.Lock()
	e.access.Store(a)
	e.signing.Unlock()
	for _, o := range e.users.All() {
		f := e.wire.flow(o.Flow)
		if f == nil {
			continue
		}
		if !e.renew(f, a) {
			e.endSignIn(f, errNotEnabled)
		}
	}
	users, groups := a.Len()
	e.log.Info(logAccess, "users", users, "groups", groups)
}

// renew gives who is signed in on a flow the terms of a. It reports false if there
// are none.
func (e *Edge) renew(f *Flow, a *remoteaccess.Access) bool {
	e.signing.Lock()
	defer e.signing.Unlock()
	s := f.state.signed.Load()
	if s == nil {
		return true
	}
	user, _, _ := cutAddress(s.User)
	terms := a.Terms([]byte(user), s.domain, s.Groups)
	if !terms.Allow {
		return false
	}
	fresh, inner := *s, *s.SignIn
	inner.Terms = terms
	fresh.SignIn = &inner
	if _, ok := e.users.Put(&inner, max(terms.Devices, len(e.users.Of(s.User)))); ok {
		f.state.signed.Store(&fresh)
	}
	return true
}

// Users are the users who are signed in from outside.
func (e *Edge) Users() *remoteaccess.Users { return e.users }

// Kick signs a user out everywhere, and returns where that was. The client may sign in
// again unless remote.toml or a decision says otherwise.
func (e *Edge) Kick(user string) []*remoteaccess.SignIn {
	list := e.users.Of(user)
	for _, o := range list {
		if f := e.wire.flow(o.Flow); f != nil {
			e.endSignIn(f, errKicked)
		}
	}
	return list
}
