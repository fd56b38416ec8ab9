package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"
)

// A cable carries connections from one address to another, and can be cut: as where
// a router loses its power, what was under way is gone, and both ends hear of a reset.
type cable struct {
	listen net.Listener
	to     string
	wait   sync.WaitGroup

	mu     sync.Mutex // guards what follows
	conns  map[*net.TCPConn]bool
	left   int  // octets until it is cut; 0: it is not to be
	back   bool // it is to be cut at what comes back
	closed bool
	cut    chan struct{} // closed when it was; nil unless it is to be
}

// cable lays and cuts one:
//
//	cable NAME carries FROM TO    ends with the play
//	cable NAME cuts               at once
//	cable NAME cuts after=OCTETS  when so many more have gone through, both ways together
//	cable NAME cuts back          at the next octet towards whoever opened the connection
//	cable NAME was-cut            waits until then
//
// New connections are carried at once.
func (s *stage) cable(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: cable NAME carries|cuts|was-cut ...")
	}
	if args[1] == "carries" {
		return s.layCable(args[0], args[2], args[3])
	}
	c := s.cables[args[0]]
	if c == nil {
		return fmt.Errorf("there is no cable %s", args[0])
	}
	switch args[1] {
	case "cuts":
		o := options(args[2:])
		if o["after"] == "" && o["back"] == "" {
			c.cutNow()
			return nil
		}
		n, _ := strconv.Atoi(o["after"])
		c.mu.Lock()
		c.left, c.back, c.cut = n, o["back"] != "", make(chan struct{})
		c.mu.Unlock()
		return nil
	case "was-cut":
		c.mu.Lock()
		cut := c.cut
		c.mu.Unlock()
		select {
		case <-cut:
			return nil
		case <-time.After(patience):
			return fmt.Errorf("cable %s was not cut: too little went through", args[0])
		}
	}
	return fmt.Errorf("cables cannot %q", args[1])
}

func (s *stage) layCable(name, from, to string) error {
	l, err := net.Listen("tcp", from)
	if err != nil {
		return err
	}
	c := &cable{listen: l, to: to, conns: make(map[*net.TCPConn]bool)}
	if s.cables == nil {
		s.cables = make(map[string]*cable)
	}
	s.cables[name] = c
	c.wait.Go(c.accept)
	s.deferred(func() {
		l.Close()
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		c.cutNow()
		c.wait.Wait()
	})
	return nil
}

func (c *cable) accept() {
	for {
		near, err := c.listen.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", c.to)
		if err != nil {
			near.Close()
			continue
		}
		c.join(near.(*net.TCPConn), far.(*net.TCPConn))
	}
}

// join carries both ways until either end closes.
func (c *cable) join(near, far *net.TCPConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		near.Close()
		far.Close()
		return
	}
	c.conns[near], c.conns[far] = true, true
	c.wait.Go(func() { c.carry(near, far, false) })
	c.wait.Go(func() { c.carry(far, near, true) })
}

func (c *cable) carry(from, to *net.TCPConn, back bool) {
	octets := make([]byte, 4096)
	for {
		n, err := from.Read(octets)
		if n > 0 {
			if c.passes(n, back) {
				err = errors.New("cut")
			} else if _, fault := to.Write(octets[:n]); fault != nil {
				err = fault
			}
		}
		if err != nil {
			from.Close()
			to.Close()
			c.mu.Lock()
			delete(c.conns, from)
			c.mu.Unlock()
			return
		}
	}
}

// passes counts octets, and reports whether the cable was cut before they came through.
func (c *cable) passes(n int, back bool) bool {
	c.mu.Lock()
	over := c.left > 0 && n >= c.left || c.back && back
	if !over && c.left > 0 {
		c.left -= n
	}
	c.mu.Unlock()
	if over {
		c.cutNow()
	}
	return over
}

// cutNow resets all connections.
func (c *cable) cutNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		conn.SetLinger(0)
		conn.Close()
	}
	if c.left, c.back = 0, false; c.cut != nil && !ended(c.cut) {
		close(c.cut)
	}
}
