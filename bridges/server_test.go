package bridges_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/sip"
)

func TestWhatABridgeCannotTakeIsRefusedByItsEndpoint(t *testing.T) {
	contact := "Contact: <sip:alice@192.0.2.44:5061;transport=tls>"
	for _, tt := range []struct {
		name   string
		method string
		edit   func(lines []string) []string
		status int
		field  string
	}{
		{"a method that nobody knows here", "PUBLISH", nil, 405, "Allow: INVITE, ACK"},
		{"a registration", "REGISTER", nil, 405, "Allow: "},
		{"an extension that is required", "MESSAGE", with("Require: 100rel", "Require: timer"), 420, "Unsupported: 100rel\r\nUnsupported: timer"},
		{"a fault", "MESSAGE", with("CSeq: 3 MESSAGE"), 400, ""},
		{"a dialog that nobody has", "MESSAGE", tagged, 481, ""},
		{"OPTIONS in a dialog that nobody has", "OPTIONS", tagged, 481, ""},
		{"BYE outside dialogs", "BYE", nil, 481, ""},
		{"NOTIFY outside dialogs", "NOTIFY", with("Event: presence"), 481, ""},
		{"INFO outside dialogs", "INFO", nil, 481, ""},
		{"CANCEL of nothing", "CANCEL", nil, 481, ""},
		{"INVITE without Contact", "INVITE", nil, 400, ""},
		{"SUBSCRIBE without Contact", "SUBSCRIBE", nil, 400, ""},
		{"SUBSCRIBE with two Contacts", "SUBSCRIBE", with(contact + ", <sip:b@192.0.2.45>"), 400, ""},
		{"a dialog with what is no SIP address", "INVITE", func(l []string) []string {
			return with(contact)(replace(l, "To: <"+juliet+">", "To: <im:juliet@fabrikam.example>"))
		}, 416, ""},
		{"more Record-Routes than a dialog keeps", "INVITE", with(contact, "Record-Route: "+strings.Repeat("<sip:p.example.com;lr>, ", 32)+"<sip:p.example.com;lr>"), 400, ""},
		{"what has come through too many bridges", "MESSAGE", with("Sipedge-Bridge: xmpp;hops=3"), 482, ""},
		{"a mark that nobody can read", "MESSAGE", with("Sipedge-Bridge: \x7f"), 482, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWire(t, false)
				lines := w.lines(tt.method)
				if tt.edit != nil {
					lines = tt.edit(lines)
				}
				w.receive(lines...)
				m := w.next("SIP/2.0 ")
				if m.Status() != tt.status || !strings.Contains(string(m.Raw()), tt.field) {
					t.Errorf("answered %q, want %d with %q", m.Raw(), tt.status, tt.field)
				}
				if to, _ := m.To(); to.Tag() == nil {
					t.Error("the answer has no tag")
				}
				if tt.method == "INVITE" {
					w.receive(append(replace(lines, "INVITE", "ACK"), "")[:8]...) // nothing comes of it
				}
				w.none()
				w.empty()
			})
		})
	}
}

// with adds fields.
func with(fields ...string) func([]string) []string {
	return func(lines []string) []string {
		return append(append(append([]string(nil), lines[:len(lines)-1]...), fields...), lines[len(lines)-1])
	}
}

func tagged(lines []string) []string {
	return replace(lines, "To: <"+juliet+">", "To: <"+juliet+">;tag=b1")
}

func replace(lines []string, from, to string) (list []string) {
	for _, l := range lines {
		list = append(list, strings.Replace(l, from, to, 1))
	}
	return list
}

func TestOPTIONSIsAnsweredByTheEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		w.receive(w.lines("OPTIONS")...)
		m := w.next("SIP/2.0 200 ")
		if string(m.Value(sip.Allow)) != bridges.Allow || m.Value(sip.Accept) == nil {
			t.Errorf("answered %q", m.Raw())
		}
		w.empty()
	})
}

func TestARequestIsReadAsItCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		lines := with("s: fol\r\n  ded\r\n\ttext", "X-Other: 1", "c: text/plain", "Sipedge-Bridge: xmpp;hops=2", "m: <sip:alice@192.0.2.44>")(w.lines("MESSAGE"))
		lines[len(lines)-1] = "body"
		w.receive(lines...)
		in := next(t, w.requests, "request")
		if in.Fields.Get("Subject") != "fol ded text" || in.Fields.Get("x-other") != "1" || in.ContentType != "text/plain" || string(in.Body) != "body" ||
			in.From != (bridges.Party{Display: "Alice", URI: alice, Tag: "a1"}) || in.To.URI != juliet || in.URI != juliet || in.MaxForwards != 66 ||
			in.Hops != 2 || in.CallID != "call1@example.com" || in.CSeq != 1 || in.Fields.Get("Contact") != "<sip:alice@192.0.2.44>" {
			t.Errorf("read %+v", in.Request)
		}
		if in.Fields.Get("Via") != "" || in.Fields.Get("Call-ID") != "" {
			t.Errorf("shown what is the Endpoint's: %v", in.Fields)
		}
		in.Answer(bridges.Response{Status: 200, Fields: bridges.Fields{{"X-Answer", "1"}}, ContentType: "text/plain", Body: []byte("ok")}, "")
		in.Answer(bridges.Response{Status: 500}, "")
		m := w.next("SIP/2.0 200 OK")
		if string(m.Body()) != "ok" || !strings.Contains(string(m.Raw()), "X-Answer: 1\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n") {
			t.Errorf("answered %q", m.Raw())
		}
		w.none()
		w.empty()
	})
}

func TestACopyThatCameAnotherWayIsALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		lines := w.lines("MESSAGE")
		w.receive(lines...)
		in := next(t, w.requests, "request")
		w.receive(replace(lines, "bKw1", "bKw2")...)
		w.next("SIP/2.0 482 ")
		w.receive(lines...) // the same again: nobody repeats on this way
		w.none()
		in.Answer(bridges.Response{Status: 200}, "")
		w.next("SIP/2.0 200 ")
		w.empty()
	})
}

func TestASlowBridgeIsCoveredUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		began := time.Now()
		w.receive(w.lines("MESSAGE")...)
		in := next(t, w.requests, "request")
		w.next("SIP/2.0 100 ")
		if d := time.Since(began); d < 3500*time.Millisecond || d > 3800*time.Millisecond {
			t.Errorf("100 after %v, want 3.5s", d)
		}
		w.next("SIP/2.0 504 ")
		if d := time.Since(began); d < 30*time.Second || d > 31*time.Second {
			t.Errorf("504 after %v, want 30s", d)
		}
		in.Answer(bridges.Response{Status: 200}, "") // too late
		w.none()
		w.empty()
	})
}

func TestABENOTIFYIsNeverAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		sub := w.subscribed()
		w.receive(within(sub, "BENOTIFY", 1, "Subscription-State: active", "Event: presence")...)
		in := next(t, w.requests, "BENOTIFY")
		if in.Dialog != sub.d {
			t.Errorf("came within %v", in.Dialog)
		}
		in.Answer(bridges.Response{Status: 200}, "")
		w.none()
		w.receive(with("Event: presence")(w.lines("BENOTIFY"))...)
		w.receive(within(sub, "BENOTIFY", 2, "Subscription-State: active", "Event: presence")...)
		next(t, w.requests, "BENOTIFY")
		time.Sleep(time.Minute) // nobody answers, and nothing goes out for it
		w.none()
	})
}

func TestWhatABridgeAnswersCannotBreakTheMessage(t *testing.T) {
	for _, tt := range []struct {
		name   string
		resp   bridges.Response
		status int
	}{
		{"a line end in a value", bridges.Response{Status: 200, Fields: bridges.Fields{{"Subject", "a\r\nX: y"}}}, 500},
		{"a name that is none", bridges.Response{Status: 200, Fields: bridges.Fields{{"Sub ject", "a"}}}, 500},
		{"a field of the Endpoint's", bridges.Response{Status: 200, Fields: bridges.Fields{{"v", "SIP/2.0/TLS x"}}}, 500},
		{"a Contact where the Endpoint sets it", bridges.Response{Status: 200, Fields: bridges.Fields{{"Contact", "<sip:x@example.com>"}}}, 500},
		{"a type with a line end", bridges.Response{Status: 200, ContentType: "text/plain\nX: y"}, 500},
		{"a body without type", bridges.Response{Status: 200, Body: []byte("x")}, 500},
		{"a status that is none", bridges.Response{Status: 0}, 500},
		{"a provisional answer to MESSAGE", bridges.Response{Status: 180}, 500},
		{"a phrase with a line end", bridges.Response{Status: 403, Phrase: "No\r\nX: y"}, 403},
		{"a new address", bridges.Response{Status: 302, Fields: bridges.Fields{{"Contact", "<sip:x@example.com>"}}}, 302},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWire(t, false)
				w.receive(w.lines("MESSAGE")...)
				next(t, w.requests, "request").Answer(tt.resp, "")
				m := w.next("SIP/2.0 ")
				if m.Status() != tt.status || strings.Contains(string(m.Raw()), "\nX: y") {
					t.Errorf("answered %q, want %d", m.Raw(), tt.status)
				}
				w.empty()
			})
		})
	}
}

func TestAPausedBridgeGetsNothingNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		sub := w.subscribed()
		w.e.Pause(true)
		w.receive(w.lines("MESSAGE")...)
		if m := w.next("SIP/2.0 480 "); string(m.Reason()) != "Bridge is paused" {
			t.Errorf("answered %q", m.Raw())
		}
		if o := next(t, w.do(request("MESSAGE")), "answer"); o.Status != 480 || !o.Local {
			t.Errorf("answered %+v", o.Response)
		}
		w.receive(within(sub, "NOTIFY", 1, "Subscription-State: active", "Event: presence")...)
		next(t, w.requests, "NOTIFY").Answer(bridges.Response{Status: 200}, "")
		w.next("SIP/2.0 200 ")
		w.e.Pause(false)
		w.receive(w.lines("MESSAGE")...)
		next(t, w.requests, "request")
	})
}

func TestADialogThatEverybodyForgotEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		w.receive(with(notifier, "Event: presence")(w.lines("SUBSCRIBE"))...)
		d := next(t, w.requests, "SUBSCRIBE").Answer(bridges.Response{Status: 200}, "")
		w.next("SIP/2.0 200 ")
		w.e.SweepAfter(47 * time.Hour)
		if d.Ended() {
			t.Error("over too soon")
		}
		w.e.SweepAfter(49 * time.Hour)
		if !d.Ended() {
			t.Error("still there")
		}
		w.empty()
	})
}
