package body

import (
	"strings"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/sip"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// htmlText returns what somebody reads who is shown an HTML document: its text, line by
// line, with the links behind the words. No markup and no address that could run
// something comes through.
func htmlText(doc string) string {
	var w htmlWriter
	t := html.NewTokenizer(strings.NewReader(doc))
	for {
		switch t.Next() {
		case html.ErrorToken:
			w.link()
			return strings.Trim(w.b.String(), " \n")
		case html.TextToken:
			if w.hidden == 0 {
				w.text(string(t.Text()))
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			token := t.Token()
			w.start(&token)
		case html.EndTagToken:
			token := t.Token()
			w.end(token.DataAtom)
		}
	}
}

// An htmlWriter writes the text of a document. Its zero value is ready.
type htmlWriter struct {
	b      strings.Builder
	hidden atom.Atom // the element whose text is not shown, 0 if none
	pre    int       // depth of elements that keep white space
	blank  bool      // white space came
	href   string    // of the link that is open
	label  int       // where its words begin
}

// hiding are the elements whose content nobody reads.
func hiding(a atom.Atom) bool {
	switch a {
	case atom.Script, atom.Style, atom.Head, atom.Title, atom.Template, atom.Noscript, atom.Textarea, atom.Iframe,
		atom.Object, atom.Noembed, atom.Noframes, atom.Xmp, atom.Svg, atom.Math:
		return true
	}
	return false
}

// isBlock reports whether an element stands on lines of its own.
func isBlock(a atom.Atom) bool {
	switch a {
	case atom.P, atom.Div, atom.Li, atom.Ul, atom.Ol, atom.Tr, atom.Table, atom.Blockquote, atom.Pre, atom.Hr,
		atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Dl, atom.Dt, atom.Dd, atom.Section, atom.Article,
		atom.Header, atom.Footer, atom.Body:
		return true
	}
	return false
}

func (w *htmlWriter) start(t *html.Token) {
	switch a := t.DataAtom; {
	case w.hidden != 0:
	case hiding(a):
		if t.Type == html.StartTagToken {
			w.hidden = a
		}
	case a == atom.Br:
		w.b.WriteByte('\n')
		w.blank = false
	case a == atom.Img:
		w.text(attribute(t, "alt"))
	case a == atom.A:
		w.link()
		w.href, w.label = safeLink(attribute(t, "href")), w.b.Len()
	case a == atom.Td || a == atom.Th:
		w.blank = true
	case isBlock(a):
		w.line()
		if a == atom.Li {
			w.text("• ")
		}
		if a == atom.Pre && t.Type == html.StartTagToken {
			w.pre++
		}
	}
}

func (w *htmlWriter) end(a atom.Atom) {
	switch {
	case w.hidden != 0:
		if a == w.hidden || a == atom.Body || a == atom.Html {
			w.hidden = 0
		}
	case a == atom.A:
		w.link()
	case isBlock(a):
		w.link()
		w.line()
		if a == atom.Pre && w.pre > 0 {
			w.pre--
		}
	}
}

// line ends the line, if there is anything on it.
func (w *htmlWriter) line() {
	w.blank = false
	if s := w.b.String(); s != "" && s[len(s)-1] != '\n' {
		w.b.WriteByte('\n')
	}
}

// text writes text; white space is one blank, except where it is kept.
func (w *htmlWriter) text(s string) {
	s = stanza.Clean(s)
	if w.pre > 0 {
		w.b.WriteString(s)
		return
	}
	for i, word := range strings.FieldsFunc(s, isHTMLSpace) {
		if i > 0 || w.blank || isHTMLSpace(rune(s[0])) {
			w.space()
		}
		w.blank = false
		w.b.WriteString(strings.ReplaceAll(word, "\u00a0", " "))
	}
	if s != "" {
		w.blank = w.blank || isHTMLSpace(rune(s[len(s)-1]))
	}
}

// isHTMLSpace reports whether r is white space that is not kept. A blank that does not
// break is none.
func isHTMLSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' || r == '\f' }

// space writes a blank, but not at the beginning of a line.
func (w *htmlWriter) space() {
	if s := w.b.String(); s != "" && s[len(s)-1] != '\n' && s[len(s)-1] != ' ' {
		w.b.WriteByte(' ')
	}
}

// link writes the address of the link that ends, if its words do not say it.
func (w *htmlWriter) link() {
	href := w.href
	if w.href = ""; href == "" {
		return
	}
	words := strings.TrimSpace(w.b.String()[w.label:])
	bare := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(href, "https://"), "mailto:"), "/")
	switch {
	case words == "":
		w.text(href)
	case words == href || strings.TrimSuffix(words, "/") == bare:
	default:
		w.blank = false
		w.b.WriteString(" (" + href + ")")
	}
}

// safeLink returns an address that is shown, "" for those that are not: what is not
// absolute, or is no address of a page or person.
func safeLink(href string) string {
	href = strings.TrimSpace(href)
	for _, scheme := range []string{"https://", "http://", "mailto:", "xmpp:", "sip:", "tel:"} {
		if _, ok := cutScheme(href, scheme); ok && sip.IsText(href) && stanza.Clean(href) == href && !strings.ContainsAny(href, " \"<>\ufffd") {
			return href
		}
	}
	return ""
}

// attribute returns an attribute of a tag.
func attribute(t *html.Token, name string) string {
	for _, a := range t.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func cutScheme(s, scheme string) (rest string, ok bool) {
	if len(s) < len(scheme) || !strings.EqualFold(s[:len(scheme)], scheme) {
		return s, false
	}
	return s[len(scheme):], true
}
