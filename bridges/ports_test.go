package bridges_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/sipedge/sipedge/bridges"
)

// greet has whoever holds the port greet the next connection by a name.
func greet(t *testing.T, l net.Listener, name string) {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Errorf("%s: accept: %v", name, err)
		return
	}
	defer c.Close()
	io.WriteString(c, name)
}

// greeting connects and reads who answers.
func greeting(t *testing.T, addr netip.AddrPort) string {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAPortOutlivesWhoHoldsIt(t *testing.T) {
	p := bridges.NewPorts(nil)
	defer p.Close()
	addr, err := p.Open("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	take := func() net.Listener {
		list, err := p.Take([]string{"127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		return list[0]
	}
	hangs := take()
	lost := make(chan error, 1)
	go func() {
		_, err := hangs.Accept()
		lost <- err
	}()
	next := take()
	if err := <-lost; !errors.Is(err, net.ErrClosed) {
		t.Errorf("who has lost the port hears %v, want net.ErrClosed", err)
	}
	go greet(t, next, "next")
	if got := greeting(t, addr); got != "next" {
		t.Errorf("%q answers, want the next one", got)
	}
	next.Close()
	// Nobody has it: who connects waits for the one after.
	answered := make(chan string)
	go func() { answered <- greeting(t, addr) }()
	last := take()
	go greet(t, last, "last")
	if got := <-answered; got != "last" {
		t.Errorf("%q answers, want the last one", got)
	}
}

func TestConnectionsToABridgeTakeRoom(t *testing.T) {
	var open atomic.Int64
	room := make(chan struct{}, 1)
	p := bridges.NewPorts(func() (func(), bool) {
		select {
		case room <- struct{}{}:
		default:
			return nil, false
		}
		open.Add(1)
		return func() { open.Add(-1); <-room }, true
	})
	defer p.Close()
	addr, err := p.Open("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	list, err := p.Take([]string{"127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // each needs the room that the one before has left
		go greet(t, list[0], "hello")
		if got := greeting(t, addr); got != "hello" {
			t.Fatalf("%q answers", got)
		}
	}
	if n := open.Load(); n > 1 {
		t.Errorf("%d connections have room, want 1 at most", n)
	}
}

func TestClosedPortsAreNotLent(t *testing.T) {
	p := bridges.NewPorts(nil)
	if _, err := p.Open("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	list, err := p.Take([]string{"127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Take([]string{"127.0.0.1:0", "127.0.0.1:0"}); err == nil {
		t.Error("one port was lent twice at once")
	}
	p.Close()
	if _, err := list[0].Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept = %v, want net.ErrClosed", err)
	}
	if _, err := p.Take([]string{"127.0.0.1:0"}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Take = %v, want net.ErrClosed", err)
	}
}
