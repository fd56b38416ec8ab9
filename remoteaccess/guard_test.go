package remoteaccess

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sipedge/sipedge/store"
)

var discard = slog.New(slog.DiscardHandler)

// A watch is a clock that only goes when it is told to.
type watch struct {
	mu sync.Mutex
	at time.Time
}

func (w *watch) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *watch) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

// A sentry is a Guard with its clock and, if it has one, its store.
type sentry struct {
	*Guard
	*watch
	t     testing.TB
	store *store.Store
}

func newSentry(t testing.TB, c GuardConfig) *sentry {
	t.Helper()
	s := &sentry{t: t, watch: &watch{at: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}}
	s.open(c, nil, nil)
	return s
}

func (s *sentry) open(c GuardConfig, bans, known *store.Bucket) {
	s.t.Helper()
	g, err := OpenGuard(c, bans, known, discard, s.watch.now)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Guard = g
}

// openIn opens the Guard on the store in dir, as after a start.
func (s *sentry) openIn(dir string) {
	s.t.Helper()
	if s.store != nil {
		s.store.Close()
	}
	var err error
	if s.store, err = store.Open(dir); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.store.Close() })
	bans, known, err := GuardBuckets(s.store)
	if err != nil {
		s.t.Fatal(err)
	}
	s.open(GuardConfig{}, bans, known)
}

// digest is a sign-in of user with a digest.
func digest(user, from string) Attempt {
	c := Credentials{Scheme: SchemeDigest, guess: true}
	c.take(SchemeDigest, SchemeDigest)
	c.name(clip(strings.ToLower(printable(user))))
	return Attempt{User: user, Credentials: c, Source: SourceOf(netip.MustParseAddr(from))}
}

// as is the attempt with the credentials of somebody else.
func (a Attempt) as(name string) Attempt {
	a.Credentials.names = [maxNames]string{name}
	return a
}

func (a Attempt) signed() Attempt {
	a.Signed = true
	return a
}

// try lets a try once, and settles it.
func (s *sentry) try(a Attempt, o Outcome) Judgement {
	j := s.Judge(a)
	j.Ticket.Settle(o)
	return j
}

// fails lets a fail until it is stopped, and returns how often it passed.
func (s *sentry) fails(a Attempt) int {
	for n := range 10_000 {
		if s.try(a, OutcomeFailed).Action != Pass {
			return n
		}
	}
	s.t.Fatal("nothing stops it")
	return 0
}

func (s *sentry) want(what string, a Attempt, want Action) {
	s.t.Helper()
	if j := s.try(a, OutcomeNone); j.Action != want {
		s.t.Errorf("%s: %v (%s), want %v", what, j.Action, j.Ban.Key, want)
	}
}

const alice, bob = "alice@example.com", "bob@example.com"

// addr returns one of many documentation-like addresses, each its own source.
func addr(i int) string { return fmt.Sprintf("2001:db8:%x:%x::1", i>>16, i&0xffff) }

func user(i int) string { return fmt.Sprintf("user%d@example.com", i) }

func TestAPairIsLockedForLongerEachTime(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	a := digest(alice, "203.0.113.7")
	for _, want := range []time.Duration{15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
		if n := s.fails(a); n != 5 {
			t.Errorf("%d guesses passed, want 5", n)
		}
		b := s.Judge(a).Ban
		if b.Kind != BanPair || b.Until.Sub(b.Since) != want || b.Count != 5 || b.By != Automatic || b.Key != "alice@example.com from 203.0.113.7" {
			t.Errorf("banned %+v, want a pair for %v", b, want)
		}
		s.pass(want - time.Nanosecond)
		s.want("just before the end", a, Stop)
		s.pass(time.Nanosecond)
		s.want("at the end", a, Pass)
	}
	s.want("another user there", digest(bob, "203.0.113.7"), Pass)
	s.pass(25 * time.Hour)
	s.fails(a)
	if b := s.Judge(a).Ban; b.Until.Sub(b.Since) != 15*time.Minute {
		t.Errorf("a day after the last one it is locked for %v", b.Until.Sub(b.Since))
	}
}

func TestOldFailuresDoNotCount(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	for range 1000 {
		if s.try(digest(alice, "203.0.113.7"), OutcomeFailed).Action != Pass {
			t.Fatal("stopped")
		}
		s.pass(4 * time.Minute)
	}
}

func TestASourceIsBanned(t *testing.T) {
	for _, tt := range []struct {
		name  string
		users int
		want  int
	}{
		{"for many failures of few users", 5, 20},
		{"for failures of many users", 1000, 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSentry(t, GuardConfig{})
			s.try(digest(alice, "198.51.100.9"), OutcomeAccepted)
			n := 0
			for s.try(digest(user(n%tt.users), "198.51.100.9"), OutcomeFailed).Action == Pass {
				n++
			}
			if n != tt.want {
				t.Errorf("%d guesses passed, want %d", n, tt.want)
			}
			if b := s.Judge(digest(bob, "198.51.100.9")).Ban; b.Kind != BanSource || b.Key != "198.51.100.9" || b.Until.Sub(b.Since) != time.Hour {
				t.Errorf("banned %+v", b)
			}
			s.want("who had signed in there", digest(alice, "198.51.100.9"), Pass)
			s.want("who is signed in", digest(bob, "198.51.100.9").signed(), Pass)
			s.want("who is signed in and guesses at another", digest(bob, "198.51.100.9").signed().as("carol@example.com"), Stop)
			s.want("who has signed in and guesses at another", digest(alice, "198.51.100.9").as("carol@example.com"), Stop)
			s.want("the neighbour", digest(bob, "198.51.100.10"), Pass)
		})
	}
}

func TestAUserIsLockedWhereHeIsNotKnown(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	s.try(digest(alice, "203.0.113.7"), OutcomeAccepted)
	n := 0
	for s.try(digest(alice, addr(n)), OutcomeFailed).Action == Pass {
		n++
	}
	if n != 50 {
		t.Errorf("%d guesses passed, want 50", n)
	}
	s.want("a stranger", digest(alice, "203.0.113.9"), Stop)
	s.want("a stranger by another address of record", digest(bob, "203.0.113.9").as(alice), Stop)
	s.want("herself at home", digest(alice, "203.0.113.7"), Pass)
	s.want("herself on a flow", digest(alice, "203.0.113.9").signed(), Pass)
	s.want("somebody else", digest(bob, "203.0.113.9"), Pass)
	s.pass(15 * time.Minute)
	s.want("a stranger later", digest(alice, "203.0.113.9"), Pass)
}

// Who names one user in To and another in the credentials guesses at the other.
func TestGuessesCountForWhomTheCredentialsName(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	n := 0
	for s.try(digest(user(n), addr(1)).as(alice), OutcomeFailed).Action == Pass {
		n++
	}
	if n != 5 {
		t.Errorf("%d guesses at one user passed, want 5", n)
	}
}

func TestANeighbourDoesNotReachASignedInFlow(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	s.fails(digest(alice, "203.0.113.7"))
	s.want("a new flow", digest(alice, "203.0.113.7"), Stop)
	s.want("the flow", digest(alice, "203.0.113.7").signed(), Pass)
	if n := s.fails(digest(alice, "203.0.113.7").signed()); n != 5 {
		t.Errorf("%d guesses on the flow passed, want 5", n)
	}
	if b := s.Judge(digest(alice, "203.0.113.7").signed()).Ban; !b.SignedIn {
		t.Errorf("banned %+v", b)
	}
	s.want("another of the source", digest(bob, "203.0.113.7"), Pass)
}

func TestRequestsUnderWayFailTogether(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	a := digest(alice, "203.0.113.7").signed()
	for range 4 {
		var all []Ticket
		for range signedUnderWay {
			j := s.Judge(a)
			if j.Action != Pass {
				t.Fatal(j)
			}
			all = append(all, j.Ticket)
		}
		if got := s.Judge(a).Action; got != Wait {
			t.Errorf("one more: %v", got)
		}
		for _, ticket := range all {
			ticket.Settle(OutcomeFailed)
		}
	}
	s.want("after four rounds", a, Pass)
	s.try(a, OutcomePassed)
	s.try(a, OutcomeFailed)
	s.want("one more failure and one taken back", a, Pass)
	s.try(a, OutcomeFailed)
	s.want("the fifth", a, Stop)
}

func TestAThousandGuessesAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(i int) Attempt
		want int
	}{
		{"at one user from one source", func(int) Attempt { return digest(alice, "203.0.113.7") }, 5},
		{"at many users from one source", func(i int) Attempt { return digest(user(i), "203.0.113.7") }, 20},
		{"at one user from many sources", func(i int) Attempt { return digest(alice, addr(i)) }, 50},
		{"at one user by many addresses of record", func(i int) Attempt { return digest(user(i), addr(i)).as(alice) }, 50},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSentry(t, GuardConfig{})
			var passed atomic.Int32
			var all sync.Map
			var group sync.WaitGroup
			for i := range 1000 {
				group.Go(func() {
					if j := s.Judge(tt.make(i)); j.Action == Pass {
						passed.Add(1)
						all.Store(i, j.Ticket)
					}
				})
			}
			group.Wait()
			if got := int(passed.Load()); got != tt.want {
				t.Errorf("%d passed, want %d", got, tt.want)
			}
			all.Range(func(_, ticket any) bool { ticket.(Ticket).Settle(OutcomeFailed); return true })
			if a := tt.make(0); s.Judge(a).Action != Stop {
				t.Error("it is not banned")
			}
			if len(s.desk.underWay) != 0 {
				t.Errorf("%d are counted as under way", len(s.desk.underWay))
			}
		})
	}
}

func TestATicketCountsOnce(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	a := digest(alice, "203.0.113.7")
	ticket := s.Judge(a).Ticket
	for range 100 {
		ticket.Settle(OutcomeFailed)
		Ticket{}.Settle(OutcomeFailed)
	}
	s.want("after one failure", a, Pass)
	other := s.Judge(a).Ticket // in the same place
	ticket.Settle(OutcomeNone)
	if n := s.View().UnderWay; n != 1 {
		t.Errorf("%d under way, want the other", n)
	}
	other.Settle(OutcomeNone)
}

func TestATicketThatNobodySettlesIsGivenBack(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	a := digest(alice, "203.0.113.7")
	var lost Ticket
	for range 5 {
		lost = s.Judge(a).Ticket
	}
	s.want("a sixth", a, Wait)
	s.pass(ticketLife + time.Second)
	s.want("later", a, Pass)
	if n := s.View().UnderWay; n != 0 {
		t.Errorf("%d under way", n)
	}
	for range 10 {
		lost.Settle(OutcomeFailed)
	}
	s.want("when it comes after all", a, Pass)
}

func TestSuccessTakesOneFailureBack(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	a := digest(alice, "203.0.113.7")
	for range 100 {
		if s.try(a, OutcomeFailed).Action != Pass || s.try(a, OutcomeAccepted).Action != Pass {
			t.Fatal("stopped")
		}
	}
	for range 4 {
		s.try(a, OutcomeFailed)
	}
	s.try(a, OutcomeAccepted)
	if n := s.fails(a); n != 2 {
		t.Errorf("%d guesses passed after four and a success, want 2", n)
	}
	// Nor does an account of one's own pay for guesses at others.
	n := 0
	for s.try(digest(user(n%4), addr(3)), OutcomeFailed).Action == Pass {
		s.try(digest(bob, addr(3)), OutcomeAccepted)
		n++
	}
	if n > 20 {
		t.Errorf("%d guesses passed beside successes", n)
	}
}

func TestAnEndlessExchangeIsAFailure(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	a := digest(alice, "203.0.113.7")
	n := 0
	for s.try(a, OutcomeProgress).Action == Pass {
		n++
	}
	if n != maxProgress+5 {
		t.Errorf("it went on %d times, want %d", n, maxProgress+5)
	}
	b := digest(bob, "203.0.113.7")
	for range 1000 {
		for range maxProgress {
			s.try(b, OutcomeProgress)
		}
		if s.try(b, OutcomeAccepted).Action != Pass {
			t.Fatal("one that ends is stopped")
		}
	}
	c := digest(bob, "203.0.113.7").signed()
	for range maxSignedProgress {
		if s.try(c, OutcomeProgress).Action != Pass {
			t.Fatal("stopped")
		}
	}
}

func TestASlowSprayIsSeen(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	s.try(digest(alice, "203.0.113.7"), OutcomeAccepted)
	passed := 0
	var since time.Time
	for i := range 10_000 {
		if s.try(digest(user(i), addr(i/40)), OutcomeFailed).Action == Pass {
			passed++
		}
		s.try(digest(user(i), "203.0.113.250"), OutcomeAccepted) // he is at work meanwhile
		s.pass(time.Minute)
		if v := s.View(); v.Spray && since.IsZero() {
			since = v.SpraySince
		}
	}
	v := s.View()
	if !v.Spray || since.IsZero() || since.Sub(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)) > 12*time.Hour || v.Users < 100 || v.Sources < 10 {
		t.Errorf("View = %+v, since %v", v, since)
	}
	if passed > 2500 {
		t.Errorf("%d of 10,000 guesses passed", passed)
	}
	s.want("who is known", digest(alice, "203.0.113.7"), Pass)
	if n := s.fails(digest(alice, "203.0.113.7")); n != 5 {
		t.Errorf("who is known may fail %d times, want 5", n)
	}
	if n := s.fails(digest(bob, "198.51.100.4")); n != 2 {
		t.Errorf("who is not known may fail %d times, want 2", n)
	}
	s.pass(25 * time.Hour)
	if v := s.View(); v.Spray || v.Users != 0 || v.Sources != 0 {
		t.Errorf("a day later: %+v", v)
	}
}

func TestManyUsersWhoMistypeAreNoSpray(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	for i := range 10_000 {
		s.try(digest(user(i), addr(i)), OutcomeFailed)
		s.try(digest(user(i), addr(i)), OutcomeAccepted)
	}
	for i := range 10_000 { // they change their passwords, and are where they were
		s.try(digest(user(i), addr(i)), OutcomeFailed)
	}
	if v := s.View(); v.Spray || v.Users != 0 {
		t.Errorf("View = %+v", v)
	}
}

func TestNobodyIsNobody(t *testing.T) {
	var g *Guard
	if j := g.Judge(digest(alice, "203.0.113.7")); j.Action != Stop {
		t.Errorf("nobody lets somebody pass: %+v", j)
	}
	if g.List() != nil || g.View() != (GuardView{}) {
		t.Error("nobody knows something")
	}
	s := newSentry(t, GuardConfig{})
	a := digest(alice, "203.0.113.7")
	a.Credentials.Broken = true
	s.want("broken credentials", a, Stop)
	s.want("no source", Attempt{User: alice, Credentials: digest(alice, "203.0.113.7").Credentials}, Pass)
	if n := s.fails(Attempt{User: alice, Credentials: digest(alice, "203.0.113.7").Credentials}); n != 5 {
		t.Errorf("%d guesses from nowhere passed, want 5", n)
	}
	if n := s.fails(Attempt{Credentials: Credentials{Scheme: SchemeOther, guess: true}, Source: SourceOf(netip.MustParseAddr("203.0.113.8"))}); n > 20 {
		t.Errorf("%d guesses at nobody passed, want 20", n)
	}
	long := strings.Repeat("a", 10_000)
	s.fails(digest(long, "203.0.113.9"))
	if b := s.Judge(digest(long, "203.0.113.9")).Ban; len(b.User) > maxName || b.User == "" {
		t.Errorf("a name of %d octets is kept", len(b.User))
	}
	s.want("a long name that begins the same", digest(long+"b", "203.0.113.9"), Pass)
}

func TestWithoutCredentialsNothingCounts(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	a := Attempt{User: alice, Source: SourceOf(netip.MustParseAddr("203.0.113.7"))}
	var all []Ticket
	for range 1000 {
		j := s.Judge(a)
		if j.Action != Pass {
			t.Fatal(j)
		}
		all = append(all, j.Ticket)
	}
	for _, ticket := range all {
		ticket.Settle(OutcomeNone)
	}
	s.fails(digest(alice, "203.0.113.7"))
	s.want("one who is locked gets no challenge either", a, Stop)
}

func TestSourcesMayBeHidden(t *testing.T) {
	s := newSentry(t, GuardConfig{NoSources: true})
	for i := range 1000 {
		if s.try(digest(user(i), "203.0.113.7"), OutcomeFailed).Action != Pass {
			t.Fatal("a balancer is banned")
		}
	}
	if err := s.Add(Ban{Source: netip.MustParsePrefix("203.0.113.0/24")}); err != nil {
		t.Fatal(err)
	}
	s.want("banned by hand", digest(alice, "203.0.113.7"), Stop)
}

func TestLimitsCanBeChanged(t *testing.T) {
	s := newSentry(t, GuardConfig{PairFailures: 3})
	if n := s.fails(digest(alice, addr(1))); n != 3 {
		t.Errorf("%d passed, want 3", n)
	}
	if err := s.Configure(GuardConfig{PairFailures: 7}); err != nil {
		t.Fatal(err)
	}
	if n := s.fails(digest(alice, addr(2))); n != 7 {
		t.Errorf("%d passed, want 7", n)
	}
	for _, c := range []GuardConfig{{PairFailures: -1}, {UserFailures: mostFailures + 1}, {PairLock: -time.Hour}, {Remember: time.Hour * 24 * 10_000}} {
		if s.Configure(c) == nil {
			t.Errorf("%+v is taken", c)
		}
		if _, err := OpenGuard(c, nil, nil, discard, s.watch.now); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

func TestTheGuardIsSafeForConcurrentUse(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	s.openIn(t.TempDir())
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for n := range 300 {
				a := digest(user(n%7), addr(n%5))
				j := s.Judge(a)
				group.Go(func() { j.Ticket.Settle(Outcome(n % 5)) })
				j.Ticket.Settle(Outcome(i % 5))
				switch n % 60 {
				case 0:
					s.Add(Ban{User: user(n % 7), Until: s.watch.now().Add(time.Second)})
				case 10:
					s.Lift(user(n % 7))
				case 20:
					s.flush()
				case 30:
					s.forget(s.watch.now())
				}
				s.List()
				s.View()
				s.pass(time.Millisecond)
			}
		})
	}
	group.Wait()
	if len(s.desk.underWay) != 0 || s.desk.len() != 0 {
		t.Errorf("%d are under way", s.desk.len())
	}
}

func TestJudgingAllocatesNothing(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	a := digest(alice, "203.0.113.7")
	s.try(a, OutcomeAccepted)
	if n := testing.AllocsPerRun(100, func() { s.Judge(a).Ticket.Settle(OutcomeNone) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestATicketThatIsBackNamesNobody(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	s.Judge(digest(alice, "203.0.113.7")).Ticket.Settle(OutcomeAccepted)
	s.Judge(digest(bob, "203.0.113.8").as(`contoso\bob`))
	s.pass(ticketLife + time.Second)
	s.Judge(digest(user(1), "203.0.113.9")).Ticket.Settle(OutcomeNone) // bob's is over
	if len(s.desk.slots) < 2 || s.desk.len() != 0 {
		t.Fatalf("%d tickets of %d are out", s.desk.len(), len(s.desk.slots)-1)
	}
	for i, slot := range s.desk.slots {
		for _, w := range slot.who {
			if w.name != "" {
				t.Errorf("ticket %d is still that of %s", i, w.name)
			}
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	s := newSentry(b, GuardConfig{})
	for i := range 10_000 {
		s.try(digest(user(i), addr(i)), OutcomeAccepted)
		s.try(digest(user(i), addr(i+20_000)), OutcomeFailed)
	}
	s.Add(Ban{Source: netip.MustParsePrefix("198.51.100.0/24")})
	for _, bb := range []struct {
		name string
		a    Attempt
	}{
		{"known", digest(user(7), addr(7))},
		{"unknown", digest("nobody@example.com", addr(7))},
		{"signed", digest(user(7), addr(7)).signed()},
		{"two-names", digest(user(7), addr(7)).as(`contoso\user7`)},
		{"stopped", digest(user(7), "198.51.100.1")},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Judge(bb.a).Ticket.Settle(OutcomeNone)
			}
		})
	}
}
