package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestInteropRemote runs testdata/interop/remote_*.txtar: other people's clients as
// users outside, who sign in through the edge to a Kamailio that is registrar.
// baresip and linphone-daemon are phones over TLS; chromium with JsSIP, driven by
// node, is a web page over wss; svcrack guesses passwords.
func TestInteropRemote(t *testing.T) {
	needPrograms(t, "kamailio", "baresip", "linphone-daemon", "chromium", "node", "svcrack")
	browser, err := filepath.Abs(filepath.Join("testdata", "interop", "browser"))
	if err != nil {
		t.Fatal(err)
	}
	needModules(t, browser)
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Files: interopPlays(t, true),
		Setup: func(env *testscript.Env) error {
			env.Setenv("BROWSER", browser)
			return openStage(env)
		},
		Cmds:               stageCommands(),
		Condition:          condition,
		RequireUniqueNames: true,
	})
}

// interopPlays are the plays with real peers: those with users outside, or the
// others.
func interopPlays(t *testing.T, remote bool) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join("testdata", "interop", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(file string) bool {
		return strings.HasPrefix(filepath.Base(file), "remote_") != remote
	})
}

// needModules skips the test where the page's packages were not installed, unless
// it must run.
func needModules(t *testing.T, folder string) {
	t.Helper()
	_, err := os.Stat(filepath.Join(folder, "node_modules", "jssip"))
	switch {
	case err == nil:
	case os.Getenv("CI") != "" || os.Getenv("SIPEDGE_INTEROP") != "":
		t.Fatalf("%v: run npm ci in %s", err, folder)
	case errors.Is(err, fs.ErrNotExist):
		t.Skipf("run npm ci in %s", folder)
	}
}

// says waits until a line of the program's output has all of the expressions. Each
// line is found once, and those before it no more. There is nothing to wait on but
// another look.
func (p *realPeer) says(expressions []string) error {
	var want []*regexp.Regexp
	for _, text := range expressions {
		r, err := regexp.Compile(text)
		if err != nil {
			return err
		}
		want = append(want, r)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(2 * patience)
	for {
		over := ended(p.ended)
		found, err := p.find(want)
		if found || err != nil {
			return err
		}
		if over {
			return fmt.Errorf("%s ended (%v) and did not say %q", p.cmd.Path, p.cmd.ProcessState, expressions)
		}
		select {
		case <-tick.C:
		case <-p.ended:
		case <-deadline:
			return fmt.Errorf("%s did not say %q", p.cmd.Path, expressions)
		}
	}
}

// find looks through the whole lines that nobody has looked at.
func (p *realPeer) find(want []*regexp.Regexp) (bool, error) {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return false, err
	}
	read := p.read
	for line := range strings.Lines(string(text[p.read:])) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		read += len(line)
		if matchesAll(strings.TrimSuffix(line, "\n"), want) {
			p.read = read
			return true, nil
		}
	}
	return false, nil
}

// matchesAll reports whether a line has all of the expressions.
func matchesAll(line string, want []*regexp.Regexp) bool {
	for _, r := range want {
		if !r.MatchString(line) {
			return false
		}
	}
	return true
}

// hears writes a line to the program's input.
func (p *realPeer) hears(words []string) error {
	if p.input == nil {
		return fmt.Errorf("%s takes no commands", p.cmd.Path)
	}
	_, err := p.input.Write([]byte(strings.Join(words, " ") + "\n"))
	return err
}
