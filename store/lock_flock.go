//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package store

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// exclusive takes the lock on f without waiting. It ends with the file, and so
// with the process, however that ends.
func exclusive(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// foreign reports whether others may change what lies in a folder: it is neither
// ours nor root's, or its mode lets them.
func foreign(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(s.Uid) != os.Geteuid() && s.Uid != 0 || info.Mode().Perm()&0o022 != 0
}
