package account

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A listener is a Handler that keeps what it hears.
type listener struct {
	stanzas chan *stanza.Element
	changes chan error
}

func (l *listener) Stanza(e *stanza.Element) { l.stanzas <- e }

func (l *listener) Changed(up bool, err error) {
	if up {
		err = errUp
	}
	l.changes <- err
}

var errUp = errors.New("up")

func (l *listener) change(t *testing.T) error {
	t.Helper()
	return within(t, l.changes)
}

func within[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
	}
	panic("not reached")
}

// run begins a session with a server, in a hurry. What it returns stops it.
func run(t *testing.T, s *server, c Config) (*Session, *listener, func()) {
	t.Helper()
	c.Account = s.account()
	l := &listener{make(chan *stanza.Element, 1000), make(chan error, 1000)}
	session := New(c, l)
	session.pace = pace{quiet: 20 * time.Second, first: time.Millisecond, most: 10 * time.Millisecond, refused: time.Minute, leave: 10 * time.Second}
	return session, l, start(t, session)
}

func start(t *testing.T, session *Session) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- session.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := within(t, over); err != nil {
				t.Errorf("Run returns %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// expect reads until a stanza of a kind; pings are kept unanswered.
func expect(t *testing.T, p *stream, local string) *stanza.Element {
	t.Helper()
	for {
		e, err := p.next()
		if err != nil {
			t.Fatalf("waiting for %s: %v", local, err)
		}
		if e.Local == local && e.Child(nsPing, "ping") == nil {
			return e
		}
	}
}

// pings reads until a ping and answers it.
func pings(t *testing.T, p *stream) {
	t.Helper()
	for {
		e, err := p.next()
		if err != nil {
			t.Fatal(err)
		}
		if e.Child(nsPing, "ping") != nil {
			p.write(result(e))
			return
		}
	}
}

func TestASessionCarriesStanzasBothWays(t *testing.T) {
	s := newServer(t).serve()
	session, l, stop := run(t, s, Config{Features: []string{"urn:xmpp:receipts"}})
	p := s.peer()
	if e := expect(t, p, "iq"); e.Child(nsRoster, "query") == nil || e.Attr("type") != "get" {
		t.Errorf("the first question is %+v", e)
	}
	if e := expect(t, p, "presence"); len(e.Attrs)+len(e.Children) != 0 {
		t.Errorf("the first presence is %+v", e)
	}
	if len(l.changes) > 0 {
		t.Error("it is up before the server has said so")
	}
	pings(t, p)
	if err := l.change(t); err != errUp {
		t.Fatal(err)
	}

	m := stanza.New(stanza.NS, "message", attr("to", `user\40example.com@gw.example`), attr("id", "7"), attr("type", "chat"))
	m.AddText(stanza.NS, "body", "But, soft! <&>")
	done := make(chan error, 1)
	session.Send(m, func(err error) { done <- err })
	if e := expect(t, p, "message"); e.Attr("to") != `user\40example.com@gw.example` || e.Attr("id") != "7" || e.Child(stanza.NS, "body").Text != "But, soft! <&>" {
		t.Errorf("the server gets %+v", e)
	}
	if len(done) > 0 {
		t.Error("it is delivered before the server has said so")
	}
	pings(t, p)
	if err := within(t, done); err != nil {
		t.Errorf("it was not delivered: %v", err)
	}

	for _, tt := range []struct{ in, out string }{
		{"<message from='juliet@example.com/balcony' to='" + full + "' id='x1' type='chat'><body>hi</body><request xmlns='urn:xmpp:receipts'/></message>", ""},
		{"<message from='juliet@example.com' id='x2'/>", "<message from='juliet@example.com' id='x2' to='" + full + "'/>"},
		{"<message><body>from the server</body></message>", "<message from='" + user + "' to='" + full + "'><body>from the server</body></message>"},
		{"<message from='a@b' to='" + user + "' type='error' id='7'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>", ""},
		{"<presence from='juliet@example.com/balcony' to='" + user + "'><show>away</show><priority>5</priority></presence>", ""},
		{"<presence from='juliet@example.com' to='" + user + "' type='subscribe'/>", ""},
		{"<iq type='result' id='roster' to='" + full + "'><query xmlns='jabber:iq:roster'><item jid='juliet@example.com' subscription='both'/></query></iq>",
			"<iq type='result' id='roster' to='" + full + "' from='" + user + "'><query xmlns='jabber:iq:roster'><item jid='juliet@example.com' subscription='both'/></query></iq>"},
		// Copies that we have not asked for and times that a stranger wrote are forged.
		{"<message from='mallory@example.org' to='" + user + "'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='juliet@example.com'><body>forged</body></message></forwarded></received>" +
			"<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='example.net'/><delay xmlns='urn:xmpp:delay' stamp='2002-09-10T23:08:25Z' from='example.org'/><delay xmlns='urn:xmpp:delay' stamp='2003-09-10T23:08:25Z' from='example.net'/></message>",
			"<message from='mallory@example.org' to='" + user + "'><delay xmlns='urn:xmpp:delay' stamp='2003-09-10T23:08:25Z' from='example.net'/></message>"},
		// What is no stanza is passed over, and nothing in it is taken for one.
		{"<enabled xmlns='urn:xmpp:sm:3'/><x xmlns='urn:x'><message xmlns='jabber:client' from='ceo@example.com'><body>forged</body></message></x><message from='a@b' to='c@d'/>", "<message from='a@b' to='c@d'/>"},
	} {
		if tt.out == "" {
			tt.out = tt.in
		}
		p.octets([]byte(tt.in))
		if got := string(stanza.Append(nil, within(t, l.stanzas))); got != tt.out {
			t.Errorf("got  %s\nwant %s", got, tt.out)
		}
	}

	for _, tt := range []struct{ in, out string }{
		{"<iq type='get' id='1' from='example.net'><ping xmlns='urn:xmpp:ping'/></iq>", "<iq type='result' to='example.net' id='1'/>"},
		{"<iq type='get' id='2' from='a@b/c'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>", "<iq type='result' to='a@b/c' id='2'><query xmlns='http://jabber.org/protocol/disco#info'>" +
			"<identity category='client' type='bot' name='sipedge'/><feature var='http://jabber.org/protocol/disco#info'/><feature var='urn:xmpp:ping'/><feature var='urn:xmpp:receipts'/></query></iq>"},
		// An id of which others make stanzas.
		{`<iq type='get' id='x"/>&lt;presence type="unavailable"/>' from='a@b/c'><query xmlns='jabber:iq:version'/></iq>`,
			`<iq type='error' to='a@b/c' id='x"/&gt;&lt;presence type="unavailable"/&gt;'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`},
		{"<iq type='set' id='4'><query xmlns='jabber:iq:roster'><item jid='juliet@example.com' subscription='to'/></query></iq>", "<iq type='result' to='" + user + "' id='4'/>"},
		{"<iq type='set' id='5' from='mallory@example.org'><query xmlns='jabber:iq:roster'><item jid='mallory@example.org' subscription='both'/></query></iq>",
			"<iq type='error' to='mallory@example.org' id='5'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"},
	} {
		p.octets([]byte(tt.in))
		e := expect(t, p, "iq")
		from := e.Attr("from")
		e.SetAttr("from", "")
		if got := string(stanza.Append(nil, e)); got != tt.out || from != "" && from != full {
			t.Errorf("from %q\ngot  %s\nwant %s", from, got, tt.out)
		}
	}
	if e := within(t, l.stanzas); e.Local != "iq" || e.Attr("id") != "4" || len(l.stanzas) > 0 {
		t.Errorf("of the contact list comes %+v, and %d more", e, len(l.stanzas))
	}

	go stop()
	if e := expect(t, p, "presence"); e.Attr("type") != "unavailable" {
		t.Errorf("at the end comes %+v", e)
	}
	if e, err := p.next(); err != io.EOF {
		t.Errorf("and then %+v, %v", e, err)
	}
	p.goodbye()
	stop()
	if err := l.change(t); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestEachSendingHasOneOutcome(t *testing.T) {
	s := newServer(t).serve()
	session, l, stop := run(t, s, Config{Queue: 12})
	p := s.peer()
	pings(t, p)
	l.change(t)
	var mu sync.Mutex
	got := make(map[int][]error)
	var all sync.WaitGroup
	send := func(i int) {
		all.Add(1)
		session.Send(stanza.New(stanza.NS, "message", attr("to", "a@b"), attr("id", fmt.Sprint(i))), func(err error) {
			mu.Lock()
			got[i] = append(got[i], err)
			mu.Unlock()
			all.Done()
		})
	}
	want := func(from, to int, err error) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		for i := from; i < to; i++ {
			if len(got[i]) != 1 || !errors.Is(got[i][0], err) {
				t.Errorf("the outcome of %d is %v, want %v", i, got[i], err)
			}
		}
	}
	// The first is confirmed by the ping behind it. The others are not, because the
	// ping that is out is not theirs.
	send(0)
	expect(t, p, "message")
	ping, err := p.next()
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 12; i++ {
		send(i)
	}
	expect(t, p, "message")
	send(12)
	want(12, 13, ErrQueueFull)
	p.write(result(ping))
	pings(t, p) // the ping behind all others
	p.Close()
	if err := l.change(t); err == nil {
		t.Error("the end of the connection has no reason")
	}
	all.Wait()
	want(0, 1, nil)

	// Nothing is sent while there is no session, and nothing is sent twice.
	p = s.peer()
	pings(t, p)
	l.change(t)
	send(20)
	if e := expect(t, p, "message"); e.Attr("id") != "20" {
		t.Errorf("%s is sent again", e.Attr("id"))
	}
	p.Close()
	l.change(t)
	all.Wait()
	want(20, 21, ErrLost)
	stop()
	send(30)
	all.Wait()
	want(30, 31, ErrDown)
	big := stanza.New(stanza.NS, "message")
	big.AddText(stanza.NS, "body", strings.Repeat("x", maxSent))
	session.Send(big, func(err error) {
		if err != ErrTooLarge {
			t.Errorf("a large one: %v", err)
		}
	})
	session.Send(stanza.New(stanza.NS, "message"), nil)
}

func TestASessionComesBack(t *testing.T) {
	s := newServer(t).serve()
	session, l, _ := run(t, s, Config{})
	away := stanza.New(stanza.NS, "presence")
	away.AddText(stanza.NS, "show", "away")
	for i, ends := range []struct {
		how  func(*stream)
		want string
	}{
		{func(p *stream) { p.Close() }, "EOF"},
		{func(p *stream) { p.octets([]byte("<message><!-- --></message>")) }, "restricted-xml"},
		{func(p *stream) { p.goodbye() }, "closed"},
		{func(p *stream) {
			e := stanza.New(stanza.NSStreams, "error")
			e.Add(stanza.New(nsStreamErrors, "conflict"))
			e.AddText(nsStreamErrors, "text", "Replaced")
			p.write(e)
		}, "stream: conflict: Replaced"},
		{func(p *stream) { p.octets([]byte("<message><body>" + strings.Repeat("x", 300<<10))) }, "policy-violation"},
	} {
		p := s.peer()
		if e := expect(t, p, "presence"); i > 0 && (len(e.Children) != 1 || e.Child(stanza.NS, "show").Text != "away") {
			t.Errorf("its presence is %+v", e)
		}
		pings(t, p)
		if err := l.change(t); err != errUp {
			t.Fatal(err)
		}
		if i == 0 {
			session.Send(away, nil)
			expect(t, p, "presence")
		}
		ends.how(p)
		if err := l.change(t); err == nil || !strings.Contains(err.Error(), ends.want) {
			t.Errorf("it ended with %v, want %s", err, ends.want)
		}
		p.Close()
	}
}

// A server that says nothing is asked, and left if it does not answer; white space
// is a sign of life.
func TestASilentServerIsNoticed(t *testing.T) {
	s := newServer(t).serve()
	c := Config{Account: s.account()}
	l := &listener{make(chan *stanza.Element, 10), make(chan error, 10)}
	session := New(c, l)
	session.pace = pace{quiet: 400 * time.Millisecond, first: time.Millisecond, most: time.Millisecond, leave: time.Millisecond}
	defer start(t, session)()
	p := s.peer()
	pings(t, p)
	l.change(t)
	for range 4 { // pings come without anything being sent
		pings(t, p)
	}
	if len(l.changes) > 0 {
		t.Fatal(l.change(t))
	}
	if err := l.change(t); err == nil || !strings.Contains(err.Error(), "connection-timeout") {
		t.Errorf("it ended with %v", err)
	}
}

func TestWrongCredentialsAreNotTriedAtOnceAgain(t *testing.T) {
	s := newServer(t)
	s.refuse = "not-authorized"
	s.serve()
	_, l, stop := run(t, s, Config{})
	if err := l.change(t); !errors.Is(err, ErrCredentials) {
		t.Errorf("%v, want %v", err, ErrCredentials)
	}
	<-s.failed
	stop()
	if len(s.failed) > 0 {
		t.Error("it was tried again")
	}
	if err := New(Config{Account: Account{JID: "@"}}, l).Run(t.Context()); err == nil {
		t.Error("a session of nobody runs")
	}
}

// What was sent before the end is confirmed before it, if the server does so soon.
func TestASessionEndsWhenAllIsConfirmed(t *testing.T) {
	s := newServer(t).serve()
	session, l, stop := run(t, s, Config{})
	p := s.peer()
	pings(t, p)
	l.change(t)
	done := make(chan error, 1)
	session.Send(stanza.New(stanza.NS, "message", attr("to", "a@b")), func(err error) { done <- err })
	expect(t, p, "message")
	go stop()
	pings(t, p)
	if err := within(t, done); err != nil {
		t.Error(err)
	}
	expect(t, p, "presence")
	p.Close()
	stop()
}

// A handler that panics ends Run, and nothing is left of the session.
func TestAPanicOfTheHandlerEndsTheSession(t *testing.T) {
	s := newServer(t).serve()
	session := New(Config{Account: s.account()}, broken{})
	over := make(chan any, 1)
	go func() {
		defer func() { over <- recover() }()
		session.Run(context.Background())
	}()
	p := s.peer()
	go p.octets([]byte("<message from='a@b'/>"))
	if got := within(t, over); got != "broken" {
		t.Errorf("Run ends with %v", got)
	}
	session.Send(stanza.New(stanza.NS, "message"), func(err error) {
		if err != ErrDown {
			t.Errorf("afterwards: %v", err)
		}
	})
}

type broken struct{}

func (broken) Stanza(*stanza.Element) { panic("broken") }
func (broken) Changed(bool, error)    {}

func TestAPanicOfOthersIsAnError(t *testing.T) {
	err := func() (err error) {
		defer caught(&err)
		panic("broken")
	}()
	if err == nil || !strings.Contains(err.Error(), "broken") || !strings.Contains(err.Error(), "session_test.go") {
		t.Errorf("%v", err)
	}
}
