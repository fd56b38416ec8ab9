package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// Whatever carries a reference is kept in files of its own, apart from the log:
// who complains of a refusal has nothing but the eight letters, and the log may be
// anywhere, in any format, at any level.
const (
	auditFolder = "audit" // in state_dir
	auditName   = "audit.jsonl"
	auditSize   = 16 << 20 // octets of a file
	auditFiles  = 4
	refKey      = "ref"
)

// auditPath is the file number n of a folder, of which 0 is written to.
func auditPath(dir string, n int) string {
	if n == 0 {
		return filepath.Join(dir, auditName)
	}
	return filepath.Join(dir, fmt.Sprintf("audit.%d.jsonl", n))
}

// A refHandler passes on what it gets, and keeps what carries a reference. It
// never waits for the disk; what cannot be written is left out and counted.
type refHandler struct {
	next slog.Handler
	kept *refKeeper
}

// A refKeeper is shared by the handlers that were made from one.
type refKeeper struct {
	json slog.Handler
	out  *logWriter
	file *refFile
}

// newRefHandler begins to keep; until open says where, it remembers.
func newRefHandler(next slog.Handler) *refHandler {
	file := &refFile{size: auditSize, tell: slog.New(next), opened: make(chan struct{})}
	out := newLogWriter(file, func(n int) { file.lost += n })
	return &refHandler{next, &refKeeper{slog.NewJSONHandler(out, nil), out, file}}
}

// open says which folder the files lie in. It is called once, or never if the
// edge does not come so far.
func (a *refHandler) open(dir string) {
	a.kept.file.dir = dir
	close(a.kept.file.opened)
}

// Close writes what waits.
func (a *refHandler) Close() error {
	select {
	case <-a.kept.file.opened:
	default:
		close(a.kept.file.opened) // nowhere
	}
	a.kept.out.Close()
	return a.kept.file.close()
}

// Enabled takes what may carry a reference, whatever the log's level.
func (a *refHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || a.next.Enabled(ctx, l)
}

// Handle keeps the record if it carries a reference, and passes it on.
func (a *refHandler) Handle(ctx context.Context, r slog.Record) error {
	kept := false
	r.Attrs(func(at slog.Attr) bool {
		kept = at.Key == refKey && at.Value.Kind() == slog.KindString && at.Value.String() != ""
		return at.Key != refKey
	})
	if kept {
		_ = a.kept.json.Handle(ctx, r) // into memory
	}
	if !a.next.Enabled(ctx, r.Level) {
		return nil
	}
	return a.next.Handle(ctx, r)
}

// WithAttrs returns a handler that adds attrs to each record.
func (a *refHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	k := *a.kept
	k.json = k.json.WithAttrs(attrs)
	return &refHandler{a.next.WithAttrs(attrs), &k}
}

// WithGroup returns a handler that puts the attributes to come into a group.
func (a *refHandler) WithGroup(name string) slog.Handler {
	k := *a.kept
	k.json = k.json.WithGroup(name)
	return &refHandler{a.next.WithGroup(name), &k}
}

// A refFile writes lines to the newest of a few files. Its goroutine is that
// of the logWriter in front of it.
type refFile struct {
	opened chan struct{} // closed when dir is known
	dir    string        // "": nothing is kept
	size   int64
	tell   *slog.Logger

	f       *os.File // nil: to be opened
	info    os.FileInfo
	written int64
	lost    int  // lines
	failing bool // tell has been told
}

// Write writes lines, or counts them as lost.
func (a *refFile) Write(lines []byte) (int, error) {
	<-a.opened
	if a.dir == "" {
		return len(lines), nil
	}
	err := a.write(lines)
	if err != nil {
		a.lost += bytes.Count(lines, []byte("\n"))
		a.close()
	}
	switch {
	case err != nil && !a.failing:
		a.tell.Error("refusals not kept", "err", err)
	case err == nil && a.failing:
		a.tell.Info("refusals kept again")
	}
	a.failing = err != nil
	return len(lines), nil
}

func (a *refFile) write(lines []byte) error {
	if err := a.ready(int64(len(lines))); err != nil {
		return err
	}
	if a.lost > 0 {
		lines = append(fmt.Appendf(nil, `{"time":%q,"level":"ERROR","msg":"lines left out","missed":%d}`+"\n",
			time.Now().Format(time.RFC3339Nano), a.lost), lines...)
	}
	n, err := a.f.Write(lines)
	if err != nil {
		// What a full disk cut off in the middle would spoil the next line.
		if n > 0 && a.f.Truncate(a.written) != nil {
			io.WriteString(a.f, "\n")
		}
		return fmt.Errorf("write %s: %w", a.f.Name(), err)
	}
	a.written += int64(n)
	a.lost = 0
	return nil
}

// ready opens a file with room for n octets more. One that somebody took away is
// made anew.
func (a *refFile) ready(n int64) error {
	if a.f != nil {
		if now, err := os.Stat(auditPath(a.dir, 0)); err != nil || !os.SameFile(now, a.info) {
			a.close()
		}
	}
	if err := a.reopen(); err != nil {
		return err
	}
	if a.written == 0 || a.written+n <= a.size {
		return nil
	}
	a.close()
	if err := a.rotate(); err != nil {
		return err
	}
	return a.reopen()
}

// reopen opens the file that is written to, unless it is open.
func (a *refFile) reopen() error {
	if a.f != nil {
		return nil
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(auditPath(a.dir, 0), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if a.info, err = f.Stat(); err != nil {
		f.Close()
		return err
	}
	a.f, a.written = f, a.info.Size()
	return nil
}

// rotate gives each file the next number; the oldest goes.
func (a *refFile) rotate() error {
	for n := auditFiles - 1; n > 0; n-- {
		if err := os.Rename(auditPath(a.dir, n-1), auditPath(a.dir, n)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

func (a *refFile) close() error {
	if a.f == nil {
		return nil
	}
	err := a.f.Close()
	a.f = nil
	return err
}
