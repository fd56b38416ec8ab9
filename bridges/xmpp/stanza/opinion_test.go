package stanza

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What we read and what we write is the same to the two libraries that most
// others read XML with. Where Python, or its binding of libxml2, is not installed
// that is skipped, but not where CI or SIPEDGE_INTEROP is set.
func TestInteropOthersReadTheSame(t *testing.T) {
	for _, library := range []string{"expat", "libxml2"} {
		t.Run(library, func(t *testing.T) {
			python := pythonWith(t, map[string]string{"expat": "xml.parsers.expat", "libxml2": "lxml.etree"}[library])
			var documents [][]byte
			var ours []*Element
			add := func(stanza string) {
				document := []byte(header + stanza + "</stream:stream>")
				documents, ours = append(documents, document), append(ours, whole(document))
			}
			for _, tt := range forbidden {
				if len(tt.xml) < 1000 {
					add(tt.xml)
				}
			}
			for _, tt := range hostile {
				e := New("urn:y", "a"+strings.ToValidUTF8(tt.text, ""), Attr{"urn:x", "b", tt.text}, Attr{"xml", "lang", tt.text})
				e.AddText(NS, "c", tt.text)
				add(string(Append(nil, e)))
				add("<message to='" + tt.text + "'/>")
				add("<message>" + tt.text + "</message>")
				add("<message><![CDATA[" + tt.text + "]]></message>")
			}
			add(chat)
			theirs := read(t, python, library, documents)
			accepted := 0
			for i, document := range documents {
				if ours[i] == nil {
					continue // we may refuse what others take
				}
				accepted++
				if diff := cmp.Diff(theirs[i], sorted(ours[i])); diff != "" {
					t.Errorf("%q: %s", document, diff)
				}
			}
			if accepted < 2*len(hostile) {
				t.Errorf("only %d of %d documents were compared", accepted, len(documents))
			}
		})
	}
}

// pythonWith finds a Python that has a module.
func pythonWith(t *testing.T, module string) string {
	t.Helper()
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(python, "-c", "import "+module).Run() == nil {
			return python
		}
	}
	if os.Getenv("CI") != "" || os.Getenv("SIPEDGE_INTEROP") != "" {
		t.Fatalf("there is no python3 with %s", module)
	}
	t.Skipf("there is no python3 with %s", module)
	return ""
}

// whole reads a stream as one tree; nil if it is refused.
func whole(document []byte) *Element {
	r := NewReader(bytes.NewReader(document), Limits{})
	root, err := r.Open()
	if err != nil {
		return nil
	}
	for {
		e, err := r.Next()
		if err == io.EOF {
			return root
		}
		if err != nil {
			return nil
		}
		root.Add(e)
	}
}

// read has documents read by another library.
func read(t *testing.T, python, library string, documents [][]byte) []*Element {
	t.Helper()
	var in bytes.Buffer
	for _, d := range documents {
		latin1 := make([]rune, len(d))
		for i, c := range d {
			latin1[i] = rune(c)
		}
		line, err := json.Marshal(string(latin1))
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(line, '\n'))
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/read.py", library)
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var trees []*Element
	for line := range bytes.Lines(out) {
		var theirs *theirElement
		if err := json.Unmarshal(line, &theirs); err != nil {
			t.Fatal(err)
		}
		trees = append(trees, theirs.element())
	}
	if len(trees) != len(documents) {
		t.Fatalf("%d trees of %d documents", len(trees), len(documents))
	}
	return trees
}

type theirElement struct {
	Space, Local, Text string
	Attrs              [][3]string
	Children           []*theirElement
}

func (e *theirElement) element() *Element {
	if e == nil {
		return nil
	}
	out := &Element{Space: e.Space, Local: e.Local, Text: e.Text}
	if len(e.Children) > 0 && strings.Trim(e.Text, " \t\r\n") == "" {
		out.Text = ""
	}
	for _, a := range e.Attrs {
		if a[0] == nsXML {
			a[0] = "xml"
		}
		out.Attrs = append(out.Attrs, Attr{a[0], a[1], a[2]})
	}
	for _, c := range e.Children {
		out.Children = append(out.Children, c.element())
	}
	return sorted(out)
}

// sorted puts attributes in an order, which they do not have in XML.
func sorted(e *Element) *Element {
	out := &Element{Space: e.Space, Local: e.Local, Text: e.Text}
	out.Attrs = append(out.Attrs, e.Attrs...)
	slices.SortFunc(out.Attrs, func(a, b Attr) int { return strings.Compare(a.Space+" "+a.Local, b.Space+" "+b.Local) })
	for _, c := range e.Children {
		out.Children = append(out.Children, sorted(c))
	}
	return out
}
