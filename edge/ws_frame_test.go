package edge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// octets makes octets of text such as "81 05 48".
func octets(t testing.TB, s string) []byte {
	t.Helper()
	var b []byte
	for _, word := range strings.Fields(s) {
		var c byte
		if _, err := fmt.Sscanf(word, "%02x", &c); err != nil {
			t.Fatal(err)
		}
		b = append(b, c)
	}
	return b
}

// masked is a frame of a client, made by hand so that it may break any rule.
func masked(first byte, payload string) string {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return string(b)
}

const (
	finText   = 0x81
	finBinary = 0x82
	finMore   = 0x80
	firstText = 0x01
	moreText  = 0x00
	finClose  = 0x88
	finPing   = 0x89
	finPong   = 0x8a
)

// A found is what frames found in a stream.
type found struct {
	events []string
	code   closeCode
	held   int // the most that was held in parts
	rest   int // octets that were not consumed
}

// find feeds a stream in the pieces that cut says.
func find(most int, stream []byte, cut func(left int) int) (got found) {
	var pool buffers
	s := frames{most: most}
	var buf []byte
	for len(stream) > 0 {
		n := max(1, min(cut(len(stream)), len(stream)))
		buf = append(buf, stream[:n]...)
		stream = stream[n:]
		for {
			op, data, n, err := s.next(&pool, buf)
			var end *wsEnd
			if errors.As(err, &end) {
				got.code = end.code
				return got
			}
			if n == 0 {
				break
			}
			if s.parts != nil {
				got.held = max(got.held, cap(s.parts.b))
			}
			buf = buf[n:]
			if op != opContinuation {
				got.events = append(got.events, fmt.Sprintf("%d %q", op, data))
			}
			if !s.inside() {
				s.release(&pool)
			}
		}
	}
	got.rest = len(buf)
	return got
}

func whole(left int) int { return left }
func single(int) int     { return 1 }

func TestFramesAreThoseOfTheStandard(t *testing.T) {
	long := func(head string, n int) []byte { return append(octets(t, head), bytes.Repeat([]byte("x"), n)...) }
	for _, tt := range []struct {
		name    string
		op      opcode
		payload []byte
		want    []byte
	}{ // RFC 6455 §5.7
		{"a text message", opText, []byte("Hello"), octets(t, "81 05 48 65 6c 6c 6f")},
		{"a ping", opPing, []byte("Hello"), octets(t, "89 05 48 65 6c 6c 6f")},
		{"256 octets", opBinary, bytes.Repeat([]byte("x"), 256), long("82 7e 01 00", 256)},
		{"64 KiB", opBinary, bytes.Repeat([]byte("x"), 65536), long("82 7f 00 00 00 00 00 01 00 00", 65536)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := appendFrame(nil, tt.op, tt.payload); !bytes.Equal(got, tt.want) {
				t.Errorf("frame is % x, want % x", got[:min(len(got), 20)], tt.want[:min(len(tt.want), 20)])
			}
		})
	}
	for _, tt := range []struct {
		name   string
		stream string
		want   string
	}{ // RFC 6455 §5.7, and the fragments there with a mask
		{"a masked text message", "81 85 37 fa 21 3d 7f 9f 4d 51 58", `1 "Hello"`},
		{"a masked pong", "8a 85 37 fa 21 3d 7f 9f 4d 51 58", `10 "Hello"`},
		{"a message in fragments", "01 83 37 fa 21 3d 7f 9f 4d 80 82 3d 37 fa 21 51 58", `1 "Hello"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, cut := range []func(int) int{whole, single} {
				if got := find(100, octets(t, tt.stream), cut); got.code != 0 || !slices.Equal(got.events, []string{tt.want}) {
					t.Errorf("found %+v, want %s", got, tt.want)
				}
			}
		})
	}
}

func TestFramesThatBreakARuleEndTheWebSocket(t *testing.T) {
	const most = 3000
	good := masked(finText, "good")
	ones := masked(firstText, "x") + strings.Repeat(masked(moreText, "x"), 100)
	length := func(first byte, n uint64) string {
		return string(binary.BigEndian.AppendUint64([]byte{first, 0xff}, n)) + "mask"
	}
	for _, tt := range []struct {
		name   string
		stream string
		want   closeCode
		events int
	}{
		{"no mask", good + "\x81\x05Hello", closeProtocol, 1},
		{"no mask on a ping", "\x89\x00", closeProtocol, 0},
		{"RSV1", good + masked(finText|0x40, "x"), closeProtocol, 1},
		{"RSV2", masked(finText|0x20, "x"), closeProtocol, 0},
		{"RSV3", masked(finPing|0x10, "x"), closeProtocol, 0},
		{"a reserved data frame", masked(0x83, "x"), closeProtocol, 0},
		{"the last reserved data frame", masked(0x87, "x"), closeProtocol, 0},
		{"a reserved control frame", masked(0x8b, "x"), closeProtocol, 0},
		{"the last reserved control frame", masked(0x8f, "x"), closeProtocol, 0},
		{"a ping in fragments", masked(0x09, "x"), closeProtocol, 0},
		{"a close in fragments", masked(0x08, ""), closeProtocol, 0},
		{"a ping of 125 octets", masked(finPing, strings.Repeat("x", 125)), 0, 1},
		{"a ping of 126 octets", masked(finPing, strings.Repeat("x", 126)), closeProtocol, 0},
		{"a continuation of nothing", good + masked(finMore, "x"), closeProtocol, 1},
		{"a continuation of a whole message", good + masked(moreText, "x"), closeProtocol, 1},
		{"a message within a message", masked(firstText, "x") + masked(finText, "y"), closeProtocol, 0},
		{"a ping within a message", masked(firstText, "x") + masked(finPing, "p") + masked(finMore, "y"), 0, 2},
		{"fragments of one octet", ones, closeProtocol, 0},
		{"64 fragments", masked(firstText, "x") + strings.Repeat(masked(moreText, "x"), 62) + masked(finMore, "x"), 0, 1},
		{"65 fragments", masked(firstText, "x") + strings.Repeat(masked(moreText, "x"), 63) + masked(finMore, "x"), closeProtocol, 0},
		{"empty fragments", masked(firstText, "") + strings.Repeat(masked(moreText, ""), 100), closeProtocol, 0},
		{"a length in more octets than it needs", "\x81\xfe\x00\x05mask12345", closeProtocol, 0},
		{"a length in eight octets that needs two", length(finText, 3000), closeProtocol, 0},
		{"a length with its first bit set", length(finText, 1<<63), closeProtocol, 0},
		{"a frame as long as may be", masked(finText, strings.Repeat("x", most)), 0, 1},
		{"a frame that is too long", good + masked(finText, strings.Repeat("x", most+1)), closeTooLong, 1},
		{"a length of a gigabyte", length(finBinary, 1<<30), closeTooLong, 0},
		{"a length of nearly all", length(finBinary, 1<<63-1), closeTooLong, 0},
		{"fragments that are too long together", masked(firstText, strings.Repeat("x", 2000)) + masked(finMore, strings.Repeat("x", 1001)), closeTooLong, 0},
		{"fragments as long as may be", masked(firstText, strings.Repeat("x", 2000)) + masked(finMore, strings.Repeat("x", 1000)), 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, cut := range []func(int) int{whole, single} {
				got := find(most, []byte(tt.stream), cut)
				if got.code != tt.want || len(got.events) != tt.events {
					t.Errorf("found %d events and %d, want %d and %d", len(got.events), got.code, tt.events, tt.want)
				}
			}
		})
	}
}

func TestAFrameIsJudgedByItsHeader(t *testing.T) {
	s := frames{most: 1000}
	var pool buffers
	for _, tt := range []struct {
		stream string
		want   error
	}{
		{"\x91", errReserved},
		{"\x81\x05", errNotMasked},
		{"\x89\xfe", errLongControl},
		{"\x81\xfe\x03\xe9", errTooLong},
		{"\x82\xff\x00\x00\x00\x00\x40\x00\x00\x00", errTooLong},
	} {
		if _, _, _, err := s.next(&pool, []byte(tt.stream)); err != tt.want {
			t.Errorf("% x: %v, want %v", tt.stream, err, tt.want)
		}
	}
}

func TestLongMessagesMayComeInManyFragments(t *testing.T) {
	part := strings.Repeat("x", 2000)
	stream := masked(firstText, part)
	for range 498 {
		stream += masked(moreText, part)
	}
	stream += masked(finMore, part)
	got := find(1<<20, []byte(stream), func(int) int { return 1500 })
	if got.code != 0 || len(got.events) != 1 || len(got.events[0]) != len(`1 ""`)+500*len(part) {
		t.Errorf("%d events and %d", len(got.events), got.code)
	}
}

func TestUnmaskingIsXOROctetByOctet(t *testing.T) {
	key := [4]byte{1, 2, 0xf3, 0x84}
	for n := range 100 {
		b := make([]byte, n)
		want := make([]byte, n)
		for i := range b {
			b[i] = byte(rand.Uint32())
			want[i] = b[i] ^ key[i%4]
		}
		unmask(b, binary.LittleEndian.Uint32(key[:]))
		if !bytes.Equal(b, want) {
			t.Fatalf("%d octets: % x, want % x", n, b, want)
		}
	}
}

func TestAMessageIsFramedWhereItIsWritten(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 1000, 65535, 65536, 100_000} {
		for _, last := range []string{"", "\xff"} {
			payload := strings.Repeat("x", n) + last
			before := "what is queued already"
			dst := append([]byte(before), openFrame(nil)...)
			got := closeFrame(append(dst, payload...), len(before))
			want := appendMessage([]byte(before), []byte(payload))
			if !bytes.Equal(got, want) {
				t.Errorf("%d octets: % x, want % x", len(payload), got[:min(len(got), 50)], want[:min(len(want), 50)])
			}
			f, err := ws.ReadFrame(bytes.NewReader(got[len(before):]))
			op := ws.OpText
			if last != "" {
				op = ws.OpBinary // RFC 7118 §4.2
			}
			if err != nil || f.Header.OpCode != op || f.Header.Masked || !f.Header.Fin || string(f.Payload) != payload {
				t.Errorf("%d octets: another reader finds %+v, %v", len(payload), f.Header, err)
			}
		}
	}
}

func TestCloseFramesAreReadStrictly(t *testing.T) {
	for _, tt := range []struct {
		payload string
		want    closeCode
	}{
		{"", closeNone}, {"\x03", closeProtocol}, {"\x03\xe8", 1000}, {"\x03\xe9bye", 1001},
		{"\x03\xe8\xff", closeInvalid}, {"\x03\xe7", closeProtocol}, {"\x00\x00", closeProtocol},
		{"\x03\xec", closeProtocol}, {"\x03\xed", closeProtocol}, {"\x03\xee", closeProtocol}, {"\x03\xf7", closeProtocol},
		{"\x03\xf4", 1012}, {"\x03\xf6", 1014}, {"\x0b\xb7", closeProtocol}, {"\x0b\xb8", 3000}, {"\x13\x87", 4999}, {"\x13\x88", closeProtocol},
		{"\xff\xff", closeProtocol},
	} {
		if got := readClose([]byte(tt.payload)).code; got != tt.want {
			t.Errorf("close with % x: %d, want %d", tt.payload, got, tt.want)
		}
	}
}

// FuzzWebSocketFrames: however a stream is cut up, the same is found in it, and
// what is held has a bound.
func FuzzWebSocketFrames(f *testing.F) {
	m := message(1, "hello")
	for _, s := range []string{
		masked(finText, m) + masked(finPing, "p") + masked(finText, "\r\n\r\n"),
		masked(firstText, m[:20]) + masked(finPing, "") + masked(moreText, m[20:40]) + masked(finMore, m[40:]),
		masked(finBinary, strings.Repeat("\xff", 300)) + masked(finClose, "\x03\xe8"),
		masked(finText, strings.Repeat("x", 2000)), "\x81\xfe\x10\x00mask",
		masked(firstText, "") + masked(finPong, "") + masked(finText, ""), "\x81\xff\x00\x00\x00\x00\x40\x00\x00\x00mask",
	} {
		f.Add([]byte(s), uint64(1))
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		const most = 1500
		want := find(most, bytes.Clone(stream), whole)
		random := rand.New(rand.NewPCG(seed, 1))
		for _, cut := range []func(int) int{single, func(int) int { return 1 + random.IntN(20) }, func(left int) int { return 1 + random.IntN(left) }} {
			got := find(most, bytes.Clone(stream), cut)
			if got.code != want.code || got.rest != want.rest || !slices.Equal(got.events, want.events) {
				t.Fatalf("found %+v, want %+v", got, want)
			}
			if got.held > 4*most {
				t.Fatalf("%d octets were held for a message of %d", got.held, most)
			}
		}
	})
}
