package stanza

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

const (
	header = "<?xml version='1.0'?><stream:stream from='im.example.com' to='example.net' version='1.0' xml:lang='en'" +
		" xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams'>"
	chat = "<message from='juliet@im.example.com/balcony' to='romeo@example.net' type='chat' id='kq3vZ3x1' xml:lang='en'>" +
		"<body>Art thou not Romeo, and a Montague? &lt;3</body><thread>0e3141cd80894871a68e6fe6b1ec56fa</thread></message>"
)

// open makes a Reader of a stream whose header has been read.
func open(t testing.TB, header, rest string, l Limits) *Reader {
	t.Helper()
	r := NewReader(strings.NewReader(header+rest), l)
	if _, err := r.Open(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAStreamIsReadElementByElement(t *testing.T) {
	r := NewReader(strings.NewReader(header+"\n"+chat+" \t<presence/></stream:stream>"), Limits{})
	head, err := r.Open()
	if err != nil {
		t.Fatal(err)
	}
	if !head.Is(NSStreams, "stream") || head.Attr("from") != "im.example.com" || head.Lang() != "en" || r.Content() != NS {
		t.Errorf("the start of the stream is %+v in %s", head, r.Content())
	}
	got, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	want := &Element{Space: NS, Local: "message", Attrs: []Attr{
		{"", "from", "juliet@im.example.com/balcony"}, {"", "to", "romeo@example.net"}, {"", "type", "chat"}, {"", "id", "kq3vZ3x1"}, {"xml", "lang", "en"},
	}, Children: []*Element{
		{Space: NS, Local: "body", Text: "Art thou not Romeo, and a Montague? <3"},
		{Space: NS, Local: "thread", Text: "0e3141cd80894871a68e6fe6b1ec56fa"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := r.Next(); err != nil || !got.Is(NS, "presence") {
		t.Errorf("%+v, %v, want a presence", got, err)
	}
	for range 2 {
		if got, err := r.Next(); err != io.EOF {
			t.Errorf("%+v, %v, want the end", got, err)
		}
	}
	if out := string(Append(nil, want)); out != chat {
		t.Errorf("written as %s", out)
	}
}

// The header of a stream comes alone: its end is the last octet that is read.
func TestNothingIsWaitedForThatIsNotNeeded(t *testing.T) {
	ours, theirs := io.Pipe()
	defer ours.Close()
	r := NewReader(ours, Limits{})
	for _, octets := range []string{header, "<presence/>", "<presence></presence>", "\n<presence to='a'/>"} {
		go theirs.Write([]byte(octets))
		read := r.Next
		if octets == header {
			read = r.Open
		}
		if _, err := read(); err != nil || r.Buffered() != 0 {
			t.Fatalf("%s: %v, %d octets are left", octets, err, r.Buffered())
		}
	}
}

func TestItDoesNotMatterHowOctetsArrive(t *testing.T) {
	text := header + chat + "\r\n <a xmlns='urn:x' b='\r\n&#xe4;\t'>x<![CDATA[]]]]]]><b/>&#13;\r\n</a></stream:stream>"
	var want []*Element
	for size := 1; size <= len(text); size = size*3/2 + 1 {
		r := NewReader(&sliced{text, size}, Limits{})
		var got []*Element
		e, err := r.Open()
		for ; err == nil; e, err = r.Next() {
			got = append(got, e)
		}
		if err != io.EOF || len(got) != 3 {
			t.Fatalf("%d elements, then %v", len(got), err)
		}
		if want == nil {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("in slices of %d: %s", size, diff)
		}
	}
}

// A sliced source gives what it has in slices.
type sliced struct {
	text string
	size int
}

func (s *sliced) Read(p []byte) (int, error) {
	if s.text == "" {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.size)], s.text)
	s.text = s.text[n:]
	return n, nil
}

func TestTextAndValuesAreAsXMLSays(t *testing.T) {
	for _, tt := range []struct{ name, xml, want string }{
		{"entities", "&lt;&gt;&amp;&apos;&quot;&#65;&#x1F600;&#xfffd;", "<>&'\"A\U0001F600\ufffd"},
		{"line ends", "a\r\nb\rc\nd&#13;&#10;e", "a\nb\nc\nd\r\ne"},
		{"CDATA", "a<![CDATA[<b>&amp;&#xD800;]]>c", "a<b>&amp;&#xD800;c"},
		{"CDATA with brackets", "<![CDATA[]]]]><![CDATA[>]]>", "]]>"},
		{"empty CDATA", "<![CDATA[]]>", ""},
		{"white space only", " \n ", " \n "},
		{"quotes", "'\"", "'\""},
		{"brackets", "]]&gt;]]", "]]>]]"},
		{"other scripts", "\u05e9\u05dc\u05d5\u05dd \U0001F469\u200d\U0001F680 \u202e", "\u05e9\u05dc\u05d5\u05dd \U0001F469\u200d\U0001F680 \u202e"},
		{"layout around children", "\n<b/>\n", ""},
		{"text around children", "a<b/>c", "ac"},
	} {
		e, err := Parse([]byte("<a>"+tt.xml+"</a>"), Limits{})
		if err != nil || e.Text != tt.want {
			t.Errorf("%s: %+v, %v, want %q", tt.name, e, err, tt.want)
		}
	}
	for _, tt := range []struct{ name, xml, want string }{
		{"white space", `'a	b\nc\rd\r\ne'`, "a b c d e"},
		{"white space that is meant", `'&#9;&#10;&#13;'`, "\t\n\r"},
		{"the other quotes", `"'"`, "'"},
		{"the end of CDATA", `']]>'`, "]]>"},
		{"an end of a tag", `'/>'`, "/>"},
		{"spaces around", ` = 'x' `, "x"},
	} {
		xml := strings.NewReplacer(`\t`, "\t", `\n`, "\n", `\r`, "\r").Replace(tt.xml)
		if !strings.Contains(xml, "=") {
			xml = "=" + xml
		}
		e, err := Parse([]byte("<a b"+xml+"/>"), Limits{})
		if err != nil || e.Attr("b") != tt.want {
			t.Errorf("%s: %+v, %v, want %q", tt.name, e, err, tt.want)
		}
	}
}

func TestNamespacesAreResolved(t *testing.T) {
	const x, forwarded = "urn:x", "<message xmlns='jabber:client'/>"
	for _, tt := range []struct {
		name, header, xml string
		want              *Element
	}{
		{"the default", header, "<message><body/></message>", &Element{Space: NS, Local: "message", Children: []*Element{{Space: NS, Local: "body"}}}},
		{"a prefix of the stream", header, "<stream:features/>", &Element{Space: NSStreams, Local: "features"}},
		{"a prefix of its own", header, "<p:a xmlns:p='urn:x' p:b='c'><b/></p:a>", &Element{Space: x, Local: "a", Attrs: []Attr{{x, "b", "c"}}, Children: []*Element{{Space: NS, Local: "b"}}}},
		{"a prefix that means something else within", header, "<p:a xmlns:p='urn:x'><p:b xmlns:p='urn:y'/><p:c/></p:a>", &Element{Space: x, Local: "a", Children: []*Element{{Space: "urn:y", Local: "b"}, {Space: x, Local: "c"}}}},
		{"no namespace within", header, "<message><a xmlns=''/></message>", &Element{Space: NS, Local: "message", Children: []*Element{{Local: "a"}}}},
		{"the xml that is always there", header, "<message xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:lang='en'/>", &Element{Space: NS, Local: "message", Attrs: []Attr{{"xml", "lang", "en"}}}},
		{"clients' stanzas in a server's stream", header, "<forwarded xmlns='urn:x'>" + forwarded + "</forwarded>", &Element{Space: x, Local: "forwarded", Children: []*Element{{Space: NSClient, Local: "message"}}}},
		{"a client's stream", strings.Replace(header, NS+"'", NSClient+"'", 1), "<message><body/></message>", &Element{Space: NS, Local: "message", Children: []*Element{{Space: NS, Local: "body"}}}},
		{"servers' elements in a client's stream", strings.Replace(header, NS+"'", NSClient+"'", 1), "<message><body xmlns='jabber:server'/></message>", &Element{Space: NS, Local: "message", Children: []*Element{{Space: NSClient, Local: "body"}}}},
		{"a stream without prefixes", "<stream xmlns='http://etherx.jabber.org/streams'>", "<message xmlns='jabber:server'/>", &Element{Space: NS, Local: "message"}},
		{"a prefix and a name in other scripts", header, "<\u03c0:\u00e9t\u00e9 xmlns:\u03c0='urn:x'/>", &Element{Space: x, Local: "\u00e9t\u00e9"}},
		{"a name in another script", header, "<\u00e9t\u00e9 xmlns='urn:x'/>", &Element{Space: x, Local: "\u00e9t\u00e9"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := open(t, tt.header, tt.xml, Limits{}).Next()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseReadsDocuments(t *testing.T) {
	const pidf = "urn:ietf:params:xml:ns:pidf"
	for _, tt := range []struct {
		name, xml string
		want      *Element
	}{
		{"with a declaration", "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone='yes' ?>\r\n<presence xmlns='" + pidf + "'/>\r\n", &Element{Space: pidf, Local: "presence"}},
		{"that rest on something else, but do not", "<?xml version='1.0' standalone='no'?><presence xmlns='" + pidf + "'/>", &Element{Space: pidf, Local: "presence"}},
		{"with a byte order mark", "\ufeff<?xml version='1.0'?><presence xmlns='" + pidf + "'/>", &Element{Space: pidf, Local: "presence"}},
		{"without a namespace", "<message/>", &Element{Space: NS, Local: "message"}},
		{"with no namespace", "<message xmlns=''/>", &Element{Local: "message"}},
		{"of clients", "<message xmlns='jabber:client'><body/></message>", &Element{Space: NS, Local: "message", Children: []*Element{{Space: NS, Local: "body"}}}},
		{"of clients, with a prefix", "<c:message xmlns:c='jabber:client' c:a='b'><body/></c:message>", &Element{Space: NS, Local: "message", Attrs: []Attr{{NS, "a", "b"}}, Children: []*Element{{Space: NS, Local: "body"}}}},
	} {
		got, err := Parse([]byte(tt.xml), Limits{})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	for _, xml := range []string{"", " ", "<a/><b/>", "<a/>x", "<a/><!-- -->", "<a>", "<a", "a", "<?xml version='1.0'?>", "<?xml version='1.0' standalone='x'?><a/>"} {
		if e, err := Parse([]byte(xml), Limits{}); err == nil {
			t.Errorf("%q: %+v, want an error", xml, e)
		}
	}
}

func TestWhatIsWithinTheLimitsIsRead(t *testing.T) {
	body := "<message>" + strings.Repeat("x", 1000-len("<message></message>")) + "</message>"
	nest := func(n int) string { return strings.Repeat("<a>", n) + strings.Repeat("</a>", n) }
	for _, tt := range []struct {
		name, xml string
		limits    Limits
		fits      bool
	}{
		{"octets", body, Limits{Stanza: 1000}, true},
		{"octets", body, Limits{Stanza: 999}, false},
		{"white space around", strings.Repeat(" ", 5000) + body, Limits{Stanza: 1000}, true},
		{"depth", nest(64), Limits{}, true},
		{"depth", nest(65), Limits{}, false},
		{"attributes", "<a" + numbered(" a%d='b'", 64) + "/>", Limits{}, true},
		{"attributes", "<a" + numbered(" a%d='b'", 65) + "/>", Limits{}, false},
		{"attributes and declarations", "<a xmlns:a='urn:x'" + numbered(" a%d='b'", 64) + "/>", Limits{}, false},
		{"namespaces", "<a" + numbered(" xmlns:a%d='urn:x'", 30) + "><a" + numbered(" xmlns:a%d='urn:x'", 31) + "/></a>", Limits{}, true}, // three are the stream's
		{"namespaces", "<a" + numbered(" xmlns:a%d='urn:x'", 30) + "><a" + numbered(" xmlns:a%d='urn:x'", 32) + "/></a>", Limits{}, false},
		{"namespaces one after the other", "<a>" + strings.Repeat("<a xmlns:a='urn:x'/>", 1000) + "</a>", Limits{}, true},
		{"elements", "<a>" + strings.Repeat("<a/>", 4095) + "</a>", Limits{}, true},
		{"elements", "<a>" + strings.Repeat("<a/>", 4096) + "</a>", Limits{}, false},
	} {
		r := open(t, header, tt.xml+tt.xml, tt.limits)
		for range 2 {
			if _, err := r.Next(); (err == nil) != tt.fits || err != nil && condition(err) != policyViolation {
				t.Errorf("%s: %v, want that it fits: %v", tt.name, err, tt.fits)
			}
		}
	}
}

func TestLimitsAreWiderAfterAuthentication(t *testing.T) {
	large := "<message>" + strings.Repeat("x", 10<<10) + "</message>"
	r := open(t, header, "<presence/>"+large+strings.Repeat(large, 20), Limits{Stanza: 8 << 10})
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	r.SetLimits(Limits{})
	for range 21 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
}

// What somebody has put behind <starttls/> belongs to no stream: neither to the old
// one nor to the new one.
func TestNothingOfAnOldStreamIsLeftInANewOne(t *testing.T) {
	const starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	for _, injected := range []string{"<message/>", "<mess", " ", header + "<message/>", "<message><!--"} {
		r := open(t, strings.Replace(header, "xmlns:db", "xmlns:old='urn:old' xmlns:db", 1), starttls+injected, Limits{})
		if e, err := r.Next(); err != nil || e.Local != "starttls" {
			t.Fatalf("%+v, %v", e, err)
		}
		if r.Buffered() != len(injected) {
			t.Errorf("%d octets are left over, want %d", r.Buffered(), len(injected))
		}
		r.Reset(strings.NewReader(header + "<presence/><old:a/>"))
		if r.Buffered() != 0 {
			t.Errorf("%d octets have survived", r.Buffered())
		}
		if _, err := r.Open(); err != nil {
			t.Fatal(err)
		}
		if e, err := r.Next(); err != nil || e.Local != "presence" {
			t.Errorf("%+v, %v, want the presence", e, err)
		}
		if e, err := r.Next(); condition(err) != notWellFormed {
			t.Errorf("%+v, %v: a namespace has survived", e, err)
		}
	}
}

// The source tells that the other side lives, and may have a deadline.
func TestWhiteSpaceKeepsAStreamAlive(t *testing.T) {
	late := errors.New("nothing in time")
	src := &script{steps: []any{header, late, " ", late, "\n", " ", late, late, "<presence/>", late, "<pres", late, "ence/>"}}
	r := NewReader(src, Limits{})
	if _, err := r.Open(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 8 {
		e, err := r.Next()
		switch {
		case err == nil:
			got = append(got, e.Local)
		case err == late:
			got = append(got, "late")
		case errors.Is(err, late):
			got = append(got, "torn")
		default:
			t.Fatal(err)
		}
	}
	// An element that is late half way is lost.
	if want := "late late late late presence late torn torn"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// A script gives octets or an error, one after the other.
type script struct{ steps []any }

func (s *script) Read(p []byte) (int, error) {
	if len(s.steps) == 0 {
		return 0, io.EOF
	}
	step := s.steps[0]
	s.steps = s.steps[1:]
	if err, is := step.(error); is {
		return 0, err
	}
	return copy(p, step.(string)), nil
}

func TestAStreamThatBreaksOffIsNotOneThatEnds(t *testing.T) {
	for _, tt := range []struct {
		rest string
		want error
	}{
		{"", io.ErrUnexpectedEOF},
		{" ", io.ErrUnexpectedEOF},
		{"<message><body>hi", io.ErrUnexpectedEOF},
		{"<message><body>hi</body>", io.ErrUnexpectedEOF},
		{"<message to='", io.ErrUnexpectedEOF},
		{"<", io.ErrUnexpectedEOF},
		{"<![CDA", io.ErrUnexpectedEOF},
		{"</stream:stream", io.ErrUnexpectedEOF},
		{"</stream:stream>", io.EOF},
		{" </stream:stream >", io.EOF},
	} {
		if e, err := open(t, header, tt.rest, Limits{}).Next(); err != tt.want {
			t.Errorf("%q: %+v, %v, want %v", tt.rest, e, err, tt.want)
		}
	}
	if _, err := open(t, strings.TrimSuffix(header, ">")+"/>", "", Limits{}).Next(); err != io.EOF {
		t.Errorf("a stream that ends where it begins: %v", err)
	}
	if _, err := open(t, strings.TrimSuffix(header, ">")+" a='/'>", "", Limits{}).Next(); err != io.ErrUnexpectedEOF {
		t.Errorf("a stream with a slash: %v", err)
	}
	if _, err := NewReader(&script{steps: []any{"", "", ""}}, Limits{}).Open(); err != io.ErrUnexpectedEOF {
		t.Errorf("a stream that never begins: %v", err)
	}
	if _, err := NewReader(idle{}, Limits{}).Open(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a source without octets and error: %v", err)
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func BenchmarkReader(b *testing.B) {
	for _, bb := range []struct{ name, stanza string }{
		{"chat", chat},
		{"client", strings.Replace(chat, "</message>", "<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/><origin-id xmlns='urn:xmpp:sid:0' id='kq3vZ3x1'/></message>", 1)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := NewReader(io.MultiReader(strings.NewReader(header), &endless{text: bb.stanza}), Limits{})
			if _, err := r.Open(); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(bb.stanza)))
			for b.Loop() {
				if _, err := r.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// An endless source says the same again and again.
type endless struct {
	text string
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.text[e.at:])
	e.at = (e.at + n) % len(e.text)
	return n, nil
}

func condition(err error) string {
	var syntax *SyntaxError
	if errors.As(err, &syntax) {
		return syntax.Condition
	}
	return ""
}

func TestAnErrorOfTheSourceIsNoFaultOfTheOtherSide(t *testing.T) {
	for _, begun := range []string{"", "<?xml version='1.0'?>", "<stream:stream"} {
		r := NewReader(io.MultiReader(strings.NewReader(begun), iotest.ErrReader(os.ErrDeadlineExceeded)), Limits{})
		if _, err := r.Open(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after %q: %v", begun, err)
		}
		r = NewReader(strings.NewReader(begun), Limits{})
		if _, err := r.Open(); begun == "" && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after nothing: %v", err)
		}
	}
}
