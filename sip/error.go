package sip

import (
	"fmt"
	"strings"
)

// An Error is a fault that has an answer. Reason goes on the wire; Err goes to
// the log and never leaves the machine.
type Error struct {
	Status int
	Reason string
	Err    error
}

// Error describes the fault for the log.
func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("sip: %d %s", e.Status, e.Reason)
	}
	return fmt.Sprintf("sip: %d %s: %v", e.Status, e.Reason, e.Err)
}

// Unwrap returns the fault behind the answer.
func (e *Error) Unwrap() error { return e.Err }

// maxReason bounds a reason phrase: a stranger's octets may be quoted in it.
const maxReason = 120

// Faultf makes an Error whose Reason is the formatted text, made safe for the wire.
func Faultf(status int, format string, args ...any) *Error {
	return &Error{Status: status, Reason: safeReason(fmt.Sprintf(format, args...))}
}

// safeReason keeps a reason phrase on one line and in printable ASCII, so that
// what it quotes can end neither the status line nor a line of the log.
func safeReason(s string) string {
	if len(s) > maxReason {
		s = s[:maxReason]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// A syntaxError says which rule of the grammar a value breaks. It names the rule
// and never quotes the value.
type syntaxError string

func (e syntaxError) Error() string { return string(e) }

const (
	errEmpty     = syntaxError("empty value")
	errQuote     = syntaxError("bad quoted string")
	errParam     = syntaxError("bad parameter")
	errRepeated  = syntaxError("parameter given twice")
	errTrailing  = syntaxError("something after the end")
	errScheme    = syntaxError("bad scheme")
	errUser      = syntaxError("bad user part")
	errHost      = syntaxError("bad host")
	errPort      = syntaxError("bad port")
	errURIParam  = syntaxError("bad URI parameter")
	errURIHeader = syntaxError("bad URI header")
	errURIChar   = syntaxError("character not allowed in a URI")
	errBracket   = syntaxError("URI needs angle brackets")
	errUnclosed  = syntaxError("angle bracket not closed")
	errDisplay   = syntaxError("bad display name")
	errProtocol  = syntaxError("bad sent-protocol")
	errBranch    = syntaxError("branch is only the magic cookie")
	errNumber    = syntaxError("bad number")
	errRange     = syntaxError("number out of range")
	errMethod    = syntaxError("bad method")
	errWord      = syntaxError("bad word")
)
