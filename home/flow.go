package home

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// A flow is one connection, and what we know about its other end.
type flow struct {
	id   uint64
	conn net.Conn
	side *side
	edge bool // the other end has proved to be our edge

	mu     sync.Mutex      // guards what follows, and orders the writes
	users  map[string]bool // who signed in here
	failed int             // wrong passwords
}

// open makes conn a flow. It refuses when there are too many or when the
// server has ended.
func (s *Server) open(conn net.Conn, sd *side, edge bool) (*flow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil, errors.New("home: closed")
	}
	if len(s.flows) >= maxFlows {
		return nil, errors.New("home: too many connections")
	}
	s.next++
	f := &flow{id: s.next, conn: conn, side: sd, edge: edge, users: map[string]bool{}}
	s.flows[f.id] = f
	return f, nil
}

func (s *Server) flow(id uint64) *flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flows[id]
}

// serve reads messages until the connection ends. Messages of one flow are
// handled in their order, because this goroutine is the only one that does.
func (s *Server) serve(f *flow) {
	defer s.closed(f)
	log := s.log.With("flow", f.id, "edge", f.edge)
	log.Info("flow opened", "remote", f.conn.RemoteAddr().String())
	r := newReader(f)
	for {
		msg, err := r.next()
		if err != nil {
			log.Info("flow closed", "error", err)
			return
		}
		switch m := msg.(type) {
		case *sip.Request:
			s.handleRequest(f, m)
		case *sip.Response:
			s.handleResponse(f, m)
		}
	}
}

func (s *Server) closed(f *flow) {
	f.close()
	s.mu.Lock()
	delete(s.flows, f.id)
	s.mu.Unlock()
	for _, user := range s.registrar.dropFlow(f) {
		s.notify(user)
	}
}

// send writes one message. A flow that does not take it is broken: it is
// closed, so that the next request does not meet it.
func (f *flow) send(m sip.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := io.WriteString(f.conn, m.String()); err != nil {
		f.conn.Close()
		return fmt.Errorf("write to %s: %w", f.conn.RemoteAddr(), err)
	}
	return nil
}

func (f *flow) pong() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := io.WriteString(f.conn, "\r\n")
	return err
}

func (f *flow) close() { f.conn.Close() }

// reset closes without a FIN: what was written and not yet sent is thrown away.
func (f *flow) reset() {
	conn := f.conn
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = t.NetConn()
	}
	if t, ok := conn.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	conn.Close()
}

func (f *flow) signIn(user string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users[user] = true
}

func (f *flow) signedIn(user string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.users[user]
}

// guessed counts wrong passwords and reports whether it is enough.
func (f *flow) guessed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed++
	return f.failed >= maxGuesses
}

// A reader finds the messages on a flow. sipgo's own stream parser is not used
// for that: it takes a folded line that arrives in two segments for two headers.
type reader struct {
	f      *flow
	buf    *bufio.Reader
	parser *sip.Parser
}

func newReader(f *flow) *reader {
	return &reader{f: f, buf: bufio.NewReaderSize(f.conn, 4096), parser: sip.NewParser()}
}

// next reads one message. What it cannot read ends the connection: for a test
// server, looking for the next message is not worth the risk of finding a
// wrong one.
func (r *reader) next() (sip.Message, error) {
	r.f.conn.SetReadDeadline(time.Now().Add(idleTimeout))
	if err := r.keepAlive(); err != nil {
		return nil, err
	}
	r.f.conn.SetReadDeadline(time.Now().Add(messageTimeout))
	head, err := r.head()
	if err != nil {
		return nil, err
	}
	msg, n, err := r.parser.ParseHeaders(head, true)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	if n != len(head) {
		return nil, errors.New("parse: a line is not a header")
	}
	return msg, r.body(msg, maxMessage-len(head))
}

// keepAlive answers each ping of two CRLF with one (RFC 5626 §3.5.1) and
// returns when a message begins.
func (r *reader) keepAlive() error {
	for crlf := 0; ; {
		b, err := r.buf.Peek(1)
		if err != nil {
			return err
		}
		if b[0] != '\r' {
			return nil
		}
		var pair [2]byte
		if _, err := io.ReadFull(r.buf, pair[:]); err != nil {
			return err
		}
		if pair[1] != '\n' {
			return errors.New("parse: CR without LF")
		}
		if crlf++; crlf == 2 {
			crlf = 0
			if err := r.f.pong(); err != nil {
				return err
			}
		}
	}
}

func (r *reader) head() ([]byte, error) {
	var head []byte
	for {
		line, err := r.buf.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if head = append(head, line...); len(head) > maxMessage {
			return nil, errors.New("parse: header too large")
		}
		if bytes.HasSuffix(head, []byte("\r\n\r\n")) {
			return head, wholeLines(head)
		}
	}
}

// wholeLines wants CR and LF only in pairs: sipgo takes a lone one for a part of
// a value, and others for the end of a line, so a user could write into what we
// tell them (RFC 3261 §7).
func wholeLines(head []byte) error {
	pairs := bytes.Count(head, []byte("\r\n"))
	if bytes.Count(head, []byte("\r")) != pairs || bytes.Count(head, []byte("\n")) != pairs || bytes.IndexByte(head, 0) >= 0 {
		return errors.New("parse: CR, LF or NUL in a line")
	}
	return nil
}

// body wants exactly one Content-Length: on a stream it says where the next
// message begins (RFC 3261 §18.3), and two could say two things.
func (r *reader) body(msg sip.Message, room int) error {
	lengths := msg.GetHeaders("Content-Length")
	if len(lengths) != 1 {
		return fmt.Errorf("parse: %d Content-Length headers", len(lengths))
	}
	n := int(*lengths[0].(*sip.ContentLengthHeader))
	if n > room {
		return errors.New("parse: body too large")
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r.buf, body); err != nil {
		return err
	}
	msg.SetBody(body)
	return nil
}

// LogValue shows a flow by its number.
func (f *flow) LogValue() slog.Value { return slog.Uint64Value(f.id) }
