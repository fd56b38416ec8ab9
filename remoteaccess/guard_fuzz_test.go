package remoteaccess

import (
	"net/netip"
	"testing"
	"time"
)

// FuzzGuard: whatever happens in whatever order, a ban never outlives its end, one
// that is lifted is gone, a signed-in flow of the user is not stopped by what
// others do, nobody gets more guesses than there are, and every ticket comes back.
func FuzzGuard(f *testing.F) {
	f.Add([]byte("\x02\x00\x02\x00\x02\x00\x02\x00\x02\x00\x02\x00\x07\x00\x02\x00"))
	f.Add([]byte("\x00\x01\x00\x02\x01\x03\x05\x00\x06\x00\x04\x10\x03\x20\x02\x33\x02\x43"))
	f.Fuzz(func(t *testing.T, script []byte) {
		s := newSentry(t, GuardConfig{UserFailures: 9, SprayUsers: 3})
		var out []Ticket
		guesses := 0 // of alice at one source since the last time that anything else could matter
		for i := 0; i+1 < len(script); i += 2 {
			op, arg := script[i]%9, int(script[i+1])
			a := digest([]string{alice, bob, "carol@example.com"}[arg%3], []string{"203.0.113.7", "198.51.100.1", "2001:db8::1", "2001:db8:1::1"}[arg/3%4])
			a.Signed = arg&64 != 0
			if arg&128 != 0 {
				a = a.as(alice)
			}
			switch op {
			case 0, 1, 2, 3, 4:
				j := s.Judge(a)
				checkJudgement(t, s, a, j)
				if op == 0 && j.Action == Pass && len(out) < 1000 {
					out = append(out, j.Ticket)
					continue
				}
				j.Ticket.Settle(Outcome(op))
				if op == 2 && arg == 0 && j.Action == Pass {
					guesses++
				} else if op != 2 {
					guesses = 0
				}
				if guesses > 5 {
					t.Errorf("%d guesses passed", guesses)
				}
			case 5:
				s.pass(time.Duration(arg*arg) * time.Second)
				guesses = 0
			case 6:
				for _, ticket := range out {
					ticket.Settle(Outcome(arg % 5))
				}
				out, guesses = nil, 0
			case 7:
				checkLift(t, s, arg)
				guesses = 0
			case 8:
				b := Ban{User: a.User, By: "root", Until: s.watch.now().Add(time.Duration(arg+1) * time.Second)}
				if arg&1 == 1 {
					b.User, b.Source = "", a.Source
				}
				if err := s.Add(b); err != nil {
					t.Error(err)
				}
			}
		}
		for _, ticket := range out {
			ticket.Settle(OutcomeNone)
		}
		if len(s.desk.underWay) != 0 || s.desk.len() != 0 {
			t.Errorf("%d tickets are out, %d counted", s.desk.len(), len(s.desk.underWay))
		}
	})
}

func checkJudgement(t *testing.T, s *sentry, a Attempt, j Judgement) {
	t.Helper()
	b := j.Ban
	switch {
	case (j.Action == Stop) != (b.Key != "") || (j.Action == Pass) != (j.Ticket != Ticket{}):
		t.Errorf("Judge = %+v", j)
	case b.Key != "" && b.ended(s.watch.now()):
		t.Errorf("the ban has ended: %+v", b)
	case j.Action == Stop && a.Signed && a.Credentials.Name() == a.User && !b.ByHand && !b.SignedIn:
		t.Errorf("a signed-in flow is stopped: %+v", b)
	case b.User != "" && b.User != a.User && b.User != a.Credentials.Name(), b.Source != netip.Prefix{} && b.Source != a.Source:
		t.Errorf("the ban of another: %+v", b)
	}
}

func checkLift(t *testing.T, s *sentry, arg int) {
	t.Helper()
	all := s.List()
	if len(all) == 0 {
		return
	}
	key := all[arg%len(all)].Key
	if _, err := s.Lift(key); err != nil {
		t.Error(err)
	}
	for _, b := range s.List() {
		if b.Key == key {
			t.Errorf("it still stands: %+v", b)
		}
	}
	a := Attempt{User: all[arg%len(all)].User, Source: all[arg%len(all)].Source, Signed: all[arg%len(all)].SignedIn}
	if got := s.try(a, OutcomeNone).Ban; got.Key == key {
		t.Errorf("it still stops: %+v", got)
	}
}
