package home_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/home"
)

func TestMain(m *testing.M) {
	sip.SetDefaultLogger(slog.New(slog.DiscardHandler)) // sipgo's own, for what takes no logger
	os.Exit(m.Run())
}

// soon bounds a test that would otherwise wait for ever.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, cfg home.Config) *home.Server {
	t.Helper()
	if cfg.Domain == "" {
		cfg.Domain = "example.com"
	}
	if cfg.Users == nil {
		cfg.Users = map[string]string{"alice": "wonderland", "bob": "builder", "carol": "singer"}
	}
	s, err := home.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func signIn(t *testing.T, cfg home.UserConfig, servers ...*home.Server) *home.User {
	t.Helper()
	for _, s := range servers {
		cfg.Servers = append(cfg.Servers, s.UserAddr().String())
	}
	if cfg.Domain == "" {
		cfg.Domain = "example.com"
	}
	if cfg.Password == "" {
		cfg.Password = map[string]string{"alice": "wonderland", "bob": "builder"}[cfg.Name]
	}
	u, err := home.SignIn(soon(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

func wantStatus(t *testing.T, what string, a home.Answer, err error, want int) {
	t.Helper()
	if err != nil || a.Status != want {
		t.Fatalf("%s: got %d %s (%v), want %d", what, a.Status, a.Reason, err, want)
	}
}

func happens(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-soon(t).Done():
		t.Fatalf("%s: did not happen", what)
	}
}

func TestUserSignsInWithEitherDigest(t *testing.T) {
	s := start(t, home.Config{})
	for _, alg := range []string{"SHA-256", "MD5", ""} {
		t.Run("with "+alg, func(t *testing.T) {
			signIn(t, home.UserConfig{Name: "alice", Algorithm: alg}, s)
		})
	}
}

func TestWrongPasswordIsRefused(t *testing.T) {
	s := start(t, home.Config{})
	for _, tt := range []struct{ name, user, password string }{
		{"another's password", "alice", "builder"},
		{"no password", "alice", " "},
		{"nobody of that name", "mallory", "wonderland"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := home.SignIn(soon(t), home.UserConfig{
				Name: tt.user, Domain: "example.com", Password: tt.password,
				Servers: []string{s.UserAddr().String()},
			})
			var refused *home.Refused
			if !errors.As(err, &refused) || refused.Answer.Status != 403 {
				t.Errorf("sign-in ended with %v, want 403", err)
			}
		})
	}
}

func TestMessageReachesTheOtherUser(t *testing.T) {
	s := start(t, home.Config{})
	alice, bob := signIn(t, home.UserConfig{Name: "alice"}, s), signIn(t, home.UserConfig{Name: "bob"}, s)
	a, err := alice.Message(soon(t), "sip:bob@example.com", "hello, Bob — €")
	wantStatus(t, "MESSAGE", a, err, 200)
	select {
	case m := <-bob.Inbox():
		if m.Text != "hello, Bob — €" || m.From != "sip:alice@example.com" || m.Hops != 2 || m.CallID != a.CallID {
			t.Errorf("bob got %+v", m)
		}
	case <-soon(t).Done():
		t.Fatal("bob got nothing")
	}
	if l := s.Ledger(); len(l) != 1 || l[0].Method != "MESSAGE" || l[0].Body != "hello, Bob — €" {
		t.Errorf("ledger = %+v, want that message", l)
	}
}

func TestMessageThatCannotArriveIsAnswered(t *testing.T) {
	s := start(t, home.Config{})
	alice := signIn(t, home.UserConfig{Name: "alice"}, s)
	for _, tt := range []struct {
		name, to string
		want     int
	}{
		{"a user who is not signed in", "sip:bob@example.com", 480},
		{"nobody", "sip:mallory@example.com", 404},
		{"another domain, and no edge", "sip:carol@fabrikam.example", 503},
		{"another kind of address", "tel:+15550100", 416},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := alice.Message(soon(t), tt.to, "hello")
			wantStatus(t, "MESSAGE", a, err, tt.want)
		})
	}
}

func TestPresenceIsSeenByWhoWatches(t *testing.T) {
	s := start(t, home.Config{})
	alice := signIn(t, home.UserConfig{Name: "alice"}, s)
	w, a, err := alice.Watch(soon(t), "sip:bob@example.com")
	wantStatus(t, "SUBSCRIBE", a, err, 200)
	next := func(what string, open bool, note, state string) {
		t.Helper()
		n, err := w.Next(soon(t))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		want := home.Presence{Entity: "pres:bob@example.com", Open: open, Note: note}
		if n.Presence != want || !strings.HasPrefix(n.State, state) {
			t.Fatalf("%s: got %+v, want %+v and %s", what, n, want, state)
		}
	}
	next("before bob signs in", false, "", "active")
	bob := signIn(t, home.UserConfig{Name: "bob"}, s)
	next("after bob signs in", true, "", "active")
	a, err = bob.Publish(soon(t), true, "at lunch & back")
	wantStatus(t, "PUBLISH", a, err, 200)
	next("after bob publishes", true, "at lunch & back", "active")
	a, err = w.End(soon(t))
	wantStatus(t, "SUBSCRIBE with Expires 0", a, err, 200)
	next("after the end", true, "at lunch & back", "terminated")
}

func TestWatchingNobodyIsRefused(t *testing.T) {
	s := start(t, home.Config{})
	_, a, err := signIn(t, home.UserConfig{Name: "alice"}, s).Watch(soon(t), "sip:mallory@example.com")
	wantStatus(t, "SUBSCRIBE", a, err, 404)
}

// call plays one call from beginning to end and lets who was called hang up if
// theyEnd.
func call(t *testing.T, alice *home.User, to string, came <-chan *home.Call, theyEnd bool) *home.Call {
	t.Helper()
	out, err := alice.Dial(soon(t), to)
	if err != nil {
		t.Fatal(err)
	}
	happens(t, "ringing", out.Ringing())
	a, err := out.Wait(soon(t))
	wantStatus(t, "INVITE", a, err, 200)
	if len(a.Provisional) != 1 || a.Provisional[0] != 180 {
		t.Errorf("provisional answers = %v, want one 180", a.Provisional)
	}
	in := <-came
	happens(t, "ACK", in.Acked())
	if theyEnd {
		in, out = out, in
	}
	a, err = out.HangUp(soon(t))
	wantStatus(t, "BYE", a, err, 200)
	happens(t, "BYE", in.Ended())
	return in
}

func answering(came chan<- *home.Call) func(*home.Call) {
	return func(c *home.Call) {
		c.Ring()
		c.Accept()
		came <- c
	}
}

func TestCallRingsIsAnsweredAndEnds(t *testing.T) {
	s := start(t, home.Config{})
	came := make(chan *home.Call, 2)
	alice := signIn(t, home.UserConfig{Name: "alice"}, s)
	signIn(t, home.UserConfig{Name: "bob", OnCall: answering(came)}, s)
	call(t, alice, "sip:bob@example.com", came, false)
	call(t, alice, "sip:bob@example.com", came, true)
}

func TestCallIsDeclined(t *testing.T) {
	s := start(t, home.Config{})
	alice := signIn(t, home.UserConfig{Name: "alice"}, s)
	signIn(t, home.UserConfig{Name: "bob", OnCall: func(c *home.Call) { c.Decline(486, "Busy Here") }}, s)
	out, err := alice.Dial(soon(t), "sip:bob@example.com")
	if err != nil {
		t.Fatal(err)
	}
	a, err := out.Wait(soon(t))
	wantStatus(t, "INVITE", a, err, 486)
}

func TestCallIsTakenBack(t *testing.T) {
	s := start(t, home.Config{})
	came := make(chan *home.Call, 1)
	alice := signIn(t, home.UserConfig{Name: "alice"}, s)
	signIn(t, home.UserConfig{Name: "bob", OnCall: func(c *home.Call) {
		c.Ring()
		came <- c
		<-c.Ended()
	}}, s)
	out, err := alice.Dial(soon(t), "sip:bob@example.com")
	if err != nil {
		t.Fatal(err)
	}
	happens(t, "ringing", out.Ringing())
	a, err := out.Cancel(soon(t))
	wantStatus(t, "CANCEL", a, err, 200)
	a, err = out.Wait(soon(t))
	wantStatus(t, "INVITE", a, err, 487)
	happens(t, "CANCEL", (<-came).Ended())
}

// pair starts the home servers of two companies with nothing between them: each
// takes the other for its edge.
func pair(t *testing.T, secure bool) (ours, theirs *home.Server) {
	t.Helper()
	ca, err := certs.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	config := func(domain, other string) home.Config {
		cfg := home.Config{Domain: domain}
		if secure {
			kp, err := ca.Keypair(certs.Leaf{Names: []string{"sip." + domain}})
			if err != nil {
				t.Fatal(err)
			}
			cfg.TLS = &home.TLS{Keypair: kp, Roots: ca.Pool(), Edge: "sip." + other}
		}
		return cfg
	}
	ours = start(t, config("example.com", "fabrikam.example"))
	theirs = start(t, config("fabrikam.example", "example.com"))
	ours.SetEdge(theirs.Addr().String())
	theirs.SetEdge(ours.Addr().String())
	return ours, theirs
}

func TestTwoDomainsReachEachOtherThroughTheEdge(t *testing.T) {
	for name, secure := range map[string]bool{"over TLS": true, "over TCP": false} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := pair(t, secure)
			came := make(chan *home.Call, 2)
			alice := signIn(t, home.UserConfig{Name: "alice"}, ours)
			bob := signIn(t, home.UserConfig{Name: "bob", Domain: "fabrikam.example", OnCall: answering(came)}, theirs)

			a, err := alice.Message(soon(t), bob.URI(), "hello")
			wantStatus(t, "MESSAGE", a, err, 200)
			if m := <-bob.Inbox(); m.Hops != 3 {
				t.Errorf("bob got %+v, want 3 hops", m)
			}
			w, a, err := alice.Watch(soon(t), bob.URI())
			wantStatus(t, "SUBSCRIBE", a, err, 200)
			if n, err := w.Next(soon(t)); err != nil || !n.Presence.Open {
				t.Errorf("NOTIFY: %+v, %v, want open", n, err)
			}
			a, err = w.End(soon(t))
			wantStatus(t, "SUBSCRIBE in the dialog", a, err, 200)
			call(t, alice, bob.URI(), came, false)
			call(t, alice, bob.URI(), came, true)
		})
	}
}

func TestNothingFromTheEdgeGoesBackToIt(t *testing.T) {
	ours, theirs := pair(t, true)
	// A home server with users elsewhere sends us what is not for us.
	theirs.SetEdge(ours.Addr().String())
	bob := signIn(t, home.UserConfig{Name: "bob", Domain: "fabrikam.example"}, theirs)
	a, err := bob.Message(soon(t), "sip:carol@contoso.example", "relay this")
	wantStatus(t, "MESSAGE", a, err, 403)
}

func TestEdgeWithTheWrongNameIsRefused(t *testing.T) {
	ca, err := certs.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	config := func(domain, name, edge string) home.Config {
		kp, err := ca.Keypair(certs.Leaf{Names: []string{name}})
		if err != nil {
			t.Fatal(err)
		}
		return home.Config{Domain: domain, TLS: &home.TLS{Keypair: kp, Roots: ca.Pool(), Edge: edge}}
	}
	ours := start(t, config("example.com", "sip.example.com", "edge.example.com"))
	theirs := start(t, config("fabrikam.example", "sip.fabrikam.example", "sip.example.com"))
	theirs.SetEdge(ours.Addr().String())
	bob := signIn(t, home.UserConfig{Name: "bob", Domain: "fabrikam.example"}, theirs)
	a, err := bob.Message(soon(t), "sip:alice@example.com", "hello")
	wantStatus(t, "MESSAGE", a, err, 503)
	if l := ours.Ledger(); len(l) != 0 {
		t.Errorf("taken: %+v, want nothing", l)
	}
}

func TestUserGoesToTheNextHomeServerWhenOneDies(t *testing.T) {
	one, two := start(t, home.Config{}), start(t, home.Config{})
	alice, bob := signIn(t, home.UserConfig{Name: "alice"}, one, two), signIn(t, home.UserConfig{Name: "bob"}, one, two)
	a, err := alice.Message(soon(t), bob.URI(), "one")
	wantStatus(t, "MESSAGE", a, err, 200)
	one.Die()
	for {
		// The reset may cost the request that meets it, and no other.
		if a, err = alice.Message(soon(t), bob.URI(), "two"); err == nil {
			break
		}
		if soon(t).Err() != nil {
			t.Fatal(err)
		}
	}
	wantStatus(t, "MESSAGE", a, err, 200)
	if one, two := len(one.Ledger()), len(two.Ledger()); one != 1 || two != 1 {
		t.Errorf("taken by the servers: %d and %d, want one each", one, two)
	}
}
