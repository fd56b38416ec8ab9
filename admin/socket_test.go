package admin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/remoteaccess"
)

// lists are lists without a file: what is decided is all there is.
type lists struct {
	t         *testing.T
	discovery *federation.Discovery
	file      federation.File
	now       *federation.Partners
	fault     error // of the next Refresh

	decisions *remoteaccess.Decisions
	remote    remoteaccess.File
	access    *remoteaccess.Access
}

func (l *lists) Partners() *federation.Partners { return l.now }

func (l *lists) Faults() []error { return nil }

func (l *lists) RemoteFaults() []error { return nil }

func (l *lists) Refresh() error {
	if l.fault != nil {
		return l.fault
	}
	p, errs := federation.Compile(l.file, []string{"example.com"}, federation.With{Decisions: l.discovery.Decisions(), Now: time.Now()})
	if errs != nil {
		return errors.Join(errs...)
	}
	l.now = p
	return nil
}

func (l *lists) Remote() *remoteaccess.Access { return l.access }

func (l *lists) RefreshRemote() error {
	if l.fault != nil {
		return l.fault
	}
	a, errs := remoteaccess.Compile(l.remote, []string{"example.com"}, l.decisions.With())
	if errs != nil {
		return errors.Join(errs...)
	}
	l.access = a
	return nil
}

// A desk is a control socket with what stands behind it.
type desk struct {
	*testing.T
	path   string
	lists  *lists
	server *Server
	client *Client
	log    *strings.Builder
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// shortDir is a folder whose path a socket may have: that of t.TempDir has the
// test's name in it.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "adm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// open runs a server until the test ends.
func open(t *testing.T) *desk { return openWith(t, func(*Server) {}) }

// openWith is open with something changed before it runs.
func openWith(t *testing.T, change func(*Server)) *desk {
	d := &desk{T: t, path: SocketPath(shortDir(t)), log: new(strings.Builder)}
	discovery, err := federation.OpenDiscovery(nil, nil, quiet())
	if err != nil {
		t.Fatal(err)
	}
	d.lists = &lists{t: t, discovery: discovery, file: federation.File{
		File:     "partners.toml",
		Partners: map[string]federation.PartnerConfig{"fabrikam.example": {Line: 3}},
		Blocked:  map[string]federation.BlockedConfig{"spam.example": {Line: 5}},
	}}
	d.lists.decisions = remoteaccess.OpenDecisions(nil, quiet())
	d.lists.remote = remoteFile()
	guard, err := remoteaccess.OpenGuard(remoteaccess.GuardConfig{}, nil, nil, quiet(), time.Now)
	if err := errors.Join(err, d.lists.Refresh(), d.lists.RefreshRemote()); err != nil {
		t.Fatal(err)
	}
	e, _ := edge.New(edge.Config{}, d.lists.now, nil, edge.Remote{Access: d.lists.access, Guard: guard}, quiet()) // without ports
	d.server, err = Listen(d.path, Config{
		Name: "edge1.example.com", Domains: []string{"example.com"}, Edge: e,
		Lists: d.lists, Discovery: discovery, Access: d.lists, Decisions: d.lists.decisions, Guard: guard, Log: slog.New(slog.NewTextHandler(d.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	change(d.server)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); d.server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
		if _, err := os.Lstat(d.path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	d.client = NewClient(d.path)
	return d
}

// raw writes octets and reads what comes until the end.
func (d *desk) raw(text string) string {
	d.Helper()
	c, err := net.Dial("unix", d.path)
	if err != nil {
		d.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, text) // it may be hung up on before the end
	answer, _ := io.ReadAll(c)
	return string(answer)
}

func TestGarbageGetsABadRequest(t *testing.T) {
	d := open(t)
	for _, text := range []string{
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "MESSAGE sip:alice@example.com SIP/2.0\r\n\r\n", "GET\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /v1/status HTTP/1.1\r\n\r\n",
	} {
		if got := d.raw(text); !strings.HasPrefix(got, "HTTP/1.1 4") && !strings.HasPrefix(got, "HTTP/1.1 505") {
			t.Errorf("%q is answered %q", text, got)
		}
	}
	if got := d.raw("GET /v1/status HTTP/1.1\r\nHost: " + strings.Repeat("x", 20000) + "\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 431") {
		t.Errorf("a header of 20,000 octets is answered %q", got)
	}
	if got := d.raw("GET /v1/status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("another's Host counts: %q", got)
	}
	if _, err := d.client.Discovered(t.Context()); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

func TestOnlySoManyConnectAtOnce(t *testing.T) {
	d := open(t)
	ask := func(c net.Conn) error {
		io.WriteString(c, "GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n")
		_, err := http.ReadResponse(bufio.NewReader(c), nil)
		return err
	}
	connect := func() net.Conn {
		c, err := net.Dial("unix", d.path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	var idle []net.Conn
	for range maxConnections {
		idle = append(idle, connect())
		if err := ask(idle[len(idle)-1]); err != nil {
			t.Fatal(err)
		}
	}
	more := connect()
	answered := make(chan error, 1)
	go func() { answered <- ask(more) }()
	if err := ask(idle[1]); err != nil {
		t.Errorf("one of those that are open: %v", err)
	}
	select {
	case err := <-answered:
		t.Fatalf("one more than there may be is answered: %v", err)
	default:
	}
	idle[0].Close()
	if err := <-answered; err != nil {
		t.Errorf("when one has gone: %v", err)
	}
}

func TestWhoMayNotConnectIsToldSoAndNotRead(t *testing.T) {
	d := openWith(t, func(s *Server) { s.listener.may = func(int) bool { return false } })
	if got := d.raw(""); !strings.HasPrefix(got, "HTTP/1.1 403") {
		t.Errorf("answered %q", got)
	}
	if _, err := d.client.Status(t.Context()); !errors.Is(err, ErrNotPermitted) {
		t.Errorf("the client says %v", err)
	}
}

func TestWhoMayConnect(t *testing.T) {
	me := os.Geteuid()
	for uid, want := range map[int]bool{0: true, me: true, me + 1: false, 65534: me == 65534, -1: false} {
		if got := mayConnect(uid); got != want && closedTo == 0o022 {
			t.Errorf("user %d: %v", uid, got)
		}
	}
}

func TestASecondEdgeIsNotLetIn(t *testing.T) {
	d := open(t)
	if _, err := Listen(d.path, d.server.Config); !errors.Is(err, ErrRunning) {
		t.Errorf("Listen = %v, want ErrRunning", err)
	}
	if _, err := d.client.Status(t.Context()); err != nil {
		t.Errorf("the first: %v", err)
	}
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	path := SocketPath(shortDir(t))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := NewClient(path).Status(t.Context()); !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), path) {
		t.Errorf("Status = %v, want ErrNotRunning and the path", err)
	}
	s, err := Listen(path, Config{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestWhereNoSocketMayBe(t *testing.T) {
	dir := shortDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	lax := filepath.Join(dir, "lax")
	if err := os.Mkdir(lax, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(lax, 0o777); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(dir, strings.Repeat("x", 100), "control.sock")
	for path, want := range map[string]string{
		file: "is no socket", filepath.Join(lax, "s"): "chmod 700 it",
		long: long + ", has", filepath.Join(file, "s"): "not a directory",
	} {
		s, err := Listen(path, Config{Log: quiet()})
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Listen(%s) = %v, want %q", path, err, want)
		}
	}
}

func TestABugInAnAnswerIsCaught(t *testing.T) {
	d := openWith(t, func(s *Server) { s.Lists = nil })
	_, err := d.client.Discovered(t.Context())
	var p *Problem
	if !errors.As(err, &p) || p.Status != http.StatusInternalServerError || p.Code != CodeFailed {
		t.Errorf("Discovered = %v", err)
	}
}

func TestAFolderOfSomebodyElseIsNoPlaceForTheSocket(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	dir := shortDir(t)
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if l, err := listen(SocketPath(dir), quiet()); err == nil {
		l.Close()
		t.Error("the socket is opened where somebody else can put another in its place")
	}
}
