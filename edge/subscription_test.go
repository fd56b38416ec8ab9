package edge

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/sip"
)

// subscribe is a SUBSCRIBE of alice at the partner to bob.
func subscribe(id, lines string) string {
	text := strings.NewReplacer("call-1", id, "branch=z9hG4bK", "branch=z9hG4bK"+id).Replace(request1("SUBSCRIBE", "s"))
	return strings.Replace(text, "Contact:", "Event: presence\n"+lines+"Contact:", 1)
}

// subscribes lets alice subscribe, and bob's home server answer.
func (b *bench) subscribes(id, lines, answered string) (routes string) {
	b.t.Helper()
	b.from(b.partner, subscribe(id, lines))
	m := b.expect(b.homes[0], "SUBSCRIBE"+requestLine)
	b.from(b.homes[0], answer(m, 200, answered+"Contact: <sip:bob@10.0.0.50:5070>\n"))
	m = b.expect(b.partner, "SIP/2.0 200 OK")
	elems := m.Elements(sip.RecordRoute)
	for elem, ok := elems.Next(); ok; elem, ok = elems.Next() {
		routes = "Route: " + string(elem) + "\n" + routes
	}
	return routes
}

// again is a SUBSCRIBE within the dialog of an earlier one.
func again(id, routes, lines string) string {
	text := strings.Replace(subscribe(id, routes+lines), "sip:bob@example.com SIP/2.0", "sip:bob@10.0.0.50:5070 SIP/2.0", 1)
	text = strings.Replace(text, "branch=z9hG4bK", "branch=z9hG4bKagain", 1)
	return strings.Replace(text, "To: <sip:bob@example.com>", "To: <sip:bob@example.com>;tag=b", 1)
}

// refreshes lets alice ask again for what she has, and bob's home server answer.
func (b *bench) refreshes(id, routes, lines, answered string) {
	b.t.Helper()
	b.from(b.partner, again(id, routes, lines))
	m := b.expect(b.homes[0], "SUBSCRIBE sip:bob@10.0.0.50:5070 SIP/2.0")
	b.from(b.homes[0], answer(m, 200, answered+"Contact: <sip:bob@10.0.0.50:5070>\n"))
	b.expect(b.partner, "SIP/2.0 200 OK")
}

// hasNoPlace asks that one more subscription is refused.
func (b *bench) hasNoPlace() {
	b.t.Helper()
	b.from(b.partner, subscribe("more", ""))
	m := b.expect(b.partner, "SIP/2.0 503 Service Unavailable")
	if m != nil && m.Count(sip.RetryAfter) != 1 {
		b.t.Error("the refusal has no Retry-After")
	}
	b.expect(b.homes[0])
	if !strings.Contains(b.log.String(), "reason=limit.subscriptions") {
		b.t.Errorf("the log does not say why:\n%s", b.log.String())
	}
}

// notify is a NOTIFY of bob's home server within the dialog that id made.
func notify(id, state string) string {
	text := strings.NewReplacer("out-1", id, "alice@fabrikam.example>\nCall", "alice@fabrikam.example>;tag=a\nCall").Replace(outgoing("NOTIFY", "n"+id+state))
	return strings.Replace(text, "Contact:", "Event: presence\nSubscription-State: "+state+"\nContact:", 1)
}

func TestAPartnerHoldsSoManySubscriptionsAndNoMore(t *testing.T) {
	for _, tt := range []struct {
		name string
		ends func(b *bench, routes string)
	}{
		{"a NOTIFY that ends it makes room", func(b *bench, _ string) {
			b.from(b.homes[0], notify("one", "Terminated;reason=timeout"))
			b.expect(b.partner, "NOTIFY"+outgoingLine)
		}},
		{"its sender ends it", func(b *bench, routes string) { b.refreshes("one", routes, "Expires: 0\n", "Expires: 0\n") }},
		{"it runs out", func(b *bench, _ string) { b.after(601 * time.Second) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 1)
				b.outward()
				b.e.limits.Subscriptions = 2
				one := b.subscribes("one", "Expires: 3600\n", "Expires: 600\n")
				two := b.subscribes("two", "Expires: 600\n", "")
				b.hasNoPlace()
				b.refreshes("two", two, "Expires: 900\n", "Expires: 900\n") // what is held
				tt.ends(b, one)
				b.subscribes("three", "", "Expires: 600\n")
				b.hasNoPlace()
			})
		})
	}
}

func TestSubscriptionsThatNobodyHasAnsweredTakePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.e.limits.Subscriptions = 1
		b.from(b.partner, subscribe("one", ""))
		m := b.expect(b.homes[0], "SUBSCRIBE"+requestLine)
		b.hasNoPlace()
		b.from(b.partner, subscribe("once", "Expires: 0\n")) // and holds nothing
		once := b.expect(b.homes[0], "SUBSCRIBE"+requestLine)
		b.from(b.homes[0], answer(once, 200, "Expires: 0\n"))
		b.expect(b.partner, "SIP/2.0 200 OK")
		b.hasNoPlace()
		b.from(b.homes[0], answer(m, 489, ""))
		b.expect(b.partner, "SIP/2.0 489 Bad Event")
		b.subscribes("two", "", "Expires: 600\n")
		b.hasNoPlace()
	})
}

func TestARefusedRefreshLeavesTheSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.e.limits.Subscriptions = 1
		b.from(b.partner, again("one", b.subscribes("one", "", "Expires: 600\n"), ""))
		m := b.expect(b.homes[0], "SUBSCRIBE sip:bob@10.0.0.50:5070 SIP/2.0")
		b.from(b.homes[0], answer(m, 423, ""))
		b.expect(b.partner, "SIP/2.0 423 Interval Too Brief")
		b.hasNoPlace()
	})
}

func TestANotifyThatIsFasterThanTheAnswerEndsItsSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.outward()
		b.e.limits.Subscriptions = 1
		b.from(b.partner, subscribe("one", ""))
		m := b.expect(b.homes[0], "SUBSCRIBE"+requestLine)
		b.from(b.homes[0], notify("one", "terminated"))
		b.expect(b.partner, "NOTIFY"+outgoingLine)
		b.from(b.homes[0], answer(m, 200, "Expires: 600\n"))
		b.expect(b.partner, "SIP/2.0 200 OK")
		b.subscribes("two", "", "Expires: 600\n")
	})
}

// They differ in nothing but the tag that the home server chooses.
func TestSubscriptionsThatLookTheSameTakeAPlaceEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.outward()
		b.e.limits.Subscriptions = 2
		same := func(branch string) string {
			return strings.Replace(subscribe("one", "Expires: 600\n"), "branch=z9hG4bK", "branch=z9hG4bK"+branch, 1)
		}
		for _, tag := range []string{"x", "y"} {
			b.from(b.partner, same(tag))
			m := b.expect(b.homes[0], "SUBSCRIBE"+requestLine)
			b.from(b.homes[0], strings.Replace(answer(m, 200, "Expires: 600\n"), ";tag=b", ";tag="+tag, 1))
			b.expect(b.partner, "SIP/2.0 200 OK")
		}
		b.from(b.partner, same("z"))
		b.expect(b.partner, "SIP/2.0 503 Service Unavailable")
		b.from(b.homes[0], strings.Replace(notify("one", "terminated"), "bob@example.com>;tag=b", "bob@example.com>;tag=x", 1))
		b.expect(b.partner, "NOTIFY"+outgoingLine)
		b.subscribes("two", "", "Expires: 600\n")
		b.hasNoPlace()
	})
}

func TestNamesOfOneStrangerShareTheirPlaces(t *testing.T) {
	e := &Edge{table: newTable()}
	for _, tt := range []struct {
		tier federation.Tier
		want string
	}{{federation.TierDiscovered, "evil.example"}, {federation.TierAllowed, "im.evil.example"}} {
		if _, got := e.holderOf([]byte("im.evil.example"), tt.tier); got != tt.want {
			t.Errorf("subscriptions of a partner of tier %s count as those of %s, want %s", tt.tier, got, tt.want)
		}
	}
}

func TestNothingIsLeftOfSubscriptionsWhateverComesFirst(t *testing.T) {
	const n = 20000
	random := rand.New(rand.NewPCG(1, 2))
	e := &Edge{table: newTable()}
	s := &e.subscriptions
	shard, name := e.holderOf([]byte("fabrikam.example"), federation.TierAllowed)
	var open []*ticket
	for i := range n {
		now := time.Duration(i) * time.Second / 10
		half, key := uint64(random.IntN(3)), uint64(1+random.IntN(5))
		switch random.IntN(5) {
		case 0, 1:
			k := &ticket{half: half, lifetime: time.Duration(random.IntN(2)) * time.Minute}
			if random.IntN(2) == 0 {
				k.key = key
			}
			if s.take(shard, name, k, 50, false, now) {
				open = append(open, k)
			}
		case 2:
			if len(open) > 0 {
				at := random.IntN(len(open))
				s.answered(open[at], key, random.IntN(3) > 0, time.Duration(random.IntN(2))*time.Minute, now)
				open = append(open[:at], open[at+1:]...)
			}
		case 3:
			s.goesOn(shard, name, key, time.Duration(random.IntN(2))*time.Minute, false, now)
		case 4:
			s.end(shard, name, half, key, now)
		}
		if h := shard.holders[name]; h != nil && int64(len(h.held)+h.asked) != s.total.Load() {
			t.Fatalf("step %d: %d are held and %d asked for, and %d are counted", i, len(h.held), h.asked, s.total.Load())
		}
		if i%97 == 0 {
			s.forget(now)
		}
	}
	for _, k := range open {
		s.answered(k, 1, false, 0, n*time.Second)
	}
	s.forget(n*time.Second + 2*maxLifetime)
	if len(shard.holders) != 0 || s.total.Load() != 0 {
		t.Errorf("%d holders are left, and %d subscriptions", len(shard.holders), s.total.Load())
	}
}

func TestANotifyRemindsOfASubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.outward()
		b.e.limits.Subscriptions = 1
		b.from(b.homes[0], notify("unasked", "active;expires=60")) // outside of any dialog
		b.from(b.homes[0], b.bound(notify("before", "active;expires=60")))
		b.expect(b.partner, "NOTIFY"+outgoingLine, "NOTIFY"+outgoingLine)
		b.hasNoPlace()
		b.after(61 * time.Second)
		b.sent(b.homes[0]) // the NOTIFY that nobody answered
		b.subscribes("one", "", "Expires: 600\n")
	})
}

// bound puts a request of the home server into a dialog with the partner.
func (b *bench) bound(text string) string {
	s := b.e.tokens
	user := s.seal(nil, &token{kind: tokenPartner, pool: s.name(0, "main"), party: []byte("fabrikam.example")})
	return strings.Replace(text, "From:", fmt.Sprintf("Route: <sip:%s@edge1.example.com:5062;transport=tls;lr>\nFrom:", user), 1)
}

func TestABENOTIFYEndsASubscriptionToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.outward()
		b.e.msft, b.e.pools[0].msft = true, true
		b.e.limits.Subscriptions = 1
		b.subscribes("one", "", "Expires: 600\n")
		b.from(b.homes[0], strings.ReplaceAll(b.bound(notify("one", "terminated")), "NOTIFY", "BENOTIFY"))
		b.expect(b.partner, "BENOTIFY"+outgoingLine)
		b.subscribes("two", "", "Expires: 600\n")
	})
}

func TestHowManySubscriptionsAPartnerMayHold(t *testing.T) {
	listed, errs := federation.Compile(federation.File{
		Federation: federation.Section{Unlisted: "discover"},
		Partners:   map[string]federation.PartnerConfig{"fabrikam.example": {}, "contoso.example": {Subscriptions: 7}},
	}, []string{"example.com"}, federation.With{})
	if errs != nil {
		t.Fatal(errs)
	}
	for _, tt := range []struct {
		domain string
		limit  int
		want   int
		rule   string
	}{
		{"fabrikam.example", 1000, 1000, "[limits] subscriptions"},
		{"contoso.example", 1000, 7, "partner contoso.example"},
		{"stranger.example", 1000, strangersSubscriptions, "partners that are not listed"},
		{"stranger.example", 50, 50, "[limits] subscriptions"},
	} {
		e := &Edge{limits: Limits{Subscriptions: tt.limit}}
		g := listed.Permit(federation.Request{Method: []byte("SUBSCRIBE"), Remote: []byte(tt.domain)})
		if n, rule := e.subscriptionLimit(g); n != tt.want || rule.Name != tt.rule {
			t.Errorf("%s may hold %d by %q, want %d by %q", tt.domain, n, rule.Name, tt.want, tt.rule)
		}
	}
}

func TestSubscriptionsOfAllPartnersAreBounded(t *testing.T) {
	seed := newTable().seed
	e := &Edge{table: &table{seed: seed}}
	s := &e.subscriptions
	fill := func(first, n int, stranger bool) (taken int) {
		for i := range n {
			domain := fmt.Sprintf("p%d.example", first+i/100)
			k := &ticket{half: uint64(i), lifetime: time.Hour}
			shard, name := e.holderOf([]byte(domain), federation.TierAllowed)
			if !s.take(shard, name, k, 100, stranger, 1) {
				break
			}
			s.answered(k, uint64(i)+1, true, time.Hour, 1)
			taken++
		}
		return taken
	}
	if n := fill(0, maxSubscriptions, true); n != maxSubscriptions/share {
		t.Errorf("those that nobody listed hold %d, want %d", n, maxSubscriptions/share)
	}
	if n := fill(1<<20, maxSubscriptions, false); n != maxSubscriptions-maxSubscriptions/share {
		t.Errorf("the others hold %d, want what is left", n)
	}
	s.forget(time.Hour / 2)
	if n := s.total.Load(); n != maxSubscriptions {
		t.Errorf("%d are left before any has run out", n)
	}
	s.forget(2 * time.Hour)
	holders := 0
	for i := range s.shards {
		holders += len(s.shards[i].holders)
	}
	if s.total.Load() != 0 || s.strangers.Load() != 0 || holders != 0 {
		t.Errorf("%d of them, %d of strangers and %d holders are left, want none", s.total.Load(), s.strangers.Load(), holders)
	}
}

func TestHowLongASubscriptionLasts(t *testing.T) {
	for _, tt := range []struct {
		line string
		want time.Duration
	}{
		{"", time.Minute},
		{"Expires: 600\n", 600 * time.Second},
		{"Expires: 0\n", 0},
		{"Expires: 4294967295\n", maxLifetime},
		{"Expires: 99999999999999999999\n", time.Minute},
		{"Expires: soon\n", time.Minute},
	} {
		if got := lifetime(carries(t, "SUBSCRIBE", tt.line, ""), time.Minute); got != tt.want {
			t.Errorf("%q lasts %v, want %v", tt.line, got, tt.want)
		}
	}
}
