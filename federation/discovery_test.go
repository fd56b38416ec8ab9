package federation

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
)

// A finder is a Discovery with what tests say to it.
type finder struct {
	*Discovery
	t   testing.TB
	id  *certs.Identity
	lim DiscoveryLimits
	now time.Time
}

func newFinder(t testing.TB) *finder {
	d, err := OpenDiscovery(nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return &finder{Discovery: d, t: t, now: noon, id: newIssuer(t).names("fabrikam.example")}
}

// take asks for user@example.com; "" for a request within a dialog.
func (f *finder) take(domain, user string) allowlists.Verdict {
	var addressee []byte
	if user != "" {
		addressee = []byte(user + "@example.com")
	}
	return f.Take([]byte(domain), f.id, addressee, f.lim, f.now)
}

// wants takes and checks what comes of it.
func (f *finder) wants(domain, user string, want allowlists.Reason) {
	f.t.Helper()
	v := f.take(domain, user)
	if v.Reason != want || v.Allowed() != (want == allowlists.ReasonNone) {
		f.t.Errorf("%s asks for %s: %v %q, want %q", domain, user, v.Action, v.Reason, want)
	}
}

// state checks what is known of a domain.
func (f *finder) state(domain, want string) Record {
	f.t.Helper()
	r, ok := f.Record(domain)
	if !ok && want != "" || r.State != want {
		f.t.Errorf("%s is %q, want %q", domain, r.State, want)
	}
	return r
}

// harvest asks for n different users, slowly.
func (f *finder) harvest(domain string, n int) (let int) {
	for i := range n {
		f.now = f.now.Add(time.Second)
		if f.take(domain, fmt.Sprintf("user%d", i)).Allowed() {
			let++
		}
	}
	return let
}

func (f *finder) answers(domain string, n, status int) {
	for range n {
		f.Answered([]byte(domain), status, f.now)
	}
}

func (f *finder) decide(domain string, action Action) {
	f.t.Helper()
	if err := f.Decide(Decision{Domain: domain, Action: action, At: f.now}); err != nil {
		f.t.Fatal(err)
	}
}

func TestADiscoveredPartnerSendsTwentyASecond(t *testing.T) {
	f := newFinder(t)
	if got := passed(100, func() bool { return f.take("fabrikam.example", "alice").Allowed() }); got != 20 {
		t.Errorf("%d pass at once, want 20", got)
	}
	v := f.take("fabrikam.example", "alice")
	if v.Reason != allowlists.PartnerLimit || v.Code() != 503 {
		t.Errorf("the next: %s %d, want %s 503", v.Reason, v.Code(), allowlists.PartnerLimit)
	}
	f.wants("fabrikam.example", "", allowlists.PartnerLimit) // within a dialog as well
	f.wants("contoso.example", "alice", "")                  // somebody else is not held up
	for range 100 {
		f.now = f.now.Add(50 * time.Millisecond)
		f.wants("fabrikam.example", "alice", "")
	}
	r := f.state("fabrikam.example", StateTalking)
	if r.Messages != 120 || r.Refused != 82 || r.Addressees != 1 {
		t.Errorf("messages %d, refused %d, addressees %d; want 120, 82, 1", r.Messages, r.Refused, r.Addressees)
	}
	if r.FirstSeen != noon || r.LastSeen != f.now || r.Fingerprint != f.id.Fingerprint() || !strings.Contains(r.Certificate, "test root") {
		t.Errorf("record %+v", r)
	}
}

func TestNamesOfOneOwnerShareItsLimits(t *testing.T) {
	f := newFinder(t)
	n := 0
	if got := passed(100, func() bool {
		n++
		return f.take(fmt.Sprintf("n%d.evil.example", n), "alice").Allowed()
	}); got != 20 {
		t.Errorf("%d pass with a name each, want 20", got)
	}
	if got := len(f.Records()); got != maxNames {
		t.Errorf("%d records of one owner, want %d", got, maxNames)
	}
	for i := range 1200 {
		f.now = f.now.Add(time.Second)
		f.take(fmt.Sprintf("n%d.evil.example", i), fmt.Sprintf("user%d", i))
	}
	f.wants("evil.example", "alice", allowlists.PartnerWatched)
	f.wants("never-seen.evil.example", "", allowlists.PartnerWatched)
	f.state("never-seen.evil.example", "")
	f.wants("good.example", "alice", "")
}

func TestRegistrable(t *testing.T) {
	for domain, want := range map[string]string{
		"evil.example":            "evil.example", // not on the list: the last label
		"a.b.evil.example":        "evil.example",
		"example":                 "example",
		"fabrikam.com":            "fabrikam.com",
		"im.fabrikam.com":         "fabrikam.com",
		"a.b.fabrikam.co.uk":      "fabrikam.co.uk",
		"co.uk":                   "co.uk",
		"somebody.github.io":      "github.io", // given away by a company
		"x.cust.cloudfront.net":   "cloudfront.net",
		"a.city.kawasaki.jp":      "city.kawasaki.jp", // an exception of the list
		"x.other.kawasaki.jp":     "x.other.kawasaki.jp",
		"a.x.other.kawasaki.jp":   "x.other.kawasaki.jp",
		"a.xn--85x722f.com.cn":    "xn--85x722f.com.cn",
		"something.unknowntld":    "something.unknowntld",
		"im.something.unknowntld": "something.unknowntld",
		"":                        "",
	} {
		if got := registrable(domain); got != want {
			t.Errorf("registrable(%q) = %q, want %q", domain, got, want)
		}
	}
}

// What a harvester learns by: it may ask for a thousand addresses, existing or
// not, and then for none.
func TestAThousandAddresseesAndThenTheWatchList(t *testing.T) {
	f := newFinder(t)
	if got := f.harvest("evil.example", 1000); got != 1000 {
		t.Errorf("%d of 1,000 pass", got)
	}
	f.wants("evil.example", "user7", "") // known: not one more
	f.wants("evil.example", "", "")
	if r := f.state("evil.example", StateTalking); r.Addressees != 1000 {
		t.Errorf("%d addressees, want 1000", r.Addressees)
	}
	f.wants("evil.example", "one-more", allowlists.PartnerWatched)
	f.wants("evil.example", "user7", allowlists.PartnerWatched)
	f.wants("evil.example", "", allowlists.PartnerWatched)
	f.now = f.now.Add(10000 * time.Hour)
	f.wants("evil.example", "user7", allowlists.PartnerWatched)
	if r := f.state("evil.example", StateWatched); r.Addressees != 1000 || r.WatchedSince.IsZero() {
		t.Errorf("%d addressees, watched since %v", r.Addressees, r.WatchedSince)
	}
	if v := f.take("evil.example", "alice"); v.Code() != 403 {
		t.Errorf("who is watched gets %d, want 403", v.Code())
	}
}

func TestWhatDecisionsDo(t *testing.T) {
	f := newFinder(t)
	f.lim.Addresses = 3
	f.harvest("evil.example", 4)
	f.wants("im.evil.example", "alice", allowlists.PartnerWatched)

	f.decide("evil.example", ActionIgnore)
	f.state("evil.example", StateIgnored)
	f.wants("im.evil.example", "alice", "")
	if got := f.harvest("evil.example", 4); got != 2 {
		t.Errorf("after it was ignored, %d of 4 more pass, want 2", got)
	}
	f.state("evil.example", StateWatched) // to ignore is no licence

	f.decide("evil.example", ActionAllow)
	f.state("evil.example", StateAllowed)
	f.wants("evil.example", "alice", allowlists.PartnerWatched)    // unless the lists say so
	f.wants("im.evil.example", "alice", allowlists.PartnerWatched) // somebody else

	f.decide("evil.example", ActionBlock)
	f.wants("evil.example", "alice", allowlists.PartnerBlocked)
	f.state("evil.example", StateBlocked)

	if err := f.Revoke("evil.example"); err != nil {
		t.Error(err)
	}
	f.wants("evil.example", "alice", allowlists.PartnerWatched)

	f.decide("new.evil.example", ActionAllow) // one that was never seen
	f.wants("new.evil.example", "alice", allowlists.PartnerWatched)
	f.decide("blocked.example", ActionBlock)
	f.wants("blocked.example", "alice", allowlists.PartnerBlocked)
	if got := len(f.Decisions()); got != 2 {
		t.Errorf("%d decisions, want 2", got)
	}
}

func TestDecisionsThatAreRefused(t *testing.T) {
	f := newFinder(t)
	for name, d := range map[string]Decision{
		"no domain":      {Action: ActionAllow, At: noon},
		"no name":        {Domain: "not a domain", Action: ActionAllow, At: noon},
		"no action":      {Domain: "a.example", At: noon},
		"another action": {Domain: "a.example", Action: "maybe", At: noon},
		"no time":        {Domain: "a.example", Action: ActionAllow},
		"a long note":    {Domain: "a.example", Action: ActionAllow, At: noon, Note: strings.Repeat("x", maxNote+1)},
	} {
		if err := f.Decide(d); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := f.Revoke("a.example"); err == nil {
		t.Error("what nobody decided is revoked")
	}
	f.decide("BÜCHER.example.", ActionAllow)
	if got := f.Decisions(); len(got) != 1 || got[0].Domain != "xn--bcher-kva.example" {
		t.Errorf("decisions %+v", got)
	}
}

func TestFailuresMakeSuspicious(t *testing.T) {
	f := newFinder(t)
	const p = "fabrikam.example"
	f.take(p, "alice")
	f.answers(p, 9, 200)
	f.answers(p, 10, 404)
	f.state(p, StateTalking) // 19 answers mean nothing yet
	f.answers(p, 1, 404)
	f.state(p, StateSuspicious) // 11 of 20
	f.now = f.now.Add(time.Second)
	if got := passed(100, func() bool { return f.take(p, "alice").Allowed() }); got != 1 {
		t.Errorf("%d pass at once, want 1", got)
	}
	for range 30 {
		f.now = f.now.Add(time.Second)
		f.wants(p, "alice", "")
		f.wants(p, "alice", allowlists.PartnerLimit)
	}
	f.answers(p, 15, 200)
	f.state(p, StateSuspicious) // a third, and not yet a quarter
	f.answers(p, 15, 200)
	f.state(p, StateTalking)
	f.answers(p, 10, 404)
	f.state(p, StateTalking) // and not to and fro
	f.now = f.now.Add(time.Second)
	if got := passed(100, func() bool { return f.take(p, "alice").Allowed() }); got != 20 {
		t.Errorf("%d pass at once, want 20", got)
	}
	if r := f.state(p, StateTalking); r.Failed != 21 {
		t.Errorf("failed %d, want 21", r.Failed)
	}
}

func TestSilenceClearsSuspicion(t *testing.T) {
	f := newFinder(t)
	f.take("fabrikam.example", "alice")
	f.answers("fabrikam.example", 30, 404)
	f.now = f.now.Add(20 * time.Minute)
	f.take("fabrikam.example", "alice")
	f.state("fabrikam.example", StateSuspicious)
	f.now = f.now.Add(20 * time.Minute)
	f.take("fabrikam.example", "alice")
	f.state("fabrikam.example", StateTalking)
}

func TestSuspicionNeverMakesFaster(t *testing.T) {
	f := newFinder(t)
	f.lim = DiscoveryLimits{Rate: 2, SuspiciousRate: 50}
	f.take("fabrikam.example", "alice")
	f.answers("fabrikam.example", 30, 404)
	f.now = f.now.Add(time.Minute)
	if got := passed(100, func() bool { return f.take("fabrikam.example", "alice").Allowed() }); got != 2 {
		t.Errorf("%d pass at once, want 2", got)
	}
}

func TestWhatAnAnswerSays(t *testing.T) {
	for status, want := range map[int]outcome{
		200: outcomeGood, 202: outcomeGood, 204: outcomeGood,
		403: outcomeFailed, 404: outcomeFailed, 410: outcomeFailed, 484: outcomeFailed, 485: outcomeFailed,
		604: outcomeFailed, 607: outcomeFailed, 608: outcomeFailed,
		180: outcomeNone, 302: outcomeNone, 400: outcomeNone, 401: outcomeNone, 407: outcomeNone, 408: outcomeNone,
		480: outcomeNone, 481: outcomeNone, 486: outcomeNone, 487: outcomeNone, 488: outcomeNone, 491: outcomeNone,
		500: outcomeNone, 503: outcomeNone, 504: outcomeNone, 600: outcomeNone, 603: outcomeNone, 0: outcomeNone, -1: outcomeNone,
	} {
		if got := outcomeOf(status); got != want {
			t.Errorf("outcomeOf(%d) = %d, want %d", status, got, want)
		}
	}
}

func TestAKnockIsRemembered(t *testing.T) {
	f := newFinder(t)
	f.Knock([]byte("fabrikam.example"), f.id, f.now)
	f.Knock([]byte("fabrikam.example"), f.id, f.now.Add(time.Second))
	r := f.state("fabrikam.example", StateKnocking)
	if r.Refused != 2 || r.Messages != 0 || r.Fingerprint == "" || r.LastSeen != noon.Add(time.Second) {
		t.Errorf("record %+v", r)
	}
	f.decide("fabrikam.example", ActionIgnore)
	f.state("fabrikam.example", StateIgnored)
	f.Knock([]byte("not a domain"), f.id, f.now)
	f.Answered([]byte("nobody.example"), 404, f.now)
	if got := len(f.Records()); got != 1 {
		t.Errorf("%d records, want 1", got)
	}
}

func TestNoDiscoveryLetsNobodyPass(t *testing.T) {
	var d *Discovery
	if v := d.Take([]byte("fabrikam.example"), nil, nil, DiscoveryLimits{}, noon); v.Allowed() {
		t.Error("a nil Discovery lets pass")
	}
	d.Knock([]byte("fabrikam.example"), nil, noon)
	d.Answered([]byte("fabrikam.example"), 404, noon)
	if d.Records() != nil || d.Decisions() != nil {
		t.Error("a nil Discovery knows somebody")
	}
	f := newFinder(t)
	for _, domain := range []string{"", ".", "a..b", "192.0.2.1", "UPPER.example", "a b", strings.Repeat("a.", 130) + "example"} {
		if v := f.take(domain, "alice"); v.Allowed() {
			t.Errorf("%q passes", domain)
		}
	}
}

// Strangers fill the tables with as many domains as they like: those who were
// seen least recently go, who is watched or decided stays.
func TestTheTablesAreBounded(t *testing.T) {
	f := newFinder(t)
	f.lim.Addresses = 1
	f.harvest("watched.example", 2)
	f.take("ignored.example", "alice")
	f.decide("ignored.example", ActionIgnore)
	f.Knock([]byte("blocked.example"), f.id, f.now)
	f.decide("blocked.example", ActionBlock)
	for i := range 3000 {
		f.now = f.now.Add(time.Millisecond)
		f.take(fmt.Sprintf("talks%d.example", i), "alice")
		f.Knock(fmt.Appendf(nil, "knocks%d.example", i), f.id, f.now)
		f.take("busy.example", "")
		if n := len(f.records); n > maxTalking+maxKnocking+3 {
			t.Fatalf("%d records", n)
		}
	}
	f.state("watched.example", StateWatched)
	f.state("ignored.example", StateIgnored)
	f.state("blocked.example", StateBlocked)
	f.state("busy.example", StateTalking)
	f.state("talks2999.example", StateTalking)
	f.state("knocks2999.example", StateKnocking)
	f.state("talks0.example", "")
	f.state("knocks0.example", "")
	f.consistent()
	if got, want := f.count[talking], maxTalking*4/5; got < want {
		t.Errorf("%d talk, want at least %d", got, want)
	}
	if len(f.gone) != 0 {
		t.Errorf("%d keys are to go that were never written", len(f.gone))
	}
}

// When the watch list itself is full, who comes on top is refused all the same.
func TestAFullWatchList(t *testing.T) {
	f := newFinder(t)
	f.lim.Addresses = 1
	for i := range maxWatched + 1500 {
		f.now = f.now.Add(time.Millisecond)
		domain := fmt.Sprintf("w%d.example", i)
		f.wants(domain, "alice", "")
		f.wants(domain, "bob", allowlists.PartnerWatched)
		f.wants(domain, "alice", allowlists.PartnerWatched)
	}
	f.consistent()
	if len(f.records) > maxWatched+maxTalking {
		t.Errorf("%d records", len(f.records))
	}
	f.state("w0.example", StateWatched)
}

// consistent checks what must hold whatever happened.
func (f *finder) consistent() {
	f.t.Helper()
	var count [classes]int
	names := 0
	for domain, r := range f.records {
		count[r.class]++
		if r.domain != domain || f.owners[registrable(domain)] != r.owner || r.decision != f.decisions[domain] {
			f.t.Errorf("%s: record %+v", domain, r)
		}
		if (r.class == decided) != (r.decision != nil) || r.class == watched && !r.owner.isWatched() {
			f.t.Errorf("%s is in class %d, state %s", domain, r.class, r.state())
		}
	}
	for _, o := range f.owners {
		names += len(o.names)
		if len(o.names) == 0 || len(o.asked) > MaxAddresses || o.isWatched() && o.asked != nil {
			f.t.Errorf("owner %+v", o)
		}
	}
	if count != f.count || names != len(f.records) {
		f.t.Errorf("counted %v of %d names, want %v of %d", f.count, names, count, len(f.records))
	}
	for c, n := range count {
		if n > f.bounds[c] {
			f.t.Errorf("%d records of class %d, want at most %d", n, c, f.bounds[c])
		}
	}
}

func TestTakeAllocatesNothing(t *testing.T) {
	f := newFinder(t)
	f.lim = DiscoveryLimits{Rate: 1e9, SuspiciousRate: 1, Addresses: 5000}
	f.harvest("fabrikam.example", 1000)
	domain, known := []byte("fabrikam.example"), []byte("user500@example.com")
	for name, do := range map[string]func(){
		"Take":                    func() { f.Take(domain, f.id, known, f.lim, f.now) },
		"Take within a dialog":    func() { f.Take(domain, f.id, nil, f.lim, f.now) },
		"Take of one too much":    func() { f.Take(domain, f.id, known, DiscoveryLimits{Rate: 1e-9}, f.now) },
		"Answered":                func() { f.Answered(domain, 200, f.now) },
		"Knock":                   func() { f.Knock(domain, f.id, f.now) },
		"Answered to nobody else": func() { f.Answered([]byte("nobody.example"), 404, f.now) },
	} {
		if got := testing.AllocsPerRun(100, do); got != 0 {
			t.Errorf("%s: %v allocations, want none", name, got)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	f := newFinder(t)
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for i := range 300 {
				domain := fmt.Appendf(nil, "n%d.example", i%40)
				f.Take(domain, f.id, fmt.Appendf(nil, "u%d@example.com", i), f.lim, f.now)
				f.Answered(domain, 200+204*(i%2), f.now)
				f.Knock(fmt.Appendf(nil, "k%d-%d.example", w, i), f.id, f.now)
				if i%50 == 0 {
					f.Records()
					if err := f.Decide(Decision{Domain: string(domain), Action: ActionIgnore, At: f.now}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	f.consistent()
}

func BenchmarkTake(b *testing.B) {
	f := newFinder(b)
	f.lim.Rate = 1e9
	f.harvest("fabrikam.example", 900)
	domain, known := []byte("fabrikam.example"), []byte("user500@example.com")
	b.ReportAllocs()
	for b.Loop() {
		f.Take(domain, f.id, known, f.lim, f.now)
	}
}
