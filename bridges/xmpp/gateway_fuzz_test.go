package xmpp

import (
	"log/slog"
	"testing"
	"unicode/utf8"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/body"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/sip"
)

// A witness looks at all that a gateway says to either side.
type witness struct{ t *testing.T }

func (w witness) Do(r *bridges.Request, answer func(*bridges.Response, *bridges.Dialog)) {
	for _, uri := range []string{r.URI, r.From.URI, r.To.URI} {
		if u, err := sip.ParseURI([]byte(uri)); err != nil || !u.IsSIP() {
			w.t.Errorf("%s: %q is no URI: %v", r.Method, uri, err)
		}
	}
	for _, f := range r.Fields {
		for _, c := range f.Value {
			if c < ' ' || c == 0x7f {
				w.t.Errorf("%s: %q breaks its line", f.Name, f.Value)
			}
		}
	}
	if r.CallID != "" && !isCallID(r.CallID) {
		w.t.Errorf("Call-ID %q", r.CallID)
	}
	if !utf8.Valid(r.Body) {
		w.t.Errorf("body %q", r.Body)
	}
	answer(&bridges.Response{Status: 200 + 215*(len(r.Body)%2)}, nil)
}

func (w witness) Cancel(*bridges.Request) {}

func (w witness) Send(e *stanza.Element, done func(s2s.Outcome)) bool {
	b := stanza.Append(nil, e)
	if _, err := stanza.Parse(b, stanza.Limits{Stanza: maxStanzaOut}); err != nil {
		w.t.Errorf("%s: %v", b, err)
	}
	if done != nil {
		done(s2s.Outcome{Acked: true})
	}
	return true
}

func witnessed(t *testing.T) *gateway {
	w := witness{t}
	g := newGateway(settings{
		served: map[string]bool{"example.com": true}, maxMessage: 64 << 10, host: "example.com",
	}, address.New(address.Domains{Native: []string{"example.com"}}), w, w, slog.New(slog.DiscardHandler))
	g.contacts.met(ends{"alice@example.com", "juliet@fabrikam.example"})
	g.traits.wrapper("alice@example.com", true)
	return g
}

// FuzzStanza: whatever comes from outside, nothing panics, and what SIP is told is well
// made.
func FuzzStanza(f *testing.F) {
	for _, s := range []string{
		messageXML("id='1' type='chat'", "<body>x</body><thread>a@b</thread><request xmlns='urn:xmpp:receipts'/>"),
		messageXML("type='error' id='1'", "<error type='wait'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:a@b.c</gone></error>"),
		messageXML("type='chat'", "<composing xmlns='http://jabber.org/protocol/chatstates'/>"),
		messageXML("", "<received xmlns='urn:xmpp:receipts' id='1'/><displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>"),
		messageXML("xml:lang='de'", "<subject>a&#10;b</subject><body xml:lang='en'>x</body><delay xmlns='urn:xmpp:delay' stamp='2010-11-13T23:29:00Z'/>"),
		"<iq xmlns='jabber:server' type='set' id='q' from='juliet@fabrikam.example/a' to='example.com'><query xmlns='jabber:iq:gateway'><prompt>a@example.com</prompt></query></iq>",
		"<presence xmlns='jabber:server' from='juliet@fabrikam.example/a' to='alice@example.com'><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/></presence>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := stanza.Parse([]byte(xml), stanza.Limits{})
		if err != nil || !e.IsStanza() || len(xml) > maxStanzaOut/8 {
			return // what is echoed of a larger one may be larger still
		}
		g := witnessed(t)
		s := &s2s.Stanza{Element: e, From: stanza.Domain(e.Attr("from")), To: stanza.Domain(e.Attr("to")), Proof: bridges.ProofCertificate}
		g.dispatch(s) // without what catches panics
	})
}

// FuzzWriting: whatever our users send, nothing panics, and what XMPP is told is
// well-formed.
func FuzzWriting(f *testing.F) {
	f.Add(julietURI, "text/plain", "hello", "Subject", "id@host")
	f.Add("sip:o'malley@fabrikam.example;gr=x", "text/html", "<p>a<b>c", "", "x")
	f.Add(julietURI, body.TypeCPIM, "From: <sip:alice@example.com>\r\nimdn.Message-ID: 1\r\nimdn.Disposition-Notification: display\r\n\r\nContent-Type: text/plain\r\n\r\nx", "\x01", "\x02")
	f.Add(julietURI, body.TypeComposing, string(isTyping.Append(nil)), "", "")
	f.Fuzz(func(t *testing.T, to, contentType, body, subject, callID string) {
		g := witnessed(t)
		g.traits.offers("juliet@fabrikam.example", peer{true, true, true})
		r := bridges.Request{
			Method: "MESSAGE", URI: to, From: bridges.Party{URI: aliceURI}, To: bridges.Party{URI: to}, CallID: callID,
			Fields: bridges.Fields{{Name: "Subject", Value: subject}, {Name: "Content-Language", Value: subject}}, ContentType: contentType, Body: []byte(body),
		}
		w, fault := g.outward(&bridges.Incoming{Request: r})
		if fault != nil {
			return
		}
		c, refusal := g.readWriting(&r, w)
		switch {
		case refusal.Status != 0:
		case c.composing != nil:
			g.typing.fromSIP(w, c.composing)
		case c.report != nil:
			g.reportFromSIP(w, c.report)
		default:
			if len(body)+len(subject) < maxStanzaOut/8 { // larger ones may be answered here, and there is nobody to answer
				g.textToXMPP(&bridges.Incoming{Request: r}, w, c)
			}
		}
	})
}
