package admin

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/remoteaccess"
)

// A User is what is known of one of our users as far as he may be outside, as GET
// /v1/users/{user} has it. Whether there is such a user only the home server knows.
type User struct {
	User    string `json:"user"`              // address of record in normal form
	Unicode string `json:"unicode,omitempty"` // as people write it, if that differs
	State   string `json:"state"`             // "allowed", "denied" or "by group"
	Rule    Rule   `json:"rule"`              // what says so
	// Decision is what was decided about the user.
	Decision *remoteaccess.Decision `json:"decision,omitempty"`
	// Overruled says that the decision is not in force, because the file names the
	// user.
	Overruled bool     `json:"overruled,omitempty"`
	SignIns   []SignIn `json:"sign_ins"`
	// Bans are those of the user, and of sources that he is signed in from.
	Bans []remoteaccess.Ban `json:"bans"`

	// Terms is what goes for the user, key by key, and which rule says so. In lists it
	// is left out, as are the groups.
	Terms  []Term   `json:"terms,omitempty"`
	Groups []string `json:"groups,omitempty"` // by their names in remote.toml
	// Trouble is why it is not known in which groups of the directory he is.
	Trouble string `json:"trouble,omitempty"`
	// Faults are those of UserList. In lists they are left out.
	Faults []string `json:"faults,omitempty"`
}

// The states of users.
const (
	StateAllowed = "allowed"
	StateDenied  = "denied"
	// StateByGroup is that of a user in a list about whom the directory would have to
	// be asked.
	StateByGroup = "by group"
)

// A Rule is what decided, and where it is written.
type Rule struct {
	Name string `json:"name"`
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

// String returns `user alice@example.com (remote.toml:12)`.
func (r Rule) String() string { return allowlists.Rule(r).String() }

// A Term is one thing that is said of users, as it is written in remote.toml.
type Term struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	Rule  Rule   `json:"rule,omitzero"`
}

// A SignIn is one device on which a user is signed in. What the client says of itself
// is what it says.
type SignIn struct {
	Flow      string    `json:"flow"`
	User      string    `json:"user"`
	Device    string    `json:"device"`
	Contact   string    `json:"contact,omitempty"`
	Software  string    `json:"software,omitempty"`
	Transport string    `json:"transport"`
	Remote    string    `json:"remote"`
	Outbound  bool      `json:"outbound"` // the home server does outbound for it (RFC 5626)
	Since     time.Time `json:"since"`
	Refreshed time.Time `json:"refreshed"`
	Until     time.Time `json:"until"`
}

func signInOf(s *remoteaccess.SignIn) SignIn {
	return SignIn{
		Flow: flowID(s.Flow), User: s.User, Device: s.Device, Contact: s.Contact, Software: s.Agent, Transport: s.Transport,
		Remote: s.Remote.String(), Outbound: s.Outbound, Since: s.Since.UTC(), Refreshed: s.Refreshed.UTC(), Until: s.Until.UTC(),
	}
}

// signIns is never nil: an empty list is one in JSON, too.
func signIns(list []*remoteaccess.SignIn) []SignIn {
	all := make([]SignIn, len(list))
	for i, s := range list {
		all[i] = signInOf(s)
	}
	return all
}

// flowID is the number of a flow as text: programs that read JSON have no numbers
// that are as large.
func flowID(id uint64) string { return strconv.FormatUint(id, 10) }

// A Section is one section of remote.toml that takes more than one user.
type Section struct {
	Kind string `json:"kind"` // "pattern", "group", "default"
	Name string `json:"name,omitempty"`
	DN   string `json:"dn,omitempty"`
	Says []Term `json:"says"`
	Note string `json:"note,omitempty"`
	Rule Rule   `json:"rule"`
}

// UserList is GET /v1/users: those who are signed in, whom remote.toml names, in a
// section or as members of a group, or about whom somebody has decided, by address; and
// what goes for others.
type UserList struct {
	Users    []User    `json:"users"`
	Sections []Section `json:"sections"`
	Warnings []string  `json:"warnings,omitempty"` // about remote.toml
	// Faults are those of remote.toml as it is now, if it is faulty: what is shown is
	// by the last good one.
	Faults []string `json:"faults,omitempty"`
}

// mostFaults is how many faults of a file are shown; check lists all.
const mostFaults = 20

// faultTexts are the texts of faults.
func faultTexts(faults []error) (list []string) {
	for _, err := range faults[:min(len(faults), mostFaults)] {
		list = append(list, err.Error())
	}
	return list
}

// users lists all, or those in whose entry a word occurs.
func (s *Server) users(c *call) (any, error) {
	r := s.register()
	names := make(map[string]bool)
	for _, in := range s.Edge.Users().All() {
		names[in.User] = true
	}
	for name := range r.decided {
		names[name] = true
	}
	word := strings.ToLower(c.query.Get("word"))
	list := UserList{Users: []User{}, Sections: []Section{}, Faults: faultTexts(s.Access.RemoteFaults())}
	for _, e := range r.entries {
		for _, member := range e.Members {
			names[member] = true
		}
		switch {
		case e.Kind == "decision":
		case e.Kind == "user" && strings.Contains(e.Name, "@"):
			names[e.Name] = true
		default:
			if section := sectionOf(e); section.mentions(word) {
				list.Sections = append(list.Sections, section)
			}
		}
	}
	for name := range names {
		if u := r.user(name, lastGroups(r.signIns(name)), r.access.AsksGroups()); u.mentions(word) {
			list.Users = append(list.Users, u)
		}
	}
	slices.SortFunc(list.Users, func(a, b User) int { return strings.Compare(a.User, b.User) })
	for _, w := range r.access.Warnings() {
		list.Warnings = append(list.Warnings, w.Error())
	}
	return list, nil
}

// user shows one.
func (s *Server) user(c *call) (any, error) {
	name, err := s.ourUser(c, remoteaccess.NormalUser)
	if err != nil {
		return nil, err
	}
	return s.person(c.ctx, name), nil
}

// askDirectory is how long the directory may take to say in which groups a user is.
const askDirectory = 5 * time.Second

// person is all that there is to say about a user.
func (s *Server) person(ctx context.Context, name string) User {
	r := s.register()
	local, domain := cut(name)
	groups := lastGroups(r.signIns(name))
	var trouble string
	if r.access.AsksGroups() {
		ctx, cancel := context.WithTimeout(ctx, askDirectory)
		defer cancel()
		if known, err := s.Directory.Groups(ctx, local, domain); err != nil {
			trouble = err.Error()
		} else {
			groups = known
		}
	}
	u := r.user(name, groups, false)
	u.Trouble, u.Faults = trouble, faultTexts(s.Access.RemoteFaults())
	u.Groups = r.access.Member([]byte(local), []byte(domain), groups)
	for _, said := range r.access.Explain([]byte(local), []byte(domain), groups) {
		u.Terms = append(u.Terms, termOf(said))
	}
	return u
}

// lastGroups are the groups of the directory that a user was in when he signed in
// last.
func lastGroups(in []*remoteaccess.SignIn) []string {
	if len(in) == 0 {
		return nil
	}
	return in[len(in)-1].Groups
}

func termOf(s remoteaccess.Said) Term { return Term{s.Key, s.Value, Rule(s.Rule)} }

func sectionOf(e remoteaccess.Entry) Section {
	s := Section{Kind: e.Kind, Name: e.Name, DN: e.DN, Says: []Term{}, Note: e.Note, Rule: Rule(e.Rule)}
	for _, said := range e.Said {
		s.Says = append(s.Says, Term{Key: said.Key, Value: said.Value})
	}
	return s
}

// cut parts an address of record.
func cut(address string) (user, domain string) {
	at := strings.LastIndexByte(address, '@')
	return address[:max(at, 0)], address[at+1:]
}

// ourUser is the user in the path, in the normal form that read brings him into.
func (s *Server) ourUser(c *call, read func(string) (string, error)) (string, error) {
	name, err := read(c.vars["user"])
	if err != nil {
		return "", problem(http.StatusBadRequest, CodeMalformed, "%q is not the address of a user: %v", clip(c.vars["user"]), err)
	}
	if _, domain := cut(name); !ours(s.Lists.Partners(), domain) {
		return "", problem(http.StatusNotFound, CodeNotFound, "%s is none of our users: %s is no domain of ours", name, domain)
	}
	return name, nil
}

// has reports whether a word, in lower case, occurs in one of several texts.
func has(word string, texts ...string) bool {
	return word == "" || slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(strings.ToLower(t), word) })
}

// mentions reports whether a word occurs in what people filter by.
func (u *User) mentions(word string) bool {
	texts := []string{u.User, u.Unicode, u.State, u.Rule.String()}
	if u.Decision != nil {
		texts = append(texts, "decision", u.Decision.By, u.Decision.Note)
	}
	if u.Overruled {
		texts = append(texts, "conflict")
	}
	if len(u.Bans) > 0 {
		texts = append(texts, "banned")
	}
	for _, s := range u.SignIns {
		texts = append(texts, "signed in", s.Device, s.Software, s.Transport, s.Remote, s.Flow)
	}
	return has(word, texts...)
}

func (s *Section) mentions(word string) bool {
	return has(word, s.Kind, s.Name, s.DN, s.Note, s.Rule.String())
}
