package edge

import (
	"fmt"
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
func (b *bench) subscribes(id, lines, answered string) {
	b.t.Helper()
	b.from(b.partner, subscribe(id, lines))
	m := b.expect(b.homes[0], "SUBSCRIBE"+requestLine)
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
		ends func(*bench)
	}{
		{"a NOTIFY that ends it makes room", func(b *bench) {
			b.from(b.homes[0], notify("one", "Terminated;reason=timeout"))
			b.expect(b.partner, "NOTIFY"+outgoingLine)
		}},
		{"its sender ends it", func(b *bench) { b.subscribes("one", "Expires: 0\n", "Expires: 0\n") }},
		{"it runs out", func(b *bench) { b.after(601 * time.Second) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 1)
				b.outward()
				b.e.limits.Subscriptions = 2
				b.subscribes("one", "Expires: 3600\n", "Expires: 600\n")
				b.subscribes("two", "Expires: 600\n", "")
				b.hasNoPlace()
				b.subscribes("two", "Expires: 900\n", "Expires: 900\n") // what is held is refreshed
				tt.ends(b)
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
		b.subscribes("one", "", "Expires: 600\n")
		b.from(b.partner, subscribe("one", ""))
		m := b.expect(b.homes[0], "SUBSCRIBE"+requestLine)
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
	user := s.seal(nil, &token{pool: s.name(0, "main"), partner: []byte("fabrikam.example")})
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
			k := &ticket{key: uint64(i), lifetime: time.Hour}
			if !s.take(e.holderShard([]byte(domain)), domain, k, 100, stranger, 1) {
				break
			}
			s.answered(k, true, time.Hour, 1)
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
