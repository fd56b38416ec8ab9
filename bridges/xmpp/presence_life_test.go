package xmpp

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/store"
)

// restart ends presence and the store, as a new version of the program does, and
// begins again. What was sent at the end is returned.
func (s *stage) restart() (sent []string) {
	s.t.Helper()
	s.end()
	synctest.Wait()
	sent = s.wire.take()
	s.reopen()
	return sent
}

// crash leaves presence as it is and begins again with what is on the disk.
func (s *stage) crash() {
	s.t.Helper()
	old := s.p
	s.t.Cleanup(func() { old.stop(context.Background()) })
	old.xmpp, old.sip = &wire{}, &deadHome{}
	s.reopen()
}

func (s *stage) reopen() {
	if err := s.store.Close(); err != nil {
		s.t.Fatal(err)
	}
	var err error
	if s.store, err = store.Open(s.dir); err != nil {
		s.t.Fatal(err)
	}
	s.begin(presenceLimits{})
}

func TestAuthorizationsSurviveARestart(t *testing.T) {
	onStage(t, func(s *stage) {
		s.grantedWith()
		s.watching()
		before := s.item()
		sent := s.restart()
		if !slices.Equal(sent, []string{unavailable("orchard")}) {
			t.Errorf("said goodbye with %q", sent)
		}
		if i := s.item(); i != before || i.subscription() != "both" {
			t.Errorf("roster says %+v after the restart, %+v before", i, before)
		}
		s.is("suspended")
		time.Sleep(6 * time.Second)
		s.pass()
		d := s.accept(s.subscribed("3600"))
		s.is("active")
		s.notifies(d, "active;expires=3600", document("orchard"))
		s.want(available("orchard", ""))
		s.x(juliets("balcony", "")) // her server has not forgotten
		s.listening(600)
		s.tells(s.told("active;expires=600", 200), "+balcony")
	})
}

func TestDevicesAreToldToComeBackAfterARestart(t *testing.T) {
	onStage(t, func(s *stage) {
		s.grantedWith()
		home := s.home
		s.p.loop.post(s.p.goodbye)
		synctest.Wait()
		in := home.Next(t)
		state := in.Fields.Get("Subscription-State")
		var after int
		if n, _ := fmt.Sscanf(state, "terminated;reason=probation;retry-after=%d", &after); n != 1 || after < 5 || after > 60 {
			t.Errorf("NOTIFY %s", state)
		}
		in.Answer(bridges.Response{Status: 200}, "")
	})
}

// Who was told that somebody is available when the edge crashed is told that he is
// not, before he hears anything else.
func TestAfterACrashWhatWasToldIsTakenBack(t *testing.T) {
	onStage(t, func(s *stage) {
		s.watching()
		s.crash()
		time.Sleep(6 * time.Second)
		s.pass()
		d := s.accept(s.subscribed("3600"))
		s.notifies(d, "active;expires=3600", document("cell"))
		s.want(s.to("unavailable"), available("cell", ""))
	})
}

func TestAPendingRequestSurvivesACrash(t *testing.T) {
	onStage(t, func(s *stage) {
		s.x(s.from("subscribe"))
		d := s.accept(s.subscribed("3600"))
		s.notifies(d, "pending;expires=3600", "")
		s.listening(3600)
		s.told("pending;expires=3600", 200)
		s.want(s.to("subscribe"))
		s.crash()
		if i := s.item(); i.subscription() != "none+out+in" || i.Proof != bridges.ProofCertificate {
			t.Errorf("roster says %+v", i)
		}
		time.Sleep(6 * time.Second)
		s.pass()
		d = s.accept(s.subscribed("3600"))
		s.notifies(d, "active;expires=3600", document("orchard"))
		s.want(s.to("subscribed"), s.to("unavailable"), available("orchard", ""))
		s.x(s.from("subscribed"))
		s.want(s.to("probe"))
		s.listening(600)
		s.told("active;expires=600", 200)
	})
}

// After a start subscriptions are made a little at a time, and not more at once than
// the gate lets.
func TestAStartIsNoStorm(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const n = 400
		s := newStage(t, dir, presenceLimits{})
		for i := range n {
			key := rosterKey{romeo, fmt.Sprintf("u%d@fabrikam.example", i)}
			onLoop(s, func() bool {
				r := s.p.relation(key)
				s.p.change(r, func(i *rosterItem) { i.From, i.Proof = true, bridges.ProofDialback })
				return true
			})
		}
		s.end()
		s.reopen()
		counts := []int{}
		for range 16 {
			time.Sleep(time.Second)
			synctest.Wait()
			probes := 0
			for _, e := range s.wire.take() {
				probes += strings.Count(e, "type='probe'")
			}
			counts = append(counts, probes)
		}
		total := 0
		for _, c := range counts {
			total += c
			if c > n/5 {
				t.Errorf("probes in each second: %v", counts)
			}
		}
		if total != n {
			t.Errorf("%d probes, want %d: %v", total, n, counts)
		}
		time.Sleep(probeAnswer)
		open, line := onLoop(s, func() int { return s.p.gates["example.net"].open }), onLoop(s, func() int { return len(s.p.gates["example.net"].calm) })
		if open != s.p.lim.concurrent || open+line != n {
			t.Errorf("%d SUBSCRIBEs are open and %d wait, want %d and %d", open, line, s.p.lim.concurrent, n-s.p.lim.concurrent)
		}
		// Who asks for something goes first.
		s.x(s.from("subscribe"))
		for i := range n + 1 {
			in := s.home.Next(t)
			if in.Proof = bridges.ProofNone; in.From.URI == sipJuliet && i != s.p.lim.concurrent {
				t.Errorf("the one who asks is number %d", i)
			}
			in.Answer(bridges.Response{Status: 480}, "")
			synctest.Wait()
		}
		if n := onLoop(s, func() int { return len(s.p.gates) }); n != 0 {
			t.Errorf("%d gates are left", n)
		}
	})
}

func TestTheListsDecideWhoMayWatch(t *testing.T) {
	onStage(t, func(s *stage) {
		type question struct {
			user, foreign string
			inbound       bool
		}
		var asked []question
		verdict := allowlists.Verdict{}
		s.may = func(user, foreign string, inbound bool) allowlists.Verdict {
			asked = append(asked, question{user, foreign, inbound})
			return verdict
		}
		s.x(s.from("subscribe"))
		s.want(s.to("unsubscribed"), "<presence from='romeo@example.net' to='juliet@fabrikam.example' type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>")
		verdict.Action = allowlists.Drop
		s.x(s.from("subscribe"))
		s.want()
		resp, _ := s.home.Send(t, s.subscribeRequest(600))
		if resp.Status != 403 {
			t.Errorf("SUBSCRIBE: %d", resp.Status)
		}
		if want := []question{{sipRomeo, juliet, true}, {sipRomeo, juliet, true}, {sipRomeo, juliet, false}}; !slices.Equal(asked, want) {
			t.Errorf("asked %v, want %v", asked, want)
		}
		if n := onLoop(s, func() int { return len(s.p.relations) }); n != 0 {
			t.Errorf("%d relations", n)
		}
	})
}

func TestNothingIsAcceptedThatCannotBeWritten(t *testing.T) {
	onStage(t, func(s *stage) {
		// The journal's place is taken by a folder.
		journal := filepath.Join(s.dir, rosterBucket+".journal")
		if err := os.Remove(journal); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(journal, 0o700); err != nil {
			t.Fatal(err)
		}
		const constraint = "<presence type='error' from='romeo@example.net' to='juliet@fabrikam.example'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
		s.x(s.from("subscribe"))
		s.want(constraint)
		resp, _ := s.home.Send(t, s.subscribeRequest(600))
		if resp.Status != 500 || resp.Fields.Get("Retry-After") == "" {
			t.Errorf("SUBSCRIBE: %+v", resp)
		}
		s.home.None(t)
		if err := os.Remove(journal); err != nil {
			t.Fatal(err)
		}
		time.Sleep(writeAgain)
		s.x(s.from("probe")) // the disk is tried again
		s.want("<presence from='romeo@example.net' to='juliet@fabrikam.example' type='unsubscribed'/>")
		s.x(s.from("subscribe"))
		s.accept(s.subscribed("3600"))
	})
}

func TestLimitsOfPresence(t *testing.T) {
	subscribe := func(from, to string) string {
		return fmt.Sprintf("<presence from='%s@fabrikam.example' to='%s@example.net' type='subscribe'/>", from, to)
	}
	refused := func(from, to string) string {
		return fmt.Sprintf("<presence type='error' from='%s@example.net' to='%s@fabrikam.example'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>", to, from)
	}
	for _, tt := range []struct {
		name string
		lim  presenceLimits
		play func(s *stage)
	}{
		{"relations", presenceLimits{relations: 2, domain: 2}, func(s *stage) {
			s.x(subscribe("a", "x"), subscribe("b", "y"), subscribe("c", "z"))
			s.want(refused("c", "z"))
			resp, _ := s.home.Send(s.t, s.subscribeRequest(600))
			if resp.Status != 500 {
				s.t.Errorf("SUBSCRIBE: %d", resp.Status)
			}
			s.drain(2)
		}},
		{"of one of our users", presenceLimits{ours: 1}, func(s *stage) {
			s.x(subscribe("a", "x"), subscribe("b", "x"), subscribe("b", "y"))
			s.want(refused("b", "x"))
			s.drain(2)
		}},
		{"of one person of the network", presenceLimits{theirs: 1}, func(s *stage) {
			s.x(subscribe("a", "x"), subscribe("a", "y"), subscribe("b", "y"))
			s.want(refused("a", "y"))
			s.drain(2)
		}},
		{"new ones of a domain", presenceLimits{burst: 1, perSecond: 1}, func(s *stage) {
			s.x(subscribe("a", "x"), subscribe("b", "x"))
			s.want(refused("b", "x"))
			time.Sleep(time.Second)
			s.x(subscribe("b", "x"))
			s.want()
			s.drain(2)
		}},
		{"length of addresses", presenceLimits{}, func(s *stage) {
			long := strings.Repeat("a", 1000)
			s.x(subscribe(long, "x"))
			s.want(refused(long, "x"))
		}},
		{"devices", presenceLimits{listeners: 1}, func(s *stage) {
			s.listening(600)
			s.told("pending;expires=600", 200)
			s.want(s.to("subscribe"))
			if resp, _ := s.home.Send(s.t, s.subscribeRequest(600)); resp.Status != 500 {
				s.t.Errorf("SUBSCRIBE: %d", resp.Status)
			}
		}},
		{"devices of one user to one contact", presenceLimits{perContact: 1}, func(s *stage) {
			s.listening(600)
			s.told("pending;expires=600", 200)
			s.want(s.to("subscribe"))
			if resp, _ := s.home.Send(s.t, s.subscribeRequest(600)); resp.Status != 500 {
				s.t.Errorf("SUBSCRIBE: %d", resp.Status)
			}
		}},
		{"resources", presenceLimits{resources: 2}, func(s *stage) {
			s.grantedWith()
			time.Sleep(notifyPause)
			s.x(juliets("b", ""), juliets("c", ""), juliets("d", ""))
			s.tells(s.told("active;expires=3590", 200), "+balcony +b")
			time.Sleep(notifyPause)
			// One that has gone makes room.
			s.x("<presence from='juliet@fabrikam.example/b' to='romeo@example.net' type='unavailable'/>", juliets("c", ""))
			s.tells(s.told("active;expires=3585", 200), "+balcony +c")
		}},
		{"probes", presenceLimits{}, func(s *stage) {
			s.watching()
			for range 20 {
				s.x(s.from("probe"))
			}
			if n := len(s.wire.take()); n != 10 {
				s.t.Errorf("%d answers, want 10", n)
			}
			time.Sleep(time.Minute)
			s.x(s.from("probe"))
			s.want(available("orchard", ""))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { onStageWith(t, tt.lim, tt.play) })
	}
}

// drain takes n requests that came home.
func (s *stage) drain(n int) {
	s.t.Helper()
	for range n {
		s.home.Next(s.t).Answer(bridges.Response{Status: 200}, "")
	}
	synctest.Wait()
}

// What comes while the queue is full is answered and not remembered.
func TestTheQueueOfPresenceIsBounded(t *testing.T) {
	onStageWith(t, presenceLimits{queue: 2}, func(s *stage) {
		d := s.watching()
		hold, held := make(chan bool), make(chan bool)
		s.p.loop.post(func() { close(held); <-hold })
		<-held
		for range 4 {
			s.p.stanza(parsed(t, s.from("probe")), bridges.ProofCertificate)
		}
		if status := s.notify2(d); status != 500 {
			t.Errorf("NOTIFY: %d", status)
		}
		if resp, _ := s.home.Send(t, s.subscribeRequest(600)); resp.Status != 500 {
			t.Errorf("SUBSCRIBE: %d", resp.Status)
		}
		close(hold)
		s.want(available("orchard", ""), available("orchard", ""))
		if st := s.p.status(); st.Lost != 4 || st.Active != 1 {
			t.Errorf("status %+v", st)
		}
	})
}

// notify2 is notify without waiting for the bubble to come to rest.
func (s *stage) notify2(d *bridges.Dialog) int {
	return s.home.SendWithin(s.t, d, &bridges.Request{Method: "NOTIFY", Fields: bridges.Fields{
		{Name: "Event", Value: "presence"}, {Name: "Subscription-State", Value: "active"}}}).Status
}

func TestMalformedPresence(t *testing.T) {
	onStage(t, func(s *stage) {
		s.x("<presence from='@fabrikam.example' to='romeo@example.net' type='subscribe'/>",
			"<presence from='juliet@fabrikam.example' to='ro&#x20;meo@example.net' type='probe'/>",
			"<presence from='juliet@fabrikam.example' to='romeo@example.net' type='invent'/>",
			"<presence from='juliet@fabrikam.example' to='romeo@example.net' type='error'/>",
			"<presence from='juliet@fabrikam.example' to='example.net' type='unavailable'/>")
		s.want()
		s.x("<presence from='juliet@fabrikam.example' to='ro&#x20;meo@example.net' type='subscribe'/>", "<presence from='juliet@fabrikam.example/x' to='example.net' type='subscribe'/>")
		s.want("<presence type='error' from='ro meo@example.net' to='juliet@fabrikam.example'><error type='modify'><jid-malformed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>",
			"<presence from='example.net' to='juliet@fabrikam.example' type='unsubscribed'/>")
	})
}

func TestAPanicOfPresenceIsReported(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, dir, presenceLimits{}, &deadHome{})
		s.p.loop.post(func() { panic("a bug") })
		if err := <-s.fail; !strings.HasPrefix(err.Error(), "presence: panic: a bug\n") {
			t.Errorf("%v", err)
		}
	})
}

// Old refusals, and what knows only of them, go away by themselves.
func TestOldRefusalsAreForgotten(t *testing.T) {
	onStage(t, func(s *stage) {
		s.x(s.from("subscribe"))
		s.refuse(s.subscribed("3600"), 603)
		s.want(s.to("unsubscribed"))
		if n := s.records(); n != 2 { // and that presence runs
			t.Errorf("%d records", n)
		}
		s.age(func(i *rosterItem) { i.Refused -= 24 * 3600 })
		time.Sleep(time.Hour)
		if n, r := s.records(), onLoop(s, func() int { return len(s.p.relations) }); n != 1 || r != 0 {
			t.Errorf("%d records, %d relations", n, r)
		}
	})
}

func (s *stage) records() int { return onLoop(s, func() int { return s.p.rosters.bucket.Len() }) }

func TestARosterThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, dir, presenceLimits{}, &deadHome{})
		for key, value := range map[string]string{
			"nobody": "{}", rosterKey{romeo, "a@fabrikam.example"}.record(): "{", pair.record(): `{"from":true}`,
		} {
			if err := s.p.rosters.bucket.Put(key, []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		s.end()
		s.reopen()
		s.is("suspended")
		if n := onLoop(s, func() int { return len(s.p.relations) }); n != 1 {
			t.Errorf("%d relations", n)
		}
	})
}

// The states of RFC 6121 appendix A.
func TestSubscriptionStates(t *testing.T) {
	for want, i := range map[string]rosterItem{
		"none": {}, "none+out": {Asked: 1}, "none+in": {Pending: 1}, "none+out+in": {Asked: 1, Pending: 1},
		"to": {To: true}, "to+in": {To: true, Pending: 1}, "from": {From: true}, "from+out": {From: true, Asked: 1}, "both": {To: true, From: true},
	} {
		if got := i.subscription(); got != want {
			t.Errorf("%+v is %s, want %s", i, got, want)
		}
	}
}
