package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A peer is a raw SIP stand-in: a home server, a partner's edge or an attacker
// on real sockets. It understands nothing: it writes the octets that a play
// gives it, and keeps those that come, in order, in NAME.raw.
type peer struct {
	name   string
	domain string
	inbox  chan event
	gone   chan event       // ends of connections that the edge had opened
	last   event            // the message looked at last
	ended  error            // why its connection ended
	asked  map[string]event // the request received last, "", and of each method
	invite request          // the INVITE sent last
	out    *peerConn        // the connection that the peer opened itself
	count  int              // requests asked
	user   string           // of ours, as whom it has registered; "" for all others
	path   string           // the Route to it, where it has signed in
	resume *tls.Config      // of the last connection, with its session tickets
	listen net.Listener     // nil until the peer listens
	bounce *bouncing        // forwards what comes
	passed map[string]event // requests that it forwarded, by the branch of its Via

	mu    sync.Mutex // guards what follows
	conns map[*peerConn]bool
	raw   *os.File
	deaf  chan struct{} // closed when the peer hears again, nil when it does
	busy  int           // status for the edge's own OPTIONS, 200 if zero
}

// An event is something that reached a peer.
type event struct {
	conn *peerConn
	msg  *heard // nil: a keepalive's answer, or the end
	err  error  // why the connection ended
}

// A peerConn is one connection of a peer.
type peerConn struct {
	net.Conn
	dialled bool
	ended   chan struct{} // closed when it has been read to its end
}

// addPeer makes a peer known to the play.
func (s *stage) addPeer(name string) {
	p := &peer{name: name, domain: domainOf(name), conns: make(map[*peerConn]bool), asked: make(map[string]event)}
	p.inbox, p.gone = make(chan event, 10000), make(chan event, 10000)
	s.peers[name] = p
}

// record keeps what came, for grep.
func (p *peer) record(octets []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.raw != nil {
		p.raw.Write(octets)
	}
}

// openRecord begins the file that record writes.
func (p *peer) openRecord(file string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.raw != nil {
		return nil
	}
	f, err := os.Create(file)
	p.raw = f
	return err
}

// accept serves the connections that come until the listener is closed.
func (p *peer) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go p.serve(&peerConn{Conn: c, ended: make(chan struct{})})
	}
}

// serve reads a connection to its end.
func (p *peer) serve(c *peerConn) {
	p.mu.Lock()
	p.conns[c] = true
	p.mu.Unlock()
	err := p.read(c)
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
	c.Close()
	defer close(c.ended)
	if c.dialled {
		p.inbox <- event{conn: c, err: err}
		return
	}
	p.gone <- event{conn: c, err: err}
}

// read hands on each message of a connection, and answers what needs no play:
// pings, and the edge's own OPTIONS.
func (p *peer) read(c *peerConn) error {
	r := bufio.NewReader(io.TeeReader(c, recorder{p}))
	blanks := 0
	for {
		m, err := hear(r)
		if err != nil {
			return err
		}
		p.waitWhileDeaf()
		switch {
		case m == nil && c.dialled:
			p.inbox <- event{conn: c}
		case m == nil:
			if blanks++; blanks%2 == 0 {
				c.Write([]byte("\r\n"))
			}
		case m.isCheck():
			c.Write(m.answer(p.checkStatus(), p.name, ""))
		default:
			p.inbox <- event{conn: c, msg: m}
		}
	}
}

// recorder writes to the record of a peer.
type recorder struct{ p *peer }

func (r recorder) Write(octets []byte) (int, error) {
	r.p.record(octets)
	return len(octets), nil
}

// checkStatus answers the edge's own OPTIONS.
func (p *peer) checkStatus() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy != 0 {
		return p.busy
	}
	return 200
}

// waitWhileDeaf stops a reader between hangs and resumes, as SIGSTOP would.
func (p *peer) waitWhileDeaf() {
	p.mu.Lock()
	deaf := p.deaf
	p.mu.Unlock()
	if deaf != nil {
		<-deaf
	}
}

// hang makes the peer deaf and dumb; its kernel still accepts and buffers.
func (p *peer) hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deaf == nil {
		p.deaf = make(chan struct{})
	}
}

// wake ends hang.
func (p *peer) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deaf != nil {
		close(p.deaf)
		p.deaf = nil
	}
}

// die closes all that the peer holds open, with a reset, as a killed process
// whose buffers were not empty.
func (p *peer) die() {
	if p.listen != nil {
		p.listen.Close()
		p.listen = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		under := c.Conn
		if w, ok := under.(*webConn); ok {
			under = w.Conn
		}
		if t, ok := under.(*tls.Conn); ok {
			under = t.NetConn()
		}
		if t, ok := under.(*net.TCPConn); ok {
			t.SetLinger(0)
		}
		under.Close()
	}
}

// hangUp closes the peer's connections in order; it goes on listening.
func (p *peer) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// close ends the peer with the play.
func (p *peer) close() {
	p.wake()
	p.die()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.raw != nil {
		p.raw.Close()
		p.raw = nil
	}
}

// next is the next thing that reached the peer.
func (p *peer) next(want string) (event, error) {
	select {
	case e := <-p.inbox:
		return e, nil
	case <-time.After(patience):
		return event{}, fmt.Errorf("%s waited %v for %s and nothing came", p.name, patience, want)
	}
}

// nextMessage is next for messages: an end or a pong in its place is an error.
// A 100 is passed over where it is not wanted: nobody may rely on it.
func (p *peer) nextMessage(want string) (*heard, error) {
	e, err := p.next(want)
	for want != "100" && e.msg != nil && e.msg.what() == "100" {
		e, err = p.next(want)
	}
	switch {
	case err != nil:
		return nil, err
	case e.err != nil:
		return nil, fmt.Errorf("%s wanted %s, but its connection ended: %w", p.name, want, e.err)
	case e.msg == nil:
		return nil, fmt.Errorf("%s wanted %s, got a keepalive's answer", p.name, want)
	}
	p.last = e
	if e.msg.isRequest() {
		p.asked[""], p.asked[e.msg.what()] = e, e
	}
	return e.msg, nil
}

// nextEnd waits for the end of a connection, which must be the next event.
func (p *peer) nextEnd() error {
	if p.out == nil {
		select {
		case <-p.gone:
			return nil
		case <-time.After(patience):
			return fmt.Errorf("%s: no connection was closed", p.name)
		}
	}
	e, err := p.next("the end of its connection")
	switch {
	case err != nil:
		return err
	case e.err == nil && e.msg != nil:
		return fmt.Errorf("%s wanted the end of its connection, got:\n%s", p.name, visible(e.msg.raw))
	case e.err == nil:
		return fmt.Errorf("%s wanted the end of its connection, got a keepalive's answer", p.name)
	}
	p.ended = e.err // a reset is an end too
	return nil
}
