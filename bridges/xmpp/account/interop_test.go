package account

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xmppo/go-xmpp"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A real server is one of others, on loopback, with a certificate of the test's
// authority for example.net and the users romeo and juliet.
type real struct {
	t       *testing.T
	address string
	roots   *x509.CertPool
	command func() *exec.Cmd
	ready   string // in a line that it prints
	running *exec.Cmd
}

// installed skips a test where a program is not installed, but not where CI or
// SIPEDGE_INTEROP is set.
func installed(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if _, err := exec.LookPath(path); err == nil {
			continue
		}
		if os.Getenv("CI") != "" || os.Getenv("SIPEDGE_INTEROP") != "" {
			t.Fatalf("%s is not installed", path)
		}
		t.Skipf("%s is not installed", path)
	}
}

// freePort returns a port on loopback that nobody has.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// start starts the server and waits until it is ready.
func (r *real) start() {
	r.t.Helper()
	cmd := r.command()
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.running = cmd
	ready := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.Contains(lines.Text(), r.ready) {
				select {
				case ready <- true:
				default:
				}
			}
			if testing.Verbose() {
				fmt.Println(lines.Text())
			}
		}
		close(ready)
	}()
	select {
	case ok := <-ready:
		if !ok {
			r.t.Fatalf("%s ended", cmd.Path)
		}
	case <-time.After(time.Minute):
		r.t.Fatalf("%s is not ready", cmd.Path)
	}
}

// stop kills it.
func (r *real) stop() {
	if r.running != nil {
		r.running.Process.Kill()
		r.running.Wait()
		r.running = nil
	}
}

func (r *real) account(name string) Account {
	return Account{JID: name + "@example.net", Password: "pw-" + name, Server: r.address, TLS: &tls.Config{RootCAs: r.roots}}
}

func prosody(t *testing.T) *real {
	t.Helper()
	installed(t, "prosody", "prosodyctl")
	_, roots, dir := certificate(t, "example.net", "example.com")
	port := freePort(t)
	config := filepath.Join(dir, "prosody.cfg.lua")
	write(t, config, fmt.Sprintf(`
run_as_root = true
data_path = %[1]q
pidfile = %[2]q
interfaces = { "127.0.0.1" }
c2s_ports = { %[3]d }
s2s_ports = { }
modules_enabled = { "roster"; "saslauth"; "tls"; "disco"; "ping"; "dialback"; "offline"; "c2s"; "s2s" }
modules_disabled = { "s2s"; "posix" }
authentication = "internal_hashed"
c2s_require_encryption = true
log = { info = "*console" }
ssl = { certificate = %[4]q; key = %[5]q }
VirtualHost "example.net"
VirtualHost "example.com"
`, dir, filepath.Join(dir, "pid"), port, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")))
	for _, name := range []string{"romeo", "juliet"} {
		if out, err := exec.Command("prosodyctl", "--config", config, "register", name, "example.net", "pw-"+name).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	r := &real{t: t, address: fmt.Sprint("127.0.0.1:", port), roots: roots, ready: "Activated service 'c2s'"}
	r.command = func() *exec.Cmd { return exec.Command("prosody", "--config", config, "-F") }
	r.start()
	t.Cleanup(r.stop)
	return r
}

func ejabberd(t *testing.T) *real {
	t.Helper()
	installed(t, "/usr/sbin/ejabberdctl", "erl")
	_, roots, dir := certificate(t, "example.net")
	port := freePort(t)
	config := filepath.Join(dir, "ejabberd.yml")
	write(t, config, fmt.Sprintf(`
hosts: [example.net]
loglevel: warning
certfiles: [%q]
auth_method: internal
auth_password_format: scram
listen:
  - port: %d
    ip: "127.0.0.1"
    module: ejabberd_c2s
    starttls_required: true
modules:
  mod_disco: {}
  mod_ping: {}
  mod_roster: {}
  mod_offline: {}
`, filepath.Join(dir, "both.pem"), port))
	r := &real{t: t, address: fmt.Sprint("127.0.0.1:", port), roots: roots, ready: "ready for tests"}
	// Without ejabberdctl, which wants another user, and makes nodes that talk.
	r.command = func() *exec.Cmd {
		register := ""
		for _, name := range []string{"romeo", "juliet"} {
			register += fmt.Sprintf("ejabberd_auth:try_register(<<%q>>,<<\"example.net\">>,<<%q>>),", name, "pw-"+name)
		}
		cmd := exec.Command("erl", "-noinput", "-mnesia", "dir", fmt.Sprintf("%q", filepath.Join(dir, "db")), "-s", "ejabberd", "-eval", register+`io:format("ready for tests~n").`)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir, "ERL_LIBS="+libraries(t), "EJABBERD_CONFIG_PATH="+config, "EJABBERD_LOG_PATH="+filepath.Join(dir, "log"), "ERL_CRASH_DUMP=/dev/null")
		return cmd
	}
	r.start()
	t.Cleanup(r.stop)
	return r
}

// libraries is where Debian has those of ejabberd.
func libraries(t *testing.T) string {
	found, err := filepath.Glob("/usr/lib/*/ejabberd-*")
	if err != nil || len(found) == 0 {
		t.Fatal("the libraries of ejabberd are not found")
	}
	return filepath.Dir(found[0])
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// session is one user's at a real server.
func (r *real) session(t *testing.T, name string) (*Session, *listener) {
	t.Helper()
	l := &listener{make(chan *stanza.Element, 1000), make(chan error, 1000)}
	s := New(Config{Account: r.account(name)}, l)
	s.pace.first, s.pace.most = 50*time.Millisecond, 200*time.Millisecond
	start(t, s)
	if err := l.change(t); err != errUp {
		t.Fatal(err)
	}
	return s, l
}

// wait waits for a stanza that is as it should be, and passes over others.
func (l *listener) wait(t *testing.T, what string, is func(*stanza.Element) bool) *stanza.Element {
	t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case e := <-l.stanzas:
			if is(e) {
				return e
			}
		case <-late:
			t.Fatalf("%s never came", what)
		}
	}
}

func TestInteropSessions(t *testing.T) {
	for name, server := range map[string]func(*testing.T) *real{"Prosody": prosody, "ejabberd": ejabberd} {
		t.Run(name, func(t *testing.T) {
			r := server(t)
			romeo, his := r.session(t, "romeo")
			juliet, hers := r.session(t, "juliet")
			done := make(chan error, 10)
			sent := func(err error) { done <- err }
			delivered := func(s *Session, e *stanza.Element) {
				t.Helper()
				s.Send(e, sent)
				if err := within(t, done); err != nil {
					t.Fatal(err)
				}
			}
			message := func(to, id, body string) *stanza.Element {
				m := stanza.New(stanza.NS, "message", attr("to", to), attr("id", id), attr("type", "chat"))
				m.AddText(stanza.NS, "body", body)
				return m
			}
			// A message has its id, and an answer to a resource arrives.
			delivered(romeo, message("juliet@example.net", "m-1", "But, soft! <&> \U0001F600"))
			got := hers.wait(t, "the message", func(e *stanza.Element) bool { return e.Local == "message" })
			if got.Attr("id") != "m-1" || got.Child(stanza.NS, "body").Text != "But, soft! <&> \U0001F600" || !strings.HasPrefix(got.Attr("from"), "romeo@example.net/") {
				t.Errorf("she gets %s", stanza.Append(nil, got))
			}
			delivered(juliet, message(got.Attr("from"), "m-2", "Ay me!"))
			his.wait(t, "the answer", func(e *stanza.Element) bool { return e.Attr("id") == "m-2" })

			// Who is not there bounces, with the id and the condition.
			delivered(romeo, message("nobody@example.net", "m-3", "hello?"))
			got = his.wait(t, "the error", func(e *stanza.Element) bool { return e.Attr("id") == "m-3" })
			if e := stanza.ErrorOf(got); e == nil || e.Condition != "service-unavailable" && e.Condition != "item-not-found" {
				t.Errorf("the error is %s", stanza.Append(nil, got))
			}

			// A subscription, and presence with all that is in it.
			delivered(romeo, stanza.New(stanza.NS, "presence", attr("to", "juliet@example.net"), attr("type", "subscribe")))
			hers.wait(t, "the question", func(e *stanza.Element) bool { return e.Attr("type") == "subscribe" })
			delivered(juliet, stanza.New(stanza.NS, "presence", attr("to", "romeo@example.net"), attr("type", "subscribed")))
			his.wait(t, "the contact list", func(e *stanza.Element) bool {
				q := e.Child(nsRoster, "query")
				return q != nil && e.Attr("type") == "set" && q.Children[0].Attr("subscription") == "to"
			})
			away := stanza.New(stanza.NS, "presence")
			away.AddText(stanza.NS, "show", "dnd")
			away.AddText(stanza.NS, "priority", "7")
			delivered(juliet, away)
			his.wait(t, "her presence", func(e *stanza.Element) bool {
				show, priority := e.Child(stanza.NS, "show"), e.Child(stanza.NS, "priority")
				return e.Local == "presence" && show != nil && show.Text == "dnd" && priority != nil && priority.Text == "7"
			})

			// The server dies and comes back, and so do the sessions, as they were.
			r.stop()
			if err := his.change(t); err == nil || err == errUp {
				t.Errorf("the end is told as %v", err)
			}
			romeo.Send(message("juliet@example.net", "m-4", "lost"), sent)
			if err := within(t, done); !errors.Is(err, ErrDown) && !errors.Is(err, ErrLost) {
				t.Errorf("it was delivered to nobody: %v", err)
			}
			r.start()
			for _, l := range []*listener{his, hers} {
				for l.change(t) != errUp {
				}
			}
			his.wait(t, "her presence again", func(e *stanza.Element) bool {
				show := e.Child(stanza.NS, "show")
				return e.Local == "presence" && show != nil && show.Text == "dnd"
			})
			delivered(juliet, message("romeo@example.net", "m-5", "again"))
			his.wait(t, "the message after that", func(e *stanza.Element) bool { return e.Attr("id") == "m-5" })
		})
	}
}

// ejabberd offers what it cannot do with TLS 1.3, and go-xmpp believes it.
func TestDefect6TheStrongestMechanismOfEjabberdDoesNotWork(t *testing.T) {
	r := ejabberd(t)
	log := func(mechanism string) error {
		_, err := xmpp.Options{
			Host: r.address, User: "romeo@example.net", Password: "pw-romeo", Mechanism: mechanism, NoTLS: true, StartTLS: true,
			TLSConfig: &tls.Config{RootCAs: r.roots, ServerName: "example.net"}, DialTimeout: 20 * time.Second,
		}.NewClient()
		return err // it is not closed: that leaves a goroutine behind
	}
	if err := log(""); err == nil || !strings.Contains(err.Error(), "channel binding") {
		t.Errorf("by its own choice: %v", err)
	}
	if err := log("SCRAM-SHA-1"); err != nil {
		t.Errorf("with SCRAM-SHA-1: %v", err)
	}
}

func TestInteropCheck(t *testing.T) {
	r := prosody(t)
	a := r.account("romeo")
	steps := a.Check(t.Context(), "example.com")
	if last := steps[len(steps)-1]; len(steps) != 5 || !last.OK {
		t.Errorf("it reaches the other domain: %+v", steps)
	}
	steps = a.Check(t.Context(), "fabrikam.example")
	if last := steps[len(steps)-1]; len(steps) != 4 || last.OK {
		t.Errorf("it does not reach a domain of another server: %+v", steps)
	}
}
