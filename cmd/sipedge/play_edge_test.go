package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// An edgeProcess is "sipedge serve" in a process of its own, with its log.
type edgeProcess struct {
	name    string
	cmd     *exec.Cmd
	process chan struct{} // closed when the process has ended
	read    chan struct{} // closed when its log has been read to the end

	mu    sync.Mutex // guards what follows
	lines []logLine
	fresh chan struct{} // closed and made anew at each line
}

// A logLine is one line of an edge's log. A play finds each line once.
type logLine struct {
	text  string
	attrs map[string]string
	found bool
}

// edge starts, signals and stops edges: edge starts [CONFIG] [as=NAME]
// [files=N] [in=NETNS], edge signals HUP, edge stops, edge ends (which was signalled), edge
// dies. One without a name is called "edge"; N is its limit on open files.
func (s *stage) edge(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: edge starts|signals|stops|ends|dies")
	}
	o := options(args[1:])
	name := "edge"
	if o["as"] != "" {
		name = o["as"]
	}
	if args[0] == "starts" {
		config := "sipedge.toml"
		if len(args) > 1 && !strings.Contains(args[1], "=") {
			config = args[1]
		}
		return s.startEdge(name, config, o["files"], o["in"])
	}
	e := s.edges[name]
	if e == nil {
		return fmt.Errorf("%s was not started", name)
	}
	switch args[0] {
	case "signals":
		return e.signal(args[1])
	case "stops":
		return e.stop()
	case "ends":
		return e.ends()
	case "dies":
		return e.kill()
	}
	return fmt.Errorf("edges cannot %q", args[0])
}

// startEdge fills in the configuration beside config and waits until the edge
// says that it is ready.
func (s *stage) startEdge(name, config, files, netns string) error {
	if old := s.edges[name]; old != nil && !ended(old.process) {
		return fmt.Errorf("%s runs already", name)
	}
	if err := s.fillConfig(config); err != nil {
		return err
	}
	e := &edgeProcess{name: name, process: make(chan struct{}), read: make(chan struct{}), fresh: make(chan struct{})}
	if err := e.start(s.path(config), s.path(name+".log"), files, netns); err != nil {
		return err
	}
	s.edges[name] = e
	s.set("EDGE_PID", fmt.Sprint(e.cmd.Process.Pid))
	_, err := e.await("Server is ready.", func(l logLine) bool { return strings.Contains(l.text, "Server is ready.") })
	return err
}

// fillConfig fills in the variables of an edge's two files.
func (s *stage) fillConfig(config string) error {
	partners := strings.TrimSuffix(config, "sipedge.toml") + "partners.toml"
	if _, err := os.Stat(s.path(partners)); err != nil {
		return s.fillFiles([]string{config})
	}
	return s.fillFiles([]string{config, partners})
}

// start runs the program, with a limit on its files if there is one, in a
// network namespace if it is to be in one.
func (e *edgeProcess) start(config, log, files, netns string) error {
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	e.cmd = exec.Command("sipedge", "serve", "-c", config)
	if netns != "" {
		e.cmd = exec.Command("ip", "netns", "exec", netns, "sipedge", "serve", "-c", config)
	}
	if files != "" {
		e.cmd = exec.Command("sh", "-c", `ulimit -n "$1" && exec sipedge serve -c "$2"`, "sh", files, config)
	}
	e.cmd.Stdout, e.cmd.Stderr = in, in
	if err := e.cmd.Start(); err != nil {
		return err
	}
	go e.follow(io.TeeReader(out, file), file)
	go func() { e.cmd.Wait(); close(e.process) }()
	return nil
}

// follow takes in the log until the process has closed it.
func (e *edgeProcess) follow(r io.Reader, file *os.File) {
	defer close(e.read)
	defer file.Close()
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		e.mu.Lock()
		e.lines = append(e.lines, readLogLine(lines.Text()))
		close(e.fresh)
		e.fresh = make(chan struct{})
		e.mu.Unlock()
	}
}

// attribute is one attribute of a line that slog's text handler wrote.
var attribute = regexp.MustCompile(`([\w.]+)=("(?:[^"\\]|\\.)*"|\S*)`)

// readLogLine reads the attributes of a line, in JSON or in text.
func readLogLine(text string) logLine {
	l := logLine{text: text, attrs: make(map[string]string)}
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	if d.Decode(&object) == nil {
		for k, v := range object {
			l.attrs[k] = fmt.Sprint(v)
		}
		return l
	}
	for _, m := range attribute.FindAllStringSubmatch(text, -1) {
		v := m[2]
		if strings.HasPrefix(v, `"`) {
			v = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(v[1 : len(v)-1])
		}
		l.attrs[m[1]] = v
	}
	return l
}

// await finds a line of the log that was not found before, and waits for it.
func (e *edgeProcess) await(want string, is func(logLine) bool) (logLine, error) {
	deadline := time.After(patience)
	for {
		l, fresh, ok := e.find(is)
		if ok {
			return l, nil
		}
		select {
		case <-fresh:
		case <-e.read:
			if l, _, ok := e.find(is); ok {
				return l, nil
			}
			return logLine{}, fmt.Errorf("%s ended without saying %q", e.name, want)
		case <-deadline:
			return logLine{}, fmt.Errorf("%s did not say %q within %v", e.name, want, patience)
		}
	}
}

// find looks through the lines that are there, and gives what tells of more.
func (e *edgeProcess) find(is func(logLine) bool) (logLine, <-chan struct{}, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, l := range e.lines {
		if !l.found && is(l) {
			e.lines[i].found = true
			return l, nil, true
		}
	}
	return logLine{}, e.fresh, false
}

// tail is the end of the log, for a failure's message.
func (e *edgeProcess) tail() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var b strings.Builder
	for _, l := range e.lines[max(0, len(e.lines)-40):] {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}

// signal sends HUP, TERM, STOP or CONT.
func (e *edgeProcess) signal(name string) error {
	sig, ok := map[string]syscall.Signal{
		"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT,
	}[name]
	if !ok {
		return fmt.Errorf("no such signal: %s", name)
	}
	return e.cmd.Process.Signal(sig)
}

// stop asks the edge to end, and expects that it does so in order.
func (e *edgeProcess) stop() error {
	if err := e.signal("TERM"); err != nil {
		return err
	}
	return e.ends()
}

// ends expects that the edge, which was asked to, ends in order.
func (e *edgeProcess) ends() error {
	select {
	case <-e.process:
	case <-time.After(patience):
		return fmt.Errorf("%s did not stop within %v", e.name, patience)
	}
	<-e.read
	if !e.cmd.ProcessState.Success() {
		return fmt.Errorf("%s stopped with %v", e.name, e.cmd.ProcessState)
	}
	return nil
}

// kill ends the edge as a crash would.
func (e *edgeProcess) kill() error {
	err := e.cmd.Process.Kill()
	<-e.process
	<-e.read
	return err
}

// end is for the end of a play: no edge outlives it, and none may have
// panicked or raced.
func (e *edgeProcess) end() error {
	if !ended(e.process) {
		e.kill()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, l := range e.lines {
		if strings.Contains(l.text, "panic") || strings.Contains(l.text, "DATA RACE") {
			var b strings.Builder
			for _, l := range e.lines[i:min(i+60, len(e.lines))] {
				b.WriteString(l.text + "\n")
			}
			return fmt.Errorf("%s panicked or raced:\n%s", e.name, b.String())
		}
	}
	return nil
}

// ended reports whether a channel was closed.
func ended(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// logged waits for a line of the edge's log: logged 'MESSAGE' [KEY=VALUE...].
func (s *stage) logged(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: logged MESSAGE [KEY=VALUE...]")
	}
	return s.awaitLine(args[1:], strings.Join(args, " "), func(l logLine) bool { return l.attrs["msg"] == args[0] })
}

// audit waits for the audit line of a request, which has a verdict's reason:
// audit reason=partner.blocked rule='blocked spam.example'.
func (s *stage) audit(args []string) error {
	return s.awaitLine(args, strings.Join(args, " "), func(l logLine) bool { return l.attrs["reason"] != "" })
}

// awaitLine waits for a line whose attributes begin with the values given.
func (s *stage) awaitLine(args []string, want string, is func(logLine) bool) error {
	o := options(args)
	name := "edge"
	if o["edge"] != "" {
		name = o["edge"]
		delete(o, "edge")
	}
	e := s.edges[name]
	if e == nil {
		return fmt.Errorf("%s was not started", name)
	}
	_, err := e.await(want, func(l logLine) bool {
		for k, v := range o {
			if !strings.HasPrefix(l.attrs[k], v) {
				return false
			}
		}
		return is(l)
	})
	return err
}
