package settings

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// pollEvery is how often a list is looked at. A change is taken when two looks in a
// row found the same, so who was taken off is out within half a second and the time
// that reading takes.
const pollEvery = 250 * time.Millisecond

// A keeper keeps what one file says in force.
type keeper[T any] struct {
	Path  string
	Apply func(T) // nil: nobody wants it
	Log   *slog.Logger

	faulty, stays string // what is logged of a fault, and of a file that is refused
	vanished      string // and of one that is not there any more; "": that is a fault, too
	make          func(list) (T, []error)

	taken stamp // of the file that was read last, good or bad
	seen  stamp // of the last look

	mu      sync.Mutex // held while lists are made and put in force, so that the last one made is
	good    list       // guarded by mu; the last good file
	current T          // guarded by mu; what was made of it
	refused []error    // guarded by mu; the faults of the file as it is now, if it is not the good one
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

// look reads the file if it has changed and come to rest: one that is still
// being written would be refused, or worse, be good and half.
func (k *keeper[T]) look() {
	found := stampOf(k.Path)
	rests := found.same(k.seen)
	k.seen = found
	if rests && !found.same(k.taken) {
		k.reload(found)
	}
}

// mostFaults is how many faults of one file are logged; check lists all. A file that
// is something else altogether must not drive all else out of the log.
const mostFaults = 100

func (k *keeper[T]) reload(found stamp) {
	k.seen, k.taken = found, found
	fresh, err := readList(k.Path)
	errs := []error{err}
	if err == nil || fresh.absent && k.vanished != "" {
		errs = k.take(fresh)
	}
	if len(errs) > 0 {
		k.refuse(errs)
		for _, err := range errs[:min(len(errs), mostFaults)] {
			k.Log.Error(k.faulty, "err", err)
		}
		k.Log.Error(k.stays, "faults", len(errs))
	}
}

// refuse keeps why the file as it is now is not in force.
func (k *keeper[T]) refuse(errs []error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refused = errs
}

// faults returns why the file as it is now is not in force, nothing if it is.
func (k *keeper[T]) faults() []error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.refused
}

// inForce returns what is.
func (k *keeper[T]) inForce() T {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current
}

// again makes what the last good file says anew. With an error nothing has changed.
func (k *keeper[T]) again() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return errors.Join(k.apply(k.good)...)
}

// take puts another file in force.
func (k *keeper[T]) take(l list) []error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.absent && !k.good.absent {
		k.Log.Warn(k.vanished, "file", k.Path)
	}
	errs := k.apply(l)
	if len(errs) == 0 {
		k.refused = nil
	}
	return errs
}

// apply makes something of a list and puts it in force. The caller holds mu.
func (k *keeper[T]) apply(l list) []error {
	made, errs := k.make(l)
	if len(errs) > 0 {
		return errs
	}
	k.good, k.current = l, made
	if k.Apply != nil {
		k.Apply(made)
	}
	return nil
}
