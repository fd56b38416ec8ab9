// Package allowlists decides who may talk to whom: a Question in, a Verdict
// with its Rule out.
//
// It is pure: no I/O, no clock, no DNS. It knows names and methods, not
// certificates: whether a peer may call itself by a name is the matter of
// those who ask (federation, later remoteaccess and bridges). Its Lists are an
// immutable snapshot; a reload makes new ones.
package allowlists

import "strconv"

// An Action is what to do with a request. The zero Action refuses: nothing is
// allowed by accident.
type Action int

// What can be done with a request.
const (
	Refuse Action = iota // answer with a status
	Drop                 // say nothing
	Allow                // let it through
)

// String returns the word for logs and explain.
func (a Action) String() string {
	switch a {
	case Allow:
		return "allow"
	case Drop:
		return "drop"
	default:
		return "refuse"
	}
}

// A Rule names what decided: an entry of a list or a default, and where it
// is written.
type Rule struct {
	Name string // "partner fabrikam.example"
	File string // as the administrator named it
	Line int    // 0: written nowhere
}

// String returns `partner fabrikam.example (partners.toml:12)`.
func (r Rule) String() string {
	switch {
	case r.File == "":
		return r.Name
	case r.Line == 0:
		return r.Name + " (" + r.File + ")"
	default:
		return r.Name + " (" + r.File + ":" + strconv.Itoa(r.Line) + ")"
	}
}

// A Verdict is the answer to a Question. The zero Verdict refuses with 403.
// Verdicts compare with ==.
type Verdict struct {
	Action Action
	Status int // SIP status of a refusal; 0 means 403
	Reason Reason
	Rule   Rule
}

// Allowed reports whether the request may go on.
func (v Verdict) Allowed() bool { return v.Action == Allow }

// Code returns the SIP status to answer with, also for the zero Verdict. It
// means nothing when v allows.
func (v Verdict) Code() int {
	if v.Status == 0 {
		return 403
	}
	return v.Status
}

// Refusal returns the Verdict that refuses for reason r, with its usual status.
func Refusal(r Reason, rule Rule) Verdict {
	return Verdict{Action: Refuse, Status: r.Status(), Reason: r, Rule: rule}
}

// Allowance returns the Verdict that lets a request through for reason r.
func Allowance(r Reason, rule Rule) Verdict {
	return Verdict{Action: Allow, Reason: r, Rule: rule}
}

// A Direction is the way a request takes across the edge.
type Direction int

// The two directions.
const (
	In  Direction = iota // from the partner to us
	Out                  // from us to the partner
)

// String returns "in" or "out".
func (d Direction) String() string {
	if d == Out {
		return "out"
	}
	return "in"
}

// An Address is a user at a domain. User is as it is on the wire, Domain in
// normal form.
type Address struct{ User, Domain []byte }

// A Question asks whether a request may pass. Remote is the partner's domain in
// its one normal form (lower case, A-labels, no trailing dot); a name in any
// other form is nobody's.
type Question struct {
	Direction Direction
	Method    []byte // compared exactly: methods are case-sensitive (RFC 3261 §7.1)
	Remote    []byte

	Them, Us Address // who on the partner's side, and who on ours
	// Dialog: the request belongs to a dialog that began with leave. Who may
	// begin one, which way, is not asked again.
	Dialog bool
	Kinds  Kinds // what it carries
	// Number: Us is a telephone number.
	Number     bool
	Size, Body int // octets of the message, and of its body
}

// A Problem is a fault of a list, at the line where it was written.
type Problem struct {
	File string
	Line int
	Text string
}

// Error returns `partners.toml:12: text`.
func (p Problem) Error() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ": " + p.Text
}

// Position returns where the fault is, for those who sort faults by line.
func (p Problem) Position() (file string, line int) { return p.File, p.Line }
