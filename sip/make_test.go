package sip

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAnswersOfOurOwn(t *testing.T) {
	timed := strings.Replace(odd, "Call-ID", "Timestamp: 5\nCall-ID", 1)
	untagged := strings.Replace(odd, ";   tag    = 19", "", 1)
	for _, tt := range []struct {
		name   string
		in     string
		status int
		reason string
		tag    string
		extra  string
	}{
		{"refusal", odd, 403, "", "ours", "Warning: 399 edge1.example.com \"reference 1\"\r\n"},
		{"refusal-without-tag", untagged, 403, "No", "ours", ""},
		{"trying", timed, 100, "", "ours", ""},
		{"hardly-anything", "OPTIONS sip:a SIP/2.0\nVia: SIP/2.0/TLS a.example\n\n", 400, "Missing\r\nX: To", "ours", ""},
		{"malformed-to", strings.Replace(plainRequest, "<sip:bob", `"<sip:bob`, 1), 400, "", "ours", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := AppendResponse(nil, parsed(t, crlf(tt.in)), tt.status, tt.reason, tt.tag, []byte(tt.extra))
			golden(t, "make/"+tt.name+".txt", out)
			parsed(t, out)
		})
	}
}

const plainRequest = "OPTIONS sip:bob@example.com SIP/2.0\nVia: SIP/2.0/TLS edge.fabrikam.example;branch=z9hG4bK1\n" +
	"From: <sip:alice@fabrikam.example>;tag=1\nTo: <sip:bob@example.com>\nCall-ID: 1@fabrikam.example\nCSeq: 1 OPTIONS\n\n"

func TestWhatFollowsAnInviteHopByHop(t *testing.T) {
	sent := parsed(t, crlf(odd))
	if f := sent.Fault(); f != nil {
		t.Fatal(f)
	}
	golden(t, "make/cancel.txt", AppendCancel(nil, sent))
	resp := parsed(t, AppendResponse(nil, sent, 486, "", "", nil))
	resp = parsed(t, []byte(strings.Replace(string(resp.Raw()), "tag    = 19", "tag=theirs", 1)))
	golden(t, "make/ack.txt", AppendACK(nil, sent, resp))
	for _, raw := range [][]byte{AppendCancel(nil, sent), AppendACK(nil, sent, resp)} {
		if f := parsed(t, raw).Fault(); f != nil {
			t.Errorf("%v in\n%s", f, raw)
		}
	}
}

func TestEveryStatusHasAPhrase(t *testing.T) {
	for status := 100; status < 700; status++ {
		if p := Phrase(status); p == "" || safeReason(p) != p {
			t.Errorf("Phrase(%d) = %q", status, p)
		}
	}
	if Phrase(403) != "Forbidden" || Phrase(499) != "Request Failure" {
		t.Error("wrong phrases")
	}
}

// What came from elsewhere than its topmost Via says is answered with where it came from,
// and so is who asks for that (RFC 3261 §18.2.1, RFC 3581 §4).
func TestAnswersOfOurOwnSayWhereTheRequestCameFrom(t *testing.T) {
	const below = "Via: SIP/2.0/TLS b.example;rport;branch=z9hG4bK0\n"
	for _, tt := range []struct{ name, via, from, want string }{
		{"a name", "a.example;branch=z9hG4bK1", "192.0.2.1:4711", "a.example;branch=z9hG4bK1;received=192.0.2.1"},
		{"another address", "10.0.0.9:5061;branch=z9hG4bK1", "192.0.2.1:4711", "10.0.0.9:5061;branch=z9hG4bK1;received=192.0.2.1"},
		{"the same address", "192.0.2.1:5061;branch=z9hG4bK1", "192.0.2.1:4711", "192.0.2.1:5061;branch=z9hG4bK1"},
		{"the same address, and a question", "192.0.2.1:5061;rport;branch=z9hG4bK1", "192.0.2.1:4711", "192.0.2.1:5061;rport=4711;branch=z9hG4bK1;received=192.0.2.1"},
		{"a question that says its answer", "192.0.2.1:5061;rport=1;branch=z9hG4bK1", "192.0.2.1:4711", "192.0.2.1:5061;rport=1;branch=z9hG4bK1"},
		{"what it says itself is no evidence", "a.example;received=198.51.100.1;branch=z9hG4bK1;rport", "192.0.2.1:4711", "a.example;received=192.0.2.1;branch=z9hG4bK1;rport=4711"},
		{"nor where the rest is true", "192.0.2.1;branch=z9hG4bK1;received=10.0.0.5", "192.0.2.1:4711", "192.0.2.1;branch=z9hG4bK1;received=192.0.2.1"},
		{"IPv6", "[2001:db8::1];branch=z9hG4bK1", "[2001:db8::1]:4711", "[2001:db8::1];branch=z9hG4bK1"},
		{"another IPv6", "[2001:db8::1];branch=z9hG4bK1", "[2001:db8::2]:4711", "[2001:db8::1];branch=z9hG4bK1;received=2001:db8::2"},
		{"IPv4 in IPv6", "192.0.2.1;branch=z9hG4bK1", "[::ffff:192.0.2.1]:4711", "192.0.2.1;branch=z9hG4bK1"},
		{"nowhere", "a.example;rport;branch=z9hG4bK1", "", "a.example;rport;branch=z9hG4bK1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := parsed(t, crlf("MESSAGE sip:bob@example.com SIP/2.0\nVia: SIP/2.0/TLS "+tt.via+"\n"+below+
				"From: <sip:alice@fabrikam.example>;tag=1\nTo: <sip:bob@example.com>\nCall-ID: 1\nCSeq: 1 MESSAGE\nContent-Length: 0\n\n"))
			var top TopVia
			if tt.from != "" {
				top.Source = netip.MustParseAddrPort(tt.from)
			}
			got, _, _ := strings.Cut(string(AppendAnswer(nil, m, 403, "", "ours", nil, top)), "From:")
			if want := strings.ReplaceAll("SIP/2.0 403 Forbidden\nVia: SIP/2.0/TLS "+tt.want+"\n"+below, "\n", "\r\n"); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}
