//go:build unix && !linux

package edge

import (
	"syscall"
	"time"
)

func readNow(fd uintptr, p []byte) (int, error) { return syscall.Read(int(fd), p) }

func writeNow(fd uintptr, p []byte) (int, error) { return syscall.Write(int(fd), p) }

// unread would be how many octets have arrived that were not read yet. Without it
// a flow that always has more to read counts as read at once.
func unread(uintptr) int { return 0 }

func loseAfter(syscall.RawConn, time.Duration) {}
