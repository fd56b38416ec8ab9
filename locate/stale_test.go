package locate

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/sipedge/sipedge/locate/locatetest"
)

// outages are the ways in which DNS is no help at all.
var outages = map[string]locatetest.Fault{
	"SERVFAIL": locatetest.Servfail, "silence": locatetest.Silence, "garbage": locatetest.Garbage,
	"answers to others": locatetest.WrongQuestion, "cut answers": locatetest.CutStream,
}

func TestOldAnswersServeWhileDNSIsOut(t *testing.T) {
	for name, fault := range outages {
		t.Run(name, func(t *testing.T) {
			s, l, now := serve(t, goodZone)
			want, err := l.Partner(t.Context(), partner)
			if err != nil {
				t.Fatal(err)
			}
			settle(l)
			s.Misbehave("", fault)
			hurry(l)
			for range 5 { // old answers do not make each other younger
				now.advance(11 * time.Minute)
				hops, err := l.Partner(t.Context(), partner)
				if err != nil || addrs(hops) != addrs(want) {
					t.Fatalf("Partner = %s, %v", addrs(hops), err)
				}
				if names, err := l.Targets(t.Context(), partner); err != nil || len(names) != 2 {
					t.Fatalf("Targets = %s, %v", names, err)
				}
				settle(l)
				if _, ok := l.CachedPartner(partner); !ok {
					t.Fatal("the old answer is not remembered for a while")
				}
			}
			now.advance(10 * time.Minute)
			l.patience = 20 * time.Second
			if hops, err := l.Partner(t.Context(), partner); err == nil {
				t.Errorf("Partner = %s, an hour after the end", addrs(hops))
			}
		})
	}
}

// The first who asks after the end waits a little, for DNS may well answer; when
// it did not, the others do not wait at all.
func TestNobodyWaitsForDNSThatIsOut(t *testing.T) {
	s, l, now := serve(t, goodZone)
	if _, err := l.Partner(t.Context(), partner); err != nil {
		t.Fatal(err)
	}
	settle(l)
	s.Misbehave("", locatetest.Silence)
	hurry(l)
	now.advance(2 * time.Minute)
	if _, err := l.Partner(t.Context(), partner); err != nil {
		t.Fatal(err)
	}
	settle(l)
	l.patience, l.total, l.dns.timeout = time.Hour, time.Hour, time.Hour // whoever waits now fails the test
	now.advance(retryAfter)
	if _, err := l.Partner(t.Context(), partner); err != nil {
		t.Fatal(err)
	}
}

func TestSlowDNSIsWaitedForShortly(t *testing.T) {
	s, l, now := serve(t, goodZone)
	if _, err := l.Partner(t.Context(), partner); err != nil {
		t.Fatal(err)
	}
	settle(l)
	for _, name := range []string{"edge1", "edge2"} {
		s.Misbehave(name+".fabrikam.example", locatetest.Hold)
	}
	l.patience = time.Millisecond
	now.advance(2 * time.Minute)
	hops, err := l.Partner(t.Context(), partner)
	if err != nil || len(hops) != 3 {
		t.Fatalf("Partner = %s, %v", addrs(hops), err)
	}
	if err := s.SetZone(strings.ReplaceAll(goodZone, "192.0.2.2", "192.0.2.22")); err != nil {
		t.Fatal(err)
	}
	s.Release()
	settle(l)
	if hops, ok := l.CachedPartner(partner); !ok || !strings.Contains(addrs(hops), "192.0.2.22") {
		t.Errorf("what came later is not remembered: %s", addrs(hops))
	}
}

func TestDNSThatSaysNoIsBelieved(t *testing.T) {
	for _, tt := range []struct {
		name, zone string
		want       error
	}{
		{"no such domain", "", ErrNoRecords},
		{"no such service", soa + "_sipfederationtls._tcp.fabrikam.example. IN SRV 0 0 0 .", ErrNoRecords},
		{"no address", soa + "_sipfederationtls._tcp.fabrikam.example. IN SRV 0 0 5061 edge1.fabrikam.example.", ErrNoRecords},
		{"inside", strings.NewReplacer("192.0.2.", "10.0.0.", "2001:db8::", "fd00::").Replace(goodZone), ErrForbiddenAddress},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, l, now := serve(t, goodZone)
			if _, err := l.Partner(t.Context(), partner); err != nil {
				t.Fatal(err)
			}
			if err := s.SetZone(tt.zone); err != nil {
				t.Fatal(err)
			}
			now.advance(2 * time.Minute)
			for range 2 {
				if hops, err := l.Partner(t.Context(), partner); !errors.Is(err, tt.want) {
					t.Errorf("Partner = %s, %v", addrs(hops), err)
				}
				s.Misbehave("", locatetest.Servfail) // does not bring back what is gone
			}
		})
	}
}

func TestRecoveryIsQuick(t *testing.T) {
	for name, fault := range outages {
		t.Run(name, func(t *testing.T) {
			s, l, now := serve(t, goodZone)
			s.Misbehave("", fault)
			hurry(l)
			if hops, err := l.Partner(t.Context(), partner); err == nil {
				t.Fatalf("Partner = %s", addrs(hops))
			}
			settle(l)
			l.dns.timeout, l.total = 5*time.Second, 20*time.Second
			s.Misbehave("", locatetest.Honest)
			now.advance(retryAfter)
			if hops, err := l.Partner(t.Context(), partner); err != nil || len(hops) != 3 {
				t.Errorf("Partner = %s, %v", addrs(hops), err)
			}
		})
	}
	if worst := retryAfter + queryTime; worst >= lookupTime {
		t.Errorf("DNS may be back for %v before it is asked again", worst)
	}
}

func TestANewAnswerReplacesTheOldOne(t *testing.T) {
	s, l, now := serve(t, goodZone)
	var log bytes.Buffer
	l.log = slog.New(slog.NewTextHandler(&log, nil))
	if _, err := l.Partner(t.Context(), partner); err != nil {
		t.Fatal(err)
	}
	settle(l)
	s.Misbehave("", locatetest.Servfail)
	now.advance(2 * time.Minute)
	for range 3 {
		if _, err := l.Partner(t.Context(), partner); err != nil {
			t.Fatal(err)
		}
		settle(l)
		now.advance(retryAfter)
	}
	s.Misbehave("", locatetest.Honest)
	if err := s.SetZone(strings.ReplaceAll(goodZone, "192.0.2.2", "192.0.2.22")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Partner(t.Context(), partner); err != nil { // the old one; it is asked meanwhile
		t.Fatal(err)
	}
	settle(l)
	if hops, ok := l.CachedPartner(partner); !ok || !strings.Contains(addrs(hops), "192.0.2.22") {
		t.Errorf("CachedPartner = %s, %v", addrs(hops), ok)
	}
	if out := log.String(); strings.Count(out, "stale dns answer used") != 1 || strings.Count(out, "dns answers again") != 1 {
		t.Errorf("log:\n%s", out)
	}
}

func TestHowLongOldAnswersServeIsASetting(t *testing.T) {
	s, l, now := serve(t, goodZone)
	l.stale = 0
	if _, err := l.Partner(t.Context(), partner); err != nil {
		t.Fatal(err)
	}
	s.Misbehave("", locatetest.Servfail)
	now.advance(61 * time.Second)
	if hops, err := l.Partner(t.Context(), partner); !errors.Is(err, ErrServfail) {
		t.Errorf("Partner = %s, %v", addrs(hops), err)
	}
	day, ever, never := 24*time.Hour, 1000*time.Hour, -time.Second
	for _, tt := range []struct {
		stale *time.Duration
		want  time.Duration
		ok    bool
	}{{nil, time.Hour, true}, {&day, day, true}, {&ever, 0, false}, {&never, 0, false}} {
		c := Config{Stale: tt.stale}
		if got, err := c.stale(); got != tt.want || (err == nil) != tt.ok || (c.Check() == nil) != tt.ok {
			t.Errorf("stale %v: %v, %v", tt.stale, got, err)
		}
	}
}

// What answers are put together of may fail one by one.
func TestAFailureOfOnePartLeavesTheOthers(t *testing.T) {
	const federation, sips = "_sipfederationtls._tcp." + partner, "_sips._tcp." + partner
	for _, tt := range []struct{ name, fault, want string }{
		{"the records of the better service", federation, "[2001:db8::1]:5061 192.0.2.1:5061 192.0.2.2:5062"},
		{"those of the other", sips, "[2001:db8::1]:5061 192.0.2.1:5061 192.0.2.2:5062"},
		{"the addresses of one target", "edge1.fabrikam.example", "[2001:db8::1]:5061 192.0.2.1:5061 192.0.2.22:5062"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, l, now := serve(t, goodZone)
			if _, err := l.Partner(t.Context(), partner); err != nil {
				t.Fatal(err)
			}
			settle(l)
			s.Misbehave(tt.fault, locatetest.Servfail)
			if strings.Contains(tt.want, ".22:") {
				if err := s.SetZone(strings.ReplaceAll(goodZone, "192.0.2.2", "192.0.2.22")); err != nil {
					t.Fatal(err)
				}
			}
			now.advance(2 * time.Minute)
			if hops, err := l.Partner(t.Context(), partner); err != nil || addrs(hops) != tt.want {
				t.Errorf("Partner = %s, %v, want %s", addrs(hops), err, tt.want)
			}
		})
	}
}

func TestAServerOfTheAdminIsFoundWhileDNSIsOut(t *testing.T) {
	s, l, now := serve(t, "sip1.example.com. 60 IN A 10.0.0.5\n")
	if _, err := l.Host(t.Context(), "sip1.example.com", 5061); err != nil {
		t.Fatal(err)
	}
	settle(l)
	s.Misbehave("", locatetest.Silence)
	hurry(l)
	for range 2 {
		now.advance(2 * time.Minute)
		for _, port := range []int{5061, 5062} {
			want := fmt.Sprintf("10.0.0.5:%d", port)
			if hops, err := l.Host(t.Context(), "sip1.example.com", port); err != nil || addrs(hops) != want {
				t.Errorf("Host = %s, %v, want %s", addrs(hops), err, want)
			}
		}
		settle(l)
	}
	if n := s.QueriesFor("sip1.example.com", dns.TypeA); n > 5 {
		t.Errorf("%d questions", n)
	}
}
