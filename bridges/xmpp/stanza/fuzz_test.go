package stanza

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// FuzzReader reads a stream, whose start may be missing. What is accepted is
// bounded, is read by encoding/xml as the same, and is the same after it was
// written and read again.
func FuzzReader(f *testing.F) {
	f.Add([]byte(header + chat + "</stream:stream>"))
	f.Add([]byte(strings.Replace(header, NS+"'", NSClient+"'", 1) + chat))
	f.Add([]byte("<stream xmlns='http://etherx.jabber.org/streams'><message xmlns='jabber:server'/>"))
	f.Add([]byte("<message xmlns='jabber:server\t'/>"))
	f.Add([]byte("<message to='&#9;\n'>a\r\n<![CDATA[<]]>&#13;<p:x xmlns:p='urn:x' p:y='' xml:lang='en'/></message> <a xmlns='' />"))
	for _, tt := range forbidden {
		if len(tt.xml) < 1000 {
			f.Add([]byte(tt.xml))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !bytes.HasPrefix(data, []byte("<?xml")) && !bytes.HasPrefix(data, []byte("<stream")) {
			data = append([]byte(header), data...)
		}
		src := &counted{r: bytes.NewReader(data)}
		r := NewReader(src, Limits{Depth: 8, Attrs: 8, Prefixes: 16, Tokens: 100, Stanza: 4 << 10})
		head, err := r.Open()
		if err != nil {
			return
		}
		start := new(Element)
		*start = *head
		var got []*Element
		taken := src.n - r.Buffered()
		for {
			e, err := r.Next()
			if err != nil {
				break
			}
			if size := src.n - r.Buffered() - taken; size > 4<<10 && len(bytes.TrimLeft(data[taken:taken+size], " \t\r\n")) > 4<<10 {
				t.Fatalf("an element of %d octets", size)
			}
			taken = src.n - r.Buffered()
			again(t, e, r.Content())
			got = append(got, e)
		}
		start.Children = got
		if diff := cmp.Diff(plainly(t, data[:taken], r.Content() == NSClient), blank(start)); diff != "" {
			t.Errorf("%q: %s", data[:taken], diff)
		}
	})
}

// again writes an element, reads it and compares.
func again(t *testing.T, e *Element, content string) {
	t.Helper()
	out := AppendFor(nil, e, content)
	r := NewReader(io.MultiReader(strings.NewReader(strings.Replace(header, NS+"'", content+"'", 1)), bytes.NewReader(out)), Limits{Prefixes: 1000})
	if _, err := r.Open(); err != nil {
		t.Fatal(err)
	}
	got, err := r.Next()
	if err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if diff := cmp.Diff(e, got); diff != "" {
		t.Fatalf("%q: %s", out, diff)
	}
	if twice := AppendFor(nil, got, content); !bytes.Equal(out, twice) {
		t.Fatalf("written as %q, and then as %q", out, twice)
	}
}

// plainly reads the beginning of a stream with encoding/xml and its namespaces.
func plainly(t *testing.T, data []byte, client bool) *Element {
	t.Helper()
	meant := (&scope{swapped: client}).meant
	d := xml.NewDecoder(bytes.NewReader(data))
	open := []*Element{{}}
	texts := []string{""}
	for {
		token, err := d.Token()
		if err != nil {
			break // the stream is cut off behind an element
		}
		last := len(open) - 1
		switch token := token.(type) {
		case xml.StartElement:
			e := New(meant(token.Name.Space), token.Name.Local)
			for _, a := range token.Attr {
				if _, is := declares(a.Name); is {
					continue
				}
				if a.Name.Space == nsXML {
					a.Name.Space = "xml"
				}
				e.Attrs = append(e.Attrs, Attr{meant(a.Name.Space), a.Name.Local, a.Value})
			}
			open, texts = append(open, open[last].Add(e)), append(texts, "")
		case xml.EndElement:
			if e := open[last]; len(e.Children) == 0 || strings.Trim(texts[last], " \t\r\n") != "" {
				e.Text = texts[last]
			}
			open, texts = open[:last], texts[:last]
		case xml.CharData:
			texts[last] += string(token)
		}
	}
	if len(open) != 2 && (len(open) != 1 || !bytes.HasSuffix(bytes.TrimRight(data, " \t\r\n"), []byte(">"))) {
		t.Fatalf("%q: encoding/xml ends within %d elements", data, len(open)-1)
	}
	e := open[0].Children[0]
	if len(open[0].Children) != 1 {
		t.Fatalf("%q: encoding/xml reads %d roots", data, len(open[0].Children))
	}
	return blank(e)
}

// White space in values is left as it is by encoding/xml.
var spaces = strings.NewReplacer("\t", " ", "\n", " ", "\r", " ")

// blank makes spaces of white space in values.
func blank(e *Element) *Element {
	out := &Element{Space: e.Space, Local: e.Local, Text: e.Text}
	for _, a := range e.Attrs {
		out.Attrs = append(out.Attrs, Attr{a.Space, a.Local, spaces.Replace(a.Value)})
	}
	for _, c := range e.Children {
		out.Children = append(out.Children, blank(c))
	}
	return out
}

// FuzzAppend writes what may be in an element. It is always read again, and as
// what it was if XML can carry that.
func FuzzAppend(f *testing.F) {
	for _, tt := range hostile {
		f.Add("urn:"+tt.text, "a"+tt.text, tt.text, tt.text)
	}
	f.Add(NSStreams, "features", "", "x")
	f.Fuzz(func(t *testing.T, space, name, value, text string) {
		in := New(space, name, Attr{space, name, value}, Attr{"", name, text}, Attr{"xml", "lang", value})
		in.Text = text
		in.Add(&Element{Space: NS, Local: name, Text: value})
		top := New(NS, "message")
		top.Add(in)
		out := Append(nil, top)
		got, err := Parse(out, Limits{Stanza: 16 << 20})
		if err != nil {
			if space == "xml" || space == nsXML || space == nsXMLNS || strings.ContainsFunc(space, notInURI) || !utf8.ValidString(space) || strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 }) {
				return // such a namespace is none; and names are those of the decoder's edition of XML
			}
			t.Fatalf("%q: %v", out, err)
		}
		if len(got.Children) != 1 || len(got.Children[0].Children) != 1 {
			t.Fatalf("%q has another shape", out)
		}
		if again := Append(nil, got); !bytes.Equal(out, again) && strings.Trim(text, " \t\r\n") != "" {
			t.Fatalf("written as %q, and then as %q", out, again)
		}
	})
}
