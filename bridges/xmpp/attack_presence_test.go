package xmpp

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
)

// Whoever may not be watched looks like somebody who is not there.
func TestWhoMayNotBeWatchedIsAsIfHeWereNotThere(t *testing.T) {
	onStage(t, func(s *stage) {
		ask := "<presence from='juliet@fabrikam.example' to='romeo@example.net' type='subscribe' id='r1'/>"
		s.x(ask)
		s.refuse(s.subscribed("3600"), 404, bridges.Field{Name: "Server", Value: "hs1"})
		unknown := s.wire.take()
		s.may = func(string, string, bool) allowlists.Verdict {
			return allowlists.Refusal(allowlists.BridgeNotEnabled, allowlists.Rule{})
		}
		s.x(ask)
		s.want(unknown...)
	})
}

// One domain gets a part of the rosters, and what comes of people who watch nobody is
// not remembered.
func TestOneDomainDoesNotFillTheRosters(t *testing.T) {
	onStageWith(t, presenceLimits{relations: 16}, func(s *stage) {
		for i := range 8 {
			s.x(fmt.Sprintf("<presence from='u%d@evil.example' to='romeo@example.net' type='subscribe' id='1'/>", i))
		}
		var refused int
		for _, e := range s.wire.take() {
			if strings.Contains(e, "resource-constraint") {
				refused++
			}
		}
		if n := onLoop(s, func() int { return s.p.domains["evil.example"] }); n != 4 || refused != 4 {
			t.Errorf("it has %d of 16 relations, and %d were refused; want 4 and 4", n, refused)
		}
		for range 4 {
			s.refuse(s.home.Next(s.t), 404)
		}
		s.wire.take()
		s.watching()
		if n := onLoop(s, func() int { return len(s.p.domains) }); n != 1 {
			t.Errorf("%d domains are counted", n)
		}
	})
}

func TestStrangersWhoAreThereAreNotRemembered(t *testing.T) {
	onStage(t, func(s *stage) {
		for i := range 50 {
			s.x(fmt.Sprintf("<presence from='u%d@evil.example/x' to='romeo@example.net'/>", i))
		}
		if n := onLoop(s, func() int { return len(s.p.visitors) }); n != 0 {
			t.Errorf("%d are remembered", n)
		}
	})
}

// Asking again for what one has is answered, but leads to no more than probes do.
func TestAskingAgainAndAgainIsBounded(t *testing.T) {
	onStage(t, func(s *stage) {
		s.watching()
		for range 40 {
			s.x(s.from("subscribe"))
		}
		if n := len(s.wire.take()); n != 40+10 {
			t.Errorf("%d stanzas were sent, want 40 answers and presence ten times", n)
		}
	})
}

// A domain that is not allowed any more loses what it had, whoever gave it.
func TestADomainThatIsBlockedWatchesNobody(t *testing.T) {
	onStage(t, func(s *stage) {
		s.watching()
		s.may = func(string, string, bool) allowlists.Verdict {
			return allowlists.Refusal(allowlists.BridgeNetwork, allowlists.Rule{})
		}
		s.p.reconsider()
		s.accept(s.subscribed("0"))
		s.want(unavailable("orchard"), s.to("unsubscribed"))
		s.is("none")
		s.p.reconsider()
		s.want()
	})
}

// Strangers cause no more lines of the log than somebody can read.
func TestPresenceOfStrangersFillsNoLog(t *testing.T) {
	onStage(t, func(s *stage) {
		var log bytes.Buffer
		s.p.log = slog.New(slog.NewTextHandler(&log, nil))
		s.p.journal = newJournal(s.p.log)
		s.may = func(string, string, bool) allowlists.Verdict {
			return allowlists.Refusal(allowlists.BridgeNotEnabled, allowlists.Rule{})
		}
		for i := range 500 {
			s.x(fmt.Sprintf("<presence from='u%d@evil.example' to='romeo@example.net' type='subscribe'/>", i),
				fmt.Sprintf("<presence from='u%d@evil.example' to='romeo@example.net' type='nothing'/>", i),
				fmt.Sprintf("<presence from='@evil%d.example' to='romeo@example.net'/>", i))
		}
		s.wire.take()
		if n := strings.Count(log.String(), "\n"); n > 3*journalLines {
			t.Errorf("%d lines were written", n)
		}
	})
}

// A language is a header field inside, and not what somebody writes in its place.
func TestALanguageIsOne(t *testing.T) {
	onStage(t, func(s *stage) {
		s.grantedWith()
		time.Sleep(notifyPause)
		s.x("<presence from='juliet@fabrikam.example/balcony' to='romeo@example.net' xml:lang='en&#13;&#10;Via: x'><status xml:lang='a&#10;b'>one</status><status>two</status></presence>")
		in := s.home.Next(s.t)
		for range 3 { // what came before the presence has no document
			if len(in.Body) > 0 {
				break
			}
			in.Answer(bridges.Response{Status: 200}, "")
			time.Sleep(notifyPause)
			in = s.home.Next(s.t)
		}
		if in.Method != "NOTIFY" || in.Fields.Get("Content-Language") != "" || !bytes.Contains(in.Body, []byte("one")) || bytes.Contains(in.Body, []byte("lang")) {
			t.Errorf("%s came with %v\n%s", in.Method, in.Fields, in.Body)
		}
		in.Answer(bridges.Response{Status: 200}, "")
	})
}

// Who was told that somebody is there hears the truth after a panic, too.
func TestAfterAPanicNothingCountsAsSaid(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, dir, presenceLimits{})
		s.watching()
		s.p.loop.post(func() { panic("a bug") })
		synctest.Wait()
		<-s.fail
		s.p.stop(t.Context())
		s.begin(presenceLimits{})
		if stale := onLoop(s, func() bool { return s.p.relations[pair].watch.stale }); !stale {
			t.Error("what was told before the panic counts as taken back")
		}
		s.wire.take()
	})
}
