package locate

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sipedge/sipedge/locate/locatetest"
)

func TestServicesShowsEachRecordAsItStands(t *testing.T) {
	_, l, _ := serve(t, soa+`
_sipfederationtls._tcp.fabrikam.example. IN SRV 20 1 5061 Edge2.Fabrikam.Example.
_sipfederationtls._tcp.fabrikam.example. IN SRV 10 1 5061 edge1.fabrikam.example.
_sipfederationtls._tcp.fabrikam.example. IN SRV 10 9 0 edge3.fabrikam.example.
_sipfederationtls._tcp.fabrikam.example. IN SRV 30 0 5061 192.0.2.6.
_sips._tcp.fabrikam.example. IN CNAME _sips._tcp.hosting.example.
_sips._tcp.hosting.example. IN SRV 0 0 0 .`)
	want := []Records{
		{Name: "_sipfederationtls._tcp.fabrikam.example", Targets: []Target{
			{"edge3.fabrikam.example", 0, 10, 9, false},
			{"edge1.fabrikam.example", 5061, 10, 1, true},
			{"edge2.fabrikam.example", 5061, 20, 1, true},
			{"192.0.2.6", 5061, 30, 0, true},
		}},
		{Name: "_sips._tcp.fabrikam.example", Alias: "_sips._tcp.hosting.example", Targets: []Target{{"", 0, 0, 0, false}}},
	}
	if d := cmp.Diff(want, l.Services(t.Context(), "fabrikam.example")); d != "" {
		t.Errorf("Services (-want +got):\n%s", d)
	}
}

func TestAddressesShowsAliasesAndWhyThereIsNone(t *testing.T) {
	s, l, _ := serve(t, soa+`
edge.fabrikam.example. IN A 192.0.2.2
edge.fabrikam.example. IN A 10.0.0.1
edge.fabrikam.example. IN AAAA 2001:db8::1
www.fabrikam.example. IN CNAME edge.fabrikam.example.`)
	s.Misbehave("broken.fabrikam.example", locatetest.Servfail)
	addrs := func(list ...string) (out []netip.Addr) {
		for _, a := range list {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	for _, tt := range []struct {
		host string
		want Records
	}{
		{"edge.fabrikam.example", Records{Addrs: addrs("10.0.0.1", "192.0.2.2", "2001:db8::1")}},
		{"www.fabrikam.example", Records{Alias: "edge.fabrikam.example", Addrs: addrs("10.0.0.1", "192.0.2.2", "2001:db8::1")}},
		{"gone.fabrikam.example", Records{Err: ErrNoRecords}},
		{"broken.fabrikam.example", Records{Err: ErrServfail}},
		{"192.0.2.9", Records{Addrs: addrs("192.0.2.9")}},
	} {
		tt.want.Name = tt.host
		got := l.Addresses(t.Context(), tt.host)
		if !errors.Is(got.Err, tt.want.Err) {
			t.Errorf("Addresses(%s) = %v", tt.host, got.Err)
		}
		if d := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(Records{}, "Err"), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Errorf("Addresses(%s) (-want +got):\n%s", tt.host, d)
		}
	}
}

func TestWhatInspectionShowsIsBounded(t *testing.T) {
	zone := soa
	for i := range 40 {
		zone += fmt.Sprintf("_sips._tcp.fabrikam.example. IN SRV 1 1 5061 edge%d.fabrikam.example.\n", i)
	}
	for i := range 70 {
		zone += fmt.Sprintf("edge.fabrikam.example. IN A 192.0.2.%d\n", i)
	}
	_, l, _ := serve(t, zone)
	if r := l.Services(t.Context(), "fabrikam.example")[1]; len(r.Targets) != maxTargets || r.More != 8 {
		t.Errorf("%d targets and %d more", len(r.Targets), r.More)
	}
	if r := l.Addresses(t.Context(), "edge.fabrikam.example"); len(r.Addrs) != maxHops || r.More != 6 {
		t.Errorf("%d addresses and %d more", len(r.Addrs), r.More)
	}
}

func TestForbiddenAndResolversAreThoseOfTheRules(t *testing.T) {
	s, l, _ := serve(t, soa)
	if got := strings.Join(l.Resolvers(), " "); got != s.Addr() {
		t.Errorf("Resolvers = %s", got)
	}
	if err := l.Forbidden(netip.MustParseAddrPort("10.0.0.1:5061")); !errors.Is(err, ErrForbiddenAddress) {
		t.Errorf("10.0.0.1: %v", err)
	}
	if err := l.Forbidden(netip.MustParseAddrPort("192.0.2.1:5061")); err != nil {
		t.Errorf("192.0.2.1: %v", err)
	}
}
