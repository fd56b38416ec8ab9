package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// A webConn is a connection by WebSocket (RFC 7118). Each Write is a message of
// its own, and Read gives what is in messages, of which each must hold exactly one
// SIP message or a keepalive. Frames are read and written by gobwas/ws, so that a
// play is a second opinion on them, too.
type webConn struct {
	net.Conn
	in   io.Reader // with what came behind the upgrade
	left []byte    // of the message that is being read

	mu sync.Mutex // of writing: pongs are sent by the reader
}

// upgrade makes a WebSocket of a connection: wss [origin=URL|none]
// [protocol=NAME|none] [path=/].
func upgrade(c net.Conn, host string, o map[string]string) (net.Conn, error) {
	said := func(key, otherwise string) string {
		switch o[key] {
		case "":
			return otherwise
		case "none":
			return ""
		}
		return o[key]
	}
	var d ws.Dialer
	if p := said("protocol", "sip"); p != "" {
		d.Protocols = []string{p}
	}
	if origin := said("origin", "https://edge1.example.com"); origin != "" {
		d.Header = ws.HandshakeHeaderHTTP(http.Header{"Origin": {origin}})
	}
	br, _, err := d.Upgrade(c, &url.URL{Scheme: "wss", Host: host, Path: said("path", "/")})
	if err != nil {
		c.Close()
		return nil, err
	}
	w := &webConn{Conn: c, in: c}
	if br != nil {
		w.in = br
	}
	return w, nil
}

// Read reads what is in messages, and answers pings.
func (w *webConn) Read(p []byte) (int, error) {
	for len(w.left) == 0 {
		data, _, err := wsutil.ReadServerData(webHalves{w.in, w})
		if err == nil {
			err = oneMessage(data)
		}
		if err != nil {
			return 0, err
		}
		w.left = data
	}
	n := copy(p, w.left)
	w.left = w.left[n:]
	return n, nil
}

// webHalves are the frames that come, and where pongs go, which gobwas/ws writes
// in several pieces.
type webHalves struct {
	io.Reader
	w *webConn
}

func (h webHalves) Write(p []byte) (int, error) { return h.w.writeOctets(p) }

// oneMessage complains of what is not one SIP message, or a keepalive.
func oneMessage(data []byte) error {
	if string(data) == "\r\n" || string(data) == "\r\n\r\n" {
		return nil
	}
	r := bufio.NewReader(bytes.NewReader(data))
	if m, err := hear(r); err != nil || m == nil || r.Buffered() > 0 {
		return fmt.Errorf("a message by WebSocket is not one SIP message (%v): %s", err, visible(data))
	}
	return nil
}

// Write sends a message.
func (w *webConn) Write(p []byte) (int, error) {
	_, err := w.writeOctets(inFrame(p))
	return len(p), err
}

// inFrame is a message in a masked frame.
func inFrame(p []byte) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame(p)))
}

// writeOctets sends octets below the frames.
func (w *webConn) writeOctets(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Conn.Write(p)
}

// dribbleTo is where the octets of a message go one by one.
func dribbleTo(c *peerConn, wire []byte) (io.Writer, []byte) {
	if w, ok := c.Conn.(*webConn); ok {
		return w.Conn, inFrame(wire)
	}
	return c, wire
}

// sendsOctets writes what no library would: sends-octets HEX..., below the frames
// of a WebSocket.
func (p *peer) sendsOctets(_ *stage, args []string) error {
	octets, err := hex.DecodeString(strings.Join(args, ""))
	if err != nil {
		return err
	}
	if w, ok := p.out.Conn.(*webConn); ok {
		_, err = w.writeOctets(octets)
		return err
	}
	_, err = p.out.Write(octets)
	return err
}

// upgradeRefused checks the status of an upgrade that was not made.
func (p *peer) upgradeRefused(err error, want string) error {
	var got ws.StatusError
	if !errors.As(err, &got) || strconv.Itoa(int(got)) != want {
		return fmt.Errorf("%s was answered %v, want status %s", p.name, err, want)
	}
	return nil
}

// closedWith checks the code that a WebSocket was closed with.
func (p *peer) closedWith(err error, want string) error {
	var got wsutil.ClosedError
	if !errors.As(err, &got) || strconv.Itoa(int(got.Code)) != want {
		return fmt.Errorf("%s saw the end with %v, want the code %s", p.name, err, want)
	}
	return nil
}

// TestPeersSpeakWebSocket plays with a server that is not the edge.
func TestPeersSpeakWebSocket(t *testing.T) {
	s := openTestStage(t)
	s.play(t, "authority ca", "certificate edge ca=ca dns=edge1.example.com", "peers app")
	server := webServer(t, s)
	s.set("SERVER", server)
	s.write(t, "message", "MESSAGE sip:bob@example.com SIP/2.0\nVia: SIP/2.0/WSS x.invalid;branch=z9hG4bK1\n"+
		"From: <sip:alice@example.com>;tag=1\nTo: <sip:bob@example.com>\nCall-ID: 1\nCSeq: 1 MESSAGE\nContent-Length: {length}\n\nhello")
	s.play(t,
		"app is-refused $SERVER wss origin=https://evil.example status=403",
		"app is-refused $SERVER wss protocol=none",
		"app connects $SERVER wss",
		"app sends message",
		"app receives MESSAGE hello$",
		"app sends message split",
		"app receives MESSAGE",
		"app pings",
		"app receives pong",
		"app asks MESSAGE sip:bob@example.com",
		"app receives MESSAGE",
		"app sends-octets 8180 00000000",
		"app sees-close code=1002",
		"app disconnects",
		"app connects $SERVER wss path=/other",
		"app disconnects",
	)
	if err := s.line("app is-refused $SERVER wss status=403"); err == nil {
		t.Error("an upgrade that is made counts as refused")
	}
}

// webServer sends back what comes, answers a ping by CRLF and closes with 1002
// for an empty message.
func webServer(t *testing.T, s *stage) (address string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(s.path("edge.pem"), s.path("edge.key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); l.Close(); group.Wait() })
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { c.Close() })
			group.Go(func() { echoByWeb(c) })
		}
	})
	return l.Addr().String()
}

func echoByWeb(c net.Conn) {
	defer c.Close()
	u := ws.Upgrader{
		Protocol: func(name []byte) bool { return string(name) == "sip" },
		OnHeader: func(key, value []byte) error {
			if string(key) == "Origin" && string(value) != "https://edge1.example.com" {
				return ws.RejectConnectionError(ws.RejectionStatus(403))
			}
			return nil
		},
	}
	if hs, err := u.Upgrade(c); err != nil || hs.Protocol != "sip" {
		return
	}
	for {
		data, _, err := wsutil.ReadClientData(c)
		switch {
		case err != nil:
			return
		case len(data) == 0:
			ws.WriteFrame(c, ws.NewCloseFrame(ws.NewCloseFrameBody(1002, "")))
			return
		case string(data) == "\r\n\r\n":
			data = data[:2]
		}
		wsutil.WriteServerText(c, data)
	}
}
