package xmpp

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
)

// What a server sends again on its next stream is not shown twice; all else that looks
// like it is.
func TestWhatComesAgainOnAnotherStreamIsNotShownTwice(t *testing.T) {
	const hello = "<body>hello</body>"
	for _, tt := range []struct {
		name     string
		attrs    string
		content  string
		stream   uint64
		after    time.Duration
		repeated bool
	}{
		{"on the next stream", "id='7'", hello, 2, 0, true},
		{"with a note that it is late", "id='7'", hello + "<delay xmlns='urn:xmpp:delay' stamp='2010-11-13T23:29:00Z'/>", 2, 0, true},
		{"a minute later", "id='7'", hello, 2, time.Minute, true},
		{"three minutes later", "id='7'", hello, 2, 3 * time.Minute, false},
		{"on the same stream", "id='7'", hello, 1, 0, false},
		{"on a stream that nobody knows", "id='7'", hello, 0, 0, false},
		{"another id", "id='8'", hello, 2, 0, false},
		{"another text", "id='7'", "<body>hello!</body>", 2, 0, false},
		{"of another device", "id='7' from='juliet@fabrikam.example/chamber'", hello, 2, 0, false},
		{"of somebody else", "id='7' from='nurse@fabrikam.example/balcony'", hello, 2, 0, false},
		{"to somebody else", "id='7' to='bob@example.com'", hello, 2, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.arrivesOn(1, messageXML("id='7'", hello))
				w.home.Take(t, "MESSAGE", 200)
				time.Sleep(tt.after)
				before := w.journal.noted.Load()
				w.arrivesOn(tt.stream, messageXML(tt.attrs, tt.content))
				if !tt.repeated {
					w.home.Take(t, "MESSAGE", 200)
					return
				}
				synctest.Wait()
				w.home.None(t)
				if n := w.journal.noted.Load() - before; n != 1 || !strings.Contains(w.log.String(), "came before on another stream") {
					t.Errorf("%d events were noted:\n%s", n, w.log.String())
				}
				// And on one more stream; but then the same server says it anew.
				w.arrivesOn(3, messageXML(tt.attrs, tt.content))
				synctest.Wait()
				w.home.None(t)
				w.arrivesOn(3, messageXML(tt.attrs, tt.content))
				w.home.Take(t, "MESSAGE", 200)
			})
		})
	}
}

func TestMessagesWithoutAnIDAreNotTakenForRepeats(t *testing.T) {
	w := newWorld(t, nil)
	for stream := range uint64(3) {
		w.arrivesOn(stream+1, messageXML("", "<body>hello</body>"))
		w.home.Take(t, "MESSAGE", 200)
	}
}

// Whoever was told that a message did not arrive may send it again.
func TestWhatWasRefusedMayComeAgain(t *testing.T) {
	w := newWorld(t, nil)
	w.meet("juliet@fabrikam.example")
	w.arrivesOn(1, messageXML("id='7'", "<body>hello</body>"))
	w.home.Take(t, "MESSAGE", 480)
	w.beyond.next(t)
	w.arrivesOn(2, messageXML("id='7'", "<body>hello</body>"))
	w.home.Take(t, "MESSAGE", 200)
}

// The session of an account proves nothing of what streams of servers carry.
func TestAnAccountsServerKeepsNothingBack(t *testing.T) {
	w := newWorld(t, nil)
	r, in, l := w.repeats, &inward{}, &letter{id: "7", text: "hello"}
	if r.again(&s2s.Stanza{Stream: 1, Proof: bridges.ProofAccount}, in, l) {
		t.Fatal("what never came came before")
	}
	if r.again(&s2s.Stanza{Stream: 2, Proof: bridges.ProofDialback}, in, l) {
		t.Error("what an account's server said keeps back what another one says")
	}
	if !r.again(&s2s.Stanza{Stream: 3, Proof: bridges.ProofCertificate}, in, l) {
		t.Error("another proof of the same server makes another message of it")
	}
}

func TestRepeatsAreBounded(t *testing.T) {
	w := newWorld(t, nil)
	r, in := w.repeats, &inward{}
	for i := range maxRepeats + 10 {
		r.again(&s2s.Stanza{Stream: 1}, in, &letter{id: fmt.Sprint(i), text: "hello"})
	}
	if n := r.heard.size(); n != maxRepeats {
		t.Errorf("%d are known, want %d", n, maxRepeats)
	}
}
