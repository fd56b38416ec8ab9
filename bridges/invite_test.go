package bridges_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
	"github.com/sipedge/sipedge/sip"
)

// invite sends an INVITE of the bridge.
func (w *wire) invite() (r *bridges.Request, m *sip.Message, answers <-chan outcome) {
	w.t.Helper()
	r = request("INVITE")
	r.ContentType, r.Body = "application/sdp", []byte("v=0\r\n")
	answers = w.do(r)
	return r, w.next("INVITE "), answers
}

// called is a call of the bridge that was accepted.
func (w *wire) called() (*sub, *bridges.Dialog) {
	w.t.Helper()
	_, m, answers := w.invite()
	w.respond(m, 200, "n1", notifier, "Record-Route: <sip:p2@p2.example.com;lr>, <sip:p1@p1.example.com;lr>")
	o := next(w.t, answers, "answer")
	if o.d == nil {
		w.t.Fatal("the 2xx made no dialog")
	}
	w.next("ACK ")
	return &sub{d: o.d, req: m, tag: "n1"}, o.d
}

func branch(m *sip.Message) string {
	via, _ := m.TopVia()
	return string(via.Branch)
}

func TestARefusedINVITEIsAcknowledgedInItsTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		_, m, answers := w.invite()
		w.respond(m, 100, "")
		w.respond(m, 180, "n1", notifier)
		w.respond(m, 486, "n1")
		ack := w.next("ACK " + alice + " ")
		to, _ := ack.To()
		seq, _, _ := ack.CSeq()
		if want, _, _ := m.CSeq(); branch(ack) != branch(m) || string(to.Tag()) != "n1" || seq != want {
			t.Errorf("acknowledged with %q", ack.Raw())
		}
		if o := next(t, answers, "answer"); o.Status != 180 || o.d != nil {
			t.Errorf("answered %+v", o.Response)
		}
		if o := next(t, answers, "answer"); o.Status != 486 || o.Local {
			t.Errorf("answered %+v", o.Response)
		}
		w.empty()
	})
}

func TestAnAcceptedINVITEMakesADialog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		_, m, answers := w.invite()
		rr := "Record-Route: <sip:p2@p2.example.com;lr>, <sip:p1@p1.example.com;lr>"
		w.respond(m, 200, "n1", notifier, rr)
		o := next(t, answers, "answer")
		ack := w.next("ACK sip:alice@192.0.2.44:5061;transport=tls SIP/2.0")
		if branch(ack) == branch(m) || !strings.Contains(string(ack.Raw()), "\r\nRoute: <sip:p1@p1.example.com;lr>\r\nRoute: <sip:p2@p2.example.com;lr>\r\n") {
			t.Errorf("acknowledged with %q", ack.Raw())
		}
		w.respond(m, 200, "n1", notifier, rr) // again: somebody lost the ACK
		w.next("ACK ")
		w.respond(m, 180, "n1", notifier)
		w.respond(m, 486, "n1") // nothing undoes a 2xx
		w.none()

		// Another branch of a fork has accepted, too.
		w.respond(m, 200, "n2", notifier)
		if to, _ := w.next("ACK ").To(); string(to.Tag()) != "n2" {
			t.Errorf("acknowledged to %q", to.Tag())
		}
		if to, _ := w.next("BYE ").To(); string(to.Tag()) != "n2" {
			t.Errorf("ended to %q", to.Tag())
		}
		w.respond(m, 200, "n2", notifier)
		w.next("ACK ")
		w.none()

		answered := w.within(o.d, request("MESSAGE"))
		msg := w.next("MESSAGE sip:alice@192.0.2.44")
		invited, _, _ := m.CSeq()
		if n, _, _ := msg.CSeq(); n != invited+1 || msg.Count(sip.Route) != 2 || string(msg.CallID()) != string(m.CallID()) {
			t.Errorf("sent %q", msg.Raw())
		}
		w.respond(msg, 200, "")
		next(t, answered, "answer")
		bye := w.within(o.d, request("BYE"))
		w.respond(w.next("BYE "), 200, "")
		next(t, bye, "answer")
		if o.d.End(); !o.d.Ended() {
			t.Error("the dialog is not over")
		}
		time.Sleep(33 * time.Second)
		w.empty()
		if len(answers) > 0 {
			t.Errorf("answered again with %+v", (<-answers).Response)
		}
	})
}

func TestAStrictRouterBecomesTheRequestURI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		_, m, _ := w.invite()
		w.respond(m, 200, "n1", notifier, "Record-Route: <sip:p2@p2.example.com;lr>, <sip:p1@p1.example.com>")
		ack := w.next("ACK sip:p1@p1.example.com SIP/2.0")
		if !strings.Contains(string(ack.Raw()), "\r\nRoute: <sip:p2@p2.example.com;lr>\r\nRoute: <sip:alice@192.0.2.44:5061;transport=tls>\r\n") {
			t.Errorf("acknowledged with %q", ack.Raw())
		}
	})
}

func TestAnINVITEIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		r, m, answers := w.invite()
		w.e.Cancel(r)
		w.none() // RFC 3261 §9.1: not before the first answer
		w.respond(m, 100, "")
		cancel := w.next("CANCEL " + alice + " ")
		if branch(cancel) != branch(m) {
			t.Errorf("canceled with %q", cancel.Raw())
		}
		w.e.Cancel(r)
		w.respond(cancel, 200, "n1")
		w.respond(m, 487, "n1")
		w.next("ACK ")
		if o := next(t, answers, "answer"); o.Status != 487 {
			t.Errorf("answered %+v", o.Response)
		}
		w.e.Cancel(r)
		w.none()
		w.empty()
	})
}

func TestAnINVITEThatNobodyAnswersEnds(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers []int
		cancels bool
		after   time.Duration
	}{
		{"silence", nil, false, 32 * time.Second},
		{"ringing", []int{180}, true, 4*time.Minute + 32*time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWire(t, false)
				began := time.Now()
				_, m, answers := w.invite()
				for _, status := range tt.answers {
					w.respond(m, status, "n1", notifier)
					next(t, answers, "ringing")
				}
				if tt.cancels {
					w.next("CANCEL ")
				}
				if o := next(t, answers, "answer"); o.Status != 408 || !o.Local {
					t.Errorf("answered %+v", o.Response)
				}
				if d := time.Since(began); d < tt.after || d > tt.after+time.Second {
					t.Errorf("after %v, want %v", d, tt.after)
				}
				w.none()
				w.empty()
			})
		})
	}
}

func TestAUserOfOursCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		began := time.Now()
		lines := with(notifier)(w.lines("INVITE"))
		w.receive(lines...)
		in := next(t, w.requests, "INVITE")
		w.next("SIP/2.0 100 ")
		in.Answer(bridges.Response{Status: 180}, "juliet")
		ringing := w.next("SIP/2.0 180 ")
		d := in.Answer(bridges.Response{Status: 200, ContentType: "application/sdp", Body: []byte("v=0\r\n")}, "juliet")
		ok := w.next("SIP/2.0 200 ")
		early, _ := ringing.To()
		to, _ := ok.To()
		if string(early.Tag()) != string(to.Tag()) || ringing.Value(sip.Contact) == nil || ok.Value(sip.Contact) == nil {
			t.Errorf("answered %q, then %q", ringing.Raw(), ok.Raw())
		}
		in.Answer(bridges.Response{Status: 180}, "") // too late
		w.next("SIP/2.0 200 ")                       // RFC 3261 §13.3.1.4: once more, after T1
		if passed := time.Since(began); passed < 500*time.Millisecond || passed > 800*time.Millisecond {
			t.Errorf("again after %v, want T1", passed)
		}
		w.receive(followed(lines, "ACK", string(to.Tag()), 1)...)
		synctest.Wait()
		time.Sleep(time.Minute)
		w.none()
		if d.Ended() {
			t.Fatal("the call is over")
		}
		w.receive(followed(lines, "MESSAGE", string(to.Tag()), 2)...)
		msg := next(t, w.requests, "MESSAGE")
		if msg.Dialog != d {
			t.Errorf("came within %p, want %p", msg.Dialog, d)
		}
		msg.Answer(bridges.Response{Status: 200}, "")
		w.next("SIP/2.0 200 ")
		w.receive(followed(lines, "BYE", string(to.Tag()), 3)...)
		bye := next(t, w.requests, "BYE")
		if bye.Dialog != d || !d.Ended() {
			t.Error("the call is not over")
		}
		bye.Answer(bridges.Response{Status: 200}, "")
		w.next("SIP/2.0 200 ")
		w.receive(followed(lines, "MESSAGE", string(to.Tag()), 4)...)
		w.next("SIP/2.0 481 ")
		w.empty()
	})
}

// followed are the lines of another request in the dialog that lines made.
func followed(lines []string, method, tag string, seq int) []string {
	list := replace(replace(lines, "INVITE", method), "To: <"+juliet+">", "To: <"+juliet+">;tag="+tag)
	list = replace(list, "branch=z9hG4bK", "branch=z9hG4bK"+fmt.Sprint(seq))
	return replace(list, "CSeq: 1 ", fmt.Sprintf("CSeq: %d ", seq))
}

func TestACallThatNobodyAcknowledgesEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		w.receive(with(notifier)(w.lines("INVITE"))...)
		in := next(t, w.requests, "INVITE")
		w.next("SIP/2.0 100 ")
		d := in.Answer(bridges.Response{Status: 200}, "")
		w.next("SIP/2.0 200 ")
		for range 10 {
			w.next("SIP/2.0 200 ") // after 0.5, 1, 2, 4, 4 … s
		}
		w.next("BYE ")
		if got := next(t, w.canceled, "end"); got != in || !d.Ended() {
			t.Errorf("told of %p, want %p; ended: %v", got, in, d.Ended())
		}
		w.none()
	})
}

func TestOurUserCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		lines := with(notifier)(w.lines("INVITE"))
		w.receive(lines...)
		in := next(t, w.requests, "INVITE")
		w.next("SIP/2.0 100 ")
		w.receive(replace(lines, "INVITE", "CANCEL")...)
		ok := w.next("SIP/2.0 200 ")
		refused := w.next("SIP/2.0 487 ")
		a, _ := ok.To()
		b, _ := refused.To()
		if string(a.Tag()) != string(b.Tag()) { // RFC 3261 §9.2
			t.Errorf("tags %q and %q", a.Tag(), b.Tag())
		}
		if got := next(t, w.canceled, "CANCEL"); got != in {
			t.Errorf("canceled %p, want %p", got, in)
		}
		in.Answer(bridges.Response{Status: 200}, "")
		w.receive(replace(lines, "INVITE", "ACK")...)
		w.none()
		w.empty()
	})
}

func TestACANCELAfterTheAnswerChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		lines := with(notifier)(w.lines("INVITE"))
		w.receive(lines...)
		in := next(t, w.requests, "INVITE")
		w.next("SIP/2.0 100 ")
		in.Answer(bridges.Response{Status: 486}, "")
		w.next("SIP/2.0 486 ")
		w.receive(replace(lines, "INVITE", "CANCEL")...)
		w.next("SIP/2.0 200 ")
		w.none()
		time.Sleep(33 * time.Second) // Timer H: no ACK comes
		w.empty()
		if len(w.canceled) > 0 {
			t.Error("told that it was canceled")
		}
	})
}

func TestAnINVITEThatRingsForTooLongIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		began := time.Now()
		w.receive(with(notifier)(w.lines("INVITE"))...)
		in := next(t, w.requests, "INVITE")
		w.next("SIP/2.0 100 ")
		w.next("SIP/2.0 480 ")
		if d := time.Since(began); d < 3*time.Minute || d > 181*time.Second {
			t.Errorf("after %v, want 3m", d)
		}
		if next(t, w.canceled, "end") != in {
			t.Error("told of another INVITE")
		}
	})
}

func TestABYEWhileItRingsRefusesTheINVITE(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		lines := with(notifier)(w.lines("INVITE"))
		w.receive(lines...)
		in := next(t, w.requests, "INVITE")
		w.next("SIP/2.0 100 ")
		in.Answer(bridges.Response{Status: 180}, "")
		to, _ := w.next("SIP/2.0 180 ").To()
		w.receive(followed(lines, "BYE", string(to.Tag()), 2)...)
		w.next("SIP/2.0 487 ")
		next(t, w.canceled, "end")
		next(t, w.requests, "BYE").Answer(bridges.Response{Status: 200}, "")
		w.next("SIP/2.0 200 ")
		w.receive(replace(lines, "INVITE", "ACK")...)
		w.empty()
	})
}

func TestRequestsWithinADialogComeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		s, d := w.called()
		for _, tt := range []struct{ seq, status int }{{10, 0}, {9, 500}, {10, 500}, {11, 0}, {2000, 0}, {12, 500}} {
			w.receive(within(s, "MESSAGE", tt.seq)...)
			if tt.status != 0 {
				w.next(fmt.Sprintf("SIP/2.0 %d ", tt.status))
				s.tag = "n1"
				continue
			}
			in := next(t, w.requests, "MESSAGE")
			if in.Dialog != d {
				t.Errorf("came within %p, want %p", in.Dialog, d)
			}
			in.Answer(bridges.Response{Status: 200}, "")
			w.next("SIP/2.0 200 ")
		}
	})
}

func TestINVITEsWithinADialogDoNotCross(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		s, d := w.called()
		w.receive(within(s, "INVITE", 1)...)
		in := next(t, w.requests, "INVITE")
		w.next("SIP/2.0 100 ")
		w.receive(within(s, "INVITE", 2)...)
		if m := w.next("SIP/2.0 500 "); m.Value(sip.RetryAfter) == nil {
			t.Errorf("answered %q", m.Raw())
		}
		if o := next(t, w.within(d, request("INVITE")), "answer"); o.Status != 491 || !o.Local {
			t.Errorf("answered %+v", o.Response)
		}
		if in.Answer(bridges.Response{Status: 200}, "") != nil {
			t.Error("made a dialog within a dialog")
		}
		m := w.next("SIP/2.0 200 ")
		if string(m.Value(sip.Contact)) != "<sip:juliet@bridge.example.com:5061;transport=tls>" {
			t.Errorf("answered %q", m.Raw())
		}
		w.receive(within(s, "ACK", 1)...)
		answers := w.within(d, request("INVITE"))
		again := w.next("INVITE ")
		w.receive(within(s, "INVITE", 5)...)
		w.next("SIP/2.0 491 ")
		w.respond(again, 200, "", "Contact: <sip:alice@192.0.2.45>")
		w.next("ACK sip:alice@192.0.2.45 ")
		if o := next(t, answers, "answer"); o.Status != 200 {
			t.Errorf("answered %+v", o.Response)
		}
		w.receive(within(s, "INVITE", 7)...)
		in = next(t, w.requests, "INVITE")
		w.next("SIP/2.0 100 ")
		in.Answer(bridges.Response{Status: 488}, "")
		w.next("SIP/2.0 488 ")
	})
}

func TestA481EndsADialog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		_, d := w.called()
		answers := w.within(d, request("MESSAGE"))
		w.respond(w.next("MESSAGE "), 481, "")
		if o := next(t, answers, "answer"); o.Status != 481 || o.Local || !d.Ended() {
			t.Errorf("answered %+v, ended: %v", o.Response, d.Ended())
		}
	})
}

func TestTheProofOfADialogGoesWithIt(t *testing.T) {
	sent := make(chan string, 16)
	home := bridgestest.NewHome(t, func([]byte) bool { return true })
	link := &bridgestest.Link{To: home.Receive, See: func(b []byte, p bridges.Proof) bool {
		method, _, _ := strings.Cut(string(b), " ")
		sent <- method + " " + p.String()
		return true
	}}
	bridge := running(t, link, nil)
	back := &bridgestest.Link{To: bridge.Receive}
	home = bridgestest.NewHome(t, back.To)
	link.To = home.Receive
	made := make(chan *bridges.Dialog, 1)
	r := request("INVITE")
	r.Proof = bridges.ProofDANE
	bridge.Do(r, func(_ *bridges.Response, d *bridges.Dialog) {
		if d != nil {
			made <- d
		}
	})
	home.Next(t).Answer(bridges.Response{Status: 200}, "alice")
	d := next(t, made, "dialog")
	d.Do(&bridges.Request{Method: "MESSAGE"}, nil)
	d.Do(&bridges.Request{Method: "MESSAGE", Proof: bridges.ProofDialback}, nil)
	d.Do(&bridges.Request{Method: "BYE"}, nil)
	for _, want := range []string{"INVITE dane", "ACK dane", "MESSAGE dane", "MESSAGE dialback", "BYE dialback"} {
		if got := next(t, sent, want); got != want {
			t.Errorf("sent %s, want %s", got, want)
		}
	}
}

func TestADialogSendsInTheOrderOfItsNumbers(t *testing.T) {
	bridge, home := bridgestest.New(t, nil)
	made := make(chan *bridges.Dialog, 1)
	bridge.Do(request("INVITE"), func(resp *bridges.Response, d *bridges.Dialog) {
		if d != nil {
			made <- d
		}
	})
	home.Next(t).Answer(bridges.Response{Status: 200}, "alice")
	d := next(t, made, "dialog")
	const each, senders = 50, 8
	done := make(chan int, each*senders)
	for range senders {
		go func() {
			for range each {
				d.Do(request("MESSAGE"), func(resp *bridges.Response) { done <- resp.Status })
			}
		}()
	}
	last := uint32(0)
	for range each * senders {
		in := home.Next(t) // a lower number would have been refused
		if in.CSeq <= last {
			t.Fatalf("CSeq %d after %d", in.CSeq, last)
		}
		last = in.CSeq
		in.Answer(bridges.Response{Status: 200}, "")
	}
	for range each * senders {
		if status := next(t, done, "answer"); status != 200 {
			t.Fatalf("answered %d", status)
		}
	}
}
