package xmpp

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

func TestAStanzaBecomesAMessage(t *testing.T) {
	w := newWorld(t, nil)
	w.arrives(messageXML("id='1' xml:lang='en' type='chat'", `<subject>A&#10;question</subject>
		<thread>D9AA95FD@x</thread><body>Neither, fair saint</body><body xml:lang='cs'>Nic</body>
		<delay xmlns='urn:xmpp:delay' from='fabrikam.example' stamp='2010-11-13T23:29:00Z'/>
		<bridged xmlns='urn:sipedge:bridge:0' hops='1'/>`))
	in := w.home.Take(t, "MESSAGE", 200)
	get(t, in.URI, aliceURI)
	get(t, in.To.URI, aliceURI)
	get(t, in.From.URI, julietURI+";gr=balcony")
	get(t, in.ContentType, "text/plain;charset=UTF-8")
	get(t, string(in.Body), "Neither, fair saint")
	get(t, in.Fields.Get("Subject"), "A question")
	get(t, in.Fields.Get("Content-Language"), "en")
	get(t, in.Fields.Get("Date"), "Sat, 13 Nov 2010 23:29:00 GMT")
	get(t, in.CallID, "D9AA95FD@x")
	if in.Hops != 2 {
		t.Errorf("has passed %d bridges, want 2", in.Hops)
	}
	w.beyond.none(t)
}

func TestAThreadIsAConversation(t *testing.T) {
	w := newWorld(t, nil)
	say := func(thread string) string {
		w.arrives(messageXML("", "<body>x</body><thread>"+thread+"</thread>"))
		return w.home.Take(t, "MESSAGE", 200).CallID
	}
	if a, b := say("with blanks"), say("with blanks"); a != b || a == "with blanks" {
		t.Errorf("Call-IDs %q and %q, want one that is none of the thread", a, b)
	} else {
		r := w.reply(a)
		w.home.Send(t, r)
		get(t, childOf(w.beyond.next(t).Element, stanza.NS, "thread"), "with blanks")
	}
	get(t, say("abc@host"), "abc@host")
	w.arrives(messageXML("from='nurse@fabrikam.example'", "<body>x</body><thread>abc@host</thread>"))
	if id := w.home.Take(t, "MESSAGE", 200).CallID; id == "abc@host" {
		t.Error("somebody else got the same Call-ID")
	}
	if a, b := say(strings.Repeat("x", maxThread+1)), say(strings.Repeat("x", maxThread+1)); a == b {
		t.Error("an endless thread is looked up")
	}
}

// reply is a MESSAGE of alice's with a Call-ID.
func (w *world) reply(callID string) *bridges.Request {
	return &bridges.Request{
		Method: "MESSAGE", URI: julietURI, From: bridges.Party{URI: aliceURI}, To: bridges.Party{URI: julietURI},
		CallID: callID, ContentType: "text/plain", Body: []byte("x"),
	}
}

func TestADeviceIsAddressedOnlyIfItWasSeen(t *testing.T) {
	w := newWorld(t, nil)
	w.arrives(messageXML("to='alice@example.com/ID-17'", "<body>x</body>"))
	get(t, w.home.Take(t, "MESSAGE", 200).URI, aliceURI)
	r := w.reply("")
	r.From.URI = aliceURI + ";gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
	w.home.Send(t, r)
	w.beyond.next(t)
	w.arrives(messageXML("to='alice@example.com/urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6'", "<body>x</body>"))
	in := w.home.Take(t, "MESSAGE", 200)
	get(t, in.URI, r.From.URI)
	get(t, in.To.URI, aliceURI)
}

func TestTheDeviceThatWroteCanBeHidden(t *testing.T) {
	w := newWorld(t, func(s *settings) { s.hideResources = true })
	w.arrives(messageXML("", "<body>x</body>"))
	get(t, w.home.Take(t, "MESSAGE", 200).From.URI, julietURI)
}

func TestAnAnswerThatIsBadBecomesAnError(t *testing.T) {
	for _, tt := range []struct {
		status          int
		condition, kind string
	}{
		{403, "forbidden", "auth"}, {404, "item-not-found", "cancel"}, {408, "remote-server-timeout", "wait"},
		{413, "policy-violation", "modify"}, {415, "not-acceptable", "modify"}, {480, "recipient-unavailable", "wait"},
		{486, "recipient-unavailable", "wait"}, {500, "internal-server-error", "cancel"}, {604, "item-not-found", "cancel"},
	} {
		t.Run(fmt.Sprint(tt.status), func(t *testing.T) {
			w := newWorld(t, nil)
			w.meet("juliet@fabrikam.example") // so that nobody waits
			w.arrives(messageXML("id='7' type='chat'", "<body>x</body>"))
			w.home.Take(t, "MESSAGE", tt.status)
			m := w.beyond.next(t)
			get(t, m.Attr("type"), "error")
			get(t, m.Attr("id"), "7")
			get(t, m.Attr("from"), "alice@example.com")
			get(t, m.Attr("to"), "juliet@fabrikam.example/balcony")
			e := stanza.ErrorOf(m.Element)
			get(t, e.Condition, tt.condition)
			get(t, e.Type, tt.kind)
			if m.Child(stanza.NS, "body") != nil {
				t.Error("the error carries the message")
			}
		})
	}
}

func TestStrangersCannotTellByTheTimeWhoExists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		var times []time.Duration
		for i, after := range []time.Duration{0, 40 * time.Millisecond, 190 * time.Millisecond} {
			began := time.Now()
			w.arrives(messageXML(fmt.Sprintf("id='%d' from='stranger%d@fabrikam.example'", i, i), "<body>x</body>"))
			in := w.home.Next(t)
			time.Sleep(after)
			in.Answer(bridges.Response{Status: 404}, "")
			w.beyond.next(t)
			times = append(times, time.Since(began))
			time.Sleep(time.Second - time.Since(began))
		}
		if times[0] != times[1] || times[1] != times[2] || times[0] < 250*time.Millisecond {
			t.Errorf("answered after %v", times)
		}
		w.say("hello")
		w.beyond.next(t)
		w.arrives(messageXML("id='x'", "<body>x</body>"))
		began := time.Now()
		w.home.Take(t, "MESSAGE", 480)
		w.beyond.next(t)
		if time.Since(began) > 0 {
			t.Error("who knows each other has to wait")
		}
	})
}

func TestMessagesThatDoNotCross(t *testing.T) {
	w := newWorld(t, nil)
	const stray = "to='example.com' "
	for _, tt := range []struct{ name, attrs, content, condition, log string }{
		{"group chat", "type='groupchat'", "<body>x</body>", "service-unavailable", ""},
		{"an invitation", "", "<x xmlns='jabber:x:conference' jid='r@c.example'/>", "service-unavailable", ""},
		{"an invitation through the room", "", "<x xmlns='http://jabber.org/protocol/muc#user'><invite/></x><body>come</body>", "service-unavailable", ""},
		{"OMEMO", "type='chat'", "<encrypted xmlns='eu.siacs.conversations.axolotl'><payload>x</payload></encrypted><body>you cannot read this</body>", "not-acceptable", ""},
		{"OpenPGP", "", "<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>", "not-acceptable", ""},
		{"old OpenPGP", "", "<body>This is encrypted</body><x xmlns='jabber:x:encrypted'>x</x>", "not-acceptable", ""},
		{"OTR", "", "<body>?OTRv23?</body>", "not-acceptable", ""},
		{"to nobody", stray, "<body>x</body>", "service-unavailable", ""},
		{"to a bad name", `to='a\20@example.com'`, "<body>x</body>", "jid-malformed", ""},
		{"too many bridges", "", "<body>x</body><bridged xmlns='urn:sipedge:bridge:0' hops='3'/>", "not-acceptable", ""},
		{"a garbled mark", "", "<body>x</body><bridged xmlns='urn:sipedge:bridge:0' hops='-1'/>", "not-acceptable", ""},
		{"too large", "", "<body>" + strings.Repeat("x", 65<<10) + "</body>", "policy-violation", ""},
		{"headline", "type='headline'", "<body>x</body>", "", "headline"},
		{"a carbon", "", "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></received><body>x</body>", "", "copy of"},
		{"a forwarded message", "", "<forwarded xmlns='urn:xmpp:forward:0'/><body>x</body>", "", "copy of"},
		{"an archived message", "", "<result xmlns='urn:xmpp:mam:2'/>", "", "copy of"},
		{"a reaction", "", "<reactions xmlns='urn:xmpp:reactions:0' id='1'><reaction>👍</reaction></reactions>", "", "nothing in it"},
		{"something withdrawn", "", "<retract xmlns='urn:xmpp:message-retract:1' id='1'/><body>fallback</body>", "", "nothing in it"},
		{"nothing", "", "", "", "nothing in it"},
		{"an error that nobody waits for", "type='error'", "<error type='cancel'/>", "", "nobody waits"},
		{"from one of us", "from='bob@example.com'", "<body>x</body>", "", "one of us"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(w.log.String())
			w.arrives(messageXML(tt.attrs+" id='e'", tt.content))
			if tt.condition != "" {
				m := w.beyond.next(t)
				get(t, m.Attr("id"), "e")
				get(t, stanza.ErrorOf(m.Element).Condition, tt.condition)
			} else if log := w.log.String()[before:]; !strings.Contains(log, tt.log) {
				t.Errorf("log says %q, want something of %q", log, tt.log)
			}
			w.beyond.none(t)
			w.home.None(t)
		})
	}
}

func TestWhatBecomesOfTexts(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct{ name, content, want string }{
		{"markup", "<body>&lt;&amp;&gt;</body>", "<&>"},
		{"emoji", "<body>👩‍👩‍👧 שלום</body>", "👩‍👩‍👧 שלום"},
		{"corrected", "<body>new</body><replace xmlns='urn:xmpp:message-correct:0' id='1'/>", "[edited] new"},
		{"a link to a file", "<body>look</body><x xmlns='jabber:x:oob'><url>https://u.example/f</url></x>", "look\nhttps://u.example/f"},
		{"a link that runs something", "<body>look</body><x xmlns='jabber:x:oob'><url>javascript:x()</url></x>", "look"},
		{"a reaction with words", "<body>+1</body><reactions xmlns='urn:xmpp:reactions:0' id='1'/>", "+1"},
		{"XHTML", "<body>plain</body><html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>rich</body></html>", "plain"},
		{"1301 octets", "<body>" + strings.Repeat("é", 650) + "x</body>", strings.Repeat("é", 650) + "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.arrives(messageXML("", tt.content))
			get(t, string(w.home.Take(t, "MESSAGE", 200).Body), tt.want)
		})
	}
}

func TestTheLanguageThatOurUserReadsIsTaken(t *testing.T) {
	w := newWorld(t, nil)
	const bodies = "<body>Hello</body><body xml:lang='de'>Hallo</body><body xml:lang='cs'>Ahoj</body>"
	w.arrives(messageXML("xml:lang='en'", bodies))
	in := w.home.Take(t, "MESSAGE", 200)
	get(t, string(in.Body)+" "+in.Fields.Get("Content-Language"), "Hello en")
	r := w.reply("")
	r.Fields = bridges.Fields{{Name: "Accept-Language", Value: "cs, de;q=0.5"}}
	w.home.Send(t, r)
	w.beyond.next(t)
	w.arrives(messageXML("xml:lang='en'", bodies))
	in = w.home.Take(t, "MESSAGE", 200)
	get(t, string(in.Body)+" "+in.Fields.Get("Content-Language"), "Ahoj cs")
}

func TestADelayOfSomebodyElseIsNone(t *testing.T) {
	w := newWorld(t, nil)
	for _, by := range []string{"example.com", "contoso.example"} {
		w.arrives(messageXML("", "<body>x</body><delay xmlns='urn:xmpp:delay' from='"+by+"' stamp='2010-11-13T23:29:00Z'/>"))
		get(t, w.home.Take(t, "MESSAGE", 200).Fields.Get("Date"), "")
	}
	w.arrives(messageXML("", "<body>x</body><delay xmlns='urn:xmpp:delay' stamp='"+stanza.Stamp(time.Now().Add(time.Hour))+"'/>"))
	get(t, w.home.Take(t, "MESSAGE", 200).Fields.Get("Date"), "")
}

func TestFirstContactsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *settings) { s.contacts = 48 }) // 8 at once, and 1 at once for a person
		from := func(i int) string { return fmt.Sprintf("from='s%d@fabrikam.example' id='x'", i) }
		for i := range 8 {
			w.arrives(messageXML(from(i), "<body>buy</body>"))
			w.home.Take(t, "MESSAGE", 200)
		}
		w.arrives(messageXML(from(8), "<body>buy</body>"))
		get(t, stanza.ErrorOf(w.beyond.next(t).Element).Condition, "resource-constraint")
		w.home.None(t)
		if !strings.Contains(w.log.String(), "too many first contacts") {
			t.Error("nobody tells the administrator")
		}
		w.arrives(messageXML(from(0), "<body>again</body>")) // no new pair
		w.home.Take(t, "MESSAGE", 200)
		w.say("hello") // our user begins, so she knows juliet
		w.beyond.next(t)
		w.arrives(messageXML("", "<body>hello</body>"))
		w.home.Take(t, "MESSAGE", 200)
		w.arrives(messageXML(from(9)+" to='bob@contoso.example'", "<body>buy</body>"))
		w.beyond.next(t)
		time.Sleep(80 * time.Second)
		w.arrives(messageXML(from(8), "<body>buy</body>"))
		w.home.Take(t, "MESSAGE", 200)
	})
}

func TestOnePersonDoesNotUseUpWhatIsForAll(t *testing.T) {
	w := newWorld(t, func(s *settings) { s.contacts = 96 }) // 16 at once, 2 for a person
	for i := range 3 {
		w.arrives(messageXML(fmt.Sprintf("to='u%d@example.com' id='x'", i), "<body>buy</body>"))
		if i < 2 {
			w.home.Take(t, "MESSAGE", 200)
		}
	}
	get(t, stanza.ErrorOf(w.beyond.next(t).Element).Condition, "resource-constraint")
	w.arrives(messageXML("from='nurse@fabrikam.example'", "<body>x</body>"))
	w.home.Take(t, "MESSAGE", 200)
}

func TestStrangersAreForgotten(t *testing.T) {
	s := newStrangers(0)
	for i := range maxStrangers + 10 {
		s.spend(fmt.Sprint(i), s.people, 1)
	}
	if n := s.buckets.size(); n != maxStrangers {
		t.Errorf("%d are counted, want %d", n, maxStrangers)
	}
}
