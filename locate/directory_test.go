package locate

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/locate/locatetest"
)

func TestTargetsAreTheHostsThatSRVLeadsTo(t *testing.T) {
	for _, tt := range []struct {
		name, zone, want string
		err              error
	}{
		{"by priority, of one service", goodZone, "edge1.fabrikam.example edge2.fabrikam.example", nil},
		{"in normal form, each once", soa + `
_sipfederationtls._tcp.fabrikam.example. IN SRV 1 1 5061 Edge.Hosting.Example.
_sipfederationtls._tcp.fabrikam.example. IN SRV 2 1 5062 edge.hosting.example.
edge.hosting.example. IN A 192.0.2.3`, "edge.hosting.example", nil},
		{"an alias stays what it is called", soa + `
_sipfederationtls._tcp.fabrikam.example. IN SRV 1 1 5061 edge.fabrikam.example.
edge.fabrikam.example. IN CNAME node.hosting.example.
node.hosting.example. IN A 192.0.2.5`, "edge.fabrikam.example", nil},
		{"none that leads nowhere or inside", soa + `
_sipfederationtls._tcp.fabrikam.example. IN SRV 1 1 5061 gone.fabrikam.example.
_sipfederationtls._tcp.fabrikam.example. IN SRV 2 1 5061 inside.fabrikam.example.
_sipfederationtls._tcp.fabrikam.example. IN SRV 3 1 5061 both.fabrikam.example.
inside.fabrikam.example. IN A 10.0.0.5
both.fabrikam.example. IN A 10.0.0.5
both.fabrikam.example. IN A 192.0.2.8`, "both.fabrikam.example", nil},
		{"no address in place of a name", soa + `
_sipfederationtls._tcp.fabrikam.example. IN SRV 1 1 5061 192.0.2.6.`, "", nil},
		{"also behind a host with many addresses", soa + many("edge1.fabrikam.example. IN A 192.0.2.%d\n", 200) + `
_sipfederationtls._tcp.fabrikam.example. IN SRV 1 1 5061 edge1.fabrikam.example.
_sipfederationtls._tcp.fabrikam.example. IN SRV 2 1 5061 edge2.fabrikam.example.
edge2.fabrikam.example. IN A 192.0.2.2`, "edge1.fabrikam.example edge2.fabrikam.example", nil},
		{"nothing but inside", soa + `
_sipfederationtls._tcp.fabrikam.example. IN SRV 2 1 5061 inside.fabrikam.example.
inside.fabrikam.example. IN A 10.0.0.5`, "", ErrForbiddenAddress},
		{"no such domain", "", "", ErrNoRecords},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, l, _ := serve(t, tt.zone)
			got, err := l.Targets(t.Context(), "Fabrikam.Example.")
			if !errors.Is(err, tt.err) || strings.Join(got, " ") != tt.want {
				t.Fatalf("Targets = %q, %v, want %q, %v", got, err, tt.want, tt.err)
			}
			cached, ok := l.CachedTargets(partner)
			if ok != (err == nil) || !slices.Equal(cached, got) {
				t.Errorf("CachedTargets = %q, %v", cached, ok)
			}
			if n := testing.AllocsPerRun(100, func() { l.CachedTargets(partner) }); n != 0 {
				t.Errorf("CachedTargets makes %v allocations", n)
			}
		})
	}
}

func many(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestTargetsAndPartnerShareOneLookup(t *testing.T) {
	s, l, _ := serve(t, goodZone)
	if _, err := l.Partner(t.Context(), partner); err != nil {
		t.Fatal(err)
	}
	settle(l)
	asked := s.Queries()
	if got, err := l.Targets(t.Context(), partner); err != nil || len(got) != 2 {
		t.Errorf("Targets = %q, %v", got, err)
	}
	if n := s.Queries() - asked; n != 0 {
		t.Errorf("%d more questions", n)
	}
}

// Strangers with DNS that is slow, and more of them than there is room for,
// leave partners their slots and their place in memory.
func TestStrangersTakeNothingFromPartners(t *testing.T) {
	s, l, _ := serve(t, goodZone)
	if _, err := l.Partner(t.Context(), partner); err != nil {
		t.Fatal(err)
	}
	settle(l)
	l.dns.timeout, l.total = time.Minute, time.Minute
	s.Misbehave("", locatetest.Silence)
	n := strangerRoom.lookups + strangerRoom.waiting
	for i := range n {
		go func() { _, _ = l.Strangers().Targets(t.Context(), fmt.Sprintf("spam%d.example", i)) }()
	}
	for len(l.strangers.waiting) < n {
		runtime.Gosched()
	}
	if _, err := l.Strangers().Targets(t.Context(), "onemore.example"); !errors.Is(err, ErrTimeout) {
		t.Errorf("one stranger more than there is room for: %v", err)
	}
	if n := len(l.slots); n != 0 {
		t.Errorf("strangers have %d slots of partners", n)
	}
	if _, ok := l.CachedPartner(partner); !ok {
		t.Error("the partner is forgotten")
	}
	s.Misbehave("", locatetest.Honest)
	if hops, err := l.Host(t.Context(), "other.fabrikam.example", 5061); err != nil {
		t.Errorf("Host = %v, %v", hops, err)
	}
	if _, err := l.Partner(t.Context(), "contoso.example"); !errors.Is(err, ErrNoRecords) {
		t.Errorf("a partner that was not looked up yet: %v", err)
	}
}

func TestWhatIsRememberedOfStrangersIsBounded(t *testing.T) {
	_, l, _ := serve(t, goodZone)
	if _, err := l.Partner(t.Context(), partner); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * strangerRoom.answers {
		l.strangers.domains.Add(fmt.Sprintf("spam%d.example", i), &found{})
		l.strangers.answers.Add(fmt.Sprintf("_sips._tcp.spam%d.example/SRV", i), &answer{})
	}
	if d, a := l.strangers.domains.Len(), l.strangers.answers.Len(); d != strangerRoom.domains || a != strangerRoom.answers {
		t.Errorf("%d domains and %d answers are remembered", d, a)
	}
	if _, ok := l.CachedPartner(partner); !ok {
		t.Error("the partner is forgotten")
	}
	if got, err := l.Strangers().Targets(t.Context(), partner); err != nil || len(got) != 2 {
		t.Errorf("Targets of a stranger = %q, %v", got, err)
	}
}
