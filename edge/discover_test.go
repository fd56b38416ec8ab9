package edge

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/federation"
)

// discovering is a bench with lists that have nobody, and discovery on.
func discovering(t *testing.T) *bench {
	b := newBench(t, 1)
	var err error
	p, errs := federation.Compile(federation.File{Federation: federation.Section{Unlisted: "discover"}},
		[]string{"example.com"}, federation.With{})
	if errs != nil {
		t.Fatal(errs)
	}
	b.e.partners.Store(p)
	b.e.discovery, err = federation.OpenDiscovery(nil, nil, b.e.log)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOurUsersCannotFillTheTableOfDiscoveredPartners(t *testing.T) {
	b := discovering(t)
	busy, _ := b.e.partnerEdge([]byte("busy.example"))
	busy.open.Store(1)
	idle, _ := b.e.partnerEdge([]byte("idle.example"))
	for i := range 2 * maxDiscovered {
		if _, ok := b.e.partnerEdge(fmt.Appendf(nil, "d%d.example", i)); !ok {
			t.Fatalf("there was no room for domain %d", i)
		}
	}
	if n := len(b.e.partnerEdges); n != maxDiscovered {
		t.Errorf("%d edges of discovered partners, want %d", n, maxDiscovered)
	}
	if b.e.partnerEdges["busy.example"] != busy {
		t.Error("a partner with an open request was let go of")
	}
	if b.e.partnerEdges["idle.example"] != nil {
		t.Error("the partner that was idle longest is still there")
	}
	b.e.work.Wait()
	if idle.mu.Lock(); !idle.closed {
		t.Error("the edge that was let go of is open")
	}
	idle.mu.Unlock()
	for _, p := range b.e.partnerEdges {
		p.open.Store(1)
	}
	if _, ok := b.e.partnerEdge([]byte("late.example")); ok {
		t.Error("there was room although all were busy")
	}
}

// guess asks for a user of ours, and lets the home server answer if it gets so
// far. It returns the status that the partner sees.
func (b *bench) guess(i int, user string, status int) string {
	b.t.Helper()
	b.from(b.partner, strings.Replace(request1("MESSAGE", fmt.Sprint("g", i)), "sip:bob@", "sip:"+user+"@", 1))
	if _, m := b.sent(b.homes[0]); m != nil {
		b.from(b.homes[0], answer(m, status, ""))
	}
	lines, _ := b.sent(b.partner)
	if len(lines) != 1 {
		b.t.Fatalf("the partner was sent %q", lines)
	}
	return strings.Fields(lines[0])[1]
}

// R-12 of docs/attacks.md.
func TestWhoAsksForTooManyOfOurAddressesIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := discovering(t)
		seen := map[string]int{}
		for i := range 1100 {
			seen[b.guess(i, fmt.Sprintf("user%d", i), 200)]++
			b.after(time.Second / 10)
		}
		if seen["200"] != 1000 || seen["403"] != 100 {
			t.Errorf("answers %v, want 1,000 of 200 and then 403", seen)
		}
		r, _ := b.e.discovery.Record("fabrikam.example")
		if r.State != federation.StateWatched || r.Addressees != 1000 {
			t.Errorf("record %+v, want it watched with 1,000 addressees", r)
		}
		if got := b.guess(2000, "user1", 200); got != "403" {
			t.Errorf("one who is watched and asks for a known address gets %s, want 403", got)
		}
	})
}

func TestAListedPartnerIsNotHeldToTheLimitsOfStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.lists(map[string]federation.PartnerConfig{"fabrikam.example": {}})
		for i := range 1100 {
			if got := b.guess(i, fmt.Sprintf("user%d", i), 404); got != "404" {
				t.Fatalf("request %d: %s, want what the home server answers", i, got)
			}
		}
	})
}

func TestADiscoveredPartnerMaySendTwentyASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := discovering(t)
		count := func(from, n int) (passed int) {
			for i := range n {
				if b.guess(from+i, "bob", 200) == "200" {
					passed++
				}
			}
			return passed
		}
		if got := count(0, 100); got != 20 {
			t.Errorf("%d passed at once, want 20", got)
		}
		b.after(time.Second)
		if got := count(100, 100); got < 19 || got > 21 {
			t.Errorf("%d passed a second later, want 20", got)
		}
		if !strings.Contains(b.log.String(), "partner.discovered_limit") {
			t.Error("the log does not say why")
		}
	})
}

func TestWhoGuessesIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := discovering(t)
		for i := range 60 {
			b.guess(i, fmt.Sprintf("guess%d", i), 404)
			b.after(time.Second / 4)
		}
		if r, _ := b.e.discovery.Record("fabrikam.example"); r.State != federation.StateSuspicious {
			t.Fatalf("state %q after sixty failures, want suspicious", r.State)
		}
		b.after(2 * time.Second)
		passed := 0
		for i := range 40 {
			if b.guess(100+i, "bob", 200) == "200" {
				passed++
			}
			b.after(time.Second / 4)
		}
		if passed < 9 || passed > 13 {
			t.Errorf("%d of 40 in ten seconds passed, want about one a second", passed)
		}
	})
}

func TestAPartnersEntryMayHoldItToARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.lists(map[string]federation.PartnerConfig{"fabrikam.example": {Rate: 5}})
		seen := map[string]int{}
		for i := range 20 {
			seen[b.guess(i, "bob", 200)]++
		}
		if seen["200"] != 5 || seen["503"] != 15 {
			t.Errorf("answers %v, want 5 of 200 and 15 of 503", seen)
		}
	})
}

func TestWhoIsRefusedOnlyBecauseNobodyListedItIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := discovering(t)
		b.lists(map[string]federation.PartnerConfig{"contoso.example": {}})
		if got := b.guess(1, "bob", 200); got != "403" {
			t.Fatalf("an unlisted domain gets %s, want 403", got)
		}
		if r, ok := b.e.discovery.Record("fabrikam.example"); !ok || r.State != federation.StateKnocking {
			t.Errorf("record %+v, %v; want it knocking", r, ok)
		}
		b.from(b.partner, strings.Replace(request1("MESSAGE", "f"), "alice@fabrikam.example", "alice@litware.example", 1))
		if _, ok := b.e.discovery.Record("litware.example"); ok {
			t.Error("a domain that nobody proved to be is remembered")
		}
	})
}
