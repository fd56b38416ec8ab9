package edge

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sipedge/sipedge/locate"
)

var errForbiddenInTest = errors.New("forbidden in this test")

func forbidden(_, _ string, _ syscall.RawConn) error { return errForbiddenInTest }

func TestWhatWaitsForASlowReaderIsBounded(t *testing.T) {
	l := newLab(t, wireSettings{maxOut: 1 << 20}, newStub())
	l.dial() // never reads
	if err := flood(l.flow()); !errors.Is(err, ErrFlowFull) {
		t.Errorf("queueing ended with %v, want %v", err, ErrFlowFull)
	}
}

// flood queues messages until one is not taken. It never waits for the peer.
func flood(f *Flow) error {
	m := []byte(message(1, strings.Repeat("x", 10_000)))
	var batch turn
	for range 10_000 {
		if err := f.queueRaw(&batch, m); err != nil {
			return err
		}
		batch.end() // returns although the peer reads nothing
	}
	return nil
}

func TestASlowReaderIsCut(t *testing.T) {
	l := newLab(t, wireSettings{maxOut: 1 << 20, timeouts: timeouts{write: 500 * time.Millisecond}}, newStub())
	l.dial() // never reads
	if err := flood(l.flow()); err == nil {
		t.Error("the queue has no bound")
	}
	if err := l.end(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("flow ended with %v, want a timeout", err)
	}
}

func TestAReaderThatCatchesUpLosesNothing(t *testing.T) {
	l := newLab(t, wireSettings{maxOut: 32 << 20}, newStub())
	c := l.dial()
	f := l.flow()
	var want strings.Builder
	for i := range 1500 { // more than the kernel buffers
		m := message(i, strings.Repeat("x", 10_000))
		want.WriteString(m)
		var batch turn
		if err := f.queueRaw(&batch, []byte(m)); err != nil {
			t.Fatal(err)
		}
		batch.end()
	}
	expect(t, c, want.String())
	until(t, "the end of what is counted as waiting", func() bool { return f.conn.pending.Load() == 0 })
}

func TestThoseWhoDawdleAreCut(t *testing.T) {
	short := timeouts{handshake: time.Second, message: 300 * time.Millisecond, idle: time.Second}
	l := newLab(t, wireSettings{timeouts: short}, newStub())
	plain := l.also(listenerSettings{name: "internal", role: RoleInternal, inside: true})
	half := message(1, "a body that is not complete")
	half = half[:len(half)-5]

	t.Run("half a message by TLS", func(t *testing.T) {
		send(t, l.dial(), half)
		if err := l.end(); !errors.Is(err, errMessageTimeout) {
			t.Errorf("flow ended with %v, want %v", err, errMessageTimeout)
		}
	})
	t.Run("half a message by TCP", func(t *testing.T) {
		send(t, l.raw(plain), half)
		if err := l.end(); !errors.Is(err, errMessageTimeout) {
			t.Errorf("flow ended with %v, want %v", err, errMessageTimeout)
		}
	})
	t.Run("a body octet by octet: the whole counts, not each read", func(t *testing.T) {
		c := l.dial()
		send(t, c, strings.Replace(message(1, ""), "Length: 0", "Length: 1000000", 1))
		go func() {
			for {
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
			}
		}()
		if err := l.end(); !errors.Is(err, errMessageTimeout) {
			t.Errorf("flow ended with %v, want %v", err, errMessageTimeout)
		}
	})
	t.Run("half a TLS record", func(t *testing.T) {
		tcp := l.raw(l.listener)
		c := tls.Client(tcp, l.client)
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		send(t, tcp, "\x17\x03\x03\x40\x00only the beginning")
		if err := l.end(); !errors.Is(err, errMessageTimeout) {
			t.Errorf("flow ended with %v, want %v", err, errMessageTimeout)
		}
	})
	t.Run("nothing at all after the handshake", func(t *testing.T) {
		l.dial()
		if err := l.end(); !errors.Is(err, errIdle) {
			t.Errorf("flow ended with %v, want %v", err, errIdle)
		}
	})
	t.Run("no handshake", func(t *testing.T) {
		if _, err := l.raw(l.listener).Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read: %v, want EOF", err)
		}
	})
	t.Run("half a ClientHello", func(t *testing.T) {
		c := l.raw(l.listener)
		send(t, c, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v, want the connection closed", err)
		}
	})
	t.Run("no TLS", func(t *testing.T) {
		c := l.raw(l.listener)
		send(t, c, "GET / HTTP/1.1\r\n\r\n")
		if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v, want the connection closed", err)
		}
	})
}

func TestTheMessageClockStartsAnewWithEachMessage(t *testing.T) {
	type event struct {
		now               int32
		partial, complete bool
	}
	for _, tt := range []struct {
		name   string
		events []event
		want   int32
	}{
		{"nothing is left", []event{{5, false, true}}, 0},
		{"half is left", []event{{5, true, false}}, 5},
		{"more of the same half", []event{{5, true, false}, {9, true, false}}, 5},
		{"it became whole", []event{{5, true, false}, {9, false, true}}, 0},
		{"it became whole and the next began", []event{{5, true, false}, {9, true, true}}, 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c clocks
			for _, e := range tt.events {
				c.turn(e.now, e.partial, e.complete)
			}
			if got := c.began.Load(); got != tt.want {
				t.Errorf("message began at %d, want %d", got, tt.want)
			}
		})
	}
}

func TestAPeerThatHangsUpWithItsLastMessageIsAnswered(t *testing.T) {
	stub := newStub()
	stub.onMessage = echo
	l := newLab(t, wireSettings{}, stub)
	plain := l.also(listenerSettings{name: "internal", role: RoleInternal, inside: true})
	for range 20 {
		c := l.raw(plain).(*net.TCPConn)
		send(t, c, message(1, ""))
		c.CloseWrite()
		if got, err := io.ReadAll(c); string(got) != message(1, "") || err != nil {
			t.Fatalf("read %q, %v", got, err)
		}
		if err := l.end(); !errors.Is(err, io.EOF) {
			t.Fatalf("flow ended with %v, want EOF", err)
		}
	}
}

func TestWhatWeDialledIsPinged(t *testing.T) {
	l := newLab(t, wireSettings{timeouts: timeouts{ping: 50 * time.Millisecond, pong: 2 * time.Second}}, newStub())
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	f, err := l.w.dial(t.Context(), locate.Hop{Host: "sip1", Addr: addrPort(server.Addr())}, nil, RoleInternal, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	f.start()
	// A missing pong means nothing from a peer that never sent one.
	expect(t, c, "\r\n\r\n")
	expect(t, c, "\r\n\r\n")
	select {
	case err := <-l.stub.ends:
		t.Fatalf("flow ended with %v", err)
	default:
	}
	// From its first pong on it does.
	send(t, c, "\r\n")
	expect(t, c, "\r\n\r\n")
	send(t, c, "\r\n")
	expect(t, c, "\r\n\r\n")
	if err := l.end(); !errors.Is(err, errNoPong) {
		t.Errorf("flow ended with %v, want %v", err, errNoPong)
	}
}
