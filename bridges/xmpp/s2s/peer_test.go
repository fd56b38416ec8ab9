package s2s

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate/locatetest"
)

// needProgram skips the test where a real peer is not installed, unless it must be.
func needProgram(t *testing.T, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("real peers take their time")
	}
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" || os.Getenv("SIPEDGE_INTEROP") != "" {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("%s is not installed", name)
	}
	return path
}

// A zone is a DNS server that real peers ask.
type zone struct {
	*locatetest.Server
	t    *testing.T
	host string // of all servers; "": each has its own
	text string
}

func newZone(t *testing.T) *zone {
	t.Helper()
	z, err := locatetest.Serve("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(z.Close)
	return &zone{Server: z, t: t}
}

// point adds the SRV record of a domain.
func (z *zone) point(domain, addr string) {
	_, port, _ := net.SplitHostPort(addr)
	host := z.host
	if host == "" {
		host = "xmpp." + domain
		z.text += host + ". 60 IN A 127.0.0.1\n"
	}
	z.text += fmt.Sprintf("_xmpp-server._tcp.%s. 60 IN SRV 0 0 %s %s.\n", domain, port, host)
	if err := z.SetZone(z.text); err != nil {
		z.t.Fatal(err)
	}
}

// freePort finds a port that nothing listens on.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// keyFiles writes a certificate of a domain, with its key, and the authority.
func (w *world) keyFiles(dir, domain string, usages ...x509.ExtKeyUsage) {
	w.t.Helper()
	cert, key, err := w.ca.Issue(certs.Leaf{Names: []string{domain}, Usages: usages})
	if err != nil {
		w.t.Fatal(err)
	}
	for name, data := range map[string][]byte{"cert.pem": cert, "key.pem": key, "both.pem": append(cert, key...), "ca.pem": w.ca.PEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}

// A program is a real peer that runs.
type program struct {
	t   *testing.T
	cmd *exec.Cmd
	log string
}

// run starts a program and waits until it listens at addr.
func run(t *testing.T, dir, addr string, env []string, name string, args ...string) *program {
	t.Helper()
	out, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, cmd: exec.Command(name, args...), log: filepath.Join(dir, "log")}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = dir, out, out, append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop()
		_ = out.Close()
		if t.Failed() {
			for _, f := range []string{out.Name(), p.log} {
				if text, err := os.ReadFile(f); err == nil {
					t.Logf("%s:\n%s", f, tail(string(text), 12000))
				}
			}
		}
	})
	until(t, name+" listens at "+addr, func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return p
}

func tail(s string, n int) string {
	if len(s) > n {
		return "..." + s[len(s)-n:]
	}
	return s
}

// stop ends the program and what it has started: its process group.
func (p *program) stop() {
	if p.cmd.ProcessState != nil {
		return
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	_ = p.cmd.Wait()
}

// A luaServer is what a Prosody is to be like.
type luaServer struct {
	modules  string // beside the usual ones
	distrust bool   // trusts no certificate
	strict   bool   // believes nothing but certificates
	usages   []x509.ExtKeyUsage
	more     string
	checks   string            // the resolver that it asks about what is signed, instead of the zone
	anchor   string            // that it checks signatures by
	files    map[string][]byte // instead of the usual ones, and beside them
}

// prosody runs Prosody for a domain.
func (w *world) prosody(t *testing.T, z *zone, domain, addr string, is luaServer) *program {
	t.Helper()
	path := needProgram(t, "prosody")
	dir := t.TempDir()
	w.keyFiles(dir, domain, is.usages...)
	for name, octets := range is.files {
		if err := os.WriteFile(filepath.Join(dir, name), octets, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	authorities, resolver, unbound := dir+"/ca.pem", z.Addr(), `options = { ["do-not-query-localhost:"] = "no"; ["module-config:"] = "iterator" }`
	if is.checks != "" {
		resolver, unbound = is.checks, fmt.Sprintf(`trusted = %q; options = { ["do-not-query-localhost:"] = "no" }`, is.anchor)
	}
	if is.distrust {
		authorities = dir + "/cert.pem"
	}
	_, port, _ := net.SplitHostPort(addr)
	config := fmt.Sprintf(`
run_as_root = true
pidfile = %[1]q
plugin_paths = { %[2]q }
data_path = %[2]q
certificates = %[2]q
modules_enabled = { "tls", "saslauth", "dialback", "s2s_auth_certs", "disco", "ping", %[11]s }
modules_disabled = { "offline", "c2s" }
c2s_ports = {}
interfaces = { "127.0.0.1" }
s2s_ports = { %[3]s }
s2s_require_encryption = true
s2s_secure_auth = %[12]v
unbound = { resolvconf = false; hoststxt = false; forward = %[4]q; %[13]s }
log = { debug = %[5]q }
ssl = { certificate = %[6]q; key = %[7]q; cafile = %[8]q }
%[9]s
VirtualHost %[10]q
`, dir+"/pid", dir, port, strings.Replace(resolver, ":", "@", 1), dir+"/log", dir+"/cert.pem", dir+"/key.pem", authorities, is.more, domain,
		is.modules, is.strict, unbound)
	file := filepath.Join(dir, "prosody.cfg.lua")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := run(t, dir, addr, nil, path, "-F", "--config", file)
	z.point(domain, addr)
	w.point(domain, addr)
	return p
}

// ejabberd runs ejabberd for a domain.
func (w *world) ejabberd(t *testing.T, z *zone, domain, addr, more string, usages ...x509.ExtKeyUsage) *program {
	t.Helper()
	needProgram(t, "ejabberdctl")
	dir := t.TempDir()
	w.keyFiles(dir, domain, usages...)
	host, port, _ := net.SplitHostPort(addr)
	_, dns, _ := net.SplitHostPort(z.Addr())
	files := map[string]string{
		"ejabberd.yml": fmt.Sprintf(`
hosts: [%[1]q]
loglevel: debug
certfiles: [%[2]q]
ca_file: %[3]q
s2s_use_starttls: required
s2s_cafile: %[3]q
listen:
  - port: %[4]s
    ip: %[5]q
    module: ejabberd_s2s_in
modules:
  mod_disco: {}
  mod_ping: {}
  mod_s2s_dialback: {}
%[6]s
`, domain, dir+"/both.pem", dir+"/ca.pem", port, host, more),
		"inetrc": fmt.Sprintf("{resolv_conf, \"\"}.\n{hosts_file, \"\"}.\n{lookup, [dns]}.\n{nameserver, {127,0,0,1}, %s}.\n", dns),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := run(t, dir, addr, []string{
		"ERL_LIBS=/usr/lib/x86_64-linux-gnu", "EJABBERD_CONFIG_PATH=" + dir + "/ejabberd.yml", "EJABBERD_LOG_PATH=" + dir + "/log",
		"ERL_INETRC=" + dir + "/inetrc", "HOME=" + dir, "ERL_CRASH_DUMP=" + dir + "/crash",
	}, "erl", "-noinput", "-mnesia", "dir", `"`+dir+`/spool"`, "-s", "ejabberd")
	z.point(domain, addr)
	w.point(domain, addr)
	return p
}

// ping asks a domain for a sign of life, and returns the outcome and the answer.
func (x *site) ping(domain, id string) (Outcome, *Stanza) {
	x.t.Helper()
	e := stanza.New(stanza.NS, "iq", attr("type", "get"), attr("id", id), attr("from", x.domain), attr("to", domain))
	e.Add(stanza.New("urn:xmpp:ping", "ping"))
	done := make(chan Outcome, 1)
	x.Send(e, func(o Outcome) { done <- o })
	o := wait(x.t, done, "the outcome of a ping")
	if o.Err != nil {
		x.t.Fatalf("ping: %v", o.Err)
	}
	a := x.receive()
	if a.Local != "iq" || a.Attr("id") != id || a.Attr("type") != "result" {
		x.t.Fatalf("answer %+v", a.Element)
	}
	return o, a
}
