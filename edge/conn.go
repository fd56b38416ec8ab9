package edge

import (
	"cmp"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Sizes of TLS records (RFC 8446 §5.1, §5.2; RFC 5246 §6.2.3 for the longest).
const (
	recordHeader  = 5
	longestRecord = recordHeader + 1<<14 + 2048
	// readAhead takes the longest record and what follows it.
	readAhead = 32 << 10
)

// A conn lies between a TCP connection and TLS. It exists for three things
// that a net.Conn does not do:
//
// It reads ahead: one system call takes in all that has arrived, TLS gets it
// record by record, and only whole records. The buffer is taken when there is
// something to read and given back when it is empty, so an idle connection has
// none, and a peer that announces a long record and falls silent costs what it
// sent.
//
// Once nonblocking is set its Read never waits: the flow's reader waits
// outside of TLS, on a small stack.
//
// Its Write never waits either: what the kernel does not take is kept, up to a
// bound that room guards, and a goroutine made for it sends it on.
type conn struct {
	tcp     *net.TCPConn
	raw     syscall.RawConn
	w       *wire
	records bool // TLS runs on it: hand out whole records
	// A handshake computes only while it has a token from here; it gives the
	// token back while it waits. nil: no tokens.
	tokens chan struct{}

	// The reader's alone.
	nonblocking bool
	in          *buffer // what was read ahead; nil: nothing
	at          int     // how far in.b has been handed out
	left        int     // octets of the current record not handed out yet
	taken       uint64  // octets read from the socket, ever
	readErr     error   // why no more will come

	mu       sync.Mutex
	writeErr error  // guarded by mu
	out      []byte // argument of the write under way, guarded by mu
	tryWrite func(uintptr) bool
	kept     *buffer      // what the kernel did not take, guarded by mu
	draining bool         // a goroutine sends kept, guarded by mu
	shut     bool         // closeWrite when all is sent, guarded by mu
	pending  atomic.Int64 // octets kept or being drained

	reader atomic.Bool // a flow's reader is there, and closes the socket
}

// wouldBlock is what Read returns instead of waiting. It is temporary, so TLS
// goes on with the record where it was when it is called again.
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "edge: nothing to read" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

// errWouldBlock is the one value of its type, so that comparing it is cheap.
var errWouldBlock error = wouldBlock{}

func newConn(w *wire, tcp *net.TCPConn, records bool) *conn {
	raw, _ := tcp.SyscallConn() // fails only for a nil connection
	c := &conn{tcp: tcp, raw: raw, w: w, records: records}
	c.tryWrite = c.writeOnce
	return c
}

// fill reads once from the socket. It returns errWouldBlock if nothing was
// there. full says that the buffer was filled to the end: more may wait.
func (c *conn) fill(fd uintptr) (full bool, err error) {
	c.makeRoom()
	for {
		have := len(c.in.b)
		n, err := readNow(fd, c.in.b[have:cap(c.in.b)])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			c.settle()
			return false, errWouldBlock
		case err != nil:
			c.readErr = &net.OpError{Op: "read", Net: "tcp", Addr: c.tcp.RemoteAddr(), Err: err}
		case n == 0:
			c.readErr = io.EOF
		default:
			c.in.b = c.in.b[:have+n]
			c.taken += uint64(n)
			return have+n == cap(c.in.b), nil
		}
		return false, c.readErr
	}
}

// makeRoom takes a buffer and moves what is left of the last one to its start.
func (c *conn) makeRoom() {
	if c.in == nil {
		c.in, c.at = c.w.buffers.get(readAhead), 0
		return
	}
	rest := c.in.b[c.at:]
	if cap(c.in.b) >= readAhead {
		c.in.b = c.in.b[:copy(c.in.b[:len(rest)], rest)]
		c.at = 0
		return
	}
	b := c.w.buffers.get(readAhead)
	b.b = append(b.b, rest...)
	c.w.buffers.put(c.in)
	c.in, c.at = b, 0
}

// settle is called before waiting. It gives an empty buffer back, and moves
// the beginning of a record to a buffer that is no larger than it must be.
func (c *conn) settle() {
	if c.in == nil {
		return
	}
	rest := c.in.b[c.at:]
	if len(rest) == 0 {
		c.w.buffers.put(c.in)
		c.in, c.at = nil, 0
		return
	}
	if 2*len(rest) > cap(c.in.b) {
		return
	}
	b := c.w.buffers.get(len(rest))
	b.b = append(b.b, rest...)
	c.w.buffers.put(c.in)
	c.in, c.at = b, 0
}

// buffered is the number of octets read ahead and not handed out.
func (c *conn) buffered() int {
	if c.in == nil {
		return 0
	}
	return len(c.in.b) - c.at
}

// discard throws away what was read ahead.
func (c *conn) discard() (n int) {
	n = c.buffered()
	c.w.buffers.put(c.in)
	c.in, c.at, c.left = nil, 0, 0
	return n
}

// Read hands out what was read ahead.
func (c *conn) Read(p []byte) (int, error) {
	for {
		if n := c.available(); n > 0 {
			return c.hand(p, n), nil
		}
		if c.readErr != nil {
			return 0, c.readErr
		}
		if c.nonblocking {
			return 0, errWouldBlock
		}
		if err := c.wait(); err != nil {
			return 0, err
		}
	}
}

// wait waits for octets and reads them. It is for the handshake.
func (c *conn) wait() error {
	c.giveToken()
	defer c.takeToken()
	var err error
	waitErr := c.raw.Read(func(fd uintptr) bool {
		_, err = c.fill(fd)
		return err != errWouldBlock
	})
	if waitErr != nil {
		return waitErr
	}
	return err
}

func (c *conn) takeToken() {
	if c.tokens != nil {
		c.tokens <- struct{}{}
	}
}

func (c *conn) giveToken() {
	if c.tokens != nil {
		<-c.tokens
	}
}

// available is how many octets may be handed out now: what is left of the
// current record, or the whole of the next one if it has arrived.
func (c *conn) available() int {
	have := c.buffered()
	switch {
	case !c.records:
		return have
	case c.left > 0:
		return min(c.left, have)
	}
	if have < recordHeader {
		return 0
	}
	n := recordHeader + int(binary.BigEndian.Uint16(c.in.b[c.at+3:]))
	// What is no record is for TLS to refuse, now and not when as much has
	// come as its first octets seem to promise.
	if kind := c.in.b[c.at]; n > longestRecord || kind < 20 || kind > 24 {
		n = have
	}
	if have < n {
		return 0
	}
	c.left = n
	return n
}

// hand copies up to n octets. If p has no room for the whole record only the
// header is handed out, so TLS learns the length and asks for exactly the
// rest: its buffer grows to the longest record and not to twice that.
func (c *conn) hand(p []byte, n int) int {
	if c.records && len(p) < n && n == c.left && n > recordHeader {
		n = recordHeader
	}
	n = copy(p, c.in.b[c.at:c.at+n])
	c.at += n
	if c.records {
		c.left -= n
	}
	return n
}

// Write sends p, or keeps what the kernel does not take at once.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writeErr != nil {
		return 0, c.writeErr
	}
	rest := p
	if !c.draining {
		c.out = p
		if err := c.raw.Write(c.tryWrite); err != nil && c.writeErr == nil {
			c.writeErr = err
		}
		rest, c.out = c.out, nil
		if c.writeErr != nil {
			return 0, c.writeErr
		}
	}
	if len(rest) > 0 {
		c.keep(rest)
	}
	return len(p), nil
}

// writeOnce writes as much of c.out as the kernel takes. c.mu is held.
func (c *conn) writeOnce(fd uintptr) bool {
	for len(c.out) > 0 {
		n, err := writeNow(fd, c.out)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return true
		case err != nil:
			c.writeErr = &net.OpError{Op: "write", Net: "tcp", Addr: c.tcp.RemoteAddr(), Err: err}
			return true
		}
		c.out = c.out[n:]
	}
	return true
}

// keep keeps p for later and sees to it that somebody sends it. c.mu is held.
func (c *conn) keep(p []byte) {
	if c.kept == nil {
		c.kept = c.w.buffers.get(len(p))
	}
	c.kept.b = append(c.kept.b, p...)
	c.pending.Add(int64(len(p)))
	if !c.draining {
		c.draining = c.w.goroutine(c.drain)
	}
}

// drain sends what was kept, and ends when nothing is.
func (c *conn) drain() {
	for {
		c.mu.Lock()
		b := c.kept
		c.kept = nil
		if b == nil || c.writeErr != nil {
			c.draining = false
			if c.shut {
				c.tcp.CloseWrite()
			}
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		err := c.writeAll(b.b)
		c.w.buffers.put(b)
		if err == nil {
			continue
		}
		c.mu.Lock()
		c.writeErr = err
		c.mu.Unlock()
		// The reader waits on this connection: it ends the flow.
		c.Close()
	}
}

// slowest is what a peer must take within one write timeout.
const slowest = 64 << 10

// writeAll writes b, waiting for the peer, but not for ever: each part of b
// has the write timeout to leave.
func (c *conn) writeAll(b []byte) error {
	for len(b) > 0 {
		part := b[:min(len(b), slowest)]
		b = b[len(part):]
		c.tcp.SetWriteDeadline(time.Now().Add(c.w.timeouts.write))
		n, err := c.tcp.Write(part)
		c.pending.Add(-int64(n))
		if err != nil {
			return err
		}
	}
	return c.tcp.SetWriteDeadline(time.Time{})
}

// failure is why writing failed, or nil.
func (c *conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeErr
}

// closeWrite tells the peer that nothing more comes, after what is kept.
func (c *conn) closeWrite() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = true
	if !c.draining {
		c.tcp.CloseWrite()
	}
}

// Close closes the connection. What was kept is lost.
// Close ends the connection without waiting. Closing a socket waits until
// nobody reads from it; a reader that ends its own connection, or the one whose
// reader is just ending its, would wait for ever. So a connection that has a
// reader is only shut down, which ends the reader, and that closes the socket.
func (c *conn) Close() error {
	if !c.reader.Load() {
		return c.tcp.Close()
	}
	err := c.tcp.CloseRead()
	return cmp.Or(c.tcp.CloseWrite(), err)
}

// LocalAddr and RemoteAddr are those of the TCP connection.
func (c *conn) LocalAddr() net.Addr  { return c.tcp.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr { return c.tcp.RemoteAddr() }

// SetDeadline, SetReadDeadline and SetWriteDeadline do nothing: TLS sets a
// write deadline when it closes, which would stop a drain that is under way,
// and our own deadlines are set on the TCP connection.
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
