package sip

import (
	"fmt"
	"strings"
	"testing"
)

// change returns the good request with one line in place of another.
func change(old, new string) string {
	return strings.Replace(request(length0, ""), old, new, 1)
}

func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stream string
		want   string
	}{
		{"two From", change("To:", "f: <sip:x@y.example>\r\nTo:"), "400 Repeated From"},
		{"two To", change("To:", "t: <sip:x@y.example>\r\nTo:"), "400 Repeated To"},
		{"two Call-ID", change("To:", "i: 2\r\nTo:"), "400 Repeated Call-ID"},
		{"two CSeq", change("To:", "cseq: 1 OPTIONS\r\nTo:"), "400 Repeated CSeq"},
		{"two Max-Forwards", change("To:", "Max-Forwards: 1\r\nMAX-FORWARDS: 1\r\nTo:"), "400 Repeated Max-Forwards"},
		{"no Via", change("Via:", "X-Via:"), "400 Missing Via"},
		{"no To", change("To:", "X-To:"), "400 Missing To"},
		{"an empty Call-ID", change("1@fabrikam.example", ""), "400 Malformed Call-ID: bad word"},
		{"a Call-ID with a blank", change("1@fabrikam", "1 @fabrikam"), "400 Malformed Call-ID: bad word"},

		{"a method in small letters", strings.ReplaceAll(request(length0, ""), "OPTIONS", "register"), "400 Method is not in capitals"},
		{"a method in some small letters", strings.ReplaceAll(request(length0, ""), "OPTIONS", "Cancel"), "400 Method is not in capitals"},
		{"a method of somebody's own in small letters", strings.ReplaceAll(request(length0, ""), "OPTIONS", "frobnicate"), ""},

		{"CSeq of 2**31-1", change("CSeq: 1", "CSeq: 2147483647"), ""},
		{"CSeq of 2**31", change("CSeq: 1", "CSeq: 2147483648"), "400 Malformed CSeq: bad number"},
		{"CSeq without method", change("CSeq: 1 OPTIONS", "CSeq: 1"), "400 Malformed CSeq: bad method"},
		{"CSeq without blank", change("CSeq: 1 OPTIONS", "CSeq: 1OPTIONS"), "400 Malformed CSeq: bad method"},
		{"CSeq with two blanks", change("CSeq: 1 OPTIONS", "CSeq: 1  OPTIONS"), ""},
		{"CSeq of another method", change("CSeq: 1 OPTIONS", "CSeq: 1 options"), "400 CSeq method is not the request method"},
		{"CSeq with more behind", change("CSeq: 1 OPTIONS", "CSeq: 1 OPTIONS x"), "400 Malformed CSeq: bad method"},

		{"Max-Forwards 0", change("To:", "Max-Forwards: 0\r\nTo:"), ""},
		{"Max-Forwards 255", change("To:", "Max-Forwards: 255\r\nTo:"), ""},
		{"Max-Forwards 256", change("To:", "Max-Forwards: 256\r\nTo:"), "400 Malformed Max-Forwards: number out of range"},
		{"Max-Forwards 2**32+70", change("To:", "Max-Forwards: 4294967366\r\nTo:"), "400 Malformed Max-Forwards: number out of range"},
		{"Max-Forwards -1", change("To:", "Max-Forwards: -1\r\nTo:"), "400 Malformed Max-Forwards: number out of range"},

		{"two Max-Breadth", change("To:", "Max-Breadth: 1\r\nmax-breadth: 1\r\nTo:"), "400 Repeated Max-Breadth"},
		{"Max-Breadth 0", change("To:", "Max-Breadth: 0\r\nTo:"), ""},
		{"Max-Breadth 2**70", change("To:", "Max-Breadth: 1180591620717411303424\r\nTo:"), ""},
		{"Max-Breadth empty", change("To:", "Max-Breadth:\r\nTo:"), "400 Malformed Max-Breadth: number out of range"},
		{"Max-Breadth with a parameter", change("To:", "Max-Breadth: 60;x\r\nTo:"), "400 Malformed Max-Breadth: number out of range"},

		{"From with two addresses", change("<sip:alice@fabrikam.example>;tag=1", `"a" <sip:a@evil.example>, <sip:b@internal.example>`), "400 Malformed From: something after the end"},
		{"From with a second URI behind the tag", change("<sip:alice@fabrikam.example>;tag=1", `sip:a@evil.example;tag=1 <sip:b@internal.example>`), "400 Malformed From: something after the end"},
		{"From with a URI in the display name", change("<sip:alice", `"<sip:b@internal.example>" <sip:alice`), ""},
		{"From with two tags", change(";tag=1", ";tag=1;TAG=2"), "400 Malformed From: parameter given twice"},
		{"From with an empty tag", change(";tag=1", ";tag="), "400 Malformed From: bad parameter"},
		{"From without tag, as RFC 2543 had it", change(";tag=1", ""), ""},
		{"From of two at signs", change("alice@fabrikam.example", "a@evil.example@good.example"), "400 Malformed From: character not allowed in a URI"},
		{"From without host", change("<sip:alice@fabrikam.example>", "<sip:alice@>"), "400 Malformed From: bad host"},
		{"From by telephone number", change("<sip:alice@fabrikam.example>", "<tel:+12065550100>"), ""},
		{"From without scheme", change("<sip:alice@fabrikam.example>", "alice@fabrikam.example"), "400 Malformed From: bad scheme"},
		{"To with blanks in brackets", change("<sip:bob@example.com>", "< sip:bob@example.com >"), "400 Malformed To: character not allowed in a URI"},

		{"a Via list with an empty member", change("z9hG4bK1", "z9hG4bK1,,SIP/2.0/TLS a.example"), "400 Malformed Via: bad sent-protocol"},
		{"a Via list that ends in a comma", change("z9hG4bK1", "z9hG4bK1,"), "400 Malformed Via: bad sent-protocol"},
		{"a bad Via below the top", change("From:", "Via: SIP/2.0/TLS ;;\r\nFrom:"), "400 Malformed Via: bad host"},
		{"the cookie alone", change("z9hG4bK1", "Z9HG4BK"), "400 Malformed Via: branch is only the magic cookie"},
		{"two branches", change("branch=z9hG4bK1", "branch=z9hG4bK1;branch=z9hG4bK2"), "400 Malformed Via: parameter given twice"},
		{"a quoted branch", change("branch=z9hG4bK1", `branch="z9hG4bK1"`), "400 Malformed Via: bad parameter"},
		{"a Via without blank before sent-by", change("TLS edge", "TLS[::1]"), "400 Malformed Via: bad sent-protocol"},

		{"a Contact of every kind", change("To:", `Contact: <sip:a@b.example>;q=1, "x, y" <im:c>;x="a,b" , sip:d@e.example;expires=3`+"\r\nTo:"), ""},
		{"a Contact of *", change("To:", "Contact: *\r\nTo:"), ""},
		{"Contacts with an empty member", change("To:", "Contact: <sip:a@b.example>,\r\nTo:"), "400 Malformed Contact: empty value"},
		{"a Contact whose parameters are empty", change("To:", "Contact: <sip:a@b.example>;;\r\nTo:"), "400 Malformed Contact: bad parameter"},
		{"a Route without brackets", change("To:", "Route: sip:a@b.example;lr\r\nTo:"), "400 Malformed Route: URI needs angle brackets"},
		{"a second Route that does not close", change("To:", "Route: <sip:a.example;lr>\r\nRoute: <sip:b.example\r\nTo:"), "400 Malformed Route: angle bracket not closed"},
		{"a Record-Route with blanks", change("To:", "Record-Route: <sip:a b>\r\nTo:"), "400 Malformed Record-Route: character not allowed in a URI"},

		{"headers in the Request-URI", change("bob@example.com SIP", "bob@example.com?P-Asserted-Identity=%3Csip:ceo@example.com%3E SIP"), "400 Malformed Request-URI: bad URI header"},
		{"a header in the Request-URI", change("bob@example.com SIP", "bob@example.com?Subject=x SIP"), "400 Headers in Request-URI"},
		{"a line end in escapes, which stays escaped", change("sip:bob@example.com SIP", "sip:b%0d%0aX:%20y@example.com SIP"), ""},
		{"a Request-URI of an unknown scheme", change("sip:bob@example.com SIP", "news:bob@example.com SIP"), "416 Unsupported URI Scheme"},
		{"a telephone number", change("sip:bob@example.com SIP", "tel:+12065550100 SIP"), ""},
		{"a Request-URI that is a number", change("bob@example.com SIP", "2130706433 SIP"), "400 Malformed Request-URI: bad host"},
		{"an unknown scheme and no To", strings.Replace(change("sip:bob@example.com SIP", "news:x SIP"), "To:", "X:", 1), "400 Missing To"},

		{"another version", change("SIP/2.0", "SIP/3.0"), "505 Version Not Supported"},
		{"another version and everything else wrong", change("SIP/2.0\r\nVia", "SIP/2.1\r\nX"), "505 Version Not Supported"},
		{"a version in lower case", change("SIP/2.0", "sip/2.0"), ""},
		{"no version", change(" SIP/2.0\r\n", "\r\n"), "400 Malformed Request-Line"},
		{"a tab in the start line", change(" SIP/2.0\r\n", "\tSIP/2.0\r\n"), "400 Malformed Request-Line"},
		{"a method that is no token", change("OPTIONS", "OPT/ONS"), "400 Malformed method"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m Message
			if k, _, err := new(Framer).Next([]byte(tt.stream), &m); k != Complete || err != nil {
				t.Fatal(k, err)
			}
			got := ""
			if f := m.Fault(); f != nil {
				got = fmt.Sprint(f.Status, " ", f.Reason)
			}
			if got != tt.want {
				t.Errorf("fault %q, want %q", got, tt.want)
			}
		})
	}
}

func TestStatusLines(t *testing.T) {
	rest := strings.SplitN(request(length0, ""), "\r\n", 2)[1]
	for _, tt := range []struct {
		line   string
		status int
		reason string
	}{
		{"SIP/2.0 200 OK", 200, "OK"},
		{"SIP/2.0 100 ", 100, ""},
		{"SIP/2.0 183", 183, ""},
		{"SIP/2.0 699  two blanks ", 699, " two blanks "},
		{"SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять", 200, "= 2**3 * 5**2 но сто девяносто девять"},
		{"SIP/2.0 099 x", 0, ""},
		{"SIP/2.0 700 x", 0, ""},
		{"SIP/2.0 1000 x", 0, ""},
		{"SIP/2.0 20 x", 0, ""},
		{"SIP/2.0 +20 x", 0, ""},
		{"SIP/2.0  200 x", 0, ""},
		{"SIP/2.0 4294967301 better not break the receiver", 0, ""},
		{"SIP/1.0 200 OK", 0, ""},
		{"SIP/2.0", 0, ""},
	} {
		t.Run(tt.line, func(t *testing.T) {
			var m Message
			if k, _, err := new(Framer).Next([]byte(tt.line+"\r\n"+rest), &m); k != Complete || err != nil {
				t.Fatal(k, err)
			}
			if m.IsRequest() {
				t.Error("read as a request")
			}
			if m.Status() != tt.status || m.Status() > 0 && string(m.Reason()) != tt.reason {
				t.Errorf("got %d %q, want %d %q", m.Status(), m.Reason(), tt.status, tt.reason)
			}
			if faulty := m.Fault() != nil; faulty != (tt.status == 0) {
				t.Errorf("Fault = %v", m.Fault())
			}
		})
	}
}

func TestReasonsAreWireSafe(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"Missing To", "Missing To"},
		{"a\r\nInjected: yes", "a??Injected: yes"},
		{"caf\u00e9\x00", "caf??"},
		{strings.Repeat("x", 1000), strings.Repeat("x", maxReason)},
	} {
		if got := Faultf(400, "%s", tt.in).Reason; got != tt.want {
			t.Errorf("Faultf(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestParseTakesExactlyOneMessage(t *testing.T) {
	for _, tt := range []struct {
		name string
		raw  string
		ok   bool
		body string
	}{
		{"with its length", request("l: 2\r\n", "hi"), true, "hi"},
		{"without length the rest is the body", request("", "hi"), true, "hi"},
		{"too long", request("l: 2\r\n", "hi!"), false, ""},
		{"too short", request("l: 2\r\n", "h"), false, ""},
		{"two lengths", request("l: 2\r\nl: 2\r\n", "hi"), false, ""},
		{"no end of the fields", "SIP/2.0 200 OK\r\nl: 0\r\n", false, ""},
		{"nothing", "", false, ""},
		{"an empty line first", "\r\n" + request(length0, ""), false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m Message
			err := m.Parse([]byte(tt.raw), Limits{})
			if (err == nil) != tt.ok || tt.ok && string(m.Body()) != tt.body {
				t.Errorf("Parse: %v, body %q", err, m.Body())
			}
			if tt.ok && m.Fault() != nil {
				t.Error(m.Fault())
			}
			if !tt.ok && m.Fault() == nil {
				t.Error("no fault")
			}
		})
	}
}

func TestAMessageCanBeUsedAgain(t *testing.T) {
	var m Message
	if err := m.Parse(crlf(odd), Limits{}); err != nil || m.Fault() != nil {
		t.Fatal(err, m.Fault())
	}
	m.From()
	if err := m.Parse([]byte("SIP/2.0 200 OK\r\nTo: <sip:x@y.example>\r\n\r\n"), Limits{}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.From(); err == nil || m.IsRequest() || m.Method() != nil || m.Count(Via) != 0 || m.Fields() != 1 {
		t.Error("the last message shines through")
	}
	if to, err := m.To(); err != nil || string(to.URI) != "sip:x@y.example" {
		t.Errorf("To = %q %v", to.URI, err)
	}
}
