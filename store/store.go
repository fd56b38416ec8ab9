// Package store keeps durable state: small records in named buckets.
//
// A Store is a folder. Each bucket is one journal in it: a file that grows by
// one checked line for each change, and is written anew when more than half of
// it is history. What was written when the machine stopped is there again when
// it starts: the end of a journal that was torn in the middle of a line is cut
// off, and a line that the disk has spoilt is left out, reported, and kept
// aside. See docs/decisions/0009-store.md for the format.
//
// All records of a bucket are also in memory, so a bucket has Limits. It is
// meant for what an edge knows about others (discovered partners, decisions,
// bans), not for messages or logs. There are no transactions over several
// records: what must hold together is one record.
//
// The interface is small on purpose, so that something that several nodes share
// can stand behind it later. Nothing here starts a goroutine.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// What can go wrong that callers tell apart.
var (
	ErrLocked   = errors.New("store: in use by another process")
	ErrReadOnly = errors.New("store: opened for reading only")
	ErrClosed   = errors.New("store: closed")
	ErrFull     = errors.New("store: bucket is full")
	ErrTooLarge = errors.New("store: record too large")
	ErrVersion  = errors.New("store: journal of another version")
	ErrForeign  = errors.New("store: others may change the folder")
)

// lockName is the file that the writing process holds the lock on. It stays
// when the process has gone; the lock does not.
const lockName = "store.lock"

// A Store is a folder with buckets. It is safe for concurrent use.
type Store struct {
	dir  string
	lock *os.File // nil: for reading only

	mu      sync.Mutex
	buckets map[string]*Bucket // guarded by mu
	closed  bool               // guarded by mu
}

// Open opens the folder for reading and writing and makes it, for its owner
// only, if there is none. Only one process at a time has a store open so; for
// the second the error is ErrLocked.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the store's folder: %w", err)
	}
	// Who may put a journal into the folder decides for us who is allowed.
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	} else if foreign(info) {
		return nil, fmt.Errorf("%w: %s must belong to the user that the edge runs as, and be writable for nobody else", ErrForeign, dir)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the store's lock: %w", err)
	}
	if err := exclusive(lock); err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return &Store{dir: dir, lock: lock, buckets: make(map[string]*Bucket)}, nil
}

// OpenReadOnly opens the folder for reading, also while another process writes.
// Each bucket is what it was when it was asked for; it does not follow. A
// folder that is not there is an empty store.
func OpenReadOnly(dir string) (*Store, error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("open the store: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("open the store: %s is not a folder", dir)
	}
	return &Store{dir: dir, buckets: make(map[string]*Bucket)}, nil
}

// Bucket opens the bucket of that name: lower-case letters, digits and hyphens.
// Asked again, it returns the same one. A damaged bucket is no error here: what
// could be read is in it, and Damage says what could not.
func (s *Store) Bucket(name string, lim Limits) (*Bucket, error) {
	if !validName(name) {
		return nil, fmt.Errorf("store: %q is no name of a bucket", name)
	}
	if err := lim.check(); err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if b, ok := s.buckets[name]; ok {
		if b.lim != lim {
			return nil, fmt.Errorf("store: bucket %s is open with other limits", name)
		}
		return b, nil
	}
	b := &Bucket{name: name, lim: lim, path: filepath.Join(s.dir, name+".journal"), readOnly: s.lock == nil}
	if err := b.load(); err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", name, err)
	}
	s.buckets[name] = b
	return b, nil
}

// Close ends writing and gives up the lock. What Put and Write have returned
// for is on the disk already. Buckets can still be read.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	for _, b := range s.buckets {
		errs = append(errs, b.close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

func validName(name string) bool {
	for i := range len(name) {
		if c := name[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' && i > 0) {
			return false
		}
	}
	return name != "" && len(name) <= 64
}
