package edge

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/sip"
)

// A crossing is a whole edge that runs, with a home server by TCP and a bridge to the
// network of echoes, which Keeper and Endpoint run as they do any other.
type crossing struct {
	*bridgestest.Home
	t      testing.TB
	e      *Edge
	keeper *bridges.Keeper
	echo   chan *bridges.Endpoint // of each incarnation
	heard  chan *bridges.Incoming
	log    syncBuffer
}

// A line is a connection of the home server: what it sends, and what is fed to it.
type line struct {
	mu   sync.Mutex
	conn net.Conn
	up   chan struct{}
}

func (l *line) send(octets []byte) bool {
	<-l.up
	l.mu.Lock()
	defer l.mu.Unlock()
	// The home server's user agent is that of bridges, and marks what it sends as theirs.
	if i := bytes.Index(octets, []byte(bridges.LoopMark+":")); i >= 0 {
		end := i + bytes.Index(octets[i:], []byte("\r\n")) + 2
		octets = slices.Concat(octets[:i], octets[end:])
	}
	_, err := l.conn.Write(octets)
	return err == nil
}

// feed hands what comes on the connection to a user agent, message by message.
func (l *line) feed(to func([]byte) bool) {
	var framer sip.Framer
	var have []byte
	room := make([]byte, 64<<10)
	for {
		n, err := l.conn.Read(room)
		if err != nil {
			return
		}
		have = append(have, room[:n]...)
		for len(have) > 0 {
			m := new(sip.Message)
			kind, size, err := framer.Next(have, m)
			if err != nil || kind == sip.Incomplete {
				break
			}
			if kind == sip.Complete {
				to(have[:size])
			}
			have = have[size:]
		}
	}
}

// newCrossing starts them. alice may use the network, bob may not.
func newCrossing(t testing.TB) *crossing {
	t.Helper()
	c := &crossing{t: t, echo: make(chan *bridges.Endpoint, 10), heard: make(chan *bridges.Incoming, 10)}
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{up: make(chan struct{})}
	c.Home = bridgestest.NewHome(t, l.send)
	lists, errs := federation.Compile(federation.File{Partners: map[string]federation.PartnerConfig{"echo.example": {}},
		Blocked: map[string]federation.BlockedConfig{"spam.example": {}}}, []string{"example.com"}, federation.With{})
	if errs != nil {
		t.Fatal(errs)
	}
	log := slog.New(slog.NewTextHandler(&c.log, nil))
	c.e, errs = New(Config{
		Name: "edge1.example.com", Domains: []string{"example.com"}, StateDir: t.TempDir(), Dir: "/",
		Listeners: map[string]ListenerConfig{"internal": {Role: "internal", Address: "127.0.0.1:0", Transport: "tcp", Peers: []string{"127.0.0.1"}, Advertise: "edge1.example.com:5060"}},
		Pools:     map[string]PoolConfig{"main": {Domains: []string{"example.com"}, Servers: []string{server.Addr().String()}, Transport: "tcp"}},
	}, lists, nil, Remote{}, log)
	if errs != nil {
		t.Fatal(errs)
	}
	c.e.SetBridgePolicy(policyOf(t, map[string]bridges.Rules{"alice@example.com": both}))
	stop := make(chan struct{})
	c.keeper = bridges.NewKeeper("xmpp", func() (bridges.Bridge, error) {
		return &bridgestest.Echo{Proof: bridges.ProofCertificate, Stop: stop, Began: c.echo, Heard: c.heard}, nil
	}, log)
	seat := c.e.AddBridge(Bridge{Name: "xmpp", Domains: []string{"example.com"}, Receive: c.keeper.Receive, Paused: c.keeper.Paused,
		Rule: allowlists.Rule{Name: "[bridge.xmpp]"}})
	if err := c.e.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { c.e.Run(ctx) })
	group.Go(func() { c.keeper.Run(ctx, seat) })
	t.Cleanup(func() {
		close(stop)
		cancel()
		server.Close()
		group.Wait()
	})
	group.Go(func() {
		if l.conn, err = server.Accept(); err != nil {
			return
		}
		close(l.up)
		defer l.conn.Close()
		l.feed(c.Receive)
	})
	<-l.up
	<-c.echo
	c.running()
	return c
}

// running waits until the bridge takes what is for it.
func (c *crossing) running() {
	c.t.Helper()
	soon(c.t, "the bridge runs", func() bool { return c.keeper.State().Phase == bridges.Running })
}

const (
	aliceURI = "sip:alice@example.com"
	echoURI  = "sip:juliet@echo.example"
)

func TestABridgeRunsBesideARealHomeServer(t *testing.T) {
	c := newCrossing(t)
	if resp, _ := c.Send(t, bridgestest.Message(aliceURI, echoURI, "hello")); resp.Status != 200 {
		t.Fatalf("out: %d\n%s", resp.Status, c.log.String())
	}
	in := c.Take(t, "MESSAGE", 200)
	if string(in.Body) != "hello" || in.From.URI != echoURI || in.Fields.Get("P-Asserted-Identity") != "<"+echoURI+">" || in.Hops != 1 {
		t.Errorf("back came %q from %s, asserted %q, hops %d", in.Body, in.From.URI, in.Fields.Get("P-Asserted-Identity"), in.Hops)
	}
	for to, want := range map[string]int{
		"sip:x@spam.example": 403, "sip:x@other.example": 403, "sips:juliet@echo.example": 403,
	} {
		if resp, _ := c.Send(t, bridgestest.Message(aliceURI, to, "hello")); resp.Status != want {
			t.Errorf("to %s: %d, want %d", to, resp.Status, want)
		}
	}
	if resp, _ := c.Send(t, bridgestest.Message("sip:bob@example.com", echoURI, "hello")); resp.Status != 403 {
		t.Errorf("from bob: %d, want 403", resp.Status)
	}
}

func TestADialogAcrossABridge(t *testing.T) {
	c := newCrossing(t)
	invite := &bridges.Request{Method: "INVITE", URI: echoURI, From: bridges.Party{URI: aliceURI}, To: bridges.Party{URI: echoURI}, Contact: "alice"}
	resp, d := c.Send(t, invite)
	if resp.Status != 200 || d == nil {
		t.Fatalf("INVITE: %d, %v\n%s", resp.Status, d, c.log.String())
	}
	if resp := c.SendWithin(t, d, &bridges.Request{Method: "MESSAGE", ContentType: "text/plain", Body: []byte("within")}); resp.Status != 200 {
		t.Fatalf("MESSAGE: %d\n%s", resp.Status, c.log.String())
	}
	in := c.Take(t, "MESSAGE", 200)
	if in.Dialog == nil || string(in.Body) != "within" {
		t.Errorf("back came %q, dialog %v; want it within", in.Body, in.Dialog)
	}
	if resp := c.SendWithin(t, d, &bridges.Request{Method: "BYE"}); resp.Status != 200 {
		t.Errorf("BYE: %d", resp.Status)
	}
}

func TestSubscriptionsAcrossABridge(t *testing.T) {
	c := newCrossing(t)
	event := bridges.Fields{{Name: "Event", Value: "presence"}, {Name: "Expires", Value: "600"}}
	resp, d := c.Send(t, &bridges.Request{Method: "SUBSCRIBE", URI: echoURI, From: bridges.Party{URI: aliceURI}, To: bridges.Party{URI: echoURI}, Contact: "alice", Fields: event})
	if resp.Status != 200 || d == nil {
		t.Fatalf("SUBSCRIBE: %d, %v\n%s", resp.Status, d, c.log.String())
	}
	in := c.Take(t, "NOTIFY", 200)
	if in.Fields.Get("Subscription-State") != "active;expires=600" {
		t.Errorf("state %q", in.Fields.Get("Subscription-State"))
	}

	// And the other way round: somebody there watches alice.
	f := newCrossing(t)
	e := f.current()
	answered := make(chan int, 1)
	e.Do(&bridges.Request{Method: "SUBSCRIBE", URI: aliceURI, From: bridges.Party{URI: echoURI}, To: bridges.Party{URI: aliceURI}, Contact: "juliet", Fields: event,
		Proof: bridges.ProofDialback}, func(resp *bridges.Response, _ *bridges.Dialog) { answered <- resp.Status })
	in = f.Next(t)
	watch := in.Answer(bridges.Response{Status: 200, Fields: bridges.Fields{{Name: "Expires", Value: "600"}}}, "alice")
	if got := <-answered; got != 200 || watch == nil {
		t.Fatalf("SUBSCRIBE of a foreign watcher: %d, %v", got, watch)
	}
	if resp := f.SendWithin(t, watch, &bridges.Request{Method: "NOTIFY", Contact: "alice", Fields: bridges.Fields{
		{Name: "Event", Value: "presence"}, {Name: "Subscription-State", Value: "active;expires=600"}}}); resp.Status != 200 {
		t.Errorf("NOTIFY: %d\n%s", resp.Status, f.log.String())
	}
	if n := <-f.heard; n.From.URI != aliceURI {
		t.Errorf("a NOTIFY of %s came", n.From.URI)
	}
}

// current is the Endpoint of the bridge as it is now: a new incarnation of the Echo.
func (c *crossing) current() *bridges.Endpoint {
	c.t.Helper()
	if resp, _ := c.Send(c.t, bridgestest.Message(aliceURI, echoURI, "panic")); resp.Status/100 == 2 {
		c.t.Fatalf("a panic is answered with %d", resp.Status)
	}
	e := <-c.echo
	c.running()
	return e
}

func TestABridgeThatPanicsOrHangsDoesNotTouchSIP(t *testing.T) {
	c := newCrossing(t)
	// Nobody waits for the one that panicked, and the next one is there a second later.
	if resp, _ := c.Send(t, bridgestest.Message(aliceURI, echoURI, "panic")); resp.Status != 480 && resp.Status != 504 {
		t.Errorf("the message that made it panic: %d, want 480 or 504\n%s", resp.Status, c.log.String())
	}
	inside := func() {
		t.Helper()
		done := make(chan int, 1)
		c.Do(bridgestest.Message(aliceURI, "sip:carol@example.com", "inside"), func(resp *bridges.Response, _ *bridges.Dialog) { done <- resp.Status })
		c.Take(t, "MESSAGE", 200)
		if got := <-done; got != 200 {
			t.Errorf("a message inside: %d", got)
		}
	}
	inside()
	<-c.echo
	c.running()
	if resp, _ := c.Send(t, bridgestest.Message(aliceURI, echoURI, "again")); resp.Status != 200 {
		t.Errorf("after the panic: %d\n%s", resp.Status, c.log.String())
	}
	c.Take(t, "MESSAGE", 200)
	// One that hangs holds up what is of the same call, and nothing inside.
	c.Do(bridgestest.Message(aliceURI, echoURI, "hang"), func(*bridges.Response, *bridges.Dialog) {})
	inside()
	if !strings.Contains(c.log.String(), "bridge panicked") {
		t.Errorf("the log says nothing of the panic:\n%s", c.log.String())
	}
}

func TestAPausedBridgeTakesNothingNew(t *testing.T) {
	c := newCrossing(t)
	_, d := c.Send(t, &bridges.Request{Method: "INVITE", URI: echoURI, From: bridges.Party{URI: aliceURI}, To: bridges.Party{URI: echoURI}, Contact: "alice"})
	c.keeper.Pause(true)
	if resp, _ := c.Send(t, bridgestest.Message(aliceURI, echoURI, "hello")); resp.Status != 480 {
		t.Errorf("while it is paused: %d, want 480", resp.Status)
	}
	if resp := c.SendWithin(t, d, &bridges.Request{Method: "BYE"}); resp.Status != 200 {
		t.Errorf("what has begun ends with %d, want 200", resp.Status)
	}
	c.keeper.Pause(false)
	if resp, _ := c.Send(t, bridgestest.Message(aliceURI, echoURI, "hello")); resp.Status != 200 {
		t.Errorf("resumed: %d, want 200", resp.Status)
	}
	c.Take(t, "MESSAGE", 200)
}
