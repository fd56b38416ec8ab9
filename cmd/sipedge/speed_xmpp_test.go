package main

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/sip"
)

// benchTime is how long each part of a measurement lasts: SIPEDGE_BENCH=5s. Without it
// nothing is measured.
func benchTime(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(os.Getenv("SIPEDGE_BENCH"))
	if err != nil {
		t.Skip("SIPEDGE_BENCH=5s measures")
	}
	return d
}

const (
	speedWindow = 128 // messages under way
	speedRounds = 5
)

// TestXMPPSpeed measures what a message costs the edge on its way from SIP to XMPP and
// another one on its way back, by one stream between servers, and beside it what a message
// costs Prosody that comes by such a stream and goes out to a component (XEP-0114), or to
// a client. They take turns. All others are in this process.
func TestXMPPSpeed(t *testing.T) {
	length := benchTime(t)
	needPrograms(t, "prosody")
	s := speedStage(t)
	edge, component, client := new(circuit), new(circuit), new(circuit)
	var far *s2s.Server
	far = farServer(t, s, func(m *s2s.Stanza) {
		if m.Local == "message" && m.Attr("type") != "error" {
			far.Send(chat("juliet@fabrikam.example/balcony", "alice@example.com"), nil)
		}
	})
	home := newFastHome(t, s, func(m *sip.Message) string {
		if string(m.Method()) == "MESSAGE" {
			edge.turned()
		}
		return ""
	})
	edge.pid, edge.name = startSpeedEdge(t, s), "edge, SIP to XMPP and back"
	joinHome(t, s, edge, home)
	s.play(t, "prosody northwind proof=certificate with=smacks,s2s_bidi log=warn romeo")
	component.name, client.name = "Prosody, s2s to component", "Prosody, s2s to client"
	component.joinProsody(t, s, far, "romeo@echo.northwind.example", component.asComponent)
	client.joinProsody(t, s, far, "romeo@northwind.example/orchard", client.asClient)
	figures := make(map[*circuit][]float64)
	for round := range speedRounds + 1 {
		for _, c := range []*circuit{edge, component, client} {
			n := c.measure(t, length)
			if round > 0 { // the first is to warm up
				figures[c] = append(figures[c], n)
			}
		}
	}
	middle, last := speedRounds/2, speedRounds-1
	t.Logf("messages per CPU second, lowest / middle / highest of %d rounds:", speedRounds)
	for _, c := range []*circuit{edge, component, client} {
		slices.Sort(figures[c])
		t.Logf("%s: %.0f / %.0f / %.0f, the edge does %.1f times as much", c.name, figures[c][0], figures[c][middle], figures[c][last],
			figures[edge][middle]/figures[c][middle])
	}
}

// speedStage is a company with a bridge that anybody may use, and the names of all.
func speedStage(t *testing.T) *stage {
	s := openTestStage(t)
	s.write(t, "dns.toml", "[dns]\nservers = [\"$DNS\"]\nallowed_ranges = [\"127.0.0.0/8\"]\n")
	s.write(t, "partners.toml", "[partner.\"fabrikam.example\"]\nnetwork = \"xmpp\"\nsubscriptions = 2000\n")
	s.write(t, "bridges.toml", "[default]\ninbound = [\"xmpp\"]\noutbound = [\"xmpp\"]\n")
	s.write(t, "bridge.toml", `[certificate.xmpp]
cert = "xmpp.pem"
key  = "xmpp.key"

[bridge.xmpp]
address     = ["$EDGE_XMPP"]
certificate = "xmpp"
peer_ca     = "ca.pem"
queue       = 10000
stanza_rate = 1000000
`)
	s.write(t, "zone", `_xmpp-server._tcp.example.com. 3600 IN SRV 10 1 $EDGE_XMPP_PORT localhost.
_xmpp-server._tcp.fabrikam.example. 3600 IN SRV 10 1 $FABRIKAM_S2S_PORT localhost.
_xmpp-server._tcp.echo.northwind.example. 3600 IN SRV 10 1 $NORTHWIND_S2S_PORT localhost.
_xmpp-server._tcp.northwind.example. 3600 IN SRV 10 1 $NORTHWIND_S2S_PORT localhost.
localhost. 3600 IN A 127.0.0.1
`)
	s.play(t, "company xmpp", "ports FABRIKAM_S2S NORTHWIND_S2S", "dns serves zone")
	return s
}

// startSpeedEdge starts an edge whose log goes to a file and to nobody else.
func startSpeedEdge(t *testing.T, s *stage) (pid int) {
	t.Helper()
	if err := s.fillConfig("sipedge.toml"); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(s.path("edge.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("sipedge", "serve", "-c", s.path("sipedge.toml"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("the end of the edge's log:\n%s", lastLines(log.Name()))
		}
	})
	await(t, "the edge", func() bool {
		text, _ := os.ReadFile(log.Name())
		return bytes.Contains(text, []byte("Server is ready."))
	})
	return cmd.Process.Pid
}

// await waits until something is so. There is nothing to wait on but another look.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * patience); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

// chat is a message of ordinary size.
func chat(from, to string) *stanza.Element {
	m := newStanza("message", from, to, stanza.Attr{Local: "type", Value: "chat"}, stanza.Attr{Local: "id", Value: "1"})
	m.AddText(stanza.NS, "body", speedBody)
	return m
}

// A circuit is a way that messages go round: one that arrives lets the next begin.
type circuit struct {
	name    string
	pid     int
	next    func() // sends one
	each    int    // messages that one turn is
	running atomic.Bool
	under   atomic.Int64 // way
	turns   atomic.Int64
	wrong   atomic.Int64 // answers that are not as they should be
}

// turned is told that a message has come round.
func (c *circuit) turned() {
	c.turns.Add(1)
	if c.running.Load() {
		c.next()
		return
	}
	c.under.Add(-1)
}

// measure returns how many messages there were for each second of the processor that the
// process used.
func (c *circuit) measure(t *testing.T, length time.Duration) float64 {
	t.Helper()
	c.running.Store(true)
	c.under.Add(speedWindow)
	for range speedWindow {
		c.next()
	}
	time.Sleep(length / 4) // what is new costs more
	turns, used, began := c.turns.Load(), processorTime(t, c.pid), time.Now()
	time.Sleep(length)
	turns, used = c.turns.Load()-turns, processorTime(t, c.pid)-used
	took := time.Since(began)
	c.running.Store(false)
	await(t, fmt.Sprintf("what is under way after %d turns, %d wrong answers", turns, c.wrong.Load()), func() bool { return c.under.Load() == 0 })
	if n := c.wrong.Load(); n > 0 {
		t.Fatalf("%d wrong answers", n)
	}
	n := float64(turns) * float64(c.each)
	t.Logf("%s: %.0f messages in %v, %v of the processor: %.0f/s, %.0f per CPU second", c.name, n, took.Round(time.Millisecond), used, n/took.Seconds(), n/used.Seconds())
	return n / used.Seconds()
}

// joinHome lets alice write to juliet whenever somebody's message has reached her.
func joinHome(t *testing.T, s *stage, c *circuit, home *fastHome) {
	t.Helper()
	c.each = 2
	home.connects(t, s, func(m *sip.Message) {
		if m.Status() != 200 {
			c.wrong.Add(1)
		}
	})
	var n atomic.Int64
	c.next = func() {
		i := n.Add(1)
		home.send(fmt.Appendf(nil, "MESSAGE sip:juliet@fabrikam.example SIP/2.0\r\nVia: SIP/2.0/TLS sip.example.com;branch=z9hG4bK%d\r\n"+
			"Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=%[1]d\r\nTo: <sip:juliet@fabrikam.example>\r\nCall-ID: %[1]d@sip.example.com\r\n"+
			"CSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", i, len(speedBody), speedBody))
	}
}

// joinProsody lets juliet write to somebody at a Prosody whenever her last message has
// reached him.
func (c *circuit) joinProsody(t *testing.T, s *stage, far *s2s.Server, to string, join func(*testing.T, *stage) *bufio.Reader) {
	t.Helper()
	c.pid, c.each = s.programs["northwind"].cmd.Process.Pid, 1
	c.next = func() {
		far.Send(chat("juliet@fabrikam.example/balcony", to), func(o s2s.Outcome) {
			if o.Err != nil {
				c.wrong.Add(1)
			}
		})
	}
	r := join(t, s)
	go func() {
		for {
			part, err := r.ReadSlice('>')
			if err != nil {
				return
			}
			if bytes.HasSuffix(part, []byte("</message>")) {
				c.turned()
			}
		}
	}()
}

// A script is a connection to a server of XMPP that says what it is told to, and skips
// what comes up to what it waits for.
type script struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dialScript(t *testing.T, address string) *script {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &script{t, conn, bufio.NewReaderSize(conn, 64<<10)}
}

// says sends something and returns the tag that ends with an expression, which comes
// then.
func (p *script) says(text, until string) string {
	p.t.Helper()
	if _, err := p.conn.Write([]byte(text)); err != nil {
		p.t.Fatal(err)
	}
	p.conn.SetReadDeadline(time.Now().Add(patience))
	defer p.conn.SetReadDeadline(time.Time{})
	for {
		part, err := p.r.ReadString('>')
		if err != nil {
			p.t.Fatalf("waited for %s: %v", until, err)
		}
		if strings.Contains(part, until) {
			return part
		}
	}
}

// asComponent is the component echo.northwind.example.
func (c *circuit) asComponent(t *testing.T, s *stage) *bufio.Reader {
	p := dialScript(t, s.env("NORTHWIND_COMPONENT"))
	header := p.says("<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='echo.northwind.example'>", "<stream:stream")
	_, after, _ := strings.Cut(header, " id=")
	id, _, _ := strings.Cut(after[1:], after[:1])
	p.says(fmt.Sprintf("<handshake>%x</handshake>", sha1.Sum([]byte(id+"secret"))), "<handshake")
	return p.r
}

// asClient is romeo@northwind.example/orchard.
func (c *circuit) asClient(t *testing.T, s *stage) *bufio.Reader {
	const begin = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='northwind.example'>"
	p := dialScript(t, s.env("NORTHWIND_C2S"))
	p.says(begin, "</stream:features>")
	p.says("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed")
	conf, err := s.tlsConfig(nil, map[string]string{"to": "northwind.example"})
	if err != nil {
		t.Fatal(err)
	}
	p.conn = tls.Client(p.conn, conf)
	p.r = bufio.NewReaderSize(p.conn, 64<<10)
	p.says(begin, "</stream:features>")
	p.says("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>"+base64.StdEncoding.EncodeToString([]byte("\x00romeo\x00secret"))+"</auth>", "<success")
	p.says(begin, "</stream:features>")
	p.says("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>orchard</resource></bind></iq>", "</iq>")
	p.says("<presence/>", "<presence")
	return p.r
}
