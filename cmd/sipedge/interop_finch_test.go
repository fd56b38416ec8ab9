package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestInteropMicrosoft runs the plays of testdata/interop/microsoft, with Debian's
// client of the Microsoft dialect.
func TestInteropMicrosoft(t *testing.T) {
	needPrograms(t, "finch", "tmux")
	needFile(t, "/usr/lib/purple-2/libsipe.so", "/usr/lib/*/purple-2/libsipe.so")
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "interop", "microsoft"),
		Setup:              openStage,
		Cmds:               stageCommands(),
		Condition:          condition,
		RequireUniqueNames: true,
	})
}

// needFile skips the test where none of the files is, unless it must run.
func needFile(t *testing.T, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		if found, _ := filepath.Glob(pattern); found != nil {
			return
		}
	}
	if mustInterop() {
		t.Fatalf("%v is not installed", patterns)
	}
	t.Skipf("%v is not installed", patterns)
}

// finch runs pidgin-sipe in finch, on a terminal that nobody looks at. Its own
// log is in finch.log.
//
//	finch starts ADDRESS USER PASSWORD CERT   signs in; it has seen the certificate before
//	finch shows REGEXP                        waits until the screen does
//	finch types WORD...                       in tmux's words: a text, or a key like Enter or M-n
//	finch says REGEXP                         waits until its log does
//	finch quits                               waits until it has signed out and ended
func (s *stage) finch(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: finch starts|shows|types|says|quits ...")
	}
	switch args[0] {
	case "starts":
		return s.startFinch(args[1], args[2], args[3], args[4])
	case "types":
		_, err := s.tmux(append([]string{"send-keys"}, args[1:]...)...)
		return err
	case "quits":
		if _, err := s.tmux("send-keys", "M-q"); err != nil {
			return err
		}
		return s.awaitText("^none$", func() (string, error) {
			text, err := s.tmux("list-sessions")
			return cmp.Or(text, "none"), err
		})
	case "shows":
		return s.awaitText(args[1], func() (string, error) { return s.tmux("capture-pane", "-p") })
	case "says":
		return s.awaitText(args[1], func() (string, error) {
			text, err := os.ReadFile(s.path("finch.log"))
			return string(text), err
		})
	}
	return fmt.Errorf("finch cannot %q", args[0])
}

// startFinch writes a configuration and starts the program.
func (s *stage) startFinch(address, user, password, cert string) error {
	host, _, _ := strings.Cut(address, ":")
	pem, err := os.ReadFile(s.path(cert + ".pem"))
	if err != nil {
		return err
	}
	peers := s.path("finch/certificates/x509/tls_peers")
	if err := os.MkdirAll(peers, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(peers, host), pem, 0o644); err != nil {
		return err
	}
	name, _, _ := strings.Cut(user, "@")
	accounts := fmt.Sprintf(finchAccounts, user, name, password, address)
	if err := os.WriteFile(s.path("finch/accounts.xml"), []byte(accounts), 0o600); err != nil {
		return err
	}
	// The server stays in the foreground, so that it ends with the play, and
	// finch with its terminal.
	if err := s.startProgram("finch", []string{"tmux", "-S", s.path("tmux"), "-f", "/dev/null", "-D"}); err != nil {
		return err
	}
	if err := s.awaitText("^", func() (string, error) { return s.tmux("start-server") }); err != nil {
		return err
	}
	_, err = s.tmux("new-session", "-d", "-x", "120", "-y", "40",
		"exec env LC_ALL=C.UTF-8 PURPLE_UNSAFE_DEBUG=1 HOME="+s.dir+" finch -d -c "+s.path("finch")+" 2>>"+s.path("finch.log"))
	return err
}

// finchAccounts is finch's configuration. It looks for no mail server, which
// nobody has here.
const finchAccounts = `<?xml version='1.0' encoding='UTF-8' ?>
<account version='1.0'>
 <account>
  <protocol>prpl-sipe</protocol>
  <name>%s,%s</name>
  <password>%s</password>
  <settings>
   <setting name='server' type='string'>%s</setting>
   <setting name='transport' type='string'>tls</setting>
   <setting name='authentication' type='string'>ntlm</setting>
   <setting name='dont-publish' type='bool'>1</setting>
   <setting name='email_url' type='string'>https://127.0.0.1:9/</setting>
  </settings>
  <settings ui='gnt-purple'>
   <setting name='auto-login' type='bool'>1</setting>
  </settings>
 </account>
</account>
`

// tmux gives a command to the terminal that finch runs in.
func (s *stage) tmux(args ...string) (string, error) {
	out, err := exec.Command("tmux", append([]string{"-N", "-S", s.path("tmux")}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("tmux %s: %w: %s", args[0], err, out)
	}
	return string(out), nil
}

// awaitText waits until something that others write has an expression. There is
// nothing to wait on but another look.
func (s *stage) awaitText(expr string, look func() (string, error)) error {
	re, err := regexp.Compile("(?m)" + expr)
	if err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(2 * patience)
	for {
		text, err := look()
		if err == nil && re.MatchString(text) {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.programs["finch"].ended:
			return fmt.Errorf("tmux ended")
		case <-deadline:
			return fmt.Errorf("no %s (%v) in:\n%s", expr, err, text)
		}
	}
}

// finchSent finds a message in finch's log, as it was before anything could
// change it.
func (s *stage) finchSent(m *heard) *heard {
	log, err := os.ReadFile(s.path("finch.log"))
	if err != nil {
		return nil
	}
	var found *heard
	for part := range strings.SplitSeq(string(log), "MESSAGE START >>>>>>>>>> SIP") {
		_, text, _ := strings.Cut(part, "\n")
		head, _, _ := strings.Cut(strings.ReplaceAll(text, "\r", ""), "\n\n")
		sent := parseHeard([]byte(strings.ReplaceAll(head, "\n", "\r\n")))
		if sent.value("call-id") == m.value("call-id") && sent.value("cseq") == m.value("cseq") && sent.isRequest() == m.isRequest() {
			found = sent
		}
	}
	return found
}
