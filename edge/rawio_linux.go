package edge

import (
	"syscall"
	"time"
	"unsafe"
)

// readNow and writeNow are recv and send on a socket that does not block,
// without telling the Go scheduler: the call never waits, and for one that
// does not wait the preparations for waiting are a good part of the cost. On a
// busy machine they also make the scheduler take the processor away in the
// middle, which costs more than the call. Measured: a tenth to a quarter of the
// CPU time of a message.

func readNow(fd uintptr, p []byte) (int, error) { return now(callRecv, fd, p, syscall.MSG_DONTWAIT) }

func writeNow(fd uintptr, p []byte) (int, error) {
	return now(callSend, fd, p, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
}

// unread is how many octets have arrived that were not read yet.
func unread(fd uintptr) int {
	var n int32
	syscall.RawSyscall(syscall.SYS_IOCTL, fd, syscall.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	return int(n)
}

func now(call, fd uintptr, p []byte, flags uintptr) (int, error) {
	n, _, errno := syscall.RawSyscall6(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// loseAfter makes the kernel give the connection up when the peer has not
// acknowledged what we sent for so long: a host that died is noticed at the
// first ping, whether or not it knows RFC 5626.
func loseAfter(c syscall.RawConn, d time.Duration) {
	const userTimeout = 0x12 // TCP_USER_TIMEOUT, which package syscall lacks
	c.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, userTimeout, int(d.Milliseconds()))
	})
}
