package settings

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/sipedge/sipedge/federation"
)

// pollEvery is how often the list of partners is looked at. A change is taken
// when two looks in a row found the same, so a partner that was taken off is out
// within half a second and the time that reading takes.
const pollEvery = 250 * time.Millisecond

// A Watcher reads the list of partners again when it changes. A bad file is
// refused whole, and the last good one stays; so it does when the file vanishes,
// which is an accident more often than a wish (an empty file is the way to say
// "nobody").
type Watcher struct {
	Path  string
	Own   []string // our domains
	Apply func(*federation.Partners)
	Log   *slog.Logger

	taken stamp // of the file that was read last, good or bad
	seen  stamp // of the last look
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
func NewWatcher(s *Settings, apply func(*federation.Partners), log *slog.Logger) *Watcher {
	w := &Watcher{Path: s.PartnersPath, Own: s.Edge.Domains, Apply: apply, Log: log}
	w.seen = s.stamp
	w.taken = s.stamp
	return w
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

func (w *Watcher) reload(found stamp) {
	w.seen, w.taken = found, found
	partners, errs := LoadPartners(w.Path, w.Own)
	if len(errs) > 0 {
		for _, err := range errs {
			w.Log.Error("partners faulty", "err", err)
		}
		w.Log.Error("partners not reloaded", "faults", len(errs))
		return
	}
	w.Apply(partners)
}
