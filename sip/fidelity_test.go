package sip

import (
	"bytes"
	"testing"
)

// fidelity are field lines as real user agents and servers write them and as the
// grammar allows; SIP libraries are known to rewrite more than half of them. Each
// must pass a forwarding edge octet for octet.
var fidelity = []string{
	// Via
	"Via: SIP/2.0/TLS host.example:5061 ;branch=x",
	"Via: SIP/2.0/TLS host.example : 5061;branch=x",
	"Via: SIP/2.0/TLS [2001:db8::1] ;branch=x",
	"Via: SIP/2.0/TLS a.example, SIP/2.0/TLS b.example;branch=x",
	"Via: SIP/2.0/TLS a.example;branch=x, SIP/2.0/TLS b.example",
	"v:SIP/2.0/TLS a.example;branch=x",
	"VIA : SIP/2.0/TLS a.example;BRANCH=x",
	"Via: SIP/2.0/TLS a.example;x=\"a;b,c\"",
	"Via: SIP/2.0/TLS a.example;x=\"q \\\" r\"",
	"Via: SIP / 2.0 / UDP\r\n a.example\r\n\t;branch=\r\n x",
	"Via: SIP/2.0/TLS a.example;rport;received=192.0.2.1;branch=x",
	"Via: SIP/2.0/TLS a.example;received=2001:db8::9:255",
	"Via: SIP/2.0/TLS a.example;x=;branch=x",
	"Via: SIP/2.0/TLS 192.0.2.1:49213;branch=z9hG4bKA;ms-received-port=49213;ms-received-cid=2600",
	// addresses
	"Contact: <sip:a@b.example>;methods=\"INVITE, MESSAGE\"",
	"Contact: <sip:a@192.0.2.1:5061;transport=tls;ms-opaque=d3470f2e1d>;methods=\"INVITE, MESSAGE, INFO\";proxy=replace;+sip.instance=\"<urn:uuid:01234567-89AB>\"",
	"Contact: <sip:a@example.com;opaque=user:epid:kIdBB8z1;gruu>;text;audio;video;image",
	"Contact: *",
	"m:<sip:a@b.example>",
	"m:\"Quoted \\\"\\\"\" <sip:a@b.example> ; newparam =\r\n newvalue ; q = 0.33",
	"Contact: sip:a@b.example;expires=60",
	"Contact: <sip:a:@b.example>",
	"Contact: <sip:b.example?a=&b=c>",
	"Contact: <SIP:a@B.Example>",
	"Contact: <sip:a@b.example;x=1;x=2>;y=1;y=2",
	"Contact: \"\" <sip:a@b.example>, <tel:+1>, <im:a@b.example>",
	"Contact: caller<sip:a@b.example>",
	"Contact: <sip:%00@b.example>",
	"Record-Route: <sip:p.example;lr>;x=1, \"P\" <sip:q.example;lr>",
	"Record-Route: <sip:p.example;lr;ms-route-sig=abc==;ms-fe=a.example>",
	"RECORD-ROUTE:\t<sip:[2001:db8::1];lr>",
	"Route: <sip:p.example;lr>;x=1",
	"Route: \"P, Q\" <sip:p.example;lr>,<sip:q.example;lr>",
	"Path: <sip:p.example;lr;ob>",
	"Service-Route: <sip:p.example;lr>",
	"Refer-To: \"Bob\" <sip:bob@b.example?Replaces=a%3Bto-tag%3D1>;method=INVITE",
	"r:<sip:bob@b.example>",
	"Referred-By: <sip:a@b.example>;cid=\"1@b\"",
	"P-Asserted-Identity: \"A\" <sip:a@b.example>, <tel:+1>",
	"Reply-To: sip:a@b.example",
	"Alert-Info: <http://b.example/x.wav>;info=urgent",
	"Call-Info: <http://b.example/?a=b&c>;purpose=icon",
	"Diversion: <sip:a@b.example>;reason=user-busy;counter=1",
	"History-Info: <sip:a@b.example?Reason=SIP%3Bcause%3D302>;index=1",
	"Replaces: 1@b;to-tag=1;from-tag=2",
	"Join: 1@b;to-tag=1;from-tag=2",
	// everything else
	"Subject:",
	"s :",
	"Subject: \u65e5\u672c\u8a9e",
	"Subject: trailing blanks  \t ",
	"Subject:     leading blanks",
	"Subject: a\r\n  fold",
	"Subject: a\r\n\tfold\r\n more",
	"NewFangledHeader:   newfangled value\r\n continued",
	"UnknownHeaderWithUnusualValue: ;;,,;;,;",
	"extensionHeader-!.%*+_`'~:\u5927\u505c\u96fb",
	"X-Lower: CaSe",
	"x-lower: case",
	"Warning: 307 isi.example \"Session parameter 'foo' not understood\", 399 b \"x\"",
	"Authorization: Digest username=\"a\", realm=\"b, c\", nonce=\"1\\\"2\", uri=\"sip:b\", response=\"0\" ,opaque=\"\"",
	"Authorization: NoOneKnowsThisScheme opaque-data=here",
	"Proxy-Authorization: TLS-DSK qop=\"auth\", realm=\"SIP Communications Service\", opaque=\"A\", crand=\"1\", cnum=\"1\"",
	"Proxy-Authenticate: NTLM realm=\"x\", targetname=\"y\", version=4",
	"WWW-Authenticate: Digest realm=\"x\",\r\n nonce=\"y\"",
	"Authentication-Info: TLS-DSK qop=\"auth\", srand=\"1\", snum=\"1\", rspauth=\"00\"",
	"Accept: application/sdp;level=1, */*;q=0.1",
	"Accept: application/sdp, application/pkcs7-mime,\r\n        multipart/mixed",
	"Accept:",
	"Allow: INVITE,ACK , CANCEL",
	"k: timer,100rel",
	"Supported:",
	"Supported: a,,b",
	"Require: com.microsoft.autoextend",
	"Proxy-Require: ms-benotify",
	"Event: presence;id=1;x=\"y\"",
	"o:presence",
	"Allow-Events: presence,  dialog",
	"Expires: 0060",
	"Date: Fri, 01 Jan 2010 16:00:00 EST",
	"Retry-After: 18000;duration=3600 (I'm in a meeting)",
	"Server: HomeServer v2 (comment (nested))",
	"User-Agent: UCCAPI/16.0 OC/16.0 (Skype for Business)",
	"Timestamp: 54.21",
	"MIME-Version: 1.0",
	"c: text/plain; charset=UTF-8; msgr=WAAtAE0ATQBTAC0A",
	"Content-Type: multipart/mixed ;boundary=\"a b\"",
	"Content-Disposition: session;handling=optional",
	"Content-Encoding:",
	"In-Reply-To: 1@a, 2@b",
	"Session-Expires: 4000;refresher=uac",
	"x:4000",
	"Min-SE:90",
	"Privacy: id;critical",
	"Identity: \"abc/def+ghi=\"",
	"Ms-Conversation-ID: AdB=",
	"ms-keep-alive: UAC;hop-hop=yes",
	"Endpoints: <sip:a@b>, \"B\" <sip:c@d>",
	"Reason: Q.850 ;cause=16 ;text=\"Terminated\"",
	"A: b",
	"Geolocation: <cid:1@b>",
	"P-Charging-Vector: icid-value=\"1\"; icid-generated-at=[2001:db8::1]",
}

func TestUntouchedFieldsLeaveOctetForOctet(t *testing.T) {
	for _, line := range fidelity {
		in := request(line+"\r\n"+length0, "")
		m := parsed(t, []byte(in))
		if got := m.Append(nil, &Edit{MaxForwards: -1}); string(got) != in {
			t.Errorf("%q left as\n%s", line, got)
		}
		e := forwardEdit()
		e.Drop = nil
		out := m.Append(nil, e)
		if !bytes.Contains(out, []byte("\r\n"+line+"\r\n")) {
			t.Errorf("%q forwarded as\n%s", line, out)
		}
		if f := m.Fault(); f != nil {
			t.Errorf("%q: %v", line, f)
		}
	}
}
