package edge

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestAdmission(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	stranger := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }
	partner := netip.MustParseAddr("198.51.100.1")

	t.Run("strangers leave room for those who are known", func(t *testing.T) {
		a := newAdmission(8, 0, 0)
		if !a.enter(partner, now) {
			t.Fatal("the first is refused")
		}
		a.leave(partner, true, false)
		n := 0
		for i := range 20 {
			if a.enter(stranger(i), now) {
				n++
			}
		}
		if n != 6 {
			t.Errorf("%d strangers at once, want 6", n)
		}
		if !a.enter(partner, now) {
			t.Error("the partner finds no room")
		}
	})
	t.Run("one source has its own limit", func(t *testing.T) {
		a := newAdmission(100, 3, 0)
		for i := range 3 {
			if !a.enter(stranger(1), now) {
				t.Fatalf("handshake %d is refused", i)
			}
		}
		if a.enter(stranger(1), now) {
			t.Error("a fourth handshake of one source")
		}
		if !a.enter(stranger(2), now) {
			t.Error("another source is refused")
		}
		a.leave(stranger(1), false, false)
		if !a.enter(stranger(1), now) {
			t.Error("refused although one has ended")
		}
	})
	t.Run("an IPv6 subscriber is one source", func(t *testing.T) {
		a := newAdmission(100, 1, 0)
		if !a.enter(netip.MustParseAddr("2001:db8:1:2::1"), now) || a.enter(netip.MustParseAddr("2001:db8:1:2::ffff"), now) {
			t.Error("addresses of one /64 count apart")
		}
		if !a.enter(netip.MustParseAddr("2001:db8:1:3::1"), now) {
			t.Error("another /64 is refused")
		}
	})
	t.Run("a source has so many handshakes a second", func(t *testing.T) {
		a := newAdmission(1000, 0, 5)
		count := func(at time.Time) (n int) {
			for range 100 {
				if a.enter(stranger(1), at) {
					n++
				}
			}
			return n
		}
		if n := count(now); n != 10 {
			t.Errorf("%d at once, want two seconds' worth, 10", n)
		}
		if n := count(now.Add(time.Second)); n != 5 {
			t.Errorf("%d a second later, want 5", n)
		}
		if n := count(now.Add(time.Hour)); n != 10 {
			t.Errorf("%d an hour later, want 10", n)
		}
	})
	t.Run("nothing is left over", func(t *testing.T) {
		a := newAdmission(4, 4, 0)
		for i := range 100 {
			if a.enter(stranger(i), now) {
				a.leave(stranger(i), false, false)
			}
		}
		if a.active != 0 || len(a.sources) != 0 {
			t.Errorf("%d active, %d sources", a.active, len(a.sources))
		}
	})
}

func TestAListenerHasItsLimit(t *testing.T) {
	stub := newStub()
	l := newLab(t, wireSettings{}, stub)
	li := l.also(listenerSettings{name: "internal", role: RoleInternal, inside: true, connections: 2})
	a := l.raw(li)
	l.flow()
	l.raw(li)
	l.flow()
	if _, err := l.raw(li).Read(make([]byte, 1)); err == nil {
		t.Error("a third connection is open")
	}
	if n := l.w.counts.refused.Load(); n != 1 {
		t.Errorf("counted %d refusals, want 1", n)
	}
	a.Close()
	l.end()
	l.raw(li)
	l.flow()
}

func TestPlainTCPListensToNamedAddressesOnly(t *testing.T) {
	l := newLab(t, wireSettings{}, newStub())
	li := l.also(listenerSettings{name: "internal", role: RoleInternal, inside: true,
		allow: func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.9") }})
	if _, err := l.raw(li).Read(make([]byte, 1)); err == nil {
		t.Error("127.0.0.1 may connect")
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	c, err := d.Dial("tcp", li.addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l.flow()
}

// descriptorLimit in the environment makes the test a child that lowers its
// limit on open files.
const descriptorLimit = "EDGE_TEST_DESCRIPTORS"

func TestAcceptingComesBackAfterDescriptorsRanOut(t *testing.T) {
	for _, tt := range []struct{ name, known string }{
		{"outside waits and inside goes on", "64"},
		{"the kernel refuses and both wait", "100000"}, // the wire does not know the real limit
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestDescriptorsChild$", "-test.v")
			cmd.Env = append(os.Environ(), descriptorLimit+"="+tt.known)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS") {
				t.Errorf("child: %v\n%s", err, out)
			}
		})
	}
}

func TestDescriptorsChild(t *testing.T) {
	known := 0
	if _, err := fmt.Sscan(os.Getenv(descriptorLimit), &known); err != nil {
		t.Skip("runs as a child only")
	}
	const limit = 64
	stub := newStub()
	paused := make(lines, 100)
	w := newWire(wireSettings{log: slog.New(slog.NewTextHandler(paused, nil)), descriptors: known, handshakes: 1000}, stub)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { w.run(ctx) })
	defer group.Wait()
	defer cancel()
	open := func(inside bool) *listener {
		l, err := w.listen(listenerSettings{name: "x", address: "127.0.0.1:0", inside: inside})
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() { l.serve(ctx) })
		return l
	}
	outside, inside := open(false), open(true)
	clients := dialMany(t, outside, limit, 4*limit)

	if known == limit {
		// The inside has descriptors left.
		c := dialMany(t, inside, 0, 1)
		f := await(t, stub.flows, "a flow")
		for f.Local.Port() != inside.addr().Port() {
			f = await(t, stub.flows, "a flow of the inside")
		}
		clients = append(clients, c...)
	} else {
		for w.counts.acceptErrs.Load() == 0 {
			await(t, paused, "a line that says that accepting paused")
		}
	}
	for _, fd := range clients {
		syscall.Close(fd)
	}
	// All that were accepted and all that waited end; then a new one comes in.
	for w.counts.open.Load() > 0 || w.counts.accepted.Load() < uint64(len(clients)) {
		await(t, stub.ends, "the end of a flow")
	}
	for len(stub.flows) > 0 {
		<-stub.flows
	}
	dialMany(t, outside, 0, 1)
	await(t, stub.flows, "a flow after all")
}

// lines are what a log has said.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default:
	}
	return len(p), nil
}

// dialMany connects n sockets and returns their descriptors. With a limit, that
// many descriptors are left when the sockets exist.
func dialMany(t *testing.T, to *listener, limit, n int) (fds []int) {
	t.Helper()
	highest := 0
	for range n {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
		highest = max(highest, fd)
	}
	if limit > 0 {
		var l syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
			t.Fatal(err)
		}
		l.Cur = uint64(highest + 1 + limit)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
			t.Fatal(err)
		}
	}
	for _, fd := range fds {
		if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(to.addr().Port()), Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
	}
	return fds
}
