package xmpp

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// ask lets juliet ask something, and returns the answer.
func (w *world) question(t testing.TB, to, kind, body string) *stanza.Element {
	t.Helper()
	w.arrives("<iq xmlns='jabber:server' id='q' from='juliet@fabrikam.example/balcony' type='" + kind + "' to='" + to + "'>" + body + "</iq>")
	m := w.beyond.next(t)
	get(t, m.Attr("id"), "q")
	get(t, m.Attr("from"), to)
	get(t, m.Attr("to"), "juliet@fabrikam.example/balcony")
	return m.Element
}

func TestWhatClientsAsk(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct{ name, to, kind, body, want string }{
		{"ping", "alice@example.com", "get", "<ping xmlns='urn:xmpp:ping'/>", "result"},
		{"ping of the server", "example.com", "get", "<ping xmlns='urn:xmpp:ping'/>", "result"},
		{"version", "alice@example.com/x", "get", "<query xmlns='jabber:iq:version'/>", "result"},
		{"time", "example.com", "get", "<time xmlns='urn:xmpp:time'/>", "result"},
		{"disco of a user", "alice@example.com", "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", "result"},
		{"disco of a node", "alice@example.com", "get", "<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>", "item-not-found"},
		{"items", "example.com", "get", "<query xmlns='http://jabber.org/protocol/disco#items'/>", "result"},
		{"how to write to somebody", "example.com", "get", "<query xmlns='jabber:iq:gateway'/>", "result"},
		{"how to write, of a user", "alice@example.com", "get", "<query xmlns='jabber:iq:gateway'/>", "service-unavailable"},
		{"a card", "alice@example.com", "get", "<vCard xmlns='vcard-temp'/>", "service-unavailable"},
		{"since when somebody is away", "alice@example.com", "get", "<query xmlns='jabber:iq:last'/>", "service-unavailable"},
		{"a call", "alice@example.com/x", "set", "<jingle xmlns='urn:xmpp:jingle:1'/>", "service-unavailable"},
		{"a ping that sets", "alice@example.com", "set", "<ping xmlns='urn:xmpp:ping'/>", "service-unavailable"},
		{"registration", "example.com", "set", "<query xmlns='jabber:iq:register'/>", "service-unavailable"},
		{"two things", "alice@example.com", "get", "<a xmlns='a'/><b xmlns='b'/>", "bad-request"},
		{"nothing", "alice@example.com", "get", "", "bad-request"},
		{"what is neither", "alice@example.com", "put", "<a xmlns='a'/>", "bad-request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := w.question(t, tt.to, tt.kind, tt.body)
			got := m.Attr("type")
			if e := stanza.ErrorOf(m); e != nil {
				got = e.Condition
			}
			get(t, got, tt.want)
			w.beyond.none(t)
			w.home.None(t)
		})
	}
}

func TestWhatOurUsersAreSaidToKnow(t *testing.T) {
	w := newWorld(t, nil)
	q := "<query xmlns='http://jabber.org/protocol/disco#info'/>"
	info := w.question(t, "alice@example.com", "get", q).Child(nsInfo, "query")
	p, hash, ok := readInfo(info)
	if !ok || p != (peer{true, true, true}) {
		t.Errorf("%+v, %v of %s", p, ok, stanza.Append(nil, info))
	}
	caps := ourCaps()
	get(t, caps.Attr("ver"), hash)
	node := caps.Attr("node") + "#" + caps.Attr("ver")
	again := w.question(t, "alice@example.com/x", "get", "<query xmlns='http://jabber.org/protocol/disco#info' node='"+node+"'/>").Child(nsInfo, "query")
	get(t, again.Attr("node"), node)
	if _, h, _ := readInfo(again); h != hash {
		t.Errorf("hash %q, want %q", h, hash)
	}
	kinds := ""
	for _, c := range w.question(t, "example.com", "get", q).Child(nsInfo, "query").Children {
		if c.Local == "identity" {
			kinds += c.Attr("category") + "/" + c.Attr("type") + " "
		}
	}
	get(t, kinds, "server/im gateway/sip ")
}

func TestTheGatewayTellsAddresses(t *testing.T) {
	w := newWorld(t, nil)
	set := func(prompt string) *stanza.Element {
		return w.question(t, "example.com", "set", "<query xmlns='jabber:iq:gateway'><prompt>"+prompt+"</prompt></query>")
	}
	for _, tt := range []struct{ typed, want string }{
		{"alice@example.com", "alice@example.com"}, {" sip:o'malley@Example.COM;x=y ", `o\27malley@example.com`},
		{"SIP:Alice@example.com", "alice@example.com"},
	} {
		get(t, childOf(set(tt.typed).Child(nsGateway, "query"), nsGateway, "jid"), tt.want)
	}
	for _, tt := range []struct{ typed, want string }{
		{"alice@contoso.example", "item-not-found"}, {"", "jid-malformed"}, {"sips:alice@example.com", "not-acceptable"},
	} {
		get(t, stanza.ErrorOf(set(tt.typed)).Condition, tt.want)
	}
}

// TestTheHashOfAnExample is XEP-0115 §5.2 and §5.3.
func TestTheHashOfAnExample(t *testing.T) {
	for _, tt := range []struct{ xml, want string }{
		{`<query xmlns='http://jabber.org/protocol/disco#info'>
			<identity category='client' name='Exodus 0.9.1' type='pc'/>
			<feature var='http://jabber.org/protocol/caps'/>
			<feature var='http://jabber.org/protocol/disco#info'/>
			<feature var='http://jabber.org/protocol/disco#items'/>
			<feature var='http://jabber.org/protocol/muc'/></query>`, "QgayPKawpkPSDYmwT/WM94uAlu0="},
		{`<query xmlns='http://jabber.org/protocol/disco#info'>
			<identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>
			<identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>
			<feature var='http://jabber.org/protocol/caps'/>
			<feature var='http://jabber.org/protocol/disco#info'/>
			<feature var='http://jabber.org/protocol/disco#items'/>
			<feature var='http://jabber.org/protocol/muc'/>
			<x xmlns='jabber:x:data' type='result'>
				<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>
				<field var='ip_version' type='text-multi'><value>ipv4</value><value>ipv6</value></field>
				<field var='os'><value>Mac</value></field>
				<field var='os_version'><value>10.5.1</value></field>
				<field var='software'><value>Psi</value></field>
				<field var='software_version'><value>0.11</value></field>
			</x></query>`, "q07IKJEyjvHSyhy//CH0CxmKi8w="},
	} {
		e, err := stanza.Parse([]byte(tt.xml), stanza.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if _, hash, ok := readInfo(e); !ok || hash != tt.want {
			t.Errorf("hash %q, %v; want %q", hash, ok, tt.want)
		}
	}
	e, _ := stanza.Parse([]byte("<query xmlns='http://jabber.org/protocol/disco#info'><feature var='a'/><feature var='a'/></query>"), stanza.Limits{})
	if _, _, ok := readInfo(e); ok {
		t.Error("a feature may stand there twice")
	}
}

// available lets somebody be there with a client that has this hash.
func (w *world) available(from, ver string) {
	w.t.Helper()
	w.arrives("<presence xmlns='jabber:server' from='" + from + "' to='alice@example.com'>" +
		"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://client.example' ver='" + ver + "'/></presence>")
}

// meet lets alice know some people.
func (w *world) meet(theirs ...string) {
	for _, who := range theirs {
		w.gateway.contacts.met(ends{"alice@example.com", who})
	}
}

const (
	exodus = "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' type='pc' name='x'/><feature var='" + nsChatStates + "'/></query>"
)

func TestFeaturesOfAClientAreAskedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := stanza.Parse([]byte(exodus), stanza.Limits{})
		_, hash, _ := readInfo(e)
		w := newWorld(t, nil)
		w.available("juliet@fabrikam.example/a", hash)
		w.beyond.none(t) // strangers are not asked
		w.meet("juliet@fabrikam.example", "nurse@fabrikam.example")
		w.available("juliet@fabrikam.example/a", hash)
		m := w.beyond.next(t)
		get(t, m.Child(nsInfo, "query").Attr("node"), "http://client.example#"+hash)
		w.available("nurse@fabrikam.example/b", hash)
		w.beyond.none(t) // it is being asked
		answer := func(from, body string) {
			w.arrives("<iq xmlns='jabber:server' type='result' id='" + m.Attr("id") + "' from='" + from + "' to='alice@example.com'>" + body + "</iq>")
		}
		answer("mallory@fabrikam.example/a", exodus)
		if w.traits.takesStates("juliet@fabrikam.example") {
			t.Error("somebody else may answer")
		}
		answer("juliet@fabrikam.example/a", exodus)
		if !w.traits.takesStates("juliet@fabrikam.example") {
			t.Error("the answer is not believed")
		}
		w.available("nurse@fabrikam.example/b", hash)
		w.beyond.none(t)
		if !w.traits.takesStates("nurse@fabrikam.example") {
			t.Error("the same client has other features")
		}
		answer("juliet@fabrikam.example/a", exodus) // nobody waits for it
		if !strings.Contains(w.log.String(), "answer that nobody waits for") {
			t.Error("nobody is told")
		}
	})
}

func TestAFalseHashIsTrueOfNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.meet("juliet@fabrikam.example", "nurse@fabrikam.example")
		w.available("juliet@fabrikam.example/a", "QgayPKawpkPSDYmwT/WM94uAlu0=")
		m := w.beyond.next(t)
		w.arrives("<iq xmlns='jabber:server' type='result' id='" + m.Attr("id") + "' from='juliet@fabrikam.example/a' to='alice@example.com'>" + exodus + "</iq>")
		w.available("nurse@fabrikam.example/b", "QgayPKawpkPSDYmwT/WM94uAlu0=")
		w.beyond.next(t) // asked anew
		if w.traits.takesStates("nurse@fabrikam.example") {
			t.Error("one client says what others can")
		}
	})
}

func TestQuestionsOfOursEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ended := 0
		n := 0
		ask := func() bool {
			n++
			return w.queries.ask("example.com", fmt.Sprintf("d%d.example", n), stanza.New(nsPing, "ping"), func(e *stanza.Element) {
				if e == nil {
					ended++
				}
			})
		}
		for range maxQueries {
			if !ask() {
				t.Fatal("too few questions")
			}
			w.beyond.next(t)
		}
		if ask() {
			t.Error("there is no bound")
		}
		time.Sleep(queryTime + time.Second)
		synctest.Wait()
		if ended != maxQueries {
			t.Errorf("%d ended, want %d", ended, maxQueries)
		}
		w.beyond.always(s2s.Outcome{Err: s2s.ErrNoServer})
		if ask(); true {
			synctest.Wait()
			if ended != maxQueries+1 {
				t.Error("a question that cannot be sent does not end")
			}
		}
	})
}

func TestEveryKindOfStanzaIsAnsweredOrLogged(t *testing.T) {
	w := newWorld(t, nil)
	contents := []string{
		"", "<body>x</body>", "<subject>x</subject>", "<thread>x</thread>", "<active xmlns='" + nsChatStates + "'/>",
		"<composing xmlns='" + nsChatStates + "'/>", "<gone xmlns='" + nsChatStates + "'/>",
		"<received xmlns='urn:xmpp:receipts' id='x'/>", "<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>",
		"<event xmlns='http://jabber.org/protocol/pubsub#event'/>", "<x xmlns='jabber:x:conference' jid='r@c.example'/>",
		"<encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:omemo:2'/>", "<attention xmlns='urn:xmpp:attention:0'/>",
		"<sent xmlns='urn:xmpp:carbons:2'/>", "<error type='cancel'/>", "<unknown xmlns='x'/>",
	}
	// What tells of a state goes on or not, and nobody expects a word about it.
	silent := func(kind, content string) bool {
		return (kind == "" || kind == "chat" || kind == "normal" || kind == "x") &&
			(strings.Contains(content, nsChatStates) || strings.Contains(content, "'x'/>") && strings.Contains(content, "id="))
	}
	for _, kind := range []string{"", "normal", "chat", "groupchat", "headline", "error", "x"} {
		for i, content := range contents {
			before := w.journal.noted.Load()
			id := fmt.Sprintf("%s%d", kind, i)
			w.arrives(messageXML("type='"+kind+"' id='"+id+"'", content))
			select {
			case m := <-w.beyond.sent:
				if m.Attr("type") != "error" || m.Attr("id") != id {
					t.Errorf("%q with %q: sent %s", kind, content, stanza.Append(nil, m.Element))
				}
				continue
			default:
			}
			if content == "<body>x</body>" && kind != "headline" && kind != "error" && kind != "groupchat" {
				w.home.Take(t, "MESSAGE", 200)
				continue
			}
			if w.journal.noted.Load() == before && !silent(kind, content) {
				t.Errorf("%q with %q: nobody hears of it", kind, content)
			}
		}
	}
	for _, kind := range []string{"get", "set", "result", "error", "x"} {
		before := w.journal.noted.Load()
		w.arrives("<iq xmlns='jabber:server' id='q' from='juliet@fabrikam.example' to='alice@example.com' type='" + kind + "'><x xmlns='x'/></iq>")
		if len(w.beyond.sent) == 0 && w.journal.noted.Load() == before {
			t.Errorf("iq of type %q: nobody hears of it", kind)
		}
	}
}

func TestEveryMethodIsAnswered(t *testing.T) {
	w := newWorld(t, nil)
	d := w.invite(t)
	for _, method := range []string{
		"MESSAGE", "INVITE", "BYE", "INFO", "SUBSCRIBE", "NOTIFY", "OPTIONS", "UPDATE", "PUBLISH", "REFER", "REGISTER",
		"PRACK", "SERVICE", "NEGOTIATE", "X",
	} {
		r := w.reply("")
		r.Method = method
		resp, _ := w.home.Send(t, r)
		if resp.Status < 200 || resp.Local {
			t.Errorf("%s is answered with %+v", method, resp)
		}
		if resp.Status == 405 && resp.Fields.Get("Allow") == "" {
			t.Errorf("%s: no Allow", method)
		}
	}
	for _, method := range []string{"MESSAGE", "INFO", "SUBSCRIBE", "NOTIFY", "OPTIONS", "UPDATE", "PUBLISH", "REFER", "PRACK", "X", "BYE"} {
		if resp := w.home.SendWithin(t, d, &bridges.Request{Method: method}); resp.Status < 200 || resp.Local {
			t.Errorf("%s within a session is answered with %+v", method, resp)
		}
	}
}
