package body

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAWrapperIsRead(t *testing.T) {
	got, err := readCPIM([]byte(crlf(
		`From: MR SANDERS <im:piglet@100akerwood.com>`,
		`To: "Depressed Donkey" <im:eeyore@100akerwood.com>`,
		`To: <im:tigger@100akerwood.com>`,
		`cc: <im:owl@100akerwood.com>`,
		`DateTime: 2000-12-13T13:40:00-08:00`,
		`Subject: the weather will be fine today`,
		`Subject:;lang=fr beau temps prevu pour aujourd'hui`,
		`NS: MyFeatures <mid:MessageFeatures@id.foo.com>`,
		`MyFeatures.WackyMessageOption: Use-silly-font`,
		`NS: x <urn:ietf:params:imdn>`,
		`x.Message-ID: 34jk324j`,
		`x.Disposition-Notification: positive-delivery;a=b , negative-delivery,processing, display, other`,
		`x.Original-To: <im:pooh@100akerwood.com>`,
		`x.IMDN-Record-Route: <sip:a.example>`,
		`x.IMDN-Record-Route: Relay <sip:b.example>`,
		`Require: x.Message-ID,From`,
		``,
		`Content-type: text/plain; charset=utf-8`,
		`Content-ID: <1234567890@foo.com>`,
		`Content-Language: en`,
		``,
		`Here is`,
		`the text.`)))
	if err != nil {
		t.Fatal(err)
	}
	want := &CPIM{
		From:        Party{"MR SANDERS", "im:piglet@100akerwood.com"},
		To:          []Party{{"Depressed Donkey", "im:eeyore@100akerwood.com"}, {"", "im:tigger@100akerwood.com"}},
		DateTime:    time.Date(2000, 12, 13, 21, 40, 0, 0, time.UTC),
		Subjects:    []Text{{"", "the weather will be fine today"}, {"fr", "beau temps prevu pour aujourd'hui"}},
		MessageID:   "34jk324j",
		Notify:      Delivered | Failed | Displayed,
		OriginalTo:  "im:pooh@100akerwood.com",
		RecordRoute: []string{"sip:a.example", "sip:b.example"},

		ContentType:     "text/plain; charset=utf-8",
		ContentLanguage: "en",
		Body:            []byte("Here is\r\nthe text."),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestAPartyWithoutURIIsNobody(t *testing.T) {
	for value, want := range map[string]Party{
		`A <a@b.c>`:             {},
		`A <>`:                  {},
		`A`:                     {},
		`A <sip:a@b.c`:          {},
		`"B "C"" <sip:a@b.c>`:   {"B 'C'", "sip:a@b.c"},
		`"B \"C\"" <sip:a@b.c>`: {"B 'C'", "sip:a@b.c"},
	} {
		if got := party(value); got != want {
			t.Errorf("%s is %+v, want %+v", value, got, want)
		}
	}
}

func TestAWrapperIsWritten(t *testing.T) {
	c := &CPIM{
		From:        Party{"Juliet \"J\"\r\nC", "sip:juliet@example.com"},
		To:          []Party{{"", "sip:romeo@example.net\r\n"}},
		DateTime:    time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)),
		Subjects:    []Text{{"", `a\b` + "\t\x01\x7f"}, {"de", "Größe"}},
		MessageID:   "m1",
		Notify:      Delivered | Displayed,
		Route:       []string{"sip:a.example"},
		ContentType: "text/plain;charset=UTF-8",
		Disposition: "notification",
		Body:        []byte("hi"),
	}
	want := crlf(
		`From: "Juliet 'J'\r\nC" <sip:juliet@example.com>`,
		`To: <sip:romeo@example.net>`,
		`DateTime: 2026-01-02T02:04:05Z`,
		`Subject: a\\b\t\u0001\u007f`,
		`Subject:;lang=de Größe`,
		`NS: imdn <urn:ietf:params:imdn>`,
		`imdn.Message-ID: m1`,
		`imdn.Disposition-Notification: positive-delivery, display`,
		`imdn.IMDN-Route: <sip:a.example>`,
		``,
		`Content-Type: text/plain;charset=UTF-8`,
		`Content-Disposition: notification`,
		`Content-Length: 2`,
		``,
		`hi`)
	got := string(c.Append(nil))
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	again, err := readCPIM([]byte(got))
	if err != nil {
		t.Fatal(err)
	}
	if again.From.Name != "Juliet 'J'\nC" || again.Subjects[0].Text != "a\\b\t\ufffd\x7f" || again.Route[0] != "sip:a.example" || again.Disposition != "notification" {
		t.Errorf("read again: %+v", again)
	}
}

func TestEscapesOfAWrapperAreUndone(t *testing.T) {
	for in, want := range map[string]string{
		`plain`:              "plain",
		`a\\b\"c\'d`:         `a\b"c'd`,
		`\b\t\n\r`:           "\b\t\n\r",
		`\u00fc\u20AC`:       "ü€",
		`\ud83d\udc4b!`:      "👋!",
		`\ud83d!`:            "\ufffd!",
		`\ud83d`:             "\ufffd",
		`\ud83d\ud83d\udc4b`: "\ufffd👋",
		`\udc4b`:             "\ufffd",
		`\u12`:               "u12",
		`\x\ü`:               "xü",
		`end\`:               "end",
		``:                   "",
	} {
		if got := unescapeCPIM(in); got != want {
			t.Errorf("unescapeCPIM(%s) = %q, want %q", in, got, want)
		}
	}
}

func TestAWrapperThatCannotBeTrustedIsRefused(t *testing.T) {
	const content = "\r\n\r\nContent-Type: text/plain\r\n\r\nx"
	for _, tt := range []struct {
		name, doc string
		want      *Error
	}{
		{"a feature that is not known", "NS: f <mid:f@example.com>\r\nRequire: f.Vital" + content, errRequired},
		{"a feature of nobody", "Require: g.Vital" + content, errRequired},
		{"a header of another namespace", "NS: <mid:f@example.com>\r\nRequire: From" + content, ErrBroken}, // Require itself is of that one
		{"two senders", "From: <sip:a@b.c>\r\nFrom: <sip:d@e.f>" + content, ErrBroken},
		{"no header", "nonsense" + content, ErrBroken},
		{"no name", ": x" + content, ErrBroken},
		{"no namespace", "NS: x" + content, ErrBroken},
		{"no end", "From: <sip:a@b.c>", ErrBroken},
		{"no content", "From: <sip:a@b.c>\r\n\r\n", ErrBroken},
		{"content without a type", "From: <sip:a@b.c>\r\n\r\nContent-ID: x\r\n\r\nx", ErrBroken},
		{"content of two types", "From: <sip:a@b.c>\r\n\r\nContent-Type: text/plain\r\ncontent-type: text/html\r\n\r\nx", ErrBroken},
		{"a line within a line", "From: <sip:a@b.c>\rTo: <sip:d@e.f>" + content, ErrBroken},
		{"not UTF-8", "Subject: \xff" + content, ErrBroken},
		{"too many headers", strings.Repeat("X: y\r\n", maxCPIMHeaders) + "X: y" + content, ErrBroken},
		{"a long line", "X: " + strings.Repeat("y", maxCPIMLine) + content, ErrBroken},
		{"nothing", "", ErrBroken},
	} {
		c, err := readCPIM([]byte(tt.doc))
		if tt.name == "a header of another namespace" {
			if err != nil || c.From.URI != "" {
				t.Errorf("%s: %+v, %v", tt.name, c, err)
			}
			continue
		}
		if err != error(tt.want) {
			t.Errorf("%s: %+v, %v; want %v", tt.name, c, err, tt.want)
		}
	}
	// What is broken names nobody.
	c, err := readCPIM([]byte("From: sip:a@b.c\r\nTo: <sip:a@b@c>\r\nDateTime: yesterday\r\nimdn.Message-ID: m" + content))
	if err != nil || c.From.URI != "" || c.To[0].URI != "" || !c.DateTime.IsZero() || c.MessageID != "m" {
		t.Errorf("broken values: %+v, %v", c, err)
	}
}

func TestAReceiptIsReadAndWritten(t *testing.T) {
	const doc = `<?xml version="1.0" encoding="UTF-8"?>
<imdn xmlns="urn:ietf:params:xml:ns:imdn">
  <message-id>34jk324j</message-id>
  <datetime>2008-04-04T12:16:49-05:00</datetime>
  <recipient-uri>im:bob@example.com</recipient-uri>
  <original-recipient-uri
    >im:bobby@example.com</original-recipient-uri>
  <subject>hello</subject>
  <delivery-notification>
    <status>
      <delivered/>
    </status>
  </delivery-notification>
</imdn>`
	want := &IMDN{MessageID: "34jk324j", DateTime: time.Date(2008, 4, 4, 17, 16, 49, 0, time.UTC), Recipient: "im:bob@example.com",
		Original: "im:bobby@example.com", Subject: "hello", Kind: "delivery", Status: "delivered"}
	got, err := readIMDN([]byte(doc))
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("-want +got:\n%s%v", d, err)
	}
	again, err := readIMDN(got.Append(nil))
	if d := cmp.Diff(want, again); d != "" || err != nil {
		t.Errorf("read again (-want +got):\n%s%v", d, err)
	}
	const written = "<?xml version='1.0' encoding='UTF-8'?>\r\n<imdn xmlns='urn:ietf:params:xml:ns:imdn'><message-id>m&lt;1</message-id>" +
		"<datetime>1970-01-01T00:00:00Z</datetime><display-notification><status><displayed/></status></display-notification></imdn>"
	if s := string((&IMDN{MessageID: "m<1", Kind: "display", Status: "displayed"}).Append(nil)); s != written {
		t.Errorf("got  %s\nwant %s", s, written)
	}
	for _, broken := range []string{
		"", "x", "<imdn/>", `<imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>m</message-id></imdn>`,
		`<imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>m</message-id><delivery-notification/></imdn>`,
		`<imdn xmlns="urn:ietf:params:xml:ns:imdn"><delivery-notification><status><delivered/></status></delivery-notification></imdn>`,
		`<!DOCTYPE imdn><imdn xmlns="urn:ietf:params:xml:ns:imdn"/>`,
		strings.Replace(doc, "</imdn>", "<display-notification><status><displayed/></status></display-notification></imdn>", 1),
		strings.Replace(doc, "34jk324j", strings.Repeat("a", documentLimits.Stanza), 1),
	} {
		if n, err := readIMDN([]byte(broken)); err != error(ErrBroken) {
			t.Errorf("%.80q: %+v, %v", broken, n, err)
		}
	}
}

func TestAReceiptMeansSomething(t *testing.T) {
	for _, tt := range []struct {
		kind, status string
		means        Fates
	}{
		{"delivery", "delivered", Delivered},
		{"delivery", "failed", Failed},
		{"delivery", "error", Failed},
		{"delivery", "forbidden", Failed},
		{"delivery", "displayed", 0},
		{"display", "displayed", Displayed},
		{"display", "error", 0}, // the message is there, and whether it was read nobody says
		{"display", "forbidden", 0},
		{"processing", "processed", 0},
		{"processing", "stored", 0},
		{"processing", "error", 0},
		{"other", "delivered", 0},
	} {
		if n := (&IMDN{Kind: tt.kind, Status: tt.status}); n.Means() != tt.means {
			t.Errorf("%s, %s: %v, want %v", tt.kind, tt.status, n.Means(), tt.means)
		}
	}
}

func TestATypingNoticeIsReadAndWritten(t *testing.T) {
	const doc = `<?xml version="1.0" encoding="UTF-8"?>
    <isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:schemaLocation="urn:ietf:params:xml:ns:im-composing
    iscomposing.xsd">
      <state> active </state>
      <lastactive>2003-01-27T10:43:00Z</lastactive>
      <contenttype>text/plain</contenttype>
      <refresh>90</refresh>
    </isComposing>`
	want := &Composing{Active: true, Refresh: 90 * time.Second, LastActive: time.Date(2003, 1, 27, 10, 43, 0, 0, time.UTC), ContentType: "text/plain"}
	got, err := readComposing([]byte(doc))
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Fatalf("-want +got:\n%s%v", d, err)
	}
	again, err := readComposing(got.Append(nil))
	if d := cmp.Diff(want, again); d != "" || err != nil {
		t.Errorf("read again (-want +got):\n%s%v", d, err)
	}
	for _, tt := range []struct {
		inner   string
		active  bool
		refresh time.Duration
	}{
		{"<state>active</state>", true, refreshDefault},
		{"<state>idle</state>", false, refreshDefault},
		{"<state>thinking</state>", false, refreshDefault},
		{"<state>active</state><refresh>1</refresh>", true, refreshLeast},
		{"<state>active</state><refresh>999999</refresh>", true, refreshMost},
		{"<state>active</state><refresh>99999999999999999999</refresh>", true, refreshDefault},
		{"<state>active</state><refresh>-1</refresh>", true, refreshDefault},
		{"<state>active</state><refresh>0</refresh>", true, refreshDefault},
		{"<state>active</state><x xmlns='urn:x'><y/></x>", true, refreshDefault},
	} {
		c, err := readComposing([]byte("<isComposing xmlns='" + nsComposing + "'>" + tt.inner + "</isComposing>"))
		if err != nil || c.Active != tt.active || c.Refresh != tt.refresh {
			t.Errorf("%s: %+v, %v", tt.inner, c, err)
		}
	}
	const idle = "<?xml version='1.0' encoding='UTF-8'?>\r\n<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'><state>idle</state></isComposing>"
	if s := string((&Composing{Refresh: time.Minute}).Append(nil)); s != idle {
		t.Errorf("got  %s\nwant %s", s, idle)
	}
	for _, broken := range []string{"", "<isComposing/>", "<isComposing xmlns='" + nsComposing + "'/>", "<a><b></a>"} {
		if c, err := readComposing([]byte(broken)); err != error(ErrBroken) {
			t.Errorf("%q: %+v, %v", broken, c, err)
		}
	}
}

func TestMicrosoftsTypingNoticeIsReadAndWritten(t *testing.T) {
	for doc, active := range map[string]bool{
		`<?xml version="1.0"?><KeyboardActivity><status status="type" /></KeyboardActivity>`: true,
		`<KeyboardActivity><status status="idle"/></KeyboardActivity>`:                       false,
	} {
		c, err := ReadKeyboard([]byte(doc))
		if err != nil || c.Active != active {
			t.Errorf("%s: %+v, %v", doc, c, err)
			continue
		}
		if again, err := ReadKeyboard(c.AppendKeyboard(nil)); err != nil || again.Active != active {
			t.Errorf("read again: %+v, %v", again, err)
		}
	}
	const want = "<?xml version='1.0' encoding='UTF-8'?>\r\n<KeyboardActivity><status status='type'/></KeyboardActivity>"
	if s := string((&Composing{Active: true}).AppendKeyboard(nil)); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	for _, broken := range []string{"", "<KeyboardActivity/>", "<status/>"} {
		if c, err := ReadKeyboard([]byte(broken)); err == nil {
			t.Errorf("%q: %+v", broken, c)
		}
	}
}

// FuzzCPIM: what a header says comes through escapes as it was.
func FuzzCPIM(f *testing.F) {
	f.Add("a\\b\t\r\n\x01 ü👋")
	f.Fuzz(func(t *testing.T, s string) {
		escaped := string(appendCPIM(nil, s))
		if strings.ContainsAny(escaped, "\r\n\t\b\x00\x7f") {
			t.Fatalf("%q", escaped)
		}
		if got := unescapeCPIM(escaped); got != string([]rune(s)) {
			t.Errorf("%q -> %q -> %q", s, escaped, got)
		}
		unescapeCPIM(s)
		if c, err := readCPIM([]byte(s)); err == nil {
			c.Append(nil)
		}
	})
}

// FuzzDocuments: no document crashes its reader, and each that is read can be
// written and read again.
func FuzzDocuments(f *testing.F) {
	f.Add((&IMDN{MessageID: "m", Kind: "delivery", Status: "failed"}).Append(nil))
	f.Add((&Composing{Active: true, Refresh: time.Minute}).Append(nil))
	f.Add((&Composing{Active: true}).AppendKeyboard(nil))
	f.Add([]byte("<imdn xmlns='" + nsIMDN + "'><message-id>" + strings.Repeat(">", documentLimits.Stanza/2) + "</message-id><x-notification><status><y/></status></x-notification></imdn>"))
	f.Add([]byte("<isComposing xmlns='" + nsComposing + "'><state>idle</state><lastactive>0001-01-01T00:00:00+01:00</lastactive><contenttype>&#13;a</contenttype></isComposing>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		// What is written may be longer than what was read, and beyond the bound.
		if n, err := readIMDN(b); err == nil && len(n.Append(nil)) <= documentLimits.Stanza {
			again, err := readIMDN(n.Append(nil))
			if err != nil || again.MessageID != n.MessageID || again.Status != n.Status {
				t.Errorf("%+v became %+v, %v", n, again, err)
			}
		}
		if c, err := readComposing(b); err == nil && len(c.Append(nil)) <= documentLimits.Stanza {
			again, err := readComposing(c.Append(nil))
			if err != nil || again.Active != c.Active || !again.LastActive.Equal(c.LastActive.Truncate(time.Second)) || again.ContentType != c.ContentType {
				t.Errorf("%+v became %+v, %v", c, again, err)
			}
		}
		if c, err := ReadKeyboard(b); err == nil {
			if again, err := ReadKeyboard(c.AppendKeyboard(nil)); err != nil || again.Active != c.Active {
				t.Errorf("%+v became %+v, %v", c, again, err)
			}
		}
	})
}
