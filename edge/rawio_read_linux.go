//go:build 386 || s390x

package edge

import "syscall"

// There are no calls for sockets alone here. These take no flags: a fourth argument
// means nothing to them.
const (
	callRecv = syscall.SYS_READ
	callSend = syscall.SYS_WRITE
)
