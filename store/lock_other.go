//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package store

import (
	"io/fs"
	"os"
)

// exclusive does nothing: where there is no flock, it is for the administrator
// to start only one edge on a folder.
func exclusive(*os.File) error { return nil }

// foreign is never true here: modes mean little.
func foreign(fs.FileInfo) bool { return false }
