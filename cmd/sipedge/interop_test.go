package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestInterop runs testdata/interop/*.txtar, but for those of TestInteropRemote:
// plays in the same language with real peers. They are skipped where a program is missing, but not where CI or
// SIPEDGE_INTEROP is set: there they must run.
func TestInterop(t *testing.T) {
	needPrograms(t, "kamailio", "sipp", "stunnel4", "openssl")
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Files:              interopPlays(t, false),
		Setup:              openStage,
		Cmds:               stageCommands(),
		Condition:          condition,
		RequireUniqueNames: true,
	})
}

// needPrograms skips the test where a program is missing, unless it must run.
func needPrograms(t *testing.T, names ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("real peers take their time")
	}
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if mustInterop() {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("%s is not installed", name)
	}
}

// mustInterop reports whether real peers have to be there.
func mustInterop() bool { return os.Getenv("CI") != "" || os.Getenv("SIPEDGE_INTEROP") != "" }

// borrow copies files of testdata/interop/parts into the play, filled in.
func (s *stage) borrow(names []string) error {
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join("testdata", "interop", "parts", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.path(name), text, 0o644); err != nil {
			return err
		}
		if err := s.fillFiles([]string{name}); err != nil {
			return err
		}
	}
	return nil
}

// A realPeer is a program of someone else's, with its children.
type realPeer struct {
	cmd   *exec.Cmd
	log   *os.File
	input io.Writer // nil unless it takes commands
	read  int       // octets of the log that says has looked at
	ended chan struct{}
}

// program runs a real peer, whose output goes to NAME.log:
//
//	program NAME serves ADDRESS [in=NETNS] COMMAND...   and waits until it listens there
//	program NAME runs COMMAND...             and does not wait
//	program NAME obeys COMMAND...            the same, for one that reads commands
//	program NAME hears WORDS...              a line for one that obeys
//	program NAME says REGEXP...              waits for a line of its output with all of them
//	program NAME ends                        waits until it has ended well
//	program NAME signals STOP|CONT|TERM
//	program NAME dies                        as a crash
func (s *stage) program(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: program NAME serves|runs|obeys|hears|says|ends|signals|dies ...")
	}
	name, p := args[0], s.programs[args[0]]
	switch verb := args[1]; {
	case verb == "serves":
		command, netns := args[3:], ""
		if ns, ok := strings.CutPrefix(command[0], "in="); ok {
			command, netns = append([]string{"ip", "netns", "exec", ns}, command[1:]...), ns
		}
		if err := s.startProgram(name, command); err != nil {
			return err
		}
		return s.programs[name].awaitListener(args[2], netns)
	case verb == "runs":
		return s.startProgram(name, args[2:])
	case verb == "obeys":
		return s.startObedient(name, args[2:])
	case p == nil:
		return fmt.Errorf("%s was not started", name)
	case verb == "hears":
		return p.hears(args[2:])
	case verb == "says":
		return p.says(args[2:])
	case verb == "ends":
		return p.end()
	case verb == "signals":
		sig := map[string]syscall.Signal{"STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT, "TERM": syscall.SIGTERM}[args[2]]
		return syscall.Kill(-p.cmd.Process.Pid, sig)
	case verb == "dies":
		p.kill()
		return nil
	}
	return fmt.Errorf("programs cannot %q", args[1])
}

// startProgram starts a real peer in a process group of its own.
func (s *stage) startProgram(name string, args []string) error {
	p, err := s.newProgram(name, args)
	if err != nil {
		return err
	}
	return s.start(name, p)
}

// startObedient starts one that reads commands, from a pipe.
func (s *stage) startObedient(name string, args []string) error {
	p, err := s.newProgram(name, args)
	if err != nil {
		return err
	}
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	return s.start(name, p)
}

// newProgram is a real peer whose output goes to NAME.log, behind what is there.
func (s *stage) newProgram(name string, args []string) (*realPeer, error) {
	log, err := os.OpenFile(s.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	before, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	p := &realPeer{cmd: exec.Command(args[0], args[1:]...), log: log, read: int(before), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = s.dir, log, log
	p.cmd.Env = append(os.Environ(), "TERM=vt100")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return p, nil
}

// start starts it, until the play ends.
func (s *stage) start(name string, p *realPeer) error {
	if err := p.cmd.Start(); err != nil {
		return err
	}
	s.programs[name] = p
	s.deferred(p.kill)
	go func() {
		p.cmd.Wait()
		p.log.Close()
		close(p.ended)
	}()
	return nil
}

// kill ends a real peer and its children.
func (p *realPeer) kill() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// end waits until a real peer has ended.
func (p *realPeer) end() error {
	select {
	case <-p.ended:
	case <-time.After(4 * patience):
		return fmt.Errorf("%s did not end", p.cmd.Path)
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("%s: %v\n%s", p.cmd.Path, p.cmd.ProcessState, lastLines(p.log.Name()))
	}
	return nil
}

// awaitListener waits until somebody takes connections at an address. There
// is nothing to wait on but another attempt.
func (p *realPeer) awaitListener(address, netns string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		err := inside(netns, func() error {
			c, err := net.Dial("tcp", address)
			if err == nil {
				c.Close()
			}
			return err
		})
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("%s ended: %v\n%s", p.cmd.Path, p.cmd.ProcessState, lastLines(p.log.Name()))
		case <-deadline:
			return fmt.Errorf("%s does not listen on %s\n%s", p.cmd.Path, address, lastLines(p.log.Name()))
		}
	}
}

// lastLines is the end of a log.
func lastLines(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(text), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// ledger compares what a sender had accepted with what a server received:
// ledger SENT RECEIVED [COUNT]. Each is a file with lines that have
// "ledger CALL-ID" in them. Every accepted message must have been received, and
// at least COUNT accepted.
func (s *stage) ledger(args []string) error {
	sent, err := readLedger(s.path(args[0]))
	if err != nil {
		return err
	}
	received, err := readLedger(s.path(args[1]))
	if err != nil {
		return err
	}
	for id := range sent {
		if received[id] == 0 {
			return fmt.Errorf("%s was accepted and did not arrive (%d accepted, %d arrived)", id, len(sent), len(received))
		}
	}
	if len(args) > 2 && fmt.Sprint(len(sent)) != args[2] {
		return fmt.Errorf("%d accepted, want %s", len(sent), args[2])
	}
	return nil
}

// readLedger counts the entries of a ledger.
func readLedger(file string) (map[string]int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	entries := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		if _, id, ok := strings.Cut(line, "ledger "); ok {
			entries[strings.TrimSpace(id)]++
		}
	}
	return entries, nil
}
