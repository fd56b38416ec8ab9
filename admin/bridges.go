package admin

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges"
)

// A Crossing is one bridge of the edge, with what keeps it.
type Crossing struct {
	*bridges.Keeper
	Addresses []string // that it listens on
}

// Bridging is who may use bridges, and what makes it anew.
type Bridging interface {
	// Bridges is what is in force.
	Bridges() *bridges.Policy
	// BridgesFaults are why bridges.toml as it is now is not in force, and the last good
	// one is.
	BridgesFaults() []error
	// RefreshBridges puts in force what was decided. With an error nothing has changed.
	RefreshBridges() error
}

// A Bridge is one bridge to a public network, as GET /v1/bridges/{network} has it.
type Bridge struct {
	Network   string    `json:"network"`
	State     string    `json:"state"` // "running", "paused", "restarting", "hung", "stopped"
	Since     time.Time `json:"since,omitzero"`
	Reason    string    `json:"reason,omitempty"` // why it was started anew last
	Restarts  int       `json:"restarts"`
	Abandoned int       `json:"abandoned"`       // incarnations that hang and were left behind
	Next      time.Time `json:"next,omitzero"`   // when it begins again
	Pause     *Pause    `json:"pause,omitempty"` // an administrator has paused it
	Addresses []string  `json:"addresses"`
	Streams   Streams   `json:"streams"`
	Waiting   int       `json:"waiting"` // for connections that are not up
	Sent      uint64    `json:"sent"`
	Received  uint64    `json:"received"`
	Failed    uint64    `json:"failed"`

	// Links are its connections, and Rules who may use it. In lists they are left out.
	Links []BridgeLink `json:"links,omitempty"`
	Rules []BridgeRule `json:"rules,omitempty"`
	// Warnings and Faults are those of bridges.toml; if there are faults, the last good
	// one is in force.
	Warnings []string `json:"warnings,omitempty"`
	Faults   []string `json:"faults,omitempty"`
}

// A Pause is who has paused a bridge.
type Pause struct {
	At   time.Time `json:"at"`
	By   string    `json:"by,omitempty"`
	Note string    `json:"note,omitempty"`
}

// Streams count the connections of a bridge by how they are.
type Streams struct {
	Up    int `json:"up"`
	Other int `json:"other"` // connecting, waiting, down
}

// A BridgeLink is one connection of a bridge, or one that it tries to make.
type BridgeLink struct {
	Local     string    `json:"local"`
	Remote    string    `json:"remote"`
	Direction string    `json:"direction"` // "in", "out", "both"
	State     string    `json:"state"`     // "up", "connecting", "waiting", "down"
	Proof     string    `json:"proof"`     // "certificate", "dane", "dialback", "account", "bridge" (its own word), "none"
	Detail    string    `json:"detail,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	Sent      uint64    `json:"sent"`
	Received  uint64    `json:"received"`
	Waiting   int       `json:"waiting"`
}

// A BridgeRule is a section of bridges.toml, a decision, or an account. Of a direction
// of which it says nothing, the value is "".
type BridgeRule struct {
	Kind     string `json:"kind"` // "user", "decision", "pattern", "default", "account"
	Name     string `json:"name"`
	Inbound  string `json:"inbound,omitempty"` // "yes", "no"
	Outbound string `json:"outbound,omitempty"`
	Account  string `json:"account,omitempty"` // on the network
	Note     string `json:"note,omitempty"`
	Rule     Rule   `json:"rule"`
}

// BridgeList is GET /v1/bridges.
type BridgeList struct {
	Bridges []Bridge `json:"bridges"`
}

// bridges lists all.
func (s *Server) bridges(*call) (any, error) {
	list := BridgeList{Bridges: []Bridge{}}
	for _, c := range s.Crossings {
		list.Bridges = append(list.Bridges, s.bridgeOf(c))
	}
	return list, nil
}

// crossing is the bridge in the path.
func (s *Server) crossing(c *call) (Crossing, error) {
	name := c.vars["network"]
	i := slices.IndexFunc(s.Crossings, func(x Crossing) bool { return x.Name() == name })
	if i < 0 {
		return Crossing{}, problem(http.StatusNotFound, CodeNotFound, "this edge has no bridge to %q", clip(name))
	}
	return s.Crossings[i], nil
}

// bridge shows one, with those of its connections and rules in which a word occurs.
func (s *Server) bridge(c *call) (any, error) {
	x, err := s.crossing(c)
	if err != nil {
		return nil, err
	}
	b, word := s.bridgeOf(x), strings.ToLower(c.query.Get("word"))
	for _, l := range x.Status().Links {
		link := BridgeLink{
			Local: l.Local, Remote: l.Remote, Direction: l.Direction, State: l.State, Proof: l.Proof.String(), Detail: l.Detail,
			Since: l.Since.UTC(), Sent: l.Sent, Received: l.Received, Waiting: l.Waiting,
		}
		if has(word, link.Local, link.Remote, link.Direction, link.State, link.Proof, link.Detail) {
			b.Links = append(b.Links, link)
		}
	}
	policy := s.Bridging.Bridges()
	for _, r := range rulesOf(policy, x.Name()) {
		if has(word, r.Kind, r.Name, r.Account, r.Note, r.Rule.String()) {
			b.Rules = append(b.Rules, r)
		}
	}
	for _, w := range policy.Warnings() {
		b.Warnings = append(b.Warnings, w.Error())
	}
	b.Faults = faultTexts(s.Bridging.BridgesFaults())
	return b, nil
}

// bridgeOf is what a list has of one.
func (s *Server) bridgeOf(x Crossing) Bridge {
	state, status := x.State(), x.Status()
	b := Bridge{
		Network: x.Name(), State: state.Phase.String(), Since: utc(state.Since), Reason: state.Reason, Restarts: state.Restarts,
		Abandoned: state.Abandoned, Next: utc(state.Next), Addresses: append([]string{}, x.Addresses...),
		Waiting: status.Waiting, Sent: status.Sent, Received: status.Received, Failed: status.Failed,
	}
	for _, l := range status.Links {
		if l.State == "up" {
			b.Streams.Up++
		} else {
			b.Streams.Other++
		}
	}
	if p, ok := s.Pauses.Of(x.Name()); ok {
		b.Pause = &Pause{At: utc(p.At), By: p.By, Note: p.Note}
	}
	return b
}

// utc is a time as it is sent; one that is none stays none.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

// rulesOf are what bridges.toml and decisions say of one network.
func rulesOf(p *bridges.Policy, network string) (list []BridgeRule) {
	word := func(yes, no []string) string {
		switch {
		case slices.Contains(yes, network):
			return "yes"
		case slices.Contains(no, network):
			return "no"
		}
		return ""
	}
	for _, e := range p.Entries() {
		r := BridgeRule{
			Kind: e.Kind, Name: e.Name, Note: e.Note, Rule: Rule(e.Rule),
			Inbound: word(e.Inbound, e.NotInbound), Outbound: word(e.Outbound, e.NotOutbound),
		}
		if r.Inbound != "" || r.Outbound != "" {
			list = append(list, r)
		}
	}
	for _, a := range p.Accounts(network) {
		list = append(list, BridgeRule{Kind: "account", Name: a.User, Account: a.JID, Note: a.Note, Rule: Rule(a.Rule)})
	}
	return list
}

// BridgeTest is the answer to GET /v1/bridges/{network}/test.
type BridgeTest struct {
	Address string       `json:"address"`
	Steps   []BridgeStep `json:"steps"`
	OK      bool         `json:"ok"` // all of them, or where one failed another way led on
}

// A BridgeStep is one thing that a test looked at.
type BridgeStep struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Passed bool   `json:"passed,omitempty"` // it failed, and another way has led on
	Detail string `json:"detail,omitempty"`
}

// testTime is how long a test may take: the answer must be on its way before
// writeTimeout is over.
const testTime = writeTimeout - 5*time.Second

// testBridge looks whether somebody can be reached.
func (s *Server) testBridge(c *call) (any, error) {
	x, err := s.crossing(c)
	if err != nil {
		return nil, err
	}
	a := BridgeTest{Address: c.query.Get("address"), Steps: []BridgeStep{}, OK: true}
	if a.Address == "" || len(a.Address) > maxTested {
		return nil, problem(http.StatusBadRequest, CodeMalformed, "address is not that of a user or a domain")
	}
	ctx, cancel := context.WithTimeout(c.ctx, testTime)
	defer cancel()
	steps := x.Test(ctx, a.Address)
	if x.Paused() {
		steps = append([]bridges.Step{{Name: "pause", Detail: s.pausedNow(x.Name()) + "; what is new is refused (480)"}}, steps...)
	}
	for _, step := range steps {
		a.Steps = append(a.Steps, BridgeStep(step))
		a.OK = a.OK && (step.OK || step.Passed)
	}
	return a, nil
}

// pausedNow says who has paused a bridge, and why.
func (s *Server) pausedNow(network string) string {
	text := "paused"
	p, ok := s.Pauses.Of(network)
	if ok && p.By != "" {
		text += " by " + p.By
	}
	if ok && p.Note != "" {
		text += ": " + p.Note
	}
	return text
}

// maxTested bounds the address of a test, in octets.
const maxTested = 4 << 10

// A PauseWish is the body of PUT /v1/bridges/{network}/pause.
type PauseWish struct {
	Note string `json:"note,omitempty"`
}

// pause stops what is new on a bridge, keeps that, and then answers.
func (s *Server) pause(c *call) (any, error) {
	x, err := s.crossing(c)
	if err != nil {
		return nil, err
	}
	var w PauseWish
	if err := c.read(&w); err != nil {
		return nil, err
	}
	if len(w.Note) > maxNote {
		return nil, problem(http.StatusBadRequest, CodeMalformed, "the note is longer than %d octets", maxNote)
	}
	s.deciding.Lock()
	defer s.deciding.Unlock()
	if err := s.Pauses.Put(x.Name(), bridges.Pause{At: s.Now().UTC(), By: c.peer.Name, Note: w.Note}); err != nil {
		return nil, err
	}
	x.Pause(true)
	s.Log.Warn("bridge paused", "bridge", x.Name(), "by", c.peer.Name, "uid", c.peer.UID, "note", w.Note)
	return s.bridgeOf(x), nil
}

// resume lets a bridge go on.
func (s *Server) resume(c *call) (any, error) {
	x, err := s.crossing(c)
	if err != nil {
		return nil, err
	}
	s.deciding.Lock()
	defer s.deciding.Unlock()
	if !x.Paused() {
		return nil, problem(http.StatusNotFound, CodeNotFound, "the bridge to %s is not paused", x.Name())
	}
	if err := s.Pauses.End(x.Name()); err != nil {
		return nil, err
	}
	x.Pause(false)
	s.Log.Info("bridge resumed", "bridge", x.Name(), "by", c.peer.Name, "uid", c.peer.UID)
	return s.bridgeOf(x), nil
}
