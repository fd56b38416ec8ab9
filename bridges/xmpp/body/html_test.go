package body

import (
	"strings"
	"testing"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

func TestHTMLBecomesWhatOneReads(t *testing.T) {
	for doc, want := range map[string]string{
		"plain":                                "plain",
		"a &amp; b &lt;c&gt; &eacute;&#x20ac;": "a & b <c> é€",
		"a<br>b<br/>c":                         "a\nb\nc",
		"<p>one</p><p>two</p>":                 "one\ntwo",
		"<div>one<div>two</div></div>three":    "one\ntwo\nthree",
		"  a \n\t b  ":                         "a b",
		"a <b> bold</b> c":                     "a bold c",
		"a<b>b</b>c":                           "abc",
		"x&nbsp;&nbsp;y":                       "x  y",
		"<ul><li>one<li>two</ul>":              "• one\n• two",
		"<pre>a\n  b</pre>c":                   "a\n  b\nc",
		"<table><tr><td>a</td><td>b</td></tr><tr><td>c</table>":                         "a b\nc",
		"<html><head><title>t</title><style>p{}</style></head><body><p>a</body></html>": "a",
		"a<script>alert(1)</script>b":                                                   "ab",
		"a<script>alert('</b>')":                                                        "a",
		"<!-- hidden -->a<!DOCTYPE html>":                                               "a",
		"<img src=x alt='a cat'>":                                                       "a cat",
		"<img src=x onerror=alert(1)>":                                                  "",
		`<a href="https://example.com/">here</a>!`:                                      "here (https://example.com/)!",
		`<a href="https://example.com/">example.com</a>`:                                "example.com",
		`<a href="https://example.com/x"></a>`:                                          "https://example.com/x",
		`<a href="https://example.com">https://example.com</a>`:                         "https://example.com",
		`<a href="mailto:a@example.com">a@example.com</a>`:                              "a@example.com",
		`<a href="https://evil.example/">https://bank.example/</a>`:                     "https://bank.example/ (https://evil.example/)",
		`<a href="javascript:alert(1)">x</a>`:                                           "x",
		`<a href="JavaScript:alert(1)">x</a>`:                                           "x",
		`<a href="data:text/html,x">x</a>`:                                              "x",
		`<a href="/relative">x</a>`:                                                     "x",
		"<a href=\"https://example.com/\x00\">x</a>":                                    "x",
		"<a href='https://example.com/&#xFFFE;'>x</a>":                                  "x",
		`<a href="https://a.example/">one<a href="https://b.example/">two</a>`:          "one (https://a.example/)two (https://b.example/)",
		"<svg><script>x</script><text>y</text></svg>z":                                  "z",
		"<iframe srcdoc='<p>x'></iframe>y":                                              "y",
		"<textarea>a</textarea>b":                                                       "b",
		"a\x00b":                                                                        "a\ufffdb",
		"<":                                                                             "<",
		"":                                                                              "",
		strings.Repeat("<b>", 10_000) + "x":                                             "x",
	} {
		if got := htmlText(doc); got != want {
			t.Errorf("htmlText(%.80q) = %q, want %q", doc, got, want)
		}
	}
}

// FuzzHTML: no markup comes through, whatever it looks like, and nothing grows out of
// bounds.
func FuzzHTML(f *testing.F) {
	f.Add("<p>a<br>b<a href='https://example.com/'>c</a><pre>  d</pre><script>e</script>")
	f.Add("<a href=https://x.example/>1<p>2</a><li>3<img alt='<b>'>")
	f.Add("<a href='https://x.example/&#xFFFE;'>a")
	f.Fuzz(func(t *testing.T, doc string) {
		if len(doc) > 64<<10 {
			return
		}
		got := htmlText(doc)
		if stanza.Clean(got) != got {
			t.Errorf("htmlText(%q) = %q", doc, got)
		}
		if len(got) > 8*len(doc)+8 {
			t.Errorf("%d octets became %d", len(doc), len(got))
		}
		if !strings.ContainsAny(doc, "&<") && strings.ContainsAny(got, "<") {
			t.Errorf("htmlText(%q) = %q", doc, got)
		}
	})
}
