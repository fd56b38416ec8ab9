package locate

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/sipedge/sipedge/locate/locatetest"
)

const partner = "fabrikam.example"

const soa = "fabrikam.example. 60 IN SOA ns.fabrikam.example. admin.fabrikam.example. 1 60 60 60 5\n"

// goodZone is a partner with two edges.
const goodZone = soa + `
_sipfederationtls._tcp.fabrikam.example. 60 IN SRV 10 1 5061 edge1.fabrikam.example.
_sipfederationtls._tcp.fabrikam.example. 60 IN SRV 20 1 5062 edge2.fabrikam.example.
_sips._tcp.fabrikam.example.             60 IN SRV 10 1 5063 other.fabrikam.example.
edge1.fabrikam.example. 60 IN A    192.0.2.1
edge1.fabrikam.example. 60 IN AAAA 2001:db8::1
edge2.fabrikam.example. 60 IN A    192.0.2.2
other.fabrikam.example. 60 IN A    192.0.2.3
`

// clock stands until it is moved.
type clock struct{ seconds atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(c.seconds.Load(), 0) }

func (c *clock) advance(d time.Duration) { c.seconds.Add(int64(d / time.Second)) }

// serve starts a DNS server and a Locator that asks it, with a clock that stands.
func serve(t testing.TB, zone string) (*locatetest.Server, *Locator, *clock) {
	t.Helper()
	s, err := locatetest.Serve(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	l := locator(t, Config{Servers: []string{s.Addr()}})
	c := &clock{}
	c.seconds.Store(1_800_000_000)
	l.now = c.now
	return s, l, c
}

func locator(t testing.TB, c Config) *Locator {
	t.Helper()
	l, err := New(c, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.dns.timeout, l.total, l.patience = 5*time.Second, 20*time.Second, 20*time.Second // for slow machines
	l.random = func(int) int { return 0 }
	t.Cleanup(l.Close)
	return l
}

// hurry is for resolvers that will not answer.
func hurry(l *Locator) {
	l.dns.timeout, l.total, l.patience = 60*time.Millisecond, 400*time.Millisecond, 20*time.Millisecond
}

// settle waits for all that is still asked though nobody waits for it.
func settle(l *Locator) {
	nothing := func() (any, error) { return nil, nil }
	for _, d := range []*Directory{l.Directory, l.named} {
		for _, name := range []string{partner, "sip1.example.com"} {
			<-d.lookups.DoChan(name, nothing)
		}
		for _, name := range []string{"edge1." + partner, "edge2." + partner, "other." + partner, "sip1.example.com"} {
			<-d.queries.DoChan(name+"/A", nothing)
			<-d.queries.DoChan(name+"/AAAA", nothing)
		}
		for _, service := range services {
			<-d.queries.DoChan(service+partner+"/SRV", nothing)
		}
	}
	l.running.Wait()
}

func addrs(hops []Hop) string {
	var s []string
	for _, h := range hops {
		s = append(s, h.Addr.String())
	}
	return strings.Join(s, " ")
}

func TestAPartnerIsFoundByItsSRVRecords(t *testing.T) {
	for _, tt := range []struct{ name, zone, want string }{
		{"targets by priority, IPv6 first", goodZone, "[2001:db8::1]:5061 192.0.2.1:5061 192.0.2.2:5062"},
		{"sips if there is no federation service", soa + `
_sips._tcp.fabrikam.example. IN SRV 10 1 5063 other.fabrikam.example.
other.fabrikam.example. IN A 192.0.2.3`, "192.0.2.3:5063"},
		{"sips if the federation service is not offered", soa + `
_sipfederationtls._tcp.fabrikam.example. IN SRV 0 0 0 .
_sips._tcp.fabrikam.example. IN SRV 10 1 5063 other.fabrikam.example.
other.fabrikam.example. IN A 192.0.2.3`, "192.0.2.3:5063"},
		{"an alias of the records", soa + `
_sipfederationtls._tcp.fabrikam.example. IN CNAME _sip.hosting.example.
_sip.hosting.example. IN SRV 1 1 5061 edge.hosting.example.
edge.hosting.example. IN A 192.0.2.4`, "192.0.2.4:5061"},
		{"a target that is an alias", soa + `
_sipfederationtls._tcp.fabrikam.example. IN SRV 1 1 5061 edge.fabrikam.example.
edge.fabrikam.example. IN CNAME edge.hosting.example.
edge.hosting.example. IN CNAME node.hosting.example.
node.hosting.example. IN A 192.0.2.5`, "192.0.2.5:5061"},
		{"a target that is an address", soa + `
_sipfederationtls._tcp.fabrikam.example. IN SRV 1 1 5061 192.0.2.6.`, "192.0.2.6:5061"},
		{"targets that lead nowhere are passed over", soa + `
_sipfederationtls._tcp.fabrikam.example. IN SRV 1 1 5061 gone.fabrikam.example.
_sipfederationtls._tcp.fabrikam.example. IN SRV 2 1 0 edge.fabrikam.example.
_sipfederationtls._tcp.fabrikam.example. IN SRV 3 1 5061 2130706433.
_sipfederationtls._tcp.fabrikam.example. IN SRV 4 1 5061 bad\000name.fabrikam.example.
_sipfederationtls._tcp.fabrikam.example. IN SRV 5 1 5061 edge.fabrikam.example.
edge.fabrikam.example. IN A 192.0.2.7`, "192.0.2.7:5061"},
		{"addresses that DNS must not point to are passed over", soa + `
_sipfederationtls._tcp.fabrikam.example. IN SRV 1 1 5061 edge.fabrikam.example.
edge.fabrikam.example. IN A 127.0.0.1
edge.fabrikam.example. IN A 10.0.0.5
edge.fabrikam.example. IN AAAA ::ffff:10.0.0.5
edge.fabrikam.example. IN A 192.0.2.8`, "192.0.2.8:5061"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, l, _ := serve(t, tt.zone)
			hops, err := l.Partner(t.Context(), "Fabrikam.Example.")
			if err != nil || addrs(hops) != tt.want {
				t.Fatalf("Partner = %s, %v, want %s", addrs(hops), err, tt.want)
			}
			for _, h := range hops {
				if !h.FromDNS || h.Host == "" || strings.HasSuffix(h.Host, ".") {
					t.Errorf("hop %+v", h)
				}
			}
			cached, ok := l.CachedPartner(partner)
			if !ok || addrs(cached) != tt.want {
				t.Errorf("CachedPartner = %s, %v", addrs(cached), ok)
			}
		})
	}
}

func TestAPartnerThatIsNotFoundSaysWhy(t *testing.T) {
	srv := soa + "_sipfederationtls._tcp.fabrikam.example. IN SRV 1 1 5061 edge.fabrikam.example.\n"
	const both = "_sipfederationtls._tcp.fabrikam.example"
	for _, tt := range []struct {
		name, zone string
		faults     map[string]locatetest.Fault
		want       error
	}{
		{"no such domain", "", nil, ErrNoRecords},
		{"no service", soa + "_sipfederationtls._tcp.fabrikam.example. IN TXT x", nil, ErrNoRecords},
		{"the service is decidedly not there", soa + "_sips._tcp.fabrikam.example. IN SRV 0 0 0 .", nil, ErrNoRecords},
		{"no address", srv, nil, ErrNoRecords},
		{"only a target that is no name", soa + "_sipfederationtls._tcp.fabrikam.example. IN SRV 1 1 5061 0x7f.1.", nil, ErrNoRecords},
		{"loopback", srv + "edge.fabrikam.example. IN A 127.0.0.1", nil, ErrForbiddenAddress},
		{"loopback in disguise", srv + "edge.fabrikam.example. IN AAAA 64:ff9b::7f00:1", nil, ErrForbiddenAddress},
		{"the resolver fails", goodZone, map[string]locatetest.Fault{"": locatetest.Servfail}, ErrServfail},
		{"the resolver fails for the better service", soa, map[string]locatetest.Fault{both: locatetest.Servfail}, ErrServfail},
		{"the resolver fails for the address", goodZone, map[string]locatetest.Fault{"edge1.fabrikam.example": locatetest.Servfail, "edge2.fabrikam.example": locatetest.Servfail}, ErrServfail},
		{"the resolver is silent", goodZone, map[string]locatetest.Fault{"": locatetest.Silence}, ErrTimeout},
		{"a wrong id", goodZone, map[string]locatetest.Fault{"": locatetest.WrongID}, ErrTimeout},
		{"a wrong question", goodZone, map[string]locatetest.Fault{"": locatetest.WrongQuestion}, ErrTimeout},
		{"a name that points at itself", goodZone, map[string]locatetest.Fault{"": locatetest.PointerLoop}, ErrServfail},
		{"garbage", goodZone, map[string]locatetest.Fault{"": locatetest.Garbage}, ErrServfail},
		{"cut in the stream", goodZone, map[string]locatetest.Fault{"": locatetest.CutStream}, ErrServfail},
		{"cut in the stream too", goodZone, map[string]locatetest.Fault{"": locatetest.TruncateEver}, ErrServfail},
		{"an alias of itself", soa + both + ". IN CNAME " + both + ".", nil, ErrServfail},
		{"aliases in a ring", srv + "edge.fabrikam.example. IN CNAME a.example.\na.example. IN CNAME edge.fabrikam.example.", nil, ErrServfail},
		{"a chain of ten aliases", srv + "edge.fabrikam.example. IN CNAME a1.example.\n" + chain(10) + "a10.example. IN A 192.0.2.1", nil, ErrServfail},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, l, _ := serve(t, tt.zone)
			for name, f := range tt.faults {
				s.Misbehave(name, f)
			}
			if tt.want == ErrTimeout {
				hurry(l)
			}
			began := time.Now()
			hops, err := l.Partner(t.Context(), partner)
			if !errors.Is(err, tt.want) {
				t.Fatalf("Partner = %s, %v, want %v", addrs(hops), err, tt.want)
			}
			var e *Error
			if !errors.As(err, &e) || e.Domain != partner || e.Query == "" {
				t.Errorf("error %#v", err)
			}
			if took := time.Since(began); took > 2*l.total {
				t.Errorf("took %v", took)
			}
			settle(l)
			asked := s.Queries()
			if _, again := l.Partner(t.Context(), partner); !errors.Is(again, tt.want) || s.Queries() != asked {
				t.Errorf("again: %v, %d more questions", again, s.Queries()-asked)
			}
		})
	}
}

func chain(n int) string {
	var b strings.Builder
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "a%d.example. IN CNAME a%d.example.\n", i, i+1)
	}
	return b.String()
}

func TestWhatIsNoDomainIsNotLookedUp(t *testing.T) {
	s, l, _ := serve(t, goodZone)
	for _, d := range []string{
		"", ".", "..", "127.0.0.1", "[::1]", "::1", "2130706433", "0x7f.1", "127.1", "a..example", "-a.example", "a-.example",
		"a b.example", "a\x00.example", "a@b.example", "_sip.example", "localhost", "A.LOCALHOST.", "fäbrikam.example", "fabri\u212aam.example", strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 127) + "ab",
	} {
		if hops, err := l.Partner(t.Context(), d); !errors.Is(err, ErrNoRecords) {
			t.Errorf("Partner(%q) = %v, %v", d, hops, err)
		}
		if _, ok := l.CachedPartner(d); ok {
			t.Errorf("CachedPartner(%q) found something", d)
		}
	}
	if n := s.Queries(); n != 0 {
		t.Errorf("%d questions", n)
	}
}

func TestOddResolversAreUnderstood(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault locatetest.Fault
	}{
		{"all by TCP", locatetest.Truncate},
		{"no EDNS", locatetest.NoEDNS},
		{"forged answers before the right one", locatetest.Forge},
		{"a forged answer from elsewhere", locatetest.ForgeSource},
		{"records that nobody asked for", locatetest.Poison},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, l, _ := serve(t, goodZone)
			s.Misbehave("", tt.fault)
			hops, err := l.Partner(t.Context(), partner)
			if err != nil || len(hops) != 3 || strings.Contains(addrs(hops), "192.0.2.66") {
				t.Errorf("Partner = %s, %v", addrs(hops), err)
			}
			if hops, err := l.Host(t.Context(), "edge.contoso.example", 5061); !errors.Is(err, ErrNoRecords) {
				t.Errorf("Host = %s, %v", addrs(hops), err)
			}
		})
	}
}

func TestAThousandRecordsAreCut(t *testing.T) {
	var zone strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&zone, "_sipfederationtls._tcp.fabrikam.example. IN SRV %d 1 5061 e%d.fabrikam.example.\n", 1000-i, i)
		fmt.Fprintf(&zone, "e%d.fabrikam.example. IN A 192.0.2.%d\n", i, i%250)
		fmt.Fprintf(&zone, "e999.fabrikam.example. IN A 198.51.%d.%d\n", 100+i/250, i%250)
	}
	s, l, _ := serve(t, zone.String())
	hops, err := l.Partner(t.Context(), partner)
	if err != nil || len(hops) != maxHops {
		t.Fatalf("Partner = %d hops, %v", len(hops), err)
	}
	if hops[0].Host != "e999.fabrikam.example" {
		t.Errorf("first hop %v, want the best priority of all records", hops[0])
	}
	if n := s.Queries(); n > 2*len(services)+4*maxTargets {
		t.Errorf("%d questions", n)
	}
}

func TestAnswersAreRemembered(t *testing.T) {
	s, l, now := serve(t, goodZone)
	find := func(what, want string, questions int) {
		t.Helper()
		before := s.Queries()
		hops, err := l.Partner(t.Context(), partner)
		if err != nil || addrs(hops) != want {
			t.Errorf("%s: %s, %v, want %s", what, addrs(hops), err, want)
		}
		settle(l)
		if got := s.Queries() - before; got != questions {
			t.Errorf("%s: %d questions, want %d", what, got, questions)
		}
	}
	const all = "[2001:db8::1]:5061 192.0.2.1:5061 192.0.2.2:5062"
	find("first", all, 6)
	find("again", all, 0)
	if n := testing.AllocsPerRun(100, func() { l.CachedPartner(partner) }); n != 0 {
		t.Errorf("CachedPartner makes %v allocations", n)
	}
	now.advance(6 * time.Second)
	find("that a host has no AAAA is no reason to ask soon", all, 0)
	now.advance(61 * time.Second)
	if _, ok := l.CachedPartner(partner); ok {
		t.Error("CachedPartner found what was out of date")
	}
	find("after the end", all, 6)
}

func TestNoAnswerIsRememberedTooShortlyOrTooLong(t *testing.T) {
	s, l, now := serve(t, strings.NewReplacer(" 60 IN", " 0 IN", "60 5\n", "60 0\n").Replace(goodZone))
	found := func() bool { _, ok := l.CachedPartner(partner); return ok }
	if _, err := l.Partner(t.Context(), partner); err != nil || !found() {
		t.Fatal(err)
	}
	now.advance(time.Second)
	if found() {
		t.Error("TTL 0 holds longer than a second")
	}
	if err := s.SetZone(strings.NewReplacer(" 60 IN", " 604800 IN", "60 5\n", "60 604800\n").Replace(goodZone)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Partner(t.Context(), partner); err != nil {
		t.Fatal(err)
	}
	if f, _ := l.domains.Get(partner); f.until.Sub(now.now()) != maxTTL {
		t.Errorf("a week's TTL holds for %v", f.until.Sub(now.now()))
	}
	if a, _ := l.answers.Get("edge2.fabrikam.example/AAAA"); a.until.Sub(now.now()) != negativeTTL {
		t.Errorf("a week without AAAA holds for %v", a.until.Sub(now.now()))
	}
}

func TestATTLWithItsHighBitSetIsLong(t *testing.T) {
	_, l, now := serve(t, strings.ReplaceAll(goodZone, " 60 IN", " 2147483648 IN"))
	if _, err := l.Partner(t.Context(), partner); err != nil {
		t.Fatal(err)
	}
	if f, _ := l.domains.Get(partner); f.until.Sub(now.now()) != maxTTL {
		t.Errorf("holds for %v", f.until.Sub(now.now()))
	}
}

func TestAnswersThatFlipHarmNobody(t *testing.T) {
	s, l, now := serve(t, "")
	good := "_sipfederationtls._tcp.fabrikam.example. 0 IN SRV 1 1 5061 edge.fabrikam.example.\nedge.fabrikam.example. 0 IN A 192.0.2.1\n"
	if err := s.SetZones(good, strings.ReplaceAll(good, "192.0.2.1", "127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		hops, err := l.Partner(t.Context(), partner)
		switch {
		case err == nil && addrs(hops) != "192.0.2.1:5061":
			t.Fatalf("Partner = %s", addrs(hops))
		case err != nil && !errors.Is(err, ErrForbiddenAddress) && !errors.Is(err, ErrNoRecords):
			t.Fatal(err)
		}
		now.advance(2 * time.Second)
	}
}

func TestADeadResolverCostsItsTimeOnce(t *testing.T) {
	s, err := locatetest.Serve(goodZone)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dead, err := locatetest.Serve("")
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	dead.Misbehave("", locatetest.Silence)
	l := locator(t, Config{Servers: []string{dead.Addr(), s.Addr()}})
	l.dns.timeout = 200 * time.Millisecond
	if hops, err := l.Partner(t.Context(), partner); err != nil || len(hops) != 3 {
		t.Fatalf("Partner = %s, %v", addrs(hops), err)
	}
	settle(l)
	before := dead.Queries()
	if _, err := l.Host(t.Context(), "other.fabrikam.example", 5061); err != nil {
		t.Fatal(err)
	}
	if n := dead.Queries() - before; n != 0 {
		t.Errorf("%d more questions to the dead one", n)
	}
}

func TestOneSlowPartnerDoesNotHoldUpAnother(t *testing.T) {
	s, l, _ := serve(t, strings.ReplaceAll(goodZone, "fabrikam", "contoso")+goodZone)
	s.Misbehave("_sipfederationtls._tcp."+partner, locatetest.Silence)
	s.Misbehave("_sips._tcp."+partner, locatetest.Silence)
	l.total, l.dns.timeout = time.Minute, time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	slow := make(chan error, 1)
	go func() { _, err := l.Partner(ctx, partner); slow <- err }()
	if _, err := l.Partner(t.Context(), "contoso.example"); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-slow; !errors.Is(err, context.Canceled) {
		t.Errorf("slow one: %v", err)
	}
	began := time.Now()
	l.Close()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
	if _, err := l.Partner(t.Context(), "litware.example"); err == nil {
		t.Error("a closed locator answers")
	}
}

func TestManyWhoAskAtOnceCostOneLookup(t *testing.T) {
	s, l, _ := serve(t, goodZone)
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if hops, err := l.Partner(t.Context(), partner); err != nil || len(hops) != 3 {
				t.Errorf("Partner = %s, %v", addrs(hops), err)
			}
		})
	}
	all.Wait()
	if n := s.QueriesFor("_sipfederationtls._tcp."+partner, dns.TypeSRV); n != 1 {
		t.Errorf("%d questions", n)
	}
}

func TestAddressesThatFailedComeLast(t *testing.T) {
	_, l, now := serve(t, goodZone)
	hops, err := l.Partner(t.Context(), partner)
	if err != nil {
		t.Fatal(err)
	}
	original := addrs(hops)
	expect := func(what, want string) {
		t.Helper()
		if got, ok := l.CachedPartner(partner); !ok || addrs(got) != want {
			t.Errorf("%s: %s, want %s", what, addrs(got), want)
		}
	}
	l.Failed(netip.MustParseAddrPort("[2001:db8::1]:5061"))
	expect("the first failed", "192.0.2.1:5061 192.0.2.2:5062 [2001:db8::1]:5061")
	l.Failed(netip.MustParseAddrPort("192.0.2.1:5061"))
	expect("the second too", "192.0.2.2:5062 [2001:db8::1]:5061 192.0.2.1:5061")
	l.Succeeded(netip.MustParseAddrPort("[2001:db8::1]:5061"))
	expect("the first is back", "[2001:db8::1]:5061 192.0.2.2:5062 192.0.2.1:5061")
	if addrs(hops) != original {
		t.Error("what was handed out has changed")
	}
	f, _ := l.domains.Get(partner)
	f.until = now.now().Add(time.Hour)
	now.advance(failureTime)
	expect("after a while", original)
}

func TestAHostIsWhereTheAdminSays(t *testing.T) {
	_, l, _ := serve(t, goodZone+"inside.example.com. IN A 10.0.0.5\nold_server.example.com. IN A 10.0.0.6\n")
	for _, tt := range []struct{ host, want string }{
		{"127.0.0.1", "127.0.0.1:5061"},
		{"[::1]", "[::1]:5061"},
		{"2001:db8::1", "[2001:db8::1]:5061"},
		{"localhost", "[::1]:5061 127.0.0.1:5061"},
		{"Inside.Example.com.", "10.0.0.5:5061"},
		{"old_server.example.com", "10.0.0.6:5061"},
		{"edge1.fabrikam.example", "[2001:db8::1]:5061 192.0.2.1:5061"},
	} {
		hops, err := l.Host(t.Context(), tt.host, 5061)
		if err != nil || addrs(hops) != tt.want {
			t.Errorf("Host(%s) = %s, %v, want %s", tt.host, addrs(hops), err, tt.want)
		}
		for _, h := range hops {
			if err := l.Control(h)("tcp", h.Addr.String(), nil); h.FromDNS || err != nil {
				t.Errorf("hop %+v: %v", h, err)
			}
		}
	}
	for _, host := range []string{"gone.example.com", "127.1", "", "a b"} {
		if hops, err := l.Host(t.Context(), host, 5061); !errors.Is(err, ErrNoRecords) {
			t.Errorf("Host(%q) = %s, %v", host, addrs(hops), err)
		}
	}
	if _, err := l.Host(t.Context(), "localhost", 70000); err == nil {
		t.Error("port 70000 is taken")
	}
}

func TestTheHostsFileIsRead(t *testing.T) {
	file := "127.0.0.1 localhost # us\n\n10.0.0.5\tsip1.example.com sip1\n2001:db8::5 SIP1\n# 10.0.0.6 sip1\nnonsense sip1\n"
	got := readHosts(strings.NewReader(file), "sip1")
	want := []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("2001:db8::5")}
	if !slices.Equal(got, want) {
		t.Errorf("readHosts = %v, want %v", got, want)
	}
}

func BenchmarkCachedPartner(b *testing.B) {
	_, l, _ := serve(b, goodZone)
	l.now = time.Now
	if _, err := l.Partner(b.Context(), partner); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := l.CachedPartner(partner); !ok {
			b.Fatal("not found")
		}
	}
}
