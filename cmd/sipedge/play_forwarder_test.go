package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// maxSenders is how many senders a forwarder serves at a time. One more takes the
// place of any other.
const maxSenders = 8

// A forwarder lets programs that speak UDP only reach the edge: each sender has a
// connection of TLS, where its datagrams go and whose messages go back to it.
type forwarder struct {
	socket *net.UDPConn
	dial   func() (net.Conn, error)

	mu    sync.Mutex // guards conns
	conns map[netip.AddrPort]net.Conn
	wait  sync.WaitGroup
}

// forwarder starts one: forwarder ADDRESS EDGE [from=IP]. It ends with the play.
func (s *stage) forwarder(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: forwarder ADDRESS EDGE [from=IP]")
	}
	address, err := net.ResolveUDPAddr("udp", args[0])
	if err != nil {
		return err
	}
	o := options(args[2:])
	config, err := s.tlsConfig(nil, o)
	if err != nil {
		return err
	}
	d := &net.Dialer{Timeout: patience}
	if o["from"] != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(o["from"])}
	}
	socket, err := net.ListenUDP("udp", address)
	if err != nil {
		return err
	}
	f := &forwarder{
		socket: socket,
		dial:   func() (net.Conn, error) { return tls.DialWithDialer(d, "tcp", args[1], config) },
		conns:  make(map[netip.AddrPort]net.Conn),
	}
	f.wait.Go(f.serve)
	s.deferred(f.close)
	return nil
}

// serve reads datagrams until the socket is closed. One that finds no way is lost,
// as datagrams are.
func (f *forwarder) serve() {
	octets := make([]byte, 1<<16)
	for {
		n, from, err := f.socket.ReadFromUDPAddrPort(octets)
		if err != nil {
			return
		}
		c, err := f.conn(from)
		if err != nil {
			continue
		}
		c.Write(bytes.Replace(octets[:n], []byte("SIP/2.0/UDP"), []byte("SIP/2.0/TLS"), 1))
	}
}

// conn is the connection of a sender, which is opened if there is none.
func (f *forwarder) conn(from netip.AddrPort) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.conns[from]; c != nil {
		return c, nil
	}
	if len(f.conns) == maxSenders {
		for other, c := range f.conns {
			c.Close()
			delete(f.conns, other)
			break
		}
	}
	c, err := f.dial()
	if err != nil {
		return nil, err
	}
	f.conns[from] = c
	f.wait.Go(func() { f.back(c, from) })
	return c, nil
}

// back brings a sender what comes for it, until its connection ends.
func (f *forwarder) back(c net.Conn, to netip.AddrPort) {
	r := bufio.NewReader(c)
	for {
		m, err := hear(r)
		if err != nil {
			break
		}
		if m != nil {
			f.socket.WriteToUDPAddrPort(bytes.Replace(m.raw, []byte("SIP/2.0/TLS"), []byte("SIP/2.0/UDP"), 1), to)
		}
	}
	c.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns[to] == c {
		delete(f.conns, to)
	}
}

// close ends all of it.
func (f *forwarder) close() {
	f.socket.Close()
	f.mu.Lock()
	for _, c := range f.conns {
		c.Close()
	}
	f.mu.Unlock()
	f.wait.Wait()
}
