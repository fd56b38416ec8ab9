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

	"github.com/sipedge/sipedge/federation"
)

// watched is a folder under watch, in a bubble of made-up time.
type watched struct {
	t       *testing.T
	path    string // of partners.toml
	now     chan struct{}
	log     *bytes.Buffer
	watcher *Watcher

	mu      sync.Mutex // guards what follows
	current *federation.Partners
	applied int
}

func watch(t *testing.T, partners string) *watched {
	path := folder(t, map[string]string{"sipedge.toml": `domains = ["example.com"]`, "partners.toml": partners})
	s, errs := Load(path, nil, nothingWrong)
	if errs != nil {
		t.Fatal(errs)
	}
	w := &watched{t: t, path: s.PartnersPath, now: make(chan struct{}), log: new(bytes.Buffer), current: s.Partners}
	apply := func(p *federation.Partners) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.current, w.applied = p, w.applied+1
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	w.watcher = NewWatcher(s, Apply{Partners: apply}, slog.New(slog.NewTextHandler(w.log, nil)))
	go func() {
		defer close(done)
		w.watcher.Run(ctx, w.now)
	}()
	t.Cleanup(func() { stop(); <-done })
	return w
}

// after lets time pass and says how many partners there are.
func (w *watched) after(d time.Duration) int {
	time.Sleep(d) // of the bubble
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	n, _ := w.current.Len()
	return n
}

const onePartner, twoPartners = "[partner.'a.example']\n", "[partner.'a.example']\n[partner.'b.example']\n"

func TestAChangedListIsInForceWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, twoPartners)
		if n := w.after(time.Minute); n != 2 || w.applied != 0 {
			t.Errorf("%d partners after %d reloads, want the 2 that there were", n, w.applied)
		}
		put(t, w.path, onePartner)
		if n := w.after(time.Second); n != 1 {
			t.Errorf("%d partners after a second, want 1", n)
		}
		if n := w.after(time.Minute); n != 1 || w.applied != 1 {
			t.Errorf("read %d times, want once", w.applied)
		}
	})
}

func TestABadListIsRefusedWholeAndTheLastGoodOneStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, twoPartners)
		put(t, w.path, "[partner.'c.example']\nbad = 1\nworse = 2\n")
		if n := w.after(time.Minute); n != 2 || w.applied != 0 {
			t.Errorf("%d partners after %d reloads, want the 2 that there were", n, w.applied)
		}
		if got := strings.Count(w.log.String(), "partners faulty"); got != 2 {
			t.Errorf("%d faults in the log, want 2, once each:\n%s", got, w.log)
		}
		if !strings.Contains(w.log.String(), `msg="partners not reloaded" faults=2`) {
			t.Errorf("the log does not say what became of it:\n%s", w.log)
		}
		put(t, w.path, onePartner)
		if n := w.after(time.Second); n != 1 {
			t.Errorf("%d partners after the repair, want 1", n)
		}
	})
}

func TestAListThatIsBeingWrittenIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, onePartner)
		f, err := os.OpenFile(w.path, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i := range 20 {
			if _, err := f.WriteString("[partner.'p" + strings.Repeat("x", i+1) + ".example']\n"); err != nil {
				t.Fatal(err)
			}
			if n := w.after(pollEvery); n != 1 {
				t.Fatalf("%d partners while the file is being written, want the 1 that there was", n)
			}
		}
		if n := w.after(time.Second); n != 20 || w.applied != 1 {
			t.Errorf("%d partners after %d reloads, want 20 after 1", n, w.applied)
		}
	})
}

func TestAListThatVanishesChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, onePartner)
		if err := os.Remove(w.path); err != nil {
			t.Fatal(err)
		}
		if n := w.after(time.Minute); n != 1 || strings.Count(w.log.String(), "partners not reloaded") != 1 {
			t.Errorf("%d partners, want 1, and to be told once:\n%s", n, w.log)
		}
		put(t, w.path, "")
		if n := w.after(time.Second); n != 0 {
			t.Errorf("%d partners in an empty file", n)
		}
	})
}

func TestASignalReadsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, onePartner)
		put(t, w.path, twoPartners)
		w.now <- struct{}{}
		if n := w.after(0); n != 2 {
			t.Errorf("%d partners, want 2", n)
		}
		w.now <- struct{}{}
		if w.after(0); w.applied != 2 {
			t.Errorf("a signal without change was not taken")
		}
		if n := w.after(time.Minute); n != 2 || w.applied != 2 {
			t.Errorf("read %d times, want 2", w.applied)
		}
	})
}

func TestAFileFullOfFaultsDoesNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, onePartner)
		w.after(time.Second)
		put(t, w.path, strings.Repeat("nonsense = 1\n", 10_000))
		w.after(time.Second)
		if n := strings.Count(w.log.String(), "\n"); n != mostFaults+1 {
			t.Errorf("%d lines in the log, want %d", n, mostFaults+1)
		}
	})
}
