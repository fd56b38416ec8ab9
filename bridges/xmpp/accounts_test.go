package xmpp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/account"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// connected is alice's account at a server that never answers, with what comes from it
// in w.
func connected(t *testing.T, w *world) *connector {
	t.Helper()
	c := &connector{
		g: w.gateway, account: bridges.Account{User: "alice@example.com"}, user: "alice@example.com", bare: "al@jabber.example", end: func() {},
	}
	c.session = account.New(account.Config{Account: account.Account{JID: c.bare}}, c)
	return c
}

// listed lets the account's server say who is in the list of contacts.
func (c *connector) lists(t *testing.T, subs ...string) {
	t.Helper()
	items := ""
	for _, s := range subs {
		who, sub, _ := strings.Cut(s, " ")
		items += "<item jid='" + who + "' subscription='" + sub + "'/>"
	}
	e, err := stanza.Parse([]byte("<iq xmlns='jabber:server' type='result' id='r'><query xmlns='jabber:iq:roster'>"+items+"</query></iq>"), stanza.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	c.Stanza(e)
}

// heard returns what presence hears of somebody, from the log of a gateway that carries
// none.
func (w *world) heard() (n int) {
	return strings.Count(w.log.String(), "presence is not carried")
}

func TestWhatComesToAnAccountComesToItsUser(t *testing.T) {
	w := newWorld(t, nil)
	c := connected(t, w)
	for _, from := range []string{"juliet@fabrikam.example/balcony", "al@jabber.example/phone", "@", "bob@example.com"} {
		e, err := stanza.Parse([]byte("<message xmlns='jabber:server' to='al@jabber.example/x' type='chat' from='"+from+"'><body>hi</body></message>"), stanza.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		c.Stanza(e)
	}
	in := w.home.Take(t, "MESSAGE", 200)
	get(t, in.URI, aliceURI)
	get(t, in.From.URI, julietURI+";gr=balcony")
	w.home.None(t) // nothing of her other devices, of nobody, and of ourselves
	if l := c.link(); l.Received != 2 || l.Proof != bridges.ProofAccount || l.State != "connecting" {
		t.Errorf("link %+v", l)
	}
}

func TestAnAccountsServerHasSettledSomeThings(t *testing.T) {
	w := newWorld(t, nil)
	c := connected(t, w)
	c.lists(t, "both@x.example both", "to@x.example to", "from@x.example from", "none@x.example none", "x.example both")
	if n := w.heard(); n != 2 {
		t.Errorf("%d ask to see her, want those two who may already", n)
	}
	c.lists(t, "both@x.example to", "to@x.example to", "from@x.example remove")
	if n := w.heard(); n != 4 {
		t.Errorf("%d changes are told, want 4", n)
	}
	c.lists(t, "both@x.example both", "from@x.example from")
	before := w.heard()
	for _, tt := range []struct {
		kind, to string
		passes   bool
		answered int
	}{
		{"subscribe", "both@x.example", false, 1}, {"subscribe", "to@x.example", false, 1},
		{"subscribe", "from@x.example", true, 0}, {"subscribe", "none@x.example", true, 0},
		{"subscribed", "both@x.example", false, 0}, {"subscribed", "to@x.example", true, 0},
		{"unsubscribe", "both@x.example", true, 0}, {"unsubscribed", "both@x.example", true, 0},
		{"probe", "both@x.example", false, 0}, {"error", "both@x.example", true, 0},
	} {
		p := stanza.New(stanza.NS, "presence", stanza.Attr{Local: "type", Value: tt.kind}, stanza.Attr{Local: "to", Value: tt.to})
		if got := c.passes(p, ""); got != tt.passes {
			t.Errorf("%s to %s passes: %v, want %v", tt.kind, tt.to, got, tt.passes)
		}
		if n := w.heard() - before; n != tt.answered {
			t.Errorf("%s to %s is answered %d times, want %d", tt.kind, tt.to, n, tt.answered)
		}
		before = w.heard()
	}
}

func TestWhoIsThereIsRememberedForProbes(t *testing.T) {
	w := newWorld(t, nil)
	c := connected(t, w)
	is := func(from, kind string) {
		e := stanza.New(stanza.NS, "presence", stanza.Attr{Local: "from", Value: from}, stanza.Attr{Local: "to", Value: c.bare})
		e.SetAttr("type", kind)
		c.Stanza(e)
	}
	is("juliet@fabrikam.example/a", "")
	is("juliet@fabrikam.example/b", "")
	is("juliet@fabrikam.example/b", "unavailable")
	before := w.heard()
	probe := stanza.New(stanza.NS, "presence", stanza.Attr{Local: "type", Value: "probe"}, stanza.Attr{Local: "to", Value: "juliet@fabrikam.example"})
	if c.passes(probe, "") || w.heard() != before+1 {
		t.Errorf("a probe is answered %d times, want once", w.heard()-before)
	}
	for i := range maxContacts + 5 {
		is(fmt.Sprintf("u%d@x.example/a", i), "")
	}
	for i := range maxResources + 5 {
		is(fmt.Sprintf("juliet@fabrikam.example/r%d", i), "")
	}
	if n, m := len(c.roster.seen), len(c.roster.seen["juliet@fabrikam.example"]); n != maxContacts || m != maxResources {
		t.Errorf("%d contacts and %d devices are kept, want %d and %d", n, m, maxContacts, maxResources)
	}
	c.Changed(false, errors.New("cut"))
	if len(c.roster.seen) != 0 || c.link().State != "down" || c.link().Detail != "cut" {
		t.Errorf("link %+v", c.link())
	}
}

func TestAllDevicesAreOneToContacts(t *testing.T) {
	c := connected(t, newWorld(t, nil))
	for i, tt := range []struct {
		device, kind, show string
		passes             bool
		want               string // type and show of what passes
	}{
		{"a", "", "away", true, " away"},
		{"a", "", "away", false, ""},
		{"b", "", "", true, " "},
		{"a", "", "dnd", false, ""},
		{"b", "unavailable", "", true, " dnd"},
		{"b", "unavailable", "", false, ""},
		{"a", "unavailable", "", true, "unavailable "},
	} {
		p := stanza.New(stanza.NS, "presence", stanza.Attr{Local: "to", Value: "juliet@fabrikam.example"})
		p.SetAttr("type", tt.kind)
		if tt.show != "" {
			p.AddText(stanza.NS, "show", tt.show)
		}
		if got := c.passes(p, tt.device); got != tt.passes {
			t.Errorf("step %d passes: %v, want %v", i, got, tt.passes)
		}
		if got := p.Attr("type") + " " + childText(p, stanza.NS, "show"); tt.passes && got != tt.want {
			t.Errorf("step %d is %q, want %q", i, got, tt.want)
		}
	}
}

func TestAnAccountThatIsDownSaysSo(t *testing.T) {
	c := connected(t, newWorld(t, nil))
	for kind, want := range map[string]error{"message": s2s.ErrUnreachable, "iq": s2s.ErrRefused} {
		done := make(chan s2s.Outcome, 1)
		if c.send(stanza.New(stanza.NS, kind, stanza.Attr{Local: "from", Value: c.user}), func(o s2s.Outcome) { done <- o }) {
			t.Error("a session is up")
		}
		if o := <-done; !errors.Is(o.Err, want) {
			t.Errorf("%s ends with %v, want %v", kind, o.Err, want)
		}
	}
	for _, tt := range []struct{ err, want error }{
		{nil, nil}, {account.ErrQueueFull, s2s.ErrQueueFull}, {account.ErrLost, s2s.ErrLost}, {account.ErrTooLarge, s2s.ErrTooLarge},
		{account.ErrDown, s2s.ErrUnreachable},
	} {
		if o := outcomeOf(tt.err); !errors.Is(o.Err, tt.want) || o.Acked != (tt.err == nil) {
			t.Errorf("%v ends as %+v", tt.err, o)
		}
	}
}

func TestAPasswordIsForNobodyElse(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name, text string
		mode       os.FileMode
		want       string // "": an error
	}{
		{"good", "secret\n", 0o600, "secret"}, {"open", "secret", 0o644, ""}, {"group", "secret", 0o640, ""}, {"empty", "\n", 0o600, ""},
	} {
		path := filepath.Join(dir, tt.name)
		if err := os.WriteFile(path, []byte(tt.text), tt.mode); err != nil {
			t.Fatal(err)
		}
		got, err := readPassword(path)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
	if _, err := readPassword(filepath.Join(dir, "missing")); err == nil {
		t.Error("a file that is not there has a password")
	}
}

func TestAccountsFollowTheFile(t *testing.T) {
	w := newWorld(t, nil)
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newAccounts(w.gateway, nil)
	one := bridges.Account{User: "alice@example.com", Network: Network, JID: "al@jabber.example", PasswordFile: path, Server: "127.0.0.1:1"}
	bad := bridges.Account{User: "bob@example.com", Network: Network, JID: "bob@jabber.example", PasswordFile: path + ".missing", Server: "127.0.0.1:1"}
	l.update([]bridges.Account{one, bad})
	if !l.has("alice@example.com") || l.has("bob@example.com") || l.of("alice@example.com/x") == nil || l.of("bob@example.com") != nil {
		t.Error("the wrong accounts are there")
	}
	first := l.of("alice@example.com")
	one.Rule.Line = 7 // it has moved in its file
	l.update([]bridges.Account{one})
	if l.of("alice@example.com") != first {
		t.Error("an account that is the same begins anew")
	}
	if err := os.WriteFile(path, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.update([]bridges.Account{one})
	second := l.of("alice@example.com")
	if second == first || second.conf.Password != "other" {
		t.Error("a new password is not taken")
	}
	if links := l.links(); len(links) != 1 || links[0].Local != "alice@example.com" || links[0].Remote != "al@jabber.example" {
		t.Errorf("links %+v", links)
	}
	l.update(nil)
	if l.has("alice@example.com") {
		t.Error("an account that is no more is there")
	}
	l.stop()
	l.update([]bridges.Account{one})
	if l.has("alice@example.com") {
		t.Error("an account begins after the end")
	}
}

func TestAnAccountThatPanicsRests(t *testing.T) {
	c := connected(t, newWorld(t, nil))
	c.session = nil // its Run panics
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.run(ctx)
	}()
	for deadline := time.Now().Add(10 * time.Second); c.link().State != "down"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody is told")
		}
	}
	cancel()
	<-ended
	if !strings.Contains(c.link().Detail, "panic") {
		t.Errorf("link %+v", c.link())
	}
}
