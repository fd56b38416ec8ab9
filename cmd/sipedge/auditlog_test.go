package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
)

// keeping is a handler that keeps in a folder, and the log behind it.
func keeping(t *testing.T, level slog.Level) (*refHandler, *slog.Logger, *bytes.Buffer, string) {
	t.Helper()
	var log bytes.Buffer
	h := newRefHandler(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: level}))
	t.Cleanup(func() { h.Close() })
	return h, slog.New(h), &log, filepath.Join(t.TempDir(), "audit")
}

func kept(t *testing.T, dir string, n int) string {
	t.Helper()
	text, err := os.ReadFile(auditPath(dir, n))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

func TestWhatHasAReferenceIsKept(t *testing.T) {
	h, log, text, dir := keeping(t, slog.LevelError)
	log.Warn("request refused", "from", "bob\x1b[2J", "ref", "AAAAAAAA") // before anybody knows where
	h.open(dir)
	log.Info("request forwarded", "ref", "")
	log.Info("flow opened", "flow", 1)
	log.With("edge", "one").Info("request forwarded", "status", 504, "ref", "BBBBBBBB")
	log.Error("something else")
	h.Close()
	lines := strings.Split(strings.TrimSpace(kept(t, dir, 0)), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"ref":"AAAAAAAA"`) || !strings.Contains(lines[1], `"edge":"one","status":504,"ref":"BBBBBBBB"`) {
		t.Errorf("kept are %q", lines)
	}
	if strings.Contains(lines[0], "\x1b") {
		t.Error("a sequence of escape is kept as it came")
	}
	if got := strings.Count(text.String(), "\n"); got != 1 || !strings.Contains(text.String(), "something else") {
		t.Errorf("the log at level error has %q", text)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, auditPath(dir, 0): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", filepath.Base(path), info.Mode(), err, want)
		}
	}
}

func TestAnEdgeThatDoesNotStartKeepsNothing(t *testing.T) {
	h, log, _, _ := keeping(t, slog.LevelInfo)
	log.Warn("request refused", "ref", "AAAAAAAA")
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

// newRefFile is a file of the folder, as its goroutine has it.
func newRefFile(dir string, size int64, log *bytes.Buffer) *refFile {
	f := &refFile{size: size, dir: dir, opened: make(chan struct{}), tell: slog.New(slog.NewTextHandler(log, nil))}
	close(f.opened)
	return f
}

func TestOldRefusalsMakeRoomForNewOnes(t *testing.T) {
	var log bytes.Buffer
	dir := t.TempDir()
	f := newRefFile(dir, 25, &log)
	for i := range 20 {
		fmt.Fprintf(f, "line %04d\n", i) // ten octets each, two in a file
	}
	f.close()
	for n, want := range []string{"line 0018\nline 0019\n", "line 0016\nline 0017\n", "line 0014\nline 0015\n", "line 0012\nline 0013\n", ""} {
		if got := kept(t, dir, n); got != want {
			t.Errorf("file %d holds %q, want %q", n, got, want)
		}
	}
	f = newRefFile(dir, 25, &log)
	fmt.Fprintf(f, "line 0020\n") // after a restart it goes on in the same one
	f.close()
	if got := kept(t, dir, 1); got != "line 0018\nline 0019\n" {
		t.Errorf("the file that was full holds %q", got)
	}
	if log.Len() > 0 {
		t.Errorf("the log says %s", &log)
	}
}

func TestAFullDiskLeavesRefusalsOutAndCountsThem(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full here")
	}
	var log bytes.Buffer
	dir := t.TempDir()
	if err := os.Symlink("/dev/full", auditPath(dir, 0)); err != nil {
		t.Fatal(err)
	}
	f := newRefFile(dir, 1000, &log)
	fmt.Fprint(f, "one\ntwo\n")
	fmt.Fprint(f, "three\n")
	if got := strings.Count(log.String(), "\n"); got != 1 || !strings.Contains(log.String(), "no space left") {
		t.Errorf("the log says %q, want one line", log.String())
	}
	if err := os.Remove(auditPath(dir, 0)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, "four\n")
	f.close()
	got := kept(t, dir, 0)
	if !strings.Contains(got, `"msg":"lines left out","missed":3}`+"\nfour\n") || !strings.Contains(log.String(), "kept again") {
		t.Errorf("kept is %q, and the log says %q", got, log.String())
	}
}

func TestAFileThatWasTakenAwayIsMadeAnew(t *testing.T) {
	var log bytes.Buffer
	dir := t.TempDir()
	f := newRefFile(dir, 1000, &log)
	fmt.Fprint(f, "one\n")
	os.Rename(auditPath(dir, 0), filepath.Join(dir, "elsewhere"))
	fmt.Fprint(f, "two\n")
	f.close()
	if got := kept(t, dir, 0); got != "two\n" {
		t.Errorf("kept is %q, want what came after", got)
	}
}

func TestKeepingHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, log, _, dir := keeping(t, slog.LevelError)
		line := strings.Repeat("x", 1000)
		for range 2 * logLimit / len(line) {
			log.Warn("request refused", "from", line, "ref", "AAAAAAAA") // nobody writes yet: would deadlock here if it waited
		}
		h.open(dir)
		h.Close()
		var octets int
		for n := range auditFiles {
			octets += len(kept(t, dir, n))
		}
		if octets > 2*logLimit { // what is being written, and what waits
			t.Errorf("%d octets waited, the limit is %d", octets, 2*logLimit)
		}
		if !strings.Contains(kept(t, dir, 0), `"msg":"lines left out"`) {
			t.Error("what was left out is not counted")
		}
	})
}
