package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Damage is what a disk has done to a journal.
type Damage struct {
	Path  string // of the journal
	Lines int    // that are not in the bucket
	First int64  // where the first of them is, in octets from the start
	// Keys are those that the lines seem to be about, as far as that can be made
	// out: their records may be missing, or be older than they should.
	Keys []string
	Kept string // the file that has all of the journal as it was found; "": it is still the journal
	Err  error  // why it could not be kept or mended
}

// Error returns what happened, for the log.
func (d *Damage) Error() string {
	text := fmt.Sprintf("store: %d lines of %s are damaged or beyond the limits, the first at octet %d; the rest is used", d.Lines, d.Path, d.First)
	if d.Kept != "" {
		text += "; the file as it was is " + d.Kept
	}
	if d.Err != nil {
		text += "; " + d.Err.Error()
	}
	return text
}

// Unwrap returns Err.
func (d *Damage) Unwrap() error { return d.Err }

// load reads the journal, and mends it if it may.
func (b *Bucket) load() error {
	b.records = make(map[string][]byte)
	mode := os.O_RDWR | os.O_APPEND
	if b.readOnly {
		mode = os.O_RDONLY
	}
	file, err := os.OpenFile(b.path, mode, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lost := make(map[string]bool)
	found, err := read(file, b.lim.line(), func(c Change) bool {
		good := b.take(c)
		if good {
			delete(lost, c.Key) // this one is newer
		}
		return good
	}, func(key string) {
		if b.lim.fits(key, nil) && len(lost) < b.lim.Records {
			lost[key] = true
		}
	})
	if err != nil {
		file.Close()
		return err
	}
	if found.damaged > 0 {
		b.damage = &Damage{Path: b.path, Lines: found.damaged, First: found.first, Keys: slices.Sorted(maps.Keys(lost))}
	}
	b.kept = keptAside(b.path)
	if b.readOnly {
		return file.Close()
	}
	b.file, b.size = file, found.whole
	return b.mend(found)
}

// take makes a change that was read. It reports false for one that this bucket
// cannot have; limits that were lowered leave out what came last.
func (b *Bucket) take(c Change) bool {
	old, had := b.records[c.Key]
	if !c.Delete && (!b.lim.fits(c.Key, c.Value) || !had && len(b.records) >= b.lim.Records) {
		return false
	}
	if had {
		b.live -= lineSize(c.Key, old)
		delete(b.records, c.Key)
	}
	if !c.Delete {
		b.live += lineSize(c.Key, c.Value)
		b.records[c.Key] = c.Value
	}
	return true
}

// mend makes the journal fit to be written to: a torn end is cut off, and a
// damaged journal is kept aside and written anew. If that fails, as on a full
// disk, the good lines are as good as before: new ones go behind them.
func (b *Bucket) mend(found reading) error {
	old := b.file
	if b.damage != nil {
		b.damage.Kept, b.damage.Err = keepAside(b.path)
		if b.damage.Err == nil {
			b.damage.Err = b.rewrite(b.records)
		}
		b.unsure = b.unsure || found.whole == 0
	}
	if found.torn == 0 || b.file != old {
		return nil
	}
	if err := old.Truncate(found.whole); err != nil {
		return errors.Join(fmt.Errorf("cut off the torn end: %w", err), old.Close())
	}
	return nil
}

// maxKept is how many damaged journals of one bucket are kept aside. Whoever
// has that many has a disk that should not be written to.
const maxKept = 8

// keptAside returns the damaged journals that are kept beside one.
func keptAside(path string) (list []string) {
	for i := range maxKept {
		if kept := asideName(path, i); sameFile(kept, kept) {
			list = append(list, kept)
		}
	}
	return list
}

func asideName(path string, i int) string {
	return strings.TrimSuffix(path, ".journal") + ".damaged-" + strconv.Itoa(i+1)
}

// keepAside gives the journal a second name.
func keepAside(path string) (string, error) {
	for i := range maxKept {
		kept := asideName(path, i)
		err := os.Link(path, kept)
		if err == nil || sameFile(path, kept) {
			return kept, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("keep it aside: %w", err)
		}
	}
	return "", fmt.Errorf("%d damaged journals are kept already", maxKept)
}

// sameFile reports whether two names are of one file: what was kept aside and
// could not be mended then.
func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}
