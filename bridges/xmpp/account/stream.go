package account

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A stream is a connection on which stanzas go both ways.
type stream struct {
	net.Conn
	reader *stanza.Reader
	quiet  time.Duration // how long the other side may be silent within one Read

	mu  sync.Mutex // guards buf and the order of what is written
	buf []byte
}

// Limits of a stream.
const (
	maxStanza   = 256 << 10        // octets that we take
	maxSent     = 64 << 10         // that we send
	writeTime   = 30 * time.Second // for the other side to take what we write
	loginQuiet  = 20 * time.Second
	beforeLogin = 16 << 10 // octets of one element
)

func newStream(c net.Conn) *stream {
	s := &stream{Conn: c, quiet: loginQuiet}
	s.reader = stanza.NewReader(s, stanza.Limits{Stanza: beforeLogin})
	return s
}

// Read reads with a deadline of its own, so that a stanza which comes slowly is not
// torn.
func (s *stream) Read(p []byte) (int, error) {
	s.SetReadDeadline(time.Now().Add(s.quiet))
	return s.Conn.Read(p)
}

// octets writes what is already XML.
func (s *stream) octets(b []byte) error {
	s.SetWriteDeadline(time.Now().Add(writeTime))
	_, err := s.Conn.Write(b)
	return err
}

// write writes elements.
func (s *stream) write(elements ...*stanza.Element) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = s.buf[:0]
	for _, e := range elements {
		s.buf = stanza.AppendFor(s.buf, e, stanza.NSClient)
	}
	err := s.octets(s.buf)
	if cap(s.buf) > 64<<10 {
		s.buf = nil
	}
	return err
}

// begin writes the start of a stream. attrs are those of the start tag.
func (s *stream) begin(attrs ...stanza.Attr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := append([]byte(nil), "<?xml version='1.0'?>"...)
	b = stanza.AppendFor(b, stanza.New(stanza.NSStreams, "stream", attrs...), stanza.NSClient)
	b = append(bytes.TrimSuffix(b, []byte("/>")), " xmlns='jabber:client'>"...)
	return s.octets(b)
}

// features reads the start of the other side's stream and what it offers.
func (s *stream) features() (*stanza.Element, error) {
	if _, err := s.reader.Open(); err != nil {
		return nil, err
	}
	e, err := s.next()
	if err != nil {
		return nil, err
	}
	if !e.Is(stanza.NSStreams, "features") {
		return nil, fmt.Errorf("<%s/> where <features/> belongs", e.Local)
	}
	return e, nil
}

// next reads an element. A stream error is returned as an error.
func (s *stream) next() (*stanza.Element, error) {
	e, err := s.reader.Next()
	if err == nil && e.Is(stanza.NSStreams, "error") {
		return nil, refusal("stream", e)
	}
	return e, err
}

// complain tells the other side why we leave.
func (s *stream) complain(err error) {
	var syntax *stanza.SyntaxError
	if !errors.As(err, &syntax) {
		return
	}
	e := stanza.New(stanza.NSStreams, "error")
	e.Add(stanza.New(nsStreamErrors, syntax.Condition))
	s.write(e)
}

// goodbye ends our side of the stream (RFC 6120 §4.4).
func (s *stream) goodbye() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.octets([]byte("</stream:stream>"))
}

// late reports whether an error is only that nothing came in time between two
// elements. One within an element is wrapped.
func late(err error) bool {
	n, ok := err.(net.Error)
	return ok && n.Timeout()
}
