package sip

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestParseURI(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want string // scheme user password host port params headers opaque
	}{
		{"sip:example.com", "sip|||example.com|0|||"},
		{"SIPS:alice:secret@Example.COM:5061;transport=tls;lr?Subject=x&a=", "SIPS|alice|secret|Example.COM|5061|transport=tls;lr|Subject=x&a=|"},
		{"sip:alice:@example.com", "sip|alice||example.com|0|||"},
		{"sip:user;par=u%40example.net@example.com", "sip|user;par=u%40example.net||example.com|0|||"},
		{"sip:sips%3Auser%40example.com@example.net", "sip|sips%3Auser%40example.com||example.net|0|||"},
		{"sip:[2001:db8::10]:5070", "sip|||[2001:db8::10]|5070|||"},
		{"sip:[2001:db8::10:5070]", "sip|||[2001:db8::10:5070]|0|||"},
		{"sip:a@[2001:db8:::192.0.2.1]", "sip|a||[2001:db8:::192.0.2.1]|0|||"},
		{"sip:192.0.2.1;opaque=state:T:F:Ci.R;x=", "sip|||192.0.2.1|0|opaque=state:T:F:Ci.R;x=||"},
		{"sip:example.com.", "sip|||example.com.|0|||"},
		{"sip:xn--bcher-kva.example", "sip|||xn--bcher-kva.example|0|||"},
		{"sip:1-2.a-b", "sip|||1-2.a-b|0|||"},
		{"tel:+1-206-555-0100;phone-context=x", "tel|||||||+1-206-555-0100;phone-context=x"},
		{"soap.beep://192.0.2.103:3002", "soap.beep|||||||//192.0.2.103:3002"},
		{"urn:service:sos", "urn|||||||service:sos"},
	} {
		u, err := ParseURI([]byte(tt.in))
		if err != nil {
			t.Errorf("ParseURI(%q): %v", tt.in, err)
			continue
		}
		port := fmt.Sprint(u.Port)
		if !u.IsSIP() {
			port = ""
		}
		got := fmt.Sprintf("%s|%s|%s|%s|%s|%s|%s|%s", u.Scheme, u.User, u.Password, u.Host, port, u.Params, u.Headers, u.Opaque)
		if got != tt.want {
			t.Errorf("ParseURI(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

// Each of these has two readings, or one that another implementation has and we
// must not: what policy compares and what is routed would differ.
func TestParseURIRefuses(t *testing.T) {
	for _, in := range []string{
		"", "sip", "sip:", ":x", "1sip:x", "alice@example.com",
		"sip:@example.com", "sip:alice@", "sip:a@evil.example@good.example",
		"sip:a@good.example%2eevil.example", "sip:a@internal%40evil.example",
		"sip:a@good.example/evil", "sip:a@good.example\x00.evil.example", "sip:a@good.example evil",
		"sip:[::1]evil.example", "sip:[::1", "sip:::1", "sip:2001:db8::10", "sip:[fe80::1%25eth0]", "sip:[fe80::1%eth0]", "sip:[1.2.3.4]",
		"sip:a@b.example:99999999", "sip:a@b.example:-1", "sip:a@b.example:", "sip:a@b.example:0", "sip:a@b.example:5060x",
		"sip:2130706433", "sip:0x7f.1", "sip:0x7f000001", "sip:127.1", "sip:127.0.0.01", "sip:1.2.3.4.5", "sip:256.1.1.1", "sip:1.2.3.4.", "sip:010.0.0.1", "sip:example.123",
		"sip:.", "sip:.example.com", "sip:example..com", "sip:example.com..", "sip:-a.example", "sip:a-.example", "sip:ex_ample.com", "sip:b\u00fccher.example",
		"sip:" + strings.Repeat("a", 64) + ".example", "sip:" + strings.Repeat("a.", 127) + "ab",
		"sip:a%4@b.example", "sip:a%zz@b.example", "sip:a b@c.example", "sip:a\"b@c.example", "sip:a#b@c.example", "sip:j\u00f6@c.example",
		"sip:a:b:c@d.example", "sip:a:b;c@d.example",
		"sip:a@b.example;", "sip:a@b.example;;lr", "sip:a@b.example;=x", "sip:a@b.example; lr", "sip:a@b.example;x=<y>", "sip:a@b.example;x=a@c",
		"sip:a@b.example?", "sip:a@b.example?a=b c", "sip:a@b.example?a=<c>",
		"<sip:a@b.example>", "sip:a@b.example>", "http:", "http://a b", "http://<x>",
	} {
		if u, err := ParseURI([]byte(in)); err == nil {
			t.Errorf("ParseURI(%q) = %q, want an error", in, u.Host)
		}
	}
}

func TestIPv6AsNetipReadsIt(t *testing.T) {
	for _, in := range []string{
		"::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "::ffff:192.0.2.1", "64:ff9b::192.0.2.33",
		"1:2:3:4:5:6:192.0.2.1", "1:2:3:4:5:6:7:192.0.2.1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "1::2::3", ":::", "::::", ":1", "1:",
		"12345::", "::g", "::1.2.3", "::1.2.3.4.5", "::1.2.3.4:5", "::01.2.3.4", "1.2.3.4", "::%eth0", "", ":", "fe80::1%1", "::ffff:256.0.0.1",
		"2001:0DB8::00A", "1:2::3:4:5:6:7:8",
	} {
		_, err := netip.ParseAddr(in)
		want := err == nil && strings.Contains(in, ":") && !strings.Contains(in, "%")
		if got := validIPv6([]byte(in)); got != want {
			t.Errorf("validIPv6(%q) = %v, want %v", in, got, want)
		}
	}
}

func TestDomainsHaveOneNormalForm(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"Example.COM", "example.com"},
		{"example.com.", "example.com"},
		{"192.0.2.1", "192.0.2.1"},
		{"[2001:DB8::A]", "[2001:db8::a]"},
		{"[2001:db8:::192.0.2.1]", "[2001:db8::192.0.2.1]"},
		{".", "."},
		{"", ""},
	} {
		if got := AppendDomain([]byte("x"), []byte(tt.in)); string(got) != "x"+tt.want {
			t.Errorf("AppendDomain(%q) = %q, want %q", tt.in, got, "x"+tt.want)
		}
	}
}

func TestAddressesAreToldFromNames(t *testing.T) {
	for host, want := range map[string]bool{"192.0.2.1": true, "[::1]": true, "example.com": false, "1.a": false} {
		u, err := ParseURI([]byte("sip:" + host))
		if err != nil || u.IsIP() != want {
			t.Errorf("IsIP(%s) = %v (%v), want %v", host, u.IsIP(), err, want)
		}
	}
}

func TestParamsAreFoundAsTheyAreWritten(t *testing.T) {
	const params = ` tag = 1 ;lr;methods="INVITE, \"x\";y=1";Branch=z ;x= ;q=0.5;` + "\r\n  folded\r\n = v"
	for _, tt := range []struct {
		name, want string
		ok         bool
	}{
		{"tag", "1", true},
		{"lr", "<nil>", true},
		{"methods", `"INVITE, \"x\";y=1"`, true},
		{"branch", "z", true},
		{"x", "", true},
		{"q", "0.5", true},
		{"folded", "v", true},
		{"y", "<nil>", false},
		{"ta", "<nil>", false},
		{"", "<nil>", false},
	} {
		v, ok := Param([]byte(params), tt.name)
		got := string(v)
		if v == nil {
			got = "<nil>"
		}
		if got != tt.want || ok != tt.ok {
			t.Errorf("Param(%q) = %q %v, want %q %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

func TestTextIsForOneLine(t *testing.T) {
	for s, want := range map[string]bool{
		"": true, "Größe = 5": true, "a\tb": false, "a\nb": false, "a\x7f": false, "a\x00": false, "\xff": false, "\u0085": true,
	} {
		if got := IsText(s); got != want {
			t.Errorf("IsText(%q) = %v, want %v", s, got, want)
		}
	}
}
