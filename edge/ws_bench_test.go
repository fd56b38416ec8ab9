package edge

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/sipedge/sipedge/sip"
)

// newWebEcho gives a client by WebSocket whose messages come back. It reads and
// writes octets, so that the client costs what that by TLS costs.
func newWebEcho(t testing.TB) *tls.Conn {
	stub := newStub()
	stub.onMessage = echo
	l := newWebLab(t, wireSettings{}, stub, wsAlways)
	c := l.shake(alpnHTTP)
	c.SetDeadline(time.Time{})
	upgraded(t, c)
	return c
}

// answering is a stub's onMessage that answers with 200, as
// the edge does.
func answering(t *turn, f *Flow, m *sip.Message) {
	b := f.w.buffers.get(len(m.Raw()))
	b.b = sip.AppendResponse(b.b, m, 200, "", "1", nil)
	f.queueRaw(t, b.b)
	f.w.buffers.put(b)
}

func TestAMessageByWebSocketAllocatesNoMoreThanByTLS(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	stub := newStub()
	l := newWebLab(t, wireSettings{}, stub, wsShared)
	m := strings.Repeat("x", 500)
	for _, tt := range []struct {
		name string
		on   func(*turn, *Flow, *sip.Message)
		back int // octets that come for a message
	}{
		{"there and back", echo, 0},
		{"a message and its 200", answering, len(sip.AppendResponse(nil, parsed(t, message(1, m)), 200, "", "1", nil))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stub.onMessage = tt.on
			count := func(web bool) float64 {
				c := l.shake()
				one, back := message(1, m), max(tt.back, 0)
				if back == 0 {
					back = len(one)
				}
				if web {
					upgraded(t, c)
					one, back = masked(finText, one), back+usualHead
				}
				out, in := []byte(strings.Repeat(one, 5)), make([]byte, 5*back)
				for range 100 {
					exchange(t, c, out, in)
				}
				return testing.AllocsPerRun(500, func() { exchange(t, c, out, in) })
			}
			if byTLS, byWeb := count(false), count(true); byWeb > byTLS {
				t.Errorf("%v allocations for five messages by WebSocket, %v by TLS", byWeb, byTLS)
			}
		})
	}
}

func parsed(t testing.TB, text string) *sip.Message {
	m := new(sip.Message)
	if err := m.Parse([]byte(text), sip.Limits{}); err != nil {
		t.Fatal(err)
	}
	return m
}

// BenchmarkEchoWebSocket is BenchmarkEcho by WebSocket.
func BenchmarkEchoWebSocket(b *testing.B) {
	c := newWebEcho(b)
	for _, bb := range []struct {
		name  string
		batch int
	}{{"1", 1}, {"16", 16}} {
		b.Run(bb.name, func(b *testing.B) {
			one := message(1, strings.Repeat("x", 500))
			out := []byte(strings.Repeat(masked(finText, one), bb.batch))
			back := make([]byte, bb.batch*(usualHead+len(one)))
			b.ReportAllocs()
			for range b.N / bb.batch {
				exchange(b, c, out, back)
			}
		})
	}
}

// BenchmarkFrames reads a frame of 1 KiB and writes one, without a connection.
func BenchmarkFrames(b *testing.B) {
	m := message(1, strings.Repeat("x", 700))
	stream := []byte(masked(finText, m))
	var pool buffers
	s := frames{most: 1 << 20}
	room := make([]byte, len(stream))
	var out []byte
	b.SetBytes(int64(len(m)))
	b.ReportAllocs()
	for b.Loop() {
		copy(room, stream)
		_, data, _, err := s.next(&pool, room)
		if err != nil || len(data) != len(m) {
			b.Fatal(err)
		}
		out = closeFrame(append(openFrame(out[:0]), data...), 0)
	}
}

// BenchmarkFramesElsewhere is the same with the library that the tests use.
func BenchmarkFramesElsewhere(b *testing.B) {
	m := message(1, strings.Repeat("x", 700))
	stream := masked(finText, m)
	var out strings.Builder
	b.SetBytes(int64(len(m)))
	b.ReportAllocs()
	for b.Loop() {
		f, err := ws.ReadFrame(strings.NewReader(stream))
		if err != nil {
			b.Fatal(err)
		}
		out.Reset()
		if err := ws.WriteFrame(&out, ws.NewTextFrame(ws.UnmaskFrameInPlace(f).Payload)); err != nil {
			b.Fatal(err)
		}
	}
}
