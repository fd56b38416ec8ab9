package sip

import (
	"fmt"
	"testing"
)

func TestParseNameAddr(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want string // display, URI, params, tag
	}{
		{"<sip:a@b.example>", "|sip:a@b.example||"},
		{"  <sip:a@b.example>  ", "|sip:a@b.example||"},
		{"caller<sip:a@b.example>;tag=323", "caller|sip:a@b.example|tag=323|323"},
		{"token1~` token2'+_ token3*%!.- <sip:a@b.example>", "token1~` token2'+_ token3*%!.-|sip:a@b.example||"},
		{`"J Rosenberg \\\""       <sip:a@b.example>` + "\r\n  ;\r\n  tag = 98asjd8", `"J Rosenberg \\\""|sip:a@b.example|` + "\r\n  tag = 98asjd8|98asjd8"},
		{`"<sip:b@internal.example>" <sip:a@evil.example>`, `"<sip:b@internal.example>"|sip:a@evil.example||`},
		{"sip:a@b.example ;   tag    = 1918181833n", "|sip:a@b.example|   tag    = 1918181833n|1918181833n"},
		{`sip:a@b.example;x="<sip:c@d.example>"`, `|sip:a@b.example|x="<sip:c@d.example>"|`},
		{"<sip:a@b.example;lr?x=y>;q=0.1;+sip.instance=\"<urn:uuid:1>\"", `|sip:a@b.example;lr?x=y|q=0.1;+sip.instance="<urn:uuid:1>"|`},
		{"<isbn:2983792873>", "|isbn:2983792873||"},
		{"<sip:a@b.example>;tag=abc/def==", "|sip:a@b.example|tag=abc/def==|abc/def=="},
		{"\"\u0414\u0436\u043e\u043d\" <sip:a@b.example>", "\"\u0414\u0436\u043e\u043d\"|sip:a@b.example||"},
	} {
		n, err := ParseNameAddr([]byte(tt.in))
		if err != nil {
			t.Errorf("ParseNameAddr(%q): %v", tt.in, err)
			continue
		}
		if got := fmt.Sprintf("%s|%s|%s|%s", n.Display, n.URI, n.Params, n.Tag()); got != tt.want {
			t.Errorf("ParseNameAddr(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestParseNameAddrRefuses(t *testing.T) {
	for _, in := range []string{
		"", " ", "<>", "<sip:a@b.example", "sip:a@b.example>", "<<sip:a@b.example>>",
		`"a" <sip:a@evil.example>, <sip:b@internal.example>`,
		`"A" <sip:a@good.example> <sip:b@evil.example>;tag=1`,
		"sip:a@evil.example;tag=1 <sip:b@internal.example>",
		"sip:a@evil.example <sip:b@internal.example>",
		"Bell, Alexander <sip:a@b.example>", `"Mr. J. User <sip:a@b.example>`, `"a" x <sip:a@b.example>`, `"a"`, `"a" sip:a@b.example`,
		"< sip:a@b.example >", "<sip:a@b.example >", "<sip:a@b\r\n .example>", "<sip:a\"b@c.example>",
		"sip:a@b.example?x=y", "sip:a,b@c.example", "sip:a;b@c.example", "sip:a;x=b@c.example",
		"<sip:a@b.example>;", "<sip:a@b.example>;;tag=1", "<sip:a@b.example>;=1", "<sip:a@b.example>;x=\"y", "<sip:a@b.example>;x=\"y\"z",
		"<sip:a@b.example>x", "<sip:a@b.example>,", "<sip:a@b.example>;tag=a@b", "<sip:a@b.example>;tag=\"a\"", "<sip:a@b.example>;tag",
		"\"a\nb\" <sip:a@b.example>", "\"a\x00b\" <sip:a@b.example>", "a\r\nb <sip:a@b.example>", "b\u00fccher <sip:a@b.example>",
	} {
		if n, err := ParseNameAddr([]byte(in)); err == nil {
			t.Errorf("ParseNameAddr(%q) = %q, want an error", in, n.URI)
		}
	}
}

func TestParseVia(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want string // transport, host, port, branch, received, rport, params, rest
	}{
		{"SIP/2.0/TLS edge.example.com:5061;branch=z9hG4bKx", "TLS|edge.example.com|5061|z9hG4bKx|||branch=z9hG4bKx|<nil>"},
		{"SIP/2.0/TLS edge.example.com:5061 ;branch=x", "TLS|edge.example.com|5061|x|||branch=x|<nil>"},
		{"SIP/2.0/TLS a.example : 5061;branch=x", "TLS|a.example|5061|x|||branch=x|<nil>"},
		{"SIP/2.0/TLS a.example, SIP/2.0/TLS b.example;branch=x", "TLS|a.example|0||||| SIP/2.0/TLS b.example;branch=x"},
		{"SIP / 2.0 / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n SIP", "TCP|spindle.example.com|0|z9hG4bK9ikj8|||\r\n  branch  =   z9hG4bK9ikj8|\r\n SIP"},
		{"SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=x", "UDP|[2001:db8::9:1]|0|x|2001:db8::9:255||received=2001:db8::9:255;branch=x|<nil>"},
		{"SIP/2.0/UDP [2001:db8::9:1]:5060;received=[2001:db8::9:255]", "UDP|[2001:db8::9:1]|5060||[2001:db8::9:255]||received=[2001:db8::9:255]|<nil>"},
		{`SIP/2.0/UNKNOWN a.example;x="a,b;c";rport;ttl=1`, `UNKNOWN|a.example|0||||x="a,b;c";rport;ttl=1|<nil>`},
		{"SIP/2.0/TLS a.example;rport=5;ms-received-port=1", "TLS|a.example|0|||5|rport=5;ms-received-port=1|<nil>"},
	} {
		v, rest, err := ParseVia([]byte(tt.in))
		if err != nil {
			t.Errorf("ParseVia(%q): %v", tt.in, err)
			continue
		}
		tail := string(rest)
		if rest == nil {
			tail = "<nil>"
		}
		got := fmt.Sprintf("%s|%s|%d|%s|%s|%s|%s|%s", v.Transport, v.Host, v.Port, v.Branch, v.Received, v.RPort, v.Params, tail)
		if got != tt.want {
			t.Errorf("ParseVia(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
	if v, _, _ := ParseVia([]byte("SIP/2.0/TLS a.example;rport")); v.RPort == nil {
		t.Error("an rport to be filled reads as none")
	}
}

func TestParseViaRefuses(t *testing.T) {
	for _, in := range []string{
		"", "SIP/2.0", "SIP/2.0/TLS", "SIP/2.0/TLS ", "SIP/2.0/ a.example", "SIP//TLS a.example", "SIP/2.0/TLS/x a.example",
		"SIP/2.0/TLS ;branch=x", "SIP/2.0/TLS a_b.example", "SIP/2.0/TLS a.example:", "SIP/2.0/TLS a.example:x", "SIP/2.0/TLS ::1", "SIP/2.0/TLS a b",
		"SIP/2.0/TLS a.example;;", "SIP/2.0/TLS a.example;", "SIP/2.0/TLS a.example;branch=", "SIP/2.0/TLS a.example;branch", "SIP/2.0/TLS a.example;branch=z9hG4bK",
		"SIP/2.0/TLS a.example;branch=a;branch=b", "SIP/2.0/TLS a.example;received=::1;received=::2", "SIP/2.0/TLS a.example;rport;rport",
		"SIP/2.0/TLS a.example;x=\"y", "SIP/2.0/TLS a.example;x=a@b", "SIP/2.0/TLS a.example (comment)",
	} {
		if v, _, err := ParseVia([]byte(in)); err == nil {
			t.Errorf("ParseVia(%q) = %q, want an error", in, v.Host)
		}
	}
}

func TestHeadersAreKnownInEverySpelling(t *testing.T) {
	seen := map[Header]bool{}
	for h := HeaderOther + 1; h < numHeaders; h++ {
		name := h.String()
		if HeaderNamed([]byte(name)) != h {
			t.Errorf("%s is not known; does it share a slot?", name)
		}
		for _, f := range []func(byte) byte{lower, upper} {
			b := []byte(name)
			for i := range b {
				b[i] = f(b[i])
			}
			if HeaderNamed(b) != h {
				t.Errorf("%s is not known", b)
			}
		}
		if c := h.Compact(); c != 0 {
			seen[h] = true
			if HeaderNamed([]byte{c}) != h || HeaderNamed([]byte{upper(c)}) != h {
				t.Errorf("%c is not %s", c, h)
			}
		}
	}
	if len(seen) != 20 {
		t.Errorf("%d compact forms, want 20", len(seen))
	}
}

func lower(c byte) byte {
	if isAlpha(c) {
		return c | 0x20
	}
	return c
}

func upper(c byte) byte {
	if isAlpha(c) {
		return c &^ 0x20
	}
	return c
}

func TestLookAlikesAreOtherHeaders(t *testing.T) {
	for _, name := range []string{"", "P_Asserted_Identity", "P-Asserted-Identity ", "P-Asserted\rIdentity", "Tp", "V\x01", "Viaa", "1", "\x16", "Content-Lengt\u04bb", "\u212ds"} {
		if h := HeaderNamed([]byte(name)); h != HeaderOther {
			t.Errorf("%q is %s", name, h)
		}
	}
}

func TestElementsOfAListOverAllFields(t *testing.T) {
	var m Message
	raw := "SIP/2.0 200 OK\r\nRoute: <sip:a,b>;x=\"1,2\" , \"x, y\"\r\n <sip:c>,\r\nX: y\r\nROUTE :\r\nRoute:<sip:d>,,<sip:e\r\n\r\n"
	if err := m.Parse([]byte(raw), Limits{}); err != nil {
		t.Fatal(err)
	}
	want := []string{`<sip:a,b>;x="1,2"`, "\"x, y\"\r\n <sip:c>", "<sip:d>", "<sip:e"}
	e := m.Elements(Route)
	for i := 0; ; i++ {
		elem, ok := e.Next()
		if !ok {
			if i != len(want) {
				t.Errorf("%d elements, want %d", i, len(want))
			}
			break
		}
		if i >= len(want) || string(elem) != want[i] {
			t.Errorf("element %d = %q", i, elem)
		}
	}
	if e := m.Elements(Contact); true {
		if _, ok := e.Next(); ok {
			t.Error("a header that is not there has an element")
		}
	}
}
