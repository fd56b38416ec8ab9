package edge

import (
	"crypto/tls"
	"io"
	"strings"
	"testing"
	"time"
)

// newEcho gives a client whose messages come back.
func newEcho(t testing.TB) *tls.Conn {
	stub := newStub()
	stub.onMessage = echo
	l := newLab(t, wireSettings{}, stub)
	c := l.dial()
	c.SetDeadline(time.Time{})
	return c
}

// exchange sends b and reads as much.
func exchange(t testing.TB, c *tls.Conn, b, back []byte) {
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, back); err != nil {
		t.Fatal(err)
	}
}

func TestAMessageAllocatesNothingOfOurs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	c := newEcho(t)
	b := []byte(strings.Repeat(message(1, strings.Repeat("x", 500)), 5))
	back := make([]byte, len(b))
	for range 100 {
		exchange(t, c, b, back)
	}
	// crypto/tls allocates once for a record that it reads, here and in the
	// client. There is nothing else, however many messages the record holds.
	if n := testing.AllocsPerRun(500, func() { exchange(t, c, b, back) }); n > 2 {
		t.Errorf("%v allocations for five messages, want 2", n)
	}
}

// BenchmarkEcho sends batches through a flow and back. Compare it with
// BenchmarkEchoBare, the same with crypto/tls alone and no SIP.
func BenchmarkEcho(b *testing.B) {
	c := newEcho(b)
	benchmarkEcho(b, c)
}

func BenchmarkEchoBare(b *testing.B) {
	l := newLab(b, wireSettings{}, newStub())
	ln, err := tls.Listen("tcp", "127.0.0.1:0", l.server)
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := tls.Dial("tcp", ln.Addr().String(), l.client)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	benchmarkEcho(b, c)
}

func benchmarkEcho(b *testing.B, c *tls.Conn) {
	for _, bb := range []struct {
		name  string
		batch int
	}{{"1", 1}, {"16", 16}} {
		b.Run(bb.name, func(b *testing.B) {
			m := []byte(strings.Repeat(message(1, strings.Repeat("x", 500)), bb.batch))
			back := make([]byte, len(m))
			b.ReportAllocs()
			for range b.N / bb.batch {
				exchange(b, c, m, back)
			}
		})
	}
}
