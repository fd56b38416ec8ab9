package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/remoteaccess"
)

// An AccessWish is the body of PUT /v1/access/{user}.
type AccessWish struct {
	Decision string `json:"decision"` // "allow" or "deny"
	Note     string `json:"note,omitempty"`
}

// The decisions about users.
const (
	AccessAllow = "allow"
	AccessDeny  = "deny"
)

// AccessDecided is the answer: what is in force now, and what was before.
type AccessDecided struct {
	Decision *remoteaccess.Decision `json:"decision,omitempty"` // nil: taken back
	Previous *remoteaccess.Decision `json:"previous,omitempty"`
	User     User                   `json:"user"` // as he is now
	// SignedOut is where he was signed in, and is no longer.
	SignedOut []SignIn `json:"signed_out"`
	// Warnings are for the administrator to think about; it was done.
	Warnings []string `json:"warnings,omitempty"`
}

// decideAccess decides whether a user may sign in from outside, keeps that and puts
// it in force, before it answers.
func (s *Server) decideAccess(c *call) (any, error) {
	name, err := s.ourUser(c, remoteaccess.NormalUser)
	if err != nil {
		return nil, err
	}
	var w AccessWish
	if err := c.read(&w); err != nil {
		return nil, err
	}
	s.deciding.Lock()
	defer s.deciding.Unlock()
	if err := s.mayDecide(name, w); err != nil {
		return nil, err
	}
	d := remoteaccess.Decision{User: name, Allow: w.Decision == AccessAllow, At: s.Now().UTC(), By: c.peer.Name, Note: w.Note}
	previous, before := s.decisionAbout(name), s.Edge.Users().Of(name)
	if err := s.Decisions.Decide(d); err != nil {
		return nil, err
	}
	if err := s.Access.RefreshRemote(); err != nil {
		return nil, s.undoAccess(name, previous, err)
	}
	a := AccessDecided{Decision: &d, Previous: previous, User: s.person(c.ctx, name), SignedOut: s.signedOut(name, before)}
	a.Warnings = s.doubts(a.User)
	s.Log.Info("user "+map[bool]string{true: "allowed", false: "denied"}[d.Allow], "user", name, "by", c.peer.Name, "uid", c.peer.UID,
		"note", w.Note, "signed_out", len(a.SignedOut))
	return a, nil
}

// revokeAccess takes a decision back.
func (s *Server) revokeAccess(c *call) (any, error) {
	name, err := s.ourUser(c, remoteaccess.NormalUser)
	if err != nil {
		return nil, err
	}
	s.deciding.Lock()
	defer s.deciding.Unlock()
	previous, before := s.decisionAbout(name), s.Edge.Users().Of(name)
	if previous == nil {
		return nil, problem(http.StatusNotFound, CodeNotFound, "there is no decision about %s", name)
	}
	if err := s.Decisions.Revoke(name); err != nil {
		return nil, err
	}
	if err := s.Access.RefreshRemote(); err != nil {
		return nil, s.undoAccess(name, previous, err)
	}
	a := AccessDecided{Previous: previous, User: s.person(c.ctx, name), SignedOut: s.signedOut(name, before)}
	s.Log.Info("user forgotten", "user", name, "by", c.peer.Name, "uid", c.peer.UID, "signed_out", len(a.SignedOut))
	return a, nil
}

// undoAccess keeps what was decided before, since what was wished could not be put
// in force: what is kept and what is in force must not differ.
func (s *Server) undoAccess(name string, previous *remoteaccess.Decision, because error) error {
	var err error
	if previous == nil {
		err = s.Decisions.Revoke(name)
	} else {
		err = s.Decisions.Decide(*previous)
	}
	return errors.Join(fmt.Errorf("put in force: %w", because), err)
}

// mayDecide refuses what is not to be decided here.
func (s *Server) mayDecide(name string, w AccessWish) error {
	switch {
	case w.Decision != AccessAllow && w.Decision != AccessDeny:
		return problem(http.StatusBadRequest, CodeMalformed, `decision %q is neither "allow" nor "deny"`, clip(w.Decision))
	case len(w.Note) > maxNote:
		return problem(http.StatusBadRequest, CodeMalformed, "the note is longer than %d octets", maxNote)
	}
	if local, _ := cut(name); local == "anonymous" {
		return problem(http.StatusUnprocessableEntity, CodeUnsound, "nobody is anonymous outside: %s may never sign in there", name)
	}
	if e := s.register().section(name); e != nil {
		return problem(http.StatusConflict, CodeInFile, "the file has it: %s; a decision would change nothing, since the file wins", Rule(e.Rule))
	}
	return nil
}

// decisionAbout is what has been decided about a user, nil if nothing has.
func (s *Server) decisionAbout(name string) *remoteaccess.Decision {
	for _, d := range s.Decisions.List() {
		if d.User == name {
			return &d
		}
	}
	return nil
}

// signedOut are those of before that are not signed in any more.
func (s *Server) signedOut(name string, before []*remoteaccess.SignIn) []SignIn {
	now := s.Edge.Users().Of(name)
	return signIns(slices.DeleteFunc(slices.Clone(before), func(b *remoteaccess.SignIn) bool {
		return slices.ContainsFunc(now, func(n *remoteaccess.SignIn) bool { return n.Flow == b.Flow })
	}))
}

// doubts are why somebody who may sign in will not get far.
func (s *Server) doubts(u User) (list []string) {
	if u.State != StateAllowed {
		return nil
	}
	forUsers := func(a edge.Address) bool {
		return a.Role == edge.RoleRemote.String() || a.Role == edge.RoleOutside.String()
	}
	if !slices.ContainsFunc(s.Edge.Addresses(), forUsers) {
		list = append(list, `this edge has no listener for users: none has role = "remote" or "outside"`)
	}
	for _, b := range u.Bans {
		list = append(list, "a ban stands in the way: "+b.Key)
	}
	return list
}

// Kicked is the answer to DELETE /v1/signins/{user}.
type Kicked struct {
	SignedOut []SignIn `json:"signed_out"`
	// MaySignInAgain is whether the client may, which most do within a minute.
	MaySignInAgain bool `json:"may_sign_in_again"`
	User           User `json:"user"` // as he is now
}

// kick signs a user out everywhere.
func (s *Server) kick(c *call) (any, error) {
	name, err := s.ourUser(c, remoteaccess.NormalUser)
	if err != nil {
		return nil, err
	}
	out := signIns(s.Edge.Kick(name))
	if len(out) == 0 {
		return nil, problem(http.StatusNotFound, CodeNotFound, "%s is not signed in from outside", name)
	}
	s.Log.Info("user kicked", "user", name, "by", c.peer.Name, "uid", c.peer.UID, "signed_out", len(out))
	u := s.person(c.ctx, name)
	return Kicked{SignedOut: out, MaySignInAgain: u.State == StateAllowed && s.anyFree(out), User: u}, nil
}

// anyFree reports whether any of several devices may sign in again from where it was.
// It has signed in there, so bans of its source or user that failures have brought
// about do not stop it.
func (s *Server) anyFree(out []SignIn) bool {
	bans := s.Guard.List()
	return slices.ContainsFunc(out, func(in SignIn) bool {
		return !slices.ContainsFunc(bans, func(b remoteaccess.Ban) bool {
			return (b.ByHand || b.Kind == remoteaccess.BanPair) && names(b, in)
		})
	})
}
