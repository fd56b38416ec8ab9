package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Limits bound a bucket. All three must be set.
type Limits struct {
	Records int
	Key     int // octets
	Value   int // octets
}

// maxRecord is the largest record that Limits may allow. A line is read as a
// whole.
const maxRecord = 4 << 20

func (l Limits) check() error {
	if l.Records < 1 || l.Key < 1 || l.Value < 1 || l.Key > maxRecord || l.Value > maxRecord {
		return fmt.Errorf("store: limits %+v are none", l)
	}
	return nil
}

// fits reports whether a record may be in the bucket.
func (l Limits) fits(key string, value []byte) bool {
	return key != "" && len(key) <= l.Key && len(value) <= l.Value
}

// line is the longest line that a journal within l has.
func (l Limits) line() int { return 2*(l.Key+l.Value) + maxOverhead }

// A Bucket is a set of records, each a value under a key. It is safe for
// concurrent use: readers never wait for the disk, writers wait for each other.
type Bucket struct {
	name     string
	path     string
	lim      Limits
	readOnly bool
	damage   *Damage  // what was found when it was opened
	kept     []string // damaged journals of before

	writing sync.Mutex // taken before mu, and held while the file changes
	file    *os.File   // guarded by writing; nil: there is none yet
	size    int64      // guarded by writing; of the file
	live    int64      // guarded by writing; what the file would have without history
	retry   int64      // guarded by writing; the size at which to compact again after a failure
	unsure  bool       // guarded by writing; what the file holds is not known, write it anew
	closed  bool       // guarded by writing

	mu      sync.RWMutex
	records map[string][]byte // guarded by mu; values are never changed
}

// Len returns how many records there are.
func (b *Bucket) Len() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.records)
}

// Get returns a copy of the value under key.
func (b *Bucket) Get(key string) ([]byte, bool) {
	b.mu.RLock()
	value, ok := b.records[key]
	b.mu.RUnlock()
	return bytes.Clone(value), ok
}

// Each calls f with each record, in the order of the keys, until f returns
// false. It goes over what was there when it was called; f may change the
// bucket, but not the value.
func (b *Bucket) Each(f func(key string, value []byte) bool) {
	b.mu.RLock()
	records := maps.Clone(b.records)
	b.mu.RUnlock()
	for _, key := range slices.Sorted(maps.Keys(records)) {
		if !f(key, records[key]) {
			return
		}
	}
}

// Put puts value under key. When it has returned nil the record is on the disk,
// and stays whatever happens to the process or the machine. After an error the
// bucket is what it was before; only whether a crash right then brings the new
// record or the old one is not known.
func (b *Bucket) Put(key string, value []byte) error {
	return b.Write(Change{Key: key, Value: value})
}

// Delete takes the record under key out, as lastingly as Put puts one in. That
// there is none is no error.
func (b *Bucket) Delete(key string) error {
	return b.Write(Change{Key: key, Delete: true})
}

// Write makes several changes for the price of one: they are on the disk when
// it returns. They are made in order, and each record is whole, but a crash may
// leave the first few made and the rest not.
func (b *Bucket) Write(changes ...Change) error {
	if b.readOnly {
		return ErrReadOnly
	}
	b.writing.Lock()
	defer b.writing.Unlock()
	if b.closed {
		return ErrClosed
	}
	next, lines, err := b.plan(changes)
	if err != nil {
		return fmt.Errorf("write to bucket %s: %w", b.name, err)
	}
	if len(lines) == 0 && !b.unsure {
		return nil
	}
	if b.file == nil || b.unsure || b.isGone() || b.size > 8*b.worth() {
		err = b.rewrite(next.over(b.records))
	} else {
		err = b.append(lines)
	}
	if err != nil {
		return fmt.Errorf("write to bucket %s: %w", b.name, err)
	}
	b.apply(next)
	b.compact()
	return nil
}

// isGone reports whether the journal is not what is open any more: somebody took
// it away or put another in its place, and what is written would vanish with it.
func (b *Bucket) isGone() bool {
	there, err := os.Stat(b.path)
	if err != nil {
		return true
	}
	open, err := b.file.Stat()
	return err != nil || !os.SameFile(there, open)
}

// Damage says what was found to be damaged when the bucket was opened; nil:
// nothing. The records that could be read are in the bucket.
func (b *Bucket) Damage() *Damage { return b.damage }

// Kept returns the damaged journals that were kept aside, now or before, and that
// nobody has taken away since: somebody has yet to look at what is missing.
func (b *Bucket) Kept() []string {
	list := slices.Clone(b.kept)
	if b.damage != nil && b.damage.Kept != "" && !slices.Contains(list, b.damage.Kept) {
		list = append(list, b.damage.Kept)
	}
	return list
}

// overlay is what changes come to: for each key its new value, or nil where it
// is deleted.
type overlay map[string][]byte

// over returns records as they are when the changes are made.
func (o overlay) over(records map[string][]byte) map[string][]byte {
	next := maps.Clone(records)
	for key, value := range o {
		if value == nil {
			delete(next, key)
		} else {
			next[key] = value
		}
	}
	return next
}

// plan checks changes against the limits and returns what they come to, and the
// lines that say them. What is so already needs no line.
func (b *Bucket) plan(changes []Change) (overlay, []byte, error) {
	next := make(overlay, len(changes))
	n := len(b.records) // only writers change it, and writing is held
	var lines []byte
	for _, c := range changes {
		old, changed := next[c.Key]
		if !changed {
			old = b.records[c.Key]
		}
		switch {
		case c.Delete && old == nil:
			continue
		case c.Delete:
			n--
			next[c.Key] = nil
		case !b.lim.fits(c.Key, c.Value):
			return nil, nil, fmt.Errorf("%w: key of %d octets, value of %d", ErrTooLarge, len(c.Key), len(c.Value))
		case old != nil && bytes.Equal(old, c.Value):
			continue
		default:
			if old == nil {
				n++
			}
			next[c.Key] = append(make([]byte, 0, len(c.Value)), c.Value...)
		}
		if n > b.lim.Records {
			return nil, nil, fmt.Errorf("%w: %d records", ErrFull, b.lim.Records)
		}
		lines = appendLine(lines, c)
	}
	return next, lines, nil
}

// apply makes the changes in memory.
func (b *Bucket) apply(next overlay) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, value := range next {
		if old, ok := b.records[key]; ok {
			b.live -= lineSize(key, old)
			delete(b.records, key)
		}
		if value != nil {
			b.live += lineSize(key, value)
			b.records[key] = value
		}
	}
}

// append writes lines at the end of the journal. What could not be written as a
// whole, as on a full disk, is taken off again.
func (b *Bucket) append(lines []byte) error {
	if _, err := b.file.Write(lines); err != nil {
		if b.file.Truncate(b.size) != nil {
			b.unsure = true
		}
		return err
	}
	if err := b.file.Sync(); err != nil {
		// What of the file is on the disk after that nobody can say, and asking
		// again would say that all is well: only a new file is sure.
		b.unsure = true
		return err
	}
	b.size += int64(len(lines))
	return nil
}

// worth is how much of the file must be history before it pays to write it
// anew.
func (b *Bucket) worth() int64 { return b.live + 64<<10 }

// compact writes the journal anew when more than half of it is history. That it
// fails, as on a full disk, is no fault of the change that has just been made:
// it is tried again later, and when the file has become far too long Write
// insists.
func (b *Bucket) compact() {
	if b.size-b.live < b.worth() || b.size < b.retry {
		return
	}
	if b.rewrite(b.records) != nil {
		b.retry = b.size + b.worth()
	}
}

// rewrite puts a new journal with these records in the place of the old one.
// Until the new one is on the disk as a whole, the old one is the journal.
func (b *Bucket) rewrite(records map[string][]byte) error {
	file, size, err := writeNew(b.path+".new", records)
	if err != nil {
		return err
	}
	if err := os.Rename(b.path+".new", b.path); err != nil {
		return errors.Join(err, file.Close(), os.Remove(b.path+".new"))
	}
	if b.file != nil {
		b.file.Close() // nothing of it is wanted any more
	}
	b.file, b.size, b.retry, b.unsure = file, size, 0, false
	if err := syncFolder(filepath.Dir(b.path)); err != nil {
		b.unsure = true
		return err
	}
	return nil
}

// writeNew writes a journal under path and returns it open for more.
func writeNew(path string, records map[string][]byte) (*os.File, int64, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, err
	}
	lines, size := []byte(firstLine), int64(0)
	write := func() error {
		n, err := file.Write(lines)
		size, lines = size+int64(n), lines[:0]
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(records)) {
		lines = appendLine(lines, Change{Key: key, Value: records[key]})
		if len(lines) > 64<<10 && err == nil {
			err = write()
		}
	}
	if err == nil {
		err = write()
	}
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close(), os.Remove(path))
	}
	return file, size, nil
}

// syncFolder puts what a folder says of its files on the disk.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func (b *Bucket) close() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.closed = true
	if b.file == nil {
		return nil
	}
	err := b.file.Close()
	b.file = nil
	return err
}
