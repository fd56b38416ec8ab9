package bridges

import (
	"fmt"
	"runtime/debug"
)

// A panicked is a panic of a bridge, as an error.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// caught turns a panic into an error; it is for defer.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = &panicked{p, debug.Stack()}
	}
}

// Go runs f on a goroutine of its own. Bridges start theirs by it: a panic is the
// end of the bridge then, whose Keeper starts it again; on a goroutine that go
// started it is the end of the program, and of all SIP.
func (e *Endpoint) Go(f func()) { go e.Guard(f)() }

// Guard returns f with the same care, for time.AfterFunc and its like.
func (e *Endpoint) Guard(f func()) func() {
	return func() {
		var err error
		defer func() {
			if err != nil {
				e.fail(err)
			}
		}()
		defer caught(&err)
		f()
	}
}
