package xmpp

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
	"github.com/sipedge/sipedge/bridges/xmpp/body"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

func TestAMessageOfOursBecomesAStanza(t *testing.T) {
	w := newWorld(t, nil)
	r := bridgestest.Message(aliceURI+";gr=desk", julietURI, "Art thou not Romeo?")
	r.CallID = "9E97FB43@host"
	r.Fields = bridges.Fields{
		{Name: "Subject", Value: "A question"}, {Name: "Content-Language", Value: "en"},
		{Name: "Date", Value: "Sat, 13 Nov 2010 23:29:00 GMT"},
	}
	resp, _ := w.home.Send(t, r)
	if resp.Status != 200 {
		t.Fatalf("answered with %d %s", resp.Status, resp.Phrase)
	}
	m := w.beyond.next(t)
	get(t, m.Attr("from"), "alice@example.com/desk")
	get(t, m.Attr("to"), "juliet@fabrikam.example")
	get(t, m.Attr("type"), "")
	get(t, m.Lang(), "en")
	get(t, childOf(m.Element, stanza.NS, "body"), "Art thou not Romeo?")
	get(t, childOf(m.Element, stanza.NS, "subject"), "A question")
	get(t, childOf(m.Element, stanza.NS, "thread"), "9E97FB43@host")
	if len(m.Attr("id")) < 16 {
		t.Errorf("id %q", m.Attr("id"))
	}
	d := m.Child(nsDelay, "delay")
	if d == nil || d.Attr("stamp") != "2010-11-13T23:29:00Z" {
		t.Errorf("delay: %v", d)
	}
	// The home server of the test is the end of a bridge, too.
	if mark := m.Child(nsBridge, "bridged"); mark == nil || mark.Attr("hops") != "2" {
		t.Errorf("mark: %v", mark)
	}
	for _, space := range []string{nsChatStates, nsReceipts, nsMarkers} {
		for _, c := range m.Children {
			if c.Space == space {
				t.Errorf("%s was sent to somebody who may not know it", space)
			}
		}
	}
}

func TestACallIDThatNobodyWouldLookUpNamesNoThread(t *testing.T) {
	pair := ends{"alice@example.com", "juliet@fabrikam.example"}
	long := ends{pair.ours, strings.Repeat("j", 512) + "@fabrikam.example"}
	for _, tt := range []struct {
		who    ends
		callID string
		want   bool
	}{
		{pair, strings.Repeat("x", maxThread), true},
		{pair, strings.Repeat("x", maxThread+1), false},
		{long, "x", false},
	} {
		threads := newThreads(newIDMaker())
		thread := threads.toXMPP(tt.who, tt.callID)
		_, kept := threads.owners.get(tt.callID)
		if thread != "" != tt.want || kept != tt.want {
			t.Errorf("a Call-ID of %d octets, an address of %d: thread of %d, kept %v", len(tt.callID), len(tt.who.theirs), len(thread), kept)
		}
	}
}

func TestATextOfOursIsWhatItWas(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct{ name, contentType, body, want string }{
		{"plain", "text/plain", "<&>\"' \r\nsecond line", "<&>\"' \nsecond line"},
		{"emoji and right to left", "text/plain;charset=utf-8", "👩‍👩‍👧 שלום", "👩‍👩‍👧 שלום"},
		{"latin", "text/plain; charset=iso-8859-1", "gr\xfc\xdfe", "grüße"},
		{"what XML cannot carry", "text/plain", "a\x01b\x00c\uFFFEd", "a\uFFFDb\uFFFDc\uFFFDd"},
		{"html", "text/html", "<p>Hello <b>there</b></p><script>x()</script>", "Hello there"},
		{"two forms", "multipart/alternative;boundary=b", "--b\r\nContent-Type: text/html\r\n\r\n<i>no</i>\r\n--b\r\n\r\nyes\r\n--b--\r\n", "yes"},
		{"a wrapper", "message/cpim", "From: <" + aliceURI + ">\r\nTo: <im:juliet@fabrikam.example>\r\n\r\nContent-Type: text/plain\r\n\r\nwrapped", "wrapped"},
		{"1301 octets", "text/plain", strings.Repeat("é", 650) + "x", strings.Repeat("é", 650) + "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := bridgestest.Message(aliceURI, julietURI, tt.body)
			r.ContentType = tt.contentType
			if resp, _ := w.home.Send(t, r); resp.Status != 200 {
				t.Fatalf("answered with %d %s", resp.Status, resp.Phrase)
			}
			get(t, childOf(w.beyond.next(t).Element, stanza.NS, "body"), tt.want)
		})
	}
}

func TestWhatCannotCrossIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct {
		name   string
		change func(*bridges.Request)
		want   int
		field  string
	}{
		{"a type that nobody knows", func(r *bridges.Request) { r.ContentType = "application/x-secret" }, 415, "Accept"},
		{"packed", func(r *bridges.Request) { r.Fields = bridges.Fields{{Name: "Content-Encoding", Value: "gzip"}} }, 415, "Accept-Encoding"},
		{"larger than servers take", func(r *bridges.Request) { r.Body = []byte(strings.Repeat("<", 30_000)) }, 413, ""},
		{"with subjects larger than servers take", func(r *bridges.Request) {
			r.ContentType = "message/cpim"
			r.Body = []byte(strings.Repeat("Subject: "+strings.Repeat("<", 4000)+"\r\n", body.MaxTexts) + "\r\nContent-Type: text/plain\r\n\r\nx")
		}, 413, ""},
		{"nothing to read", func(r *bridges.Request) { r.Body = nil }, 400, ""},
		{"a wrapper of somebody else", func(r *bridges.Request) {
			r.ContentType = "message/cpim"
			r.Body = []byte("From: <sip:mallory@example.com>\r\n\r\nContent-Type: text/plain\r\n\r\nx")
		}, 403, "Reason"},
		{"a wrapper to somebody else", func(r *bridges.Request) {
			r.ContentType = "message/cpim"
			r.Body = []byte("From: <sip:alice@example.com>\r\nTo: <sip:nurse@fabrikam.example>\r\n\r\nContent-Type: text/plain\r\n\r\nx")
		}, 403, "Reason"},
		{"a name that XMPP cannot have", func(r *bridges.Request) { r.URI = "sip:%20juliet@fabrikam.example" }, 404, "Reason"},
		{"to one of us", func(r *bridges.Request) { r.URI = "sip:bob@example.com" }, 404, "Reason"},
		{"from somebody else's domain", func(r *bridges.Request) { r.From.URI = "sip:alice@contoso.example" }, 404, "Reason"},
		{"through too many bridges", func(r *bridges.Request) { r.Hops = bridges.MaxHops }, 482, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := bridgestest.Message(aliceURI, julietURI, "x")
			tt.change(r)
			resp, _ := w.home.Send(t, r)
			if resp.Status != tt.want {
				t.Errorf("answered with %d %s, want %d", resp.Status, resp.Phrase, tt.want)
			}
			if tt.field != "" && resp.Fields.Get(tt.field) == "" {
				t.Errorf("no %s in %v", tt.field, resp.Fields)
			}
			w.beyond.none(t)
		})
	}
}

func TestWhenTheSenderIsAnswered(t *testing.T) {
	for _, tt := range []struct {
		name string
		then func(w *world, m sentStanza)
		want int
		at   time.Duration
	}{
		{"at once when the stanza is acknowledged", func(w *world, m sentStanza) { m.done(s2s.Outcome{Acked: true}) }, 200, 0},
		{"after the hold where nobody acknowledges", func(w *world, m sentStanza) { m.done(s2s.Outcome{Sent: true}) }, 202, 2 * time.Second},
		{"after the hold while the stream is being built", func(w *world, m sentStanza) {}, 202, 2 * time.Second},
		{"with the error that comes first", func(w *world, m sentStanza) {
			m.done(s2s.Outcome{Sent: true})
			time.Sleep(time.Second)
			w.arrives(messageXML("type='error' from='juliet@fabrikam.example' id='"+m.Attr("id")+"'",
				"<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"))
		}, 604, time.Second},
		{"with what became of the stream", func(w *world, m sentStanza) {
			m.done(s2s.Outcome{Err: fmt.Errorf("%w: NXDOMAIN", s2s.ErrNoServer)})
		}, 404, 0},
		{"not by an error of somebody else", func(w *world, m sentStanza) {
			m.done(s2s.Outcome{Sent: true})
			w.arrives(messageXML("type='error' from='mallory@fabrikam.example' id='"+m.Attr("id")+"'",
				"<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"))
		}, 202, 2 * time.Second},
		{"not by an error for somebody else", func(w *world, m sentStanza) {
			m.done(s2s.Outcome{Sent: true})
			w.arrives(messageXML("type='error' from='juliet@fabrikam.example' to='bob@example.com' id='"+m.Attr("id")+"'",
				"<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"))
		}, 202, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.beyond.set(func(*stanza.Element) (s2s.Outcome, bool) { return s2s.Outcome{}, false })
				began := time.Now()
				got := make(chan *bridges.Response, 1)
				w.home.Do(bridgestest.Message(aliceURI, julietURI, "x"), func(r *bridges.Response, _ *bridges.Dialog) { got <- r })
				tt.then(w, w.beyond.next(t))
				resp := <-got
				if resp.Status != tt.want {
					t.Errorf("answered with %d, want %d", resp.Status, tt.want)
				}
				if after := time.Since(began); after < tt.at || after > tt.at+200*time.Millisecond {
					t.Errorf("answered after %v, want %v", after, tt.at)
				}
			})
		})
	}
}

func TestAnErrorThatComesLateIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		if got := w.say("x").Status; got != 200 {
			t.Fatalf("answered with %d", got)
		}
		id := w.beyond.next(t).Attr("id")
		fault := messageXML("type='error' from='juliet@fabrikam.example' id='"+id+"'",
			"<error type='wait'><recipient-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>")
		time.Sleep(64 * 500 * time.Millisecond)
		w.arrives(fault)
		synctest.Wait()
		if log := w.log.String(); !strings.Contains(log, "after it was accepted") || !strings.Contains(log, "recipient-unavailable") {
			t.Errorf("log: %s", log)
		}
		if got := w.sendings.size(); got != 0 {
			t.Errorf("%d messages are remembered, want none", got)
		}
		w.home.None(t)
	})
}

func TestMessagesAreForgottenAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.say("x")
		time.Sleep(time.Minute)
		if got := w.sendings.size(); got != 1 {
			t.Errorf("%d are remembered after a minute, want 1", got)
		}
		time.Sleep(keepSending)
		if got := w.sendings.size(); got != 0 {
			t.Errorf("%d are remembered, want none", got)
		}
	})
}

func TestTheOldestOfTooManyMessagesIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *settings) { s.hold = 20 * time.Second })
		w.sendings.max = 3
		w.beyond.set(func(*stanza.Element) (s2s.Outcome, bool) { return s2s.Outcome{}, false })
		got := make(chan int, 8)
		for range 4 {
			w.home.Do(bridgestest.Message(aliceURI, julietURI, "x"), func(r *bridges.Response, _ *bridges.Dialog) { got <- r.Status })
			w.beyond.next(t)
		}
		if status := <-got; status != 202 {
			t.Errorf("the oldest is answered with %d, want 202", status)
		}
		if n := w.sendings.size(); n != 3 {
			t.Errorf("%d are remembered, want 3", n)
		}
	})
}

func TestOneLineForManyErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		for range 1000 {
			w.arrives(messageXML("type='headline'", "<body>news</body>"))
		}
		if n := strings.Count(w.log.String(), "why=headline"); n != journalLines {
			t.Errorf("%d lines, want %d", n, journalLines)
		}
		time.Sleep(journalPeriod)
		w.arrives(messageXML("type='headline'", "<body>news</body>"))
		if log := w.log.String(); !strings.Contains(log, "left_out=980") {
			t.Error("nobody says how many were left out")
		}
		w.beyond.none(t)
		w.home.None(t)
	})
}
