package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sipedge/sipedge/remoteaccess"
)

// BanList is GET /v1/bans: the bans that have not ended, by their keys, and how much
// is guessed.
type BanList struct {
	Bans      []remoteaccess.Ban          `json:"bans"`
	Guard     remoteaccess.GuardView      `json:"guard"`
	Directory *remoteaccess.DirectoryView `json:"directory,omitempty"` // if one is asked
}

// A BanWish is the body of PUT /v1/bans/{key}.
type BanWish struct {
	Until time.Time `json:"until,omitzero"` // none: for ever
	Note  string    `json:"note,omitempty"`
}

// Banned is the answer.
type Banned struct {
	Ban      remoteaccess.Ban  `json:"ban"`
	Previous *remoteaccess.Ban `json:"previous,omitempty"` // by hand, and replaced
	// SignedIn are those whom it names and who are signed in: they stay so until their
	// client has to show the password again.
	SignedIn []SignIn `json:"signed_in"`
	// Warnings are for the administrator to think about; it was done.
	Warnings []string `json:"warnings,omitempty"`
}

// bans lists all, or those in whose entry a word occurs.
func (s *Server) bans(c *call) (any, error) {
	word := strings.ToLower(c.query.Get("word"))
	list := BanList{Bans: []remoteaccess.Ban{}, Guard: s.Guard.View()}
	if v := s.Directory.View(); v.Server != "" {
		list.Directory = &v
	}
	for _, b := range s.Guard.List() {
		if has(word, b.Key, b.Kind, b.Reason, b.By) {
			list.Bans = append(list.Bans, b)
		}
	}
	return list, nil
}

// ban keeps somebody from signing in.
func (s *Server) ban(c *call) (any, error) {
	b, err := readBan(c.vars["key"])
	if err != nil {
		return nil, problem(http.StatusBadRequest, CodeMalformed, "%v", err)
	}
	var w BanWish
	if err := c.read(&w); err != nil {
		return nil, err
	}
	switch {
	case len(w.Note) > maxNote:
		return nil, problem(http.StatusBadRequest, CodeMalformed, "the note is longer than %d octets", maxNote)
	case !w.Until.IsZero() && !w.Until.After(s.Now()):
		return nil, problem(http.StatusBadRequest, CodeMalformed, "a ban until %s has ended already", w.Until.UTC().Format(time.RFC3339))
	}
	b.Until, b.Reason, b.By = w.Until, w.Note, c.peer.Name
	s.deciding.Lock()
	defer s.deciding.Unlock()
	a := Banned{Previous: s.byHand(b), SignedIn: []SignIn{}}
	switch err := s.Guard.Add(b); {
	case errors.Is(err, remoteaccess.ErrBanFull):
		return nil, problem(http.StatusInsufficientStorage, CodeFull, "%s", "too many bans were made by hand; lift some")
	case err != nil:
		return nil, err
	}
	made := s.byHand(b)
	if made == nil {
		return nil, fmt.Errorf("the ban of %s is gone already", c.vars["key"])
	}
	a.Ban = *made
	for _, in := range s.Edge.Users().All() {
		if one := signInOf(in); names(a.Ban, one) {
			a.SignedIn = append(a.SignedIn, one)
		}
	}
	if _, domain := cut(b.User); strings.Contains(b.User, "@") && !ours(s.Lists.Partners(), domain) {
		a.Warnings = append(a.Warnings, domain+" is no domain of ours: the ban counts only where somebody claims this name in their credentials")
	}
	s.Log.Info("ban added", "ban", a.Ban.Key, "kind", a.Ban.Kind, "until", a.Ban.Until, "by", c.peer.Name, "uid", c.peer.UID, "note", w.Note)
	return a, nil
}

// lift takes a ban back, and what had been counted.
func (s *Server) lift(c *call) (any, error) {
	b, err := s.Guard.Lift(c.vars["key"])
	switch {
	case errors.Is(err, remoteaccess.ErrNoBan):
		return nil, problem(http.StatusNotFound, CodeNotFound, "there is no ban of %q", clip(c.vars["key"]))
	case err != nil:
		return nil, err
	}
	s.Log.Info("ban lifted", "ban", b.Key, "kind", b.Kind, "reason", b.Reason, "by", c.peer.Name, "uid", c.peer.UID)
	return b, nil
}

// readBan reads whom a ban is about: "alice@example.com", "203.0.113.0/24",
// "alice@example.com from 203.0.113.7". The name of an account, EXAMPLE\alice, is one
// of a user, too.
func readBan(key string) (b remoteaccess.Ban, err error) {
	user, source, both := strings.Cut(key, " from ")
	if !both && !strings.ContainsAny(key, `@\`) {
		user, source = "", key
	}
	if user != "" {
		if b.User, err = bannedUser(strings.TrimSpace(user)); err != nil {
			return b, err
		}
	}
	if source != "" {
		if b.Source, err = remoteaccess.ParseSource(strings.TrimSpace(source)); err != nil {
			return b, errors.New(strings.TrimPrefix(err.Error(), "remoteaccess: "))
		}
	}
	return b, nil
}

// bannedUser is a user's name as bans have it.
func bannedUser(text string) (string, error) {
	if strings.Contains(text, `\`) && !strings.Contains(text, "@") {
		return strings.ToLower(text), nil
	}
	name, err := remoteaccess.NormalUser(text)
	if err != nil {
		return "", fmt.Errorf("%q is not the address of a user: %w", clip(text), err)
	}
	return strings.ToLower(name), nil
}

// byHand finds the ban that was made by hand about the same as b.
func (s *Server) byHand(b remoteaccess.Ban) *remoteaccess.Ban {
	list := s.Guard.List()
	i := slices.IndexFunc(list, func(o remoteaccess.Ban) bool {
		return o.ByHand && o.User == b.User && o.Source == b.Source
	})
	if i < 0 {
		return nil
	}
	return &list[i]
}

// names reports whether a ban is about who is signed in somewhere.
func names(b remoteaccess.Ban, s SignIn) bool {
	if b.User != "" && !strings.EqualFold(b.User, s.User) {
		return false
	}
	return !b.Source.IsValid() || within(b, s)
}

// within reports whether a device is signed in from the source of a ban.
func within(b remoteaccess.Ban, s SignIn) bool {
	at, err := netip.ParseAddrPort(s.Remote)
	return err == nil && b.Source.Contains(at.Addr().Unmap().WithZone(""))
}
