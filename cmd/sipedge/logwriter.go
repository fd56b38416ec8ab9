package main

import (
	"io"
	"sync"
	"time"
)

const (
	// logDelay is how long a line may wait for others to be written with it.
	logDelay = 50 * time.Millisecond
	// logBatch octets are written without waiting.
	logBatch = 64 << 10
	// logLimit bounds what waits while the reader of the log is slow or the
	// disk is full.
	logLimit = 4 << 20
)

// A logWriter keeps the log from holding up messages: lines are written many at
// a time by one goroutine, and when they cannot be written they are left out
// and counted. What waits is lost if the process is killed with SIGKILL: at
// most what came in logDelay.
//
// It is safe for concurrent use. Each Write is one line, as slog's handlers do.
type logWriter struct {
	w    io.Writer
	miss func(n int) // told, between two writes, how many lines are missing
	wake chan struct{}
	stop chan struct{}
	done chan struct{}

	mu     sync.Mutex
	buf    []byte // guarded by mu, as all below
	spare  []byte
	missed int
	closed bool
}

// newLogWriter starts writing to w; Close ends it.
func newLogWriter(w io.Writer, miss func(n int)) *logWriter {
	l := &logWriter{w: w, miss: miss, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go l.run()
	return l
}

// Write takes a line. It never waits for the writer below.
func (l *logWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.buf)+len(line) > logLimit {
		l.missed++
		return len(line), nil
	}
	first := len(l.buf) == 0
	l.buf = append(l.buf, line...)
	if first || len(l.buf) >= logBatch {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	return len(line), nil
}

func (l *logWriter) run() {
	defer close(l.done)
	for {
		select {
		case <-l.stop:
			l.flush()
			return
		case <-l.wake:
		}
		l.linger()
		l.flush()
	}
}

// linger waits for more lines, unless there are many already.
func (l *logWriter) linger() {
	t := time.NewTimer(logDelay)
	defer t.Stop()
	for {
		l.mu.Lock()
		full := len(l.buf) >= logBatch
		l.mu.Unlock()
		if full {
			return
		}
		select {
		case <-t.C:
			return
		case <-l.stop:
			return
		case <-l.wake:
		}
	}
}

// flush writes what waits, and how many lines are missing before it.
func (l *logWriter) flush() {
	l.mu.Lock()
	out, missed := l.buf, l.missed
	l.buf, l.missed = l.spare[:0], 0
	l.mu.Unlock()
	if missed > 0 {
		l.miss(missed)
	}
	if len(out) > 0 {
		// There is nowhere to complain to when the log cannot be written.
		_, _ = l.w.Write(out)
	}
	l.mu.Lock()
	l.spare = out[:0]
	l.mu.Unlock()
}

// Close writes what waits. What is written afterwards is lost.
func (l *logWriter) Close() error {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	l.mu.Unlock()
	if !closed {
		close(l.stop)
	}
	<-l.done
	return nil
}
