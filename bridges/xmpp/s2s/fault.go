package s2s

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A fault ends a stream. Condition and text go to the other side; err goes to
// the log and never leaves the machine.
type fault struct {
	condition string // of the stream error (RFC 6120 §4.9.3)
	text      string // may be empty
	err       error  // may be nil
}

func (f *fault) Error() string {
	s := reason(f.condition, f.text)
	if f.err != nil {
		s += ": " + f.err.Error()
	}
	return s
}

func (f *fault) Unwrap() error { return f.err }

// reason joins a condition and what is said about it.
func reason(condition, text string) string {
	if text == "" {
		return condition
	}
	return condition + ": " + text
}

// A complaint is what the other side says is wrong: a stream error, a refusal of
// SASL, or one of dialback.
type complaint struct {
	of        string // "stream", "sasl", "dialback"
	condition string // safe to log
	text      string // safe to log; may be empty
}

func (c *complaint) Error() string {
	return "it says " + reason(c.condition, c.text)
}

// complaintOf reads the condition and the text of an error of any kind: the first
// child of a namespace that is not its text, and that.
func complaintOf(e *stanza.Element, of, space string) *complaint {
	c := &complaint{of: of, condition: "undefined-condition"}
	found := false
	for _, child := range e.Children {
		switch {
		case child.Space != space:
		case child.Local == "text":
			c.text = words(child.Text)
		case !found:
			c.condition, found = words(child.Local), true
		}
	}
	return c
}

// words makes text of the other side safe for logs and people, and short.
func words(s string) string {
	const most = 200
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		s = s[:most] + "..."
	}
	q := strconv.QuoteToASCII(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// kind says which of the errors of this package a failure to get a stream is.
func kind(err error) error {
	for _, known := range []error{ErrNoServer, ErrUnreachable, ErrRefused, ErrUntrusted, ErrTimeout, ErrStopped} {
		if errors.Is(err, known) {
			return known
		}
	}
	if c, ok := errors.AsType[*complaint](err); ok {
		return c.kind()
	}
	if alertIn(err) != nil {
		return ErrRefused // our certificate, most likely
	}
	if isTimeout(err) {
		return ErrTimeout
	}
	return ErrUnreachable
}

func (c *complaint) kind() error {
	switch c.condition {
	case "host-unknown", "host-gone", "item-not-found": // XEP-0220 §2.5 has the last
		return ErrNoServer
	case "internal-server-error", "resource-constraint", "system-shutdown", "connection-timeout", "reset", "undefined-condition",
		"remote-connection-failed", "remote-server-timeout", "temporary-auth-failure":
		return ErrUnreachable
	}
	return ErrRefused
}

// as wraps a failure in the error of this package that it is, unless it is already.
func as(err error) error {
	k := kind(err)
	if errors.Is(err, k) {
		return err
	}
	return fmt.Errorf("%w: %w", k, err)
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

// vanished reports whether an error says only that the connection is no more.
func vanished(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// cut reports whether an error says that the other side has closed the connection, in
// whatever way.
func cut(err error) bool { return vanished(err) || errors.Is(err, syscall.ECONNRESET) }

// alertIn returns the alert of TLS that the other side has sent, if that is the error.
func alertIn(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "remote error" { // crypto/tls has no type for it
		return e.Err
	}
	return nil
}

// faultOf says what the other side is told when reading ended with err; nil for
// nothing.
func faultOf(err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	if s, ok := errors.AsType[*stanza.SyntaxError](err); ok {
		return &fault{condition: s.Condition, text: s.Text}
	}
	if isTimeout(err) {
		return &fault{condition: "connection-timeout"} // RFC 6120 §4.9.3.4
	}
	return nil
}
