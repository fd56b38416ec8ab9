package account

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/xmppo/go-xmpp"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// How a client logs in is what go-xmpp knows: SCRAM in all its forms, and binding.
// It does not know a context, takes no connection, and keeps what it reads for
// itself. So it gets a connection to ourselves, on which it sees a server that
// offers a login and nothing else; we stand between, and hand on what
// belongs to a login, element by element. When it has logged in, it is let go,
// and the stream to the real server is ours.
//
// What is lost by that is channel binding: the library would bind to a
// connection that is not the server's. Mechanisms with -PLUS are not shown to it.

// login logs in on a stream that has TLS. It returns the full JID and the
// mechanism.
func (a *Account) login(ctx context.Context, server *stream, bare address.JID) (full, mechanism string, err error) {
	if err := noProxy(); err != nil {
		return "", "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer l.Close()
	l.(*net.TCPListener).SetDeadline(time.Now().Add(loginQuiet))
	ended := make(chan error, 1)
	go func() { ended <- a.library(l.Addr().String(), bare) }()
	// Whoever else on this machine is faster gets a login at the server, which he could
	// have without us; the library's then fails, and so does ours.
	conn, err := l.Accept()
	if err != nil {
		return "", "", fmt.Errorf("%w: %w", err, <-ended)
	}
	local := newStream(conn)
	gone := make(chan error, 1)
	go func() {
		err := <-ended
		if err != errLoggedIn {
			conn.Close() // wakes the gate, which may wait for it
		}
		gone <- err
	}()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	g := &gate{account: a, bare: bare, server: server, client: local}
	err = g.pass()
	conn.Close()
	theirs := <-gone
	switch {
	case theirs != errLoggedIn && (err == nil || errors.Is(err, errClient)):
		// It does not like what it has seen: a server that cannot prove that it
		// knows the password, for one.
		err = fmt.Errorf("%w: %w", ErrCredentials, theirs)
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("%w: %w", ErrUnreachable, context.Cause(ctx))
	}
	return g.full, g.mechanism, err
}

// library has the library log in, and returns how that ended.
func (a *Account) library(host string, bare address.JID) (err error) {
	defer caught(&err)
	// What it returns has a connection that ends with ours; its Close would wait for
	// the end of a stream.
	if _, err := a.options(host, bare).NewClient(); err != nil {
		return err
	}
	return errLoggedIn
}

var (
	errLoggedIn = errors.New("logged in")
	errClient   = errors.New("account: the login was given up")
)

// options are go-xmpp's. Over the connection to ourselves it has no TLS, and so
// does not use what would need the server's.
func (a *Account) options(host string, bare address.JID) xmpp.Options {
	return xmpp.Options{
		Host:                         host,
		User:                         bare.String(),
		Password:                     a.Password,
		Resource:                     a.Resource,
		Mechanism:                    a.Mechanism,
		NoPLAIN:                      a.Mechanism != "PLAIN",
		NoTLS:                        true,
		InsecureAllowUnencryptedAuth: true,
		DialTimeout:                  loginQuiet,
	}
}

// noProxy says whether go-xmpp would ask a proxy of the environment for the way to
// ourselves.
func noProxy() error {
	either := func(names ...string) string {
		for _, name := range names {
			if v := os.Getenv(name); v != "" {
				return v
			}
		}
		return ""
	}
	if either("HTTP_PROXY", "http_proxy") == "" {
		return nil
	}
	if slices.Contains(strings.Split(either("NO_PROXY", "no_proxy"), ","), "127.0.0.1") {
		return nil
	}
	return errors.New("account: HTTP_PROXY is set; logging in needs 127.0.0.1 in NO_PROXY")
}

// A gate stands between the library and the server while it logs in.
type gate struct {
	account         *Account
	bare            address.JID
	server, client  *stream
	mechanism, full string
}

// pass lets a login pass: a stream on which it proves who it is, and one on
// which it binds (RFC 6120 §6.4, §7).
func (g *gate) pass() error {
	offered, err := g.begin()
	if err != nil {
		return err
	}
	if err := g.authenticate(offered); err != nil {
		return err
	}
	g.server.reader.Reset(g.server)
	g.client.reader.Reset(g.client)
	if _, err := g.begin(); err != nil {
		return err
	}
	return g.bind()
}

// begin begins both streams, and shows the client those features that are a
// login's.
func (g *gate) begin() (*stanza.Element, error) {
	if _, err := g.client.reader.Open(); err != nil {
		return nil, fmt.Errorf("%w: %w", errClient, err)
	}
	domain := g.bare.Domainpart()
	err := g.server.begin(attr("from", g.bare.String()), attr("to", domain), attr("version", "1.0"))
	if err != nil {
		return nil, err
	}
	offered, err := g.server.features()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	shown := stanza.New(stanza.NSStreams, "features")
	if m := offered.Child(nsSASL, "mechanisms"); m != nil {
		list := shown.Add(stanza.New(nsSASL, "mechanisms"))
		for _, c := range m.Children {
			if c.Is(nsSASL, "mechanism") && !strings.HasSuffix(c.Text, "-PLUS") {
				list.AddText(nsSASL, "mechanism", c.Text)
			}
		}
	}
	if offered.Child(nsBind, "bind") != nil {
		shown.Add(stanza.New(nsBind, "bind"))
	}
	if err := g.client.begin(attr("from", domain), attr("id", "1"), attr("version", "1.0")); err != nil {
		return nil, err
	}
	return shown, g.client.write(shown)
}

// authenticate hands on what is SASL's until the server has decided.
func (g *gate) authenticate(offered *stanza.Element) error {
	for {
		e, err := g.client.next()
		if err != nil {
			return g.unwilling(offered)
		}
		switch {
		case e.Is(nsSASL, "auth"):
			g.mechanism = e.Attr("mechanism")
		case e.Is(nsSASL, "response"), e.Is(nsSASL, "abort"):
		default:
			return fmt.Errorf("account: the library says <%s/>", e.Local)
		}
		if err := g.server.write(e); err != nil {
			return err
		}
		if e, err = g.server.next(); err != nil {
			return err
		}
		switch {
		case e.Is(nsSASL, "challenge"):
			if rounds(e.Text) > maxRounds {
				return fmt.Errorf("%w: it wants more than %d rounds of SCRAM", ErrCredentials, maxRounds)
			}
		case e.Is(nsSASL, "success"):
			return g.client.write(e)
		case e.Is(nsSASL, "failure"):
			kind, r := ErrCredentials, refusal("login", e)
			if r.Condition == "temporary-auth-failure" {
				kind = ErrUnreachable
			}
			return fmt.Errorf("%w: %w", kind, r)
		default:
			return fmt.Errorf("account: the server answers a login with <%s/>", e.Local)
		}
		if err := g.client.write(e); err != nil {
			return err
		}
	}
}

// maxRounds is how much work a server may make us do: the library does what it is
// told, and cannot be stopped (RFC 5802 §9).
const maxRounds = 1_000_000

// rounds reads the iteration count of a SCRAM challenge (RFC 5802 §5.1).
func rounds(challenge string) int {
	text, err := base64.StdEncoding.DecodeString(challenge)
	if err != nil {
		return 0
	}
	most := 0
	for part := range strings.SplitSeq(string(text), ",") {
		if count, ok := strings.CutPrefix(part, "i="); ok {
			n, err := strconv.Atoi(count)
			if err != nil {
				n = maxRounds + 1
			}
			most = max(most, n)
		}
	}
	return most
}

// unwilling says why the library ended a login that the server did not.
func (g *gate) unwilling(offered *stanza.Element) error {
	if g.mechanism != "" {
		return errClient
	}
	var names []string
	if m := offered.Child(nsSASL, "mechanisms"); m != nil {
		for _, c := range m.Children {
			names = append(names, c.Text)
		}
	}
	wanted := "a SCRAM mechanism"
	if g.account.Mechanism != "" {
		wanted = g.account.Mechanism
	}
	return fmt.Errorf("%w: it offers %q, and we want %s", ErrCredentials, names, wanted)
}

// bind hands on the binding of a resource, and reads the address that we get.
func (g *gate) bind() error {
	e, err := g.client.next()
	if err != nil {
		return err
	}
	if !e.Is(stanza.NS, "iq") || e.Child(nsBind, "bind") == nil {
		return fmt.Errorf("account: the library says <%s/> where it should bind", e.Local)
	}
	if err := g.server.write(e); err != nil {
		return err
	}
	id := e.Attr("id")
	if e, err = g.server.next(); err != nil {
		return err
	}
	if err := stanza.ErrorOf(e); err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, &Refusal{"binding", err.Condition, err.Text})
	}
	bound := e.Child(nsBind, "bind")
	if !e.Is(stanza.NS, "iq") || e.Attr("id") != id || bound == nil || bound.Child(nsBind, "jid") == nil {
		return fmt.Errorf("account: the server answers a binding with <%s/>", e.Local)
	}
	got, err := address.Parse(bound.Child(nsBind, "jid").Text)
	if err != nil || got.Bare() != g.bare || got.Resourcepart() == "" {
		return errors.New("account: the server calls us by another name")
	}
	g.full = got.String()
	if err := g.client.write(e); err != nil {
		return err
	}
	// Its first presence says that it is content. Ours is sent by the session.
	_, err = g.client.next()
	return err
}

func attr(local, value string) stanza.Attr { return stanza.Attr{Local: local, Value: value} }
