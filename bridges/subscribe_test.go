package bridges_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/sip"
)

// A sub is a subscription of the bridge, as its notifier knows it.
type sub struct {
	d       *bridges.Dialog
	req     *sip.Message
	answers <-chan outcome
	tag     string // the notifier's
}

const notifier = "Contact: <sip:alice@192.0.2.44:5061;transport=tls>"

// subscribe sends a SUBSCRIBE that nobody has answered.
func (w *wire) subscribe() *sub {
	w.t.Helper()
	r := request("SUBSCRIBE")
	r.Fields = bridges.Fields{{"Event", "presence"}, {"Expires", "3600"}}
	r.Data = "data"
	s := &sub{tag: "n1", answers: w.do(r)}
	s.req = w.next("SUBSCRIBE ")
	return s
}

// subscribed is one with a dialog.
func (w *wire) subscribed() *sub {
	w.t.Helper()
	s := w.subscribe()
	w.respond(s.req, 200, s.tag, notifier, "Expires: 3600")
	o := next(w.t, s.answers, "answer")
	if s.d = o.d; s.d == nil {
		w.t.Fatal("the 2xx made no dialog")
	}
	return s
}

// within are the lines of a request of the notifier.
func within(s *sub, method string, seq int, more ...string) []string {
	from, _ := s.req.From()
	list := []string{
		method + " sip:juliet@bridge.example.com:5061;transport=tls SIP/2.0",
		fmt.Sprintf("Via: SIP/2.0/TLS edge.example.com:5061;branch=z9hG4bK%s%s%d", method, s.tag, seq),
		"Max-Forwards: 66",
		"From: <" + alice + ">;tag=" + s.tag,
		"To: <" + juliet + ">;tag=" + string(from.Tag()),
		"Call-ID: " + string(s.req.CallID()),
		fmt.Sprintf("CSeq: %d %s", seq, method),
		notifier,
	}
	return append(append(list, more...), "")
}

func TestANOTIFYBeforeItsAnswerMakesTheSameDialog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		s := w.subscribe()
		w.receive(within(s, "NOTIFY", 7, "Subscription-State: pending", "Event: presence", "Record-Route: <sip:t1@p1.example.com;lr>, <sip:t2@p2.example.com;lr>")...)
		in := next(t, w.requests, "NOTIFY")
		if in.Dialog == nil || in.Dialog.Data != "data" || in.Dialog.CallID() != string(s.req.CallID()) {
			t.Fatalf("came within %+v", in.Dialog)
		}
		in.Answer(bridges.Response{Status: 200}, "")
		w.next("SIP/2.0 200 ")
		w.respond(s.req, 202, s.tag, notifier, "Record-Route: <sip:other@p3.example.com;lr>")
		if o := next(t, s.answers, "answer"); o.d != in.Dialog {
			t.Errorf("the answer brought dialog %p, want %p", o.d, in.Dialog)
		}
		// Route set of the NOTIFY, target, CSeq and tags (RFC 6665 §4.4.1, RFC 3261 §12.2.1.1).
		refresh := request("SUBSCRIBE")
		refresh.Fields = bridges.Fields{{"Event", "presence"}}
		answers := w.within(in.Dialog, refresh)
		m := w.next("SUBSCRIBE sip:alice@192.0.2.44:5061;transport=tls SIP/2.0")
		first, _, _ := s.req.CSeq()
		if n, _, _ := m.CSeq(); n != first+1 {
			t.Errorf("CSeq %d after %d", n, first)
		}
		if !strings.Contains(string(m.Raw()), "\r\nRoute: <sip:t1@p1.example.com;lr>\r\nRoute: <sip:t2@p2.example.com;lr>\r\n") {
			t.Errorf("routes of %q", m.Raw())
		}
		if to, _ := m.To(); string(to.Tag()) != s.tag || string(m.Value(sip.From)) != string(s.req.Value(sip.From)) {
			t.Errorf("parties of %q", m.Raw())
		}
		w.respond(m, 200, "", "Contact: <sip:alice@192.0.2.45>")
		next(t, answers, "answer")
		w.within(in.Dialog, refresh)
		w.next("SUBSCRIBE sip:alice@192.0.2.45 SIP/2.0") // moved
	})
}

func TestTheRouteSetIsThatOfTheNOTIFY(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		s := w.subscribe()
		w.respond(s.req, 200, s.tag, notifier, "Record-Route: <sip:a1@p1.example.com;lr>", "Record-Route: <sip:a2@p2.example.com;lr>")
		d := next(t, s.answers, "answer").d
		w.within(d, request("SUBSCRIBE"))
		if m := w.next("SUBSCRIBE "); string(m.Value(sip.Route)) != "<sip:a2@p2.example.com;lr>" {
			t.Errorf("routes of %q: those of the answer, reversed", m.Raw())
		}
		w.receive(within(s, "NOTIFY", 1, "Subscription-State: active", "Event: presence", "Record-Route: <sip:n@p1.example.com;lr>")...)
		if in := next(t, w.requests, "NOTIFY"); in.Dialog != d {
			t.Fatalf("came within %p, want %p", in.Dialog, d)
		}
		w.within(d, request("SUBSCRIBE"))
		if m := w.next("SUBSCRIBE "); string(m.Value(sip.Route)) != "<sip:n@p1.example.com;lr>" || m.Count(sip.Route) != 1 {
			t.Errorf("routes of %q: those of the NOTIFY", m.Raw())
		}
	})
}

func TestAForkedSUBSCRIBEMakesABoundedNumberOfDialogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, true) // 2 for one SUBSCRIBE
		s := w.subscribe()
		var dialogs []*bridges.Dialog
		for _, tag := range []string{"n1", "n2"} {
			s.tag = tag
			w.receive(within(s, "NOTIFY", 1, "Subscription-State: active", "Event: presence")...)
			in := next(t, w.requests, "NOTIFY")
			dialogs = append(dialogs, in.Dialog)
			in.Answer(bridges.Response{Status: 200}, "")
			w.next("SIP/2.0 200 ")
		}
		if dialogs[0] == nil || dialogs[1] == nil || dialogs[0] == dialogs[1] {
			t.Fatalf("dialogs %p and %p", dialogs[0], dialogs[1])
		}
		s.tag = "n3"
		w.receive(within(s, "NOTIFY", 1, "Subscription-State: active", "Event: presence")...)
		w.next("SIP/2.0 481 ")
		w.receive(within(s, "NOTIFY", 2, "Subscription-State: active", "Event: dialog")...)
		w.next("SIP/2.0 481 ")
	})
}

func TestAfterTimerNNoNOTIFYMakesADialog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		s := w.subscribed()
		time.Sleep(33 * time.Second)
		if !s.d.Ended() {
			t.Error("the dialog without a NOTIFY is still there")
		}
		w.receive(within(s, "NOTIFY", 1, "Subscription-State: active", "Event: presence")...)
		w.next("SIP/2.0 481 ")
		if o := next(t, w.within(s.d, request("SUBSCRIBE")), "answer"); o.Status != 481 || !o.Local {
			t.Errorf("answered %+v", o.Response)
		}
		w.empty()
	})
}

func TestASubscriptionEndsAsItsNotifierSays(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		ended bool
	}{
		{"terminated", []string{"Subscription-State: terminated;reason=rejected"}, true},
		{"in capitals", []string{"Subscription-State: TERMINATED"}, true},
		{"active", []string{"Subscription-State: active;expires=60"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWire(t, false)
				s := w.subscribed()
				w.receive(within(s, "NOTIFY", 1, append(tt.lines, "Event: presence")...)...)
				in := next(t, w.requests, "NOTIFY")
				if in.Dialog != s.d || s.d.Ended() != tt.ended {
					t.Errorf("came within %p, ended %v, want %v", in.Dialog, s.d.Ended(), tt.ended)
				}
				in.Answer(bridges.Response{Status: 200}, "")
				w.next("SIP/2.0 200 ")
				w.receive(within(s, "NOTIFY", 2, "Subscription-State: active", "Event: presence")...)
				if tt.ended {
					w.next("SIP/2.0 481 ")
					w.none()
				} else {
					next(t, w.requests, "NOTIFY")
				}
			})
		})
	}
}

func TestARefusedSUBSCRIBEMakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		s := w.subscribe()
		w.respond(s.req, 489, s.tag)
		if o := next(t, s.answers, "answer"); o.Status != 489 || o.d != nil {
			t.Errorf("answered %+v with %v", o.Response, o.d)
		}
		w.receive(within(s, "NOTIFY", 1, "Subscription-State: active", "Event: presence")...)
		w.next("SIP/2.0 481 ")
		w.empty()
	})
}

func TestAUserOfOursSubscribes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		w.receive(with(notifier, "Event: presence", "Record-Route: <sip:t1@p1.example.com;lr>", "Record-Route: <sip:t2@p2.example.com;lr>")(w.lines("SUBSCRIBE"))...)
		in := next(t, w.requests, "SUBSCRIBE")
		d := in.Answer(bridges.Response{Status: 200, Fields: bridges.Fields{{"Expires", "3600"}}}, "juliet")
		m := w.next("SIP/2.0 200 ")
		if string(m.Value(sip.Contact)) != "<sip:juliet@bridge.example.com:5061;transport=tls>" || m.Count(sip.RecordRoute) != 2 {
			t.Errorf("answered %q", m.Raw())
		}
		to, _ := m.To()
		notify := request("NOTIFY")
		notify.Fields = bridges.Fields{{"Event", "presence"}, {"Subscription-State", "active"}}
		answers := w.within(d, notify)
		m = w.next("NOTIFY sip:alice@192.0.2.44:5061;transport=tls SIP/2.0")
		from, _ := m.From()
		if string(from.Tag()) != string(to.Tag()) || string(from.URI) != juliet || string(m.Value(sip.To)) != "\"Alice\" <"+alice+">;tag=a1" ||
			!strings.Contains(string(m.Raw()), "\r\nRoute: <sip:t1@p1.example.com;lr>\r\nRoute: <sip:t2@p2.example.com;lr>\r\n") ||
			string(m.Value(sip.Contact)) != "<sip:juliet@bridge.example.com:5061;transport=tls>" {
			t.Errorf("sent %q", m.Raw())
		}
		w.respond(m, 200, "")
		next(t, answers, "answer")
		if d.Ended() {
			t.Error("the dialog is over")
		}
		notify.Fields[1].Value = "terminated;reason=timeout"
		answers = w.within(d, notify)
		m = w.next("NOTIFY ")
		if !d.Ended() {
			t.Error("the dialog is not over after its last NOTIFY")
		}
		w.respond(m, 200, "")
		next(t, answers, "answer")
		w.empty()
	})
}

func TestANOTIFYThatNobodyTakesEndsTheSubscription(t *testing.T) {
	for _, status := range []int{481, 408, 0, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWire(t, false)
				w.receive(with(notifier, "Event: presence")(w.lines("SUBSCRIBE"))...)
				d := next(t, w.requests, "SUBSCRIBE").Answer(bridges.Response{Status: 200}, "")
				w.next("SIP/2.0 200 ")
				notify := request("NOTIFY")
				notify.Fields = bridges.Fields{{"Event", "presence"}, {"Subscription-State", "active"}}
				answers := w.within(d, notify)
				m := w.next("NOTIFY ")
				if status != 0 {
					w.respond(m, status, "")
				}
				next(t, answers, "answer")
				if ended := d.Ended(); ended != (status != 500) {
					t.Errorf("ended: %v", ended)
				}
			})
		})
	}
}
