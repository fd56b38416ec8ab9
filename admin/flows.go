package admin

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/sipedge/sipedge/edge"
)

// A Flow is one connection, as GET /v1/flows/{id} has it.
type Flow struct {
	ID        string    `json:"id"`
	Role      string    `json:"role"` // "federation", "internal", "remote", "bridge"
	Listener  string    `json:"listener,omitempty"`
	Target    string    `json:"target,omitempty"` // what we dialled it for, or the bridge
	Transport string    `json:"transport"`        // as local and remote "" for a bridge
	Local     string    `json:"local"`
	Remote    string    `json:"remote"`
	Peer      string    `json:"peer,omitempty"`    // what its certificate proves
	SignIn    *SignIn   `json:"sign_in,omitempty"` // who is signed in on it
	Since     time.Time `json:"since"`
	Silent    float64   `json:"silent"` // seconds since it said something
	Began     int64     `json:"began"`  // requests that it began and that wait for their answer
	Sent      int64     `json:"sent"`   // requests that were sent on it and wait
}

// FlowList is GET /v1/flows: all that are open, by number.
type FlowList struct {
	Flows []Flow `json:"flows"`
}

func flowOf(i edge.FlowInfo) Flow {
	f := Flow{
		ID: flowID(i.ID), Role: i.Role, Listener: i.Listener, Target: i.Target, Transport: i.Transport,
		Local: placeText(i.Local), Remote: placeText(i.Remote), Peer: i.Peer, Since: i.Since.UTC(),
		Silent: min(i.Silent, time.Since(i.Since)).Truncate(time.Second).Seconds(), Began: i.Began, Sent: i.Sent,
	}
	if i.SignIn != nil {
		s := signInOf(i.SignIn)
		f.SignIn = &s
	}
	return f
}

// placeText is an address, "" if there is none.
func placeText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// flows lists all, or those in whose entry a word occurs.
func (s *Server) flows(c *call) (any, error) {
	word := strings.ToLower(c.query.Get("word"))
	list := FlowList{Flows: []Flow{}}
	for _, i := range s.Edge.Flows() {
		if f := flowOf(i); f.mentions(word) {
			list.Flows = append(list.Flows, f)
		}
	}
	return list, nil
}

// flow shows one.
func (s *Server) flow(c *call) (any, error) {
	id, err := c.flowID()
	if err != nil {
		return nil, err
	}
	i, ok := s.Edge.Flow(id)
	if !ok {
		return nil, noFlow(id)
	}
	return flowOf(i), nil
}

// drop ends one.
func (s *Server) drop(c *call) (any, error) {
	id, err := c.flowID()
	if err != nil {
		return nil, err
	}
	if i, ok := s.Edge.Flow(id); ok && i.Role == edge.RoleBridge.String() {
		return nil, problem(http.StatusBadRequest, CodeMalformed, "flow %d is the %s, and no connection: pause the bridge", id, i.Target)
	}
	i, ok := s.Edge.Drop(id)
	if !ok {
		return nil, noFlow(id)
	}
	user := ""
	if i.SignIn != nil {
		user = i.SignIn.User
	}
	s.Log.Info("flow dropped", "flow", id, "role", i.Role, "remote", i.Remote, "user", user, "by", c.peer.Name, "uid", c.peer.UID)
	return flowOf(i), nil
}

func noFlow(id uint64) error {
	return problem(http.StatusNotFound, CodeNotFound, "there is no flow %d: it may have ended", id)
}

// flowID is the number in the path.
func (c *call) flowID() (uint64, error) {
	id, err := strconv.ParseUint(c.vars["id"], 10, 64)
	if err != nil {
		return 0, problem(http.StatusBadRequest, CodeMalformed, "%q is not the number of a flow", clip(c.vars["id"]))
	}
	return id, nil
}

// mentions reports whether a word, in lower case, occurs in what people filter by.
func (f *Flow) mentions(word string) bool {
	texts := []string{f.ID, f.Role, f.Listener, f.Target, f.Transport, f.Local, f.Remote, f.Peer}
	if f.SignIn != nil {
		texts = append(texts, f.SignIn.User, f.SignIn.Device, f.SignIn.Software)
	}
	return has(word, texts...)
}
