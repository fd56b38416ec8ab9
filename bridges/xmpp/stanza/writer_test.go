package stanza

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestElementsAreWrittenForTheirStream(t *testing.T) {
	const x = "urn:x"
	for _, tt := range []struct {
		name           string
		e              *Element
		server, client string
	}{
		{"a stanza", New(NS, "presence", Attr{"", "to", "a@example.net"}, Attr{"xml", "lang", "de"}), "<presence to='a@example.net' xml:lang='de'/>", ""},
		{"text and children", &Element{Space: NS, Local: "message", Children: []*Element{{Space: NS, Local: "body", Text: "hi"}, {Space: x, Local: "a", Children: []*Element{{Space: x, Local: "b"}, {Space: NS, Local: "c"}}}}},
			"<message><body>hi</body><a xmlns='urn:x'><b/><c xmlns='jabber:server'/></a></message>", "<message><body>hi</body><a xmlns='urn:x'><b/><c xmlns='jabber:client'/></a></message>"},
		{"no namespace", &Element{Space: NS, Local: "message", Children: []*Element{{Local: "a", Children: []*Element{{Local: "b"}}}}}, "<message><a xmlns=''><b/></a></message>", ""},
		{"a stanza of clients", New(NSClient, "message"), "<message xmlns='jabber:client'/>", "<message xmlns='jabber:server'/>"},
		{"features", &Element{Space: NSStreams, Local: "features", Children: []*Element{{Space: x, Local: "a"}}}, "<stream:features xmlns:stream='http://etherx.jabber.org/streams'><a xmlns='urn:x'/></stream:features>", ""},
		{"dialback", &Element{Space: NSDialback, Local: "result", Text: "key"}, "<db:result xmlns:db='jabber:server:dialback'>key</db:result>", ""},
		{"dialback's error", &Element{Space: NSDialback, Local: "result", Children: []*Element{(&Error{Condition: "forbidden"}).Element()}},
			"<db:result xmlns:db='jabber:server:dialback'><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>", ""},
		{"attributes with namespaces", New(x, "a", Attr{x, "b", "1"}, Attr{"urn:y", "b", "2"}, Attr{x, "c", "3"}, Attr{"", "b", "4"}),
			"<a xmlns='urn:x' xmlns:a0='urn:x' a0:b='1' xmlns:a1='urn:y' a1:b='2' a0:c='3' b='4'/>", ""},
		{"an attribute in the stanzas' namespace", New(NS, "a", Attr{NS, "b", "1"}), "<a xmlns:a0='jabber:server' a0:b='1'/>", "<a xmlns:a0='jabber:client' a0:b='1'/>"},
		{"the same attribute twice", New(NS, "a", Attr{"", "b", "1"}, Attr{"", "b", "2"}), "<a b='1'/>", ""},
		{"a declaration that is none", New(NS, "a", Attr{"", "xmlns", "urn:x"}, Attr{"", "xmlns:p", "urn:x"}), "<a xmlns_p='urn:x'/>", ""},
		{"names that are none", New(NS, "a><b", Attr{"", "c='d' e", "f"}, Attr{"", "", "g"}, Attr{"", "1", "h"}), "<a__b c__d__e='f' _='g' _1='h'/>", ""},
		{"names in other scripts", New(NS, "\u00e9t\u00e9", Attr{"", "\u00d7\u03c0\xff", "1"}, Attr{"", "\u0301", "2"}), "<\u00e9t\u00e9 __\u03c0_='1' _\u0301='2'/>", ""},
		{"a namespace that breaks out", New("urn:'><x", "a"), "<a xmlns='urn:&apos;&gt;&lt;x'/>", ""},
	} {
		if tt.client == "" {
			tt.client = tt.server
		}
		if got := string(Append([]byte("x"), tt.e)); got != "x"+tt.server {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, tt.server)
		}
		if got := string(AppendFor(nil, tt.e, NSClient)); got != tt.client {
			t.Errorf("%s, for clients:\ngot  %s\nwant %s", tt.name, got, tt.client)
		}
	}
}

// hostile is text that is not for XML, and how it is written and read again.
var hostile = []struct{ name, text, written, read string }{
	{"markup", `<b a='c' d="e">&amp;]]>`, `&lt;b a='c' d="e"&gt;&amp;amp;]]&gt;`, ""},
	{"white space", " \t\n\r\r\n ", " \t\n&#13;&#13;\n ", ""},
	{"NUL and C0", "a\x00b\x01\x1f\x7f", "a\ufffdb\ufffd\ufffd\x7f", "a\ufffdb\ufffd\ufffd\x7f"},
	{"U+FFFE and U+FFFF", "\ufffe\uffff\ufffd", "\ufffd\ufffd\ufffd", "\ufffd\ufffd\ufffd"},
	{"a lone surrogate in UTF-8", "a\xed\xa0\x80b", "a\ufffd\ufffd\ufffdb", "a\ufffd\ufffd\ufffdb"},
	{"overlong UTF-8", "\xc0\xbcscript", "\ufffd\ufffdscript", "\ufffd\ufffdscript"},
	{"cut UTF-8", "a\xe2\x82", "a\ufffd\ufffd", "a\ufffd\ufffd"},
	{"the end of CDATA", "]]>", "]]&gt;", ""},
	{"beyond the first plane", "\U0001F600\U0010FFFF", "\U0001F600\U0010FFFF", ""},
	{"the other direction", "\u202eabc\u2066", "\u202eabc\u2066", ""},
	{"C1", "\u0080\u0085\u2028", "\u0080\u0085\u2028", ""},
	{"a comment", "<!-- x -->", "&lt;!-- x --&gt;", ""},
}

func TestTextIsWrittenSoThatItIsReadAgain(t *testing.T) {
	for _, tt := range hostile {
		if tt.read == "" {
			tt.read = tt.text
		}
		e := New(NS, "message", Attr{"", "to", tt.text}).Add(&Element{Space: "urn:x", Local: "a", Text: tt.text, Attrs: []Attr{{"urn:y", "b", tt.text}}})
		out := Append(nil, e)
		if !strings.Contains(string(out), ">"+tt.written+"</") {
			t.Errorf("%s is written %q, want %q", tt.name, out, tt.written)
		}
		got, err := Parse(out, Limits{})
		if err != nil {
			t.Errorf("%s: %q: %v", tt.name, out, err)
			continue
		}
		if got.Text != tt.read || got.Attrs[0].Value != tt.read {
			t.Errorf("%s is read as %q and %q, want %q", tt.name, got.Text, got.Attrs[0].Value, tt.read)
		}
	}
}

// What is written is made from the elements alone: nothing tells how it came.
// Each row is the same stanza in other octets, with a mark of what only the
// octets have.
func TestOctetsNeverPass(t *testing.T) {
	plain := header + "<message to='a@example.net' id='1'><body>a &lt; b</body><x xmlns='urn:x' y='z'/></message>"
	want := string(Append(nil, next(t, plain)))
	for _, tt := range []struct{ name, from, to string }{
		{"quotes", "'a@example.net'", `"a@example.net"`},
		{"white space in a tag", " id='1'", " \r\n\t id\t=\n'1' "},
		{"a character as a number", "a@example", "&#97;@&#x65;xample"},
		{"a character as a number, in text", "a &lt; b", "&#x61; &#60; &#0098;"},
		{"CDATA", "a &lt; b", "<![CDATA[a < ]]>b"},
		{"an end tag", "y='z'/>", "y='z'></x >"},
		{"a prefix", "<x xmlns='urn:x' y='z'/>", "<marker:x xmlns:marker='urn:x' y='z'/>"},
		{"a declaration that nobody needs", "<x ", "<x xmlns:marker='urn:marker' "},
		{"a declaration of the same", "<body>", "<body xmlns='jabber:server'>"},
		{"layout", "<body>", " \t<body>"},
		{"white space in a value", "y='z'", "y='&#122;'"},
	} {
		changed := strings.Replace(plain, tt.from, tt.to, 1)
		if changed == plain {
			t.Fatalf("%s changes nothing", tt.name)
		}
		if got := string(Append(nil, next(t, changed))); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, want)
		}
	}
}

// A mark that is in no element is in nothing that is made from elements: what is
// built for the other side has what was put there and no more.
func TestAMarkUnknownToTheModelNeverArrives(t *testing.T) {
	in := next(t, header+"<message to='a@example.net' marker='1' xmlns:m='urn:marker' m:marker='2'><body marker='3'>hi<marker/></body><marker xmlns='urn:marker'>4</marker></message>")
	out := New(NS, in.Local)
	out.SetAttr("to", in.Attr("to"))
	out.AddText(NS, "body", in.Child(NS, "body").Text)
	if got, want := string(Append(nil, out)), "<message to='a@example.net'><body>hi</body></message>"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := string(Append(nil, Bounce(in, &Error{Condition: "forbidden"}))); strings.Contains(got, "marker") {
		t.Errorf("the error has %s", got)
	}
}

func next(t *testing.T, xml string) *Element {
	t.Helper()
	e, err := open(t, xml, "", Limits{}).Next()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// The examples of RFC 6120 and of the extensions that bridges meet.
func TestExamplesAreWrittenAndReadAgain(t *testing.T) {
	for i, xml := range []string{
		`<iq from='juliet@im.example.com/balcony' id='zj3v142b' to='im.example.com' type='error'><error type='modify'><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`,
		`<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms><dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback></stream:features>`,
		`<stream:error><not-well-formed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xml:lang='en' xmlns='urn:ietf:params:xml:ns:xmpp-streams'>Some special application diagnostic information!</text></stream:error>`,
		`<db:verify from='target.tld' id='417GAF25' to='sender.tld' type='valid'/>`,
		`<r xmlns='urn:xmpp:sm:3'/>`,
		`<enabled xmlns='urn:xmpp:sm:3' id='some-long-sm-id' resume='true' location='[2001:41D0:1:A49b::1]:9222'/>`,
		`<presence from='juliet@im.example.com/chamber'><show>away</show><status>be right back</status><priority>0</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://code.google.com/p/exodus' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>`,
		`<message from='room@chat.example.org/thirdwitch' id='162BEBB1' to='crone1@example.com/desktop' type='groupchat'><body>Thrice the brinded cat hath mew'd.</body><delay xmlns='urn:xmpp:delay' from='room@chat.example.org' stamp='2002-10-13T23:58:37Z'/></message>`,
		`<message xmlns='jabber:server' from='romeo@montague.example' to='romeo@montague.example/home' type='chat'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='juliet@capulet.example/balcony' to='romeo@montague.example/garden' type='chat'><body>What man art thou?</body></message></forwarded></received></message>`,
		`<message to='a@example.net'><html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><p style='font-weight:bold'>hi <em>there</em>!</p></body></html></message>`,
		`<iq to='a@example.net' type='result'><query xmlns='jabber:iq:gateway'><desc>Please enter</desc><prompt>Contact ID</prompt></query></iq>`,
		`<iq type='result' id='d'><query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' name='Ψ 0.11' type='pc' xml:lang='el'/><feature var='http://jabber.org/protocol/muc'/></query></iq>`,
	} {
		for _, h := range []string{header, strings.Replace(header, NS+"'", NSClient+"'", 1)} {
			if h != header && strings.Contains(xml, "jabber:server'") {
				continue
			}
			r := open(t, h, xml, Limits{})
			want, err := r.Next()
			if err != nil {
				t.Errorf("%d: %v", i, err)
				continue
			}
			got, err := open(t, h, string(AppendFor(nil, want, r.Content())), Limits{}).Next()
			if err != nil {
				t.Errorf("%d: written and read: %v", i, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%d: %s", i, diff)
			}
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	e, err := Parse([]byte(chat), Limits{})
	if err != nil {
		b.Fatal(err)
	}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = Append(dst[:0], e)
	}
}

func ExampleAppend() {
	m := New(NS, "message", Attr{"", "to", "juliet@im.example.com"})
	m.AddText(NS, "body", "Wherefore art thou?")
	fmt.Println(string(Append(nil, m)))
	// Output: <message to='juliet@im.example.com'><body>Wherefore art thou?</body></message>
}
