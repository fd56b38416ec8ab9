package account

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/locate/locatetest"
)

func TestAnAccountLogsIn(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*server, *Account)
		want   string
	}{
		{"by STARTTLS", func(*server, *Account) {}, "SCRAM-SHA-256"},
		{"by direct TLS", func(s *server, a *Account) { s.direct, a.Direct = true, true }, "SCRAM-SHA-256"},
		{"with a mechanism that was named", func(s *server, a *Account) { a.Mechanism = "PLAIN" }, "PLAIN"},
		{"with a name in capital letters", func(s *server, a *Account) { a.JID = "Romeo@EXAMPLE.net" }, "SCRAM-SHA-256"},
		{"in TLS 1.2", func(s *server, a *Account) { s.tls.MaxVersion = tls.VersionTLS12 }, "SCRAM-SHA-256"},
		{"at a server with new features", func(s *server, a *Account) {
			s.offer = func(f *stanza.Element) {
				f.Add(stanza.New("urn:xmpp:sasl:2", "authentication")).AddText("urn:xmpp:sasl:2", "mechanism", "SCRAM-SHA-256")
				f.Add(stanza.New("urn:ietf:params:xml:ns:xmpp-session", "session"))
			}
		}, "SCRAM-SHA-256"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			a := s.account()
			tt.change(s, &a)
			s.serve()
			var steps []string
			c, got, err := a.connect(t.Context(), func(step string, err error, detail string) { steps = append(steps, step+" "+detail) })
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got != full || len(steps) != 3 || !strings.HasSuffix(steps[2], " with "+tt.want) {
				t.Errorf("logged in as %s: %q", got, steps)
			}
			// Nothing of the login is left, and no presence was sent: nobody knows
			// that we are there.
			p := s.peer()
			go c.write(stanza.New(stanza.NS, "message", attr("to", "a")))
			if e, err := p.next(); err != nil || e.Local != "message" {
				t.Errorf("the server gets %+v, %v", e, err)
			}
			go p.write(stanza.New(stanza.NS, "presence"))
			if e, err := c.next(); err != nil || e.Local != "presence" {
				t.Errorf("the client gets %+v, %v", e, err)
			}
		})
	}
}

func TestALoginFailsAndSaysWhy(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*server, *Account)
		kind   error
		words  string
	}{
		{"a wrong password", func(s *server, a *Account) { a.Password = "Capulet" }, ErrCredentials, "login: not-authorized: Thou art banished"},
		{"a wrong password in PLAIN", func(s *server, a *Account) { a.Password, a.Mechanism = "Capulet", "PLAIN" }, ErrCredentials, "login: not-authorized: Thou art banished"},
		{"an account that is no more", func(s *server, a *Account) { s.refuse = "account-disabled" }, ErrCredentials, "account-disabled"},
		{"a server that is not well", func(s *server, a *Account) { s.refuse = "temporary-auth-failure" }, ErrUnreachable, "temporary-auth-failure"},
		{"a server that does not know the password", func(s *server, a *Account) { s.proof = "AAAA" }, ErrCredentials, "server signature mismatch"},
		{"a server that wants too much work", func(s *server, a *Account) { s.rounds = "2000000000" }, ErrCredentials, "rounds of SCRAM"},
		{"a server that wants nonsense", func(s *server, a *Account) { s.rounds = "99999999999999999999" }, ErrCredentials, "rounds of SCRAM"},
		{"only passwords in the clear", func(s *server, a *Account) { s.mechanisms = []string{"PLAIN"} }, ErrCredentials, `it offers ["PLAIN"], and we want a SCRAM mechanism`},
		{"only mechanisms that bind to a channel", func(s *server, a *Account) { s.mechanisms = []string{"SCRAM-SHA-1-PLUS"} }, ErrCredentials, "it offers [], and we want a SCRAM mechanism"},
		{"not the mechanism that was named", func(s *server, a *Account) { a.Mechanism = "SCRAM-SHA-512" }, ErrCredentials, "and we want SCRAM-SHA-512"},
		{"a certificate of somebody else", func(s *server, a *Account) { a.JID = "romeo@example.org" }, ErrUntrusted, "example.org"},
		{"an authority that nobody trusts", func(s *server, a *Account) { a.TLS = nil }, ErrUntrusted, "unknown authority"},
		{"no TLS", func(s *server, a *Account) { s.offer = func(f *stanza.Element) { f.Children = nil } }, ErrUntrusted, "STARTTLS is not offered"},
		{"something behind <proceed/>", func(s *server, a *Account) { s.before = "<message/>" }, ErrUntrusted, "more behind <proceed/>"},
		{"TLS 1.1", func(s *server, a *Account) { s.tls.MaxVersion = tls.VersionTLS11; s.tls.MinVersion = tls.VersionTLS10 }, ErrUnreachable, "protocol version"},
		{"no resource", func(s *server, a *Account) {
			s.binding = func(iq, answer *stanza.Element) {
				answer.Children = nil
				answer.SetAttr("type", "error")
				answer.Add((&stanza.Error{Condition: "resource-constraint", Text: "Too many"}).Element())
			}
		}, ErrUnreachable, "binding: resource-constraint: Too many"},
		{"another one's address", func(s *server, a *Account) { s.bound = "tybalt@example.net/orchard" }, nil, "another name"},
		{"no address", func(s *server, a *Account) { s.bound = "" }, nil, "another name"},
		{"an answer to another question", func(s *server, a *Account) {
			s.binding = func(iq, answer *stanza.Element) { answer.SetAttr("id", "x") }
		}, nil, "answers a binding with <iq/>"},
		{"a stream error", func(s *server, a *Account) {
			s.plain = func(c *stream) {
				c.reader.Open()
				c.begin(attr("from", "example.net"), attr("version", "1.0"))
				e := stanza.New(stanza.NSStreams, "error")
				e.Add(stanza.New(nsStreamErrors, "host-unknown"))
				e.AddText(nsStreamErrors, "text", "Not here")
				c.write(e)
			}
		}, ErrUnreachable, "stream: host-unknown: Not here"},
		{"something that is no XMPP", func(s *server, a *Account) {
			s.plain = func(c *stream) { c.octets([]byte("220 mail.example.net ESMTP\r\n")) }
		}, ErrUnreachable, "text between elements"},
		{"a connection that ends", func(s *server, a *Account) { s.plain = func(c *stream) { c.reader.Open() } }, ErrUnreachable, "EOF"},
		{"nobody there", func(s *server, a *Account) { s.l.Close() }, ErrUnreachable, "refused"},
		{"an address without a user", func(s *server, a *Account) { a.JID = "example.net" }, nil, "no address of a user"},
		{"an address with a resource", func(s *server, a *Account) { a.JID = full }, nil, "no address of a user"},
		{"a resource that would have to be escaped", func(s *server, a *Account) { a.Resource = "'/><message to='x" }, nil, "a resource is made of"},
		{"a port that is none", func(s *server, a *Account) { a.Server = "example.net:x" }, nil, "no host and port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			a := s.account()
			tt.change(s, &a)
			s.serve()
			c, got, err := a.connect(t.Context(), nil)
			if err == nil {
				c.Close()
				t.Fatalf("logged in as %s", got)
			}
			if tt.kind != nil && !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("%v, want %v with %q", err, tt.kind, tt.words)
			}
			for _, other := range []error{ErrCredentials, ErrUnreachable, ErrUntrusted} {
				if other != tt.kind && errors.Is(err, other) {
					t.Errorf("%v is %v", err, other)
				}
			}
		})
	}
}

// The library knows no context; what it waits for ends with ours.
func TestALoginEndsWithItsContext(t *testing.T) {
	for _, tt := range []struct {
		name  string
		stops func(*server, chan struct{})
	}{
		{"before the stream", func(s *server, here chan struct{}) { s.plain = func(c *stream) { close(here); c.next() } }},
		{"before the features", func(s *server, here chan struct{}) {
			s.offer = func(f *stanza.Element) {
				if f.Child(nsSASL, "mechanisms") != nil {
					close(here)
					<-s.t.Context().Done()
				}
			}
		}},
		{"before the address", func(s *server, here chan struct{}) {
			s.binding = func(iq, answer *stanza.Element) { close(here); <-s.t.Context().Done() }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			here := make(chan struct{})
			tt.stops(s, here)
			a := s.account()
			s.serve()
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-here
				cancel()
			}()
			began := time.Now()
			if _, _, err := a.connect(ctx, nil); err == nil || time.Since(began) > 15*time.Second {
				t.Errorf("%v after %s", err, time.Since(began))
			}
		})
	}
}

func TestALoginNeedsNoProxy(t *testing.T) {
	s := newServer(t).serve()
	a := s.account()
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:3128")
	if _, _, err := a.connect(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "NO_PROXY") {
		t.Errorf("with a proxy: %v", err)
	}
	<-s.failed
	t.Setenv("NO_PROXY", "localhost,127.0.0.1")
	c, _, err := a.connect(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// Where the server is, DNS says: direct TLS and STARTTLS in one order, and the next
// one if one is not there.
func TestServersAreFoundAndTried(t *testing.T) {
	s := newServer(t)
	s.direct = true
	s.serve()
	a := s.account()
	a.Server, a.Direct = "", false
	var asked []string
	a.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		asked = append(asked, address)
		if strings.HasPrefix(address, "good.") {
			return new(net.Dialer).DialContext(ctx, network, s.l.Addr().String())
		}
		return nil, errors.New("not there")
	}
	a.Resolver = zone(t, "_xmpp-client._tcp.example.net. IN SRV 1 1 5222 first.example.net.\n"+
		"_xmpp-client._tcp.example.net. IN SRV 9 1 5222 third.example.net.\n"+
		"_xmpps-client._tcp.example.net. IN SRV 5 1 5223 good.example.net.\n")
	c, _, err := a.connect(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if len(asked) != 2 || asked[0] != "first.example.net:5222" || !strings.HasPrefix(asked[1], "good.example.net:5223") {
		t.Errorf("tried %q", asked)
	}
	for _, tt := range []struct {
		zone string
		want string // what is tried, or why nothing is
	}{
		{"", "example.net:5222"},
		{"_xmpp-client._tcp.example.net. IN SRV 0 0 1 .\n", "has no server for clients"},
		{"_xmpp-client._tcp.example.net. IN SRV 0 0 1 .\n_xmpps-client._tcp.example.net. IN SRV 1 1 443 a.example.net.\n", "a.example.net:443"},
	} {
		asked = nil
		a.Resolver = zone(t, tt.zone)
		_, _, err := a.connect(t.Context(), nil)
		if got := strings.Join(asked, " "); err == nil || got != tt.want && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("tried %q: %v, want %s", got, err, tt.want)
		}
	}
}

// zone is a resolver that knows a zone and nothing else.
func zone(t *testing.T, text string) *net.Resolver {
	t.Helper()
	s, err := locatetest.Serve(text)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Addr())
	}}
}
