package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDemoPlaysAsExpected(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	if err := (demoCommand{Once: true, JSON: true, Dir: dir}).play(t.Context(), &out); err != nil {
		t.Errorf("demo: %v", err)
	}
	holdsScenes(t, out.Bytes())
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// holdsScenes looks at the report of a demo: all went as expected, and all was measured.
func holdsScenes(t *testing.T, text []byte) {
	t.Helper()
	var report demoReport
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if !report.OK || len(report.Scenes) != 22 {
		t.Errorf("ok %v with %d scenes, want 22 as expected", report.OK, len(report.Scenes))
	}
	for _, s := range report.Scenes {
		if !s.OK || s.Error != "" {
			t.Errorf("scene %d, %s: want %v, got %v %s", s.Number, s.Title, s.Want, s.Got, s.Error)
		}
		if s.Got.Hops == 0 || s.Got.Millis == 0 || len(s.Got.Audit) == 0 {
			t.Errorf("scene %d measured nothing: %+v", s.Number, s.Got)
		}
		for _, line := range s.Got.Audit {
			if line.Reason == "" || line.Rule == "" {
				t.Errorf("scene %d: the log of %s names no reason or rule: %+v", s.Number, line.Edge, line)
			}
		}
	}
}

// upDemo starts a demo that stays up, and returns what it printed until then.
func upDemo(t *testing.T, c demoCommand) (screen []string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := c.play(ctx, w)
		w.Close()
		done <- err
	}()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		screen = append(screen, lines.Text())
		if strings.Contains(lines.Text(), "user bob@") {
			break
		}
	}
	return screen, func() error {
		cancel()
		_, err := io.Copy(io.Discard, r)
		return errors.Join(err, <-done)
	}
}

func TestDemoStaysUpAndItsHintsWork(t *testing.T) {
	dir := t.TempDir()
	screen, stop := upDemo(t, demoCommand{Dir: dir, Keep: true})
	for _, line := range screen {
		if n := utf8.RuneCountInString(line); n > demoWidth && !strings.Contains(line, dir) {
			t.Errorf("line of %d columns: %s", n, line)
		}
		if strings.Contains(line, "\x1b") {
			t.Errorf("colour, but not on a terminal: %q", line)
		}
	}
	if !slices.ContainsFunc(screen, func(l string) bool { return strings.Contains(l, "all 22 scenes as expected") }) {
		t.Errorf("the screen says:\n%s", strings.Join(screen, "\n"))
	}
	folders, _ := filepath.Glob(filepath.Join(dir, "sipedge-demo-*", "acme"))
	if len(folders) != 1 {
		t.Fatalf("folders of acme: %v, want one", folders)
	}
	config := filepath.Join(folders[0], "sipedge.toml")
	command := func(code int, what string, args ...string) {
		t.Helper()
		var out, faults strings.Builder
		got := run(append(args, "-c", config), streams{&out, &faults})
		if got != code || !strings.Contains(out.String(), what) {
			t.Errorf("%v: exit %d, want %d and %s:\n%s%s", args, got, code, what, &out, &faults)
		}
	}
	explain := func(code int, what, from string) {
		t.Helper()
		command(code, what, "explain", "--from", from, "--to", "alice@acme.example")
	}
	explain(exitNo, "partner.blocked", "joe@spam.example")
	explain(exitDone, "partner.allowed", "ann@initech.example")
	command(exitDone, "initech.example", "partner", "discovered")
	command(exitDone, "initech.example", "partner", "forget", "initech.example")
	explain(exitNo, "partner.not_allowed", "ann@initech.example")
	command(exitDone, "rita@acme.example", "user", "list")
	command(exitDone, "127.0.0.66", "ban", "list")
	command(exitDone, "running", "bridge", "list")
	command(exitDone, "jabber.example", "bridge", "show", "xmpp")
	command(exitDone, "they believe our certificate", "bridge", "test", "xmpp", "kim@jabber.example")
	fromCarl := []string{"explain", "--from", "carl@acme.example", "--to", "kim@jabber.example"}
	command(exitDone, "bridge xmpp", fromCarl...)
	command(exitDone, "may not use xmpp", "bridge", "forget", "xmpp", "carl@acme.example")
	command(exitNo, "bridge.not_enabled", fromCarl...)
	if err := stop(); err != nil {
		t.Errorf("the demo ended with %v", err)
	}
	if _, err := os.Stat(filepath.Join(folders[0], "edge.log")); err != nil {
		t.Errorf("kept: %v", err)
	}
}

func TestSceneThatFailsSaysWhatWasExpected(t *testing.T) {
	var out bytes.Buffer
	newDemoScreen(&out, demoCommand{}).scene(sceneReport{
		Number: 5, Title: "a stranger is refused", From: "ann@initech.example", To: "alice@acme.example", Methods: "MESSAGE",
		Want: outcome{Answers: []int{403}, Reason: "partner.not_allowed"},
		Got:  outcome{Answers: []int{200}, Reason: "partner.allowed", Hops: 5, Millis: 12.3},
	})
	want := "✗  5 ann@initech → alice@acme MESSAGE    200     5   12 partner.allowed\n" +
		"      a stranger is refused: want 403 partner.not_allowed, got 200 partner.allowed\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestDemoFindsAnotherPortWhenTheUsualOneIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).AddrPort()
	var ports demoPorts
	defer ports.releaseAll()
	for _, host := range []string{"127.0.0.1", "192.0.2.1"} { // the second is nobody's address here
		got := ports.pick(host, int(taken.Port()))
		if ports.err != nil || !got.Addr().IsLoopback() || got == taken {
			t.Errorf("pick(%s) = %s, %v; want a free one on loopback", host, got, ports.err)
		}
	}
}
