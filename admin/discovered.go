package admin

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/federation"
)

// Discovered is one domain that nobody listed when it came, as GET
// /v1/discovered has it.
type Discovered struct {
	federation.Record
	Unicode string `json:"unicode,omitempty"` // the domain as people write it, if that differs
	Listed  string `json:"listed,omitempty"`  // the rule of partners.toml that has it by now
	Waiting bool   `json:"waiting"`           // for somebody to decide
}

// DiscoveredList is GET /v1/discovered: first those that wait for a decision, and
// among them who was here last.
type DiscoveredList struct {
	Discovered []Discovered `json:"discovered"`
}

func (s *Server) discovered(*call) (any, error) {
	return DiscoveredList{s.allDiscovered()}, nil
}

// allDiscovered is never nil: an empty list is one in JSON, too.
func (s *Server) allDiscovered() []Discovered {
	lists := s.Lists.Partners()
	all := []Discovered{}
	for _, r := range s.Discovery.Records() {
		d := Discovered{Record: r, Unicode: unicodeOf(r.Domain)}
		if e, ok := inFile(lists, r.Domain); ok {
			d.Listed = e
		}
		d.Waiting = r.Decision == nil && d.Listed == ""
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b Discovered) int {
		if a.Waiting != b.Waiting {
			return map[bool]int{true: -1, false: 1}[a.Waiting]
		}
		return cmp.Or(b.LastSeen.Compare(a.LastSeen), strings.Compare(a.Domain, b.Domain))
	})
	return all
}
