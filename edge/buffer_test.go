package edge

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/sip"
)

func TestBuffersHaveTheRoomThatWasAskedFor(t *testing.T) {
	var p buffers
	for _, n := range []int{0, 1, 1023, 1024, 1025, 4096, 65535, 65536, 65537, 1 << 20} {
		b := p.get(n)
		if len(b.b) != 0 || cap(b.b) < n {
			t.Errorf("get(%d) has %d octets and room for %d", n, len(b.b), cap(b.b))
		}
		b.b = append(b.b, make([]byte, n)...)
		p.put(b)
		if c := p.get(n); len(c.b) != 0 || cap(c.b) < n {
			t.Errorf("second get(%d) has %d octets and room for %d", n, len(c.b), cap(c.b))
		}
	}
	p.put(nil)
	// What append left with an odd size serves a class that it fills.
	p.put(&buffer{make([]byte, 0, 3000)})
	for range 10 {
		if b := p.get(2049); cap(b.b) < 2049 {
			t.Errorf("get(2049) has room for %d", cap(b.b))
		}
	}
}

// loopback is a reader's side without a connection.
func loopback() (*Flow, *reading) {
	w := newWire(wireSettings{}, newStub())
	return &Flow{w: w, conn: &conn{w: w}}, new(reading)
}

func TestHalfAMessageHoldsLittleMoreThanItself(t *testing.T) {
	for _, tt := range []struct {
		name string
		m    string
		most int
	}{
		{"half a header", "MESSAGE sip:bob@example.com SIP/2.0\r\nVia: ", 1 << 10},
		{"a length that promises a megabyte", strings.Replace(message(1, ""), "Length: 0", "Length: 1000000", 1), 1 << 10},
		{"half of a long body", strings.Replace(message(1, ""), "Length: 0", "Length: 1000000", 1) + strings.Repeat("x", 300_000), 1_300_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, r := loopback()
			for in := strings.NewReader(tt.m); in.Len() > 0; {
				b := f.in.room(f.w)
				n, _ := in.Read(b.b[len(b.b):cap(b.b)])
				b.b = b.b[:len(b.b)+n]
				if err := f.handle(r); err != nil {
					t.Fatal(err)
				}
			}
			f.settle(r)
			if n := cap(f.in.buf.b); n > tt.most {
				t.Errorf("%d octets of a message hold %d", len(tt.m), n)
			}
			if f.clocks.began.Load() == 0 {
				t.Error("the message's clock does not run")
			}
		})
	}
}

func TestAnIdleReaderHoldsNothing(t *testing.T) {
	f, r := loopback()
	f.w.h.(*stub).onMessage = func(*turn, *Flow, *sip.Message) {}
	b := f.in.room(f.w)
	b.b = append(b.b, message(1, "hello")...)
	if err := f.handle(r); err != nil {
		t.Fatal(err)
	}
	f.settle(r)
	if f.in.buf != nil || f.clocks.began.Load() != 0 {
		t.Errorf("buffer %v, message began at %d", f.in.buf, f.clocks.began.Load())
	}
}

// ahead is a connection that has read octets and waits for no more.
func ahead(octets string) *conn {
	w := newWire(wireSettings{}, newStub())
	c := &conn{w: w, records: true, nonblocking: true}
	c.makeRoom()
	c.in.b = append(c.in.b, octets...)
	return c
}

func TestTLSGetsWholeRecordsOnly(t *testing.T) {
	record := "\x17\x03\x03\x00\x05hello"
	for _, tt := range []struct {
		name   string
		octets string
		room   int
		want   []string
	}{
		{"nothing of a header", "\x17\x03", 100, nil},
		{"nothing of half a record", record[:9], 100, nil},
		{"a record at once", record, 100, []string{record}},
		{"the header first where there is no room for all", record, 8, []string{record[:5], "hello"}},
		{"two records one by one", record + record, 100, []string{record, record}},
		{"a record and half of the next", record + record[:9], 100, []string{record}},
		{"what is no record, for TLS to refuse", "GET / HT", 100, []string{"GET / HT"}},
		{"a record too long to be one", "\x17\x03\x03\xff\xffhello", 100, []string{"\x17\x03\x03\xff\xffhello"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := ahead(tt.octets)
			p := make([]byte, tt.room)
			for _, want := range tt.want {
				n, err := c.Read(p)
				if string(p[:n]) != want || err != nil {
					t.Fatalf("read %q, %v; want %q", p[:n], err, want)
				}
			}
			if n, err := c.Read(p); !errors.Is(err, errWouldBlock) {
				t.Errorf("read %q, %v; want nothing", p[:n], err)
			}
		})
	}
}

func TestHalfARecordMovesToASmallBuffer(t *testing.T) {
	c := ahead("\x17\x03\x03\x40\x00half a record")
	c.settle()
	if cap(c.in.b) > smallestBuffer {
		t.Errorf("18 octets hold %d", cap(c.in.b))
	}
	rest := bytes.Repeat([]byte("x"), 1<<14-13)
	c.makeRoom()
	c.in.b = append(c.in.b, rest...)
	var got []byte
	p := make([]byte, 4096)
	for {
		n, err := c.Read(p)
		if err != nil {
			break
		}
		got = append(got, p[:n]...)
	}
	if want := "\x17\x03\x03\x40\x00half a record" + string(rest); string(got) != want {
		t.Errorf("read %d octets, want %d, or others", len(got), len(want))
	}
	c.settle()
	if c.in != nil {
		t.Error("an empty buffer is kept")
	}
}
