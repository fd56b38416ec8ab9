package allowlists

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Allowed is what an entry that allows may say about what it allows, as it was
// written. The zero Allowed restricts nothing.
type Allowed struct {
	Methods    []string // nil: all
	Direction  string   // "both" or "", "in", "out"
	Kinds      []string // nil: all
	Users      []string // patterns of users on our side; nil: all
	TheirUsers []string // of users on the partner's side
	Numbers    bool     // telephone numbers on our side, too
	MaxMessage int      // octets; 0: any
	MaxBody    int
}

// Terms is a compiled Allowed. Entries that say the same share one: of 100,000
// partners the next is never in the processor's cache, but its terms are. Terms
// are immutable; nil and zero Terms allow nothing.
type Terms struct {
	ways    [2]bool  // by Direction
	methods []string // empty: all
	within  []string // more methods that may pass within dialogs
	kinds   Kinds    // 0: all
	users   *Users   // nil: all
	theirs  *Users
	numbers bool
	message int // octets; 0: any
	body    int
	open    bool // nothing but numbers, and what registers, is restricted
}

// NewTerms compiles what an entry says. All that is wrong with it is returned,
// and no Terms then.
func NewTerms(a Allowed) (*Terms, []error) {
	t := &Terms{numbers: a.Numbers, message: a.MaxMessage, body: a.MaxBody}
	var errs []error
	fault := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	fault(t.direct(a.Direction))
	for _, err := range t.list(a.Methods) {
		fault(err)
	}
	for _, err := range t.carry(a.Kinds) {
		fault(err)
	}
	if a.MaxMessage < 0 || a.MaxBody < 0 {
		fault(errors.New("max_message and max_body must be more than 0; leave them out for the default"))
	}
	var faults []error
	if t.users, faults = NewUsers("users", a.Users); faults != nil {
		errs = append(errs, faults...)
	}
	if t.theirs, faults = NewUsers("their_users", a.TheirUsers); faults != nil {
		errs = append(errs, faults...)
	}
	if errs != nil {
		return nil, errs
	}
	t.open = t.ways == [2]bool{true, true} && len(t.methods) == 0 && t.kinds == 0 &&
		t.users == nil && t.theirs == nil && t.message == 0 && t.body == 0
	return t, nil
}

// Numbers reports whether the partner may have telephone numbers called.
func (t *Terms) Numbers() bool { return t != nil && t.numbers }

// Open reports whether the terms restrict nothing but telephone numbers and what
// registers. Those of most partners are so, and need no Question.
func (t *Terms) Open() bool { return t != nil && t.open }

func (t *Terms) direct(direction string) error {
	switch direction {
	case "", "both":
		t.ways = [2]bool{In: true, Out: true}
	case "in":
		t.ways[In] = true
	case "out":
		t.ways[Out] = true
	default:
		return fmt.Errorf("direction %q is none of \"both\", \"in\", \"out\"", direction)
	}
	return nil
}

// inCall are the methods that exist only within what an INVITE began: who may
// INVITE may end a call, too (RFC 3261 §9, §13, §15; RFC 3262; RFC 3311).
var inCall = []string{"ACK", "CANCEL", "BYE", "PRACK", "UPDATE"}

// notices are how one hears of what one subscribed to (RFC 6665 §4.1.3) or asked
// for (RFC 3515 §2.4.4).
//
// COMPAT(Microsoft): BENOTIFY is a NOTIFY that nobody answers.
var notices = []string{"NOTIFY", "BENOTIFY"}

func (t *Terms) list(methods []string) (errs []error) {
	if methods != nil && len(methods) == 0 {
		return []error{errors.New("methods is empty; leave it out to allow all")}
	}
	for _, m := range methods {
		if err := method(m); err != nil {
			errs = append(errs, err)
		}
	}
	t.methods = slices.Clone(methods)
	if slices.Contains(methods, "INVITE") {
		t.methods = append(t.methods, inCall...)
	}
	if slices.Contains(methods, "SUBSCRIBE") || slices.Contains(methods, "REFER") {
		t.within = notices
	}
	return errs
}

func (t *Terms) carry(kinds []string) (errs []error) {
	if kinds != nil && len(kinds) == 0 {
		return []error{errors.New("kinds is empty; leave it out to allow all")}
	}
	for _, name := range kinds {
		k, ok := ParseKind(name)
		if !ok {
			errs = append(errs, fmt.Errorf("kind %q is none of \"im\", \"presence\", \"calls\", \"files\"", name))
		}
		t.kinds |= k
	}
	return errs
}

// method refuses what no request can have as its method. Methods are
// case-sensitive, so "message" would be an entry that never matches.
func method(m string) error {
	if !token(m) {
		return fmt.Errorf("method %q is not a SIP method name", m)
	}
	if upper := strings.ToUpper(m); upper != m && slices.Contains(registered, upper) {
		return fmt.Errorf("method %q must be written %q: case counts", m, upper)
	}
	return nil
}

// registered are the methods of IANA's registry (RFC 3261 §27.4).
var registered = []string{
	"ACK", "BYE", "CANCEL", "INFO", "INVITE", "MESSAGE", "NOTIFY", "OPTIONS", "PRACK",
	"PUBLISH", "REFER", "REGISTER", "SUBSCRIBE", "UPDATE",
}

// token reports whether s is a token (RFC 3261 §25.1), as each method is.
func token(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '.', c == '!', c == '%', c == '*', c == '_', c == '+', c == '`', c == '\'', c == '~':
		default:
			return false
		}
	}
	return s != ""
}

// AsksKinds reports whether the terms look at what a request carries.
func (t *Terms) AsksKinds() bool { return t != nil && t.kinds != 0 }

// A Check is one thing that terms may restrict.
type Check int

// The checks, in the order in which they are made.
const (
	CheckDirection Check = iota
	CheckMethod
	CheckKinds
	CheckUsers
	CheckNumber // to a telephone number
	CheckSize
	NumChecks
)

// judge says why the terms refuse the request, or ReasonNone.
func (t *Terms) judge(q *Question) Reason {
	if t == nil || q.Direction < In || q.Direction > Out {
		return PartnerDirection
	}
	for c := range NumChecks {
		if r := t.check(c, q); r != ReasonNone {
			return r
		}
	}
	return ReasonNone
}

// check makes one check.
func (t *Terms) check(c Check, q *Question) Reason {
	switch c {
	case CheckDirection:
		if !q.Dialog && !t.ways[q.Direction] {
			return PartnerDirection
		}
	case CheckMethod:
		if !t.lists(q) {
			return PartnerMethod
		}
	case CheckKinds:
		if t.kinds != 0 && !t.carries(q) {
			return PartnerKind
		}
	case CheckUsers:
		if !q.Dialog && !(t.users.Match(q.Us) && t.theirs.Match(q.Them)) {
			return PartnerUser
		}
	case CheckNumber:
		if !q.Dialog && q.Number && q.Direction == In && !t.numbers {
			return PartnerNumber
		}
	case CheckSize:
		if t.message > 0 && q.Size > t.message || t.body > 0 && q.Body > t.body {
			return PartnerSize
		}
	}
	return ReasonNone
}

// Registers reports whether a request would have our home servers send what is for
// our users somewhere else (RFC 3261 §10). Of partners that is wanted only where
// an entry names the method.
func Registers(d Direction, method []byte) bool { return d == In && string(method) == "REGISTER" }

// lists reports whether the method may pass.
func (t *Terms) lists(q *Question) bool {
	if len(t.methods) == 0 {
		return !Registers(q.Direction, q.Method)
	}
	for _, m := range t.methods {
		if m == string(q.Method) {
			return true
		}
	}
	if q.Dialog {
		for _, m := range t.within {
			if m == string(q.Method) {
				return true
			}
		}
	}
	return false
}

// carries reports whether what the request carries may pass. What ends or
// confirms something that was let in passes whatever it is said to carry. A
// PRACK or an UPDATE may bring a call into what was let in as a chat (RFC 3262
// §5, RFC 3311 §5.1), so they are asked like the others.
func (t *Terms) carries(q *Question) bool {
	if q.Kinds&^t.kinds == 0 {
		return true
	}
	switch string(q.Method) {
	case "ACK", "BYE", "CANCEL":
		return q.Dialog
	}
	return false
}
