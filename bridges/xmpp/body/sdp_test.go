package body

import (
	"slices"
	"strings"
	"testing"
)

// described is a session description with these lines.
func described(lines ...string) string {
	return crlf(append([]string{"v=0", "o=- 0 0 IN IP4 192.0.2.1", "s=session", "c=IN IP4 192.0.2.1", "t=0 0"}, append(lines, "")...)...)
}

func TestASessionOfMessagesIsRecognized(t *testing.T) {
	for _, tt := range []struct {
		name string
		sdp  string
		want Session
	}{
		{"Microsoft's clients", described("m=message 5060 sip null", "a=accept-types:text/plain multipart/alternative image/gif text/rtf"), SIPSession},
		{"with an address", described("m=message 5060 sip sip:bob@example.com"), SIPSession},
		{"with another name", described("m=x-ms-message 5060 sip null"), SIPSession},
		{"after something else", described("m=audio 49170 RTP/AVP 0", "m=message 5060 sip null"), SIPSession},
		{"MSRP", described("m=message 7654 TCP/MSRP *", "a=accept-types:message/cpim text/plain", "a=path:msrp://a.example:7654/s1;tcp"), MSRPSession},
		{"MSRP over TLS", described("m=message 7654 TCP/TLS/MSRP *"), MSRPSession},
		{"the first of two", described("m=message 7654 TCP/MSRP *", "m=message 5060 sip null"), MSRPSession},
		{"one that is refused already", described("m=message 0 TCP/MSRP *", "m=message 5060 sip null"), SIPSession},
		{"a call", described("m=audio 49170 RTP/AVP 0"), NoSession},
		{"messages in another way", described("m=message 5060 carrier-pigeon null"), NoSession},
		{"a broken line", described("m=message"), NoSession},
		{"bare line ends", strings.ReplaceAll(described("m=message 5060 sip null"), "\r", ""), SIPSession},
	} {
		o, ok := ReadOffer([]byte(tt.sdp))
		if !ok || o.Kind != tt.want {
			t.Errorf("%s: %+v, %v; want %d", tt.name, o, ok, tt.want)
		}
	}
	for name, sdp := range map[string]string{
		"nothing":            "",
		"something else":     "hello",
		"a broken line":      described("m"),
		"control characters": described("m=message 5060 sip n\x01ull"),
		"too many lines":     described(strings.Repeat("a=x\r\n", maxSDPLines)),
		"too many media":     described(strings.Repeat("m=audio 1 RTP/AVP 0\r\n", maxSDPMedia+1)),
	} {
		if o, ok := ReadOffer([]byte(sdp)); ok {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestWhatTheOtherSideTakesIsKnown(t *testing.T) {
	for _, tt := range []struct {
		accepts, kind string
		want          bool
	}{
		{"", "text/plain", true},
		{"", "text/html", false},
		{"text/plain text/html", "text/html", true},
		{"TEXT/*", "text/html", true},
		{"*", "message/cpim", true},
		{"text/plain", "message/cpim", false},
	} {
		o, ok := ReadOffer([]byte(described("m=audio 1 RTP/AVP 0", "a=accept-types:image/png", "m=message 5060 sip null", "a=accept-types:"+tt.accepts, "m=video 1 RTP/AVP 0", "a=accept-types:*")))
		if got := o.Takes(tt.kind); !ok || got != tt.want {
			t.Errorf("%q takes %s: %v", tt.accepts, tt.kind, got)
		}
	}
	o, _ := ReadOffer([]byte(described("m=message 5060 sip null", "a=accept-types:"+strings.Repeat("a/b ", 1000))))
	if len(o.Accepts) != maxSDPAccept {
		t.Errorf("%d types are kept", len(o.Accepts))
	}
}

const acceptLine = "a=accept-types:text/plain text/html multipart/alternative message/cpim application/im-iscomposing+xml message/imdn+xml"

func TestASessionOfMessagesIsAnswered(t *testing.T) {
	o, ok := ReadOffer([]byte(described("m=audio 49170 RTP/AVP 0 8", "a=sendrecv", "m=x-ms-message 5060 sip sip:bob@example.com", "m=x", "m=message 5060 sip null")))
	if !ok {
		t.Fatal("no description")
	}
	want := crlf("v=0", "o=- 0 0 IN IP4 edge.example.net", "s=session", "c=IN IP4 edge.example.net", "t=0 0",
		"m=audio 0 RTP/AVP 0 8", "m=x-ms-message 5060 sip null", acceptLine, "m=message 0 TCP *", "m=message 0 sip null", "")
	if got := string(o.Answer("edge.example.net")); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	want = crlf("v=0", "o=- 0 0 IN IP6 2001:db8::1", "s=session", "c=IN IP6 2001:db8::1", "t=0 0", "m=message 5060 sip null", acceptLine, "")
	if got := string(NewOffer("[2001:db8::1]")); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// FuzzSDP: an answer has the lines of the offer, and takes one of them at most.
func FuzzSDP(f *testing.F) {
	f.Add(described("m=message 5060 sip null", "a=accept-types:text/plain"))
	f.Add(described("m=audio 1 RTP/AVP 0", "m=x-ms-message 5060 sip null", "m=message 1 TCP/MSRP *"))
	f.Fuzz(func(t *testing.T, s string) {
		o, ok := ReadOffer([]byte(s))
		if !ok || o.Kind != SIPSession {
			return
		}
		answer := string(o.Answer("192.0.2.1"))
		again, ok := ReadOffer([]byte(answer))
		if !ok || again.Kind != SIPSession || len(again.media) != len(o.media) || again.at != o.at {
			t.Fatalf("%q was answered with %q", s, answer)
		}
		taken := slices.DeleteFunc(again.media, func(m string) bool { return strings.Fields(m)[1] == "0" })
		if len(taken) != 1 {
			t.Errorf("%q takes %q", answer, taken)
		}
	})
}
