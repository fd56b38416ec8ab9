package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The kernel's limit on the size of a file does what a full disk does: a write
// ends in the middle, and the next takes nothing. It is for the whole process,
// so it is set in one of its own.
func TestAFullDisk(t *testing.T) {
	if out, err := again(t, "full disk", t.TempDir()).Output(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// room lets files of this process grow to n octets; 0: as they like.
func room(n uint64) error {
	limit := syscall.Rlimit{Cur: n, Max: ^uint64(0)}
	if n == 0 {
		limit.Cur = limit.Max
	}
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)
}

func fillDisk(dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	s, err := Open(dir)
	if err != nil {
		return err
	}
	b, err := s.Bucket("things", Limits{Records: 100, Key: 64, Value: 128 << 10})
	if err != nil {
		return err
	}
	if err := b.Put("key", []byte("value")); err != nil {
		return err
	}
	for i := range 20 {
		if err := fillOnce(b, i); err != nil {
			return fmt.Errorf("with room for %d octets more: %w", i, err)
		}
	}
	if err := notCompacted(b); err != nil {
		return err
	}
	want := content(b)
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = Open(dir); err != nil {
		return err
	}
	if b, err = s.Bucket("things", b.lim); err != nil {
		return err
	}
	if d := b.Damage(); d != nil {
		return d
	}
	if !maps.Equal(content(b), want) {
		return fmt.Errorf("after a restart %d records, want %d", b.Len(), len(want))
	}
	return nil
}

// fillOnce leaves room for a part of a record only.
func fillOnce(b *Bucket, octets int) error {
	before := content(b)
	if err := room(uint64(b.size) + uint64(octets)); err != nil {
		return err
	}
	if err := b.Put("big", []byte(strings.Repeat("x", 100+octets))); !errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("Put: %v, want %v", err, syscall.EFBIG)
	}
	if info, err := os.Stat(b.path); err != nil || info.Size() != b.size {
		return fmt.Errorf("the journal has %d octets, want %d (%v)", info.Size(), b.size, err)
	}
	if !maps.Equal(content(b), before) {
		return fmt.Errorf("there is %v, want %v", content(b), before)
	}
	if err := room(0); err != nil {
		return err
	}
	return b.Put(fmt.Sprintf("small%d", octets), []byte("value"))
}

// notCompacted lets a journal become worth compacting while there is no room
// for a new one. The records go on into the old one, until that is far too
// long.
func notCompacted(b *Bucket) error {
	if err := os.Mkdir(b.path+".new", 0o700); err != nil { // nothing can be written under that name
		return err
	}
	var err error
	n := 0
	for ; n < 100 && err == nil; n++ {
		err = b.Put("big", []byte(strings.Repeat(fmt.Sprint(n%10), 64<<10)))
	}
	if err == nil || n < 10 {
		return fmt.Errorf("after %d changes without compaction: %v", n, err)
	}
	if b.size > 10*b.worth() {
		return fmt.Errorf("the journal grew to %d octets", b.size)
	}
	if err := os.Remove(filepath.Clean(b.path + ".new")); err != nil {
		return err
	}
	if err := b.Put("big", []byte("small")); err != nil {
		return err
	}
	if b.size > b.worth() {
		return fmt.Errorf("the journal has still %d octets", b.size)
	}
	return nil
}
