//go:build unix && !linux

package edge

import (
	"syscall"
	"time"
)

func readNow(fd uintptr, p []byte) (int, error) { return syscall.Read(int(fd), p) }

func writeNow(fd uintptr, p []byte) (int, error) { return syscall.Write(int(fd), p) }

func loseAfter(syscall.RawConn, time.Duration) {}
