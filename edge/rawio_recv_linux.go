//go:build !386 && !s390x

package edge

import "syscall"

// The calls for sockets: those for files, read and write, take a longer way through the
// kernel.
const (
	callRecv = syscall.SYS_RECVFROM
	callSend = syscall.SYS_SENDTO
)
