package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// trialChapter is the chapter of the guide to remote users that brings its own files: a
// shell makes them.
const trialChapter = "Try it on this machine"

// trialBlocks are the chapter's blocks in one language.
func trialBlocks(t *testing.T, language string) (list []string) {
	t.Helper()
	chapter := ""
	for _, b := range blocks(t, remoteGuide) {
		switch {
		case b.language == "## ":
			chapter = b.text
		case b.language == language && chapter == trialChapter:
			list = append(list, b.text)
		}
	}
	if len(list) == 0 {
		t.Fatalf("%s shows no %s to try", remoteGuide, language)
	}
	return list
}

// trialCommands are what the chapter types, with what it shows of the answer.
func trialCommands(t *testing.T) (list []example) {
	t.Helper()
	for _, text := range trialBlocks(t, "console") {
		list = append(list, commandsOf(text)...)
	}
	return list
}

// trialSite lets the shell make the files, goes there, and returns what listens at the
// ports that the chapter names: others, where those are taken.
func trialSite(t *testing.T) (s site, ports map[string]string) {
	t.Helper()
	repository, err := filepath.Abs(top)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(repository, "cmd"), filepath.Join(dir, "cmd")); err != nil {
		t.Fatal(err)
	}
	var free demoPorts
	ports, script := map[string]string{}, strings.Join(trialBlocks(t, "sh"), "\n")
	for _, port := range []string{"8443", "5071", "5080", "5081"} {
		if !strings.Contains(script, "127.0.0.1:"+port) {
			t.Errorf("%s no longer uses port %s", remoteGuide, port)
		}
		usual, _ := strconv.Atoi(port)
		ports[port] = strconv.Itoa(int(free.pick("127.0.0.1", usual).Port()))
		script = strings.ReplaceAll(script, port, ports[port])
	}
	free.releaseAll()
	shell := exec.Command("sh", "-e", "-c", script)
	shell.Dir = dir
	if out, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("the shell of %s: %v\n%s", remoteGuide, err, out)
	}
	s = site{t, filepath.Join(dir, "trial")}
	t.Chdir(s.dir)
	return s, ports
}

// TestTrialMakesFilesThatCheck asks check what it thinks of the configuration, and reads
// the chapter's commands as the program would.
func TestTrialMakesFilesThatCheck(t *testing.T) {
	needPrograms(t, "sh", "sed", "openssl")
	commands := trialCommands(t)
	s, _ := trialSite(t)
	code, out, errs := s.runs("check")
	if code != exitDone || !strings.Contains(out, "listener remote") || !strings.Contains(out, "remote access") {
		t.Errorf("check ends with %d and says\n%s%s", code, out, errs)
	}
	for _, c := range commands {
		if words := shellWords(c.command); words[0] == "../sipedge" {
			if _, err := commandLine(t).Parse(words[1:]); err != nil {
				t.Errorf("%q: %v", c.command, err)
			}
		}
	}
}

// TestInteropTrial plays the chapter with the programs that it names: alice's telephone
// signs in, bob's does once he may, and she calls him.
func TestInteropTrial(t *testing.T) {
	needPrograms(t, "sh", "sed", "openssl", "kamailio", "baresip")
	commands := trialCommands(t)
	s, ports := trialSite(t)
	stage := newStage(s.dir)
	stage.deferred = t.Cleanup
	for _, c := range commands {
		trialCommand(t, s, stage, ports, c)
	}
	programs(t, stage, "alice hears /dial sip:bob@example.com", "alice says Call.established:.sip:bob@example.com")
	programs(t, stage, "alice hears /quit", "alice ends", "bob hears /quit", "bob ends")
}

// trialCommand runs one command of the chapter. A telephone that is started again has
// been quit.
func trialCommand(t *testing.T, s site, stage *stage, ports map[string]string, c example) {
	t.Helper()
	words := shellWords(c.command)
	switch {
	case words[0] == "kamailio":
		programs(t, stage, "kamailio serves 127.0.0.1:"+ports["5081"]+" "+c.command)
	case words[0] == "baresip":
		who := words[len(words)-1]
		if stage.programs[who] != nil {
			programs(t, stage, who+" hears /quit", who+" ends")
		}
		programs(t, stage, who+" obeys "+c.command)
		_, want, _ := strings.Cut(strings.TrimSpace(c.output), "...\n")
		if err := stage.program([]string{who, "says", regexp.QuoteMeta(want)}); err != nil {
			t.Fatal(err)
		}
	case words[0] != "../sipedge":
		t.Errorf("no test runs %q", c.command)
	case words[1] == "serve":
		e, err := startDemoEdge("sipedge.toml", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := e.stop(); err != nil {
				t.Error(err)
			}
		})
	default:
		code, out, errs := s.runs(words[1:]...)
		first, _, _ := strings.Cut(c.output, "\n")
		if !strings.Contains(out, first) || code != exitDone {
			t.Errorf("%s ends with %d and says\n%s%s", c.command, code, out, errs)
		}
	}
}

// TestInteropDemo signs a telephone of Debian's in where the demo says that it can.
func TestInteropDemo(t *testing.T) {
	needPrograms(t, "baresip")
	phone, err := os.ReadFile(filepath.Join("testdata", "interop", "parts", "baresip-config"))
	if err != nil {
		t.Fatal(err)
	}
	s := site{t, t.TempDir()}
	screen, stop := upDemo(t, demoCommand{Dir: s.dir})
	hints := strings.Join(screen, "\n")
	authority := regexp.MustCompile(`\S+/certs/inside-ca\.pem`).FindString(hints)
	at := regexp.MustCompile(`tls (\S+) +user (rita@\S+) +password (\S+)`).FindStringSubmatch(hints)
	if _, err := os.Stat(authority); err != nil || at == nil {
		t.Fatalf("%v; the demo says\n%s", err, hints)
	}
	if err := os.Mkdir(filepath.Join(s.dir, "rita"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write("rita/config", strings.ReplaceAll(string(phone), "ca.pem", authority))
	s.write("rita/accounts", fmt.Sprintf("<sip:%s;transport=tls>;auth_pass=%s;outbound=\"sip:%s;transport=tls\";sipnat=outbound\n", at[2], at[3], at[1]))
	stage := newStage(s.dir)
	stage.deferred = t.Cleanup
	programs(t, stage, "rita obeys baresip -f rita", "rita says 200.OK.*binding", "rita hears /quit", "rita ends")
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// programs does with real peers what a play writes as program NAME VERB...
func programs(t *testing.T, stage *stage, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := stage.program(strings.Fields(line)); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}
