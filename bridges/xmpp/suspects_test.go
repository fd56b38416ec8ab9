package xmpp

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
)

func TestWhoMakesTheBridgePanicAgainAndAgainIsShutOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSuspects()
		if s.blame("evil.example"); s.blame("a.evil.example") || s.out("evil.example") {
			t.Error("two panics are enough")
		}
		time.Sleep(blameFor - time.Second)
		if !s.blame("b.evil.example") {
			t.Error("three within an hour are not enough")
		}
		for domain, want := range map[string]bool{"evil.example": true, "a.evil.example": true, "new.evil.example": true, "fabrikam.example": false} {
			if got := s.out(domain); got != want {
				t.Errorf("%s is shut out: %v, want %v", domain, got, want)
			}
		}
		if l := s.links(); len(l) != 1 || l[0].Remote != "evil.example" || l[0].State != "down" || !strings.Contains(l[0].Detail, "shut out until") {
			t.Errorf("people see %+v", l)
		}
		time.Sleep(blameFor)
		if s.out("evil.example") || len(s.links()) != 0 {
			t.Error("shut out for longer than an hour")
		}
		// More than an hour lies between the first and the last of these.
		for i := range 5 {
			if s.blame("fabrikam.example") {
				t.Errorf("shut out after %d panics, half an hour between each", i+1)
			}
			time.Sleep(blameFor / 2)
		}
	})
}

func TestSuspectsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSuspects()
		for i := range maxSuspects + 10 {
			s.blame(fmt.Sprintf("evil%d.example", i))
			time.Sleep(time.Millisecond)
		}
		if len(s.list) != maxSuspects || s.list["evil9.example"] != nil || s.list["evil10.example"] == nil {
			t.Errorf("%d are remembered, want %d, and not those of long ago", len(s.list), maxSuspects)
		}
	})
}

func TestAPanicAtAStanzaIsNotedWithItsDomain(t *testing.T) {
	for proof, blamed := range map[bridges.Proof]bool{bridges.ProofDialback: true, bridges.ProofAccount: false} {
		g := newGateway(settings{served: map[string]bool{"example.com": true}}, new(address.Table), nil, nil, slog.New(slog.DiscardHandler))
		g.suspects = NewSuspects()
		e := parsed(t, "<iq xmlns='jabber:server' id='q' type='get' from='juliet@evil.example' to='example.com'><ping xmlns='urn:xmpp:ping'/></iq>")
		g.stanza(&s2s.Stanza{Element: e, From: "evil.example", To: "example.com", Proof: proof}) // there is no network to answer to
		if err := g.run(t.Context()); err == nil || !strings.Contains(err.Error(), "stanza of evil.example: panic") {
			t.Errorf("the bridge ended with %v", err)
		}
		if got := g.suspects.list["evil.example"] != nil; got != blamed {
			t.Errorf("proved by %v it is blamed: %v, want %v", proof, got, blamed)
		}
	}
}

func TestAPanicAtPresenceIsNotedWithItsDomain(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, dir, presenceLimits{})
		var blamed []string
		s.p.blame = func(domain string, _ bridges.Proof) { blamed = append(blamed, domain) }
		s.x(s.from("probe"))
		s.may = func(string, string, bool) allowlists.Verdict { panic("a bug") }
		s.x(s.from("subscribe"))
		<-s.fail
		if len(blamed) != 1 || blamed[0] != "fabrikam.example" {
			t.Errorf("blamed are %q", blamed)
		}
		s.p.stop(t.Context())
		s.may = func(string, string, bool) allowlists.Verdict { return allowlists.Verdict{} }
		s.begin(presenceLimits{})
		s.p.blame = func(domain string, _ bridges.Proof) { t.Errorf("%s is blamed for what others did", domain) }
		s.x(s.from("probe"))
		s.p.loop.post(func() { panic("a bug") })
		synctest.Wait()
		<-s.fail
		s.p.stop(t.Context())
		s.begin(presenceLimits{})
		s.wire.take()
	})
}

// Who is shut out has no streams, and loses nothing that his users and ours agreed on.
func TestWhoIsShutOutHasNoStreams(t *testing.T) {
	n := newInternet(t)
	suspects := NewSuspects()
	one, two := n.company("example.com", func(_ *Config, d *Deps) { d.Suspects = suspects }), n.company("fabrikam.example", nil)
	two.say(one, "hello")
	one.hears(200)
	for range maxPanics {
		suspects.blame("fabrikam.example")
	}
	one.until("the streams are gone", func() bool {
		return !slices.ContainsFunc(one.bridge.work.server.Links(), func(l bridges.Link) bool { return l.State == "up" })
	})
	if status := one.say(two, "hello"); status != 403 {
		t.Errorf("to who is shut out: %d, want 403", status)
	}
	two.until("their streams are gone", func() bool {
		return two.say(one, "again") == 403
	})
	if !strings.Contains(two.log.String(), "policy-violation") {
		t.Error("their server is not told why")
	}
	if v := one.bridge.may("sip:alice@example.com", "alice@fabrikam.example", true); !v.Allowed() {
		t.Errorf("what users agreed on ends: %+v", v)
	}
	if s := one.bridge.Status(); len(s.Links) == 0 || s.Links[0].Remote != "fabrikam.example" || !strings.Contains(s.Links[0].Detail, "shut out") {
		t.Errorf("people see %+v", s.Links)
	}
	steps := one.bridge.Test(t.Context(), "fabrikam.example")
	if last := steps[len(steps)-1]; last.OK || last.Name != "panics" {
		t.Errorf("a test ends with %+v", last)
	}
}

// until waits until something is so.
func (c *company) until(what string, f func() bool) {
	c.t.Helper()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for began := time.Now(); !f(); <-look.C {
		if time.Since(began) > bridgestest.Patience {
			c.t.Fatalf("%s: waited in vain", what)
		}
	}
}
