package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/sip"
)

// What one attempt to speak with a server may take.
const (
	callConnect   = 4 * time.Second
	callHandshake = 5 * time.Second
	callAnswer    = 4 * time.Second
	callLeave     = time.Second // for the other side to see that we have left
	callOctets    = 64 << 10    // of what it says, all together
)

// A call is one attempt to speak SIP with a server, and what was seen on the
// way. Whoever makes it judges what was seen.
type call struct {
	hop     locate.Hop
	control func(network, address string, c syscall.RawConn) error
	from    netip.Addr  // our address; the zero Addr: what the system chooses
	conf    *tls.Config // nil: plain TCP
	options []byte      // the request to send
	proved  func(*tls.ConnectionState) bool
	leaves  bool // as soon as the server has shown its certificate, without a complaint

	connected time.Duration
	err       error // of connecting

	state  *tls.ConnectionState        // as soon as the server's certificate is known
	asked  *tls.CertificateRequestInfo // what it said when it asked for ours; nil: it did not
	shaken time.Duration
	tlsErr error
	answer *sipAnswer
	sipErr error
	quiet  bool // nothing was asked of it
}

// A sipAnswer is a final answer to our OPTIONS.
type sipAnswer struct {
	status   int
	phrase   string    // escaped
	software string    // Server or User-Agent, escaped
	date     time.Time // zero: the answer has none
	sent     time.Time
	took     time.Duration
}

// make makes the call. It always ends in time.
func (c *call) make(ctx context.Context) {
	began := time.Now()
	conn, err := c.connect(ctx)
	if c.err = err; err != nil {
		return
	}
	defer conn.Close()
	c.connected = time.Since(began)
	// The end of ctx closes the connection under whatever waits for it.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if c.conf == nil {
		c.ask(conn)
		return
	}
	began = time.Now()
	conn.SetDeadline(began.Add(callHandshake))
	secure := tls.Client(conn, c.watched(conn))
	c.tlsErr = secure.HandshakeContext(ctx)
	c.shaken = time.Since(began)
	if errors.Is(c.tlsErr, errCallLeft) {
		c.quiet = true
		conn.SetDeadline(time.Now().Add(callLeave))
		io.Copy(io.Discard, conn) // a reset would look like a fault to the other side
	}
	if c.tlsErr != nil {
		return
	}
	if s := secure.ConnectionState(); c.state == nil {
		c.state = &s
	}
	if c.proved != nil && !c.proved(c.state) {
		c.quiet = true
		return
	}
	c.ask(secure)
}

func (c *call) connect(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Control: c.control, Timeout: callConnect}
	if c.from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.from, 0))
	}
	return d.DialContext(ctx, "tcp", c.hop.Addr.String())
}

// watched is the TLS settings with eyes: they see the server's certificate and
// its request for ours also when the handshake fails afterwards.
func (c *call) watched(conn net.Conn) *tls.Config {
	conf := c.conf.Clone()
	conf.ClientSessionCache = nil // a resumed session would show nothing
	verify, give := conf.VerifyConnection, conf.GetClientCertificate
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		c.state = &s
		switch tcp, ok := conn.(*net.TCPConn); {
		case c.leaves && ok:
			return errors.Join(errCallLeft, tcp.CloseWrite()) // before TLS can send an alert
		case verify == nil:
			return nil
		}
		return verify(s)
	}
	conf.GetClientCertificate = func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c.asked = asked
		if give == nil {
			return &tls.Certificate{}, nil
		}
		return give(asked)
	}
	return conf
}

// leaf is the server's certificate, nil if it showed none.
func (c *call) leaf() *x509.Certificate {
	if c.state == nil || len(c.state.PeerCertificates) == 0 {
		return nil
	}
	return c.state.PeerCertificates[0]
}

var (
	errCallSilent = errors.New("no answer")
	errCallClosed = errors.New("the connection was closed without an answer")
	errCallLeft   = errors.New("left as soon as the certificate was seen")
	errCallTalks  = errors.New("too many octets without an answer")
)

// ask sends the request and waits for its final answer. What else comes on the
// connection is passed over.
func (c *call) ask(conn net.Conn) {
	sent := time.Now()
	conn.SetDeadline(sent.Add(callAnswer))
	if _, err := conn.Write(c.options); err != nil {
		c.sipErr = callFault(err)
		return
	}
	var f sip.Framer
	var m sip.Message
	read, buf := 0, make([]byte, 0, 4096)
	for read < callOctets {
		kind, n, err := f.Next(buf, &m)
		switch {
		case err != nil:
			c.sipErr = fmt.Errorf("what came is no SIP: %w", err)
			return
		case kind == sip.Complete && c.answers(&m):
			c.take(&m, sent)
			return
		case kind != sip.Incomplete:
			buf = bytes.Clone(buf[n:])
			continue
		}
		chunk := make([]byte, 4096)
		n, err = conn.Read(chunk)
		buf, read = append(buf, chunk[:n]...), read+n
		if n == 0 && err != nil {
			c.sipErr = callFault(err)
			return
		}
	}
	c.sipErr = errCallTalks
}

// callFault says in our words how a connection ended; what the TLS stack knows
// of the reason is kept.
func callFault(err error) error {
	var late net.Error
	switch {
	case errors.As(err, &late) && late.Timeout(), errors.Is(err, net.ErrClosed):
		return fmt.Errorf("%w within %v", errCallSilent, callAnswer)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return errCallClosed
	}
	return err
}

// answers reports whether m is the final answer to our request: the branch is
// ours alone (RFC 3261 §17.1.3).
func (c *call) answers(m *sip.Message) bool {
	if m.IsRequest() || m.Status() < 200 {
		return false
	}
	id := m.CallID()
	return len(id) > 0 && bytes.Contains(c.options, fmt.Appendf(nil, "\r\nCall-ID: %s\r\n", id))
}

func (c *call) take(m *sip.Message, sent time.Time) {
	a := &sipAnswer{status: m.Status(), phrase: escaped(string(m.Reason())), sent: sent, took: time.Since(sent)}
	software := m.Value(sip.Server)
	if software == nil {
		software = m.Value(sip.UserAgent)
	}
	a.software = escaped(string(software))
	if date, err := http.ParseTime(string(m.Value(sip.Date))); err == nil {
		a.date = date // RFC 3261 §20.17: RFC 1123 format, always GMT
	}
	c.answer = a
}

// off is how far the clock of who answered is from ours, with what the answer's
// way and the seconds of the format may explain taken off.
func (a *sipAnswer) off() time.Duration {
	early, late := a.sent.Add(-time.Second), a.sent.Add(a.took+time.Second)
	switch {
	case a.date.Before(early):
		return a.date.Sub(early)
	case a.date.After(late):
		return a.date.Sub(late)
	}
	return 0
}

// An asker is how we name ourselves in a request of our own.
type asker struct {
	name   string // of our edge
	domain string // one of ours, for From; "": name
	agent  string // User-Agent
}

// options writes the question whether somebody is there (RFC 3261 §11.1). It
// goes no further than the first hop, which answers by itself: Max-Forwards is 0
// (RFC 3261 §11).
func (a asker) options(to, transport string) []byte {
	id := rand.Text()
	who := cmp.Or(a.domain, a.name)
	var b bytes.Buffer
	fmt.Fprintf(&b, "OPTIONS sip:%s;transport=%s SIP/2.0\r\n", to, transport)
	fmt.Fprintf(&b, "Via: SIP/2.0/%s %s;branch=z9hG4bK%s\r\n", strings.ToUpper(transport), a.name, id)
	fmt.Fprintf(&b, "Max-Forwards: 0\r\nFrom: \"%s\" <sip:%s>;tag=%s\r\nTo: <sip:%s>\r\n", a.name, who, id[:8], to)
	fmt.Fprintf(&b, "Call-ID: probe-%s@%s\r\nCSeq: 1 OPTIONS\r\n", id, a.name)
	fmt.Fprintf(&b, "Contact: <sip:%s;transport=%s>\r\nUser-Agent: %s\r\n", a.name, transport, a.agent)
	b.WriteString("Accept: application/sdp\r\nContent-Length: 0\r\n\r\n")
	return b.Bytes()
}
