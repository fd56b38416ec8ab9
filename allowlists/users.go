package allowlists

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// longest is how many octets a user may have, in normal form. One that is longer
// is only in patterns that take everybody.
const longest = 256

// mostPatterns is how many patterns with a star a list may have: each of them is
// looked at for each request. Names without one are as many as you like.
const mostPatterns = 256

// Users is a compiled list of users. A nil Users has everybody in it. It is
// immutable, and asking costs the same for any number of plain names.
type Users struct {
	exact    map[string]bool // "user@domain", or "user@" in any domain
	everyone map[string]bool // domains of which all are in it
	globs    map[string][]glob
}

// A glob is a pattern with stars: what stands before the first, between them,
// and after the last.
type glob struct {
	head, tail string
	middle     [][]byte
	user       string // the whole
}

// NewUsers compiles a list of patterns; key is what it is called in faults. A
// nil list is everybody.
func NewUsers(key string, patterns []string) (*Users, []error) {
	if patterns == nil {
		return nil, nil
	}
	if len(patterns) == 0 {
		return nil, []error{fmt.Errorf("%s is empty; leave it out for everybody", key)}
	}
	u := &Users{exact: make(map[string]bool), everyone: make(map[string]bool), globs: make(map[string][]glob)}
	var errs []error
	globs := 0
	for _, p := range patterns {
		n, err := u.add(p)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", key, p, err))
		}
		globs += n
	}
	if globs > mostPatterns {
		errs = append(errs, fmt.Errorf("%s has %d patterns with a star; more than %d would slow every request down", key, globs, mostPatterns))
	}
	if errs != nil {
		return nil, errs
	}
	return u, nil
}

// add compiles one pattern, and returns how many of its kind have to be looked
// through.
func (u *Users) add(pattern string) (globs int, err error) {
	user, domain, err := ParsePattern(pattern)
	if err != nil {
		return 0, err
	}
	switch {
	case user == star:
		u.everyone[domain] = true
	case strings.Contains(user, star):
		u.globs[domain] = append(u.globs[domain], newGlob(user))
		return 1, nil
	case domain == "":
		u.exact[user+"@"] = true
	default:
		u.exact[user+"@"+domain] = true
	}
	return 0, nil
}

func newGlob(user string) glob {
	parts := strings.Split(user, star)
	last := len(parts) - 1
	g := glob{head: parts[0], tail: parts[last], user: user}
	for _, p := range parts[1:max(last, 1)] {
		if p != "" {
			g.middle = append(g.middle, []byte(p))
		}
	}
	return g
}

// star stands for a pattern's star among the octets of users, of which none is
// NUL in a URI (RFC 3261 §25.1). Users may well have the character * in them.
const star = "\x00"

// ParsePattern reads "alice@example.com", "sales-*@example.com", "*@example.com"
// or "bob", and returns user and domain in the form in which they are compared.
// Without a domain it is any.
func ParsePattern(pattern string) (user, domain string, err error) {
	user, domain, at := strings.Cut(pattern, "@")
	switch {
	case user == "":
		return "", "", errors.New("names no user; * is all of them")
	case strings.ContainsAny(user, ":") || strings.ContainsFunc(user, control):
		return "", "", errors.New("not a user: it is written without sip:, password or blanks")
	case strings.ContainsFunc(user, unseen):
		return "", "", errors.New("not a user: what cannot be seen is written as its octets, as in %C2%A0")
	case !escapesWell(user):
		return "", "", errors.New("not a user: behind a % stand two hexadecimal digits, as in %2A for a star")
	case at && domain == "":
		return "", "", errors.New("names no domain after the @")
	case strings.ContainsAny(domain, "*@"):
		return "", "", errors.New("the domain must be a name; leave it out for any")
	}
	var buf [longest]byte
	b, ok := AppendUser(buf[:0], []byte(strings.ReplaceAll(user, "*", star)))
	if !ok {
		return "", "", fmt.Errorf("the user is longer than %d octets", longest)
	}
	user = string(b)
	for strings.Contains(user, star+star) {
		user = strings.ReplaceAll(user, star+star, star)
	}
	return user, domain, nil
}

func control(r rune) bool { return r <= ' ' || r == 0x7f }

// unseen reports whether nobody who reads a list knows that there is such a character:
// blanks, what only says how others are to be shown, and octets that are no text.
func unseen(r rune) bool {
	return r == utf8.RuneError || unicode.In(r, unicode.C, unicode.Z)
}

// escapesWell reports whether each % begins an escape (RFC 3261 §25.1): with one that
// does not, the form that is compared would have another form.
func escapesWell(user string) bool {
	for i := range len(user) {
		if user[i] == '%' && (i+2 >= len(user) || hex(user[i+1]) < 0 || hex(user[i+2]) < 0) {
			return false
		}
	}
	return true
}

// Match reports whether the address is in the list. It allocates nothing.
func (u *Users) Match(a Address) bool {
	if u == nil || u.everyone[""] || u.everyone[string(a.Domain)] {
		return true
	}
	var buf [longest + 1 + 255]byte
	user, ok := AppendUser(buf[:0:longest], a.User)
	if !ok || len(a.Domain) > 255 {
		return false
	}
	full := append(append(buf[:len(user)], '@'), a.Domain...)
	return u.exact[string(full[:len(user)+1])] || u.exact[string(full)] ||
		matches(u.globs[""], user) || matches(u.globs[string(a.Domain)], user)
}

func matches(globs []glob, user []byte) bool {
	for i := range globs {
		g := &globs[i]
		if g.match(user) {
			return true
		}
	}
	return false
}

// match looks for the parts from the left, each where it comes first: a later
// place never helps, so one pass is enough.
func (g *glob) match(user []byte) bool {
	if len(user) < len(g.head)+len(g.tail) || string(user[:len(g.head)]) != g.head {
		return false
	}
	end := len(user) - len(g.tail)
	if string(user[end:]) != g.tail {
		return false
	}
	user = user[len(g.head):end]
	for _, part := range g.middle {
		i := bytes.Index(user, part)
		if i < 0 {
			return false
		}
		user = user[i+len(part):]
	}
	return true
}

// AppendUser appends the form of a user part in which lists compare it, unless it
// does not fit into dst.
//
// An octet and its %HH are the same, but for those that are reserved: an escaped
// @ is not an @ (RFC 3261 §19.1.4). The same section says that case counts in
// users. Here it does not: the home servers of the world find alice where ALICE
// was written, so a list that thinks them two people would keep in or out
// somebody else than its author meant. What follows a semicolon belongs to the
// user, as in alice;day=tuesday (RFC 3261 §19.1.3): who else that might be only
// the home server knows.
//
// The separators of a global phone number are nothing (RFC 3966 §5.1.1).
func AppendUser(dst, user []byte) ([]byte, bool) {
	for len(user) > 0 {
		c, n := unescaped(user)
		if n == 3 && reserved(c) {
			if len(dst)+3 > cap(dst) {
				return dst, false
			}
			dst = append(dst, '%', upper(user[1]), upper(user[2]))
		} else {
			if len(dst) == cap(dst) {
				return dst, false
			}
			dst = append(dst, lower(c))
		}
		user = user[n:]
	}
	return number(dst), true
}

// AppendShown appends a user as AppendUser has it, in the form in which people and
// records have it: what would be a star of a pattern or cannot be seen is escaped. It
// is the text that NewPattern takes as it is, and AppendUser makes of it what it was.
func AppendShown(dst, user []byte) []byte {
	const digits = "0123456789ABCDEF"
	for len(user) > 0 {
		if c := user[0]; '!' <= c && c <= '~' && c != '*' {
			dst, user = append(dst, c), user[1:] // nearly all, and seen by everybody
			continue
		}
		r, n := utf8.DecodeRune(user)
		switch {
		case user[0] == star[0]:
			dst = append(dst, '*')
		case r == '*' || unseen(r):
			for _, c := range user[:n] {
				dst = append(dst, '%', digits[c>>4], digits[c&15])
			}
		default:
			dst = append(dst, user[:n]...)
		}
		user = user[n:]
	}
	return dst
}

// unescaped returns the octet that b begins with, and from how many of b.
func unescaped(b []byte) (c byte, n int) {
	if b[0] != '%' || len(b) < 3 {
		return b[0], 1
	}
	hi, lo := hex(b[1]), hex(b[2])
	if hi < 0 || lo < 0 {
		return b[0], 1 // the reader of URIs refuses it, and no list has it
	}
	return byte(hi<<4 | lo), 3
}

// reserved reports whether an octet that is escaped stays so: it is something
// else than the octet itself (RFC 3261 §19.1.4, §25.1), or no text.
func reserved(c byte) bool {
	switch c {
	case ';', '/', '?', ':', '@', '&', '=', '+', '$', ',', '%', 0x7f:
		return true
	}
	return c < ' '
}

// number takes the separators out of a global phone number (RFC 3966 §3), up to
// its parameters; anything else stays as it is.
func number(user []byte) []byte {
	if len(user) < 2 || user[0] != '+' {
		return user
	}
	end := len(user)
	for i, c := range user[1:] {
		if c == ';' {
			end = i + 1
			break
		}
		if !('0' <= c && c <= '9') && !separator(c) && c != star[0] {
			return user
		}
	}
	out := user[:1]
	for _, c := range user[1:end] {
		if !separator(c) {
			out = append(out, c)
		}
	}
	return append(out, user[end:]...)
}

func separator(c byte) bool { return c == '-' || c == '.' || c == '(' || c == ')' }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'f' {
		return c - 'a' + 'A'
	}
	return c
}

func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// OddUser reports whether a user, as AppendUser has it, may be somebody else's name to
// the home server: it may cut it where parameters begin, or take an escape for what it
// stands for. Who is denied must not come back as alice;x or alice%00. Nor as what
// stands in a URI only escaped (RFC 3261 §25.1): alice with a blank behind it, which
// many a database passes over, or behind a domain of Windows and a backslash. Nor with
// letters beyond ASCII: a directory may take álice for alice. Where a list names all of
// it, it is known who is meant.
func OddUser(name []byte) bool {
	return bytes.ContainsAny(name, ";% \"#<>[\\]^`{|}") ||
		bytes.IndexFunc(name, func(r rune) bool { return r > unicode.MaxASCII }) >= 0
}
