package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// A Problem is why a peer's certificate was refused. It is for the log and the
// admin page, never for the peer.
type Problem string

// The closed list of problems.
const (
	NoneSent       Problem = "none sent"
	UnknownIssuer  Problem = "unknown issuer"
	Expired        Problem = "expired"
	NotYetValid    Problem = "not yet valid"
	WrongUsage     Problem = "wrong usage"
	NameNotCovered Problem = "name not covered"
	KeyNotPinned   Problem = "key not pinned"
	Revoked        Problem = "revoked"
	Malformed      Problem = "malformed"
)

// Problems lists every Problem, for metrics and documentation.
func Problems() []Problem {
	return []Problem{NoneSent, UnknownIssuer, Expired, NotYetValid, WrongUsage, NameNotCovered, KeyNotPinned, Revoked, Malformed}
}

// A VerifyError is the refusal of a peer's certificate. Its text is safe to
// log: what came from the certificate is escaped.
type VerifyError struct {
	Problem Problem
	Peer    string // the certificate in words, escaped; empty if none was sent
	Err     error  // the detail; may be nil
}

func (e *VerifyError) Error() string {
	var b strings.Builder
	b.WriteString("certificate refused: " + string(e.Problem))
	if e.Peer != "" {
		b.WriteString(": " + e.Peer)
	}
	if e.Err != nil {
		b.WriteString(": " + escape(e.Err.Error()))
	}
	return b.String()
}

func (e *VerifyError) Unwrap() error { return e.Err }

// refusal makes the error for a problem with a certificate.
func refusal(p Problem, c *x509.Certificate, err error) *VerifyError {
	e := &VerifyError{Problem: p, Err: err}
	if c != nil {
		e.Peer = describe(c)
	}
	return e
}

// ProblemOf finds the Problem in what a TLS handshake returned, or "" if the
// handshake failed for another reason than the peer's certificate.
//
// crypto/tls refuses some certificates before it asks us, with errors that have
// no type of their own; they are known by their words, and a test holds the
// words.
func ProblemOf(err error) Problem {
	var v *VerifyError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &v):
		return v.Problem
	case strings.Contains(err.Error(), "didn't provide a certificate"):
		return NoneSent
	case strings.Contains(err.Error(), "failed to parse client certificate"),
		strings.Contains(err.Error(), "failed to parse certificate from server"),
		strings.Contains(err.Error(), "certificate containing RSA key larger"),
		strings.Contains(err.Error(), "unsupported public key"):
		return Malformed
	}
	return ""
}

// escape makes text from a peer safe for a log: no octet of it can end a line,
// move a cursor or be taken for another character.
func escape(s string) string {
	clean := true
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	q := fmt.Sprintf("%+q", s)
	return q[1 : len(q)-1]
}

// describe names a certificate in words that are safe to log and bounded: an
// attacker chooses them.
func describe(c *x509.Certificate) string {
	subject := c.Subject.CommonName
	if subject == "" && len(c.DNSNames) > 0 {
		subject = c.DNSNames[0]
	}
	return fmt.Sprintf("%+q issued by %+q, serial %s", clip(subject), clip(c.Issuer.CommonName), clip(fmt.Sprintf("%x", c.SerialNumber)))
}

func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
