package locate

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/sipedge/sipedge/locate/locatetest"
)

const xmppDomain = "fabrikam.example"

// servers are XMPP servers with two ways in.
const xmppZone = soa + `
_xmpp-server._tcp.fabrikam.example.  60 IN SRV 20 1 5269 xmpp1.fabrikam.example.
_xmpps-server._tcp.fabrikam.example. 60 IN SRV 10 1 5270 xmpp1.fabrikam.example.
_xmpps-server._tcp.fabrikam.example. 60 IN SRV 30 1 443  xmpp2.fabrikam.example.
xmpp1.fabrikam.example. 60 IN A    192.0.2.1
xmpp1.fabrikam.example. 60 IN AAAA 2001:db8::1
xmpp2.fabrikam.example. 60 IN A    192.0.2.2
fabrikam.example.       60 IN A    192.0.2.9
`

// String of targets: "tls host[=alias]:port[!] addresses", "!" for secure.
func targetsString(targets []XMPPTarget) string {
	var all []string
	for _, t := range targets {
		s := t.Host
		if t.Alias != "" {
			s += "=" + t.Alias
		}
		s = fmt.Sprintf("%s:%d", s, t.Port)
		if t.Direct {
			s = "tls " + s
		}
		if t.Secure {
			s += "!"
		}
		for _, h := range t.Hops {
			s += " " + h.Addr.Addr().String()
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

func TestServersOfAnXMPPDomain(t *testing.T) {
	for _, tt := range []struct {
		name, zone string
		fault      map[string]locatetest.Fault
		want       string
		err        error
	}{
		{"both services by priority", xmppZone, nil,
			"tls xmpp1.fabrikam.example:5270 2001:db8::1 192.0.2.1, xmpp1.fabrikam.example:5269 2001:db8::1 192.0.2.1, tls xmpp2.fabrikam.example:443 192.0.2.2", nil},
		{"one service", soa + `
_xmpp-server._tcp.fabrikam.example. IN SRV 0 0 5269 x.fabrikam.example.
x.fabrikam.example. IN A 192.0.2.1`, nil, "x.fabrikam.example:5269 192.0.2.1", nil},
		{"the other service", soa + `
_xmpps-server._tcp.fabrikam.example. IN SRV 0 0 443 x.fabrikam.example.
x.fabrikam.example. IN A 192.0.2.1`, nil, "tls x.fabrikam.example:443 192.0.2.1", nil},
		{"one port for both", soa + `
_xmpp-server._tcp.fabrikam.example. IN SRV 1 0 5269 x.fabrikam.example.
_xmpps-server._tcp.fabrikam.example. IN SRV 0 0 5269 x.fabrikam.example.
x.fabrikam.example. IN A 192.0.2.1`, nil, "tls x.fabrikam.example:5269 192.0.2.1, x.fabrikam.example:5269 192.0.2.1", nil},
		{"no direct TLS here", soa + `
_xmpp-server._tcp.fabrikam.example. IN SRV 0 0 5269 x.fabrikam.example.
_xmpps-server._tcp.fabrikam.example. IN SRV 0 0 0 .
x.fabrikam.example. IN A 192.0.2.1`, nil, "x.fabrikam.example:5269 192.0.2.1", nil},
		{"without records the domain itself", soa + "fabrikam.example. IN A 192.0.2.9\nfabrikam.example. IN AAAA 2001:db8::9", nil,
			"fabrikam.example:5269 2001:db8::9 192.0.2.9", nil},
		{"without any records", soa, nil, "", ErrNoRecords},
		{"no service, and not the domain itself", soa + `
_xmpp-server._tcp.fabrikam.example. IN SRV 0 0 0 .
fabrikam.example. IN A 192.0.2.9`, nil, "", ErrNoRecords},
		{"no direct TLS, and not the domain itself", soa + `
_xmpps-server._tcp.fabrikam.example. IN SRV 0 0 0 .
fabrikam.example. IN A 192.0.2.9`, nil, "", ErrNoRecords},
		{"targets that are none, and not the domain itself", soa + `
_xmpp-server._tcp.fabrikam.example. IN SRV 0 0 0 x.fabrikam.example.
fabrikam.example. IN A 192.0.2.9`, nil, "", ErrNoRecords},
		{"targets without address, and not the domain itself", soa + `
_xmpp-server._tcp.fabrikam.example. IN SRV 0 0 5269 x.fabrikam.example.
fabrikam.example. IN A 192.0.2.9`, nil, "", ErrNoRecords},
		{"one service that fails does no harm to the other", xmppZone,
			map[string]locatetest.Fault{"_xmpps-server._tcp.fabrikam.example": locatetest.Servfail},
			"xmpp1.fabrikam.example:5269 2001:db8::1 192.0.2.1", nil},
		{"a service that fails is not one that is not there", soa + "fabrikam.example. IN A 192.0.2.9",
			map[string]locatetest.Fault{"_xmpps-server._tcp.fabrikam.example": locatetest.Servfail}, "", ErrServfail},
		{"a target that fails does no harm to the others", xmppZone,
			map[string]locatetest.Fault{"xmpp1.fabrikam.example": locatetest.Servfail},
			"tls xmpp1.fabrikam.example:5270, xmpp1.fabrikam.example:5269, tls xmpp2.fabrikam.example:443 192.0.2.2", nil},
		{"an address that must not be dialled", soa + `
_xmpp-server._tcp.fabrikam.example. IN SRV 0 0 5269 x.fabrikam.example.
x.fabrikam.example. IN A 127.0.0.1`, nil, "", ErrForbiddenAddress},
		{"the domain itself at an address that must not be dialled", soa + "fabrikam.example. IN A 169.254.169.254", nil, "", ErrForbiddenAddress},
		{"an alias of a target", soa + `
_xmpp-server._tcp.fabrikam.example. IN SRV 0 0 5269 x.fabrikam.example.
x.fabrikam.example. IN CNAME y.fabrikam.example.
y.fabrikam.example. IN CNAME z.hosting.example.
z.hosting.example. IN A 192.0.2.4`, nil, "x.fabrikam.example=z.hosting.example:5269 192.0.2.4", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, l, _ := serve(t, tt.zone)
			for name, fault := range tt.fault {
				s.Misbehave(name, fault)
			}
			r, err := l.XMPP(context.Background(), xmppDomain)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if got := targetsString(r.Targets); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if r.Secure {
				t.Error("secure without a signature")
			}
		})
	}
}

func TestWhatIsSigned(t *testing.T) {
	const hosted = soa + `
_xmpp-server._tcp.fabrikam.example. IN SRV 0 0 5269 x.fabrikam.example.
x.fabrikam.example. IN CNAME y.hosting.example.
y.hosting.example. IN A 192.0.2.4`
	const service = soa + `
_xmpp-server._tcp.fabrikam.example. IN CNAME _xmpp-server._tcp.hosting.example.
_xmpp-server._tcp.hosting.example. IN SRV 0 0 5269 y.hosting.example.
y.hosting.example. IN A 192.0.2.4`
	both := []string{"fabrikam.example", "hosting.example"}
	for _, tt := range []struct {
		name, zone string
		signed     []string
		validating bool
		secure     bool
		want       string
	}{
		{"everything", xmppZone, both, true, true,
			"tls xmpp1.fabrikam.example:5270! 2001:db8::1 192.0.2.1, xmpp1.fabrikam.example:5269! 2001:db8::1 192.0.2.1, tls xmpp2.fabrikam.example:443! 192.0.2.2"},
		{"nothing", hosted, nil, true, false, "x.fabrikam.example=y.hosting.example:5269 192.0.2.4"},
		{"it, but the resolver is not to be believed", hosted, both, false, false, "x.fabrikam.example=y.hosting.example:5269 192.0.2.4"},
		{"an alias and where it leads", hosted, both, true, true, "x.fabrikam.example=y.hosting.example:5269! 192.0.2.4"},
		{"an alias, but not where it leads", hosted, both[:1], true, true, "x.fabrikam.example=y.hosting.example:5269 192.0.2.4"},
		{"where an alias leads, but not itself", hosted, both[1:], true, false, "x.fabrikam.example=y.hosting.example:5269 192.0.2.4"},
		{"a service that is an alias", service, both, true, true, "y.hosting.example:5269! 192.0.2.4"},
		{"where a service leads that is an alias, but not itself", service, both[1:], true, false, "y.hosting.example:5269! 192.0.2.4"},
		{"one service but not the other", xmppZone, []string{"_xmpp-server._tcp.fabrikam.example", "xmpp1.fabrikam.example"}, true, false,
			"tls xmpp1.fabrikam.example:5270! 2001:db8::1 192.0.2.1, xmpp1.fabrikam.example:5269! 2001:db8::1 192.0.2.1, tls xmpp2.fabrikam.example:443 192.0.2.2"},
		{"the other service but not the first", xmppZone, []string{"_xmpps-server._tcp.fabrikam.example", "xmpp2.fabrikam.example"}, true, false,
			"tls xmpp1.fabrikam.example:5270 2001:db8::1 192.0.2.1, xmpp1.fabrikam.example:5269 2001:db8::1 192.0.2.1, tls xmpp2.fabrikam.example:443! 192.0.2.2"},
		{"that there are no records", soa + "fabrikam.example. IN A 192.0.2.9", both, true, true, "fabrikam.example:5269! 192.0.2.9"},
		{"that there are no records of one service", soa + "fabrikam.example. IN A 192.0.2.9",
			[]string{"_xmpp-server._tcp.fabrikam.example"}, true, false, "fabrikam.example:5269 192.0.2.9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, l, _ := serve(t, tt.zone)
			s.Sign(tt.signed...)
			l.dns.validates = tt.validating
			r, err := l.XMPP(context.Background(), xmppDomain)
			if err != nil {
				t.Fatal(err)
			}
			if got := targetsString(r.Targets); got != tt.want || r.Secure != tt.secure {
				t.Errorf("got  %v %s\nwant %v %s", r.Secure, got, tt.secure, tt.want)
			}
		})
	}
}

// Also when it takes several questions to come to the end of an alias.
func TestOneUnsignedLinkBreaksTheChain(t *testing.T) {
	answer := func(signed bool, records ...string) *message {
		t.Helper()
		q := new(dns.Msg).SetQuestion("a.example.", dns.TypeA)
		if strings.HasPrefix(records[0], "b.") {
			q.SetQuestion("b.example.", dns.TypeA)
		}
		reply := new(dns.Msg).SetReply(q)
		reply.AuthenticatedData = signed
		for _, s := range records {
			rr, err := dns.NewRR(s)
			if err != nil {
				t.Fatal(err)
			}
			reply.Answer = append(reply.Answer, rr)
		}
		raw, err := reply.Pack()
		if err != nil {
			t.Fatal(err)
		}
		m, ok, err := readMessage(raw, q)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		return m
	}
	for _, signed := range [][2]bool{{true, true}, {true, false}, {false, true}, {false, false}} {
		r := newReader("a.example", dns.TypeA)
		again, err := r.read(answer(signed[0], "a.example. 60 IN CNAME b.example."))
		if !again || err != nil {
			t.Fatalf("first answer: %v, %v", again, err)
		}
		if again, err = r.read(answer(signed[1], "b.example. 60 IN A 192.0.2.1")); again || err != nil {
			t.Fatalf("second answer: %v, %v", again, err)
		}
		if want := signed[0] && signed[1]; r.secure != want || r.alias() != "b.example" {
			t.Errorf("%v: secure %v, alias %q", signed, r.secure, r.alias())
		}
	}
}

// One family that is signed is enough (RFC 7673 §3.2), and its alias is the one that
// counts.
func TestOneFamilyThatIsSignedIsEnough(t *testing.T) {
	signed := &answer{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, secure: true, alias: "signed.example"}
	not := &answer{addrs: []netip.Addr{netip.MustParseAddr("2001:db8::1")}, alias: "unsigned.example"}
	none := &answer{err: ErrNoRecords, secure: true}
	fails := &answer{err: ErrServfail}
	for _, tt := range []struct {
		name   string
		a, b   *answer
		secure bool
		alias  string
	}{
		{"the second", not, signed, true, "signed.example"},
		{"the first", signed, not, true, "signed.example"},
		{"that there is none of the other", not, none, false, "unsigned.example"},
		{"there is none of the other", none, signed, true, "signed.example"},
		{"the other fails", fails, signed, true, "signed.example"},
		{"the other fails, and this is not", not, fails, false, "unsigned.example"},
	} {
		if got := together(tt.a, tt.b); got.err != nil || got.secure != tt.secure || got.alias != tt.alias {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}

func TestAnswersOfResolversElsewhereAreNotSigned(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		name       string
		servers    []string
		validating *bool
		want       bool
		err        bool
	}{
		{"on loopback", []string{"127.0.0.1", "[::1]:5353", "127.0.0.53:53"}, nil, true, false},
		{"on loopback, as it says", []string{"127.0.0.1"}, &yes, true, false},
		{"on loopback, but passes on what others say", []string{"127.0.0.1"}, &no, false, false},
		{"elsewhere", []string{"192.0.2.53"}, nil, false, false},
		{"elsewhere, whatever it says", []string{"192.0.2.53"}, &yes, false, true},
		{"one of two elsewhere", []string{"127.0.0.1", "192.0.2.53"}, nil, false, false},
		{"one of two elsewhere, whatever it says", []string{"127.0.0.1", "192.0.2.53"}, &yes, false, true},
		{"Docker's", []string{"127.0.0.11"}, nil, false, false},
		{"Docker's, if the admin knows better", []string{"127.0.0.11"}, &yes, true, false},
		{"on loopback, written long", []string{"[::ffff:127.0.0.1]:53"}, nil, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Config{Servers: tt.servers, Validating: tt.validating}
			if err := c.Check(); (err != nil) != tt.err {
				t.Fatalf("error %v", err)
			}
			l, err := New(c, nil, nil)
			if err != nil {
				return
			}
			defer l.Close()
			if got := l.Validates(); got != tt.want {
				t.Errorf("validates: %v", got)
			}
		})
	}
}

func TestWhatDNSSaysOfACertificate(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	long := strings.Repeat("cd", maxTLSAOctets)
	zone := xmppZone + `
_5269._tcp.xmpp1.fabrikam.example. 60 IN TLSA 3 1 1 ` + digest + `
_5269._tcp.xmpp1.fabrikam.example. 60 IN TLSA 200 7 9 abcd
_5270._tcp.xmpp1.fabrikam.example. 60 IN CNAME tlsa._dane.hosting.example.
tlsa._dane.hosting.example.        60 IN TLSA 2 0 1 ` + digest + `
_1._tcp.xmpp1.fabrikam.example.    60 IN TLSA 3 0 0 ` + long + `
_1._tcp.xmpp1.fabrikam.example.    60 IN TLSA 3 0 0 ` + long + `
`
	for i := range 2 * maxTLSA {
		zone += fmt.Sprintf("_2._tcp.xmpp1.fabrikam.example. 60 IN TLSA 3 1 1 %064x\n", i)
	}
	for _, tt := range []struct {
		name   string
		host   string
		port   int
		signed string
		fault  locatetest.Fault
		want   string
		secure bool
		err    error
	}{
		{"signed", "XMPP1.fabrikam.example.", 5269, ".", 0, "3 1 1 " + digest + ", 200 7 9 abcd", true, nil},
		{"not signed", "xmpp1.fabrikam.example", 5269, "", 0, "3 1 1 " + digest + ", 200 7 9 abcd", false, nil},
		{"an alias", "xmpp1.fabrikam.example", 5270, ".", 0, "2 0 1 " + digest, true, nil},
		{"an alias into what is not signed", "xmpp1.fabrikam.example", 5270, "fabrikam.example", 0, "2 0 1 " + digest, false, nil},
		{"nothing, signed", "xmpp1.fabrikam.example", 443, ".", 0, "", true, nil},
		{"nothing, not signed", "xmpp1.fabrikam.example", 443, "", 0, "", false, nil},
		{"no such host", "xmpp3.fabrikam.example", 443, ".", 0, "", true, nil},
		{"an address", "192.0.2.1", 443, ".", 0, "", false, nil},
		{"no host", "a b", 443, ".", 0, "", false, nil},
		{"a name that is too long", strings.Repeat("a.", 124) + "example", 5269, ".", 0, "", false, nil},
		{"too much data", "xmpp1.fabrikam.example", 1, ".", 0, "3 0 0 " + long + ", 3 0 0 ", true, nil},
		{"a failure is not nothing", "xmpp1.fabrikam.example", 5269, ".", locatetest.Servfail, "", false, ErrServfail},
		{"nonsense is not nothing", "xmpp1.fabrikam.example", 5269, ".", locatetest.Garbage, "", false, ErrServfail},
		{"silence is not nothing", "xmpp1.fabrikam.example", 5269, ".", locatetest.Silence, "", false, ErrTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, l, _ := serve(t, zone)
			if tt.signed != "" {
				s.Sign(tt.signed)
			}
			s.Misbehave("_5269._tcp.xmpp1.fabrikam.example", tt.fault)
			if tt.fault == locatetest.Silence {
				hurry(l)
			}
			records, secure, err := l.TLSA(context.Background(), tt.host, tt.port)
			if !errors.Is(err, tt.err) || secure != tt.secure {
				t.Errorf("secure %v, error %v, want %v, %v", secure, err, tt.secure, tt.err)
			}
			if got := tlsaString(records); got != tt.want {
				t.Errorf("got  %.200s\nwant %.200s", got, tt.want)
			}
		})
	}
	_, l, _ := serve(t, zone)
	if records, _, err := l.TLSA(context.Background(), "xmpp1.fabrikam.example", 2); err != nil || len(records) != maxTLSA {
		t.Errorf("%d records, %v, want %d", len(records), err, maxTLSA)
	}
}

func tlsaString(records []TLSA) string {
	var all []string
	for _, r := range records {
		all = append(all, fmt.Sprintf("%d %d %d %s", r.Usage, r.Selector, r.Matching, hex.EncodeToString(r.Data)))
	}
	return strings.Join(all, ", ")
}

// A key that was withdrawn must not be believed because DNS is out; where servers
// are may.
func TestOldAnswersAboutCertificatesDoNotServe(t *testing.T) {
	s, l, c := serve(t, xmppZone+"_5269._tcp.xmpp1.fabrikam.example. 60 IN TLSA 3 1 1 "+strings.Repeat("ab", 32))
	s.Sign(".")
	ctx := context.Background()
	ask := func() (XMPPRecords, []TLSA, error) {
		t.Helper()
		r, err := l.XMPP(ctx, xmppDomain)
		if err != nil {
			t.Fatal(err)
		}
		records, _, err := l.TLSA(ctx, "xmpp1.fabrikam.example", 5269)
		return r, records, err
	}
	if r, records, err := ask(); !r.Secure || len(records) != 1 || err != nil {
		t.Fatalf("%+v, %v, %v", r, records, err)
	}
	n := s.Queries()
	if _, _, err := ask(); err != nil || s.Queries() != n {
		t.Errorf("asked again: %d questions, %v", s.Queries()-n, err)
	}
	s.Misbehave("", locatetest.Servfail)
	c.advance(61 * time.Second)
	r, records, err := ask()
	if !errors.Is(err, ErrServfail) || len(records) > 0 {
		t.Errorf("TLSA: %v, %v", records, err)
	}
	if !r.Secure || len(r.Targets) != 3 || !r.Targets[0].Secure {
		t.Errorf("servers: %+v", r)
	}
	s.Misbehave("", locatetest.Honest)
	c.advance(retryAfter + time.Second)
	if _, records, err := ask(); len(records) != 1 || err != nil {
		t.Errorf("later: %v, %v", records, err)
	}
}

func TestXMPPServersThatFailedComeLast(t *testing.T) {
	_, l, c := serve(t, xmppZone)
	ports := func() string {
		r, err := l.XMPP(context.Background(), xmppDomain)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, t := range r.Targets {
			all = append(all, fmt.Sprint(t.Port, " ", t.Hops[0].Addr.Addr()))
		}
		return strings.Join(all, ", ")
	}
	l.Failed(netip.MustParseAddrPort("[2001:db8::1]:5270"))
	if got, want := ports(), "5270 192.0.2.1, 5269 2001:db8::1, 443 192.0.2.2"; got != want {
		t.Errorf("one address failed: %s, want %s", got, want)
	}
	l.Failed(netip.MustParseAddrPort("192.0.2.1:5270"))
	if got, want := ports(), "5269 2001:db8::1, 443 192.0.2.2, 5270 2001:db8::1"; got != want {
		t.Errorf("both failed: %s, want %s", got, want)
	}
	c.advance(failureTime + time.Second)
	if got, want := ports(), "5270 2001:db8::1, 5269 2001:db8::1, 443 192.0.2.2"; got != want {
		t.Errorf("later: %s, want %s", got, want)
	}
}

func TestXMPPLookupsAreBounded(t *testing.T) {
	zone := soa
	for i := range 60 {
		for _, service := range []string{"xmpp", "xmpps"} {
			zone += fmt.Sprintf("_%s-server._tcp.fabrikam.example. 60 IN SRV %d 0 5269 x%d.fabrikam.example.\n", service, i, i)
		}
		for j := range 4 {
			zone += fmt.Sprintf("x%d.fabrikam.example. 60 IN A 192.0.2.%d\n", i, 4*i+j)
		}
	}
	s, l, _ := serve(t, zone)
	r, err := l.XMPP(context.Background(), xmppDomain)
	if err != nil {
		t.Fatal(err)
	}
	hops := 0
	for _, t := range r.Targets {
		hops += len(t.Hops)
	}
	if len(r.Targets) != maxTargets || hops > maxHops {
		t.Errorf("%d targets, %d hops", len(r.Targets), hops)
	}
	if n := s.Queries(); n > 2+2*maxTargets {
		t.Errorf("%d questions", n)
	}
}

func FuzzReadTLSA(f *testing.F) {
	q := new(dns.Msg).SetQuestion("_5269._tcp.xmpp1.fabrikam.example.", dns.TypeTLSA)
	good := new(dns.Msg).SetReply(q)
	for _, s := range []string{
		"_5269._tcp.xmpp1.fabrikam.example. 60 IN CNAME a.example.", "a.example. 60 IN TLSA 3 1 1 " + strings.Repeat("ab", 32),
		"a.example. 0 IN TLSA 2 0 0 ", "a.example. 60 IN A 192.0.2.1",
	} {
		rr, err := dns.NewRR(s)
		if err != nil {
			f.Fatal(err)
		}
		good.Answer = append(good.Answer, rr)
	}
	raw, err := good.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)-20])
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) >= 4 {
			raw[0], raw[1] = byte(q.Id>>8), byte(q.Id)
		}
		m, ok, err := readMessage(raw, q)
		if !ok || err != nil {
			return
		}
		m.authentic = false
		r := newReader(q.Question[0].Name, dns.TypeTLSA)
		again, err := r.read(m)
		octets := 0
		for _, a := range r.tlsa {
			octets += len(a.Data)
		}
		switch {
		case err == nil && !again && len(r.tlsa) == 0:
			t.Error("no error and no records")
		case len(r.tlsa) > maxTLSA, octets > maxTLSAOctets:
			t.Errorf("%d records with %d octets", len(r.tlsa), octets)
		case r.secure:
			t.Error("secure without the resolver's word")
		}
	})
}
