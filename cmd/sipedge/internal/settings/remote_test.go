package settings

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/remoteaccess"
)

const (
	mainFile = "domains = ['example.com']\n"
	alice    = "[user.'alice@example.com']\nallow = true\n"
	bob      = "[user.'bob@example.com']\nallow = true\n"
)

// may lists who of a few may sign in from outside.
func may(a *remoteaccess.Access) string {
	var names []string
	for _, user := range []string{"alice", "bob", "carol"} {
		if a.Terms([]byte(user), []byte("example.com"), nil).Allow {
			names = append(names, user)
		}
	}
	return strings.Join(names, " ")
}

func TestLoadReadsWhoMaySignInFromOutside(t *testing.T) {
	path := folder(t, map[string]string{"sipedge.toml": mainFile, "remote.toml": `
[default]
kinds = ["im"]
devices = 3
[ldap]
url = "ldaps://dc.example.com"
base = "dc=example,dc=com"
cache = "1m"
[group.sales]
dn = "cn=sales,dc=example,dc=com"
members = ["bob"]
allow = true
federation = false
[user."alice@example.com"]
note = "since 2026"
allow = true
bridges = false
`})
	var built *remoteaccess.Access
	s, errs := Load(path, nil, func(s *Settings) []error {
		built = s.Remote
		return nil
	})
	if errs != nil {
		t.Fatal(errs)
	}
	if s.NoRemote || built != s.Remote || may(s.Remote) != "alice bob" || !s.Remote.AsksGroups() {
		t.Errorf("read as %+v", s.Remote)
	}
	got := s.Remote.Explain([]byte("bob"), []byte("example.com"), nil)
	var lines []string
	for _, g := range got {
		lines = append(lines, g.Key+" = "+g.Value+" by "+g.Rule.String())
	}
	want := []string{
		"allow = true by group sales (remote.toml:9)", "kinds = im by default (remote.toml:2)",
		"federation = false by group sales (remote.toml:9)", "bridges = true by default (remote.toml:2)", "devices = 3 by default (remote.toml:2)",
	}
	if d := cmp.Diff(want, lines); d != "" {
		t.Errorf("Explain (-want +got):\n%s", d)
	}
	if l, ok := s.Remote.LDAP(); !ok || l.Cache != time.Minute || l.Line != 5 {
		t.Errorf("[ldap] was read as %+v", l)
	}
}

func TestNobodyMaySignInFromOutsideWithoutTheFile(t *testing.T) {
	s, errs := Load(folder(t, map[string]string{"sipedge.toml": mainFile}), nil, nothingWrong)
	if errs != nil {
		t.Fatal(errs)
	}
	if got := s.Remote.Terms([]byte("alice"), []byte("example.com"), nil); !s.NoRemote || got.Allow || got.Rule.String() != "no remote.toml" {
		t.Errorf("%+v", got)
	}
}

func TestFaultsOfRemoteTomlStandBesideTheOthers(t *testing.T) {
	path := folder(t, map[string]string{
		"sipedge.toml":  mainFile,
		"partners.toml": "[partner.'example.com']\n",
		"remote.toml":   "[default]\nalow = true\ndevices = 0\n[user.'alice@fabrikam.example']\n[group.x]\nallow = 'yes'\n",
	})
	s, errs := Load(path, nil, func(s *Settings) []error {
		if s.Remote != nil {
			t.Error("a faulty file lets somebody in")
		}
		return nil
	})
	want := []string{
		`remote.toml:2: unknown key "alow" in [default]; did you mean "allow"?`,
		`remote.toml:3: devices in [default] must be more than 0; leave it out for the default`,
		`remote.toml:4: user "alice@fabrikam.example": fabrikam.example is no domain of ours`,
		`remote.toml:5: group "x" has nobody in it: it needs dn, members, or both`,
		`remote.toml:6: allow in [group.x] must be true or false, not a string`,
		`partners.toml:1: partner "example.com" is a domain of our own: it lives in a pool`,
	}
	if d := cmp.Diff(want, texts(errs)); s != nil || d != "" {
		t.Errorf("Load (-want +got):\n%s", d)
	}
}

// outside is a folder with remote.toml under watch, in a bubble of made-up time.
type outside struct {
	path    string
	now     chan struct{}
	watcher *Watcher

	mu      sync.Mutex // guards what follows
	log     bytes.Buffer
	current *remoteaccess.Access
	applied int
	decided remoteaccess.With
}

func watchRemote(t *testing.T, remote string) *outside {
	t.Helper()
	files := map[string]string{"sipedge.toml": mainFile, "partners.toml": onePartner}
	if remote != "" {
		files["remote.toml"] = remote
	}
	w := &outside{now: make(chan struct{})}
	s, errs := Load(folder(t, files), func(edge.Config) (Decisions, error) { return Decisions{Remote: w.with}, nil }, nothingWrong)
	if errs != nil {
		t.Fatal(errs)
	}
	w.path, w.current = s.RemotePath, s.Remote
	partners := func(*federation.Partners) { t.Error("partners were put in force, and have not changed") }
	w.watcher = NewWatcher(s, Apply{Partners: partners, Remote: w.apply}, slog.New(slog.NewTextHandler(w, nil)))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.watcher.Run(ctx, w.now)
	}()
	t.Cleanup(func() { stop(); <-done })
	return w
}

func (w *outside) with() remoteaccess.With {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.decided
}

func (w *outside) apply(a *remoteaccess.Access) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current, w.applied = a, w.applied+1
}

// Write takes a line of the log.
func (w *outside) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(line)
}

func (w *outside) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

func (w *outside) reloads() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.applied
}

// after lets time pass and says who may.
func (w *outside) after(d time.Duration) string {
	time.Sleep(d) // of the bubble
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return may(w.current)
}

func TestRemoteTomlIsInForceWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchRemote(t, "")
		if got := w.after(time.Minute); got != "" || w.reloads() != 0 {
			t.Errorf("%q may after %d reloads, and there is no file", got, w.reloads())
		}
		put(t, w.path, alice+bob)
		if got := w.after(time.Second); got != "alice bob" {
			t.Errorf("%q may, a second after the file came", got)
		}
		put(t, w.path, alice)
		if got := w.after(time.Second); got != "alice" || may(w.watcher.Remote()) != "alice" {
			t.Errorf("%q may, a second after bob was taken off", got)
		}
		put(t, w.path, "[user.'carol@example.com']\nallow = 1\nworse = 2\n")
		if got := w.after(time.Minute); got != "alice" || strings.Count(w.logged(), "remote access faulty") != 2 || !strings.Contains(w.logged(), `msg="remote access not reloaded" faults=2`) {
			t.Errorf("%q may under a bad file, want the last good one and its faults once:\n%s", got, w.logged())
		}
		put(t, w.path, bob)
		if got := w.after(time.Minute); got != "bob" || w.reloads() != 3 {
			t.Errorf("%q may after the repair, read %d times", got, w.reloads())
		}
		if err := os.Remove(w.path); err != nil {
			t.Fatal(err)
		}
		if got := w.after(time.Second); got != "" || !strings.Contains(w.logged(), "remote access gone") {
			t.Errorf("%q may without the file:\n%s", got, w.logged())
		}
		if w.after(time.Minute); w.reloads() != 4 {
			t.Errorf("read %d times, want 4", w.reloads())
		}
	})
}

func TestASignalReadsRemoteTomlAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchRemote(t, alice)
		w.watcher.Apply = func(*federation.Partners) {} // the signal is for them, too
		put(t, w.path, bob)
		w.now <- struct{}{}
		if got := w.after(0); got != "bob" || w.reloads() != 1 {
			t.Errorf("%q may", got)
		}
	})
}

func TestWhatIsDecidedAboutUsersGoesWithTheLastGoodFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchRemote(t, alice)
		put(t, w.path, "nonsense")
		w.after(time.Second)
		w.mu.Lock()
		for user, allow := range map[string]bool{"alice@example.com": false, "carol@example.com": true} {
			w.decided.Decisions = append(w.decided.Decisions, remoteaccess.Decision{User: user, Allow: allow, At: time.Now()})
		}
		w.mu.Unlock()
		if err := w.watcher.RefreshRemote(); err != nil {
			t.Fatal(err)
		}
		if got := w.after(0); got != "alice carol" {
			t.Errorf("%q may", got)
		}
	})
}
