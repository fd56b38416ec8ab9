package federation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/store"
)

// open gives f a Discovery on the store in dir, as after a start.
func (f *finder) open(dir string, log *slog.Logger) *store.Store {
	f.t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { s.Close() })
	found, made, err := Buckets(s)
	if err != nil {
		f.t.Fatal(err)
	}
	if f.Discovery, err = OpenDiscovery(found, made, log); err != nil {
		f.t.Fatal(err)
	}
	return s
}

// crash copies the store as it is on the disk now, as if the edge ended here.
func crash(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

var quiet = slog.New(slog.DiscardHandler)

func TestAllIsRememberedAcrossARestart(t *testing.T) {
	f := newFinder(t)
	dir := t.TempDir()
	s := f.open(dir, quiet)
	f.lim.Addresses = 50
	f.harvest("talks.example", 49)
	f.take("im.talks.example", "user3")
	f.harvest("watched.example", 51)
	f.harvest("ignored.example", 51)
	f.take("suspicious.example", "alice")
	f.answers("suspicious.example", 30, 404)
	f.Knock([]byte("knocks.example"), f.id, f.now)
	f.decide("ignored.example", ActionIgnore)
	f.decide("blocked.example", ActionBlock)
	f.decide("taken-back.example", ActionBlock)
	if err := f.Revoke("taken-back.example"); err != nil {
		t.Fatal(err)
	}
	if err := f.flush(); err != nil {
		t.Fatal(err)
	}
	records, decisions := f.Records(), f.Decisions()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	f.open(dir, quiet)
	if diff := cmp.Diff(records, f.Records()); diff != "" {
		t.Errorf("records (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(decisions, f.Decisions()); diff != "" {
		t.Errorf("decisions (-before +after):\n%s", diff)
	}
	f.consistent()
	f.now = f.now.Add(time.Second)
	f.wants("watched.example", "user1", allowlists.PartnerWatched)
	f.wants("talks.example", "user7", "") // still known
	f.wants("talks.example", "the 50th", "")
	f.wants("talks.example", "the 51st", allowlists.PartnerWatched)
	f.wants("suspicious.example", "alice", "")
	f.wants("suspicious.example", "alice", allowlists.PartnerLimit)
	if got := passed(100, func() bool { return f.take("ignored.example", "alice").Allowed() }); got != 20 {
		t.Errorf("%d of who was ignored pass, want 20", got)
	}
}

// A decision is on the disk when Decide returns, whatever becomes of the edge.
func TestADecisionOutlivesACrash(t *testing.T) {
	f := newFinder(t)
	dir := t.TempDir()
	f.open(dir, quiet)
	f.lim.Addresses = 1
	f.harvest("evil.example", 2)
	f.harvest("worse.example", 2)
	f.harvest("curious.example", 1)
	if err := f.flush(); err != nil {
		t.Fatal(err)
	}
	f.decide("curious.example", ActionIgnore)
	f.now = f.now.Add(time.Minute)
	f.decide("evil.example", ActionIgnore)
	want := Decision{Domain: "card.example", Action: ActionAllow, At: f.now, By: "uid 0", Note: "by card", Partner: &PartnerConfig{
		Servers: []string{"edge.card.example:5061"}, Methods: []string{"MESSAGE"}, Until: Date{2027, time.January, 31}, Owner: "anna", Rate: 2.5,
	}}
	if err := f.Decide(want); err != nil {
		t.Fatal(err)
	}
	f.decide("gone.example", ActionBlock)
	if err := f.Revoke("gone.example"); err != nil {
		t.Fatal(err)
	}

	f.open(crash(t, dir), quiet)
	if got := f.Decisions(); len(got) != 3 || cmp.Diff(want, got[0]) != "" {
		t.Errorf("decisions (-want +got):\n%s", cmp.Diff(want, got[0]))
	}
	f.wants("evil.example", "alice", "")
	f.wants("curious.example", "another", "")
	f.wants("worse.example", "alice", allowlists.PartnerWatched)
	f.consistent()
}

// The edge may end when a decision is on the disk, and what it does to the watch
// list is not.
func TestADecisionIsCarriedOutAfterACrash(t *testing.T) {
	f := newFinder(t)
	dir := t.TempDir()
	f.open(dir, quiet)
	f.lim.Addresses = 1
	f.harvest("evil.example", 2)
	f.harvest("again.example", 2)
	if err := f.keep(&Decision{Domain: "again.example", Action: ActionIgnore, At: noon}); err != nil { // before it was watched
		t.Fatal(err)
	}
	if err := f.keep(&Decision{Domain: "evil.example", Action: ActionIgnore, At: f.now}); err != nil {
		t.Fatal(err)
	}
	if err := f.flush(); err != nil {
		t.Fatal(err)
	}
	f.open(crash(t, dir), quiet)
	f.state("evil.example", StateIgnored)
	f.state("again.example", StateWatched)
	f.consistent()
}

func TestAddressesAreNotKept(t *testing.T) {
	f := newFinder(t)
	dir := t.TempDir()
	f.open(dir, quiet)
	f.take("fabrikam.example", "alice.secret")
	if err := f.flush(); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "secret@") || strings.Contains(string(data), "alice") {
			t.Errorf("%s has the address", path)
		}
		files += strings.Count(string(data), "fabrikam.example\t")
		return err
	})
	if err != nil || files != 2 {
		t.Errorf("%d records of the partner and its owner, want 2; %v", files, err)
	}
}

func TestRunWritesBehindTheDataPath(t *testing.T) {
	f := newFinder(t)
	dir := t.TempDir()
	f.open(dir, quiet)
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			f.Run(ctx)
			close(done)
		}()
		f.take("first.example", "alice")
		time.Sleep(2 * flushEvery)
		synctest.Wait()
		g := &finder{t: t}
		g.open(crash(t, dir), quiet)
		g.state("first.example", StateTalking)

		f.take("last.example", "alice")
		stop()
		<-done
		g.open(crash(t, dir), quiet)
		g.state("last.example", StateTalking)
	})
}

// When the disk takes nothing, the edge goes on, says so once, and writes all
// when it can.
func TestADiskThatTakesNothing(t *testing.T) {
	f := newFinder(t)
	dir := t.TempDir()
	var out bytes.Buffer
	f.open(dir, slog.New(slog.NewTextHandler(&out, nil)))
	inTheWay := filepath.Join(dir, "discovered.journal.new")
	if err := os.Mkdir(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		go f.Run(ctx)
		f.take("first.example", "alice")
		time.Sleep(5 * flushEvery)
		f.wants("second.example", "alice", "")
		synctest.Wait()
		if err := os.Remove(inTheWay); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * flushEvery)
		stop()
		synctest.Wait()
	})
	if got := strings.Count(out.String(), "discovered partners not written"); got != 1 {
		t.Errorf("said so %d times, want once:\n%s", got, out.String())
	}
	g := &finder{t: t}
	g.open(crash(t, dir), quiet)
	g.state("first.example", StateTalking)
	g.state("second.example", StateTalking)
}

// What could not be written is not taken for written.
func TestAFailedFlushIsTriedAgain(t *testing.T) {
	f := newFinder(t)
	dir := t.TempDir()
	s := f.open(dir, quiet)
	f.take("first.example", "alice")
	if err := f.flush(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	f.take("first.example", "bob")
	for range 2 {
		if err := f.flush(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("flush to a closed store: %v", err)
		}
		f.owners["first.example"].dirty = false // so that the next fails at the record
	}
	if !f.records["first.example"].dirty {
		t.Error("the record is taken for written")
	}
	for _, err := range []error{
		f.Decide(Decision{Domain: "first.example", Action: ActionAllow, At: noon}),
		f.keep(&Decision{Domain: "first.example"}),
	} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("a decision that cannot be kept: %v", err)
		}
	}
	f.state("first.example", StateTalking)
}

// What drove somebody out of the table drives it out of the store.
func TestTheStoreIsBounded(t *testing.T) {
	f := newFinder(t)
	s := f.open(t.TempDir(), quiet)
	bucket, _, err := Buckets(s)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 5 {
		for i := range 700 {
			f.now = f.now.Add(time.Millisecond)
			f.take(fmt.Sprintf("t%d-%d.example", round, i), "alice")
			f.Knock(fmt.Appendf(nil, "k%d-%d.example", round, i), f.id, f.now)
		}
		if err := f.flush(); err != nil {
			t.Fatal(err)
		}
		if err := f.flush(); err != nil {
			t.Fatal(err)
		}
		want := len(f.records) + 1
		for _, o := range f.owners {
			if o.saved { // who only knocked has no limits to keep
				want++
			}
		}
		if got := bucket.Len(); got != want {
			t.Errorf("%d records in the store, want %d", got, want)
		}
	}
}

func TestDecisionsAreBounded(t *testing.T) {
	f := newFinder(t)
	for i := range maxDecisions {
		f.decide(fmt.Sprintf("d%d.example", i), ActionBlock)
	}
	f.decide("d7.example", ActionAllow)
	if err := f.Decide(Decision{Domain: "more.example", Action: ActionBlock, At: noon}); !errors.Is(err, store.ErrFull) {
		t.Errorf("one more: %v, want %v", err, store.ErrFull)
	}
}

// What somebody wrote into the store, or a disk made of it, costs what it is
// about and nothing else.
func TestAStoreWithNonsense(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	found, made, err := Buckets(s)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		"domain/good.example":        `{"first_seen":"2026-01-02T03:04:05Z","last_seen":"2026-01-02T03:04:05Z","messages":1}`,
		"owner/good.example":         `{"asked":"AAAAAAAAAAIAAAAAAAAAAQAAAAAAAAABAAAA","addressees":-7,"good":-1,"failed":1e300}`,
		"owner/lonely.example":       `{}`,
		"domain/not json.example":    `{`,
		"domain/text.example":        `{"messages":"many"}`,
		"domain/":                    `{}`,
		"domain/with space .example": `{}`,
		"owner/bad.example":          `[]`,
		"domain/bad.example":         `{}`,
		"secret":                     "short",
		"whatever":                   "",
	} {
		if err := found.Put(key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	for key, value := range map[string]string{
		"good.example":  `{"domain":"good.example","action":"block","at":"2026-01-02T03:04:05Z"}`,
		"other.example": `{"domain":"evil.example","action":"allow","at":"2026-01-02T03:04:05Z"}`,
		"maybe.example": `{"domain":"maybe.example","action":"maybe","at":"2026-01-02T03:04:05Z"}`,
		"json.example":  `"allow"`,
	} {
		if err := made.Put(key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	f := newFinder(t)
	var out bytes.Buffer
	f.open(dir, slog.New(slog.NewTextHandler(&out, nil)))
	f.consistent()
	if r := f.state("good.example", StateBlocked); r.Addressees != 2 || r.Messages != 1 {
		t.Errorf("record %+v", r)
	}
	if got := len(f.Records()); got != 2 {
		t.Errorf("%d records, want 2", got)
	}
	for _, d := range f.Decisions() {
		if d.Action != ActionBlock { // what cannot be read may have been one
			t.Errorf("%s: %s", d.Domain, d.Action)
		}
	}
	if got := len(f.Decisions()); got != 4 {
		t.Errorf("%d decisions, want 4", got)
	}
	if got := strings.Count(out.String(), "not read"); got != 8 {
		t.Errorf("%d lines in the log, want 8:\n%s", got, out.String())
	}
	f.wants("new.example", "alice", "")
	if err := f.flush(); err != nil {
		t.Error(err)
	}
}

// What damage to decisions took away may have been a block, and what an older line
// says may have been taken back.
func TestDamagedDecisionsOpenNoDoor(t *testing.T) {
	dir := t.TempDir()
	f := newFinder(t)
	s := f.open(dir, quiet)
	f.decide("a.example", ActionBlock)
	f.decide("b.example", ActionAllow)
	f.decide("b.example", ActionBlock)
	s.Close()
	path := filepath.Join(dir, "decisions.journal")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The line about a.example tells of another domain, the last is damaged.
	data = bytes.Replace(data, []byte("a.example"), []byte("c.example"), 1)
	at := bytes.LastIndex(data, []byte("block"))
	data[at] = 'B'
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		var out bytes.Buffer
		s := f.open(dir, slog.New(slog.NewTextHandler(&out, nil)))
		if strings.Contains(out.String(), "decisions were damaged") != (i < 2) {
			t.Errorf("start %d: the log says %q", i, out.String())
		}
		if i < 2 {
			f.wants("a.example", "alice", allowlists.PartnerNotAllowed)
			f.wants("new.example", "alice", allowlists.PartnerNotAllowed)
		} else {
			f.wants("new.example", "alice", "")
		}
		for _, d := range f.Decisions() {
			if d.Action != ActionBlock {
				t.Errorf("start %d: %s: %s", i, d.Domain, d.Action)
			}
		}
		s.Close()
		if i == 1 {
			if err := os.Remove(filepath.Join(dir, "decisions.damaged-1")); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The record of who is watched may be damaged, or not be written yet.
func TestAWatchOutlivesTheRecordOfItsDomain(t *testing.T) {
	f := newFinder(t)
	dir := t.TempDir()
	s := f.open(dir, quiet)
	f.lim.Addresses = 1
	f.harvest("im.evil.example", 2)
	if err := f.flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.bucket.Delete(recordPrefix + "im.evil.example"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	for range 2 {
		s := f.open(dir, quiet)
		f.consistent()
		f.wants("im.evil.example", "alice", allowlists.PartnerWatched)
		f.wants("evil.example", "alice", allowlists.PartnerWatched)
		f.state("evil.example", StateWatched)
		if err := f.flush(); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
}

// What is damaged of somebody may have been that he is watched.
func TestWhoMayHaveBeenWatchedIs(t *testing.T) {
	f := newFinder(t)
	dir := t.TempDir()
	s := f.open(dir, quiet)
	f.lim.Addresses = 2
	f.harvest("evil.example", 1)
	f.harvest("good.example", 1)
	if err := f.flush(); err != nil {
		t.Fatal(err)
	}
	f.harvest("evil.example", 3)
	if err := f.flush(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	path := filepath.Join(dir, "discovered.journal")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(data, []byte(`"watched"`))
	data[at+1] = 'W'
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s := f.open(dir, quiet)
		f.consistent()
		f.wants("evil.example", "alice", allowlists.PartnerWatched)
		f.wants("good.example", "user0", "")
		if err := f.flush(); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
}

func TestADamagedStoreIsReported(t *testing.T) {
	dir := t.TempDir()
	f := newFinder(t)
	s := f.open(dir, quiet)
	f.decide("a.example", ActionBlock)
	f.decide("b.example", ActionBlock)
	s.Close()
	path := filepath.Join(dir, "decisions.journal")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(data, []byte("block"), []byte("allow"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	f.open(dir, slog.New(slog.NewTextHandler(&out, nil)))
	if !strings.Contains(out.String(), "store damaged") || len(f.Decisions()) != 2 {
		t.Errorf("%d decisions, and the log says %q", len(f.Decisions()), out.String())
	}
}

// FuzzDiscovery does what strangers and administrators may do in any order, on
// small tables. What must hold holds after each step, and a restart changes
// nothing.
func FuzzDiscovery(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x00\x41\x02\x00\x81\x02\x07\x00\x00"))
	f.Add([]byte("\x00\x01\x01\x00\x01\x02\x00\x01\x03\x00\x01\x04\x04\x01\x02\x07\x00\x00\x00\x01\x05\x05\x01\x00"))
	f.Add(bytes.Repeat([]byte("\x00\x00\x01\x01\x33\x07\x06\x10\x03\x02\x55\x01"), 20))
	id := newIssuer(f).names("fabrikam.example")
	f.Fuzz(func(t *testing.T, steps []byte) {
		d, err := OpenDiscovery(nil, nil, quiet)
		if err != nil {
			t.Fatal(err)
		}
		g := &finder{Discovery: d, t: t, id: id, now: noon, lim: DiscoveryLimits{Rate: 3, SuspiciousRate: 1, Addresses: 4}}
		g.bounds = [classes]int{5, 7, 3, maxDecisions}
		restart := len(steps)%8 == 0 // it takes much longer than all else
		for len(steps) >= 3 && !t.Failed() {
			g.step(steps[0], steps[1], steps[2])
			steps = steps[3:]
			g.consistent()
		}
		if restart {
			g.restarted()
		}
	})
}

// restarted writes all down and compares it with what is read.
func (f *finder) restarted() {
	s, err := store.Open(f.t.TempDir())
	if err != nil {
		f.t.Fatal(err)
	}
	defer s.Close()
	found, made, err := Buckets(s)
	if err != nil {
		f.t.Fatal(err)
	}
	f.bucket, f.decided = found, made
	for _, what := range f.Decisions() {
		if err := f.keep(&what); err != nil {
			f.t.Fatal(err)
		}
	}
	if err := f.flush(); err != nil {
		f.t.Fatal(err)
	}
	again, err := OpenDiscovery(found, made, quiet)
	if err != nil {
		f.t.Fatal(err)
	}
	if diff := cmp.Diff(f.Records(), again.Records()); diff != "" {
		f.t.Errorf("after a restart (-before +after):\n%s", diff)
	}
}

// step does one thing.
func (f *finder) step(what, where, who byte) {
	owner := fmt.Sprintf("o%d.example", where%32)
	domain := owner
	if where >= 32 {
		domain = fmt.Sprintf("n%d.%s", where/32, owner)
	}
	f.now = f.now.Add(time.Duration(who) * time.Millisecond)
	switch what % 8 {
	case 0, 1:
		f.take(domain, fmt.Sprint("user", who%8))
	case 2:
		f.take(domain, "")
	case 3:
		f.Knock([]byte(domain), f.id, f.now)
	case 4:
		f.answers(domain, int(who%16), 200+204*int(who/128))
	case 5:
		f.decide(domain, []Action{ActionAllow, ActionBlock, ActionIgnore}[who%3])
	case 6:
		if err := f.Revoke(domain); err != nil && !errors.Is(err, ErrNoDecision) {
			f.t.Error(err)
		}
	case 7:
		f.now = f.now.Add(time.Duration(who) * time.Minute)
	}
}
