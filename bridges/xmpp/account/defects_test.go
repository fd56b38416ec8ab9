package account

import (
	"crypto/tls"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xmppo/go-xmpp"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// These are the defects of go-xmpp v0.3.6 for whose sake only its login is used. A
// test that fails here says that one is mended: then what goes round it may go.

// library logs in with go-xmpp alone.
func library(t *testing.T) (*xmpp.Client, *stream) {
	t.Helper()
	s := newServer(t)
	s.direct = true
	s.serve()
	client, err := xmpp.Options{
		Host: s.l.Addr().String(), User: user, Password: password, Mechanism: "PLAIN",
		TLSConfig: &tls.Config{RootCAs: s.roots, ServerName: "example.net"}, DialTimeout: 20 * time.Second,
	}.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	p := s.peer()
	expect(t, p, "presence")
	return client, p
}

// says lets the server say something, and returns what the library makes of it.
func says(client *xmpp.Client, p *stream, text string) (any, error) {
	p.octets([]byte(text))
	return client.Recv()
}

func TestDefect1AnEscapedAddressIsCorruptedInQuestions(t *testing.T) {
	client, p := library(t)
	if _, err := client.DiscoverInfo(`user\40example.com@gw.example`); err != nil {
		t.Fatal(err)
	}
	if got := expect(t, p, "iq").Attr("to"); got != `user\\40example.com@gw.example` {
		t.Errorf("the question goes to %s", got)
	}
}

func TestDefect2TheIDOfAMessageIsNotTold(t *testing.T) {
	client, p := library(t)
	got, err := says(client, p, "<message from='a@b/c' id='marker' type='chat'><body>hi</body></message>")
	if err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprintf("%+v", got); !strings.Contains(s, "Text:hi") || strings.Contains(s, "marker") {
		t.Errorf("a message is %s", s)
	}
	if _, err := client.Send(xmpp.Chat{Remote: "a@b", Type: "chat", Text: "hi", OriginID: "marker"}); err != nil {
		t.Fatal(err)
	}
	if got := string(stanza.Append(nil, expect(t, p, "message"))); strings.Contains(got, "marker") {
		t.Errorf("it sends %s", got)
	}
}

func TestDefect3TheConditionOfAnErrorIsLost(t *testing.T) {
	client, p := library(t)
	got, err := says(client, p, "<iq from='a@b' id='1' type='error'><error type='cancel'><remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
	if err != nil {
		t.Fatal(err)
	}
	iq, ok := got.(xmpp.IQ)
	if !ok || iq.Type != "error" || strings.Contains(string(iq.Query), "remote-server-not-found") {
		t.Errorf("an error is %+v, %s", got, iq.Query)
	}
}

func TestDefect4ThePriorityOfAPresenceIsLost(t *testing.T) {
	client, p := library(t)
	got, err := says(client, p, "<presence from='a@b/c'><priority>5</priority></presence>")
	if err != nil {
		t.Fatal(err)
	}
	if presence, ok := got.(xmpp.Presence); !ok || presence.Priority != "" {
		t.Errorf("a presence is %+v", got)
	}
}

func TestDefect5AnUnknownElementIsAnErrorAndItsContentsAreStanzas(t *testing.T) {
	client, p := library(t)
	if got, err := says(client, p, "<enabled xmlns='urn:xmpp:sm:3'/>"); err == nil {
		t.Errorf("an unknown element is %+v", got)
	}
	if got, err := says(client, p, "<x xmlns='urn:x'><message xmlns='jabber:client' from='ceo@example.com'><body>forged</body></message></x>"); err == nil {
		t.Errorf("an unknown element is %+v", got)
	}
	if got, err := client.Recv(); err != nil || got.(xmpp.Chat).Remote != "ceo@example.com" {
		t.Errorf("what is in it is %+v, %v", got, err)
	}
	// After a broken element the decoder's lock is held for ever: the next Recv, and
	// Close, would hang.
	if got, err := says(client, p, "<message from='a@b'><body></message>"); err == nil {
		t.Errorf("a broken element is %+v", got)
	}
	lock := reflect.ValueOf(client).Elem().FieldByName("nextMutex")
	if (*sync.Mutex)(lock.Addr().UnsafePointer()).TryLock() {
		t.Error("the decoder is not locked")
	}
}

func TestDefect7AStrangerSpeaksAsOurUser(t *testing.T) {
	client, p := library(t)
	go says(client, p, `<iq type='get' from='mallory@example.org/x' to='`+full+`' id='"/>&lt;message to=&apos;boss@example.com&apos;>&lt;body>I quit&lt;/body>&lt;/message>'><query xmlns='jabber:iq:version'/></iq>`)
	if e := expect(t, p, "message"); e.Attr("to") != "boss@example.com" || e.Child(stanza.NS, "body").Text != "I quit" {
		t.Errorf("it sends %+v", e)
	}
	p.Close()
}
