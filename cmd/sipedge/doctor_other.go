//go:build !linux

package main

import "os"

// columns is known on Linux only; elsewhere COLUMNS says it.
func columns(*os.File) int { return 0 }

// quietTerminal is known on Linux only; elsewhere what is typed is seen.
func quietTerminal(*os.File) (back func(), ok bool) { return nil, false }

// kernelClock is known on Linux only.
func kernelClock() finding {
	return finding{unchecked, "kernel", "not checked: this system does not tell whether its clock is kept", ""}
}
