package xmpp

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

const (
	aliceURI  = "sip:alice@example.com"
	julietURI = "sip:juliet@fabrikam.example"
)

// A beyond is the XMPP side of a gateway under test: it keeps what is sent there, and
// says what becomes of it.
type beyond struct {
	t    testing.TB
	sent chan sentStanza
	mu   sync.Mutex
	then func(e *stanza.Element) (s2s.Outcome, bool) // guarded by mu; false: nothing yet
}

type sentStanza struct {
	*stanza.Element
	done func(s2s.Outcome)
}

func (b *beyond) Send(e *stanza.Element, done func(s2s.Outcome)) bool {
	b.mu.Lock()
	then := b.then
	b.mu.Unlock()
	// Only what can be written and read again counts.
	read, err := stanza.Parse(stanza.Append(nil, e), stanza.Limits{})
	if err != nil {
		b.t.Errorf("%s cannot be read again: %v", stanza.Append(nil, e), err)
		return true
	}
	b.sent <- sentStanza{read, done}
	if o, ok := then(e); ok && done != nil {
		go done(o)
	}
	return true
}

// always lets every stanza end in the same way.
func (b *beyond) always(o s2s.Outcome) {
	b.set(func(*stanza.Element) (s2s.Outcome, bool) { return o, true })
}

func (b *beyond) set(then func(*stanza.Element) (s2s.Outcome, bool)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.then = then
}

// next returns the next stanza that was sent.
func (b *beyond) next(t testing.TB) sentStanza {
	t.Helper()
	clock := time.NewTimer(bridgestest.Patience)
	defer clock.Stop()
	select {
	case e := <-b.sent:
		return e
	case <-clock.C:
		t.Fatal("no stanza was sent")
		panic("unreachable")
	}
}

// none fails the test if something was sent that nobody took.
func (b *beyond) none(t testing.TB) {
	t.Helper()
	select {
	case e := <-b.sent:
		t.Fatalf("sent %s, want nothing", stanza.Append(nil, e.Element))
	default:
	}
}

// A world is a gateway with both its sides.
type world struct {
	t testing.TB
	*gateway
	beyond *beyond
	home   *bridgestest.Home
	log    *lockedBuffer
}

// newWorld makes one. change may change its settings.
func newWorld(t testing.TB, change func(*settings)) *world {
	set := settings{
		served: map[string]bool{"example.com": true}, hold: 2 * time.Second, maxMessage: 64 << 10,
		software: "test", host: "example.com",
	}
	if change != nil {
		change(&set)
	}
	w := &world{t: t, beyond: &beyond{t: t, sent: make(chan sentStanza, 4096)}, log: &lockedBuffer{}}
	w.beyond.always(s2s.Outcome{Acked: true})
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	e, home := bridgestest.New(t, nil)
	addr := address.New(address.Domains{Native: []string{"example.com"}})
	w.home, w.gateway = home, newGateway(set, addr, e, w.beyond, log)
	e.Handle(w.gateway)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.gateway.run(ctx); err != nil {
			t.Errorf("gateway: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return w
}

// arrives lets a stanza come from outside.
func (w *world) arrives(xml string) {
	w.t.Helper()
	w.arrivesOn(0, xml)
}

// arrivesOn is arrives on a stream of that number.
func (w *world) arrivesOn(stream uint64, xml string) {
	w.t.Helper()
	e, err := stanza.Parse([]byte(xml), stanza.Limits{})
	if err != nil {
		w.t.Fatalf("%s: %v", xml, err)
	}
	if e.Space == "" {
		w.t.Fatalf("%s has no namespace", xml)
	}
	w.gateway.stanza(&s2s.Stanza{
		Element: e, From: stanza.Domain(e.Attr("from")), To: stanza.Domain(e.Attr("to")), Proof: bridges.ProofCertificate, Stream: stream,
	})
}

// messageXML is one from juliet to alice, with what is in it.
func messageXML(attrs, content string) string {
	if !strings.Contains(attrs, "from=") {
		attrs += " from='juliet@fabrikam.example/balcony'"
	}
	if !strings.Contains(attrs, "to=") {
		attrs += " to='alice@example.com'"
	}
	return "<message xmlns='jabber:server' " + attrs + ">" + content + "</message>"
}

// say lets alice send a text to juliet and returns the answer.
func (w *world) say(text string) *bridges.Response {
	w.t.Helper()
	resp, _ := w.home.Send(w.t, bridgestest.Message(aliceURI, julietURI, text))
	return resp
}

// get fails the test unless a text is in there.
func get(t testing.TB, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// text returns the text of a child.
func childOf(e *stanza.Element, space, local string) string {
	if c := e.Child(space, local); c != nil {
		return c.Text
	}
	return ""
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

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
