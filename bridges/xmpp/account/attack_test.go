package account

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// Who may see our user is for his account's server to say. Whoever else sends a contact
// list would write himself into it.
func TestAContactListOfSomebodyElseIsNone(t *testing.T) {
	s := newServer(t).serve()
	_, l, stop := run(t, s, Config{})
	defer stop()
	p := s.peer()
	expect(t, p, "iq")
	expect(t, p, "presence")
	pings(t, p)
	if err := l.change(t); err != errUp {
		t.Fatal(err)
	}
	push := func(from string) *stanza.Element {
		e := stanza.New(stanza.NS, "iq", attr("type", "set"), attr("id", "1"))
		e.SetAttr("from", from)
		e.Add(stanza.New(nsRoster, "query")).Add(stanza.New(nsRoster, "item", attr("jid", "mallory@example.org"), attr("subscription", "both")))
		return e
	}
	for _, from := range []string{"mallory@example.org", "example.org", "mallory@example.org/" + full, full + "x"} {
		p.write(push(from))
		if e := expect(t, p, "iq"); e.Attr("type") != "error" {
			t.Errorf("%s is answered with %+v", from, e)
		}
		p.write(stanza.New(stanza.NS, "iq", attr("type", "result"), attr("id", rosterID), attr("from", from)))
	}
	p.write(push(""))
	if e := expect(t, p, "iq"); e.Attr("type") != "result" {
		t.Errorf("its own server is answered with %+v", e)
	}
	if e := within(t, l.stanzas); e.Child(nsRoster, "query") == nil || len(l.stanzas) > 0 {
		t.Errorf("%d lists were taken beside the one of the server", len(l.stanzas))
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// A password is in no log and in no error, whether it is right or not.
func TestAPasswordIsNeverTold(t *testing.T) {
	const wrong = "s3cret-of-nobody"
	for _, password := range []string{"", wrong} {
		s := newServer(t).serve()
		var log lockedBuffer
		c := Config{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
		c.Account = s.account()
		right := c.Account.Password
		if password != "" {
			c.Account.Password = password
		}
		l := &listener{make(chan *stanza.Element, 1000), make(chan error, 1000)}
		stop := start(t, New(c, l))
		if password == "" {
			p := s.peer()
			expect(t, p, "presence")
			pings(t, p)
		}
		err := l.change(t)
		stop()
		log.mu.Lock()
		said := log.b.String() + err.Error()
		log.mu.Unlock()
		if strings.Contains(said, right) || strings.Contains(said, wrong) {
			t.Errorf("it is told: %s", said)
		}
	}
}
