package bridges_test

import (
	"bytes"
	"testing"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
)

var benchMessage = []byte("MESSAGE sip:juliet@fabrikam.example SIP/2.0\r\n" +
	"Via: SIP/2.0/TLS edge1.example.com:5061;branch=z9hG4bK0123456789abcdef010123456789abcdef\r\n" +
	"Via: SIP/2.0/TLS home1.example.com:5061;branch=z9hG4bKd2b4a6c8e0;received=192.0.2.7\r\n" +
	"Via: SIP/2.0/TLS 192.0.2.44:50123;branch=z9hG4bK776asdhds;rport=50123\r\n" +
	"Max-Forwards: 68\r\n" +
	"From: \"Alice\" <sip:alice@example.com>;tag=49583\r\n" +
	"To: <sip:juliet@fabrikam.example>\r\n" +
	"Call-ID: asd88asd77a@192.0.2.44\r\n" +
	"CSeq: 1 MESSAGE\r\n" +
	"User-Agent: Example/1.0\r\n" +
	"Content-Type: text/plain;charset=UTF-8\r\n" +
	"Content-Length: 18\r\n\r\nWatson, come here.")

// inFlight is how many messages of a benchmark are open at a time: that one
// goroutine waits for another is not what is measured.
const inFlight = 64

// BenchmarkAMessageIn is a MESSAGE that is handled and answered at once.
func BenchmarkAMessageIn(b *testing.B) {
	places := make(chan struct{}, inFlight)
	e := running(b, &bridgestest.Link{To: func([]byte) bool { <-places; return true }},
		handler{request: func(in *bridges.Incoming) { in.Answer(bridges.Response{Status: 200}, "") }})
	b.ReportAllocs()
	raw := append([]byte(nil), benchMessage...)
	at := len("MESSAGE sip:juliet@fabrikam.example SIP/2.0\r\nVia: SIP/2.0/TLS edge1.example.com:5061;branch=z9hG4bK")
	for n := 0; b.Loop(); n++ {
		for i := range 8 {
			raw[at+i] = "0123456789abcdef"[n>>(4*i)&15]
		}
		for i := range 3 { // From's tag too, else it is a copy of another that is open
			raw[at+i+tagAt] = raw[at+i]
		}
		places <- struct{}{}
		if !e.Receive(raw) {
			b.Fatal("not taken")
		}
	}
}

// tagAt is how far From's tag is behind the branch.
const tagAt = len("0123456789abcdef010123456789abcdef\r\n" +
	"Via: SIP/2.0/TLS home1.example.com:5061;branch=z9hG4bKd2b4a6c8e0;received=192.0.2.7\r\n" +
	"Via: SIP/2.0/TLS 192.0.2.44:50123;branch=z9hG4bK776asdhds;rport=50123\r\n" +
	"Max-Forwards: 68\r\n" +
	"From: \"Alice\" <sip:alice@example.com>;tag=")

// BenchmarkAMessageOut is a MESSAGE that is sent, and its answer.
func BenchmarkAMessageOut(b *testing.B) {
	places := make(chan struct{}, inFlight)
	var e *bridges.Endpoint
	link := &bridgestest.Link{}
	link.To = func(raw []byte) bool { return e.Receive(answer(raw)) }
	e = running(b, link, nil)
	r := bridgestest.Message(juliet, alice, "Watson, come here.")
	done := func(*bridges.Response, *bridges.Dialog) { <-places }
	b.ReportAllocs()
	for b.Loop() {
		places <- struct{}{}
		e.Do(r, done)
	}
}

// answer is a 200 to what was sent, made without much ado.
func answer(raw []byte) []byte {
	out := append(make([]byte, 0, 1024), "SIP/2.0 200 OK\r\n"...)
	head, _, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	_, head, _ = bytes.Cut(head, []byte("\r\n"))
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		switch line[0] {
		case 'V', 'F', 'T':
			out = append(append(out, line...), "\r\n"...)
		case 'C':
			if line[1] == 'a' || line[1] == 'S' {
				out = append(append(out, line...), "\r\n"...)
			}
		}
	}
	return append(out, "Content-Length: 0\r\n\r\n"...)
}
