// Package account is one user's own account on a public XMPP server: a client
// session that the edge holds for him, and the client by which a probe looks at us
// from outside (RFC 6120, RFC 6121).
//
// It is the one adapter around xmppo/go-xmpp, of which it takes what is right
// there: how a client proves who it is (SASL) and gets its address (resource
// binding), see login.go. What comes and goes then is read and written by package
// stanza, because the library does not tell a message's id, loses the condition of
// errors and the priority of presence, and writes what strangers send it
// without escaping. Tests say when that is no longer so.
//
// Whoever uses the package decides what an account may be used for.
package account

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"strings"

	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"golang.org/x/net/idna"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// An Account is what it takes to log in.
type Account struct {
	JID       string // "juliet@example.net"
	Password  string
	Server    string // "host" or "host:port"; "": what DNS says of the domain (RFC 6120 §3.2, XEP-0368)
	Direct    bool   // Server wants TLS from the first octet on
	Mechanism string // of SASL; "": the strongest SCRAM that both sides have. PLAIN must be named
	Resource  string // "": the server's choice

	// TLS has whom to trust. nil: the authorities of the system. The certificate
	// must always be that of the JID's domain.
	TLS *tls.Config
	// Dial makes connections. nil: a net.Dialer without limits on where to.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Resolver looks up. nil: that of the system.
	Resolver *net.Resolver
}

// Why a session is not there, or a stanza was not delivered. Each is wrapped
// with what the other side said.
var (
	ErrCredentials = errors.New("account: the server does not let us in") // asking again does not help
	ErrUnreachable = errors.New("account: the server cannot be reached")
	ErrUntrusted   = errors.New("account: the server is not proved")
	ErrDown        = errors.New("account: there is no session")
	ErrQueueFull   = errors.New("account: too much waiting")
	ErrLost        = errors.New("account: the session ended before the server had the stanza for sure")
	ErrTooLarge    = errors.New("account: the stanza is too large")
)

// A Refusal is what a server says in its own words.
type Refusal struct {
	What      string // "login", "stream", "binding"
	Condition string // as RFC 6120 names it
	Text      string
}

// Error describes the refusal.
func (r *Refusal) Error() string {
	s := r.What + ": " + r.Condition
	if r.Text != "" {
		s += ": " + r.Text
	}
	return s
}

// refusal reads the words of an element that refuses.
func refusal(what string, e *stanza.Element) *Refusal {
	r := &Refusal{What: what, Condition: "undefined-condition"}
	for i := len(e.Children) - 1; i >= 0; i-- {
		switch c := e.Children[i]; {
		case c.Local == "text":
			r.Text = c.Text
		case c.Space == nsSASL || c.Space == nsStreamErrors || c.Space == stanza.NSErrors:
			r.Condition = c.Local
		}
	}
	return r
}

// caught makes an error of a panic. What panics in a goroutine of its own would end
// the program, and with it what has nothing to do with this account.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("account: panic: %v\n%s", p, debug.Stack())
	}
}

// Namespaces of what comes before stanzas.
const (
	nsTLS          = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL         = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsBind         = "urn:ietf:params:xml:ns:xmpp-bind"
	nsStreamErrors = "urn:ietf:params:xml:ns:xmpp-streams"
)

// address returns the account's bare JID, and its domain as DNS and certificates
// have it.
func (a *Account) address() (bare address.JID, domain string, err error) {
	j, err := address.Parse(a.JID)
	if err != nil {
		return j, "", fmt.Errorf("account: %w", err)
	}
	if j.Localpart() == "" || j.Resourcepart() != "" {
		return j, "", fmt.Errorf("account: %s is no address of a user", j)
	}
	if strings.ContainsFunc(a.Resource, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r)
	}) {
		return j, "", errors.New("account: a resource is made of letters, digits, '-', '.' and '_'") // the library does not escape it
	}
	domain, err = idna.Lookup.ToASCII(j.Domainpart())
	if err != nil {
		return j, "", fmt.Errorf("account: %w", err)
	}
	return j, domain, nil
}
