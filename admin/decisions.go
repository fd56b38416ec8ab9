package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/federation"
)

// A Wish is the body of PUT /v1/decisions/{domain}.
type Wish struct {
	Action federation.Action `json:"action"`
	Note   string            `json:"note,omitempty"`
	// Partner are the terms of an allowed partner, from its card. Nil: nothing
	// but the name.
	Partner *federation.PartnerConfig `json:"partner,omitempty"`
}

// Decided is the answer: what is in force now, and what was before.
type Decided struct {
	Decision *federation.Decision `json:"decision,omitempty"` // nil: taken back
	Previous *federation.Decision `json:"previous,omitempty"`
	// Warnings are for the administrator to think about; it was done.
	Warnings []string `json:"warnings,omitempty"`
}

// maxNote bounds what somebody notes about a decision, in octets.
const maxNote = 500

// decide makes a decision, keeps it and puts it in force, before it answers.
func (s *Server) decide(c *call) (any, error) {
	domain, err := c.domain()
	if err != nil {
		return nil, err
	}
	var w Wish
	if err := c.read(&w); err != nil {
		return nil, err
	}
	s.deciding.Lock()
	defer s.deciding.Unlock()
	if err := s.may(domain, w); err != nil {
		return nil, err
	}
	d := federation.Decision{Domain: domain, Action: w.Action, At: s.Now().UTC(), By: c.peer.Name, Note: w.Note, Partner: w.Partner}
	previous, before := s.decision(domain), s.Lists.Partners().Warnings()
	if err := s.Discovery.Decide(d); err != nil {
		return nil, err
	}
	if err := s.Lists.Refresh(); err != nil {
		return nil, s.undo(domain, previous, err)
	}
	s.Log.Info("decision made", "partner", domain, "action", string(w.Action), "by", c.peer.Name, "uid", c.peer.UID, "note", w.Note)
	return Decided{Decision: &d, Previous: previous, Warnings: fresh(before, s.Lists.Partners().Warnings())}, nil
}

// fresh returns the warnings that there were not before.
func fresh(before, after []allowlists.Problem) (list []string) {
	for _, w := range after {
		if !slices.Contains(before, w) {
			list = append(list, w.Text)
		}
	}
	return list
}

// revoke takes a decision back.
func (s *Server) revoke(c *call) (any, error) {
	domain, err := c.domain()
	if err != nil {
		return nil, err
	}
	s.deciding.Lock()
	defer s.deciding.Unlock()
	previous := s.decision(domain)
	if previous == nil {
		return nil, problem(http.StatusNotFound, CodeNotFound, "there is no decision about %s", domain)
	}
	if err := s.Discovery.Revoke(domain); err != nil {
		return nil, fmt.Errorf("take back the decision about %s: %w", domain, err)
	}
	if err := s.Lists.Refresh(); err != nil {
		return nil, s.undo(domain, previous, err)
	}
	s.Log.Info("decision taken back", "partner", domain, "action", string(previous.Action), "by", c.peer.Name, "uid", c.peer.UID)
	return Decided{Previous: previous}, nil
}

// undo keeps what was decided before, since what was wished could not be put in
// force: what is kept and what is in force must not differ.
func (s *Server) undo(domain string, previous *federation.Decision, because error) error {
	var err error
	if previous == nil {
		err = s.Discovery.Revoke(domain)
	} else {
		err = s.Discovery.Decide(*previous)
	}
	return errors.Join(fmt.Errorf("put in force: %w", because), err)
}

// may refuses what is not to be decided here.
func (s *Server) may(domain string, w Wish) error {
	switch {
	case !w.Action.Valid():
		return problem(http.StatusBadRequest, CodeMalformed, `action %q is none of "allow", "block", "ignore"`, clip(string(w.Action)))
	case len(w.Note) > maxNote:
		return problem(http.StatusBadRequest, CodeMalformed, "the note is longer than %d octets", maxNote)
	case w.Partner != nil && w.Action != federation.ActionAllow:
		return problem(http.StatusBadRequest, CodeMalformed, "only who is allowed has terms")
	}
	lists := s.Lists.Partners()
	if ours(lists, domain) {
		return problem(http.StatusConflict, CodeOwnDomain, "%s is a domain of our own: it lives in a pool", domain)
	}
	if rule, ok := inFile(lists, domain); ok {
		return problem(http.StatusConflict, CodeInFile, "the file has it: %s; a decision would change nothing, since the file wins", rule)
	}
	if w.Partner == nil {
		return nil
	}
	// Terms come from a stranger's card. Those with a fault would be left out
	// where lists are compiled, and the partner refused, without anybody seeing.
	alone := federation.File{File: "card", Partners: map[string]federation.PartnerConfig{domain: *w.Partner}}
	if _, errs := federation.Compile(alone, nil, federation.With{Now: s.Now()}); errs != nil {
		return problem(http.StatusUnprocessableEntity, CodeUnsound, "%v", errors.Join(errs...))
	}
	return nil
}

// decision is what has been decided about a domain, nil if nothing has.
func (s *Server) decision(domain string) *federation.Decision {
	for _, d := range s.Discovery.Decisions() {
		if d.Domain == domain {
			return &d
		}
	}
	return nil
}
