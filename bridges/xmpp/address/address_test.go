package address

import (
	"errors"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/sip"
)

// toXMPP are addresses of SIP, what they are in XMPP, and what comes back.
var toXMPP = []struct{ uri, jid, back string }{
	{"sip:romeo@example.net", "romeo@example.net", "sip:romeo@example.net"},
	{"sip:Romeo@Example.NET", "romeo@example.net", "sip:romeo@example.net"},
	{"sip:f%C3%BC@sip.example", "fü@sip.example", "sip:f%C3%BC@sip.example"},
	{"sip:o'malley@sip.example", `o\27malley@sip.example`, "sip:o'malley@sip.example"},
	{"sip:foo@sip.example;gr=bar", "foo@sip.example/bar", "sip:foo@sip.example;gr=bar"},
	{"sip:a&b@example.net", `a\26b@example.net`, "sip:a&b@example.net"},
	{"sip:a%2Fb@example.net", `a\2fb@example.net`, "sip:a/b@example.net"},
	{"sip:a/b@example.net", `a\2fb@example.net`, "sip:a/b@example.net"},
	{"sip:user%40other.org@gw.example", `user\40other.org@gw.example`, "sip:user%40other.org@gw.example"},
	{"sip:call%20me%20ishmael@example.net", `call\20me\20ishmael@example.net`, "sip:call%20me%20ishmael@example.net"},
	{"sip:a%22b@example.net", `a\22b@example.net`, "sip:a%22b@example.net"},
	{"sip:a%3Ab@example.net", `a\3ab@example.net`, "sip:a%3Ab@example.net"},
	{"sip:a%3Cb%3E@example.net", `a\3cb\3e@example.net`, "sip:a%3Cb%3E@example.net"},
	{"sip:c%5C20d@example.net", `c\5c20d@example.net`, "sip:c%5C20d@example.net"},
	{"sip:c%5Cxx@example.net", `c\xx@example.net`, "sip:c%5Cxx@example.net"},
	{"sip:c%5C5cd@example.net", `c\5c5cd@example.net`, "sip:c%5C5cd@example.net"},
	{"sip:+15551234567@example.net;user=phone", "+15551234567@example.net", "sip:+15551234567@example.net"},
	{"sip:1234;ext=5@example.net", "1234;ext=5@example.net", "sip:1234;ext=5@example.net"},
	{"sip:a%23b@example.net", "a#b@example.net", "sip:a%23b@example.net"},
	{"sip:a%25b@example.net", "a%b@example.net", "sip:a%25b@example.net"},
	{"sip:%5B%5D%5E%60%7B%7C%7D@example.net", "[]^`{|}@example.net", "sip:%5B%5D%5E%60%7B%7C%7D@example.net"},
	{"sip:!$*()=+,;?~_.-@example.net", "!$*()=+,;?~_.-@example.net", "sip:!$*()=+,;?~_.-@example.net"},
	{"sip:example.net", "example.net", "sip:example.net"},
	{"sip:bob@example.net:5070;transport=tcp", "bob@example.net", "sip:bob@example.net"},
	{"sip:bob@example.net;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "bob@example.net/urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "sip:bob@example.net;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"},
	{"sip:bob@example.net;gr=a%20b%2Fc", "bob@example.net/a b/c", "sip:bob@example.net;gr=a%20b/c"},
	{"sip:bob@xn--bcher-kva.example", "bob@bücher.example", "sip:bob@xn--bcher-kva.example"},
	{"sip:%EF%BC%A1%EF%BD%82@example.net", "ab@example.net", "sip:ab@example.net"},
	{"sip:stra%C3%9Fe@example.net", "straße@example.net", "sip:stra%C3%9Fe@example.net"},

	// Beyond the vectors of the standards.
	{"SIP:bob@example.net.", "bob@example.net", "sip:bob@example.net"},
	{"im:romeo@example.net", "romeo@example.net", "sip:romeo@example.net"},
	{"pres:Romeo@example.net", "romeo@example.net", "sip:romeo@example.net"},
	{"im:romeo@example.net?subject=hi", "romeo@example.net", "sip:romeo@example.net"},
	{"sip:+1-555-123.4567@example.net;user=phone", "+15551234567@example.net", "sip:+15551234567@example.net"},
	{"sip:a-b@example.net;user=phone", "a-b@example.net", "sip:a-b@example.net"},
	{"sip:tgruu.7hs==jd7@example.net;gr", "tgruu.7hs==jd7@example.net", "sip:tgruu.7hs==jd7@example.net"},
	{"sip:c%5C2Fd@example.net", `c\5c2fd@example.net`, "sip:c%5C2fd@example.net"},
	{"sip:x%5C3a%CC%80@example.net", `x\3à@example.net`, "sip:x%5C3%C3%A0@example.net"},
	{"sip:c%5C%EF%BC%92f@example.net", `c\5c2f@example.net`, "sip:c%5C2f@example.net"},
	{"sip:c%5C@example.net", `c\@example.net`, "sip:c%5C@example.net"},
	{"sip:bob@192.0.2.1", "bob@192.0.2.1", "sip:bob@192.0.2.1"},
	{"sip:bob@[2001:DB8:0::1]", "bob@[2001:db8::1]", "sip:bob@[2001:db8::1]"},
}

func TestASIPAddressIsOneInXMPP(t *testing.T) {
	for _, tt := range toXMPP {
		var a Table
		j, err := a.JID(tt.uri)
		if err != nil || j.String() != tt.jid {
			t.Errorf("JID(%s) = %q, %v; want %q", tt.uri, j, err, tt.jid)
			continue
		}
		back, err := a.URI(j)
		if err != nil || back != tt.back {
			t.Errorf("URI(%s) = %q, %v; want %q", j, back, err, tt.back)
		}
	}
}

// toSIP are addresses of XMPP, what they are in SIP, and what comes back: the
// canonical form.
var toSIP = []struct{ jid, uri, back string }{
	{"juliet@example.com/balcony", "sip:juliet@example.com;gr=balcony", ""},
	{`m\26m@xmpp.example`, "sip:m&m@xmpp.example", ""},
	{"tschüss@xmpp.example", "sip:tsch%C3%BCss@xmpp.example", ""},
	{`space\20cadet@example.com`, "sip:space%20cadet@example.com", ""},
	{`call\20me\20\22ishmael\22@example.com`, "sip:call%20me%20%22ishmael%22@example.com", ""},
	{`at\26t\20guy@example.com`, "sip:at&t%20guy@example.com", ""},
	{`d\27artagnan@example.com`, "sip:d'artagnan@example.com", ""},
	{`\2f.fanboy@example.com`, "sip:/.fanboy@example.com", ""},
	{`\3a\3afoo\3a\3a@example.com`, "sip:%3A%3Afoo%3A%3A@example.com", ""},
	{`\3cfoo\3e@example.com`, "sip:%3Cfoo%3E@example.com", ""},
	{`user\40host@example.com`, "sip:user%40host@example.com", ""},
	{`c\3a\net@example.com`, "sip:c%3A%5Cnet@example.com", ""},
	{`c\3a\5c5commas@example.com`, "sip:c%3A%5C5commas@example.com", ""},
	{`c\3a\5cc\5c3a@example.com`, "sip:c%3A%5Cc%5C3a@example.com", `c\3a\c\5c3a@example.com`},
	{`x\2F@example.com`, "sip:x/@example.com", `x\2f@example.com`},
	{"a#b%c@example.com", "sip:a%23b%25c@example.com", ""},
	{"a{b|c}`d@example.com", "sip:a%7Bb%7Cc%7D%60d@example.com", ""},
	{"ü@bücher.example/Ünïcode ☃;=?", "sip:%C3%BC@xn--bcher-kva.example;gr=%C3%9Cn%C3%AFcode%20%E2%98%83%3B%3D%3F", ""},
	{"room@conference.example.com/Nick Name", "sip:room@conference.example.com;gr=Nick%20Name", ""},

	// Beyond the vectors of the standards.
	{"example.com", "sip:example.com", ""},
	{"example.com/a@b/c", "sip:example.com;gr=a%40b/c", ""},
	{"Juliet@Example.COM./Balcony", "sip:juliet@example.com;gr=Balcony", "juliet@example.com/Balcony"},
	{"juliet@xn--bcher-kva.example", "sip:juliet@xn--bcher-kva.example", "juliet@bücher.example"},
	{"juliet@[2001:DB8::1]", "sip:juliet@[2001:db8::1]", "juliet@[2001:db8::1]"},
	{"juliet@example.com/x\r;y", "", ""},
}

func TestAnXMPPAddressIsOneInSIP(t *testing.T) {
	for _, tt := range toSIP {
		var a Table
		j, err := Parse(tt.jid)
		if tt.uri == "" {
			if err == nil {
				t.Errorf("Parse(%q) = %q, want an error", tt.jid, j)
			}
			continue
		}
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.jid, err)
			continue
		}
		uri, err := a.URI(j)
		if err != nil || uri != tt.uri {
			t.Errorf("URI(%s) = %q, %v; want %q", tt.jid, uri, err, tt.uri)
			continue
		}
		if tt.back == "" {
			tt.back = tt.jid
		}
		if back, err := a.JID(uri); err != nil || back.String() != tt.back {
			t.Errorf("JID(%s) = %q, %v; want %q", uri, back, err, tt.back)
		}
	}
}

func TestWhatCannotBeAnXMPPAddressIsRefused(t *testing.T) {
	long := strings.Repeat("a", 1023)
	for uri, want := range map[string]*Error{
		"sip:%20lead@example.net":                        errUser,
		"sip:trail%20@example.net":                       errUser,
		"sip:a%00b@example.net":                          errUserOctets,
		"sip:a%0D%0Ab@example.net":                       errUserOctets,
		"sip:a%7Fb@example.net":                          errUserOctets,
		"sip:a%ffb@example.net":                          errUserOctets,
		"sip:bob:pw@example.net":                         errPassword,
		"sip:bob:@example.net":                           errPassword,
		"im:bob:pw@example.net":                          errPassword,
		"sips:bob@example.net":                           errSecure,
		"sip:%E2%98%83@example.net":                      errUser, // snowman
		"sip:a%EF%BC%A0b@example.net":                    errUser, // a wide @
		"sip:a%2F%CC%87@example.net":                     errUser, // a slash with a dot above: \2f would become \2ḟ
		"sip:%D7%90a@example.net":                        errUser, // both directions in one name
		"sip:" + long + "a@example.net":                  errLong,
		"sip:" + long[1:] + "%26@example.net":            errLong,
		"sip:bob@example.net;gr=" + long + "a":           errLong,
		"sip:bob@example.net;gr=%00":                     errGRUU,
		"sip:bob@example.net;gr=%ff":                     errGRUU,
		"sip:bob@xn--a.example":                          errDomain,
		"sip:bob@a--b.xn--zca-.example":                  ErrURI,
		"tel:+15551234567":                               errPhone,
		"mailto:bob@example.net":                         errScheme,
		"xmpp:bob@example.net":                           errScheme,
		"urn:service:sos":                                errScheme,
		"im:example.net":                                 ErrURI,
		"im:a?b@example.net":                             ErrURI,
		"pres:@example.net":                              ErrURI,
		"":                                               ErrURI,
		"sip:":                                           ErrURI,
		"sip:@example.net":                               ErrURI,
		"sip:a@b@example.net":                            ErrURI,
		"<sip:a@example.net>":                            ErrURI,
		"sip:a@example.net\r\nX: y":                      ErrURI,
		"sip:a@2130706433":                               ErrURI,
		"sip:a@[2001:db8::1%25eth0]":                     ErrURI,
		"sip:a@[::ffff:192.0.2.1]":                       errDomain,
		"sip:a@" + strings.Repeat("a.", 127) + "example": ErrURI,
	} {
		var a Table
		j, err := a.JID(uri)
		var fault *Error
		if !errors.As(err, &fault) || fault != want {
			t.Errorf("JID(%q) = %q, %v; want %v", uri, j, err, want)
		}
	}
}

func TestWhatIsNoXMPPAddressIsRefused(t *testing.T) {
	long := strings.Repeat("a", 1024)
	for address, want := range map[string]*Error{
		"":                                        errDomain,
		"@example.com":                            ErrJID,
		"juliet@":                                 errDomain,
		"juliet@example.com/":                     ErrJID,
		"/balcony":                                errDomain,
		"a@b@example.com":                         errDomain,
		"ju liet@example.com":                     errUser,
		`"juliet"@example.com`:                    errUser,
		"juliet@exam_ple.com":                     errDomain,
		"juliet@-example.com":                     errDomain,
		"juliet@example..com":                     errDomain,
		"juliet@example.com..":                    errDomain,
		"juliet@example.com。。":                    errDomain,
		"juliet@.example.com":                     errDomain,
		"juliet@::ffff:192.0.2.1":                 errDomain,
		"juliet@2001:db8::1":                      errDomain,
		"juliet@2130706433":                       errDomain,
		"juliet@example.com/\x00":                 errResource,
		"juliet@example.com/\xff":                 errResource,
		"juliet\xff@example.com":                  errUser,
		"juliet@\xff":                             errDomain,
		"juliet@" + long[:64]:                     errDomain,
		long + "@example.com":                     errLong,
		"juliet@example.com/" + long:              errLong,
		"juliet@" + long:                          errLong,
		strings.Repeat("ﷺ", 341) + "@example.com": errUser,
	} {
		j, err := Parse(address)
		var fault *Error
		if !errors.As(err, &fault) || fault != want {
			t.Errorf("Parse(%q) = %q, %v; want %v", address, j, err, want)
		}
	}
	for _, address := range []string{`\20lead@example.com`, `trail\20@example.com`} {
		j, err := Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if uri, err := new(Table).URI(j); err != ErrJID {
			t.Errorf("URI(%s) = %q, %v; want %v", address, uri, err, ErrJID)
		}
	}
}

func TestTheLongestPartsFit(t *testing.T) {
	var a Table
	part := strings.Repeat("ü", 511) + "a" // 1023 octets
	j, err := Parse(part + "@example.com/" + part)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := a.URI(j)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := a.JID(uri); err != nil || back != j {
		t.Errorf("JID(uri(%s)) = %q, %v", j, back, err)
	}
	if _, err := sip.ParseURI([]byte(uri)); err != nil {
		t.Errorf("ParseURI(%s): %v", uri, err)
	}
}

// tunnel is a company one domain of which is XMPP's, too, and one is not.
func tunnel() *Table {
	return &Table{
		native:     map[string]bool{"example.org": true},
		tunnelled:  map[string]bool{"example.net": true, "xn--bcher-kva.example": true},
		gateway:    "sipgw.example.com",
		sipGateway: "xmpp.example.net",
		phones:     "example.org",
	}
}

func TestTunnelledAddressesCarryTheOtherWhole(t *testing.T) {
	for _, tt := range []struct{ name, uri, jid string }{
		{"a user of ours", "sip:romeo@example.net", `romeo\40example.net@sipgw.example.com`},
		{"with an apostrophe", "sip:o'malley@example.net", `o\27malley\40example.net@sipgw.example.com`},
		{"with what looks like an escape", "sip:x%5C40y@example.net", `x\5c40y\40example.net@sipgw.example.com`},
		{"with an at sign", "sip:x%40y@example.net", `x\40y\40example.net@sipgw.example.com`},
		{"with a device", "sip:romeo@example.net;gr=orchard", `romeo\40example.net@sipgw.example.com/orchard`},
		{"a domain of more letters", "sip:romeo@xn--bcher-kva.example", `romeo\40xn--bcher-kva.example@sipgw.example.com`},
		{"a foreign user", "sip:juliet%40example.com@xmpp.example.net", "juliet@example.com"},
		{"whose escapes stay", "sip:o%5C27malley%40example.com@xmpp.example.net", `o\27malley@example.com`},
		{"needless ones, too", "sip:c%5C5cc%40example.com@xmpp.example.net", `c\5cc@example.com`},
		{"with a resource", "sip:juliet%40example.com@xmpp.example.net;gr=balcony", "juliet@example.com/balcony"},
		{"a foreign domain", "sip:conference.example.com@xmpp.example.net", "conference.example.com"},
		{"a native user beside them", "sip:tybalt@example.org", "tybalt@example.org"},
	} {
		a := tunnel()
		j, err := a.JID(tt.uri)
		if err != nil || j.String() != tt.jid {
			t.Errorf("%s: jid(%s) = %q, %v; want %q", tt.name, tt.uri, j, err, tt.jid)
			continue
		}
		if uri, err := a.URI(j); err != nil || uri != tt.uri {
			t.Errorf("%s: uri(%s) = %q, %v; want %q", tt.name, j, uri, err, tt.uri)
		}
	}
}

func TestOtherWaysToWriteAnAddressAreUnderstood(t *testing.T) {
	for uri, want := range map[string]string{
		"sip:juliet*example.com@xmpp.example.net":              "juliet@example.com",
		"sip:juliet(example.com)@xmpp.example.net":             "juliet@example.com",
		"sip:a*b*example.com@xmpp.example.net":                 "a*b@example.com",
		"sip:Juliet%40Example.COM@XMPP.example.net":            "juliet@example.com",
		"sip:juliet%40m%C3%BCnchen.example@xmpp.example.net":   "juliet@münchen.example",
		"sip:juliet%40xn--mnchen-3ya.example@xmpp.example.net": "juliet@münchen.example",
		"sip:juliet@example.com":                               "juliet@example.com",
		"tel:+1-555-123-4567":                                  "+15551234567@example.org",
		"tel:+15551234567;ext=5":                               "+15551234567;ext=5@example.org",
	} {
		if j, err := tunnel().JID(uri); err != nil || j.String() != want {
			t.Errorf("JID(%s) = %q, %v; want %q", uri, j, err, want)
		}
	}
	j, err := Parse(`romeo\40bücher.example@sipgw.example.com`)
	if err != nil {
		t.Fatal(err)
	}
	if uri, err := tunnel().URI(j); err != nil || uri != "sip:romeo@xn--bcher-kva.example" {
		t.Errorf("URI(%s) = %q, %v", j, uri, err)
	}
}

func TestATunnelLeadsNowhereElse(t *testing.T) {
	for uri, want := range map[string]*Error{
		"sip:juliet@xmpp.example.net":                                    errTunnel,
		"sip:xmpp.example.net":                                           errTunnel,
		"sip:%40example.com@xmpp.example.net":                            errTunnel,
		"sip:*example.com@xmpp.example.net":                              errTunnel,
		"sip:(example.com)@xmpp.example.net":                             errDomain,
		"sip:juliet%40@xmpp.example.net":                                 errDomain,
		"sip:juliet%40example.com%2Fx@xmpp.example.net":                  errDomain,
		"sip:a%40b%40example.com@xmpp.example.net":                       errUser,
		"sip:tybalt%40example.org@xmpp.example.net":                      ErrLoop,
		"sip:romeo%40example.net@xmpp.example.net":                       ErrLoop,
		"sip:x%40xmpp.example.net@xmpp.example.net":                      ErrLoop,
		"sip:romeo%5C40example.net%40sipgw.example.com@xmpp.example.net": ErrLoop,
		"sip:romeo%40example.net@sipgw.example.com":                      ErrLoop,
		"sip:example.net":                                                errTunnel,
		"tel:5551234567":                                                 errPhone,
		"tel:+":                                                          errPhone,
		"tel:112;phone-context=+1":                                       errPhone,
	} {
		j, err := tunnel().JID(uri)
		if err != want {
			t.Errorf("JID(%s) = %q, %v; want %v", uri, j, err, want)
		}
	}
	for address, want := range map[string]*Error{
		"sipgw.example.com":                          errTunnel,
		"romeo@sipgw.example.com":                    errTunnel,
		`romeo\40@sipgw.example.com`:                 errTunnel,
		`\40example.net@sipgw.example.com`:           errTunnel,
		`romeo\40fabrikam.example@sipgw.example.com`: errTunnel,
		`tybalt\40example.org@sipgw.example.com`:     errTunnel,
		`romeo\40192.0.2.1@sipgw.example.com`:        errTunnel,
		`juliet\40example.com@xmpp.example.net`:      ErrLoop,
		"romeo@example.net":                          ErrPlain,
		"localhost":                                  errTunnel,
	} {
		j, err := Parse(address)
		if err != nil {
			t.Errorf("Parse(%s): %v", address, err)
			continue
		}
		if uri, err := tunnel().URI(j); err != want {
			t.Errorf("URI(%s) = %q, %v; want %v", j, uri, err, want)
		}
	}
	a := tunnel()
	a.gateway = ""
	if j, err := a.JID("sip:romeo@example.net"); err != ErrPlain {
		t.Errorf("without a gateway: jid = %q, %v; want %v", j, err, ErrPlain)
	}
}
