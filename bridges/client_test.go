package bridges_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/sip"
)

func TestARequestThatNobodyAnswersIsAnsweredByTimerF(t *testing.T) {
	for _, provisional := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWire(t, false)
			began := time.Now()
			answers := w.do(request("MESSAGE"))
			m := w.next("MESSAGE ")
			if provisional {
				w.respond(m, 100, "")
			}
			o := next(t, answers, "answer")
			if o.Status != 408 || !o.Local || o.d != nil {
				t.Errorf("answered %+v", o.Response)
			}
			if d := time.Since(began); d < 32*time.Second || d > 33*time.Second {
				t.Errorf("after %v, want 32s", d)
			}
			w.respond(m, 200, "x") // too late
			w.empty()
			if len(answers) > 0 {
				t.Error("answered twice")
			}
		})
	}
}

func TestWhatIsNoAnswerToARequestOfOursIsDropped(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(raw string) string
	}{
		{"another branch", func(s string) string { return strings.Replace(s, "branch=z9hG4bK", "branch=z9hG4bK0", 1) }},
		{"a branch of nobody", func(s string) string { return strings.Replace(s, "branch=z9hG4bK", "branch=z9hG4bg", 1) }},
		{"another method", func(s string) string { return strings.Replace(s, " MESSAGE\r\n", " INFO\r\n", 1) }},
		{"another number", func(s string) string { return strings.Replace(s, "CSeq: ", "CSeq: 1", 1) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWire(t, false)
				answers := w.do(request("MESSAGE"))
				m := w.next("MESSAGE ")
				resp := string(sip.AppendResponse(nil, m, 200, "", "x", nil))
				if edited := tt.edit(resp); edited == resp || !w.e.Receive([]byte(edited)) {
					t.Fatalf("not received: %q", edited)
				}
				synctest.Wait()
				if len(answers) > 0 {
					t.Fatalf("answered %+v", (<-answers).Response)
				}
				w.respond(m, 200, "x")
				if o := next(t, answers, "answer"); o.Status != 200 || o.ToTag != "x" {
					t.Errorf("answered %+v", o.Response)
				}
			})
		})
	}
}

func TestAFaultyAnswerIsA502(t *testing.T) {
	for _, edit := range []func(string) string{
		func(s string) string { return strings.Replace(s, "\r\nFrom:", "\r\nVia: SIP/2.0/TLS x\r\nFrom:", 1) },
		func(s string) string { return strings.Replace(s, "\r\nTo: ", "\r\nTo: <<", 1) },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWire(t, false)
			answers := w.do(request("MESSAGE"))
			m := w.next("MESSAGE ")
			if !w.e.Receive([]byte(edit(string(sip.AppendResponse(nil, m, 200, "", "x", nil))))) {
				t.Fatal("not taken")
			}
			if o := next(t, answers, "answer"); o.Status != 502 || !o.Local {
				t.Errorf("answered %+v", o.Response)
			}
			w.empty()
		})
	}
}

func TestWhatCannotBeWrittenIsNotSent(t *testing.T) {
	long := strings.Repeat("x", 1<<20+1)
	for _, tt := range []struct {
		name   string
		edit   func(r *bridges.Request)
		status int
	}{
		{"a line end in the Request-URI", func(r *bridges.Request) { r.URI += "\r\nX: y" }, 400},
		{"a header in the Request-URI", func(r *bridges.Request) { r.URI += "?Route=%3Csip:x@example.com%3E" }, 400},
		{"a blank in the Request-URI", func(r *bridges.Request) { r.URI += " x" }, 400},
		{"a scheme of others", func(r *bridges.Request) { r.URI = "xmpp:romeo@example.com" }, 400},
		{"no Request-URI", func(r *bridges.Request) { r.URI = "" }, 400},
		{"a bracket in From", func(r *bridges.Request) { r.From.URI += ">;tag=x" }, 400},
		{"a line end in From", func(r *bridges.Request) { r.From.URI += "\n" }, 400},
		{"a parameter in From's tag", func(r *bridges.Request) { r.From.Tag = "x;y" }, 400},
		{"a line end in To", func(r *bridges.Request) { r.To.URI += "\r" }, 400},
		{"a tag in To", func(r *bridges.Request) { r.To.Tag = "x" }, 400},
		{"a line end in Call-ID", func(r *bridges.Request) { r.CallID = "a\r\nX: y" }, 400},
		{"two @ in Call-ID", func(r *bridges.Request) { r.CallID = "a@b@c" }, 400},
		{"a method that is none", func(r *bridges.Request) { r.Method = "MES SAGE" }, 400},
		{"a method in small letters", func(r *bridges.Request) { r.Method = "message" }, 400},
		{"an ACK", func(r *bridges.Request) { r.Method = "ACK" }, 400},
		{"a Contact that is more than a user", func(r *bridges.Request) { r.Contact = "a:b" }, 400},
		{"a Contact that ends", func(r *bridges.Request) { r.Contact = "a@example.com>, <sip:b" }, 400},
		{"a CSeq beyond 2**31", func(r *bridges.Request) { r.CSeq = 1 << 31 }, 400},
		{"a line end in a value", func(r *bridges.Request) { r.Fields = bridges.Fields{{"Subject", "a\r\nX: y"}} }, 400},
		{"a bare CR in a value", func(r *bridges.Request) { r.Fields = bridges.Fields{{"Subject", "a\rb"}} }, 400},
		{"a NUL in a value", func(r *bridges.Request) { r.Fields = bridges.Fields{{"Subject", "a\x00b"}} }, 400},
		{"a DEL in a value", func(r *bridges.Request) { r.Fields = bridges.Fields{{"Subject", "a\x7fb"}} }, 400},
		{"NEL in a value", func(r *bridges.Request) { r.Fields = bridges.Fields{{"Subject", "a\u0085b"}} }, 400},
		{"a line separator in a value", func(r *bridges.Request) { r.Fields = bridges.Fields{{"Subject", "a\u2028b"}} }, 400},
		{"what is not UTF-8 in a value", func(r *bridges.Request) { r.Fields = bridges.Fields{{"Subject", "a\xffb"}} }, 400},
		{"a colon in a name", func(r *bridges.Request) { r.Fields = bridges.Fields{{"X: y\r\nSubject", "a"}} }, 400},
		{"no name", func(r *bridges.Request) { r.Fields = bridges.Fields{{"", "a"}} }, 400},
		{"a field of the Endpoint's", func(r *bridges.Request) { r.Fields = bridges.Fields{{"ROUTE", "<sip:x@example.com;lr>"}} }, 400},
		{"the same in its short form", func(r *bridges.Request) { r.Fields = bridges.Fields{{"f", "<sip:x@example.com>"}} }, 400},
		{"a length", func(r *bridges.Request) { r.Fields = bridges.Fields{{"l", "0"}} }, 400},
		{"the mark", func(r *bridges.Request) { r.Fields = bridges.Fields{{"sipedge-BRIDGE", "xmpp;hops=1"}} }, 400},
		{"a Contact among the fields", func(r *bridges.Request) { r.Fields = bridges.Fields{{"m", "<sip:x@example.com>"}} }, 400},
		{"a type with a line end", func(r *bridges.Request) { r.ContentType = "text/plain\r\nX: y" }, 400},
		{"a body without type", func(r *bridges.Request) { r.ContentType, r.Body = "", []byte("x") }, 400},
		{"a body beyond a megabyte", func(r *bridges.Request) { r.ContentType, r.Body = "text/plain", []byte(long) }, 513},
		{"fields beyond 32 kilobytes", func(r *bridges.Request) { r.Fields = bridges.Fields{{"Subject", long[:33<<10]}} }, 513},
		{"no hop left", func(r *bridges.Request) { r.MaxForwards = (&bridges.Request{MaxForwards: 1}).Onward() }, 483},
		{"more hops than there are", func(r *bridges.Request) { r.MaxForwards = 256 }, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWire(t, false)
				r := request("MESSAGE")
				tt.edit(r)
				if o := next(t, w.do(r), "answer"); o.Status != tt.status || !o.Local {
					t.Errorf("answered %+v, want %d", o.Response, tt.status)
				}
				w.none()
				w.empty()
			})
		})
	}
}

func TestARequestIsWrittenAsItShouldBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		r := request("MESSAGE")
		r.From.Display, r.To.Display = "Juliet \"C\"\r\nX: \\y\xff\u0085", strings.Repeat("ü", 200)
		r.CallID, r.CSeq, r.MaxForwards, r.Hops, r.From.Tag = "a-b!@c:d", 7, 12, 1, "mine"
		r.Fields = bridges.Fields{{"Subject", "Grüße\tx"[:7]}, {"X-Empty", ""}}
		r.ContentType, r.Body = "text/plain;charset=UTF-8", []byte("a\r\n\r\nb")
		w.do(r)
		m := w.next("MESSAGE " + alice + " SIP/2.0\r\nVia: SIP/2.0/TLS bridge.example.com:5061;branch=z9hG4bK")
		_, rest, _ := strings.Cut(string(m.Raw()), "\r\nMax-Forwards")
		want := ": 12\r\n" +
			"From: \"Juliet \\\"C\\\"  X: \\\\y\uFFFD \" <" + juliet + ">;tag=mine\r\n" +
			"To: \"" + strings.Repeat("ü", 128) + "\" <" + alice + ">\r\n" +
			"Call-ID: a-b!@c:d\r\nCSeq: 7 MESSAGE\r\nSipedge-Bridge: bridge;hops=2\r\n" +
			"Subject: Grüße\r\nX-Empty: \r\n" +
			"Content-Type: text/plain;charset=UTF-8\r\nContent-Length: 6\r\n\r\na\r\n\r\nb"
		if rest != want {
			t.Errorf("sent\n%q, want\n%q", rest, want)
		}
	})
}

func TestNoTwoRequestsHaveTheSameNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		seen := make(map[string]bool)
		for range 100 {
			w.do(request("MESSAGE"))
			m := w.next("MESSAGE ")
			via, _ := m.TopVia()
			from, _ := m.From()
			for _, name := range []string{string(via.Branch), string(from.Tag()), string(m.CallID()), string(m.Value(sip.CSeq))} {
				if seen[name] || len(name) < 2 {
					t.Fatalf("%q twice", name)
				}
				seen[name] = true
			}
		}
	})
}

func TestTheNamesOfTheHostAreThoseOfItsSelf(t *testing.T) {
	for _, tt := range []struct{ self, via, contact string }{
		{"edge.example.com:5061", "SIP/2.0/TLS edge.example.com:5061;", "edge.example.com:5061;transport=tls>"},
		{"edge.example.com:5060;transport=tcp", "SIP/2.0/TCP edge.example.com:5060;", "edge.example.com:5060;transport=tcp>"},
		{"[2001:db8::1]:5061", "SIP/2.0/TLS [2001:db8::1]:5061;", "[2001:db8::1]:5061;transport=tls>"},
	} {
		sent := make(chan string, 1)
		e := running(t, &named{tt.self, sent}, nil)
		r := request("INVITE")
		r.Contact = "juliet"
		e.Do(r, nil)
		raw := next(t, sent, "INVITE")
		if m := parsed(t, raw); !strings.HasPrefix(string(m.Value(sip.Via)), tt.via) || string(m.Value(sip.Contact)) != "<sip:juliet@"+tt.contact {
			t.Errorf("sent %q", raw)
		}
	}
}

// named is a Host with a name.
type named struct {
	self string
	sent chan string
}

func (n *named) Self() string { return n.self }

func (n *named) Send(message []byte, _ bridges.Proof) error {
	select {
	case n.sent <- string(message):
	default:
	}
	return nil
}
