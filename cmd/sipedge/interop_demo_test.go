package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInteropDemoOnProsody plays the demo with Prosody as the server of its XMPP company, and
// slixmpp as kim's client: the same scenes, and the same is expected of them.
func TestInteropDemoOnProsody(t *testing.T) {
	needPrograms(t, "prosody", "python3")
	needFile(t, "/usr/lib/python3/dist-packages/slixmpp/__init__.py")
	needFile(t, "/usr/lib/*/lua/5.*/lunbound.so")
	t.Parallel()
	s := openTestStage(t)
	client, err := filepath.Abs(filepath.Join("testdata", "interop", "xmpp", "client.py"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	prosody := func() (xmppCompany, error) {
		return &prosodyCompany{stage: s, client: client, log: t.Output()}, s.ports([]string{"JABBER_S2S"})
	}
	if err := (demoCommand{Once: true, JSON: true, Dir: t.TempDir(), xmpp: prosody}).play(t.Context(), &out); err != nil {
		t.Errorf("demo: %v%s", err, s.tails())
	}
	holdsScenes(t, out.Bytes())
}

// A prosodyCompany is the demo's XMPP company at a Prosody.
type prosodyCompany struct {
	*stage
	client string    // the program
	log    io.Writer // of what it complains about
	kim    *slixmppClient
}

func (p *prosodyCompany) place() netip.AddrPort { return netip.MustParseAddrPort(p.env("JABBER_S2S")) }

func (p *prosodyCompany) start(ctx context.Context, w xmppWorld) (xmppClient, error) {
	p.set("DNS", w.dns.String())
	// With this folder the stage makes no certificate: this one is the demo's.
	if err := os.MkdirAll(p.path("server-jabber"), 0o755); err != nil {
		return nil, err
	}
	for file, text := range map[string][]byte{"jabber.pem": w.cert, "jabber.key": w.key, "ca.pem": w.roots, "jabber-ca.pem": w.authority} {
		if err := os.WriteFile(p.path(file), text, 0o600); err != nil {
			return nil, err
		}
	}
	if err := p.prosody([]string{"jabber", "proof=certificate", "with=smacks", w.user}); err != nil {
		return nil, err
	}
	var err error
	p.kim, err = startSlixmpp(ctx, p.log, p.client, w.user+"@"+w.domain+"/phone", "secret", p.env("JABBER_C2S"), p.path("jabber-ca.pem"))
	return p.kim, err
}

func (p *prosodyCompany) stop() error {
	var err error
	if p.kim != nil {
		err = p.kim.quit()
	}
	if program := p.programs["jabber"]; program != nil {
		program.kill()
	}
	return err
}

// A slixmppClient is testdata/interop/xmpp/client.py: it obeys lines, and says in JSON
// what comes.
type slixmppClient struct {
	cmd   *exec.Cmd
	input io.WriteCloser
	heard chan xmppStanza // closed when it has ended
}

// startSlixmpp signs in, and is available from then on.
func startSlixmpp(ctx context.Context, log io.Writer, command ...string) (*slixmppClient, error) {
	c := &slixmppClient{cmd: exec.Command(command[0], command[1:]...), heard: make(chan xmppStanza, 256)}
	c.cmd.Stderr = log
	output, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if c.input, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go c.read(output)
	if _, err := hears(ctx, c, "ready", func(s xmppStanza) bool { return s.kind == "ready" }); err != nil {
		return c, err
	}
	_, err = fmt.Fprintln(c.input, "presence status='at the sea'")
	return c, err
}

// read takes what the client says.
func (c *slixmppClient) read(output io.Reader) {
	defer close(c.heard)
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		var e struct{ Event, From, Type, ID, Body, Thread, Status, Error string }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return
		}
		condition, _, _ := strings.Cut(e.Error, "/")
		c.heard <- xmppStanza{
			kind: e.Event, from: e.From, typ: e.Type, id: e.ID, body: e.Body, thread: e.Thread, status: e.Status, condition: condition,
		}
	}
}

func (c *slixmppClient) next(ctx context.Context) (xmppStanza, error) {
	select {
	case s, ok := <-c.heard:
		if !ok {
			return s, errors.New("the client has ended")
		}
		return s, nil
	case <-ctx.Done():
		return xmppStanza{}, ctx.Err()
	}
}

func (c *slixmppClient) send(s xmppStanza) error {
	line := s.kind
	for _, f := range []struct{ key, value string }{
		{"to", s.to}, {"type", s.typ}, {"id", s.id}, {"body", s.body}, {"thread", s.thread}, {"status", s.status},
	} {
		if f.value != "" {
			line += " " + f.key + "=" + shellWord(f.value)
		}
	}
	_, err := fmt.Fprintln(c.input, line)
	return err
}

// quit signs out, and waits until the client has ended.
func (c *slixmppClient) quit() error {
	_, err := fmt.Fprintln(c.input, "quit")
	for range c.heard {
	}
	return errors.Join(err, c.cmd.Wait())
}
