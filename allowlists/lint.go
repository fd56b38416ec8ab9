package allowlists

import (
	"fmt"
	"slices"
)

// fewFindings is how many findings about one list are told each; the others are
// counted.
const fewFindings = 3

// Lint returns what in an entry works and does nothing, because something else
// in it decides before. The entry must be one that NewTerms takes.
func (a Allowed) Lint() []string {
	list := append(a.lintMethods(), a.lintKinds()...)
	if a.MaxMessage > 0 && a.MaxBody >= a.MaxMessage {
		list = append(list, fmt.Sprintf("max_body = %d is never reached: max_message = %d is", a.MaxBody, a.MaxMessage))
	}
	list = append(list, lintUsers("users", a.Users)...)
	return append(list, lintUsers("their_users", a.TheirUsers)...)
}

// lintMethods finds methods that nobody has heard of, and those that may carry
// nothing that is listed.
func (a Allowed) lintMethods() (list []string) {
	for _, m := range a.Methods {
		if !slices.Contains(registered, m) && !slices.Contains(bare, m) && kindsBy[m] == 0 {
			list = append(list, fmt.Sprintf("the method %s is none that is known: only what is spelled so passes", m))
		}
	}
	if a.Kinds == nil {
		return list
	}
	var kinds Kinds
	for _, name := range a.Kinds {
		k, _ := ParseKind(name)
		kinds |= k
	}
	for _, m := range a.Methods {
		if kindsBy[m]&kinds == 0 && !slices.Contains(bare, m) {
			list = append(list, fmt.Sprintf("the method %s never passes: it carries nothing of what kinds lists", m))
		}
	}
	return list
}

// lintKinds finds kinds that no listed method carries.
func (a Allowed) lintKinds() (list []string) {
	if a.Methods == nil {
		return nil
	}
	var may Kinds
	for _, m := range a.Methods {
		may |= kindsBy[m]
	}
	for _, name := range a.Kinds {
		if k, _ := ParseKind(name); k&may == 0 {
			list = append(list, fmt.Sprintf("the kind %q never passes: none of methods carries it", name))
		}
	}
	return list
}

// lintUsers finds patterns that take nobody whom another one does not take.
func lintUsers(key string, patterns []string) (list []string) {
	u, errs := NewUsers(key, patterns)
	if u == nil || errs != nil {
		return nil
	}
	seen := make(map[string]string, len(patterns))
	more := 0
	for _, p := range patterns {
		user, domain, err := ParsePattern(p)
		if err != nil {
			continue
		}
		by := u.coveredBy(user, domain)
		if by == "" {
			by = seen[user+"@"+domain]
		}
		seen[user+"@"+domain] = p
		switch {
		case by == "":
		case len(list) < fewFindings:
			list = append(list, fmt.Sprintf("%s %q does nothing: %q covers it", key, p, by))
		default:
			more++
		}
	}
	if more > 0 {
		list = append(list, fmt.Sprintf("%s has %d more that others cover", key, more))
	}
	if u.everyone[""] {
		list = append(list, fmt.Sprintf("%s lets everybody through: \"*\" is as good as no list", key))
	}
	return list
}

// coveredBy finds a wider pattern that takes all whom the pattern of user and
// domain takes, "" if there is none. What a star of it stands for only a star
// can take, so it is enough to ask about the pattern itself.
func (u *Users) coveredBy(user, domain string) string {
	switch {
	case user == star && domain == "":
		return ""
	case u.everyone[""]:
		return "*"
	case u.everyone[domain] && user != star:
		return "*@" + domain
	case domain != "" && u.exact[user+"@"]:
		return shown(user)
	}
	for _, d := range []string{"", domain} {
		for i := range u.globs[d] {
			g := &u.globs[d][i]
			if (g.user != user || d != domain) && g.match([]byte(user)) {
				if d == "" {
					return shown(g.user)
				}
				return shown(g.user) + "@" + d
			}
		}
		if domain == "" {
			break
		}
	}
	return ""
}

// shown is a compared form as a person writes it.
func shown(user string) string { return string(AppendShown(nil, []byte(user))) }
