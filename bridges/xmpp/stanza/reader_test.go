package stanza

import (
	"errors"
	"io"
	"strings"
	"testing"

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
