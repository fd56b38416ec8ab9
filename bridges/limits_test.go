package bridges_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
)

// The limits of these tests are those of Endpoint.Tight.

func TestWhatIsNotAnsweredFillsAnEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, true) // 16 KiB, of which requests may take three quarters
		answers := w.do(request("MESSAGE"))
		mine := w.next("MESSAGE ")
		big := func() []byte {
			lines := with("Content-Type: text/plain")(w.lines("MESSAGE"))
			lines[len(lines)-1] = strings.Repeat("x", 5<<10)
			return []byte(message(lines...))
		}
		for range 2 {
			if !w.e.Receive(big()) {
				t.Fatal("not taken though there is room")
			}
		}
		synctest.Wait()
		if w.e.Receive(big()) {
			t.Fatal("taken though there is no room")
		}
		w.respond(mine, 200, "x", "X-Long: "+strings.Repeat("x", 2<<10)) // answers may take the last quarter
		next(t, answers, "answer")
		next(t, w.requests, "request").Answer(bridges.Response{Status: 200}, "")
		w.next("SIP/2.0 200 ")
		if !w.e.Receive(big()) {
			t.Error("not taken though there is room again")
		}
		for range 2 {
			next(t, w.requests, "request").Answer(bridges.Response{Status: 200}, "")
		}
		w.empty()
	})
}

func TestWhatIsNotHandledFillsAnEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		e := bridges.NewEndpoint(slog.New(slog.DiscardHandler))
		e.Tight() // 8 messages, 6 of them requests
		run(t, e, &bridgestest.Link{To: func([]byte) bool { return true }}, handler{request: func(in *bridges.Incoming) {
			<-free
			in.Answer(bridges.Response{Status: 200}, "")
		}})
		w := &wire{t: t, e: e}
		taken := 0
		for range 40 {
			lines := w.lines("MESSAGE")
			lines[5] = "Call-ID: the-same" // one worker
			if e.Receive([]byte(message(lines...))) {
				taken++
			}
			synctest.Wait()
		}
		if taken != 7 { // one is being handled
			t.Errorf("took %d", taken)
		}
		close(free)
		w.empty()
	})
}

func TestOpenRequestsOfABridgeAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, true) // 4
		for range 4 {
			w.do(request("MESSAGE"))
			w.next("MESSAGE ")
		}
		if o := next(t, w.do(request("MESSAGE")), "answer"); o.Status != 503 || !o.Local {
			t.Errorf("answered %+v", o.Response)
		}
		w.none()
	})
}

func TestOpenRequestsOfOurSideAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, true) // 4
		for range 4 {
			w.receive(w.lines("MESSAGE")...)
			next(t, w.requests, "request")
		}
		w.receive(w.lines("MESSAGE")...)
		if m := w.next("SIP/2.0 480 "); !strings.Contains(string(m.Raw()), "\r\nRetry-After: 5\r\n") {
			t.Errorf("answered %q", m.Raw())
		}
	})
}

func TestDialogsAreBounded(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		room  int
	}{
		{"by number", nil, 3},
		{"by what describes them", []string{"Record-Route: <sip:" + strings.Repeat("x", 3000) + "@p1.example.com;lr>"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWire(t, true)
				var dialogs []*bridges.Dialog
				for range tt.room {
					w.receive(with(append(tt.lines, notifier)...)(w.lines("SUBSCRIBE"))...)
					dialogs = append(dialogs, next(t, w.requests, "SUBSCRIBE").Answer(bridges.Response{Status: 200}, ""))
					w.next("SIP/2.0 200 ")
				}
				w.receive(with(append(tt.lines, notifier)...)(w.lines("SUBSCRIBE"))...)
				if d := next(t, w.requests, "SUBSCRIBE").Answer(bridges.Response{Status: 200}, ""); d != nil {
					t.Error("made one more")
				}
				w.next("SIP/2.0 480 ")
				w.receive(with(append(tt.lines, notifier)...)(w.lines("INVITE"))...)
				in := next(t, w.requests, "INVITE")
				w.next("SIP/2.0 100 ")
				in.Answer(bridges.Response{Status: 180}, "")
				w.none()
				in.Answer(bridges.Response{Status: 200}, "")
				w.next("SIP/2.0 480 ")
				_, m, answers := w.invite()
				w.respond(m, 200, "n1", append(tt.lines, notifier)...)
				w.next("ACK ") // and it ends what it cannot keep
				w.next("BYE ")
				if o := next(t, answers, "answer"); o.Status != 503 || !o.Local || o.d != nil {
					t.Errorf("answered %+v with %v", o.Response, o.d)
				}
				dialogs[0].End()
				w.receive(with(append(tt.lines, notifier)...)(w.lines("SUBSCRIBE"))...)
				if d := next(t, w.requests, "SUBSCRIBE").Answer(bridges.Response{Status: 200}, ""); d == nil {
					t.Error("there is no room again")
				}
			})
		})
	}
}

func TestSUBSCRIBEsThatWaitForNOTIFYsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, true) // 2
		for range 2 {
			w.subscribe()
		}
		if o := next(t, w.do(request("SUBSCRIBE")), "answer"); o.Status != 503 || !o.Local {
			t.Errorf("answered %+v", o.Response)
		}
	})
}

func TestABridgeThatSendsWithoutEndLosesItsEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := bridges.NewEndpoint(slog.New(slog.DiscardHandler))
		e.Tight()
		done := make(chan error, 1)
		free := make(chan struct{})
		go func() {
			done <- e.Run(t.Context(), &bridgestest.Link{To: func([]byte) bool { return true }},
				handler{request: func(*bridges.Incoming) { <-free }})
		}()
		<-e.Started()
		w := &wire{t: t, e: e}
		for range 8 { // keeps the workers from taking answers
			e.Receive([]byte(message(w.lines("MESSAGE")...)))
		}
		for range 10000 {
			e.Do(request("MESSAGE"), nil)
		}
		if local := e.Held()["local"]; local > 20 {
			t.Errorf("%d answers of our own wait", local)
		}
		close(free)
		if err := next(t, done, "end"); err == nil || !strings.Contains(err.Error(), "too many requests") {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestSeveralMessagesMayComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		var all []byte
		const n = 100
		for i := range n {
			lines := with("Content-Type: text/plain")(w.lines("MESSAGE"))
			lines[5] = "Call-ID: the-same"
			lines[len(lines)-1] = strings.Repeat("x", 300*i)
			all = append(all, message(lines...)...)
		}
		all = append(all, "\r\n\r\n"...)
		if !w.e.Receive(all) {
			t.Fatal("not taken")
		}
		for i := range n {
			if in := next(t, w.requests, "request"); len(in.Body) != 300*i {
				t.Fatalf("number %d has %d octets", i, len(in.Body))
			}
		}
	})
}

func TestOctetsThatAreNotSIPAreNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		whole := message(w.lines("MESSAGE")...)
		for _, raw := range []string{
			"GET / HTTP/1.1\r\n\r\n", whole[:len(whole)-1], whole + "x", whole + whole[:20],
			strings.Replace(whole, "Content-Length: 0", "Content-Length: 5", 1),
			strings.Replace(whole, "Content-Length: 0\r\n", "", 1),
		} {
			if w.e.Receive([]byte(raw)) {
				t.Errorf("took %q", raw)
			}
		}
		if !w.e.Receive(nil) || !w.e.Receive([]byte("\r\n\r\n")) {
			t.Error("did not take nothing")
		}
		w.empty()
	})
}

func TestAnEndpointThatEndsAnswersBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := make(chan string, 16)
		e := bridges.NewEndpoint(slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		requests := make(chan *bridges.Incoming, 16)
		go func() {
			done <- e.Run(ctx, &named{"edge.example.com:5061", sent}, handler{request: func(in *bridges.Incoming) { requests <- in }})
		}()
		<-e.Started()
		w := &wire{t: t, e: e, sent: sent}
		answers := w.do(request("MESSAGE"))
		w.next("MESSAGE ")
		w.receive(w.lines("MESSAGE")...)
		in := next(t, requests, "request")
		cancel()
		if o := next(t, answers, "answer"); o.Status != 503 || !o.Local {
			t.Errorf("answered %+v", o.Response)
		}
		w.next("SIP/2.0 480 ")
		if err := next(t, done, "end"); err != nil {
			t.Errorf("ended with %v", err)
		}
		in.Answer(bridges.Response{Status: 200}, "")
		e.Do(request("MESSAGE"), func(*bridges.Response, *bridges.Dialog) { t.Error("answered after the end") })
		if e.Receive([]byte(message(w.lines("MESSAGE")...))) {
			t.Error("took a message after the end")
		}
		w.none()
		w.empty()
	})
}

func TestAPanicInACallbackEndsTheEndpointAlone(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(w *wire)
	}{
		{"of a request", func(w *wire) {
			w.receive(w.lines("MESSAGE")...)
			w.next("SIP/2.0 480 ")
		}},
		{"of an answer", func(w *wire) {
			w.e.Do(request("MESSAGE"), func(*bridges.Response, *bridges.Dialog) { panic("at the disco") })
			w.respond(w.next("MESSAGE "), 200, "x")
		}},
		{"of an answer of our own", func(w *wire) {
			w.e.Do(request("ACK"), func(*bridges.Response, *bridges.Dialog) { panic("at the disco") })
		}},
		{"of a goroutine", func(w *wire) { w.e.Go(func() { panic("at the disco") }) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := make(chan string, 16)
				e := bridges.NewEndpoint(slog.New(slog.DiscardHandler))
				done := make(chan error, 1)
				go func() {
					done <- e.Run(t.Context(), &named{"edge.example.com:5061", sent}, handler{request: func(*bridges.Incoming) { panic("at the disco") }})
				}()
				<-e.Started()
				tt.do(&wire{t: t, e: e, sent: sent})
				if err := next(t, done, "end"); err == nil || !strings.Contains(err.Error(), "at the disco") {
					t.Errorf("ended with %v", err)
				}
			})
		})
	}
}
