package remoteaccess

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/store"
)

func TestDecisionsAreKept(t *testing.T) {
	dir := t.TempDir()
	bucket, _, st := buckets(t, dir)
	d := OpenDecisions(bucket, slog.New(slog.DiscardHandler))
	for _, what := range []Decision{decide("Dave@Example.com", true), decide("sally@example.com", true), decide("SALLY@example.com", false), decide("erin@example.com", true)} {
		if err := d.Decide(what); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Revoke("ERIN@example.com"); err != nil {
		t.Fatal(err)
	}
	if err := d.Revoke("erin@example.com"); !errors.Is(err, ErrNoDecision) {
		t.Errorf("Revoke of none: %v", err)
	}
	st.Close()
	bucket, _, st = buckets(t, dir)
	defer st.Close()
	for _, d := range []*Decisions{d, OpenDecisions(bucket, slog.New(slog.DiscardHandler))} {
		list := d.List()
		if len(list) != 2 || list[0] != decide("dave@example.com", true) || list[1] != decide("sally@example.com", false) || d.Shut() != "" {
			t.Errorf("List = %+v", list)
		}
	}
	var none *Decisions
	if w := none.With(); w.Decisions != nil || w.Shut != "" {
		t.Errorf("no decisions say %+v", w)
	}
}

func TestADecisionAboutANameThatNeedsEscapesIsKept(t *testing.T) {
	dir := t.TempDir()
	bucket, _, st := buckets(t, dir)
	names := []string{"alice%20smith@example.com", "alice%C2%A0@example.com", "%20%A0@example.com", "%2A97@example.com", "jürgen@example.com", strings.Repeat("%20", maxUser) + "@example.com"}
	d := OpenDecisions(bucket, slog.New(slog.DiscardHandler))
	for _, name := range names {
		if err := d.Decide(decide(name, false)); err != nil {
			t.Fatal(err)
		}
	}
	st.Close()
	bucket, _, st = buckets(t, dir)
	defer st.Close()
	d = OpenDecisions(bucket, slog.New(slog.DiscardHandler))
	for _, name := range names {
		if !slices.Contains(d.List(), decide(name, false)) {
			t.Errorf("what was decided about %.40s is lost", name)
		}
	}
	a, errs := Compile(File{}, []string{"example.com"}, d.With())
	if errs != nil || len(a.decided) != len(names) {
		t.Errorf("%d decisions of %d are in force, %v", len(a.decided), len(names), errs)
	}
}

func TestWhatIsNoDecisionIsRefused(t *testing.T) {
	d := OpenDecisions(nil, slog.New(slog.DiscardHandler))
	d.most = 1
	long := decide("a@example.com", true)
	long.Note = strings.Repeat("x", maxNote+1)
	for want, what := range map[string]Decision{
		"a pattern is not one user": decide("a*@example.com", true),
		"has no domain":             decide("alice", true),
		"not a user":                decide("sip:alice@example.com", true),
		"not a domain name":         decide("alice@exa mple", true),
		"too long to be an address": decide(strings.Repeat("a", allowlists.MaxAddress)+"@example.com", true),
		"needs its time":            {User: "a@example.com"},
		"note of a decision":        long,
	} {
		if err := d.Decide(what); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", what.User, err, want)
		}
	}
	if err := d.Decide(decide("a@example.com", true)); err != nil {
		t.Fatal(err)
	}
	if err := d.Decide(decide("b@example.com", false)); !errors.Is(err, store.ErrFull) {
		t.Errorf("one more than there may be: %v", err)
	}
	if err := d.Decide(decide("a@example.com", false)); err != nil {
		t.Errorf("another about the same user: %v", err)
	}
}

func TestADamagedDecisionDenies(t *testing.T) {
	dir := t.TempDir()
	bucket, _, st := buckets(t, dir)
	d := OpenDecisions(bucket, slog.New(slog.DiscardHandler))
	for _, user := range []string{"alice@example.com", "bob@example.com", "carol@example.com"} {
		if err := d.Decide(decide(user, true)); err != nil {
			t.Fatal(err)
		}
	}
	if err := bucket.Put("dave@example.com", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	st.Close()
	files, _ := filepath.Glob(filepath.Join(dir, "remote-decisions*"))
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.Replace(data, []byte(`bob@example.com`), []byte(`bob@exbmple.com`), 1)
	if err := os.WriteFile(files[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	bucket, _, st = buckets(t, dir)
	defer st.Close()
	d = OpenDecisions(bucket, slog.New(slog.DiscardHandler))
	if d.Shut() == "" {
		t.Error("nobody is told that decisions are missing")
	}
	a := compile(t, company(), d.With())
	for address, want := range map[string]bool{
		"alice@example.com": true, "carol@example.com": true, "dave@example.com": false, "bob@example.com": true, "sally@example.com": false,
	} {
		if got := a.terms(address); got.Allow != want {
			t.Errorf("%s: %v by %s", address, got.Allow, got.Rule)
		}
	}
}
