package xmpp

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sipedge/sipedge/bridges/xmpp/body"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// message reads a message with this inside.
func message(t testing.TB, attrs, inner string) *stanza.Element {
	t.Helper()
	e, err := stanza.Parse([]byte("<message from='juliet@example.com/balcony' to='romeo@example.net' "+attrs+">"+inner+"</message>"), stanza.Limits{})
	if err != nil {
		t.Fatalf("%s: %v", inner, err)
	}
	return e
}

func TestTheContentOfAMessageIsRead(t *testing.T) {
	for _, tt := range []struct {
		name, attrs, inner string
		want               content
	}{
		{"a text", "id='m1' type='chat' xml:lang='en'", "<body>Art thou not Romeo?</body><thread parent='p'>e0ff</thread>",
			content{ID: "m1", Type: "chat", Lang: "en", Bodies: []body.Text{{Text: "Art thou not Romeo?"}}, Thread: "e0ff", Parent: "p"}},
		{"in several languages", "type='normal'", "<body>yes</body><body xml:lang='cs'>ano</body><body xml:lang='CS'>no</body><body>no</body><subject>s</subject><subject xml:lang='cs'>p</subject>",
			content{Bodies: []body.Text{{Text: "yes"}, {Lang: "cs", Text: "ano"}}, Subjects: []body.Text{{Text: "s"}, {Lang: "cs", Text: "p"}}}},
		{"one of which is its own", "xml:lang='de'", "<body xml:lang='DE'>ja</body>", content{Lang: "de", Bodies: []body.Text{{Text: "ja"}}}},
		{"held up by its server", "", "<body>x</body><delay xmlns='urn:xmpp:delay' from='Example.com' stamp='2002-09-10T23:08:25Z'/>",
			content{Bodies: []body.Text{{Text: "x"}}, Sent: time.Date(2002, 9, 10, 23, 8, 25, 0, time.UTC), Delayer: "Example.com"}},
		{"as somebody else claims", "", "<body>x</body><delay xmlns='urn:xmpp:delay' from='example.net' stamp='2002-09-10T23:08:25Z'/>", content{Bodies: []body.Text{{Text: "x"}}}},
		{"at no time", "", "<body>x</body><delay xmlns='urn:xmpp:delay' stamp='long ago'/>", content{Bodies: []body.Text{{Text: "x"}}}},
		{"a correction", "", "<body>x</body><replace xmlns='urn:xmpp:message-correct:0' id='m0'/>", content{Bodies: []body.Text{{Text: "x"}}, Replaces: "m0"}},
		{"a withdrawal", "", "<retract xmlns='urn:xmpp:message-retract:1' id='m0'/><body>unsupported</body>", content{Bodies: []body.Text{{Text: "unsupported"}}, Retracts: "m0"}},
		{"an older withdrawal", "", "<apply-to xmlns='urn:xmpp:fasten:0' id='m0'><retract xmlns='urn:xmpp:message-retract:0'/></apply-to>", content{Retracts: "m0"}},
		{"something else that applies", "", "<apply-to xmlns='urn:xmpp:fasten:0' id='m0'><external xmlns='urn:x'/></apply-to>", content{}},
		{"a reaction", "", "<reactions xmlns='urn:xmpp:reactions:0' id='m0'><reaction>👋</reaction></reactions>", content{Reaction: true}},
		{"a file", "", "<body>https://example.com/a.jpg</body><x xmlns='jabber:x:oob'><url>https://example.com/a.jpg</url><desc>a\n cat</desc></x>",
			content{Bodies: []body.Text{{Text: "https://example.com/a.jpg"}}, Links: []link{{"https://example.com/a.jpg", "a cat"}}}},
		{"a file that is shared", "", "<file-sharing xmlns='urn:xmpp:sfs:0'><sources><url-data xmlns='http://jabber.org/protocol/url-data' target='https://example.com/a.jpg'/></sources></file-sharing>",
			content{Links: []link{{"https://example.com/a.jpg", ""}}}},
		{"files that nobody should fetch", "", "<x xmlns='jabber:x:oob'><url>http://example.com/</url></x><x xmlns='jabber:x:oob'><url>file:///etc/passwd</url></x>" +
			"<x xmlns='jabber:x:oob'><url>javascript:alert(1)</url></x><x xmlns='jabber:x:oob'><url>https://a b/</url></x><x xmlns='jabber:x:oob'><url>https://</url></x><x xmlns='jabber:x:oob'/>", content{}},
		{"a wish to hear of it", "", "<body>x</body><request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>",
			content{Bodies: []body.Text{{Text: "x"}}, WantsReceipt: true, Markable: true}},
		{"a receipt", "", "<received xmlns='urn:xmpp:receipts' id='m0'/>", content{Received: "m0"}},
		{"a marker", "", "<displayed xmlns='urn:xmpp:chat-markers:0' id='m0'/>", content{Displayed: "m0"}},
		{"other markers", "", "<received xmlns='urn:xmpp:chat-markers:0' id='m0'/><acknowledged xmlns='urn:xmpp:chat-markers:0' id='m1'/>", content{Received: "m0", Displayed: "m1"}},
		{"typing", "", "<composing xmlns='http://jabber.org/protocol/chatstates'/><paused xmlns='http://jabber.org/protocol/chatstates'/>", content{State: "composing"}},
		{"a state that is none", "", "<sleeping xmlns='http://jabber.org/protocol/chatstates'/>", content{}},
		{"hints", "", "<no-store xmlns='urn:xmpp:hints'/><no-copy xmlns='urn:xmpp:hints'/><other xmlns='urn:xmpp:hints'/>", content{Hints: hintNoStore | hintNoCopy}},
		{"what does not cross", "", "<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>x</body></message></forwarded></sent>" +
			"<stanza-id xmlns='urn:xmpp:sid:0' id='s'/><origin-id xmlns='urn:xmpp:sid:0' id='o'/><body xmlns='http://www.w3.org/1999/xhtml'>y</body>" +
			"<result xmlns='urn:xmpp:mam:2'/><x xmlns='http://jabber.org/protocol/muc#user'/><html xmlns='http://jabber.org/protocol/xhtml-im'/>", content{}},
	} {
		got := contentOf(message(t, tt.attrs, tt.inner))
		if d := cmp.Diff(&tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

func TestWhatIsEncryptedIsRecognized(t *testing.T) {
	for inner, want := range map[string]string{
		"<encrypted xmlns='eu.siacs.conversations.axolotl'><header/><payload>x</payload></encrypted><body>fallback</body>": "OMEMO",
		"<encrypted xmlns='urn:xmpp:omemo:2'><header/><payload>x</payload></encrypted>":                                    "OMEMO",
		"<encrypted xmlns='eu.siacs.conversations.axolotl'><header/></encrypted><store xmlns='urn:xmpp:hints'/>":           "",
		"<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>":                                                                  "OpenPGP",
		"<body>x</body><x xmlns='jabber:x:encrypted'>x</x>":                                                                "legacy OpenPGP",
		"<body>x</body><x xmlns='jabber:x:signed'>x</x>":                                                                   "",
		"<body>?OTRv23?</body>": "OTR",
		"<encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:otr:0'/><body>x</body>":                             "OTR",
		"<encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl' name='evil'/><body>x</body>": "OMEMO",
		"<encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:openpgp:0'/>":                                       "OpenPGP",
		"<encryption xmlns='urn:xmpp:eme:0' namespace='jabber:x:encrypted'/>":                                       "legacy OpenPGP",
		"<encryption xmlns='urn:xmpp:eme:0' namespace='urn:example:new' name='New'/><body>x</body>":                 "unknown",
		"<body>I wrote ?OTR</body>": "",
	} {
		if got := contentOf(message(t, "", inner)).Encrypted; got != want {
			t.Errorf("%s: %q, want %q", inner, got, want)
		}
	}
}

func TestASIPUserReadsWhatWasSaid(t *testing.T) {
	const file = "<x xmlns='jabber:x:oob'><url>https://example.com/a</url>%s</x>"
	for _, tt := range []struct {
		name, attrs, inner, accept string
		want, lang                 string
	}{
		{"a text", "", "<body>hi</body>", "", "hi", ""},
		{"nothing", "", "<subject>s</subject>", "", "", ""},
		{"in a language", "xml:lang='en'", "<body>hi</body>", "", "hi", "en"},
		{"the one without a label", "xml:lang='en'", "<body xml:lang='de'>hallo</body><body>hi</body>", "", "hi", "en"},
		{"the one he reads", "xml:lang='en'", "<body>hi</body><body xml:lang='de-AT'>servus</body>", "fr, de;q=0.8, en;q=0.5", "servus", "de-AT"},
		{"the one he reads is without a label", "xml:lang='en'", "<body xml:lang='de'>hallo</body><body>hi</body>", "en-GB, de;q=0.5", "hi", "en"},
		{"none that he reads", "", "<body>hi</body><body xml:lang='de'>hallo</body>", "fr", "hi", ""},
		{"what he does not want", "", "<body>hi</body><body xml:lang='de'>hallo</body>", "de;q=0", "hi", ""},
		{"nonsense that he sends", "", "<body>hi</body><body xml:lang='de'>hallo</body>", "!!;q=x", "hi", ""},
		{"the first if all are labelled", "", "<body xml:lang='cs'>ano</body><body xml:lang='de'>ja</body>", "fr", "ano", "cs"},
		{"a correction", "", "<body>hi</body><replace xmlns='urn:xmpp:message-correct:0' id='m0'/>", "", "[edited] hi", ""},
		{"a withdrawal", "", "<body>unsupported</body><retract xmlns='urn:xmpp:message-retract:1' id='m0'/>", "", "[withdrawn]", ""},
		{"a reaction", "", "<reactions xmlns='urn:xmpp:reactions:0' id='m0'/>", "", "", ""},
		{"a reaction in words", "", "<body>👍</body><reactions xmlns='urn:xmpp:reactions:0' id='m0'/>", "", "👍", ""},
		{"a reply", "", "<body>&gt; you said\nI say</body><reply xmlns='urn:xmpp:reply:0' id='m0'/><fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='11'/></fallback>", "", "> you said\nI say", ""},
		{"a file", "", fmt.Sprintf(file, ""), "", "https://example.com/a", ""},
		{"a file with words", "", "<body>look</body>" + fmt.Sprintf(file, "<desc>a cat</desc>"), "", "look\na cat: https://example.com/a", ""},
		{"a file that the words name", "", "<body>https://example.com/a</body>" + fmt.Sprintf(file, ""), "", "https://example.com/a", ""},
	} {
		c := contentOf(message(t, tt.attrs, tt.inner))
		if got, lang := c.said(tt.accept, true); got != tt.want || lang != tt.lang {
			t.Errorf("%s: %q in %q, want %q in %q", tt.name, got, lang, tt.want, tt.lang)
		}
	}
	c := contentOf(message(t, "", "<body>unsupported</body><retract xmlns='urn:xmpp:message-retract:1' id='m0'/>"))
	if got, _ := c.said("", false); got != "" {
		t.Errorf("a withdrawal that nobody wants to hear of: %q", got)
	}
	c = contentOf(message(t, "", "<subject>a\r\n b\tc</subject><subject xml:lang='de'>Thema</subject>"))
	if got := c.subject("") + c.subject("de"); got != "a b cThema" {
		t.Errorf("subjects: %q", got)
	}
}

func TestContentsOfAMessageAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, "<body xml:lang='x%d'>a</body><x xmlns='jabber:x:oob'><url>https://example.com/%d</url></x>", i, i)
	}
	c := contentOf(message(t, "", b.String()))
	if len(c.Bodies) != body.MaxTexts || len(c.Links) != maxLinks {
		t.Errorf("%d bodies, %d links", len(c.Bodies), len(c.Links))
	}
	c = contentOf(message(t, "", "<x xmlns='jabber:x:oob'><url>https://example.com/"+strings.Repeat("a", 2048)+"</url></x>"))
	if len(c.Links) != 0 {
		t.Error("a very long address is shown")
	}
}

func TestAContentIsWrittenAndReadAgain(t *testing.T) {
	want := &content{
		ID: "m1", Type: "chat", Lang: "en",
		Bodies:   []body.Text{{Text: "a & <b>\n👋"}, {Lang: "de", Text: "ja"}},
		Subjects: []body.Text{{Text: "s"}},
		Thread:   "t", Parent: "p",
		Sent: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Delayer: "example.com",
		Replaces: "m0", Links: []link{{"https://example.com/a", "a cat"}},
		WantsReceipt: true, Markable: true, Received: "r", Displayed: "d", State: "active",
		Hints: hintNoStore | hintStore,
	}
	e := stanza.New(stanza.NS, "message", stanza.Attr{Local: "from", Value: "juliet@example.com"})
	want.appendTo(e)
	parsed, err := stanza.Parse(stanza.Append(nil, e), stanza.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, contentOf(parsed)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	e = stanza.New(stanza.NS, "message")
	new(content).appendTo(e)
	if len(e.Children) != 0 || len(e.Attrs) != 0 {
		t.Errorf("nothing became %s", stanza.Append(nil, e))
	}
	e = stanza.New(stanza.NS, "message")
	(&content{State: "dreaming", Bodies: []body.Text{{Text: "a\x00b"}}}).appendTo(e)
	if got := string(stanza.Append(nil, e)); got != "<message><body>a\ufffdb</body></message>" {
		t.Errorf("got %s", got)
	}
}

// FuzzContent: a message of any content crosses into the model without a crash, and what
// is said of it is text.
func FuzzContent(f *testing.F) {
	f.Add("<body>x</body><delay xmlns='urn:xmpp:delay' stamp='2002-09-10T23:08:25Z'/><x xmlns='jabber:x:oob'><url>https://a.b/</url></x>", "de, en;q=0.1")
	f.Add("<body xml:lang='de'>x</body><body>y</body><replace xmlns='urn:xmpp:message-correct:0' id='m0'/>", "de-AT")
	f.Add("<body>a&#13;&#10;b&#13;c&#x85;</body><x xmlns='jabber:x:oob'><url>https://a.b/</url><desc>&#13;d</desc></x>", "")
	f.Add("<delay xmlns='urn:xmpp:delay' stamp='9999-12-31T23:59:59-01:00'/><delay xmlns='urn:xmpp:delay' stamp='2002-09-10T23:08:25.5Z'/>", "")
	f.Fuzz(func(t *testing.T, inner, accept string) {
		e, err := stanza.Parse([]byte("<message from='a@b.c' xml:lang='en'>"+inner+"</message>"), stanza.Limits{})
		if err != nil {
			return
		}
		c := contentOf(e)
		text, lang := c.said(accept, true)
		if stanza.Clean(text) != text {
			t.Errorf("%q became %q", inner, text)
		}
		if lang != "" && body.Language(lang) != lang {
			t.Errorf("language %q", lang)
		}
		if len(text) > len(inner)+maxLinks+64 {
			t.Errorf("%q became %q", inner, text)
		}
		if s := c.subject(accept); strings.ContainsAny(s, "\r\n") {
			t.Errorf("subject %q", s)
		}
		out := stanza.New(stanza.NS, "message", stanza.Attr{Local: "from", Value: "a@b.c"})
		c.appendTo(out)
		parsed, err := stanza.Parse(stanza.Append(nil, out), stanza.Limits{Stanza: 1 << 20})
		if err != nil {
			t.Fatalf("%s: %v", stanza.Append(nil, out), err)
		}
		again := contentOf(parsed)
		if want := c.Sent.Truncate(time.Second); !again.Sent.Equal(want) {
			t.Errorf("sent %v became %v", want, again.Sent)
		}
		again.Encrypted, again.Reaction, again.Retracts = c.Encrypted, c.Reaction, c.Retracts // are not written
		if b, _ := again.said(accept, true); c.Retracts == "" && b != text {
			t.Errorf("%q became %q", text, b)
		}
	})
}
