package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
)

// A BridgeUser is what goes for one of our users and one network, as GET
// /v1/bridges/{network}/users/{user} has it. Whether there is such a user only the home
// server knows.
type BridgeUser struct {
	User     string  `json:"user"` // in normal form
	Network  string  `json:"network"`
	Inbound  MayUse  `json:"inbound"`  // may others there reach him
	Outbound MayUse  `json:"outbound"` // may he reach them
	Account  *string `json:"account,omitempty"`
	// Decision is what was decided, also as far as it is not in force.
	Decision *bridges.Decision `json:"decision,omitempty"`
	// Overruled says that it is not, or not in all: the file names the user.
	Overruled bool     `json:"overruled,omitempty"`
	Faults    []string `json:"faults,omitempty"` // of bridges.toml
}

// MayUse is whether somebody may, and what says so.
type MayUse struct {
	May  bool `json:"may"`
	Rule Rule `json:"rule"`
}

// A BridgeWish is the body of PUT /v1/bridges/{network}/users/{user}. What it leaves
// out stays as it is.
type BridgeWish struct {
	Inbound  *bool  `json:"inbound,omitempty"`
	Outbound *bool  `json:"outbound,omitempty"`
	Note     string `json:"note,omitempty"`
}

// BridgeDecided is the answer: what is in force now, and what was decided before.
type BridgeDecided struct {
	Previous *bridges.Decision `json:"previous,omitempty"`
	User     BridgeUser        `json:"user"` // as it is now
	Warnings []string          `json:"warnings,omitempty"`
}

// network is that in the path. It need not be one to which this edge has a bridge:
// decisions may come before it.
func (c *call) network() (string, error) {
	name := c.vars["network"]
	if !slices.Contains(bridges.Networks[:], name) {
		return "", problem(http.StatusNotFound, CodeNotFound, "there are no bridges to %q", clip(name))
	}
	return name, nil
}

// bridgeUser shows what goes for one user.
func (s *Server) bridgeUser(c *call) (any, error) {
	network, err := c.network()
	if err != nil {
		return nil, err
	}
	user, err := s.ourUser(c, bridges.NormalUser)
	if err != nil {
		return nil, err
	}
	return s.bridgePerson(user, network), nil
}

func (s *Server) bridgePerson(user, network string) BridgeUser {
	p := s.Bridging.Bridges()
	u := BridgeUser{User: user, Network: network, Faults: faultTexts(s.Bridging.BridgesFaults())}
	u.Inbound, u.Outbound = mayUse(p.May(user, network, true)), mayUse(p.May(user, network, false))
	if a, ok := p.Account(user, network); ok {
		u.Account = &a.JID
	}
	if d, ok := s.BridgeDecisions.Of(user, network); ok {
		u.Decision = &d
		_, in := p.Named(user, network, allowlists.In)
		_, out := p.Named(user, network, allowlists.Out)
		u.Overruled = d.Inbound != nil && in || d.Outbound != nil && out
	}
	return u
}

func mayUse(v allowlists.Verdict) MayUse { return MayUse{v.Allowed(), Rule(v.Rule)} }

// decideBridge decides whether a user may use a network, keeps that and puts it in
// force, before it answers.
func (s *Server) decideBridge(c *call) (any, error) {
	network, err := c.network()
	if err != nil {
		return nil, err
	}
	user, err := s.ourUser(c, bridges.NormalUser)
	if err != nil {
		return nil, err
	}
	var w BridgeWish
	if err := c.read(&w); err != nil {
		return nil, err
	}
	s.deciding.Lock()
	defer s.deciding.Unlock()
	if err := s.mayBridge(user, network, w); err != nil {
		return nil, err
	}
	d := bridges.Decision{User: user, Network: network, Inbound: w.Inbound, Outbound: w.Outbound, At: s.Now().UTC(), By: c.peer.Name, Note: w.Note}
	a := BridgeDecided{Previous: s.bridgeDecision(user, network)}
	if a.Previous != nil {
		d = d.Over(*a.Previous)
	}
	if err := s.BridgeDecisions.Decide(d); err != nil {
		return nil, err
	}
	if err := s.Bridging.RefreshBridges(); err != nil {
		return nil, s.undoBridge(user, network, a.Previous, err)
	}
	a.User, a.Warnings = s.bridgePerson(user, network), s.bridgeDoubts(network)
	s.Log.Info("bridge decided", "user", user, "bridge", network, "inbound", said(d.Inbound), "outbound", said(d.Outbound),
		"by", c.peer.Name, "uid", c.peer.UID, "note", w.Note)
	return a, nil
}

// said is a decision in the log.
func said(may *bool) string {
	switch {
	case may == nil:
		return ""
	case *may:
		return "yes"
	}
	return "no"
}

// mayBridge refuses what is not to be decided here.
func (s *Server) mayBridge(user, network string, w BridgeWish) error {
	switch {
	case w.Inbound == nil && w.Outbound == nil:
		return problem(http.StatusBadRequest, CodeMalformed, "nothing is decided: inbound and outbound are both left out")
	case len(w.Note) > maxNote:
		return problem(http.StatusBadRequest, CodeMalformed, "the note is longer than %d octets", maxNote)
	}
	p := s.Bridging.Bridges()
	for d, may := range [2]*bool{allowlists.In: w.Inbound, allowlists.Out: w.Outbound} {
		if rule, named := p.Named(user, network, allowlists.Direction(d)); may != nil && named {
			key := [2]string{allowlists.In: "inbound", allowlists.Out: "outbound"}[d]
			return problem(http.StatusConflict, CodeInFile, "the file has it, %s: %s; a decision would change nothing, since the file wins", key, Rule(rule))
		}
	}
	return nil
}

// bridgeDecision is what has been decided, nil if nothing has.
func (s *Server) bridgeDecision(user, network string) *bridges.Decision {
	if d, ok := s.BridgeDecisions.Of(user, network); ok {
		return &d
	}
	return nil
}

// revokeBridge takes a decision back.
func (s *Server) revokeBridge(c *call) (any, error) {
	network, err := c.network()
	if err != nil {
		return nil, err
	}
	user, err := s.ourUser(c, bridges.NormalUser)
	if err != nil {
		return nil, err
	}
	s.deciding.Lock()
	defer s.deciding.Unlock()
	previous := s.bridgeDecision(user, network)
	if previous == nil {
		return nil, problem(http.StatusNotFound, CodeNotFound, "there is no decision about %s and %s", user, network)
	}
	if err := s.BridgeDecisions.Revoke(user, network); err != nil {
		return nil, err
	}
	if err := s.Bridging.RefreshBridges(); err != nil {
		return nil, s.undoBridge(user, network, previous, err)
	}
	s.Log.Info("bridge forgotten", "user", user, "bridge", network, "by", c.peer.Name, "uid", c.peer.UID)
	return BridgeDecided{Previous: previous, User: s.bridgePerson(user, network)}, nil
}

// undoBridge keeps what was decided before, since what was wished could not be put in
// force: what is kept and what is in force must not differ.
func (s *Server) undoBridge(user, network string, previous *bridges.Decision, because error) error {
	var err error
	if previous == nil {
		err = s.BridgeDecisions.Revoke(user, network)
	} else {
		err = s.BridgeDecisions.Decide(*previous)
	}
	return errors.Join(fmt.Errorf("put in force: %w", because), err)
}

// bridgeDoubts are why somebody who may use a network will not get far.
func (s *Server) bridgeDoubts(network string) []string {
	i := slices.IndexFunc(s.Crossings, func(x Crossing) bool { return x.Name() == network })
	switch {
	case i < 0:
		return []string{fmt.Sprintf("this edge has no bridge to %s: sipedge.toml has no [bridge.%s]", network, network)}
	case s.Crossings[i].Paused():
		return []string{fmt.Sprintf("the bridge to %s is paused", network)}
	}
	return nil
}
