package stanza

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestErrorsAreRead(t *testing.T) {
	const ns = " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'"
	for _, tt := range []struct {
		name, xml string
		want      *Error
	}{
		{"a message", "<message/>", nil},
		{"an error that is none", "<message type='chat'><error type='cancel'><gone" + ns + "/></error></message>", nil},
		{"condition and type", "<message type='error'><error type='cancel' by='example.net'><item-not-found" + ns + "/></error></message>", &Error{Type: "cancel", Condition: "item-not-found", By: "example.net"}},
		{"text", "<iq type='error'><error type='wait'><text" + ns + " xml:lang='en'>Later</text><resource-constraint" + ns + "/><text" + ns + ">Sp\u00e4ter</text></error></iq>", &Error{Type: "wait", Condition: "resource-constraint", Text: "Later"}},
		{"a new address", "<message type='error'><error type='cancel'><gone" + ns + ">\n xmpp:romeo@afterlife.example.net\n</gone></error></message>", &Error{Type: "cancel", Condition: "gone", To: "xmpp:romeo@afterlife.example.net"}},
		{"an unusual type", "<message type='error'><error type='modify'><item-not-found" + ns + "/></error></message>", &Error{Type: "modify", Condition: "item-not-found"}},
		{"no type", "<message type='error'><error><forbidden" + ns + "/></error></message>", &Error{Type: "auth", Condition: "forbidden"}},
		{"a type that is none", "<message type='error'><error type='x'><forbidden" + ns + "/></error></message>", &Error{Type: "auth", Condition: "forbidden"}},
		{"an unknown condition", "<message type='error'><error type='wait'><tired" + ns + "/><too-late xmlns='urn:x'/></error></message>", &Error{Type: "wait", Condition: undefined}},
		{"a condition of another namespace", "<message type='error'><error type='cancel'><gone/></error></message>", &Error{Type: "cancel", Condition: undefined}},
		{"an error within the original", "<message type='error'><x xmlns='urn:x'><error type='auth'/></x><error type='cancel'><conflict" + ns + "/></error></message>", &Error{Type: "cancel", Condition: "conflict"}},
		{"nothing", "<message type='error'/>", &Error{Type: "cancel", Condition: undefined}},
	} {
		e, err := Parse([]byte(tt.xml), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, ErrorOf(e)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestErrorsAreWrittenAndReadAgain(t *testing.T) {
	if len(usualTypes) != 22 {
		t.Errorf("%d conditions, want the 22 of RFC 6120 §8.3.3", len(usualTypes))
	}
	for condition, usual := range usualTypes {
		for _, e := range []Error{
			{Condition: condition},
			{Condition: condition, Type: "continue", Text: "<why>", By: "example.net"},
			{Condition: condition, Type: "nonsense"},
		} {
			want := e
			if want.Type != "continue" {
				want.Type = usual
			}
			out := New(NS, "message", Attr{"", "type", "error"})
			out.Add(e.Element())
			got, err := Parse(Append(nil, out), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&want, ErrorOf(got)); diff != "" {
				t.Errorf("%s: %s", condition, diff)
			}
		}
	}
	for _, condition := range []string{"gone", "redirect"} {
		want := &Error{Type: usualTypes[condition], Condition: condition, To: "xmpp:a@example.net"}
		if diff := cmp.Diff(want, ErrorOf(&Element{Space: NS, Attrs: []Attr{{"", "type", "error"}}, Children: []*Element{want.Element()}})); diff != "" {
			t.Error(diff)
		}
	}
	if got := (&Error{Condition: "<x/>"}).Element().Children[0]; !got.Is(NSErrors, undefined) {
		t.Errorf("a condition that nobody knows is written as %+v", got)
	}
}

func TestAnErrorAnswersWhatMayBeAnswered(t *testing.T) {
	for _, tt := range []struct{ xml, want string }{
		{"<message from='a@example.net/r' to='b@example.com' id='7' type='chat' xml:lang='en'><body>hi</body></message>", "<message type='error' from='b@example.com' to='a@example.net/r' id='7'><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"},
		{"<presence from='a@example.net' to='b@example.com' type='subscribe'/>", "<presence type='error' from='b@example.com' to='a@example.net'><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"},
		{"<iq from='a@example.net' to='b@example.com' id='7' type='set'/>", "<iq type='error' from='b@example.com' to='a@example.net' id='7'><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"},
		{"<message type='error'/>", ""},
		{"<presence type='error'/>", ""},
		{"<iq type='error'/>", ""},
		{"<iq type='result'/>", ""},
		{"<r xmlns='urn:xmpp:sm:3'/>", ""},
	} {
		e, err := Parse([]byte(tt.xml), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if b := Bounce(e, &Error{Condition: "forbidden"}); b != nil {
			got = string(Append(nil, b))
		}
		if got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.xml, got, tt.want)
		}
	}
}

func TestElementsAreChanged(t *testing.T) {
	e := New(NS, "message", Attr{"", "to", "a"}, Attr{"xml", "lang", "en"})
	e.SetAttr("to", "b")
	e.SetAttr("id", "1")
	e.SetAttr("gone", "")
	e.SetLang("")
	e.AddText(NS, "body", "hi")
	if got, want := string(Append(nil, e)), "<message to='b' id='1'><body>hi</body></message>"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if e.Child(NS, "subject") != nil || e.Child("urn:x", "body") != nil || !e.IsStanza() || e.Children[0].IsStanza() {
		t.Error("an element is taken for another one")
	}
	for jid, want := range map[string]string{"a@example.net/r@x/y": "example.net", "example.net": "example.net", "a@b@example.net": "example.net", "example.net/a@b": "example.net", "": ""} {
		if got := Domain(jid); got != want {
			t.Errorf("the domain of %s is %q, want %q", jid, got, want)
		}
	}
}
