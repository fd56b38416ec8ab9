package xmpp

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
)

// onStageThatWaits is onStage with refusals at the moments that they have at work.
func onStageThatWaits(t *testing.T, f func(s *stage)) {
	onStage(t, func(s *stage) {
		later := bridges.NewLater()
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { later.Run(ctx) })
		s.p.later = later.Do
		f(s)
		cancel()
		running.Wait()
	})
}

// answered waits until something is said to the network, and returns how long that took.
func (s *stage) answered() time.Duration {
	began := time.Now()
	for s.peek() == nil {
		time.Sleep(time.Millisecond)
		synctest.Wait()
	}
	return time.Since(began)
}

// Who may not be watched, who does not exist and who does not want to be watched is not
// told by the time.
func TestARefusalToWatchDoesNotTellByTimeWhoExists(t *testing.T) {
	for _, began := range []time.Duration{0, 100 * time.Millisecond, 240 * time.Millisecond} {
		after := make(map[string]time.Duration)
		for name, play := range map[string]func(s *stage){
			"may not be watched": func(s *stage) {
				s.may = func(string, string, bool) allowlists.Verdict {
					return allowlists.Refusal(allowlists.BridgeNotEnabled, allowlists.Rule{})
				}
				s.x(s.from("subscribe"))
			},
			"does not exist": func(s *stage) {
				s.x(s.from("subscribe"))
				s.refuse(s.subscribed("3600"), 404)
			},
			"does not want to": func(s *stage) {
				s.x(s.from("subscribe"))
				s.refuse(s.subscribed("3600"), 603)
			},
			"has said no today": func(s *stage) {
				s.x(s.from("subscribe"))
				s.refuse(s.subscribed("3600"), 603)
				s.answered()
				s.want(s.to("unsubscribed"))
				time.Sleep(20*quantumOfRefusals - time.Duration(time.Now().UnixNano())%quantumOfRefusals + began)
				s.x(s.from("subscribe"))
			},
		} {
			onStageThatWaits(t, func(s *stage) {
				time.Sleep(began)
				play(s)
				after[name] = s.answered()
				s.wire.take()
			})
		}
		for name, took := range after {
			if took != after["does not exist"] || took < quantumOfRefusals {
				t.Errorf("began at %v: %s is answered after %v, who does not exist after %v", began, name, took, after["does not exist"])
			}
		}
	}
}

// quantumOfRefusals is that of bridges.Later.
const quantumOfRefusals = 250 * time.Millisecond

// A refusal that waits is not said to one who may watch by then.
func TestARefusalThatIsOvertakenIsNotSaid(t *testing.T) {
	onStageThatWaits(t, func(s *stage) {
		s.may = func(string, string, bool) allowlists.Verdict {
			return allowlists.Refusal(allowlists.BridgeNotEnabled, allowlists.Rule{})
		}
		s.x(s.from("subscribe"))
		s.may = func(string, string, bool) allowlists.Verdict { return allowlists.Verdict{Action: allowlists.Allow} }
		d := s.watching()
		time.Sleep(time.Second)
		s.want()
		s.notifies(d, "active;expires=3600", document("orchard"))
	})
}

// Where too many refusals wait, the next one is left out, whatever it would have been.
func TestRefusalsToWatchAreBounded(t *testing.T) {
	onStage(t, func(s *stage) {
		s.p.later = func(time.Time, func()) bool { return false }
		s.x(s.from("subscribe"))
		s.refuse(s.subscribed("3600"), 404)
		s.may = func(string, string, bool) allowlists.Verdict {
			return allowlists.Refusal(allowlists.BridgeNotEnabled, allowlists.Rule{})
		}
		s.x(s.from("subscribe"))
		s.want()
		if n := s.p.journal.noted.Load(); n != 3 { // and that it is not allowed
			t.Errorf("%d events were noted, want 3", n)
		}
	})
}
