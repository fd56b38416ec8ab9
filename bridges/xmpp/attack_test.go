package xmpp

import (
	"strings"
	"testing"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
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
			read, err := canonicalDomain(lowerASCII(domain))
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
