package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/sip"
)

// farServer is fabrikam.example, a server of the XMPP network within the test: other
// than real ones it is fast enough to keep both the edge and Prosody busy.
func farServer(t *testing.T, s *stage, handle func(*s2s.Stanza)) *s2s.Server {
	t.Helper()
	pair, err := certs.Load(s.path("fabrikam.pem"), s.path("fabrikam.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots, err := certs.LoadRoots(s.path("ca.pem"), "")
	if err != nil {
		t.Fatal(err)
	}
	finder, err := locate.New(locate.Config{Servers: []string{s.env("DNS")}, AllowedRanges: []string{"127.0.0.0/8"}}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	far, err := s2s.New(s2s.Config{
		Domains: []string{"fabrikam.example"}, Keypair: pair, Verifier: roots.Verifier(), Finder: finder, Handle: handle,
		Allow: func(string) bool { return true }, Limits: s2s.Limits{Rate: 1e6, Queue: 10000},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", s.env("FABRIKAM_S2S"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { _ = far.Serve(ctx, []net.Listener{l}, nil) })
	t.Cleanup(func() {
		cancel()
		serving.Wait()
		finder.Close()
	})
	return far
}

// newStanza makes a stanza between two.
func newStanza(kind, from, to string, more ...stanza.Attr) *stanza.Element {
	e := stanza.New(stanza.NS, kind, append([]stanza.Attr{{Local: "from", Value: from}, {Local: "to", Value: to}}, more...)...)
	return e
}

// speedBody is what everybody writes.
const speedBody = "Neither, fair saint, if either thee dislike."

// A fastHome is example.com's home server: it answers every request with 200 and shows it
// to whoever asks. What it sends itself goes by another connection, as with real ones.
type fastHome struct {
	asked func(*sip.Message) string
	out   *tls.Conn

	mu      sync.Mutex // guards what follows
	pending []byte
	kick    chan struct{} // room for one
}

// newFastHome starts one. asked is shown each request that comes, on the goroutine of its
// connection, and says which fields the answer has beside the usual ones.
func newFastHome(t *testing.T, s *stage, asked func(*sip.Message) string) *fastHome {
	t.Helper()
	conf, err := s.tlsConfig(nil, map[string]string{"cert": "home"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", s.env("HOME1"), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go readFast(c, asked, nil)
		}
	}()
	return &fastHome{asked: asked, kick: make(chan struct{}, 1)}
}

// connects opens the connection for what the home server sends; answered is shown each
// answer.
func (h *fastHome) connects(t *testing.T, s *stage, answered func(*sip.Message)) {
	t.Helper()
	conf, err := s.tlsConfig(nil, map[string]string{"cert": "home"})
	if err != nil {
		t.Fatal(err)
	}
	if h.out, err = tls.Dial("tcp", s.env("EDGE_INT"), conf); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.out.Close() })
	go readFast(h.out, h.asked, answered)
	go h.writing()
}

// send queues a request. It never waits, so that whoever reads may call it.
func (h *fastHome) send(octets []byte) {
	h.mu.Lock()
	h.pending = append(h.pending, octets...)
	h.mu.Unlock()
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

func (h *fastHome) writing() {
	var spare []byte
	for range h.kick {
		h.mu.Lock()
		batch := h.pending
		h.pending = spare[:0]
		h.mu.Unlock()
		if _, err := h.out.Write(batch); err != nil {
			return
		}
		spare = batch
	}
}

// readFast reads a connection to its end, many messages at a time.
func readFast(c net.Conn, asked func(*sip.Message) string, answered func(*sip.Message)) {
	defer c.Close()
	var framer sip.Framer
	var m sip.Message
	buf, out := make([]byte, 0, 256<<10), []byte(nil)
	for {
		n, err := c.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return
		}
		buf = buf[:len(buf)+n]
		rest := buf
		for {
			kind, n, err := framer.Next(rest, &m)

			if err != nil || kind == sip.Incomplete {
				break
			}
			rest = rest[n:]
			switch {
			case kind != sip.Complete:
			case !m.IsRequest():
				if answered != nil {
					answered(&m)
				}
			default:
				out = appendYes(out, m.Raw(), asked(&m))
			}
		}
		buf = buf[:copy(buf[:cap(buf)], rest)]
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return
			}
			out = out[:0]
		}
	}
}

// appendYes answers a request of the edge with 200. Its fields have their long names.
func appendYes(dst, request []byte, more string) []byte {
	dst = append(dst, "SIP/2.0 200 OK\r\n"...)
	for line := range bytes.Lines(request) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		switch string(name) {
		case "\r\n":
			return append(append(dst, more...), "Content-Length: 0\r\n\r\n"...)
		case "To":
			line = line[:len(line)-2]
			dst = append(dst, line...)
			if !bytes.Contains(line, []byte(";tag=")) {
				dst = append(dst, ";tag=home"...)
			}
			dst = append(dst, "\r\n"...)
		case "Via", "From", "Call-ID", "CSeq", "Record-Route":
			dst = append(dst, line...)
		}
	}
	return dst
}

// processorTime is what a process has used: utime and stime of /proc/PID/stat.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	ticks := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 everywhere
}
