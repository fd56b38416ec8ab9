package xmpp

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/sip"
)

func TestAStanzaErrorBecomesAStatus(t *testing.T) {
	const contact = "<sip:juliet@fabrikam.example>"
	for _, tt := range []struct {
		e                *stanza.Error
		full, bare, sole int    // for a full JID, a bare one, and one that nobody else answers for
		field, value     string // that goes along with all of them
	}{
		{&stanza.Error{Condition: "bad-request", Type: "modify"}, 400, 400, 400, "", ""},
		{&stanza.Error{Condition: "conflict", Type: "cancel"}, 400, 400, 400, "", ""},
		{&stanza.Error{Condition: "feature-not-implemented", Type: "cancel"}, 405, 501, 501, "", ""},
		{&stanza.Error{Condition: "forbidden", Type: "auth"}, 403, 403, 603, "", ""},
		{&stanza.Error{Condition: "gone", Type: "cancel", To: "xmpp:juliet@fabrikam.example"}, 301, 301, 301, "Contact", contact},
		{&stanza.Error{Condition: "gone", Type: "cancel"}, 410, 410, 410, "", ""},
		{&stanza.Error{Condition: "gone", Type: "cancel", To: "http://example.com/"}, 410, 410, 410, "", ""},
		{&stanza.Error{Condition: "internal-server-error", Type: "cancel"}, 500, 500, 500, "", ""},
		{&stanza.Error{Condition: "internal-server-error", Type: "wait"}, 500, 500, 500, "Retry-After", "60"},
		{&stanza.Error{Condition: "item-not-found", Type: "cancel"}, 404, 404, 604, "", ""},
		{&stanza.Error{Condition: "jid-malformed", Type: "modify"}, 400, 400, 400, "", ""},
		{&stanza.Error{Condition: "not-acceptable", Type: "modify"}, 406, 406, 606, "", ""},
		{&stanza.Error{Condition: "not-allowed", Type: "cancel"}, 403, 403, 403, "", ""},
		{&stanza.Error{Condition: "not-authorized", Type: "auth"}, 403, 403, 403, "", ""},
		{&stanza.Error{Condition: "policy-violation", Type: "modify"}, 403, 403, 403, "", ""},
		{&stanza.Error{Condition: "policy-violation", Type: "wait", Text: "Not so fast"}, 403, 403, 403, "", ""},
		{&stanza.Error{Condition: "policy-violation", Type: "modify", Text: "Stanza size limit exceeded"}, 413, 413, 413, "", ""},
		{&stanza.Error{Condition: "recipient-unavailable", Type: "wait"}, 480, 480, 600, "Retry-After", "60"},
		{&stanza.Error{Condition: "recipient-unavailable", Type: "cancel"}, 480, 480, 600, "Retry-After", "60"},
		{&stanza.Error{Condition: "redirect", Type: "modify", To: "xmpp:juliet@fabrikam.example"}, 302, 302, 302, "Contact", contact},
		{&stanza.Error{Condition: "redirect", Type: "modify", To: "juliet@fabrikam.example"}, 302, 302, 302, "Contact", contact},
		{&stanza.Error{Condition: "redirect", Type: "modify"}, 480, 480, 480, "", ""},
		{&stanza.Error{Condition: "registration-required", Type: "auth"}, 403, 403, 403, "", ""},
		{&stanza.Error{Condition: "remote-server-not-found", Type: "cancel"}, 404, 404, 404, "", ""},
		{&stanza.Error{Condition: "remote-server-timeout", Type: "wait"}, 408, 408, 408, "", ""},
		{&stanza.Error{Condition: "resource-constraint", Type: "wait"}, 500, 500, 500, "Retry-After", "60"},
		{&stanza.Error{Condition: "service-unavailable", Type: "cancel"}, 403, 403, 403, "", ""},
		{&stanza.Error{Condition: "subscription-required", Type: "auth"}, 400, 400, 400, "", ""},
		{&stanza.Error{Condition: "undefined-condition", Type: "cancel"}, 400, 400, 400, "", ""},
		{&stanza.Error{Condition: "unexpected-request", Type: "wait"}, 491, 491, 491, "", ""},
		{&stanza.Error{Condition: "unexpected-request", Type: "modify"}, 400, 400, 400, "", ""},
		{&stanza.Error{Condition: "not-in-any-standard"}, 400, 400, 400, "", ""},
		{&stanza.Error{}, 400, 400, 400, "", ""},
	} {
		for _, c := range []struct {
			full, sole bool
			want       int
		}{{true, false, tt.full}, {true, true, tt.full}, {false, false, tt.bare}, {false, true, tt.sole}} {
			resp := statusOf(tt.e, c.full, c.sole, new(address.Table))
			if resp.Status != c.want {
				t.Errorf("%+v, full %v, sole %v: %d, want %d", tt.e, c.full, c.sole, resp.Status, c.want)
			}
			fields := bridges.Fields{}
			if tt.field != "" {
				fields = append(fields, bridges.Field{Name: tt.field, Value: tt.value})
			}
			if resp.Status == 405 {
				fields = append(fields, bridges.Field{Name: "Allow", Value: allowed})
			}
			if fmt.Sprint(resp.Fields) != fmt.Sprint(fields) {
				t.Errorf("%+v, full %v, sole %v: %v, want %v", tt.e, c.full, c.sole, resp.Fields, fields)
			}
		}
	}
}

func TestNoConditionBecomesAServerThatIsUnavailable(t *testing.T) {
	for name := range everyCondition() {
		for _, kind := range []string{"", "auth", "cancel", "continue", "modify", "wait"} {
			for i := range 4 {
				resp := statusOf(&stanza.Error{Condition: name, Type: kind}, i&1 != 0, i&2 != 0, new(address.Table))
				if resp.Status == 503 || resp.Status == 401 || resp.Status == 407 || resp.Status < 300 || resp.Status > 699 {
					t.Errorf("%s of type %q is %d", name, kind, resp.Status)
				}
			}
		}
	}
}

// everyCondition are those of RFC 6120 §8.3.3.
func everyCondition() map[string]bool {
	all := map[string]bool{}
	for _, name := range strings.Fields(`bad-request conflict feature-not-implemented forbidden gone
		internal-server-error item-not-found jid-malformed not-acceptable not-allowed not-authorized policy-violation
		recipient-unavailable redirect registration-required remote-server-not-found remote-server-timeout
		resource-constraint service-unavailable subscription-required undefined-condition unexpected-request`) {
		all[name] = true
	}
	return all
}

func TestAStatusBecomesAStanzaError(t *testing.T) {
	contact := bridges.Field{Name: "Contact", Value: `"Juliet, C." <sip:o'malley@fabrikam.example;gr=x>;q=1`}
	retry := bridges.Field{Name: "Retry-After", Value: "120"}
	const to = "xmpp:o%5C27malley@fabrikam.example/x"
	for _, tt := range []struct {
		status int
		fields bridges.Fields
		want   string
	}{
		{200, nil, ""},
		{202, nil, ""},
		{300, bridges.Fields{contact}, "redirect modify " + to},
		{301, bridges.Fields{contact}, "gone cancel " + to},
		{301, nil, "gone cancel"},
		{302, bridges.Fields{contact}, "redirect modify " + to},
		{302, nil, "recipient-unavailable wait"},
		{302, bridges.Fields{{Name: "Contact", Value: "<sip:alice@10.0.0.5>"}}, "recipient-unavailable wait"},
		{302, bridges.Fields{{Name: "Contact", Value: "<sips:alice@example.net>"}}, "recipient-unavailable wait"},
		{302, bridges.Fields{{Name: "Contact", Value: "sip:, alice, sip:alice@192.0.2.1, <sip:bob@example.net>"}}, "redirect modify xmpp:bob@example.net"},
		{305, bridges.Fields{contact}, "redirect modify " + to},
		{399, bridges.Fields{contact}, "redirect modify " + to},
		{380, bridges.Fields{contact}, "not-acceptable modify"},
		{400, nil, "bad-request modify"},
		{401, nil, "not-authorized auth"},
		{402, nil, "bad-request modify"},
		{403, nil, "forbidden auth"},
		{404, nil, "item-not-found cancel"},
		{404, bridges.Fields{retry}, "item-not-found cancel"},
		{405, nil, "feature-not-implemented cancel"},
		{406, nil, "not-acceptable modify"},
		{407, nil, "registration-required auth"},
		{408, nil, "remote-server-timeout wait"},
		{410, nil, "gone cancel"},
		{413, nil, "policy-violation modify"},
		{413, bridges.Fields{retry}, "policy-violation wait"},
		{414, nil, "policy-violation modify"},
		{415, nil, "not-acceptable modify"},
		{416, nil, "not-acceptable modify"},
		{417, nil, "bad-request modify"},
		{420, nil, "feature-not-implemented cancel"},
		{421, nil, "not-acceptable modify"},
		{422, nil, "bad-request modify"},
		{423, nil, "resource-constraint wait"},
		{430, nil, "recipient-unavailable wait"},
		{439, nil, "feature-not-implemented cancel"},
		{440, nil, "policy-violation modify"},
		{480, nil, "recipient-unavailable wait"},
		{481, nil, "item-not-found cancel"},
		{482, nil, "not-acceptable modify"},
		{483, nil, "not-acceptable modify"},
		{484, nil, "item-not-found cancel"},
		{485, nil, "item-not-found cancel"},
		{486, nil, "recipient-unavailable wait"},
		{487, nil, "recipient-unavailable wait"},
		{488, nil, "not-acceptable modify"},
		{489, nil, "policy-violation modify"},
		{491, nil, "unexpected-request wait"},
		{493, nil, "bad-request modify"},
		{499, nil, "bad-request modify"},
		{500, nil, "internal-server-error cancel"},
		{500, bridges.Fields{retry}, "internal-server-error wait"},
		{501, nil, "feature-not-implemented cancel"},
		{502, nil, "remote-server-not-found cancel"},
		{503, nil, "internal-server-error cancel"},
		{503, bridges.Fields{retry}, "internal-server-error wait"},
		{504, nil, "remote-server-timeout wait"},
		{505, nil, "not-acceptable modify"},
		{513, nil, "policy-violation modify"},
		{580, nil, "internal-server-error cancel"},
		{600, nil, "recipient-unavailable wait"},
		{603, nil, "recipient-unavailable wait"},
		{604, nil, "item-not-found cancel"},
		{606, nil, "not-acceptable modify"},
		{607, nil, "recipient-unavailable wait"},
		{699, nil, "recipient-unavailable wait"},
	} {
		e := conditionOf(&bridges.Response{Status: tt.status, Fields: tt.fields}, new(address.Table))
		got := ""
		if e != nil {
			got = strings.TrimSpace(e.Condition + " " + e.Type + " " + e.To)
			if !everyCondition()[e.Condition] {
				t.Errorf("%d: %q is no condition", tt.status, e.Condition)
			}
		}
		if got != tt.want {
			t.Errorf("%d %v is %q, want %q", tt.status, tt.fields, got, tt.want)
		}
	}
}

func TestWhatOurOwnEndSaysIsToldApart(t *testing.T) {
	for status, want := range map[int]string{
		403: "not-allowed cancel",
		404: "remote-server-not-found cancel",
		408: "remote-server-timeout wait",
		503: "internal-server-error wait",
	} {
		e := conditionOf(&bridges.Response{Status: status, Local: true}, new(address.Table))
		if got := e.Condition + " " + e.Type; got != want {
			t.Errorf("our own %d is %q, want %q", status, got, want)
		}
	}
}

func TestTheTextGoesAlongAndIsHarmless(t *testing.T) {
	long := strings.Repeat("ü", 200)
	for text, want := range map[string]string{
		"":                                "",
		"User is not here":                "User is not here",
		" a\r\nVia: x\tb  c\x00":          "a Via: x b c",
		"say \"no\" <b>\\":                "say 'no' 'b''",
		"right\u202eto left\u200b\ufffd!": "rightto left!",
		"50%":                             "50'",
		"nicht da – später":               "nicht da – später",
		"\xff\xfe":                        "",
		long:                              long[:2*maxPhrase],
		strings.Repeat("a ", 100):         strings.Repeat("a ", 40)[:79],
	} {
		resp := statusOf(&stanza.Error{Condition: "conflict", Text: text}, true, true, new(address.Table))
		if resp.Phrase != want {
			t.Errorf("the phrase of %q is %q, want %q", text, resp.Phrase, want)
		}
		if e := conditionOf(&bridges.Response{Status: 486, Phrase: text}, new(address.Table)); e.Text != want {
			t.Errorf("the text of %q is %q, want %q", text, e.Text, want)
		}
	}
}

func TestAStreamThatFailsIsAnAnswer(t *testing.T) {
	for _, tt := range []struct {
		err       error
		status    int
		condition string
		retry     bool
	}{
		{nil, 200, "", false},
		{s2s.ErrNoServer, 404, "remote-server-not-found cancel", false},
		{s2s.ErrUnreachable, 408, "remote-server-timeout wait", false},
		{s2s.ErrRefused, 403, "forbidden auth", false},
		{s2s.ErrUntrusted, 403, "forbidden auth", false},
		{s2s.ErrTimeout, 408, "remote-server-timeout wait", false},
		{s2s.ErrQueueFull, 500, "resource-constraint wait", true},
		{s2s.ErrLost, 408, "remote-server-timeout wait", false},
		{s2s.ErrTooLarge, 413, "policy-violation modify", false},
		{s2s.ErrStopped, 480, "recipient-unavailable wait", true},
		{errors.New("something else"), 500, "internal-server-error cancel", false},
	} {
		err := tt.err
		if err != nil {
			err = fmt.Errorf("example.com: %w: \"\r\nsaid: no\"", tt.err)
		}
		resp, e := statusOfOutcome(err), conditionOfOutcome(err)
		if resp.Status != tt.status {
			t.Errorf("%v is %d, want %d", tt.err, resp.Status, tt.status)
		}
		if err == nil {
			if e != nil || len(resp.Fields) != 0 {
				t.Errorf("nil is %v, %v", e, resp.Fields)
			}
			continue
		}
		if got := e.Condition + " " + e.Type; got != tt.condition || e.Text == "" {
			t.Errorf("%v is %q, want %q", tt.err, got, tt.condition)
		}
		want := fmt.Sprintf("SIP ;cause=%d ;text=\"%s\"", tt.status, e.Text)
		if got := resp.Fields.Get("Reason"); got != want {
			t.Errorf("%v: Reason: %s, want %s", tt.err, got, want)
		}
		if got := resp.Fields.Get("Retry-After") != ""; got != tt.retry {
			t.Errorf("%v: Retry-After is there: %v", tt.err, got)
		}
	}
}

func TestAnAddressThatCannotBeIsAnAnswer(t *testing.T) {
	_, err := new(address.Table).JID("sips:romeo@example.net")
	resp := refusalOfAddress(faultOf(err))
	if want := `SIP ;cause=403 ;text="sips does not cross to XMPP"`; resp.Status != 403 || resp.Fields.Get("Reason") != want {
		t.Errorf("sips: %d, Reason: %s", resp.Status, resp.Fields.Get("Reason"))
	}
	if e := errorOfAddress(address.ErrJID); e.Condition != "jid-malformed" || e.Text != address.ErrJID.Text {
		t.Errorf("no JID: %v", e)
	}
}

func TestAnErrorIsNeverAnsweredWithAnError(t *testing.T) {
	for _, tt := range []struct {
		name, kind string
		bounces    bool
	}{
		{"message", "", true},
		{"message", "chat", true},
		{"message", "error", false},
		{"iq", "get", true},
		{"iq", "set", true},
		{"iq", "result", false},
		{"iq", "error", false},
		{"presence", "", false},
		{"presence", "unavailable", false},
		{"presence", "probe", false},
		{"presence", "error", false},
		{"presence", "subscribe", true},
		{"presence", "subscribed", true},
		{"presence", "unsubscribe", true},
		{"presence", "unsubscribed", true},
	} {
		e := stanza.New(stanza.NS, tt.name, stanza.Attr{Local: "type", Value: tt.kind})
		if got := bounceable(e); got != tt.bounces {
			t.Errorf("%s of type %q may be answered with an error: %v", tt.name, tt.kind, got)
		}
		if (tt.kind == "error" || tt.kind == "result") && stanza.Bounce(e, &stanza.Error{}) != nil {
			t.Errorf("%s of type %q was bounced", tt.name, tt.kind)
		}
	}
}

// FuzzPhrase: whatever a stranger writes stays on one line, and in quotes.
func FuzzPhrase(f *testing.F) {
	f.Add("a\r\nb \"c\" \\ \x00")
	f.Fuzz(func(t *testing.T, s string) {
		p := phrase(s)
		if utf8.RuneCountInString(p) > maxPhrase || strings.ContainsAny(p, "\r\n\x00\"\\<>") || !utf8.ValidString(p) || p != strings.TrimSpace(p) {
			t.Errorf("phrase(%q) = %q", s, p)
		}
		if again := phrase(p); again != p {
			t.Errorf("phrase(%q) = %q, and of that %q", s, p, again)
		}
		if c := contactOf(s, new(address.Table)); c != "" {
			uri := strings.TrimSuffix(strings.TrimPrefix(c, "<"), ">")
			if u, err := sip.ParseURI([]byte(uri)); err != nil || !u.IsSIP() || strings.ContainsAny(uri, "\r\n <>\"") {
				t.Errorf("contactOf(%q) = %q, %v", s, c, err)
			}
		}
		contacts(s)
	})
}
