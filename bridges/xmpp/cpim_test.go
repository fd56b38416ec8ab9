package xmpp

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
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
	want := &cpim{
		From:        cpimParty{"MR SANDERS", "im:piglet@100akerwood.com"},
		To:          []cpimParty{{"Depressed Donkey", "im:eeyore@100akerwood.com"}, {"", "im:tigger@100akerwood.com"}},
		DateTime:    time.Date(2000, 12, 13, 21, 40, 0, 0, time.UTC),
		Subjects:    []text{{"", "the weather will be fine today"}, {"fr", "beau temps prevu pour aujourd'hui"}},
		MessageID:   "34jk324j",
		Notify:      notifyDelivered | notifyFailed | notifyDisplayed,
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
	for value, want := range map[string]cpimParty{
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
	c := &cpim{
		From:        cpimParty{"Juliet \"J\"\r\nC", "sip:juliet@example.com"},
		To:          []cpimParty{{"", "sip:romeo@example.net\r\n"}},
		DateTime:    time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)),
		Subjects:    []text{{"", `a\b` + "\t\x01\x7f"}, {"de", "Größe"}},
		MessageID:   "m1",
		Notify:      notifyDelivered | notifyDisplayed,
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
	got := string(c.append(nil))
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

func TestAWrapperNamesItsRealSender(t *testing.T) {
	for from, want := range map[string]bool{
		"":                                     true,
		"From: <sip:romeo@example.net>":        true,
		"From: <im:Romeo@example.net>":         true,
		"From: R <sip:romeo@example.net;gr=x>": true,
		"From: <sip:+15551234567@example.net;user=phone>": true,
		"From: <sip:anonymous@anonymous.invalid>":         true,
		"From: <sip:tybalt@example.net>":                  false,
		"From: <sip:romeo@example.com>":                   false,
		"From: <sips:romeo@example.net>":                  false,
		"From: <mailto:romeo@example.net>":                false,
	} {
		c, err := readCPIM([]byte(from + "\r\n\r\nContent-Type: text/plain\r\n\r\nx"))
		if from == "" {
			c, err = readCPIM([]byte("\r\nContent-Type: text/plain\r\n\r\nx"))
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := c.isFrom(new(addresses), "sip:romeo@example.net;transport=tls", "sip:+15551234567@example.net"); got != want {
			t.Errorf("%q is of Romeo: %v", from, got)
		}
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
		want      *bodyError
	}{
		{"a feature that is not known", "NS: f <mid:f@example.com>\r\nRequire: f.Vital" + content, errRequired},
		{"a feature of nobody", "Require: g.Vital" + content, errRequired},
		{"a header of another namespace", "NS: <mid:f@example.com>\r\nRequire: From" + content, errBody}, // Require itself is of that one
		{"two senders", "From: <sip:a@b.c>\r\nFrom: <sip:d@e.f>" + content, errBody},
		{"no header", "nonsense" + content, errBody},
		{"no name", ": x" + content, errBody},
		{"no namespace", "NS: x" + content, errBody},
		{"no end", "From: <sip:a@b.c>", errBody},
		{"no content", "From: <sip:a@b.c>\r\n\r\n", errBody},
		{"content without a type", "From: <sip:a@b.c>\r\n\r\nContent-ID: x\r\n\r\nx", errBody},
		{"content of two types", "From: <sip:a@b.c>\r\n\r\nContent-Type: text/plain\r\ncontent-type: text/html\r\n\r\nx", errBody},
		{"a line within a line", "From: <sip:a@b.c>\rTo: <sip:d@e.f>" + content, errBody},
		{"not UTF-8", "Subject: \xff" + content, errBody},
		{"too many headers", strings.Repeat("X: y\r\n", maxCPIMHeaders) + "X: y" + content, errBody},
		{"a long line", "X: " + strings.Repeat("y", maxCPIMLine) + content, errBody},
		{"nothing", "", errBody},
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
	want := &imdn{MessageID: "34jk324j", DateTime: time.Date(2008, 4, 4, 17, 16, 49, 0, time.UTC), Recipient: "im:bob@example.com",
		Original: "im:bobby@example.com", Subject: "hello", Kind: "delivery", Status: "delivered"}
	got, err := readIMDN([]byte(doc))
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("-want +got:\n%s%v", d, err)
	}
	again, err := readIMDN(got.append(nil))
	if d := cmp.Diff(want, again); d != "" || err != nil {
		t.Errorf("read again (-want +got):\n%s%v", d, err)
	}
	const written = "<?xml version='1.0' encoding='UTF-8'?>\r\n<imdn xmlns='urn:ietf:params:xml:ns:imdn'><message-id>m&lt;1</message-id>" +
		"<datetime>1970-01-01T00:00:00Z</datetime><display-notification><status><displayed/></status></display-notification></imdn>"
	if s := string((&imdn{MessageID: "m<1", Kind: "display", Status: "displayed"}).append(nil)); s != written {
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
		if n, err := readIMDN([]byte(broken)); err != error(errBody) {
			t.Errorf("%.80q: %+v, %v", broken, n, err)
		}
	}
}

func TestAReceiptMeansSomethingInXMPP(t *testing.T) {
	for _, tt := range []struct {
		kind, status string
		means        notify
		condition    string
	}{
		{"delivery", "delivered", notifyDelivered, ""},
		{"delivery", "failed", notifyFailed, "recipient-unavailable wait"},
		{"delivery", "error", notifyFailed, "undefined-condition cancel"},
		{"delivery", "forbidden", notifyFailed, "forbidden auth"},
		{"delivery", "displayed", 0, ""},
		{"display", "displayed", notifyDisplayed, ""},
		{"display", "error", 0, ""}, // the message is there, and whether it was read nobody says
		{"display", "forbidden", 0, ""},
		{"processing", "processed", 0, ""},
		{"processing", "stored", 0, ""},
		{"processing", "error", 0, ""},
		{"other", "delivered", 0, ""},
	} {
		n := &imdn{Kind: tt.kind, Status: tt.status}
		got := ""
		if e := n.stanzaError(); e != nil {
			got = e.Condition + " " + e.Type
		}
		if n.means() != tt.means || got != tt.condition {
			t.Errorf("%s, %s: %v, %q; want %v, %q", tt.kind, tt.status, n.means(), got, tt.means, tt.condition)
		}
	}
	for condition, want := range map[string]string{
		"forbidden": "forbidden", "not-allowed": "forbidden", "recipient-unavailable": "failed", "item-not-found": "failed",
		"internal-server-error": "error", "undefined-condition": "error",
	} {
		if got := failureStatus(&stanza.Error{Condition: condition}); got != want {
			t.Errorf("%s: %s, want %s", condition, got, want)
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
	want := &composing{Active: true, Refresh: 90 * time.Second, LastActive: time.Date(2003, 1, 27, 10, 43, 0, 0, time.UTC), ContentType: "text/plain"}
	got, err := readComposing([]byte(doc))
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Fatalf("-want +got:\n%s%v", d, err)
	}
	again, err := readComposing(got.append(nil))
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
	if s := string((&composing{Refresh: time.Minute}).append(nil)); s != idle {
		t.Errorf("got  %s\nwant %s", s, idle)
	}
	for _, broken := range []string{"", "<isComposing/>", "<isComposing xmlns='" + nsComposing + "'/>", "<a><b></a>"} {
		if c, err := readComposing([]byte(broken)); err != error(errBody) {
			t.Errorf("%q: %+v, %v", broken, c, err)
		}
	}
}

func TestMicrosoftsTypingNoticeIsReadAndWritten(t *testing.T) {
	for doc, active := range map[string]bool{
		`<?xml version="1.0"?><KeyboardActivity><status status="type" /></KeyboardActivity>`: true,
		`<KeyboardActivity><status status="idle"/></KeyboardActivity>`:                       false,
	} {
		c, err := readKeyboard([]byte(doc))
		if err != nil || c.Active != active {
			t.Errorf("%s: %+v, %v", doc, c, err)
			continue
		}
		if again, err := readKeyboard(c.appendKeyboard(nil)); err != nil || again.Active != active {
			t.Errorf("read again: %+v, %v", again, err)
		}
	}
	const want = "<?xml version='1.0' encoding='UTF-8'?>\r\n<KeyboardActivity><status status='type'/></KeyboardActivity>"
	if s := string((&composing{Active: true}).appendKeyboard(nil)); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	for _, broken := range []string{"", "<KeyboardActivity/>", "<status/>"} {
		if c, err := readKeyboard([]byte(broken)); err == nil {
			t.Errorf("%q: %+v", broken, c)
		}
	}
}

func TestTimesAreWrittenAndRead(t *testing.T) {
	want := time.Date(2002, 9, 10, 23, 8, 25, 0, time.UTC)
	for _, s := range []string{"2002-09-10T23:08:25Z", "2002-09-11T01:08:25+02:00", " 2002-09-10T23:08:25Z "} {
		if got, ok := parseStamp(s); !ok || !got.Equal(want) {
			t.Errorf("parseStamp(%s) = %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "20020910T23:08:25", "2002-09-10", "yesterday", "0001-01-01T00:00:00Z",
		"9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00", "0000-06-01T00:00:00Z"} {
		if got, ok := parseStamp(s); ok || !got.IsZero() {
			t.Errorf("parseStamp(%q) = %v", s, got)
		}
	}
	if got := stamp(want.In(time.FixedZone("", 7200))); got != "2002-09-10T23:08:25Z" {
		t.Errorf("stamp = %s", got)
	}
	const value = "Tue, 10 Sep 2002 23:08:25 GMT"
	if got := date(want.In(time.FixedZone("", 7200))); got != value {
		t.Errorf("date = %s", got)
	}
	if got, ok := parseDate(value); !ok || !got.Equal(want) {
		t.Errorf("parseDate = %v, %v", got, ok)
	}
	if got, ok := parseDate("Tue, 10 Sep 2002 23:08:25 +0200"); ok {
		t.Errorf("a date that is not GMT is %v", got)
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
			c.append(nil)
		}
	})
}

// FuzzDocuments: no document crashes its reader, and each that is read can be
// written and read again.
func FuzzDocuments(f *testing.F) {
	f.Add((&imdn{MessageID: "m", Kind: "delivery", Status: "failed"}).append(nil))
	f.Add((&composing{Active: true, Refresh: time.Minute}).append(nil))
	f.Add((&composing{Active: true}).appendKeyboard(nil))
	f.Add([]byte("<imdn xmlns='" + nsIMDN + "'><message-id>" + strings.Repeat(">", documentLimits.Stanza/2) + "</message-id><x-notification><status><y/></status></x-notification></imdn>"))
	f.Add([]byte("<isComposing xmlns='" + nsComposing + "'><state>idle</state><lastactive>0001-01-01T00:00:00+01:00</lastactive><contenttype>&#13;a</contenttype></isComposing>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		// What is written may be longer than what was read, and beyond the bound.
		if n, err := readIMDN(b); err == nil && len(n.append(nil)) <= documentLimits.Stanza {
			again, err := readIMDN(n.append(nil))
			if err != nil || again.MessageID != n.MessageID || again.Status != n.Status {
				t.Errorf("%+v became %+v, %v", n, again, err)
			}
		}
		if c, err := readComposing(b); err == nil && len(c.append(nil)) <= documentLimits.Stanza {
			again, err := readComposing(c.append(nil))
			if err != nil || again.Active != c.Active || !again.LastActive.Equal(c.LastActive.Truncate(time.Second)) || again.ContentType != c.ContentType {
				t.Errorf("%+v became %+v, %v", c, again, err)
			}
		}
		if c, err := readKeyboard(b); err == nil {
			if again, err := readKeyboard(c.appendKeyboard(nil)); err != nil || again.Active != c.Active {
				t.Errorf("%+v became %+v, %v", c, again, err)
			}
		}
	})
}
