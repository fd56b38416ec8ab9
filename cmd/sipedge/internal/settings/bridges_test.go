package settings

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/edge"
)

func TestLoadReadsBridges(t *testing.T) {
	path := folder(t, map[string]string{
		"sipedge.toml": mainFile + "\n[bridge.xmpp]\naddress = [\"127.0.0.1:5269\"]\ncertificate = \"outside\"\nhold = \"1s\"\n",
		"bridges.toml": "[user.'alice@example.com']\ninbound = ['xmpp']\n[account.'alice@example.com']\nnetwork = 'xmpp'\njid = 'a@j.example'\npassword_file = 'pw'\n",
	})
	s, errs := Load(path, nil, nothingWrong)
	if errs != nil {
		t.Fatal(errs)
	}
	if c := s.Bridge.XMPP; c == nil || c.Address[0] != "127.0.0.1:5269" || c.Hold != time.Second || c.Line == 0 {
		t.Errorf("[bridge.xmpp] = %+v", s.Bridge.XMPP)
	}
	if s.NoBridges || !s.Bridges.May("alice@example.com", "xmpp", true).Allowed() || s.Bridges.May("alice@example.com", "xmpp", false).Allowed() {
		t.Error("alice may not be reached, or may reach others")
	}
	if a := s.Bridges.Accounts("xmpp"); len(a) != 1 || !strings.HasSuffix(a[0].PasswordFile, "/pw") {
		t.Errorf("accounts %+v, want one whose password lies beside the files", a)
	}
	s, errs = Load(folder(t, map[string]string{"sipedge.toml": mainFile}), nil, nothingWrong)
	if errs != nil || s.Bridge.XMPP != nil || !s.NoBridges || s.Bridges.May("alice@example.com", "xmpp", true).Allowed() {
		t.Errorf("without sections and file: %+v, %v", s, errs)
	}
}

func TestFaultsOfBridgesAreListedWithTheOthers(t *testing.T) {
	path := folder(t, map[string]string{
		"sipedge.toml": mainFile + "\n[bridge.xmpp]\nadress = 1\n[bridge.icq]\n",
		"bridges.toml": "[user.'alice@fabrikam.example']\n[user.bob]\ninbound = ['icq']\n",
	})
	_, errs := Load(path, nil, nothingWrong)
	var got []string
	for _, text := range texts(errs) {
		_, fault, _ := strings.Cut(text, ": ")
		got = append(got, fault)
	}
	want := []string{
		`unknown key "adress" in [bridge.xmpp]; did you mean "address"?`,
		`unknown section "icq" in [bridge]; there is [bridge.xmpp]`,
		`user "alice@fabrikam.example": fabrikam.example is no domain of ours`,
		`user "bob": inbound "icq" is no network; there is "xmpp"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("faults (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func TestListsAreNotJudgedWithoutOurDomains(t *testing.T) {
	for name, main := range map[string]string{
		"no such file":     "",
		"a broken one":     "name = edge1.example.com\n" + mainFile,
		"domains a string": "domains = 'example.com'\n",
	} {
		files := map[string]string{
			"partners.toml": "[partner.'fabrikam.example']\nmethod = ['MESSAGE']\n",
			"remote.toml":   "[user.'alice@example.com']\nallow = true\n",
			"bridges.toml":  "[user.'alice@example.com']\ninbound = ['xmpp']\n",
		}
		if main != "" {
			files["sipedge.toml"] = main
		}
		dir := folder(t, files)
		if main == "" {
			dir = filepath.Join(filepath.Dir(dir), "sipedge.toml")
		}
		_, errs := Load(dir, nil, nothingWrong)
		lines := strings.Join(texts(errs), "\n")
		if len(errs) != 2 || strings.Contains(lines, "no domain of ours") || !strings.Contains(lines, `unknown key "method"`) {
			t.Errorf("%s: want the fault of the main file and the misspelt key, got\n%s", name, lines)
		}
	}
}

func TestBridgesFollowTheirFileAndDecisions(t *testing.T) {
	yes := true
	var mu sync.Mutex
	var decided bridges.With
	applied := make(chan *bridges.Policy, 100)
	path := folder(t, map[string]string{"sipedge.toml": mainFile, "bridges.toml": "[user.'alice@example.com']\noutbound = ['xmpp']\n"})
	s, errs := Load(path, func(edge.Config) (Decisions, error) {
		return Decisions{Bridges: func() bridges.With { mu.Lock(); defer mu.Unlock(); return decided }}, nil
	}, nothingWrong)
	if errs != nil {
		t.Fatal(errs)
	}
	var log syncLog
	w := NewWatcher(s, Apply{Bridges: func(p *bridges.Policy) { applied <- p }}, slog.New(slog.NewTextHandler(&log, nil)))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	now := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx, now)
	}()
	defer func() { stop(); <-done }()
	may := func(user string) bool { return w.Bridges().May(user, "xmpp", false).Allowed() }
	if !may("alice@example.com") || may("bob@example.com") {
		t.Error("the file is not in force at the start")
	}
	mu.Lock()
	decided.Decisions = []bridges.Decision{{User: "bob@example.com", Network: "xmpp", Outbound: &yes, At: time.Now()}}
	mu.Unlock()
	if err := w.RefreshBridges(); err != nil || !may("bob@example.com") {
		t.Errorf("a decision is not in force: %v", err)
	}
	<-applied
	write := func(text string) {
		if err := os.WriteFile(s.BridgesPath, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		now <- struct{}{}
		now <- struct{}{} // the one before is done
	}
	write("[user.alice]\noutbound = ['nothing']\n")
	if !may("alice@example.com") || len(w.BridgesFaults()) != 1 {
		t.Errorf("a bad file: faults %v; the last good one should stay", w.BridgesFaults())
	}
	write("[user.alice]\noutbound = []\n")
	if <-applied; may("alice@example.com") || !may("bob@example.com") {
		t.Error("a good file is not in force, or the decision is not any more")
	}
	if err := os.Remove(s.BridgesPath); err != nil {
		t.Fatal(err)
	}
	now <- struct{}{}
	now <- struct{}{}
	if <-applied; may("alice@example.com") || !may("bob@example.com") || !strings.Contains(log.String(), "bridges gone") {
		t.Errorf("without the file only decisions should count; log:\n%s", log.String())
	}
}

// A syncLog is a log that is read while it is written.
type syncLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *syncLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *syncLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
