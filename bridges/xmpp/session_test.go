package xmpp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/body"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

const microsoftOffer = "v=0\r\no=- 0 0 IN IP4 192.0.2.1\r\ns=session\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n" +
	"m=message 5060 sip sip:alice@example.com\r\na=accept-types:text/plain\r\n"

// invitation is an INVITE of alice's to juliet with this session description.
func invitation(sdp string) *bridges.Request {
	r := &bridges.Request{Method: "INVITE", URI: julietURI, From: bridges.Party{URI: aliceURI}, To: bridges.Party{URI: julietURI}, Body: []byte(sdp)}
	if sdp != "" {
		r.ContentType = body.TypeSDP
	}
	return r
}

// invite lets alice open a session and returns her dialog.
func (w *world) invite(t testing.TB) *bridges.Dialog {
	t.Helper()
	resp, d := w.home.Send(t, invitation(microsoftOffer))
	if resp.Status != 200 || d == nil {
		t.Fatalf("INVITE is answered with %d %s", resp.Status, resp.Phrase)
	}
	o, ok := body.ReadOffer(resp.Body)
	if !ok || o.Kind != body.SIPSession || resp.ContentType != body.TypeSDP {
		t.Fatalf("answer %s", resp.Body)
	}
	return d
}

func TestASessionOfOursIsAChat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		d := w.invite(t)
		w.beyond.none(t) // nobody is asked
		text := func(s string) *bridges.Request {
			return &bridges.Request{Method: "MESSAGE", ContentType: "text/plain;charset=UTF-8", Body: []byte(s)}
		}
		if got := w.home.SendWithin(t, d, text("hello")).Status; got != 200 {
			t.Errorf("answered with %d", got)
		}
		c := contentOf(w.beyond.next(t).Element)
		get(t, c.Type, "chat")
		get(t, c.Thread, d.CallID())
		get(t, c.Bodies[0].Text, "hello")

		w.arrives(messageXML("type='chat' id='r'", "<body>yes?</body><active xmlns='"+nsChatStates+"'/><thread>"+d.CallID()+"</thread>"))
		in := w.home.Take(t, "MESSAGE", 200)
		if in.Dialog != d {
			t.Error("the reply is not within the session")
		}
		get(t, string(in.Body), "yes?")
		w.arrives(messageXML("type='chat'", "<body>and?</body>")) // without a thread
		if in := w.home.Take(t, "MESSAGE", 200); in.Dialog != d {
			t.Error("the reply is not within the session")
		}

		if got := w.home.SendWithin(t, d, &bridges.Request{Method: "BYE"}).Status; got != 200 {
			t.Errorf("BYE is answered with %d", got)
		}
		m := w.beyond.next(t)
		get(t, contentOf(m.Element).State, "gone")
		get(t, contentOf(m.Element).Thread, d.CallID())
		if n := w.sessions.size(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

func TestOffersThatAreNoSessionOfMessages(t *testing.T) {
	w := newWorld(t, nil)
	head := "v=0\r\no=- 0 0 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
	for _, tt := range []struct {
		name, sdp, warning string
		status             int
	}{
		{"MSRP", head + "m=message 7654 TCP/MSRP *\r\na=accept-types:text/plain\r\na=path:msrp://a:1/x;tcp\r\n", "302", 488},
		{"a call", head + "m=audio 4000 RTP/AVP 0\r\n", "304", 488},
		{"no offer", "", "399", 488},
		{"no description", "hello", "", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, _ := w.home.Send(t, invitation(tt.sdp))
			if resp.Status != tt.status || !strings.HasPrefix(resp.Fields.Get("Warning"), tt.warning) {
				t.Errorf("answered with %d, Warning %q; want %d, %s", resp.Status, resp.Fields.Get("Warning"), tt.status, tt.warning)
			}
		})
	}
	r := invitation("x")
	r.ContentType = "application/x"
	if resp, _ := w.home.Send(t, r); resp.Status != 415 || resp.Fields.Get("Accept") != body.TypeSDP {
		t.Errorf("answered with %d", resp.Status)
	}
	if n := w.sessions.size(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

func TestWhoLeavesTheConversationEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.invite(t)
		w.chatState("gone")
		w.home.Take(t, "BYE", 200)
		synctest.Wait()
		w.beyond.none(t)
		w.chatState("gone")
		synctest.Wait()
		w.home.None(t)
	})
}

func TestASessionInWhichNothingIsSaidEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.invite(t)
		time.Sleep(9 * time.Minute)
		w.arrives(messageXML("type='chat'", "<body>x</body>"))
		w.home.Take(t, "MESSAGE", 200)
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		w.home.None(t)
		time.Sleep(2 * time.Minute)
		w.home.Take(t, "BYE", 200)
	})
}

// chat lets juliet write a chat message.
func (w *world) chat(id, text string) {
	w.t.Helper()
	w.arrives(messageXML("type='chat' id='"+id+"'", "<body>"+text+"</body>"))
}

func TestWhoWantsSessionsGetsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *settings) { s.microsoft = func(d string) bool { return d == "example.com" } })
		w.chat("1", "one")
		w.chat("2", "two")
		in := w.home.Next(t)
		if in.Method != "INVITE" || in.From.URI != julietURI {
			t.Fatalf("a %s from %s came", in.Method, in.From.URI)
		}
		o, ok := body.ReadOffer(in.Body)
		if !ok || o.Kind != body.SIPSession {
			t.Fatalf("offer %s", in.Body)
		}
		w.chat("3", "three")
		w.home.None(t)
		in.Answer(bridges.Response{Status: 200, ContentType: body.TypeSDP, Body: o.Answer("home.example.com")}, "")
		for _, want := range []string{"one", "two", "three"} {
			m := w.home.Take(t, "MESSAGE", 200)
			if m.Dialog == nil {
				t.Error("outside of the session")
			}
			get(t, string(m.Body), want)
		}
		w.chat("4", "four")
		get(t, string(w.home.Take(t, "MESSAGE", 200).Body), "four")
		w.beyond.none(t)
		w.arrives(messageXML("", "<body>no chat</body>"))
		get(t, string(w.home.Take(t, "MESSAGE", 200).Body), "no chat")
	})
}

func TestWithoutSessionsMessagesGoAlone(t *testing.T) {
	for _, status := range []int{405, 415, 488, 501, 606} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(s *settings) { s.microsoft = func(string) bool { return true } })
				w.chat("1", "one")
				w.chat("2", "two")
				w.home.Take(t, "INVITE", status)
				// The home server of the test takes those of different Call-IDs as they come.
				texts := []string{string(w.home.Take(t, "MESSAGE", 200).Body), string(w.home.Take(t, "MESSAGE", 200).Body)}
				slices.Sort(texts)
				get(t, strings.Join(texts, " "), "one two")
				time.Sleep(50 * time.Minute)
				w.chat("3", "three")
				w.home.Take(t, "MESSAGE", 200)
				time.Sleep(11 * time.Minute)
				w.chat("4", "four")
				w.home.Take(t, "INVITE", status)
				w.home.Take(t, "MESSAGE", 200)
				w.beyond.none(t)
			})
		})
	}
}

func TestWhoIsNotThereIsNotThereForAllThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *settings) { s.microsoft = func(string) bool { return true } })
		w.chat("1", "one")
		w.chat("2", "two")
		w.home.Take(t, "INVITE", 480)
		for _, id := range []string{"1", "2"} {
			m := w.beyond.next(t)
			get(t, m.Attr("id"), id)
			get(t, stanza.ErrorOf(m.Element).Condition, "recipient-unavailable")
		}
		if n := w.sessions.size(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

func TestNoMoreWaitsForASessionThanIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *settings) { s.microsoft = func(string) bool { return true } })
		for i := range maxHeld + 1 {
			w.chat(fmt.Sprint(i), "x")
		}
		m := w.beyond.next(t)
		get(t, m.Attr("id"), fmt.Sprint(maxHeld))
		get(t, stanza.ErrorOf(m.Element).Condition, "resource-constraint")
		w.home.Next(t)
		time.Sleep(sessionOpening + time.Second) // nobody answers
		w.home.NextCanceled(t)
		for i := range maxHeld {
			get(t, w.beyond.next(t).Attr("id"), fmt.Sprint(i))
		}
	})
}

func TestWhoWroteInASessionIsAnsweredInOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.chat("1", "x")
		w.home.Take(t, "MESSAGE", 200)
		d := w.invite(t)
		w.home.SendWithin(t, d, &bridges.Request{Method: "BYE"})
		w.chat("2", "x")
		w.home.Take(t, "INVITE", 480)
		w.beyond.next(t)
		w.say("by page mode")
		w.beyond.next(t)
		w.chat("3", "x")
		w.home.Take(t, "MESSAGE", 200)
	})
}

func TestASessionThatIsGoneIsBegunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.invite(t)
		w.chat("1", "x")
		w.home.Take(t, "MESSAGE", 481)
		in := w.home.Next(t)
		if in.Method != "INVITE" {
			t.Fatalf("a %s came", in.Method)
		}
		o, _ := body.ReadOffer(in.Body)
		in.Answer(bridges.Response{Status: 200, ContentType: body.TypeSDP, Body: o.Answer("home.example.com")}, "")
		w.home.Take(t, "MESSAGE", 481)
		get(t, stanza.ErrorOf(w.beyond.next(t).Element).Condition, "recipient-unavailable")
	})
}

// A hasty gateway hears a reply before it has answered an INVITE.
type hasty struct{ *world }

func (h hasty) Request(in *bridges.Incoming) {
	if in.Method != "INVITE" {
		h.gateway.Request(in)
		return
	}
	w, _ := h.gateway.outward(in)
	o, _ := h.gateway.offerOf(&in.Request)
	s := h.gateway.sessionFor(w, o)
	h.gateway.sessions.add(s)
	h.chat("1", "already")
	in.Data = s
	s.accept(in)
}

func TestAReplyMayBeFasterThanTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.gateway.sip.(*bridges.Endpoint).Handle(hasty{w})
		d := w.invite(t)
		in := w.home.Take(t, "MESSAGE", 200)
		if in.Dialog != d || string(in.Body) != "already" {
			t.Errorf("got %q", in.Body)
		}
	})
}

func TestASessionThatComesTooLateEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *settings) { s.microsoft = func(string) bool { return true } })
		w.chat("1", "x")
		in := w.home.Next(t)
		in.Answer(bridges.Response{Status: 180}, "")
		time.Sleep(sessionOpening - 10*time.Millisecond)
		o, _ := body.ReadOffer(in.Body)
		w.gateway.sessions.endAll() // as if the time was over, while the answer is under way
		in.Answer(bridges.Response{Status: 200, ContentType: body.TypeSDP, Body: o.Answer("home.example.com")}, "")
		m := w.beyond.next(t)
		get(t, m.Attr("id"), "1")
		get(t, stanza.ErrorOf(m.Element).Condition, "recipient-unavailable")
	})
}

func TestAClientGetsWhatItSaysThatItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.known()
		resp, d := w.home.Send(t, invitation(strings.Replace(microsoftOffer, "text/plain", "text/plain application/im-iscomposing+xml message/cpim", 1)))
		if resp.Status != 200 {
			t.Fatalf("answered with %d", resp.Status)
		}
		w.chatState("composing")
		in := w.home.Take(t, "MESSAGE", 200)
		if in.Dialog != d || in.ContentType != body.TypeComposing {
			t.Errorf("a notice is %s", in.ContentType)
		}
		c := body.Composing{Active: true}
		if got := w.home.SendWithin(t, d, &bridges.Request{Method: "MESSAGE", ContentType: body.TypeComposing, Body: c.Append(nil)}).Status; got != 200 {
			t.Errorf("answered with %d", got)
		}
		get(t, w.state(), "composing")
		w.arrives(messageXML("type='chat' id='1'", "<body>hello</body>"+wantsReceipt))
		in = w.home.Take(t, "MESSAGE", 200)
		wrapper, err := wrapperOf(in.Body)
		if in.Dialog != d || in.ContentType != body.TypeCPIM || err != nil {
			t.Fatalf("got %s %q", in.ContentType, in.Body)
		}
		n := body.IMDN{MessageID: wrapper.MessageID, Kind: "delivery", Status: "delivered"}
		report := body.CPIM{From: body.Party{URI: aliceURI}, To: []body.Party{{URI: julietURI}}, MessageID: "r", ContentType: body.TypeIMDN, Body: n.Append(nil)}
		w.home.SendWithin(t, d, &bridges.Request{Method: "MESSAGE", ContentType: body.TypeCPIM, Body: report.Append(nil)})
		get(t, contentOf(w.beyond.next(t).Element).Received, "1")
	})
}

func TestSessionsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		for range maxOfPair + 1 {
			w.invite(t)
		}
		w.home.Take(t, "BYE", 200)
		if n := w.sessions.size(); n != maxOfPair {
			t.Errorf("%d sessions, want %d", n, maxOfPair)
		}
		w.sessions.max = maxOfPair
		r := invitation(microsoftOffer)
		r.URI = "sip:nurse@fabrikam.example"
		if resp, _ := w.home.Send(t, r); resp.Status != 480 {
			t.Errorf("one too many is answered with %d", resp.Status)
		}
	})
}

func TestInvitedAgainNothingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		d := w.invite(t)
		again := func(method, sdp string) *bridges.Response {
			r := &bridges.Request{Method: method, Body: []byte(sdp)}
			if sdp != "" {
				r.ContentType = body.TypeSDP
			}
			return w.home.SendWithin(t, d, r)
		}
		for _, tt := range []struct {
			method, sdp string
			want        int
		}{
			{"INVITE", microsoftOffer, 200}, {"INVITE", "", 200}, {"UPDATE", microsoftOffer, 200}, {"UPDATE", "", 200},
			{"INVITE", strings.Replace(microsoftOffer, "m=message", "m=audio", 1), 488},
		} {
			if got := again(tt.method, tt.sdp); got.Status != tt.want {
				t.Errorf("%s with %q is answered with %+v, want %d", tt.method, tt.sdp, got, tt.want)
			}
		}
		if n := w.sessions.size(); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
	})
}
