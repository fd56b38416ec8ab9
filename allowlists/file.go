package allowlists

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxAddress is how long the address of a user may be as a person writes it, in
// octets: a name of [MaxUser] octets with each of them escaped, and a domain.
const MaxAddress = 3*MaxUser + 1 + 253

// MaxUser is how many octets the name of a user may have in normal form.
const MaxUser = 256

// NormalUser brings the address of one user, as a person writes it, into the form in
// which it is compared. file is where patterns stand, for who writes one.
func NormalUser(s, file string) (string, error) {
	if len(s) > MaxAddress {
		return "", errors.New("too long to be an address")
	}
	p, err := NewPattern(s)
	switch {
	case err != nil:
		return "", err
	case !p.Exact():
		return "", fmt.Errorf("a pattern is not one user; patterns stand in %s", file)
	case p.Domain() == "":
		return "", errors.New("has no domain; write it as user@domain")
	}
	return p.String(), nil
}

// MostLiteral orders patterns: first the one that names more of a user, and one that
// names the domain before one that does not.
func MostLiteral(a, b *Pattern) int {
	return cmp.Or(cmp.Compare(b.Literal(), a.Literal()), cmp.Compare(len(b.Domain()), len(a.Domain())))
}

// ByLine returns the names of a section's tables in the order of the file, so that the
// second of two equal entries is the one that is reported. There may
// be 100,000 of them, so each line is asked for once.
func ByLine[T any](tables map[string]T, line func(T) int) []string {
	type table struct {
		name string
		line int
	}
	order := make([]table, 0, len(tables))
	for name, t := range tables {
		order = append(order, table{name, line(t)})
	}
	slices.SortFunc(order, func(a, b table) int {
		return cmp.Or(cmp.Compare(a.line, b.line), strings.Compare(a.name, b.name))
	})
	names := make([]string, len(order))
	for i, t := range order {
		names[i] = t.name
	}
	return names
}

// InOrder returns problems as errors, in the order of the file.
func InOrder(problems []Problem) []error {
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errs
}
