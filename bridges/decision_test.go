package bridges_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/store"
)

func openDecisions(t *testing.T, dir string) (*bridges.Decisions, *store.Store, *bytes.Buffer) {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	bucket, err := bridges.DecisionsBucket(s)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	return bridges.OpenDecisions(bucket, slog.New(slog.NewTextHandler(&log, nil))), s, &log
}

func TestDecisionsAreThereAfterARestart(t *testing.T) {
	yes, no := true, false
	dir := t.TempDir()
	d, s, _ := openDecisions(t, dir)
	first := decided("Alice@Example.com", &yes, nil)
	if err := d.Decide(first); err != nil {
		t.Fatal(err)
	}
	have, ok := d.Of("alice@example.com", "xmpp")
	if !ok {
		t.Fatal("the decision is not kept under the address as it is compared")
	}
	// What is left open stays as it was decided before.
	if err := d.Decide(decided("alice@example.com", nil, &no).Over(have)); err != nil {
		t.Fatal(err)
	}
	if err := d.Decide(decided("bob@example.com", &no, &no)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	d, _, _ = openDecisions(t, dir)
	list := d.List()
	if len(list) != 2 || !*list[0].Inbound || *list[0].Outbound || *list[1].Inbound {
		t.Errorf("after a restart: %+v", list)
	}
	if got := list[0].String(); got != "allow xmpp inbound and deny it outbound for alice@example.com" {
		t.Errorf("String = %q", got)
	}
	if err := d.Revoke("ALICE@example.com", "xmpp"); err != nil {
		t.Error(err)
	}
	if err := d.Revoke("alice@example.com", "xmpp"); !errors.Is(err, bridges.ErrNoDecision) {
		t.Errorf("Revoke again = %v, want ErrNoDecision", err)
	}
	if len(d.List()) != 1 {
		t.Errorf("%d decisions are left, want 1", len(d.List()))
	}
}

func TestWhatIsNoDecisionIsRefused(t *testing.T) {
	yes := true
	var d *bridges.Decisions
	if d.List() != nil || d.Shut() != "" {
		t.Error("no decisions are some")
	}
	d = bridges.OpenDecisions(nil, slog.New(slog.DiscardHandler))
	good := decided("alice@example.com", &yes, nil)
	for name, change := range map[string]func(*bridges.Decision){
		"a pattern":     func(d *bridges.Decision) { d.User = "*@example.com" },
		"no domain":     func(d *bridges.Decision) { d.User = "alice" },
		"no network":    func(d *bridges.Decision) { d.Network = "icq" },
		"no direction":  func(d *bridges.Decision) { d.Inbound = nil },
		"no time":       func(d *bridges.Decision) { d.At = time.Time{} },
		"a long note":   func(d *bridges.Decision) { d.Note = strings.Repeat("x", 2000) },
		"a long author": func(d *bridges.Decision) { d.By = strings.Repeat("x", 2000) },
		"a long user":   func(d *bridges.Decision) { d.User = strings.Repeat("x", 2000) + "@example.com" },
	} {
		bad := good
		change(&bad)
		if d.Decide(bad) == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := d.Decide(good); err != nil {
		t.Error(err)
	}
}

func TestADecisionThatCannotBeReadDenies(t *testing.T) {
	yes := true
	dir := t.TempDir()
	d, s, _ := openDecisions(t, dir)
	for _, name := range []string{"alice@example.com", "bob@example.com"} {
		if err := d.Decide(decided(name, &yes, &yes)); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	path := filepath.Join(dir, "bridge-decisions.journal")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(data, []byte(`"inbound":true`))
	data[i+2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	d, _, log := openDecisions(t, dir)
	p := compile(t, bridges.File{Default: lists(xmpp, xmpp)}, d.With())
	if p.May("alice@example.com", "xmpp", true).Allowed() || p.May("carol@example.com", "xmpp", true).Allowed() || !p.May("bob@example.com", "xmpp", true).Allowed() {
		t.Errorf("alice, whose decision is damaged, or carol, who may have been denied, may; or bob may not:\n%s", log)
	}
	if d.Shut() == "" || !strings.Contains(log.String(), "decisions about bridges were damaged") {
		t.Errorf("Shut = %q; log:\n%s", d.Shut(), log)
	}
}
