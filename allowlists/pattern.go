package allowlists

import (
	"strings"
)

// NormalPattern brings the domain of a pattern of users into normal form.
func NormalPattern(pattern string) (string, error) {
	user, domain, at := strings.Cut(pattern, "@")
	if !at || domain == "" || strings.ContainsAny(domain, "*@") {
		return pattern, nil // ParsePattern says what is wrong with it
	}
	name, err := NormalDomain(domain)
	if err != nil {
		return pattern, err
	}
	return user + "@" + name, nil
}

// A Pattern is one pattern of users, for those who ask which of several takes a
// user. It is immutable.
type Pattern struct {
	user, domain string // as ParsePattern returns them
	glob         glob
}

// NewPattern compiles one pattern, as ParsePattern reads it, with its domain in
// any form.
func NewPattern(pattern string) (*Pattern, error) {
	pattern, err := NormalPattern(pattern)
	if err != nil {
		return nil, err
	}
	user, domain, err := ParsePattern(pattern)
	if err != nil {
		return nil, err
	}
	return &Pattern{user: user, domain: domain, glob: newGlob(user)}, nil
}

// Exact reports whether the pattern takes one user and no other, though maybe
// in any domain.
func (p *Pattern) Exact() bool { return !strings.Contains(p.user, star) }

// Domain returns the domain in normal form, "" for any.
func (p *Pattern) Domain() string { return p.domain }

// Literal returns how many octets of the user the pattern names.
func (p *Pattern) Literal() int { return len(p.user) - strings.Count(p.user, star) }

// String returns the pattern in the form in which it is compared, as a person
// writes it. Two patterns with the same String take the same users.
func (p *Pattern) String() string {
	if p.domain == "" {
		return shown(p.user)
	}
	return shown(p.user) + "@" + p.domain
}

// Key returns "user@domain", or "user@" for any domain, with the user as
// AppendUser has it: what an exact pattern is found by.
func (p *Pattern) Key() string { return p.user + "@" + p.domain }

// Match reports whether the pattern takes the user, which must be as AppendUser
// has it, in the domain.
func (p *Pattern) Match(user, domain []byte) bool {
	if p.domain != "" && p.domain != string(domain) {
		return false
	}
	if p.Exact() {
		return p.user == string(user)
	}
	return p.glob.match(user)
}
