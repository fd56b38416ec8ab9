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
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// types lets alice say that she types, or not, with a refresh if it is not 0.
func (w *world) types(active bool, refresh time.Duration) {
	w.t.Helper()
	c := body.Composing{Active: active, Refresh: refresh}
	r := bridgestest.Message(aliceURI, julietURI, string(c.Append(nil)))
	r.ContentType = body.TypeComposing
	if resp, _ := w.home.Send(w.t, r); resp.Status != 200 {
		w.t.Fatalf("answered with %d", resp.Status)
	}
}

// state returns the chat state of the next stanza that was sent.
func (w *world) state() string {
	w.t.Helper()
	return contentOf(w.beyond.next(w.t).Element).State
}

// known lets juliet write something with a chat state, so that both know each other.
func (w *world) known() {
	w.t.Helper()
	w.arrives(messageXML("type='chat'", "<body>x</body><active xmlns='"+nsChatStates+"'/>"))
	w.home.Take(w.t, "MESSAGE", 200)
	synctest.Wait()
}

func TestTypingOfOursIsToldToWhoKnowsChatStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.types(true, 0)
		w.beyond.none(t)
		w.known()
		w.types(true, 0)
		m := w.beyond.next(t)
		c := contentOf(m.Element)
		if c.State != "composing" || c.Type != "chat" || c.Thread == "" || len(c.Bodies) != 0 {
			t.Errorf("sent %s", stanza.Append(nil, m.Element))
		}
		w.types(true, 0) // again: nothing new
		w.beyond.none(t)
		w.types(false, 0)
		get(t, w.state(), "active")
		w.types(false, 0)
		w.beyond.none(t)
	})
}

func TestTypingOfOursEndsByItself(t *testing.T) {
	for _, tt := range []struct{ refresh, want time.Duration }{
		{0, 120 * time.Second}, {90 * time.Second, 90 * time.Second}, {10 * time.Second, 60 * time.Second},
	} {
		t.Run(tt.refresh.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.known()
				began := time.Now()
				w.types(true, tt.refresh)
				get(t, w.state(), "composing")
				time.Sleep(tt.want - time.Second)
				w.beyond.none(t)
				get(t, w.state(), "active")
				if after := time.Since(began); after > tt.want+200*time.Millisecond {
					t.Errorf("ended after %v, want %v", after, tt.want)
				}
			})
		})
	}
}

func TestWhatIsWrittenEndsTyping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.known()
		w.types(true, 0)
		get(t, w.state(), "composing")
		w.say("done")
		get(t, w.state(), "active") // with the message
		time.Sleep(5 * time.Minute)
		w.beyond.none(t)
	})
}

// chatState lets juliet say a chat state alone.
func (w *world) chatState(state string) {
	w.t.Helper()
	w.arrives(messageXML("type='chat'", "<"+state+" xmlns='"+nsChatStates+"'/>"))
}

// notice returns the next typing notice that alice gets, answered.
func (w *world) notice(status int) *body.Composing {
	w.t.Helper()
	in := w.home.Take(w.t, "MESSAGE", status)
	p, err := body.Read(in.ContentType, "", in.Body)
	if in.ContentType != body.TypeComposing || err != nil {
		w.t.Fatalf("got %s %q, want a notice", in.ContentType, in.Body)
	}
	return p.Composing
}

func TestTypingOfOthersIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.known()
		began := time.Now()
		w.chatState("composing")
		c := w.notice(200)
		if !c.Active || c.Refresh != 90*time.Second || c.ContentType != "text/plain" {
			t.Errorf("notice %+v", c)
		}
		w.chatState("composing") // again: nothing new
		for i := 1; i <= 3; i++ {
			time.Sleep(time.Until(began.Add(time.Duration(i)*80*time.Second + 300*time.Millisecond)))
			if c := w.notice(200); !c.Active {
				t.Error("it is taken back")
			}
		}
		time.Sleep(10 * time.Minute)
		w.home.None(t) // 5 minutes were over
		w.chatState("paused")
		synctest.Wait()
		w.home.None(t)
	})
}

func TestOnlyWhatWasSaidIsTakenBack(t *testing.T) {
	for _, state := range []string{"active", "inactive", "paused"} {
		t.Run(state, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.known()
				w.chatState(state)
				synctest.Wait()
				w.home.None(t)
				w.chatState("composing")
				w.notice(200)
				w.chatState(state)
				if c := w.notice(200); c.Active || c.LastActive.IsZero() {
					t.Errorf("notice %+v", c)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.known()
		w.chatState("composing")
		w.notice(200)
		w.known() // a message ends it by itself
		time.Sleep(10 * time.Minute)
		w.home.None(t)
		w.chatState("gone")
		synctest.Wait()
		w.home.None(t)
	})
}

func TestAStrangerWhoTypesIsNobodysBusiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.chatState("composing")
		synctest.Wait()
		w.home.None(t)
	})
}

func TestWhoDoesNotWantNoticesGetsNone(t *testing.T) {
	for _, status := range []int{405, 415, 488} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.known()
				w.chatState("composing")
				w.notice(status)
				synctest.Wait()
				w.chatState("paused")
				w.chatState("composing")
				time.Sleep(10 * time.Minute)
				w.chatState("composing")
				synctest.Wait()
				w.home.None(t)
			})
		})
	}
}

func TestARefusalIsRememberedForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		traits := newTraits(nil)
		const who = "alice@example.com"
		traits.refusedTyping(who)
		traits.wrapper(who, true)
		traits.wrapper(who, false)
		time.Sleep(keepRefusal - time.Second)
		if traits.takesTyping(who) {
			t.Error("typing notices are sent again")
		}
		if takes, ask := traits.takesWrapper(who); takes || ask {
			t.Error("wrappers are sent or asked for again")
		}
		time.Sleep(2 * time.Second)
		if !traits.takesTyping(who) {
			t.Error("typing notices are never sent again")
		}
		if _, ask := traits.takesWrapper(who); !ask {
			t.Error("nobody is ever asked for wrappers again")
		}
	})
}

func TestTypistsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.typing.max = 2
		for i := range 3 {
			from := fmt.Sprintf("type='chat' from='s%d@fabrikam.example'", i)
			w.arrives(messageXML(from, "<body>x</body><active xmlns='"+nsChatStates+"'/>"))
			w.home.Take(t, "MESSAGE", 200)
			synctest.Wait()
			w.arrives(messageXML(from, "<composing xmlns='"+nsChatStates+"'/>"))
			if i < 2 {
				w.notice(200)
			}
			c := body.Composing{Active: true}
			r := bridgestest.Message(aliceURI, fmt.Sprintf("sip:s%d@fabrikam.example", i), string(c.Append(nil)))
			r.ContentType = body.TypeComposing
			w.home.Send(t, r)
			if i < 2 {
				w.beyond.next(t)
			}
		}
		synctest.Wait()
		w.home.None(t)
		w.beyond.none(t)
	})
}

func TestMicrosoftTypingComesByINFO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.known()
		d := w.invite(t)
		r := &bridges.Request{Method: "INFO", ContentType: "application/xml", Body: []byte(`<?xml version="1.0"?><KeyboardActivity><status status="type"/></KeyboardActivity>`)}
		if got := w.home.SendWithin(t, d, r).Status; got != 200 {
			t.Fatalf("answered with %d", got)
		}
		get(t, w.state(), "composing")
		w.chatState("composing") // and so goes back
		in := w.home.Take(t, "INFO", 200)
		if !strings.Contains(string(in.Body), `status='type'`) {
			t.Errorf("got %q", in.Body)
		}
		for _, bad := range []struct {
			kind, body string
			want       int
		}{{"application/x", "x", 415}, {"application/xml", "<x/>", 400}, {"", "", 200}} {
			r := &bridges.Request{Method: "INFO", ContentType: bad.kind, Body: []byte(bad.body)}
			if got := w.home.SendWithin(t, d, r).Status; got != bad.want {
				t.Errorf("%q is answered with %d, want %d", bad.body, got, bad.want)
			}
		}
	})
}
