package bridges

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Ports are the TCP ports of a bridge. They are opened once, when the edge starts, so
// that one which cannot have them says so, and are lent to each incarnation of the
// bridge: one that hangs has lost them when the next one takes them. They are safe for
// concurrent use.
type Ports struct {
	room func() (leave func(), ok bool)

	mu     sync.Mutex
	list   []*port // guarded by mu; in the order in which they were opened
	closed bool    // guarded by mu
	group  sync.WaitGroup
}

// A port is one of them.
type port struct {
	address string // as it was asked for
	ln      net.Listener
	room    func() (leave func(), ok bool)

	mu    sync.Mutex
	lease *lease        // guarded by mu; who has it now; nil: nobody
	taken chan struct{} // guarded by mu; closed when somebody takes it
	over  chan struct{} // closed when the port is
}

// A lease is a port in the hands of one incarnation.
type lease struct {
	p     *port
	conns chan net.Conn
	once  sync.Once
	done  chan struct{} // closed when it is over
}

// NewPorts makes them; none is open. room says whether there is room for one more
// connection, and takes it until leave is called; nil: always.
func NewPorts(room func() (leave func(), ok bool)) *Ports {
	if room == nil {
		room = func() (func(), bool) { return func() {}, true }
	}
	return &Ports{room: room}
}

// Open opens a port: "203.0.113.10:5269".
func (p *Ports) Open(address string) (netip.AddrPort, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		ln.Close()
		return netip.AddrPort{}, net.ErrClosed
	}
	o := &port{address: address, ln: ln, room: p.room, taken: make(chan struct{}), over: make(chan struct{})}
	p.list = append(p.list, o)
	p.group.Go(o.accept)
	return ln.Addr().(*net.TCPAddr).AddrPort(), nil
}

// Take lends the ports that were opened for these addresses, in their order. Whoever
// had them before has them no more: his listeners say net.ErrClosed.
func (p *Ports) Take(addresses []string) ([]net.Listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []net.Listener
	used := make(map[*port]bool) // port 0 may stand there twice
	for _, a := range addresses {
		o := p.find(a, used)
		if o == nil {
			for _, l := range list {
				l.Close()
			}
			return nil, fmt.Errorf("take port %s: %w", a, net.ErrClosed)
		}
		used[o] = true
		list = append(list, o.take())
	}
	return list, nil
}

// find returns the open port of an address. p.mu is held.
func (p *Ports) find(address string, used map[*port]bool) *port {
	if p.closed {
		return nil
	}
	for _, o := range p.list {
		if o.address == address && !used[o] {
			return o
		}
	}
	return nil
}

// Close closes all of them.
func (p *Ports) Close() {
	p.mu.Lock()
	list := p.list
	p.list, p.closed = nil, true
	p.mu.Unlock()
	for _, o := range list {
		close(o.over)
		o.ln.Close()
	}
	p.group.Wait()
}

// take makes a new lease, and ends the one before.
func (o *port) take() net.Listener {
	l := &lease{p: o, conns: make(chan net.Conn), done: make(chan struct{})}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lease != nil {
		o.lease.end()
	}
	o.lease = l
	close(o.taken)
	o.taken = make(chan struct{})
	return l
}

// What goes on while nobody has the port, or there is no room.
const (
	undelivered = 10 * time.Second // a connection that was taken waits no longer
	fullPause   = 100 * time.Millisecond
	errorPause  = 100 * time.Millisecond
)

// accept takes connections for whoever has the port. While nobody has it one is
// held, and the others wait in the system's queue.
func (o *port) accept() {
	for {
		leave, ok := o.room()
		if !ok {
			if !o.pause(fullPause) {
				return
			}
			continue
		}
		c, err := o.ln.Accept()
		if err != nil {
			leave()
			if errors.Is(err, net.ErrClosed) || !o.pause(errorPause) {
				return
			}
			continue
		}
		o.deliver(&roomConn{Conn: c, leave: leave})
	}
}

// pause waits; false: the port is closed.
func (o *port) pause(d time.Duration) bool {
	clock := time.NewTimer(d)
	defer clock.Stop()
	select {
	case <-o.over:
		return false
	case <-clock.C:
		return true
	}
}

// deliver gives a connection to who has the port.
func (o *port) deliver(c net.Conn) {
	clock := time.NewTimer(undelivered)
	defer clock.Stop()
	for {
		o.mu.Lock()
		l, taken := o.lease, o.taken
		o.mu.Unlock()
		var to chan net.Conn
		var done chan struct{}
		if l != nil {
			to, done = l.conns, l.done
		}
		select {
		case to <- c:
			return
		case <-done:
			o.forget(l)
		case <-taken:
		case <-clock.C:
			c.Close()
			return
		case <-o.over:
			c.Close()
			return
		}
	}
}

// forget notes that a lease is over.
func (o *port) forget(l *lease) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lease == l {
		o.lease = nil
	}
}

// end ends the lease.
func (l *lease) end() { l.once.Do(func() { close(l.done) }) }

// Accept is that of net.Listener.
func (l *lease) Accept() (net.Conn, error) {
	select {
	case <-l.done:
	default:
		select {
		case c := <-l.conns:
			return c, nil
		case <-l.done:
		case <-l.p.over:
		}
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
}

// Close gives the port back; it stays open.
func (l *lease) Close() error {
	l.end()
	return nil
}

// Addr is that of the port.
func (l *lease) Addr() net.Addr { return l.p.ln.Addr() }

// A roomConn gives its room back when it is closed.
type roomConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

// Close is that of net.Conn.
func (c *roomConn) Close() error {
	defer c.once.Do(c.leave)
	return c.Conn.Close()
}
