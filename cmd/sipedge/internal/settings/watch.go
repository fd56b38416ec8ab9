package settings

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/sipedge/sipedge/federation"
)

// pollEvery is how often the list of partners is looked at. A change is taken
// when two looks in a row found the same, so a partner that was taken off is out
// within half a second and the time that reading takes.
const pollEvery = 250 * time.Millisecond

// A Watcher keeps the partners in force: those of the file, as administrators
// have decided beside it, on this day. It makes them anew when the file changes,
// when something was decided and when an end date comes.
//
// A bad file is refused whole, and the last good one stays, also under what is
// decided then; so it does when the file vanishes, which is an accident more
// often than a wish (an empty file is the way to say "nobody").
type Watcher struct {
	Path      string
	Own       []string // our domains
	Decisions Decisions
	Apply     func(*federation.Partners)
	Log       *slog.Logger

	taken stamp     // of the file that was read last, good or bad
	seen  stamp     // of the last look
	retry time.Time // dates are not tried again before

	mu       sync.Mutex // held while lists are made and put in force, so that the last one made is
	good     list       // guarded by mu; the last good file
	partners *federation.Partners
}

// A stamp tells one state of a file from another without reading it.
type stamp struct {
	info fs.FileInfo // nil: no such file
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{info}
}

// same reports whether nothing has happened to the file. Editors that put a new
// file in its place are known by the file's identity, those that write into it
// by its time and size.
func (s stamp) same(o stamp) bool {
	if s.info == nil || o.info == nil {
		return s.info == nil && o.info == nil
	}
	return os.SameFile(s.info, o.info) && s.info.Size() == o.info.Size() && s.info.ModTime().Equal(o.info.ModTime())
}

// NewWatcher watches the partners of s from the state in which they were read.
// They are in force; apply puts others there.
func NewWatcher(s *Settings, apply func(*federation.Partners), log *slog.Logger) *Watcher {
	return &Watcher{
		Path: s.PartnersPath, Own: s.Edge.Domains, Decisions: s.decisions, Apply: apply, Log: log,
		seen: s.stamp, taken: s.stamp, good: s.list, partners: s.Partners,
	}
}

// Run watches until ctx ends. What comes on now makes it read at once, changed
// or not.
func (w *Watcher) Run(ctx context.Context, now <-chan struct{}) {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-now:
			w.reload(stampOf(w.Path))
		case <-poll.C:
			w.look()
			w.dates()
		}
	}
}

// look reads the file if it has changed and come to rest: one that is still
// being written would be refused, or worse, be good and half.
func (w *Watcher) look() {
	found := stampOf(w.Path)
	rests := found.same(w.seen)
	w.seen = found
	if rests && !found.same(w.taken) {
		w.reload(found)
	}
}

// dates makes the partners anew when an entry ends, or has not ended after all.
// The clock is looked at, and not waited for: it is set, and machines sleep.
func (w *Watcher) dates() {
	now := time.Now()
	if now.Before(w.retry) || w.Partners().Holds(now) {
		return
	}
	if err := w.Refresh(); err != nil {
		w.retry = now.Add(retryEvery)
		w.Log.Error("partners not renewed at an end date", "err", err)
	}
}

// mostFaults is how many faults of one file are logged; check lists all. A file that
// is something else altogether must not drive all else out of the log.
const mostFaults = 100

func (w *Watcher) reload(found stamp) {
	w.seen, w.taken = found, found
	fresh, err := readList(w.Path)
	errs := []error{err}
	if err == nil {
		errs = w.take(fresh)
	}
	if len(errs) > 0 {
		for _, err := range errs[:min(len(errs), mostFaults)] {
			w.Log.Error("partners faulty", "err", err)
		}
		w.Log.Error("partners not reloaded", "faults", len(errs))
	}
}

// Partners returns those in force.
func (w *Watcher) Partners() *federation.Partners {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.partners
}

// Refresh puts in force what has been decided, on top of the last good file.
// With an error nothing has changed.
func (w *Watcher) Refresh() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.apply(w.good)...)
}

// take puts another file in force.
func (w *Watcher) take(l list) []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.apply(l)
}

// retryEvery is after how long an end date is tried again that could not be put in
// force.
const retryEvery = time.Minute

// apply makes partners of a list and puts them in force. The caller holds w.mu.
func (w *Watcher) apply(l list) []error {
	partners, errs := l.compile(w.Own, w.Decisions)
	if len(errs) > 0 {
		return errs
	}
	w.good, w.partners = l, partners
	w.Apply(partners)
	return nil
}
