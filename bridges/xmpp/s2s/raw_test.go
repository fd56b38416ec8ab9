package s2s

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/certs"
)

// A raw is a peer that says what a test wants it to.
type raw struct {
	t       testing.TB
	conn    net.Conn
	r       *stanza.Reader
	keypair *certs.Keypair
	quiet   bool              // its failure is none of the test: that sees what comes of it
	held    []*stanza.Element // read before they are wanted
}

func (p *raw) fail(format string, args ...any) {
	p.t.Helper()
	if p.quiet {
		_ = p.conn.Close()
		runtime.Goexit()
	}
	p.t.Fatalf(format, args...)
}

func newRaw(t testing.TB, conn net.Conn) *raw {
	_ = conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = conn.Close() })
	return &raw{t: t, conn: conn, r: stanza.NewReader(conn, stanza.Limits{Stanza: 1 << 20})}
}

// dial opens a connection to a listener.
func dial(t testing.TB, ln net.Listener) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return newRaw(t, conn)
}

func (p *raw) write(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.conn, format, args...); err != nil {
		p.fail("write: %v", err)
	}
}

const head = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' version='1.0'"

// header reads a header.
func (p *raw) header() *stanza.Element {
	p.t.Helper()
	e, err := p.r.Open()
	if err != nil {
		p.fail("header: %v", err)
	}
	return e
}

// open opens a stream and returns the id and the features.
func (p *raw) open(from, to string) (id string, features *stanza.Element) {
	p.t.Helper()
	p.write("%s from='%s' to='%s'>", head, from, to)
	h := p.header()
	return h.Attr("id"), p.expect(stanza.NSStreams, "features")
}

func (p *raw) next() *stanza.Element {
	p.t.Helper()
	if len(p.held) > 0 {
		e := p.held[0]
		p.held = p.held[1:]
		return e
	}
	e, err := p.r.Next()
	if err != nil {
		p.fail("next element: %v", err)
	}
	return e
}

func (p *raw) expect(space, local string) *stanza.Element {
	p.t.Helper()
	e := p.next()
	if !e.Is(space, local) {
		p.fail("got %s, want %s", stanza.Append(nil, e), local)
	}
	return e
}

// secure does the client's side of TLS.
func (p *raw) secure(k *certs.Keypair) {
	p.t.Helper()
	c := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	if k != nil {
		c.Certificates = []tls.Certificate{*k.Certificate()}
	}
	conn := tls.Client(p.conn, c)
	if err := conn.Handshake(); err != nil {
		p.fail("handshake: %v", err)
	}
	p.conn = conn
	p.r.Reset(conn)
}

// startTLS opens a stream, does STARTTLS with a certificate, and opens another.
func (p *raw) startTLS(k *certs.Keypair, from, to string) (id string, features *stanza.Element) {
	p.t.Helper()
	_, f := p.open(from, to)
	if f.Child(nsTLS, "starttls") == nil {
		p.fail("no STARTTLS in %s", stanza.Append(nil, f))
	}
	p.write("<starttls xmlns='%s'/>", nsTLS)
	p.expect(nsTLS, "proceed")
	p.secure(k)
	return p.open(from, to)
}

// login does all until stanzas may be sent.
func (p *raw) login(k *certs.Keypair, from, to string) {
	p.t.Helper()
	p.startTLS(k, from, to)
	p.write("<auth xmlns='%s' mechanism='EXTERNAL'>=</auth>", nsSASL)
	p.expect(nsSASL, "success")
	p.r.Reset(p.conn)
	p.open(from, to)
}

// refused waits for a stream error and the end of the stream.
func (p *raw) refused(condition string) {
	p.t.Helper()
	for {
		e, err := p.r.Next()
		if err != nil {
			p.fail("%v, want a stream error %s", err, condition)
		}
		if !e.Is(stanza.NSStreams, "error") {
			continue
		}
		if e.Child(nsErrors, condition) == nil {
			p.fail("got %s, want %s", stanza.Append(nil, e), condition)
		}
		break
	}
	p.ended()
}

// ended waits for the end tag, and for the end of the connection.
func (p *raw) ended() {
	p.t.Helper()
	if e, err := p.r.Next(); err != io.EOF {
		p.fail("got %v, %v, want the end", e, err)
	}
	p.cut()
}

// cut waits for the end of the connection.
func (p *raw) cut() {
	p.t.Helper()
	if n, err := io.Copy(io.Discard, p.conn); isTimeout(err) {
		p.fail("the connection goes on (%d octets, %v)", n, err)
	}
}

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// server accepts connections for a domain, each handled by the script.
func (w *world) server(domain string, k *certs.Keypair, script func(p *raw)) {
	w.t.Helper()
	ln := listen(w.t)
	w.point(domain, ln.Addr().String())
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			p := newRaw(w.t, conn)
			p.quiet = true
			go script(p)
		}
	}()
}

// accept does the server's side of STARTTLS, and answers with features.
func (p *raw) accept(k *certs.Keypair, from, to, features string) {
	p.answer(from, to, "<starttls xmlns='"+nsTLS+"'/>")
	p.expect(nsTLS, "starttls")
	p.write("<proceed xmlns='%s'/>", nsTLS)
	p.serverTLS(k)
	p.answer(from, to, features)
}

// serverTLS does the server's side of TLS.
func (p *raw) serverTLS(k *certs.Keypair) {
	p.t.Helper()
	conn := tls.Server(p.conn, &tls.Config{Certificates: []tls.Certificate{*k.Certificate()}, ClientAuth: tls.RequestClientCert})
	if err := conn.Handshake(); err != nil {
		p.fail("handshake: %v", err)
	}
	p.conn = conn
	p.r.Reset(conn)
}

// answer reads a header, and sends one and features.
func (p *raw) answer(from, to, features string) {
	p.header()
	p.write("%s from='%s' to='%s' id='s%d'><stream:features>%s</stream:features>", head, from, to, time.Now().UnixNano(), features)
}

const (
	offerExternal = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>"
	offerManage   = "<sm xmlns='urn:xmpp:sm:3'/>"
)

// grant lets a client in that tries EXTERNAL, and answers with features.
func (p *raw) grant(from, to, features string) {
	p.expect(nsSASL, "auth")
	p.write("<success xmlns='%s'/>", nsSASL)
	p.r.Reset(p.conn)
	p.answer(from, to, features)
}

// said reports whether text has all of some words.
func said(text string, words ...string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}
