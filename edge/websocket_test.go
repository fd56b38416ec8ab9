package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/sip"
)

// A webLab is a lab with a listener for WebSocket.
type webLab struct {
	*lab
	web *listener
	tls *tls.Config // of a browser: no certificate
}

func newWebLab(t testing.TB, s wireSettings, stub *stub, mode wsMode) *webLab {
	l := newLab(t, s, stub)
	settings := *forApp(false)
	settings.mode = mode
	server := certs.ServerConfig(certs.ServerOptions{
		Keypair: l.keypair, Peer: certs.NotAsked, Protocols: settings.protocols(),
	})
	l.w.unsignedLimits = l.w.limits // as if everybody had signed in
	web := l.also(listenerSettings{name: "web", role: RoleRemote, tls: server, ws: settings})
	return &webLab{l, web, &tls.Config{RootCAs: l.pool, ServerName: "edge.example.com"}}
}

// A browser is a client by WebSocket that somebody else wrote.
type browser struct {
	t testing.TB
	net.Conn
	in io.ReadWriter // with what came behind the upgrade
}

// shake connects a test client by TLS, offering these protocols.
func (l *webLab) shake(protocols ...string) *tls.Conn {
	l.t.Helper()
	conf := l.tls.Clone()
	conf.NextProtos = protocols
	c, err := tls.Dial("tcp", l.web.addr().String(), conf)
	if err != nil {
		l.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	l.t.Cleanup(func() { c.Close() })
	return c
}

// dialer is the client's side of the upgrade.
func webDialer() ws.Dialer {
	return ws.Dialer{Protocols: []string{"sip"}, Header: ws.HandshakeHeaderHTTP(http.Header{"Origin": {"https://app.example.com"}})}
}

func (l *webLab) browse() *browser {
	l.t.Helper()
	return upgraded(l.t, l.shake(alpnHTTP))
}

func upgraded(t testing.TB, c net.Conn) *browser {
	t.Helper()
	br, hs, err := webDialer().Upgrade(c, &url.URL{Scheme: "wss", Host: "edge.example.com", Path: "/"})
	if err != nil || hs.Protocol != "sip" || len(hs.Extensions) > 0 {
		t.Fatalf("upgrade: %+v, %v", hs, err)
	}
	b := &browser{t: t, Conn: c, in: c}
	if br != nil {
		b.in = struct {
			io.Reader
			io.Writer
		}{br, c}
	}
	return b
}

func (b *browser) say(message string) {
	b.t.Helper()
	if err := wsutil.WriteClientText(b.Conn, []byte(message)); err != nil {
		b.t.Fatal(err)
	}
}

// hears reads the next message, which must be want.
func (b *browser) hears(want string) {
	b.t.Helper()
	got, _, err := wsutil.ReadServerData(b.in)
	if err != nil || string(got) != want {
		b.t.Fatalf("received %q, %v; want %q", got, err, want)
	}
}

// frame reads the next frame.
func (b *browser) frame() ws.Frame {
	b.t.Helper()
	f, err := ws.ReadFrame(b.in)
	if err != nil || f.Header.Masked || f.Header.Rsv != 0 {
		b.t.Fatalf("received %+v, %v", f.Header, err)
	}
	return f
}

// sees reads frames up to the Close frame, which must have this code, and the
// end; it returns the messages before.
func (b *browser) sees(want closeCode) (messages []string) {
	b.t.Helper()
	for {
		f := b.frame()
		if f.Header.OpCode != ws.OpClose {
			messages = append(messages, string(f.Payload))
			continue
		}
		code := closeCode(0)
		if len(f.Payload) > 0 {
			code = closeCode(uint16(f.Payload[0])<<8 | uint16(f.Payload[1]))
		}
		if code != want {
			b.t.Errorf("closed with %d, want %d", code, want)
		}
		if rest, err := io.ReadAll(b.in); len(rest) > 0 || err != nil {
			b.t.Errorf("behind the close frame: %q, %v", rest, err)
		}
		return messages
	}
}

func TestMessagesTravelByWebSocket(t *testing.T) {
	stub := newStub()
	stub.onMessage = echo
	l := newWebLab(t, wireSettings{}, stub, wsAlways)
	b := l.browse()
	f := l.flow()
	if f.Transport() != TransportWSS || f.Role != RoleRemote || f.Listener != "web" || f.Transport().String() != "wss" {
		t.Errorf("flow by %v with role %v of %q", f.Transport(), f.Role, f.Listener)
	}
	for _, n := range []int{0, 10, 500, 65_000, 70_000, 1 << 20} {
		m := message(n, strings.Repeat("x", n))
		b.say(m)
		b.hears(m)
	}
	without := strings.Replace(message(1, "a body without a length"), "Content-Length: 23\r\n", "", 1)
	b.say(without)
	b.hears(without) // RFC 7118 §5
	binary := message(2, "\xff\xfe")
	if err := wsutil.WriteClientBinary(b, []byte(binary)); err != nil {
		t.Fatal(err)
	}
	if f := b.frame(); f.Header.OpCode != ws.OpBinary || string(f.Payload) != binary {
		t.Errorf("what is not UTF-8 came as %+v", f.Header)
	}
	b.Close()
	if err := l.end(); !errors.Is(err, io.EOF) {
		t.Errorf("flow ended with %v", err)
	}
}

func TestWebSocketIsReadHoweverItIsCutUp(t *testing.T) {
	stub := newStub()
	stub.onMessage = echo
	l := newWebLab(t, wireSettings{}, stub, wsAlways)
	m := message(1, strings.Repeat("x", 1500))
	third := len(m) / 3
	stream := asUpgrade + masked(finText, m) + masked(finPing, "in between") +
		masked(firstText, m[:third]) + masked(finPing, "within") + masked(moreText, m[third:2*third]) + masked(finMore, m[2*third:]) +
		masked(finText, "\r\n\r\n") + masked(finText, message(9, ""))
	for _, size := range []int{1, 7, 300, len(stream)} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			c := l.shake()
			go func() {
				for rest := stream; rest != ""; {
					n := min(size, len(rest))
					io.WriteString(c, rest[:n])
					rest = rest[n:]
				}
			}()
			r := bufio.NewReader(c)
			resp, err := http.ReadResponse(r, nil)
			if err != nil || resp.StatusCode != 101 {
				t.Fatalf("upgrade: %v, %v", resp, err)
			}
			var got, pongs []string
			// The last ping is answered at the end of a turn, and so after what came with it.
			for len(got) < 4 || !slices.Contains(pongs, "within") {
				f, err := ws.ReadFrame(r)
				switch {
				case err != nil:
					t.Fatalf("%v after %d messages and the pongs %q", err, len(got), pongs)
				case f.Header.OpCode == ws.OpPong:
					pongs = append(pongs, string(f.Payload))
				default:
					got = append(got, string(f.Payload))
				}
			}
			if got[0] != m || got[1] != m || got[2] != "\r\n" || got[3] != message(9, "") {
				t.Errorf("received %q", got)
			}
			if len(pongs) > 2 {
				t.Errorf("pongs %q", pongs)
			}
		})
	}
}

func TestWhatIsWrongWithAWebSocketIsSaidInItsEnd(t *testing.T) {
	l := newWebLab(t, wireSettings{limits: sip.Limits{Header: 2000, Body: 3000}}, newStub(), wsAlways)
	half := message(1, "a body that is not complete")
	body := strings.Repeat("x", 3001)
	for _, tt := range []struct {
		name   string
		stream string
		want   closeCode
		answer string // the beginning of the answer by SIP
	}{
		{"fragments of one octet", masked(firstText, "M") + strings.Repeat(masked(moreText, "E"), 80), 1002, ""},
		{"a control frame that is too long", masked(finPing, strings.Repeat("x", 126)), 1002, ""},
		{"no mask", "\x81\x04\r\n\r\n", 1002, ""},
		{"compression", masked(finText|0x40, "x"), 1002, ""},
		{"half a message", masked(finText, half[:len(half)-5]), 1002, "SIP/2.0 400 "},
		{"half of a header block", masked(finText, half[:150]), 1002, "SIP/2.0 400 "},
		{"two messages in one", masked(finText, message(1, "")+message(2, "")), 1002, "SIP/2.0 400 "},
		{"a gigabyte", "\x82\xff\x00\x00\x00\x00\x40\x00\x00\x00", 1009, ""},
		{"more than header block and body may have", masked(finText, strings.Repeat("x", 5001)), 1009, ""},
		{"more than a body may have", masked(finText, message(1, body)), 1009, "SIP/2.0 513 "},
		{"text that is not UTF-8", masked(finText, message(1, "\xff")), 1007, ""},
		{"half a letter at the end of text", masked(finText, message(1, "\xe2\x82")), 1007, ""},
		{"an empty message", masked(finText, ""), 1002, "SIP/2.0 400 "},
		{"three CRLF", masked(finText, "\r\n\r\n\r\n"), 1002, "SIP/2.0 400 "},
		{"what is no SIP", masked(finText, "hello"), 1002, "SIP/2.0 400 "},
		{"a close without a code", masked(finClose, ""), 0, ""},
		{"a close", masked(finClose, "\x03\xe8"), 1000, ""},
		{"a close with a reason", masked(finClose, "\x03\xe9bye"), 1001, ""},
		{"a close with half a code", masked(finClose, "\x03"), 1002, ""},
		{"a close with a code that none may have", masked(finClose, "\x03\xed"), 1002, ""},
		{"a close with a reason that is not UTF-8", masked(finClose, "\x03\xe8\xff"), 1007, ""},
		{"a close and more", masked(finClose, "\x03\xe8") + masked(finText, "\r\n\r\n") + strings.Repeat("junk", 10_000), 1000, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := l.browse()
			go io.WriteString(b.Conn, masked(finText, "\r\n\r\n")+tt.stream)
			b.hears("\r\n")
			switch got := b.sees(tt.want); {
			case tt.answer == "" && len(got) > 0, tt.answer != "" && len(got) != 1:
				t.Errorf("received %q", got)
			case tt.answer != "" && !strings.HasPrefix(got[0], tt.answer):
				t.Errorf("received %q, want %s", got, tt.answer)
			}
			b.Close()
			l.end()
		})
	}
}

func TestWebSocketKeepalives(t *testing.T) {
	stub := newStub()
	stub.onMessage = echo
	l := newWebLab(t, wireSettings{}, stub, wsAlways)
	b := l.browse()
	send(t, b.Conn, masked(finPing, "first")+masked(finPing, "latest")+masked(finText, message(1, "")))
	b.hears(message(1, ""))
	if f := b.frame(); f.Header.OpCode != ws.OpPong || string(f.Payload) != "latest" {
		t.Errorf("received %+v with %q, want the pong of the latest ping", f.Header, f.Payload)
	}
	long := strings.Repeat("x", 125)
	send(t, b.Conn, masked(finPing, long))
	if f := b.frame(); string(f.Payload) != long {
		t.Errorf("pong has %q", f.Payload)
	}
	send(t, b.Conn, masked(finPong, "unasked")+masked(finText, "\r\n")+masked(finText, "\r\n\r\n"))
	b.hears("\r\n")
	send(t, b.Conn, masked(finBinary, "\r\n\r\n"))
	b.hears("\r\n")
}

func TestAFloodOfWebSocketPingsCostsABoundedQueue(t *testing.T) {
	l := newWebLab(t, wireSettings{maxOut: 256 << 10, timeouts: timeouts{write: 500 * time.Millisecond}}, newStub(), wsAlways)
	b := l.browse()
	f := l.flow()
	flood := []byte(strings.Repeat(masked(finPing, strings.Repeat("x", 125)), 200))
	for range 2000 { // 50 MB, and nothing is read
		if _, err := b.Conn.Write(flood); err != nil {
			break
		}
		if n := f.conn.pending.Load(); n > slowPeer+16<<10 {
			t.Fatalf("%d octets of pongs wait", n)
		}
	}
}

func TestASilentWebSocketIsPinged(t *testing.T) {
	l := newWebLab(t, wireSettings{timeouts: timeouts{frames: 50 * time.Millisecond}}, newStub(), wsAlways)
	b := l.browse()
	f := l.flow()
	for range 3 { // who never answered is pinged all the same
		if got := b.frame(); got.Header.OpCode != ws.OpPing || len(got.Payload) > 0 {
			t.Fatalf("received %+v", got.Header)
		}
	}
	send(t, b.Conn, masked(finPong, ""))
	if got := b.frame(); got.Header.OpCode != ws.OpPing {
		t.Fatalf("received %+v", got.Header)
	}
	for b.frame().Header.OpCode != ws.OpClose { // from its first pong on it owes us one
	}
	if err := l.end(); !errors.Is(err, errNoPong) || f.Transport() != TransportWSS {
		t.Errorf("flow ended with %v, want %v", err, errNoPong)
	}
}

func TestWeSayWhyAWebSocketEnds(t *testing.T) {
	var pingable turn
	for _, tt := range []struct {
		name string
		end  func(f *Flow)
		want closeCode
	}{
		{"finished by policy", func(f *Flow) { f.finish(errStranger) }, closePolicy},
		{"finished as the edge stops", func(f *Flow) { f.finish(errStopped) }, closeGoingAway},
		{"closed as the edge stops", func(f *Flow) { f.close(errStopped) }, closeGoingAway},
		{"closed for nothing", func(f *Flow) { f.close(errIdle) }, closeNormal},
		{"finished with something queued", func(f *Flow) { f.queueRaw(&pingable, pong); f.finish(errStranger) }, closePolicy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newWebLab(t, wireSettings{}, newStub(), wsAlways)
			b := l.browse()
			tt.end(l.flow())
			b.sees(tt.want)
			b.Close()
			l.end()
		})
	}
}

func TestNothingFollowsACloseFrame(t *testing.T) {
	l := newWebLab(t, wireSettings{}, newStub(), wsAlways)
	for range 20 {
		b := l.browse()
		f := l.flow()
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				var batch turn
				for f.queueRaw(&batch, []byte(message(1, ""))) == nil {
					batch.end()
				}
				batch.end()
			})
		}
		f.finish(errStopped)
		group.Wait()
		for _, m := range b.sees(closeGoingAway) {
			if m != message(1, "") {
				t.Errorf("received %q", m)
			}
		}
		b.Close()
		l.end()
	}
}

func TestThoseWhoDawdleByWebSocketAreCut(t *testing.T) {
	short := timeouts{handshake: 500 * time.Millisecond, message: 300 * time.Millisecond, linger: 100 * time.Millisecond}
	l := newWebLab(t, wireSettings{timeouts: short}, newStub(), wsAlways)
	t.Run("no request to upgrade", func(t *testing.T) {
		if got, err := io.ReadAll(l.shake()); len(got) > 0 || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("read %q, %v", got, err)
		}
	})
	t.Run("half a request to upgrade", func(t *testing.T) {
		c := l.shake()
		send(t, c, asUpgrade[:100])
		if got, _ := io.ReadAll(c); len(got) > 0 {
			t.Errorf("read %q", got)
		}
	})
	m := message(1, "hello")
	for _, tt := range []struct{ name, stream string }{
		{"half the header of a frame", "\x81"},
		{"half a frame", masked(finText, m)[:50]},
		{"half a ping", masked(finPing, "hello")[:8]},
		{"half of the fragments", masked(firstText, m[:50])},
		{"half of the fragments and pings", masked(firstText, m[:50]) + masked(finPing, "")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := l.browse()
			go func() {
				for s := tt.stream; ; s = masked(finPing, "") {
					if _, err := io.WriteString(b.Conn, s); err != nil || !strings.HasSuffix(tt.name, "pings") {
						return
					}
				}
			}()
			go io.Copy(io.Discard, b.in)
			if err := l.end(); !errors.Is(err, errMessageTimeout) {
				t.Errorf("flow ended with %v, want %v", err, errMessageTimeout)
			}
		})
	}
}

func TestUpgradesAreRefusedByHTTP(t *testing.T) {
	var log syncBuffer
	l := newWebLab(t, wireSettings{log: slog.New(slog.NewTextHandler(&log, nil))}, newStub(), wsAlways)
	for _, tt := range []struct {
		name    string
		request string
		want    int
		field   [2]string
	}{
		{"a foreign page", strings.Replace(asUpgrade, "app.example.com", "evil.example", 1), 403, [2]string{}},
		{"a page from nowhere", strings.Replace(asUpgrade, "https://app.example.com", "null", 1), 403, [2]string{}},
		{"no page", strings.Replace(asUpgrade, "Origin: https://app.example.com\r\n", "", 1), 403, [2]string{}},
		{"no subprotocol", strings.Replace(asUpgrade, "Sec-WebSocket-Protocol: sip\r\n", "", 1), 400, [2]string{}},
		{"an old version", strings.Replace(asUpgrade, "Version: 13", "Version: 8", 1), 426, [2]string{"Sec-Websocket-Version", "13"}},
		{"a form", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405, [2]string{"Allow", "GET"}},
		{"SIP", message(1, ""), 405, [2]string{"Allow", "GET"}},
		{"a request that is too long", strings.Replace(asUpgrade, "\r\n\r\n", "\r\nCookie: "+strings.Repeat("x", 9000)+"\r\n\r\n", 1), 431, [2]string{}},
		{"a request without an end", "GET / HTTP/1.1\r\nCookie: " + strings.Repeat("x", 100_000), 431, [2]string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := l.shake(alpnHTTP)
			go io.WriteString(c, tt.request)
			r := bufio.NewReader(c)
			resp, err := http.ReadResponse(r, nil)
			if err != nil || resp.StatusCode != tt.want || !resp.Close {
				t.Fatalf("answered %+v, %v; want %d", resp, err, tt.want)
			}
			if body, err := io.ReadAll(resp.Body); err != nil || len(body) > 50 {
				t.Errorf("body %q, %v", body, err)
			}
			if got := resp.Header.Get(tt.field[0]); tt.field[0] != "" && got != tt.field[1] {
				t.Errorf("%s is %q, want %q", tt.field[0], got, tt.field[1])
			}
			if _, err := r.ReadByte(); err != io.EOF {
				t.Errorf("behind the answer: %v, want the end", err)
			}
			c.Close()
		})
	}
	l.stop()
	if s := log.String(); !strings.Contains(s, "websocket refused") || !strings.Contains(s, "https://evil.example is not in the list") {
		t.Errorf("the log does not say why: %s", s)
	}
	if n, all := l.web.open.Load(), l.w.counts.open.Load(); n != 0 || all != 0 {
		t.Errorf("%d connections are still counted, %d of all listeners", n, all)
	}
}

func TestOnePortHasSIPAndWebSocket(t *testing.T) {
	stub := newStub()
	stub.onMessage = echo
	l := newWebLab(t, wireSettings{timeouts: timeouts{handshake: time.Second}}, stub, wsShared)
	m := message(1, "hello")
	for _, tt := range []struct {
		name   string
		offers []string
		want   string // chosen
		web    bool
	}{
		{"a browser", []string{"http/1.1"}, "http/1.1", true},
		{"a client by WebSocket that offers nothing", nil, "", true},
		{"a client by WebSocket that offers more", []string{"h2", "http/1.1"}, "http/1.1", true},
		{"a SIP client", nil, "", false},
		{"a SIP client that says so", []string{"sip/2"}, "sip/2", false},
		{"a SIP client that offers what nobody knows", []string{"sip", "x-phone"}, "", false},
		{"a client by WebSocket that offers what nobody knows", []string{"x-web"}, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := l.shake(tt.offers...)
			if got := c.ConnectionState().NegotiatedProtocol; got != tt.want {
				t.Errorf("chose %q, want %q", got, tt.want)
			}
			if tt.web {
				b := upgraded(t, c)
				b.say(m)
				b.hears(m)
			} else {
				send(t, c, m)
				expect(t, c, m)
			}
			if f := l.flow(); f.Transport() == TransportWSS != tt.web {
				t.Errorf("flow by %v", f.Transport())
			}
		})
	}
	t.Run("a SIP client that takes its time", func(t *testing.T) {
		c := l.shake()
		f := l.flow() // when it could have sent a request to upgrade and did not
		send(t, c, m)
		expect(t, c, m)
		if f.Transport() != TransportTLS {
			t.Errorf("flow by %v", f.Transport())
		}
	})
	t.Run("octet by octet", func(t *testing.T) {
		for _, s := range []string{"\r\n\r\n", "GETX sip:bob@example.com SIP/2.0" + strings.TrimPrefix(m, "MESSAGE sip:bob@example.com SIP/2.0")} {
			c := l.shake()
			for i := range len(s) {
				send(t, c, s[i:i+1])
			}
			if s == "\r\n\r\n" {
				s = "\r\n"
			}
			expect(t, c, s)
		}
	})
	t.Run("one who said that he speaks HTTP", func(t *testing.T) {
		c := l.shake(alpnHTTP)
		send(t, c, m)
		if got, _ := io.ReadAll(c); !strings.HasPrefix(string(got), "HTTP/1.1 405 ") {
			t.Errorf("answered %q", got)
		}
	})
}

func TestATicketHoldsWhateverAClientOffers(t *testing.T) {
	stub := newStub()
	stub.onMessage = echo
	l := newWebLab(t, wireSettings{}, stub, wsShared)
	l.tls.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for i := range 3 {
		c := l.shake(alpnHTTP)
		b := upgraded(t, c)
		b.say(message(i, ""))
		b.hears(message(i, ""))
		if got := c.ConnectionState().DidResume; got != (i > 0) {
			t.Errorf("connection %d resumed: %v", i, got)
		}
		b.Close()
	}
}

func TestAnEditedMessageIsFramedAsItLeaves(t *testing.T) {
	stub := newStub()
	stub.onMessage = func(t *turn, f *Flow, m *sip.Message) {
		f.queueRaw(t, pong)
		f.queue(t, m, &sip.Edit{MaxForwards: -1, PushVia: []byte("SIP/2.0/WSS edge.example.com;branch=z9hG4bKours")})
		f.queueRaw(t, pong)
	}
	l := newWebLab(t, wireSettings{}, stub, wsAlways)
	b := l.browse()
	for _, n := range []int{0, 1000, 65_300, 100_000} {
		m := message(n, strings.Repeat("x", n))
		b.say(m)
		b.hears("\r\n")
		b.hears(strings.Replace(m, "Via:", "Via: SIP/2.0/WSS edge.example.com;branch=z9hG4bKours\r\nVia:", 1))
		b.hears("\r\n")
	}
}

func TestAnIdleWebSocketHoldsNothing(t *testing.T) {
	f, r := loopback()
	f.ws = newFrames(sip.Limits{})
	m := message(1, strings.Repeat("x", 5000))
	feed := func(s string) {
		t.Helper()
		b := f.in.room(f.w)
		b.b = append(b.b, s...)
		if err := f.handle(r); err != nil {
			t.Fatal(err)
		}
		f.settle(r)
		r.complete = false
	}
	feed(masked(firstText, m[:2000]))
	if f.in.buf != nil || cap(f.ws.parts.b) > 2048 || f.clocks.began.Load() == 0 {
		t.Errorf("fragments of 2000 octets hold %v and %d; message began at %d", f.in.buf, cap(f.ws.parts.b), f.clocks.began.Load())
	}
	feed(masked(finMore, m[2000:]))
	if f.in.buf != nil || f.ws.parts != nil || f.clocks.began.Load() != 0 {
		t.Errorf("holds %v and %v, message began at %d", f.in.buf, f.ws.parts, f.clocks.began.Load())
	}
	feed(masked(finText, m)[:30])
	if cap(f.in.buf.b) > smallestBuffer || f.clocks.began.Load() == 0 {
		t.Errorf("30 octets hold %d", cap(f.in.buf.b))
	}
}

func TestAWebSocketThatEndsIsNotPinged(t *testing.T) {
	f, _ := loopback()
	f.ws = newFrames(sip.Limits{})
	var batch turn
	if err := f.keepOpen(&batch, 1000, 999); err != nil || len(f.out.b) == 0 {
		t.Errorf("a silent one: %v, %v", err, f.out)
	}
	f.clocks.pinged.Store(0)
	f.gate.Store(flowEnding)
	if err := f.keepOpen(&batch, 1000, 999); err != nil {
		t.Errorf("it would be closed before the peer has closed: %v", err)
	}
}
