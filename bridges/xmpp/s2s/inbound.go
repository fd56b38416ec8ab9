package s2s

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// errRestart is not an error: a new stream begins on the connection (RFC 6120
// §4.3.3).
var errRestart = errors.New("s2s: stream restarts")

// accept takes connections until the listener is closed.
func (s *Server) accept(ln net.Listener, direct bool) {
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) || s.base.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		if err != nil {
			s.log.Warn("connection not accepted", "err", err)
			t := time.NewTimer(100 * time.Millisecond) // out of descriptors, most likely
			select {
			case <-t.C:
			case <-s.base.Done():
			}
			t.Stop()
			continue
		}
		s.receive(conn, direct)
	}
}

// receive begins with a connection that somebody opened.
func (s *Server) receive(conn net.Conn, direct bool) {
	st := s.newStream(conn, true, direct)
	if why := s.enter(st); why != "" {
		s.strangers.log(source(st.addr).String(), "stream refused", "addr", st.addr, "reason", why)
		_ = conn.Close()
		return
	}
	st.provedBy = st.began.Add(s.limits.UnprovedTime)
	keepAlive(conn)
	_ = conn.SetDeadline(st.provedBy)
	started := s.spawn(func() {
		st.start()
		st.end(st.safely(st.welcome))
	})
	if !started {
		s.left(st)
		_ = conn.Close()
	}
}

// keepAlive lets the kernel find out that a peer is gone (RFC 6120 §4.6.1).
func keepAlive(conn net.Conn) {
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3})
	}
}

// welcome handles a stream that they opened, from its first octet to its last.
func (st *stream) welcome() error {
	if st.direct {
		if err := st.secure(); err != nil {
			return err
		}
	}
	for {
		if err := st.greet(); err != nil {
			return err
		}
		if st.tls == nil {
			if err := st.untilTLS(); err != nil {
				return err
			}
			continue
		}
		if err := st.read(); err != errRestart {
			return err
		}
		st.mu.Lock()
		st.opened = false
		st.mu.Unlock()
		st.r.Reset(&st.src)
	}
}

// greet reads a header of theirs and answers with ours and with features.
func (st *stream) greet() error {
	e, err := st.r.Open()
	st.src.complete()
	var h header
	var f *fault
	if err == nil {
		f = h.read(e, st.r.Content())
	}
	if err == nil && f == nil {
		f = st.judgeHeader(h)
	}
	local := h.to
	if !st.s.ours[local] {
		// RFC 6120 §4.9.1.3: one of ours, whatever they asked for.
		local = st.s.first
	}
	st.mu.Lock()
	st.id = newID()
	if !st.restarted {
		st.local, st.remote, st.theirs = h.to, h.from, h
	}
	if err == nil {
		st.openLocked(header{from: local, to: h.from, id: st.id})
	}
	st.mu.Unlock()
	st.wake()
	if err != nil {
		return err
	}
	if f != nil {
		return f
	}
	st.say(st.features())
	return nil
}

// judgeHeader looks at what a header says, before anything is proved or after.
func (st *stream) judgeHeader(h header) *fault {
	s := st.s
	switch {
	case h.to == "":
		return &fault{condition: "improper-addressing", text: "to whom?"}
	case !s.ours[h.to]:
		return &fault{condition: "host-unknown", text: h.to + " is not here"}
	case s.ours[h.from]:
		return &fault{condition: "invalid-from", text: "that is us"}
	case st.restarted && h.from != "" && h.from != st.theirs.from, st.restarted && h.to != st.theirs.to:
		return &fault{condition: "invalid-from", text: "not who authenticated"}
	case h.from != "" && st.tls != nil && !s.allows(h.from):
		return &fault{condition: "policy-violation", text: "not allowed here"}
	}
	return nil
}

// features are what we offer at this point (RFC 6120 §4.3.2). Before TLS that is
// TLS and nothing else (RFC 6120 §5.3.1).
func (st *stream) features() *stanza.Element {
	f := stanza.New(stanza.NSStreams, "features")
	if st.tls == nil {
		f.Add(stanza.New(nsTLS, "starttls")).Add(stanza.New(nsTLS, "required"))
		return f
	}
	if !st.restarted {
		if from := st.theirs.from; from != "" {
			// Offered only to whom it will be granted (RFC 6120 §6.3.4).
			proof, why := st.s.proofOf(st, from)
			if proof == bridges.ProofDANE {
				st.vouched = from
			}
			if proof != bridges.ProofNone {
				f.Add(stanza.New(nsSASL, "mechanisms")).AddText(nsSASL, "mechanism", "EXTERNAL")
			} else {
				st.mu.Lock()
				st.unproved = why
				st.mu.Unlock()
			}
		}
		if !st.s.c.OneWay {
			f.Add(stanza.New(nsCanBidi, "bidi"))
		}
	} else {
		f.Add(stanza.New(nsManage, "sm"))
	}
	f.Add(stanza.New(nsCanCheck, "dialback")).Add(stanza.New(nsCanCheck, "errors"))
	f.Add(st.s.limitsElement())
	return f
}

// untilTLS waits for STARTTLS and does it. Nothing else is said without TLS but
// that it is needed.
func (st *stream) untilTLS() error {
	for {
		e, err := st.next()
		switch {
		case err != nil:
			return err
		case e.Is(nsTLS, "starttls"):
			st.say(stanza.New(nsTLS, "proceed"))
			st.flush()
			return st.secure()
		case e.Space == stanza.NSDialback && e.Attr("type") == "":
			// Servers of old try it without TLS, and are told (XEP-0220 §2.5).
			if err := st.dialback(e); err != nil {
				return err
			}
		case e.Is(stanza.NSStreams, "error"):
			return complaintOf(e, "stream", nsErrors)
		default:
			return &fault{condition: "policy-violation", text: "TLS first"}
		}
	}
}

// errHandshake marks failures of TLS: nothing may be said after one (RFC 6120
// §5.4.3.2).
var errHandshake = errors.New("tls")

// secure does the TLS handshake. What came before it and was not read is thrown
// away: whoever could put it there without TLS may not be who the certificate
// names.
func (st *stream) secure() error {
	var c *tls.Conn
	if st.in {
		c = tls.Server(st.conn, st.s.serverTLS)
	} else {
		c = tls.Client(st.conn, st.clientTLS())
	}
	if err := c.HandshakeContext(st.s.base); err != nil {
		return fmt.Errorf("%w: %w", errHandshake, err)
	}
	st.mu.Lock()
	st.conn, st.tls = c, c
	st.opened = false
	st.mu.Unlock()
	st.r.Reset(&st.src)
	return nil
}

// bothWays is that stanzas of ours may go on a stream that they opened (XEP-0288
// §2.2).
func (st *stream) bothWays(e *stanza.Element) {
	octets, idle := readLimits(e)
	if st.s.c.OneWay {
		return
	}
	st.mu.Lock()
	st.bidi = true
	st.peer.maxOctets, st.peer.idle = octets, idle
	st.mu.Unlock()
}

// newID makes the id of a stream: nobody can guess it (RFC 6120 §4.7.3).
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
