package admin

import (
	"github.com/sipedge/sipedge/edge"
	"os"
	"time"
)

// Status is GET /v1/status: that the edge runs, and how much there is to look at.
type Status struct {
	Name       string    `json:"name"`
	Version    string    `json:"version"`
	PID        int       `json:"pid"`
	Since      time.Time `json:"since"`
	Domains    []string  `json:"domains"`
	Listeners  []Address `json:"listeners"`
	Partners   int       `json:"partners"` // listed, or allowed by decision
	Blocked    int       `json:"blocked"`
	Decisions  int       `json:"decisions"`
	Discovered int       `json:"discovered"`
	Waiting    int       `json:"waiting"` // discovered, and nobody has decided
	// Users are those who are signed in from outside, Devices from how many.
	Users   int            `json:"users"`
	Devices int            `json:"devices"`
	Flows   map[string]int `json:"flows"` // by role
	Bans    int            `json:"bans"`
	// Bridges says how each is: "running", "paused", …
	Bridges  map[string]string `json:"bridges,omitempty"`
	Warnings []string          `json:"warnings,omitempty"`
}

// An Address is an open port.
type Address struct {
	Listener string `json:"listener"`
	Role     string `json:"role"`
	Address  string `json:"address"`
}

func (s *Server) status(*call) (any, error) {
	lists := s.Lists.Partners()
	a := Status{
		Name: s.Name, Version: s.Version, PID: os.Getpid(), Since: s.began.UTC(), Domains: s.Domains,
		Decisions: len(s.Discovery.Decisions()), Warnings: s.Edge.Warnings(),
	}
	a.Partners, a.Blocked = lists.Len()
	a.Devices, a.Users = s.Edge.Users().Len()
	a.Bans = s.Guard.View().Bans
	for _, x := range s.Crossings {
		if a.Bridges == nil {
			a.Bridges = make(map[string]string)
		}
		a.Bridges[x.Name()] = x.State().Phase.String()
	}
	a.Flows = make(map[string]int)
	for _, f := range s.Edge.Flows() {
		if f.Role != edge.RoleBridge.String() { // no connection
			a.Flows[f.Role]++
		}
	}
	for _, l := range s.Edge.Addresses() {
		a.Listeners = append(a.Listeners, Address{l.Listener, l.Role, l.Addr.String()})
	}
	for _, d := range s.allDiscovered() {
		a.Discovered++
		if d.Waiting {
			a.Waiting++
		}
	}
	return a, nil
}
