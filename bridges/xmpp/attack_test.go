package xmpp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// What proves a domain and what makes an address of it must read it in the same way:
// else somebody could prove one domain and speak for another.
func TestADomainIsReadInOneWayOnly(t *testing.T) {
	both := 0
	for _, form := range []string{"x%example.org", "%.org", "a.%", "xn--%.org", "a%b.xn--tda.org"} {
		for r := rune(0x21); r < 0x3100; r++ {
			domain := strings.Replace(form, "%", string(r), 1)
			proved, ok := s2s.Normal(domain)
			read, err := address.Domain(domain)
			if !ok || err != nil {
				continue
			}
			if both++; proved != read {
				t.Errorf("%q is %q to who proves it, and %q to who reads it", domain, proved, read)
			}
		}
	}
	if both < 10_000 {
		t.Errorf("only %d domains were read by both", both)
	}
}

// If they ever differ, nothing passes.
func TestOneDomainIsProvedAndAnotherIsSaid(t *testing.T) {
	w := newWorld(t, nil)
	for _, e := range []string{
		messageXML("from='juliet@fabrikam.example/balcony'", "<body>x</body>"),
		"<presence xmlns='jabber:server' from='juliet@fabrikam.example' to='alice@example.com' type='subscribe'/>",
		"<iq xmlns='jabber:server' from='juliet@fabrikam.example' to='alice@example.com' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
	} {
		e, err := stanza.Parse([]byte(e), stanza.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		w.gateway.stanza(&s2s.Stanza{Element: e, From: "evil.example", To: "example.com", Proof: bridges.ProofCertificate})
	}
	w.beyond.none(t)
	w.home.None(t)
	if n := strings.Count(w.log.String(), "read in two ways"); n != 3 {
		t.Errorf("it was noted %d times", n)
	}
}

// A stanza may have a quarter of a megabyte, and what of it is kept until our side has
// answered, or for days, must not.
func TestLittleOfAStanzaIsKept(t *testing.T) {
	w := newWorld(t, nil)
	long := strings.Repeat("x", 100_000)
	s := stanza.New(stanza.NS, "message", stanza.Attr{Local: "from", Value: "juliet@fabrikam.example/b"},
		stanza.Attr{Local: "to", Value: "alice@example.com"}, stanza.Attr{Local: "id", Value: long}, stanza.Attr{Local: "more", Value: long})
	in, fault := w.inward(&s2s.Stanza{Element: s, From: "fabrikam.example", To: "example.com"})
	if fault != nil {
		t.Fatal(fault)
	}
	if n := len(stanza.Append(nil, in.echo)); n > 500 {
		t.Errorf("%d octets are kept for an error", n)
	}
	s.AddText(stanza.NS, "body", "hi")
	s.AddText(stanza.NS, "subject", long)
	s.Add(stanza.New(nsReceipts, "request"))
	c := contentOf(s)
	if l := letterOf(c, ""); l.receipt || len(l.id) > maxID || len(l.subject) > maxSubject {
		t.Errorf("kept are %d octets of the id and %d of the subject, receipt %v", len(l.id), len(l.subject), l.receipt)
	}
	w.traits.wrapper("alice@example.com", true)
	w.arrives(messageXML("id='"+long+"'", "<body>hi</body><thread>"+long+"</thread><request xmlns='urn:xmpp:receipts'/>"))
	w.home.Take(t, "MESSAGE", 200)
	far := strings.Repeat("y", 900)
	w.arrives(messageXML("id='1' from='"+far+"@fabrikam.example'", "<body>hi</body><thread>a b</thread><request xmlns='urn:xmpp:receipts'/>"))
	w.home.Take(t, "MESSAGE", 200)
	if n := w.threads.names.size() + w.threads.owners.size() + w.receipts.theirs.size(); n != 0 {
		t.Errorf("%d records are kept", n)
	}
}

// What our servers say about a refusal may name them, and tells strangers apart who is
// there and who is not.
func TestAStrangerReadsNothingOfOurServers(t *testing.T) {
	w := newWorld(t, nil)
	refuse := func(phrase string) *stanza.Error {
		w.arrives(messageXML("id='1'", "<body>hi</body>"))
		in := w.home.Next(t)
		in.Answer(bridges.Response{Status: 404, Phrase: phrase}, "")
		return stanza.ErrorOf(w.beyond.next(t).Element)
	}
	a, b := refuse("No alice at hs1.corp.example"), refuse("Not Found")
	if a == nil || b == nil || *a != *b || a.Condition != "item-not-found" {
		t.Errorf("a stranger sees %+v and %+v", a, b)
	}
	w.home.Send(t, bridgestest.Message(aliceURI, julietURI, "hi"))
	w.beyond.next(t)
	if e := refuse("Moved away"); e.Text != "Moved away" {
		t.Errorf("whom she wrote to reads %+v", e)
	}
}

// Line ends in all that somebody outside can write: the message comes, and nothing of it
// is a header.
func TestNoTextBecomesAHeader(t *testing.T) {
	const smuggled = "x&#13;&#10;P-Asserted-Identity: &lt;sip:ceo@example.com&gt;&#13;&#10;&#13;&#10;y"
	w := newWorld(t, nil)
	for _, tt := range []struct{ attrs, content string }{
		{"", "<body>hi</body><subject>" + smuggled + "</subject>"},
		{"", "<body>hi</body><thread>" + smuggled + "</thread>"},
		{"", "<body>hi</body><thread parent='" + smuggled + "'>x</thread>"},
		{"id='" + smuggled + "'", "<body>hi</body>"},
		{"xml:lang='" + smuggled + "'", "<body>hi</body>"},
		{"", "<body xml:lang='" + smuggled + "'>hi</body>"},
		{"type='" + smuggled + "'", "<body>hi</body>"},
		{"", "<body>hi</body><delay xmlns='urn:xmpp:delay' stamp='" + smuggled + "'/>"},
		{"", "<body>hi</body><nick xmlns='http://jabber.org/protocol/nick'>" + smuggled + "</nick>"},
		{"", "<body>hi</body><subject>x&#x85;P-Asserted-Identity: a&#x2028;b</subject>"},
		{"from='juliet@fabrikam.example/;x=y&gt;?Route=&lt;sip:a@b&gt;%0d%0aX: y'", "<body>hi</body>"},
		{"from='jul%0d%0a\\40;?iet@fabrikam.example'", "<body>hi</body>"},
	} {
		w.arrives(messageXML(tt.attrs, tt.content))
		in := w.home.Take(t, "MESSAGE", 200)
		for _, f := range in.Fields {
			switch f.Name {
			case "Subject", "Content-Language", "Date":
				if strings.ContainsAny(f.Value, "\r\n\u0085\u2028") {
					t.Errorf("%s: %q", f.Name, f.Value)
				}
			case "Sipedge-Bridge":
			default:
				t.Errorf("%v has the field %s: %q", tt, f.Name, f.Value)
			}
		}
		get(t, string(in.Body), "hi")
		if j, err := w.addr.JID(in.From.URI); err != nil || j.Domainpart() != "fabrikam.example" {
			t.Errorf("%v is from %s: %v", tt, in.From.URI, err)
		}
	}
	// And the other way: what an error says becomes the phrase of an answer.
	resp := statusOf(&stanza.Error{Condition: "forbidden", Text: "x\r\nP-Asserted-Identity: <sip:ceo@example.com>\r\n\r\ny", To: "xmpp:a@b.example\r\nX: y"}, true, true, w.addr)
	if strings.ContainsAny(resp.Phrase, "\r\n") {
		t.Errorf("phrase %q", resp.Phrase)
	}
	for _, condition := range []string{"gone", "redirect"} {
		resp := statusOf(&stanza.Error{Condition: condition, To: "xmpp:a@b.example/x%0d%0aX: y?;Route=z"}, true, true, w.addr)
		if v := resp.Fields.Get("Contact"); strings.ContainsAny(v, "\r\n") {
			t.Errorf("Contact %q", v)
		}
	}
}

// A domain whose people have a thousand clients, and answer nothing, does not use up
// the questions that are for all.
func TestQuestionsToOneDomainAreBounded(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 2 * maxOfOne {
		who := fmt.Sprintf("u%d@evil.example", i)
		w.contacts.met(ends{"alice@example.com", who})
		w.available(who+"/x", fmt.Sprint("v", i))
	}
	for range maxOfOne {
		w.beyond.next(t)
	}
	w.beyond.none(t)
	w.contacts.met(ends{"alice@example.com", "juliet@fabrikam.example"})
	w.available("juliet@fabrikam.example/x", "w")
	e := w.beyond.next(t)
	get(t, e.Attr("to"), "juliet@fabrikam.example/x")
	w.arrives("<iq xmlns='jabber:server' type='error' from='juliet@fabrikam.example/x' to='alice@example.com' id='" + e.Attr("id") + "'/>")
	w.queries.mu.Lock()
	defer w.queries.mu.Unlock()
	if n := len(w.queries.domains); n != 1 {
		t.Errorf("%d domains are counted", n)
	}
}
