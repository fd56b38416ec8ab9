package edge

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/sip"
)

const (
	im       = allowlists.KindIM
	presence = allowlists.KindPresence
	calls    = allowlists.KindCalls
	files    = allowlists.KindFiles
	other    = allowlists.KindOther
)

// carries makes a request with more header lines and a body.
func carries(t testing.TB, method, lines, body string) *sip.Message {
	t.Helper()
	body = strings.ReplaceAll(body, "\n", "\r\n")
	head := fmt.Sprintf("%[1]s sip:bob@example.com SIP/2.0\nVia: SIP/2.0/TLS 192.0.2.7;branch=z9hG4bK1\nMax-Forwards: 70\n"+
		"From: <sip:a@fabrikam.example>;tag=a\nCall-ID: 1\nCSeq: 1 %[1]s\n%[2]sContent-Length: %[3]d\n\n", method, lines, len(body))
	if !strings.Contains(lines, "To: ") {
		head = strings.Replace(head, "Call-ID", "To: <sip:bob@example.com>\nCall-ID", 1)
	}
	m := new(sip.Message)
	if err := m.Parse([]byte(strings.ReplaceAll(head, "\n", "\r\n")+body), sip.Limits{}); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWhatARequestCarriesIsSeenInItsMethod(t *testing.T) {
	const tagged = "To: <sip:bob@example.com>;tag=b\n"
	for _, tt := range []struct {
		method, lines string
		want          allowlists.Kinds
	}{
		{"MESSAGE", "", im},
		{"INVITE", "", calls},
		{"INVITE", tagged, calls},
		{"UPDATE", tagged, 0},
		{"PRACK", tagged, 0},
		{"ACK", tagged, 0},
		{"BYE", tagged, 0},
		{"OPTIONS", "", 0},
		{"INFO", tagged, 0},
		{"INFO", "", other},
		{"REFER", tagged, 0},
		{"REFER", "", calls},
		{"SERVICE", "", presence},
		{"REGISTER", "", other},
		{"message", "", other},
		{"FROBNICATE", "", other},
	} {
		if got := kindsOf(carries(t, tt.method, tt.lines, "")); got != tt.want {
			t.Errorf("%s with %q carries %q, want %q", tt.method, tt.lines, got, tt.want)
		}
	}
}

func TestSubscriptionsAreJudgedByTheirPackage(t *testing.T) {
	for _, tt := range []struct {
		lines string
		want  allowlists.Kinds
	}{
		{"Event: presence\n", presence},
		{"o: Presence ;id=7\n", presence},
		{"Event: presence.winfo\n", presence},
		{"Event: vnd-microsoft-roaming-contacts\n", presence},
		{"Event: conference\n", calls},
		{"Event: dialog;sla\n", calls},
		{"Event: message-summary\n", calls},
		{"Event: refer;id=93809823\n", calls},
		{"To: <sip:bob@example.com>;tag=b\nEvent: refer;id=93809823\n", 0},
		{"Event: ua-profile\n", other},
		{"Event: " + strings.Repeat("presence", 30) + "\n", other},
		{"Event: presence\nEvent: dialog\n", other},
		{"Event:\n", other},
		{"", other},
	} {
		for _, method := range []string{"SUBSCRIBE", "NOTIFY", "BENOTIFY", "PUBLISH"} {
			if got := kindsOf(carries(t, method, tt.lines, "")); got != tt.want {
				t.Errorf("%s with %q carries %q, want %q", method, tt.lines, got, tt.want)
			}
		}
	}
}

func TestSessionsAreJudgedByTheirDescription(t *testing.T) {
	const start = "v=0\no=- 1 1 IN IP4 192.0.2.7\ns=-\nc=IN IP4 192.0.2.7\nt=0 0\n"
	for _, tt := range []struct {
		name, media string
		want        allowlists.Kinds
	}{
		{"a call", "m=audio 49170 RTP/AVP 0\n", calls},
		{"with a picture", "m=audio 49170 RTP/AVP 0\nm=video 49172 RTP/AVP 34\n", calls},
		{"a shared screen", "m=applicationsharing 9 TCP/RTP/SAVP 127\n", calls},
		{"fax", "m=image 49170 udptl t38\n", calls},
		{"the floor of a conference", "m=audio 9 RTP/AVP 0\nm=application 9 TCP/BFCP *\n", calls},
		{"a data channel", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\n", other},
		{"messages", "m=message 7654 TCP/MSRP *\na=accept-types:text/plain\n", im},
		{"messages of the Microsoft dialect", "m=message 5060 sip null\n", im},
		{"a file over MSRP", "m=message 7654 TCP/MSRP *\na=sendonly\na=file-selector:name:\"x.exe\" size:1\n", files},
		{"a file and a chat", "m=message 7654 TCP/MSRP *\na=file-selector\nm=message 7656 TCP/MSRP *\n", files | im},
		{"a file selected for all", "a=file-selector\nm=message 7654 TCP/MSRP *\nm=message 7656 TCP/MSRP *\n", files},
		{"a file of the Microsoft dialect", "m=data 6901 TCP/RTP/AVP *\n", files},
		{"a call and a chat", "m=audio 1 RTP/AVP 0\nm=message 7654 TCP/MSRP *\n", calls | im},
		{"what is switched off does not count", "m=audio 0 RTP/AVP 0\nm=message 7654 TCP/MSRP *\n", im},
		{"off in many digits", "m=audio 000/2 RTP/AVP 0\nm=message 7654 TCP/MSRP *\n", im},
		{"bundled is not off", "m=audio 0 RTP/AVP 0\na=bundle-only\nm=message 7654 TCP/MSRP *\n", calls | im},
		{"a port that is no number", "m=audio 0x RTP/AVP 0\nm=message 7654 TCP/MSRP *\n", calls | im},
		{"all is off, but it rings", "m=audio 0 RTP/AVP 0\n", calls},
		{"nothing at all", "", calls},
		{"in capitals, with blanks", " M = Audio 9 RTP/AVP 0\nm=message 7654 TCP/MSRP *\n", calls | im},
		{"behind a bare CR", "m=message 7654 TCP/MSRP *\ra=x\rm=audio 9 RTP/AVP 0\n", calls | im},
		{"behind a NUL", "m=message 7654 TCP/MSRP *\na=x\x00m=audio 9 RTP/AVP 0\n", other},
		{"behind a vertical tab", "m=message 7654 TCP/MSRP *\na=x\vm=audio 9 RTP/AVP 0\n", other},
		{"nobody knows", "m=hologram 9 RTP/AVP 0\n", other},
		{"no medium", "m=\n", other},
		{"endless", strings.Repeat("a=x\n", maxDescribe/4), other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := kindsOf(carries(t, "INVITE", "Content-Type: application/sdp\n", start+tt.media))
			if got != tt.want {
				t.Errorf("carries %q, want %q", got, tt.want)
			}
		})
	}
}

func TestBodiesThatReadersDifferOnAreRefused(t *testing.T) {
	const (
		chat = "v=0\nm=message 7654 TCP/MSRP *\n"
		call = "v=0\nm=audio 9 RTP/AVP 0\n"
		sdp  = "Content-Type: application/sdp\n"
		two  = "--b\nContent-Type: application/sdp\n\n" + chat + "--b\nContent-Type: text/plain\n\nhello\n--b--\n"
	)
	mixed := func(boundary string) string { return "Content-Type: multipart/mixed;boundary=" + boundary + "\n" }
	for _, tt := range []struct {
		name, method, lines, body string
		want                      allowlists.Kinds
	}{
		{"one part of two", "INVITE", mixed("b"), two, im},
		{"quoted, in capitals", "INVITE", "c: Multipart / MIXED ; x=\"a;boundary=c\" ; Boundary=\"b\"\n", two, im},
		{"alternatives add up", "INVITE", mixed("b"), "--b\n" + sdp + "\n" + chat + "\n--b\n" + sdp + "\n" + call + "\n--b--", im | calls},
		{"one within the other", "INVITE", mixed("b"), "--b\n" + mixed("c") + "\n--c\n" + sdp + "\n" + call + "\n--c--\n--b--", calls},
		{"no description in any", "INVITE", mixed("b"), "--b\nContent-Type: text/plain\n\nhello\n--b--", calls},
		{"a file transfer", "INVITE", mixed("b"), "--b\nContent-Type: application/ms-filetransfer+xml\n\n<x/>\n--b\n" + sdp + "\nm=data 9 TCP/RTP/AVP *\n--b--", files},
		{"never closed", "INVITE", mixed("b"), "--b\n" + sdp + "\n" + chat, other | calls},
		{"not even begun", "INVITE", mixed("b"), "hello", calls | other},
		{"closed twice", "INVITE", mixed("b"), two + "--b\n" + sdp + "\n" + call + "\n--b--", im | other},
		{"a boundary in the middle of a line", "INVITE", mixed("b"), "--b\n" + sdp + "\n" + chat + "a=x--b\n\n" + call + "--b--", other | calls},
		{"a boundary that goes on", "INVITE", mixed("b"), "--b\n" + sdp + "\n" + chat + "--bb\n\n" + call + "--b--", other | calls},
		{"a boundary behind a bare CR", "INVITE", mixed("b"), "--b\n" + sdp + "\nv=0\r--b\n\n" + call + "--b--", other | calls},
		{"two boundaries", "INVITE", mixed("b;boundary=c"), two, other | calls},
		{"half a boundary", "INVITE", mixed("b;boundary*1=c"), two, other | calls},
		{"no boundary", "INVITE", "Content-Type: multipart/mixed\n", two, other | calls},
		{"a boundary too long", "INVITE", mixed(strings.Repeat("b", 71)), two, other | calls},
		{"two types", "INVITE", sdp + sdp, chat, other | calls},
		{"no type", "INVITE", "", chat, other | calls},
		{"a type that is none", "INVITE", "Content-Type: sdp\n", chat, other | calls},
		{"a fold in the type", "INVITE", "Content-Type: application\n /sdp\n", chat, im},
		{"packed", "INVITE", sdp + "Content-Encoding: gzip\n", chat, other},
		{"written in base64", "INVITE", sdp + "content-transfer-encoding: BASE64\n", chat, other},
		{"written as it is", "INVITE", sdp + "Content-Transfer-Encoding: 8bit\n", chat, im},
		{"a part in base64", "INVITE", mixed("b"), "--b\n" + sdp + "Content-Transfer-Encoding: base64\n\ndj0w\n--b--", other},
		{"a part of two types", "INVITE", mixed("b"), "--b\nContent-Type: text/plain\n" + sdp + "\n" + call + "--b--", other | calls},
		{"a part with a blank line that is none", "INVITE", mixed("b"), "--b\nContent-Type: text/plain\n \n" + sdp + "\n" + call + "--b--", other | calls},
		{"a sealed part", "INVITE", mixed("b"), "--b\n" + sdp + "\n" + chat + "--b\nContent-Type: application/pkcs7-mime\n\nx\n--b--", im | other},
		{"a message within", "INVITE", "Content-Type: message/sip\n", "INVITE", other | calls},
		{"many parts", "INVITE", mixed("b"), strings.Repeat("--b\n\nx\n", maxParts) + "--b--", other | calls},
		{"deep", "INVITE", mixed("b"), strings.Repeat("--b\n"+mixed("b")+"\n", 9) + "--b--", other | calls},
		{"an update", "UPDATE", sdp, call, calls},
		{"an acknowledgement with an offer", "PRACK", sdp, call, calls},
		{"text", "MESSAGE", "Content-Type: text/plain\n", "hello", im},
		{"text with a file", "MESSAGE", mixed("b"), "--b\n\nhello\n--b\nContent-Type: application/vnd.gsma.rcs-ft-http+xml\n\n<file/>\n--b--", im | files},
		{"a file in a wrapper", "MESSAGE", "Content-Type: message/cpim\n",
			"From: <im:a@fabrikam.example>\n\nContent-Type: application/vnd.gsma.rcs-ft-http+xml\n\n<file/>", files},
		{"text in a wrapper", "MESSAGE", "Content-Type: message/cpim\n", "From: <im:a@fabrikam.example>\n\nContent-Type: text/plain\n\nhello", im},
		{"a receipt", "MESSAGE", "Content-Type: message/imdn+xml\n", "<imdn/>", im},
		{"an invitation to a file", "MESSAGE", "Content-Type: text/x-msmsgsinvite; charset=UTF-8\n",
			"Application-Name: File Transfer\nApplication-GUID: {5D3E02AB-6190-11d3-BBBB-00C04F795683}\nInvitation-Command: INVITE\n", files},
		{"an invitation to something else", "MESSAGE", "Content-Type: text/x-msmsgsinvite\n", "Application-GUID: {1}\n", other},
		{"a file that was accepted", "MESSAGE", "Content-Type: text/x-msmsgsinvite\n", "Invitation-Command: ACCEPT\n", files},
		{"parts that never end", "MESSAGE", mixed("b"), "--b\n\nhello", other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := kindsOf(carries(t, tt.method, tt.lines, tt.body)); got != tt.want {
				t.Errorf("carries %q, want %q", got, tt.want)
			}
		})
	}
}

func TestALineEndInAPartThatOthersDoNotSeeIsRefused(t *testing.T) {
	for _, end := range []string{"\n", "\r", "\r\r\n"} {
		m := carries(t, "INVITE", "Content-Type: multipart/mixed;boundary=b\n",
			"--b\nX: y|Content-Type: text/plain\n\nv=0\nm=message 7654 TCP/MSRP *\n--b--")
		raw := strings.Replace(string(m.Raw()), "|", end, 1)
		raw = strings.Replace(raw, "Content-Length: "+string(m.Value(sip.ContentLength)), fmt.Sprintf("Content-Length: %d", len(m.Body())+len(end)-1), 1)
		var k sip.Message
		if err := k.Parse([]byte(raw), sip.Limits{}); err != nil {
			t.Fatal(err)
		}
		if got := kindsOf(&k); got&other == 0 {
			t.Errorf("%q in a part's header: carries %q, want it unreadable", end, got)
		}
	}
}

func TestLookingIntoBodiesDoesNotAllocate(t *testing.T) {
	for _, m := range []*sip.Message{
		carries(t, "MESSAGE", "Content-Type: text/plain\n", "hello"),
		carries(t, "SUBSCRIBE", "Event: presence.winfo\n", ""),
		carries(t, "INVITE", "Content-Type: application/sdp\n", "v=0\nm=audio 9 RTP/AVP 0\nm=application 9 TCP/BFCP *\n"),
		carries(t, "INVITE", "Content-Type: multipart/mixed;boundary=b\n",
			"--b\nContent-Type: application/sdp\n\nv=0\nm=message 9 TCP/MSRP *\n--b\nContent-Type: message/cpim\n\nx\n--b--"),
	} {
		if n := testing.AllocsPerRun(100, func() { kindsOf(m) }); n != 0 {
			t.Errorf("%.30q allocates %v times", m.Raw(), n)
		}
	}
}

// FuzzKinds asks that no part hides what follows it, and that nothing panics.
func FuzzKinds(f *testing.F) {
	f.Add("INVITE", "text/plain", "hello")
	f.Add("INVITE", "multipart/mixed;boundary=c", "--c\r\nContent-Type: application/sdp\r\n\r\nm=message 1 x\r\n--c--")
	f.Add("MESSAGE", "message/cpim", "From: x\r\n\r\nContent-Type: text/plain\r\n\r\nhello")
	f.Fuzz(func(t *testing.T, method, ctype, part string) {
		ctype = strings.NewReplacer("\r", "", "\n", "", "\x00", "").Replace(ctype)
		if !strings.Contains(part, "--outer") {
			body := "--outer\r\nContent-Type: " + ctype + "\r\n\r\n" + part +
				"\r\n--outer\r\nContent-Type: application/sdp\r\n\r\nv=0\r\nm=audio 9 RTP/AVP 0\r\n--outer--"
			raw := fmt.Sprintf("INVITE sip:b@example.com SIP/2.0\r\nContent-Type: multipart/mixed;boundary=outer\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			if m := new(sip.Message); m.Parse([]byte(raw), sip.Limits{}) == nil && kindsOf(m)&(calls|other) == 0 {
				t.Errorf("a call behind %q is not seen", part)
			}
		}
		raw := fmt.Sprintf("%s sip:b@example.com SIP/2.0\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", method, ctype, len(part), part)
		if m := new(sip.Message); m.Parse([]byte(raw), sip.Limits{}) == nil && method == "INVITE" && kindsOf(m) == 0 {
			t.Errorf("an INVITE with %q of %q carries nothing", part, ctype)
		}
	})
}
