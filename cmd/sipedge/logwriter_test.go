package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A slowWriter takes nothing until it is let go.
type slowWriter struct {
	gate chan struct{}
	mu   sync.Mutex
	buf  bytes.Buffer
}

func (w *slowWriter) Write(b []byte) (int, error) {
	<-w.gate
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(b)
}

func TestLogLinesAreWrittenTogetherAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{gate: make(chan struct{}, 10)}
		l := newLogWriter(w, nil)
		w.gate <- struct{}{}
		for i := range 3 {
			fmt.Fprintf(l, "line %d\n", i)
		}
		time.Sleep(2 * logDelay)
		synctest.Wait()
		if got, want := w.buf.String(), "line 0\nline 1\nline 2\n"; got != want {
			t.Errorf("written %q, want %q", got, want)
		}
		fmt.Fprintln(l, "last")
		w.gate <- struct{}{}
		l.Close()
		if !strings.HasSuffix(w.buf.String(), "last\n") {
			t.Errorf("Close lost what waited: %q", w.buf.String())
		}
	})
}

func TestALogThatCannotBeWrittenHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{gate: make(chan struct{})}
		missed := 0
		l := newLogWriter(w, func(n int) { missed += n })
		line := []byte(strings.Repeat("x", 1023) + "\n")
		for range 2*logLimit/len(line) + logLimit/len(line) {
			l.Write(line) // would deadlock here if it waited
		}
		close(w.gate)
		l.Close()
		if n := w.buf.Len(); n > 2*logLimit+200 {
			t.Errorf("%d octets waited, the limit is %d", n, logLimit)
		}
		if missed == 0 {
			t.Error("nobody was told of lines that are missing")
		}
	})
}
