package settings

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
)

// decided are decisions that tests make.
type decided struct {
	mu   sync.Mutex
	list []federation.Decision
}

func (d *decided) all() []federation.Decision {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.list
}

func (d *decided) allow(domain string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, federation.Decision{Domain: domain, Action: federation.ActionAllow, At: time.Now()})
}

func (d *decided) load(t *testing.T, partners string) *Settings {
	t.Helper()
	path := folder(t, map[string]string{"sipedge.toml": "domains = ['example.com']\nstate_dir = 'state'", "partners.toml": partners})
	s, errs := Load(path, func(c edge.Config) (Decisions, error) {
		if c.StateDir != "state" {
			t.Errorf("decisions are looked for in %q", c.StateDir)
		}
		return Decisions{Partners: d.all}, nil
	}, nothingWrong)
	if errs != nil {
		t.Fatal(errs)
	}
	return s
}

func (w *Watcher) states(domains ...string) string {
	var states []string
	for _, domain := range domains {
		d, _ := w.Partners().Describe(domain)
		states = append(states, d.State)
	}
	return strings.Join(states, ",")
}

func TestWhatIsDecidedCountsFromTheStart(t *testing.T) {
	d := new(decided)
	d.allow("b.example")
	s := d.load(t, onePartner)
	if n, _ := s.Partners.Len(); n != 2 {
		t.Errorf("%d partners, want the one of the file and the one decided", n)
	}
	path := folder(t, map[string]string{"sipedge.toml": "\ndomains = ['example.com']\nstate_dir = 'state'"})
	_, errs := Load(path, func(edge.Config) (Decisions, error) { return Decisions{}, errors.New("the store is locked") }, nothingWrong)
	if got := texts(errs); len(got) != 1 || got[0] != "sipedge.toml:3: the store is locked" {
		t.Errorf("without them: %q", got)
	}
}

func TestADecisionGoesWithTheLastGoodFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(decided)
		s := d.load(t, onePartner)
		var applied []*federation.Partners
		w := NewWatcher(s, Apply{Partners: func(p *federation.Partners) { applied = append(applied, p) }}, slog.New(slog.DiscardHandler))
		d.allow("b.example")
		if err := w.Refresh(); err != nil || len(applied) != 1 || applied[0] != w.Partners() {
			t.Fatalf("Refresh: %v, put in force %d times", err, len(applied))
		}
		if got := w.states("a.example", "b.example"); got != "allowed,allowed" {
			t.Errorf("states %s", got)
		}
		put(t, s.PartnersPath, "[blocked.'b.example']\nfault = 1\n")
		w.reload(stampOf(w.Path))
		d.allow("c.example")
		if err := w.Refresh(); err != nil {
			t.Fatal(err)
		}
		if got := w.states("a.example", "b.example", "c.example"); got != "allowed,allowed,allowed" {
			t.Errorf("while the file is faulty: %s", got)
		}
		put(t, s.PartnersPath, "[blocked.'b.example']\n")
		w.reload(stampOf(w.Path))
		if got := w.states("a.example", "b.example", "c.example"); got != ",blocked,allowed" {
			t.Errorf("when it is mended: %s", got)
		}
		if err := w.Refresh(); err != nil || w.states("b.example") != "blocked" {
			t.Errorf("the file does not win: %v, %s", err, w.states("b.example"))
		}
	})
}

func TestAnEntryEndsWhenItsDayIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The bubble's clock begins on 2000-01-01 at midnight UTC.
		time.Sleep(24*time.Hour - time.Minute)
		w := watch(t, "[partner.'a.example']\nuntil = 2000-01-01\n[partner.'b.example']\nuntil = 2000-01-02\n[partner.'c.example']\n")
		states := func() string {
			w.mu.Lock()
			defer w.mu.Unlock()
			a, _ := w.current.Describe("a.example")
			b, _ := w.current.Describe("b.example")
			return a.State + "," + b.State
		}
		if w.after(time.Minute - time.Second); w.applied != 0 || states() != "allowed,allowed" {
			t.Errorf("before the end: put in force %d times, %s", w.applied, states())
		}
		if w.after(2 * time.Second); w.applied != 1 || states() != "expired,allowed" {
			t.Errorf("after it: put in force %d times, %s", w.applied, states())
		}
		if w.after(time.Minute); w.applied != 1 {
			t.Errorf("later: put in force %d times", w.applied)
		}
	})
}

// A clock that goes wrong for a minute must not cost all partners with an end date
// until somebody notices.
func TestAnEntryThatAWrongClockEndedComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, "[partner.'a.example']\nuntil = 2000-01-01\n[partner.'b.example']\n")
		late, errs := federation.Compile(federation.File{Partners: map[string]federation.PartnerConfig{
			"a.example": {Until: federation.Date{Year: 2000, Month: time.January, Day: 1}},
		}}, nil, federation.With{Now: time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)})
		if errs != nil {
			t.Fatal(errs)
		}
		w.watcher.mu.Lock()
		w.watcher.current = late
		w.watcher.mu.Unlock()
		w.after(time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if a, _ := w.current.Describe("a.example"); w.applied != 1 || a.State != "allowed" {
			t.Errorf("put in force %d times, %s", w.applied, a.State)
		}
	})
}
