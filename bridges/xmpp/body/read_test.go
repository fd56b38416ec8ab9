package body

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// crlf makes a body of lines.
func crlf(lines ...string) string { return strings.Join(lines, "\r\n") }

func TestABodyBecomesText(t *testing.T) {
	for _, tt := range []struct {
		name, kind, lang, body string
		want                   []Text
	}{
		{"plain text", "text/plain;charset=UTF-8", "", "Grüße ☃ <&> 👋", []Text{{"", "Grüße ☃ <&> 👋"}}},
		{"without a type", "", "", "hello", []Text{{"", "hello"}}},
		{"in a language", "Text/Plain", "de, en", "Hallo", []Text{{"de", "Hallo"}}},
		{"with what is no language", "text/plain", "d\u00e9", "Hallo", []Text{{"", "Hallo"}}},
		{"nothing", "text/plain", "", "", []Text{{"", ""}}},
		{"line ends of all kinds", "text/plain", "", "a\r\nb\rc\nd", []Text{{"", "a\nb\nc\nd"}}},
		{"what XML cannot carry", "text/plain", "", "a\x00b\x1b\uFFFE\uFFFFc\xffd\te", []Text{{"", "a\ufffdb\ufffd\ufffd\ufffdc\ufffdd\te"}}},
		{"half a character", "text/plain", "", "a\xf0\x9f\x91", []Text{{"", "a\ufffd\ufffd\ufffd"}}},
		{"Latin 1", "text/plain; charset=iso-8859-1", "", "Gr\xfc\xdfe \x80", []Text{{"", "Grüße \u0080"}}},
		{"Windows", `text/plain; charset="Windows-1252"`, "", "\x80 \x93x\x94", []Text{{"", "€ “x”"}}},
		{"ASCII", "text/plain; charset=us-ascii", "", "plain", []Text{{"", "plain"}}},
		{"with how it looks", "text/plain; charset=UTF-8; msgr=WAAtAE0ATQBTAC0ASQBNAC0A/+==", "", "hi", []Text{{"", "hi"}}},
		{"HTML", "text/html; charset=utf-8", "", "<p>Hello <b>you</b></p>", []Text{{"", "Hello you"}}},
		{"two parts", "multipart/mixed; boundary=x", "", crlf("--x", "Content-Type: text/plain", "", "one", "--x", "", "two", "--x--"),
			[]Text{{"", "one\ntwo"}}},
		{"with a picture that may be left out", "multipart/mixed; boundary=x", "", crlf("--x", "", "one",
			"--x", "Content-Type: image/png", "Content-Disposition: inline; handling=optional", "", "PNG", "--x--"), []Text{{"", "one"}}},
		{"the plain one of two", `multipart/alternative; boundary="x y"`, "", crlf("--x y", "Content-Type: text/html", "", "<b>rich</b>",
			"--x y", "Content-Type: text/plain", "", "plain", "--x y", "Content-Type: text/rtf", "", "{\\rtf1}", "--x y--"), []Text{{"", "plain"}}},
		{"HTML if there is nothing else", "multipart/alternative; boundary=x", "", crlf("--x", "Content-Type: text/rtf", "", "{\\rtf1}",
			"--x", "Content-Type: text/html", "", "<b>rich</b>", "--x--"), []Text{{"", "rich"}}},
		{"in all languages", "multipart/alternative; boundary=x", "fr", crlf("--x", "Content-Language: en", "", "yes",
			"--x", "Content-Language: de", "", "ja", "--x", "", "oui", "--x", "Content-Language: DE", "Content-Type: text/html", "", "jawohl", "--x--"),
			[]Text{{"en", "yes"}, {"de", "ja"}, {"fr", "oui"}}},
		{"in one language, written in two ways", "multipart/mixed; boundary=x", "", crlf("--x", "Content-Language: de", "", "ja", "--x", "Content-Language: DE", "", "nein", "--x--"),
			[]Text{{"de", "ja\nnein"}}},
		{"one within the other", "multipart/alternative; boundary=x", "", crlf("--x", "Content-Type: application/pdf", "", "%PDF",
			"--x", "Content-Type: multipart/mixed; boundary=y", "", "--y", "", "inner", "--y--", "--x--"), []Text{{"", "inner"}}},
		{"coded", "multipart/mixed; boundary=x", "", crlf("--x", "Content-Transfer-Encoding: base64", "", base64.StdEncoding.EncodeToString([]byte("Grüße")),
			"--x", "Content-Transfer-Encoding: Quoted-Printable", "", "a=3Db", "--x--"), []Text{{"", "Grüße\na=b"}}},
		{"in a wrapper", "message/cpim", "", crlf("From: <sip:romeo@example.net>", "", "Content-Type: text/plain; charset=utf-8", "Content-Language: it", "", "ciao"),
			[]Text{{"it", "ciao"}}},
	} {
		p, err := Read(tt.kind, tt.lang, []byte(tt.body))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if d := cmp.Diff(tt.want, p.Texts); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

// nested is a body with n multiparts within each other.
func nested(n int) string {
	s := "Content-Type: text/plain\r\n\r\nx"
	for i := range n {
		s = fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n%s\r\n--b%d--", i, i, s, i)
	}
	return s
}

func TestABodyThatDoesNotCrossIsRefused(t *testing.T) {
	many := strings.Repeat("--x\r\n\r\na\r\n", maxParts+1) + "--x--"
	for _, tt := range []struct {
		name, kind, body string
		want             *Error
	}{
		{"rich text", "text/rtf", "{\\rtf1}", errMediaType},
		{"the invitation to a file", "text/x-msmsgsinvite; charset=UTF-8", "Application-Name: File Transfer", errMediaType},
		{"a picture", "image/png", "PNG", errMediaType},
		{"related parts", "multipart/related; boundary=x", "--x\r\n\r\na\r\n--x--", errMediaType},
		{"another receipt", "application/ms-imdn+xml", "<imdn/>", errMediaType},
		{"no type", "nonsense", "x", errMediaType},
		{"a strange character set", "text/plain; charset=utf-7", "x", errCharset},
		{"a strange encoding", "multipart/mixed; boundary=x", "--x\r\nContent-Transfer-Encoding: uuencode\r\n\r\na\r\n--x--", errCoding},
		{"a broken encoding", "multipart/mixed; boundary=x", "--x\r\nContent-Transfer-Encoding: base64\r\n\r\n!!\r\n--x--", ErrBroken},
		{"a picture beside the text", "multipart/mixed; boundary=x", "--x\r\n\r\na\r\n--x\r\nContent-Type: image/png\r\n\r\nb\r\n--x--", errMediaType},
		{"nothing but pictures", "multipart/alternative; boundary=x", "--x\r\nContent-Type: image/png\r\n\r\nb\r\n--x--", errMediaType},
		{"parts without a boundary", "multipart/mixed", "--x\r\n\r\na\r\n--x--", ErrBroken},
		{"parts that never end", "multipart/mixed; boundary=x", "--x\r\n\r\na", ErrBroken},
		{"no parts", "multipart/mixed; boundary=x", "--x--\r\n", ErrBroken},
		{"too many parts", "multipart/mixed; boundary=x", many, ErrBroken},
		{"too deep", "message/cpim", "\r\n" + nested(maxNested), ErrBroken},
		{"a wrapper in a wrapper", "message/cpim", "\r\nContent-Type: message/cpim\r\n\r\n\r\nContent-Type: text/plain\r\n\r\nx", ErrBroken},
		{"too much", "text/plain", strings.Repeat("a", maxBody+1), ErrTooLarge},
		{"a broken typing notice", "application/im-iscomposing+xml", "<isComposing/>", ErrBroken},
		{"a broken receipt", "message/imdn+xml", "<imdn xmlns='urn:ietf:params:xml:ns:imdn'/>", ErrBroken},
	} {
		p, err := Read(tt.kind, "", []byte(tt.body))
		var fault *Error
		if !errors.As(err, &fault) || fault != tt.want {
			t.Errorf("%s: %+v, %v; want %v", tt.name, p, err, tt.want)
		}
	}
	if _, err := Read("message/cpim", "", []byte("\r\n"+nested(maxNested-1))); err != nil {
		t.Errorf("deep enough: %v", err)
	}
}

func TestNothingStaysOfAPartThatIsLeftOut(t *testing.T) {
	wrapper := crlf("Content-Type: message/cpim", "Content-Disposition: inline; handling=optional", "", "From: <sip:eve@example.net>", "",
		"Content-Type: multipart/mixed; boundary=y", "", "--y", "", "her text", "--y", "Content-Type: image/png", "", "PNG", "--y--")
	for _, kind := range []string{"multipart/mixed; boundary=x", "multipart/alternative; boundary=x"} {
		inner := crlf("Content-Type: message/cpim", "", "From: <sip:romeo@example.net>", "", "Content-Type: text/plain", "", "one")
		// The last alternative is tried first.
		body := crlf("--x", inner, "--x", wrapper, "--x--")
		if strings.HasPrefix(kind, "multipart/mixed") {
			body = crlf("--x", wrapper, "--x", inner, "--x--")
		}
		p, err := Read(kind, "", []byte(body))
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if d := cmp.Diff([]Text{{"", "one"}}, p.Texts); d != "" || p.CPIM == nil || p.CPIM.From.URI != "sip:romeo@example.net" {
			t.Errorf("%s: wrapper %+v, -want +got:\n%s", kind, p.CPIM, d)
		}
	}
}

func TestLanguagesOfABodyAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range maxParts {
		fmt.Fprintf(&b, "--x\r\nContent-Language: l%d\r\n\r\na\r\n", i)
	}
	b.WriteString("--x--")
	p, err := Read("multipart/alternative; boundary=x", "", []byte(b.String()))
	if err == nil && len(p.Texts) != MaxTexts {
		t.Errorf("%d texts, want %d", len(p.Texts), MaxTexts)
	}
	if err != nil && err != error(ErrBroken) {
		t.Error(err)
	}
}

func TestNoticesAreNoText(t *testing.T) {
	p, err := Read("application/im-iscomposing+xml", "", []byte("<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'><state>active</state></isComposing>"))
	if err != nil || len(p.Texts) != 0 || p.Composing == nil || !p.Composing.Active {
		t.Errorf("typing: %+v, %v", p, err)
	}
	doc := (&IMDN{MessageID: "m1", Kind: "delivery", Status: "delivered"}).Append(nil)
	wrapped := (&CPIM{From: Party{URI: "sip:romeo@example.net"}, MessageID: "m2", ContentType: "message/imdn+xml", Disposition: "notification", Body: doc}).Append(nil)
	p, err = Read("Message/CPIM", "", wrapped)
	if err != nil || len(p.Texts) != 0 || p.IMDN == nil || p.IMDN.MessageID != "m1" || p.CPIM.MessageID != "m2" {
		t.Errorf("a receipt: %+v, %v", p, err)
	}
}

// isLongCPIM reports whether a wrapper is beyond the bounds of those that are read.
func isLongCPIM(wrapper []byte) bool {
	headers, content, _ := bytes.Cut(wrapper, []byte("\r\n\r\n"))
	content, _, _ = bytes.Cut(content, []byte("\r\n\r\n"))
	lines := bytes.Split(headers, []byte("\n"))
	return len(lines) >= maxCPIMHeaders || slices.ContainsFunc(append(lines, bytes.Split(content, []byte("\n"))...), func(line []byte) bool { return len(line) > maxCPIMLine })
}

// FuzzPayload: no body crashes the reader, and what comes of it XML can carry.
func FuzzPayload(f *testing.F) {
	f.Add("text/html", "<p>a<br>b<a href='https://example.com/'>c</a>")
	f.Add("multipart/alternative; boundary=x", crlf("--x", "Content-Type: text/html", "", "<b>rich</b>", "--x", "", "plain", "--x--"))
	f.Add("multipart/mixed; boundary=x", crlf("--x", "Content-Transfer-Encoding: base64", "", "SGk=", "--x--"))
	f.Add("message/cpim", crlf("From: A <sip:a@b.c>", "Subject:;lang=de x\\u00fcy", "", "Content-Type: text/plain", "", "b"))
	f.Add("message/cpim", crlf("From: A <a@b.c>", "To: \"B \"C\"\" <sip:b@b.c>", "imdn.Message-ID: \\m", "", "Content-Type: text/plain", "", "b"))
	f.Add("message/imdn+xml", string((&IMDN{MessageID: "m1", Kind: "display", Status: "displayed"}).Append(nil)))
	f.Add("application/im-iscomposing+xml", string((&Composing{Active: true, Refresh: refreshDefault}).Append(nil)))
	f.Add("text/plain; charset=windows-1252", "\x81\xfe")
	f.Add("text/html", "<a href='https://example.com/&#xFFFE;'>a")
	f.Add("multipart/mixed; boundary=x", crlf("--x", "", "plain", "--x", "Content-Type: message/cpim", "Content-Disposition: x;handling=optional", "",
		"From: <sip:a@b.c>", "", "Content-Type: \x01", "", "b", "--x--"))
	f.Add("message/cpim", strings.Repeat("To: <sip:a@b.c>\n", maxCPIMHeaders-2)+"imdn.Message-ID: x\n\nContent-Type: text/plain\n\n")
	f.Add("message/imdn+xml", string((&IMDN{MessageID: strings.Repeat("&", documentLimits.Stanza/8), Kind: "display", Status: "displayed"}).Append(nil)))
	f.Add("message/imdn+xml", "<imdn xmlns='"+nsIMDN+"'><message-id>"+strings.Repeat(">", documentLimits.Stanza/2)+"</message-id><delivery-notification><status><failed/></status></delivery-notification></imdn>")
	f.Fuzz(func(t *testing.T, kind, body string) {
		p, err := Read(kind, "", []byte(body))
		var fault *Error
		if err != nil {
			if !errors.As(err, &fault) {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, s := range p.Texts {
			if stanza.Clean(s.Text) != s.Text || !utf8.ValidString(s.Text) {
				t.Errorf("%q is no text of XML", s.Text)
			}
		}
		if c := p.CPIM; c != nil {
			wrapper := c.Append(nil)
			again, err := readCPIM(wrapper)
			if err != nil && isLongCPIM(wrapper) {
				return // what is written may be longer than what was read
			}
			if err != nil {
				t.Fatalf("%q cannot be read again: %v", wrapper, err)
			}
			if !bytes.Equal(again.Body, c.Body) || again.From != c.From || len(again.Subjects) != len(c.Subjects) || again.Notify != c.Notify && c.MessageID != "" {
				t.Errorf("%+v became %+v", c, again)
			}
		}
		if n := p.IMDN; n != nil && len(n.Append(nil)) <= documentLimits.Stanza {
			again, err := readIMDN(n.Append(nil))
			if err != nil || again.Status != n.Status || again.Means() != n.Means() {
				t.Errorf("%+v became %+v, %v", n, again, err)
			}
		}
		if c := p.Composing; c != nil && len(c.Append(nil)) <= documentLimits.Stanza {
			again, err := readComposing(c.Append(nil))
			if err != nil || again.Active != c.Active || c.Active && again.Refresh != c.Refresh {
				t.Errorf("%+v became %+v, %v", c, again, err)
			}
		}
	})
}
