package xmpp

import (
	"bufio"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
	"github.com/sipedge/sipedge/bridges/xmpp/body"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate/locatetest"
)

// python is that of the system, which has slixmpp.
const python = "/usr/bin/python3"

// interop skips a test that needs real peers, unless they are asked for; then they must
// be there.
func interop(t *testing.T) {
	t.Helper()
	if os.Getenv("CI") == "" && os.Getenv("SIPEDGE_INTEROP") == "" {
		t.Skip("real peers are asked for by SIPEDGE_INTEROP=1")
	}
	why := ""
	for _, name := range []string{"prosody", "prosodyctl", python} {
		if _, err := exec.LookPath(name); err != nil {
			why = name + " is not installed"
		}
	}
	if why == "" && exec.Command(python, "-c", "import slixmpp").Run() != nil {
		why = "slixmpp is not installed"
	}
	if why != "" {
		t.Fatal(why)
	}
}

// free returns an address on loopback that nobody has.
func free(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// A prosody is a real server of one domain.
type prosody struct {
	t       *testing.T
	domain  string
	dir     string
	clients netip.AddrPort
	config  string
}

// prosody runs Prosody for a domain. It finds ours by a DNS server of the test.
func (n *internet) prosody(t *testing.T, domain, modules string, ours ...*company) *prosody {
	t.Helper()
	dns, err := locatetest.Serve("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dns.Close)
	zone := ""
	for _, c := range ours {
		n.mu.Lock()
		port := n.records[c.domain].Targets[0].Port
		n.mu.Unlock()
		zone += fmt.Sprintf("_xmpp-server._tcp.%[1]s. 60 IN SRV 0 0 %[2]d xmpp.%[1]s.\nxmpp.%[1]s. 60 IN A 127.0.0.1\n", c.domain, port)
	}
	if err := dns.SetZone(zone); err != nil {
		t.Fatal(err)
	}
	p := &prosody{t: t, domain: domain, dir: t.TempDir(), clients: free(t)}
	cert, key, err := n.ca.Issue(certs.Leaf{Names: []string{domain}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		t.Fatal(err)
	}
	servers := free(t)
	p.config = filepath.Join(p.dir, "prosody.cfg.lua")
	for name, data := range map[string]string{
		"cert.pem": string(cert), "key.pem": string(key), "ca.pem": string(n.ca.PEM()),
		"prosody.cfg.lua": fmt.Sprintf(`
run_as_root = true
pidfile = %[1]q .. "/pid"
data_path = %[1]q
certificates = %[1]q
interfaces = { "127.0.0.1" }
c2s_ports = { %[2]d }
s2s_ports = { %[3]d }
modules_enabled = { "roster", "tls", "saslauth", "dialback", "s2s_auth_certs", "disco", "ping", "offline", %[4]s }
authentication = "internal_hashed"
c2s_require_encryption = true
s2s_require_encryption = true
s2s_secure_auth = true
unbound = { resolvconf = false; hoststxt = false; forward = %[5]q; options = { ["do-not-query-localhost:"] = "no"; ["module-config:"] = "iterator" } }
log = { debug = %[1]q .. "/log" }
ssl = { certificate = %[1]q .. "/cert.pem"; key = %[1]q .. "/key.pem"; cafile = %[1]q .. "/ca.pem" }
VirtualHost %[6]q
`, p.dir, p.clients.Port(), servers.Port(), modules, strings.Replace(dns.Addr(), ":", "@", 1), domain),
	} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range []string{"juliet", "alice"} {
		if out, err := exec.Command("prosodyctl", "--config", p.config, "register", user, domain, "pw-"+user).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	p.start(exec.Command("prosody", "-F", "--config", p.config))
	p.reachable(p.clients)
	p.reachable(servers)
	n.point(domain, servers)
	return p
}

// start starts a program that ends with the test, with all that it has started.
func (p *prosody) start(cmd *exec.Cmd) {
	p.t.Helper()
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if p.t.Failed() && strings.HasSuffix(cmd.Path, "prosody") {
			if b, err := os.ReadFile(filepath.Join(p.dir, "log")); err == nil {
				p.t.Logf("log of %s:\n%s", p.domain, b[max(0, len(b)-8000):])
			}
		}
	})
}

// reachable waits until somebody listens.
func (p *prosody) reachable(addr netip.AddrPort) {
	p.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", addr.String(), time.Second)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: %v", addr, err)
		}
	}
}

// A client is slixmpp, logged in.
type client struct {
	t     *testing.T
	in    io.Writer
	lines chan string
}

// client logs a user in.
func (p *prosody) client(user string) *client {
	p.t.Helper()
	script, err := filepath.Abs("testdata/interop/client.py")
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(python, script, user+"@"+p.domain+"/test", "pw-"+user, "127.0.0.1", fmt.Sprint(p.clients.Port()), filepath.Join(p.dir, "ca.pem"))
	in, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	c := &client{t: p.t, in: in, lines: make(chan string, 10_000)}
	p.start(cmd)
	go func() {
		scan := bufio.NewScanner(out)
		scan.Buffer(nil, 1<<20)
		for scan.Scan() {
			c.lines <- scan.Text()
		}
		close(c.lines)
	}()
	c.line("ready", func(s string) bool { return s == "ready" })
	return c
}

// line waits for a line that is as it should be, and passes over others.
func (c *client) line(what string, is func(string) bool) string {
	c.t.Helper()
	var seen []string
	clock := time.NewTimer(30 * time.Second)
	defer clock.Stop()
	for {
		select {
		case s, ok := <-c.lines:
			if ok && is(s) {
				return s
			}
			if seen = append(seen, s); !ok {
				c.t.Fatalf("the client ended; it saw %q", seen)
			}
		case <-clock.C:
			c.t.Fatalf("no %s came, but %q", what, seen)
		}
	}
}

// stanza waits for a stanza.
func (c *client) stanza(what string, is func(e *stanza.Element) bool) *stanza.Element {
	c.t.Helper()
	var found *stanza.Element
	c.line(what, func(s string) bool {
		e, err := stanza.Parse([]byte(s), stanza.Limits{})
		if err != nil || !is(e) {
			return false
		}
		found = e
		return true
	})
	return found
}

// body waits for a message with this text.
func (c *client) body(text string) *stanza.Element {
	c.t.Helper()
	return c.stanza("message "+text, func(e *stanza.Element) bool {
		return e.Local == "message" && e.Attr("type") != "error" && childText(e, stanza.NS, "body") == text
	})
}

// send sends one line.
func (c *client) send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.in, format+"\n", args...); err != nil {
		c.t.Fatal(err)
	}
}

// meets is an example.com whose bridge meets juliet at a real server.
func meets(t *testing.T, modules string, change func(*Config, *Deps)) (*company, *prosody, *client) {
	t.Helper()
	interop(t)
	n := newInternet(t)
	c := n.company("example.com", change)
	p := n.prosody(t, "prosody.example", modules, c)
	return c, p, p.client("juliet")
}

const prosodyJuliet = "sip:juliet@prosody.example"

// write lets alice write to somebody and returns the answer.
func (c *company) write(r *bridges.Request) *bridges.Response {
	c.t.Helper()
	resp, _ := c.home.Send(c.t, r)
	return resp
}

// to is a request of alice's, sent to somebody else.
func to(r *bridges.Request, uri string) *bridges.Request {
	r.Body = []byte(strings.ReplaceAll(string(r.Body), r.URI, uri))
	r.URI, r.To.URI = uri, uri
	return r
}

// message takes the next MESSAGE to alice, and passes over others than what is looked for.
func (c *company) message(what string, is func(in *bridges.Incoming, p *body.Content) bool) (*bridges.Incoming, *body.Content) {
	c.t.Helper()
	for {
		in := c.home.Next(c.t)
		in.Answer(bridges.Response{Status: 200}, "")
		if p, err := body.Read(in.ContentType, "", in.Body); in.Method == "MESSAGE" && err == nil && is(in, p) {
			return in, p
		}
	}
}

func (c *company) text(text string) (*bridges.Incoming, *body.Content) {
	c.t.Helper()
	return c.message(text, func(_ *bridges.Incoming, p *body.Content) bool { return len(p.Texts) > 0 && p.Texts[0].Text == text })
}

func TestInteropMessages(t *testing.T) {
	c, _, juliet := meets(t, `"smacks"`, nil)
	if got := c.write(bridgestest.Message(aliceURI, prosodyJuliet, "first")).Status; got != 200 && got != 202 {
		t.Errorf("answered with %d", got)
	}
	juliet.body("first")
	for _, text := range []string{"<&> 'quoted'", "👩‍👩‍👧 שלום", strings.Repeat("x", 1301)} {
		if got := c.write(bridgestest.Message(aliceURI, prosodyJuliet, text)).Status; got != 200 {
			t.Errorf("%.20q is answered with %d, want 200: it was acknowledged", text, got)
		}
		juliet.body(text)
		juliet.send("say alice@example.com %s", text)
		in, _ := c.text(text)
		get(t, in.From.URI, prosodyJuliet+";gr=test")
	}
	// Whoever does not exist there: Prosody takes the stanza before it looks.
	r := to(wrapped(body.CPIM{MessageID: "m1", Notify: body.Failed, Body: []byte("x")}), "sip:nobody@prosody.example")
	if got := c.write(r).Status; got == 200 {
		_, report := c.message("report", func(_ *bridges.Incoming, p *body.Content) bool { return p.IMDN != nil })
		get(t, report.IMDN.Status, "failed")
	} else if got != 403 {
		t.Errorf("somebody who does not exist: %d", got)
	}
	if got := c.write(bridgestest.Message(aliceURI, "sip:juliet@nowhere.example", "x")).Status; got != 404 {
		t.Errorf("a domain that does not exist: %d, want 404", got)
	}
	juliet.send("<message to='alice@example.com' id='omemo' type='chat'><encrypted xmlns='eu.siacs.conversations.axolotl'><payload>x</payload></encrypted><body>x</body></message>")
	e := juliet.stanza("error", func(e *stanza.Element) bool { return e.Attr("id") == "omemo" })
	get(t, stanza.ErrorOf(e).Condition, "not-acceptable")
	juliet.send("<message to='nobody@example.com' id='gone' type='chat'><body>x</body></message>")
	if in := c.home.Next(t); in.URI != "sip:nobody@example.com" {
		t.Errorf("to %s", in.URI)
	} else {
		in.Answer(bridges.Response{Status: 404}, "")
	}
	e = juliet.stanza("error", func(e *stanza.Element) bool { return e.Attr("id") == "gone" })
	get(t, stanza.ErrorOf(e).Condition, "item-not-found")
}

func TestInteropReceiptsAndTyping(t *testing.T) {
	c, _, juliet := meets(t, `"smacks"`, nil)
	c.write(to(wrapped(body.CPIM{MessageID: "m1", Notify: body.Delivered | body.Displayed, Body: []byte("read me")}), prosodyJuliet))
	e := juliet.body("read me")
	_, report := c.message("report", func(_ *bridges.Incoming, p *body.Content) bool { return p.IMDN != nil }) // by slixmpp itself
	get(t, report.IMDN.MessageID+" "+report.IMDN.Status, "m1 delivered")
	juliet.send("<message to='alice@example.com' type='chat' id='d1'><displayed xmlns='urn:xmpp:chat-markers:0' id='%s'/></message>", e.Attr("id"))
	_, report = c.message("report", func(_ *bridges.Incoming, p *body.Content) bool { return p.IMDN != nil })
	get(t, report.IMDN.MessageID+" "+report.IMDN.Status, "m1 displayed")

	juliet.send("say alice@example.com and you?") // slixmpp asks for a receipt
	in, _ := c.text("and you?")
	wrapper, err := wrapperOf(in.Body)
	if in.ContentType != body.TypeCPIM || err != nil || wrapper.Notify&body.Delivered == 0 {
		t.Fatalf("got %s %q", in.ContentType, in.Body)
	}
	n := body.IMDN{MessageID: wrapper.MessageID, Kind: "delivery", Status: "delivered"}
	c.write(to(wrapped(body.CPIM{MessageID: "m2", ContentType: body.TypeIMDN, Disposition: "notification", Body: n.Append(nil)}), prosodyJuliet))
	juliet.stanza("receipt", func(e *stanza.Element) bool { return e.Child(nsReceipts, "received") != nil })

	typing := func(active bool) {
		s := body.Composing{Active: active}
		r := bridgestest.Message(aliceURI, prosodyJuliet, string(s.Append(nil)))
		r.ContentType = body.TypeComposing
		if got := c.write(r).Status; got != 200 {
			t.Errorf("answered with %d", got)
		}
	}
	juliet.send("<message to='alice@example.com' type='chat'><composing xmlns='%s'/></message>", nsChatStates)
	_, notice := c.message("notice", func(_ *bridges.Incoming, p *body.Content) bool { return p.Composing != nil })
	if !notice.Composing.Active {
		t.Error("she does not type")
	}
	for _, tt := range []struct {
		active bool
		want   string
	}{{true, "composing"}, {false, "active"}} {
		typing(tt.active)
		juliet.stanza(tt.want, func(e *stanza.Element) bool { return e.Child(nsChatStates, tt.want) != nil })
	}
}

func TestInteropQuestions(t *testing.T) {
	_, _, juliet := meets(t, `"smacks"`, nil)
	for i, tt := range []struct{ to, body, want string }{
		{"example.com", "<ping xmlns='urn:xmpp:ping'/>", "result"},
		{"alice@example.com", "<query xmlns='http://jabber.org/protocol/disco#info'/>", "result"},
		{"example.com", "<query xmlns='http://jabber.org/protocol/disco#info'/>", "result"},
		{"example.com", "<query xmlns='jabber:iq:gateway'/>", "result"},
		{"alice@example.com", "<vCard xmlns='vcard-temp'/>", "error"},
	} {
		id := fmt.Sprint("q", i)
		juliet.send("<iq type='get' id='%s' to='%s'>%s</iq>", id, tt.to, tt.body)
		e := juliet.stanza("answer", func(e *stanza.Element) bool { return e.Local == "iq" && e.Attr("id") == id })
		get(t, e.Attr("type"), tt.want)
	}
}

func TestInteropWithoutAcknowledgements(t *testing.T) {
	c, _, juliet := meets(t, "", func(c *Config, _ *Deps) { c.Hold = 500 * time.Millisecond })
	for i := range 2 {
		if got := c.write(bridgestest.Message(aliceURI, prosodyJuliet, fmt.Sprint("hello", i))).Status; got != 202 {
			t.Errorf("answered with %d, want 202: nobody acknowledges", got)
		}
		juliet.body(fmt.Sprint("hello", i))
	}
	if got := c.write(bridgestest.Message(aliceURI, "sip:nobody@prosody.example", "x")).Status; got != 403 {
		t.Errorf("somebody who does not exist: %d, want 403", got)
	}
}

func TestInteropPresence(t *testing.T) {
	c, _, juliet := meets(t, `"smacks"`, nil)
	juliet.send("<presence type='subscribe' to='alice@example.com'/>")
	in := c.home.Next(t)
	if in.Method != "SUBSCRIBE" || in.Fields.Get("Event") != "presence" {
		t.Fatalf("a %s came", in.Method)
	}
	d := in.Answer(bridges.Response{Status: 200, Fields: bridges.Fields{{Name: "Expires", Value: "3600"}}}, "")
	c.home.SendWithin(t, d, &bridges.Request{
		Method: "NOTIFY", Fields: bridges.Fields{{Name: "Event", Value: "presence"}, {Name: "Subscription-State", Value: "active;expires=3600"}},
		ContentType: "application/pidf+xml",
		Body:        []byte(`<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@example.com"><tuple id="t1"><status><basic>open</basic></status><note>here</note></tuple></presence>`),
	})
	juliet.stanza("subscribed", func(e *stanza.Element) bool {
		return e.Local == "presence" && e.Attr("type") == "subscribed" && strings.HasPrefix(e.Attr("from"), "alice@example.com")
	})
	juliet.stanza("presence", func(e *stanza.Element) bool {
		return e.Local == "presence" && e.Attr("type") == "" && childText(e, stanza.NS, "status") == "here" && e.Child(nsCaps, "c") != nil
	})
}

func TestInteropAccount(t *testing.T) {
	interop(t)
	n := newInternet(t)
	p := n.prosody(t, "prosody.example", `"smacks"`)
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("pw-alice\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := n.company("example.com", func(_ *Config, d *Deps) {
		policy, errs := bridges.Compile(bridges.File{
			Default: bridges.Rules{Inbound: []string{Network}, Outbound: []string{Network}},
			Accounts: map[string]bridges.AccountConfig{
				"alice@example.com": {Network: Network, JID: "alice@prosody.example", PasswordFile: secret, Server: p.clients.String()},
			},
		}, []string{"example.com"}, bridges.With{})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		d.Policy = func() *bridges.Policy { return policy }
	})
	up := func() bool {
		for _, l := range c.bridge.Status().Links {
			if l.Proof == bridges.ProofAccount && l.State == "up" {
				return true
			}
		}
		return false
	}
	for deadline := time.Now().Add(30 * time.Second); !up(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the account does not come up: %+v", c.bridge.Status().Links)
		}
	}
	juliet := p.client("juliet")
	if got := c.write(bridgestest.Message(aliceURI, prosodyJuliet, "by my account")).Status; got != 200 {
		t.Errorf("answered with %d", got)
	}
	e := juliet.body("by my account")
	if !strings.HasPrefix(e.Attr("from"), "alice@prosody.example/") {
		t.Errorf("from %s", e.Attr("from"))
	}
	juliet.send("say alice@prosody.example who are you?")
	in, _ := c.text("who are you?")
	get(t, in.To.URI, aliceURI)
	get(t, in.From.URI, prosodyJuliet+";gr=test")
	if got := c.write(bridgestest.Message(aliceURI, "sip:nobody@prosody.example", "x")).Status; got != 200 && got != 403 {
		t.Errorf("somebody who does not exist: %d", got)
	}
	// Presence, both ways.
	juliet.send("<presence type='subscribe' to='alice@prosody.example'/>")
	for in = c.home.Next(t); in.Method != "SUBSCRIBE"; in = c.home.Next(t) {
		in.Answer(bridges.Response{Status: 200}, "")
	}
	d := in.Answer(bridges.Response{Status: 200, Fields: bridges.Fields{{Name: "Expires", Value: "3600"}}}, "")
	c.home.SendWithin(t, d, &bridges.Request{
		Method: "NOTIFY", Fields: bridges.Fields{{Name: "Event", Value: "presence"}, {Name: "Subscription-State", Value: "active;expires=3600"}},
		ContentType: "application/pidf+xml",
		Body:        []byte(`<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@example.com"><tuple id="t1"><status><basic>open</basic></status><note>busy with SIP</note></tuple></presence>`),
	})
	juliet.stanza("presence", func(e *stanza.Element) bool {
		return e.Local == "presence" && strings.HasPrefix(e.Attr("from"), "alice@prosody.example/") && childText(e, stanza.NS, "status") == "busy with SIP"
	})
}
