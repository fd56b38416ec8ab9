package sip

import (
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
