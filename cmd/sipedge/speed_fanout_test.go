package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/sip"
)

// fanOut is how many watch one.
const fanOut = 1000

// A crier is somebody who is watched: how many have heard his last word.
type crier struct {
	mu    sync.Mutex // guards what follows
	word  string
	heard map[string]bool
	all   chan struct{}
}

// cries lets heard be told of those who have heard a word; the channel is closed when all
// have.
func (c *crier) cries(word string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.word, c.heard, c.all = word, make(map[string]bool), make(chan struct{})
	return c.all
}

// hears is told that somebody has heard something.
func (c *crier) hears(who, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.word == "" || !strings.Contains(what, c.word) || c.heard[who] {
		return
	}
	if c.heard[who] = true; len(c.heard) == fanOut {
		close(c.all)
	}
}

func waitAll(t *testing.T, c *crier, all <-chan struct{}) {
	t.Helper()
	select {
	case <-all:
	case <-time.After(4 * patience):
		c.mu.Lock()
		defer c.mu.Unlock()
		t.Fatalf("%d of %d have heard %q", len(c.heard), fanOut, c.word)
	}
}

// told says how long it took, which must be less than a second.
func told(t *testing.T, took time.Duration) {
	t.Helper()
	t.Logf("%d were told in %v", fanOut, took.Round(time.Millisecond))
	if took > time.Second {
		t.Errorf("that is more than a second")
	}
}

// TestXMPPFanOut measures how long it takes until 1,000 watchers of one user know that he
// has changed: of one of ours, in the network, and of one there, at home servers.
func TestXMPPFanOut(t *testing.T) {
	benchTime(t)
	t.Run("of one of ours", fanOutOfOurs)
	t.Run("of one of theirs", fanOutOfTheirs)
}

// document is a presence document with a note.
func document(entity, note string) string {
	return "<?xml version='1.0'?><presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:" + entity + "'><tuple id='phone'>" +
		"<status><basic>open</basic></status><note>" + note + "</note></tuple></presence>"
}

// A watched is a dialog of a subscription that somebody has with our user.
type watched struct {
	call, from, target string
	routes             []string
	seq                int
}

// notify makes the next NOTIFY to him.
func (d *watched) notify(body string) []byte {
	d.seq++
	var b strings.Builder
	fmt.Fprintf(&b, "NOTIFY %s SIP/2.0\r\nVia: SIP/2.0/TLS sip.example.com;branch=z9hG4bK%s%d\r\nMax-Forwards: 70\r\n", d.target, d.call, d.seq)
	for _, r := range d.routes {
		b.WriteString("Route: " + r + "\r\n")
	}
	fmt.Fprintf(&b, "From: <sip:alice@example.com>;tag=home\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d NOTIFY\r\nEvent: presence\r\n"+
		"Subscription-State: active;expires=3600\r\nContact: <sip:alice@sip.example.com>\r\nContent-Type: application/pidf+xml\r\nContent-Length: %d\r\n\r\n%s",
		d.from, d.call, d.seq, len(body), body)
	return []byte(b.String())
}

// routesOf are the routes that a request has recorded.
func routesOf(m *sip.Message) (routes []string) {
	for e := range strings.Lines(string(m.Raw())) {
		if value, ok := strings.CutPrefix(e, "Record-Route: "); ok {
			routes = append(routes, strings.TrimSpace(value))
		}
	}
	return routes
}

func fanOutOfOurs(t *testing.T) {
	s := speedStage(t)
	alice := new(crier)
	var mu sync.Mutex
	dialogs := make(map[string]*watched)
	far := farServer(t, s, func(m *s2s.Stanza) {
		if status := statusOf(m); m.Local == "presence" && status != "" {
			alice.hears(m.Attr("to"), status)
		}
	})
	var home *fastHome
	home = newFastHome(t, s, func(m *sip.Message) string {
		if string(m.Method()) != "SUBSCRIBE" {
			return ""
		}
		contact := string(m.Value(sip.Contact))
		d := &watched{
			call: string(m.CallID()), from: string(m.Value(sip.From)), routes: routesOf(m),
			target: strings.Trim(contact, "<>"),
		}
		mu.Lock()
		dialogs[d.call] = d
		octets := d.notify(document("alice@example.com", "at her desk"))
		mu.Unlock()
		home.send(octets)
		return "Contact: <sip:alice@sip.example.com>\r\nExpires: 3600\r\n"
	})
	startSpeedEdge(t, s)
	home.connects(t, s, func(*sip.Message) {})
	all, began := alice.cries("at her desk"), time.Now()
	for i := range fanOut {
		far.Send(newStanza("presence", fmt.Sprintf("watcher%d@fabrikam.example", i), "alice@example.com", stanza.Attr{Local: "type", Value: "subscribe"}), nil)
	}
	waitAll(t, alice, all)
	t.Logf("%d began to watch her in %v", fanOut, time.Since(began).Round(time.Millisecond))
	for _, note := range []string{"in a meeting", "on the phone", "out to lunch"} {
		all, began = alice.cries(note), time.Now()
		mu.Lock()
		for _, d := range dialogs {
			home.send(d.notify(document("alice@example.com", note)))
		}
		mu.Unlock()
		waitAll(t, alice, all)
		told(t, time.Since(began))
	}
}

func fanOutOfTheirs(t *testing.T) {
	s := speedStage(t)
	juliet := new(crier)
	status := "in the orchard"
	var far *s2s.Server
	available := func(to, status string) *stanza.Element {
		p := newStanza("presence", "juliet@fabrikam.example/balcony", to)
		p.AddText(stanza.NS, "status", status)
		return p
	}
	far = farServer(t, s, func(m *s2s.Stanza) {
		switch {
		case m.Local != "presence":
		case m.Attr("type") == "subscribe":
			far.Send(newStanza("presence", "juliet@fabrikam.example", m.Attr("from"), stanza.Attr{Local: "type", Value: "subscribed"}), nil)
			far.Send(available(m.Attr("from"), status), nil)
		}
	})
	home := newFastHome(t, s, func(m *sip.Message) string {
		if string(m.Method()) == "NOTIFY" {
			juliet.hears(string(m.Value(sip.To)), string(m.Body()))
		}
		return ""
	})
	startSpeedEdge(t, s)
	home.connects(t, s, func(*sip.Message) {})
	all, began := juliet.cries(status), time.Now()
	for i := range fanOut {
		home.send(fmt.Appendf(nil, "SUBSCRIBE sip:juliet@fabrikam.example SIP/2.0\r\nVia: SIP/2.0/TLS sip.example.com;branch=z9hG4bKs%d\r\nMax-Forwards: 70\r\n"+
			"From: <sip:user%[1]d@example.com>;tag=%[1]d\r\nTo: <sip:juliet@fabrikam.example>\r\nCall-ID: watch%[1]d\r\nCSeq: 1 SUBSCRIBE\r\n"+
			"Contact: <sip:user%[1]d@sip.example.com>\r\nEvent: presence\r\nAccept: application/pidf+xml\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n", i))
	}
	waitAll(t, juliet, all)
	t.Logf("%d began to watch her in %v", fanOut, time.Since(began).Round(time.Millisecond))
	for _, status := range []string{"in her chamber", "in the tomb"} {
		time.Sleep(6 * time.Second) // until a device may hear again (RFC 3856 §6.10)
		all, began = juliet.cries(status), time.Now()
		for i := range fanOut {
			far.Send(available(fmt.Sprintf("user%d@example.com", i), status), nil)
		}
		waitAll(t, juliet, all)
		told(t, time.Since(began))
	}
}

// statusOf is what somebody says of himself.
func statusOf(m *s2s.Stanza) string {
	if e := m.Child(stanza.NS, "status"); e != nil {
		return e.Text
	}
	return ""
}
