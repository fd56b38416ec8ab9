package main

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// columns is how wide the terminal is that f writes to, 0 if it is none.
func columns(f *os.File) int {
	var size struct{ rows, columns, x, y uint16 }
	_, _, err := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
	if err != 0 {
		return 0
	}
	return int(size.columns)
}

// quietTerminal makes a terminal not show what is typed, until back is called. It
// reports whether f is one.
func quietTerminal(f *os.File) (back func(), ok bool) {
	var before syscall.Termios
	control := func(request uintptr, t *syscall.Termios) bool {
		_, _, err := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(t)))
		return err == 0
	}
	if !control(syscall.TCGETS, &before) {
		return nil, false
	}
	quiet := before
	quiet.Lflag &^= syscall.ECHO
	if !control(syscall.TCSETS, &quiet) {
		return nil, false
	}
	return func() { control(syscall.TCSETS, &before) }, true
}

// What adjtimex(2) says of a clock that nobody keeps.
const (
	staUnsync = 0x40
	timeError = 5
)

// kernelClock asks the kernel whether somebody keeps its clock.
func kernelClock() finding {
	const subject = "kernel"
	var t syscall.Timex
	state, err := syscall.Adjtimex(&t)
	if err != nil {
		return finding{unchecked, subject, "not checked: adjtimex: " + err.Error(), ""}
	}
	if state == timeError || t.Status&staUnsync != 0 {
		return finding{warned, subject, "says that nothing keeps the clock right",
			"Run chrony, systemd-timesyncd or another NTP client: certificates are judged by this clock. In a container the host does it, and this line may be wrong."}
	}
	most := time.Duration(t.Maxerror) * time.Microsecond
	return finding{fine, subject, fmt.Sprintf("says that it is kept right, within %v", most.Round(time.Millisecond)), ""}
}
