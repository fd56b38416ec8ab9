package locate

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestDNSMustNotPointInside(t *testing.T) {
	own := func() []netip.AddrPort {
		return []netip.AddrPort{netip.MustParseAddrPort("203.0.113.10:5061"), netip.MustParseAddrPort("[::]:5062")}
	}
	l, err := New(Config{Servers: []string{"192.0.2.53"}, AllowedRanges: []string{"10.1.0.0/16", "127.0.0.0/8", "fd00::/8", "192.168.7.7"}}, own, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	check := l.Control(Hop{Host: "edge.fabrikam.example", FromDNS: true})
	for _, tt := range []struct {
		addrs string
		want  error
	}{
		{"198.51.100.1:5061 [2001:db8::1]:5061 203.0.113.10:443 203.0.113.11:5061", nil},
		{"10.1.2.3:5061 127.0.0.1:5061 [fd00::1]:5061 192.168.7.7:1 [::ffff:10.1.2.3]:5061", nil}, // allowed
		{"10.2.0.1:5061 172.16.0.1:5061 172.31.255.255:5061 192.168.7.8:5061", ErrForbiddenAddress},
		{"0.0.0.0:5061 0.1.2.3:5061 169.254.169.254:80 100.64.0.1:5061 100.127.255.255:5061", ErrForbiddenAddress},
		{"224.0.0.1:5061 255.255.255.255:5061 240.0.0.1:5061 192.0.0.8:5061 198.18.0.1:5061", ErrForbiddenAddress},
		{"[::]:5061 [::1]:5061 [fe80::1]:5061 [fe80::1%lo]:5061 [fc00::1]:5061 [fec0::1]:5061 [ff02::1]:5061", ErrForbiddenAddress},
		{"[::ffff:10.2.0.1]:5061 [::ffff:169.254.169.254]:80 [::10.2.0.1]:5061 [64:ff9b::a02:1]:5061", ErrForbiddenAddress},
		{"[64:ff9b:1::1]:5061 [2002:a02:1::1]:5061 [2001::1]:5061 [100::1]:5061", ErrForbiddenAddress},
		{"[64:ff9b::c633:6401]:5061 [2002:c633:6401::1]:5061", nil},                                  // a public address inside
		{"203.0.113.10:5061 127.0.0.1:5062 [::1]:5062 [::ffff:127.0.0.1]:5062", ErrForbiddenAddress}, // ours, in an allowed range too
		{"nonsense 127.0.0.1 [::1]", ErrForbiddenAddress},
	} {
		for addr := range strings.FieldsSeq(tt.addrs) {
			if err := check("tcp", addr, nil); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", addr, err, tt.want)
			}
		}
	}
}

// What was a good answer when it was checked may be another address when it is
// dialled; the dialer asks again.
func TestTheAddressDialledIsWhatCounts(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	l := locator(t, Config{Servers: []string{"192.0.2.53"}})
	for _, fromDNS := range []bool{true, false} {
		h := Hop{Host: "localhost", Addr: netip.MustParseAddrPort(ln.Addr().String()), FromDNS: fromDNS}
		c, err := (&net.Dialer{Control: l.Control(h)}).DialContext(t.Context(), "tcp", h.Addr.String())
		if errors.Is(err, ErrForbiddenAddress) != fromDNS {
			t.Errorf("from DNS %v: %v", fromDNS, err)
		}
		if c != nil {
			c.Close()
		}
	}
}

func TestConfigErrorsAreAllTold(t *testing.T) {
	err := Config{Servers: []string{"resolver.example"}, AllowedRanges: []string{"10/8", "10.0.0.0/8", "x"}}.Check()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"resolver.example", `"10/8"`, `"x"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	c := Config{Servers: []string{"192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]", "[2001:db8::53]:53"}}
	got, err := c.resolvers()
	if want := "192.0.2.53:53 192.0.2.53:5353 [2001:db8::53]:53 [2001:db8::53]:53 [2001:db8::53]:53"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("resolvers = %v, %v", got, err)
	}
	if got := systemResolvers("/nowhere"); len(got) != 1 || got[0] != "127.0.0.1:53" {
		t.Errorf("systemResolvers = %v", got)
	}
}
