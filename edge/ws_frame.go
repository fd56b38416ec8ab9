package edge

import (
	"encoding/binary"
	"unicode/utf8"
)

// An opcode says what a frame is (RFC 6455 §5.2).
type opcode byte

const (
	opContinuation opcode = 0x0
	opText         opcode = 0x1
	opBinary       opcode = 0x2
	opClose        opcode = 0x8
	opPing         opcode = 0x9
	opPong         opcode = 0xA
)

// The first two octets of a frame (RFC 6455 §5.2).
const (
	bitFin     = 0x80
	bitsRSV    = 0x70
	bitsOpcode = 0x0f
	bitMasked  = 0x80
	bitsLength = 0x7f

	length16 = 126 // two octets with the length follow
	length64 = 127 // eight
)

const (
	// maxControl is the longest payload of a control frame (RFC 6455 §5.5).
	maxControl = 125
	// maxFragments is how many fragments a message may have, beside one for
	// each fragmentShare octets: whoever cuts up a long message may, but not into
	// single octets.
	maxFragments  = 64
	fragmentShare = 1 << 10
)

// A frame is the header of one that came.
type frame struct {
	op     opcode
	fin    bool
	key    uint32 // the mask, its first octet lowest
	head   int    // octets before the payload; 0: they have not all come
	length int    // octets of the payload
}

// frames finds frames and messages on a stream (RFC 6455 §5, §6.2). It looks at
// the header of a frame before anything of it is kept: what breaks a rule, or
// would be too long, is refused there. However the stream is cut up, it finds
// the same.
type frames struct {
	most int // octets of a message

	need      int     // octets of the frame that is under way, once known
	kind      opcode  // of the message that comes in fragments
	fragments int     // that it has so far; 0: none is under way
	parts     *buffer // their payloads
}

// next judges buf, which begins at the first octet that was not consumed, and
// says how many octets to consume; 0 asks for more. opText and opBinary come
// with a whole message, the others but opContinuation with their payload. It
// points into buf, where it was unmasked, or into what release gives back.
func (s *frames) next(pool *buffers, buf []byte) (op opcode, data []byte, n int, err error) {
	if len(buf) < s.need {
		return 0, nil, 0, nil
	}
	h, err := s.header(buf)
	if err != nil || h.head == 0 {
		return 0, nil, 0, err
	}
	n = h.head + h.length
	if len(buf) < n {
		s.need = n
		return 0, nil, 0, nil
	}
	s.need = 0
	data = buf[h.head:n]
	unmask(data, h.key)
	if h.op >= opClose || h.fin && s.fragments == 0 {
		return h.op, data, n, nil
	}
	s.gather(pool, h, data)
	if !h.fin {
		return opContinuation, nil, n, nil
	}
	s.fragments = 0
	return s.kind, s.parts.b, n, nil
}

// gather keeps a fragment until the last one has come.
func (s *frames) gather(pool *buffers, h frame, data []byte) {
	if s.fragments == 0 {
		s.kind = h.op
	}
	s.fragments++
	have := s.gathered()
	if s.parts == nil || have+len(data) > cap(s.parts.b) {
		b := pool.get(max(2*have, have+len(data)))
		if s.parts != nil {
			b.b = append(b.b, s.parts.b...)
			pool.put(s.parts)
		}
		s.parts = b
	}
	s.parts.b = append(s.parts.b, data...)
}

// gathered is how many octets the fragments so far have.
func (s *frames) gathered() int {
	if s.parts == nil {
		return 0
	}
	return len(s.parts.b)
}

// inside reports whether a message has begun of which fragments are missing.
func (s *frames) inside() bool { return s.fragments > 0 }

// release gives back what a message was gathered in.
func (s *frames) release(pool *buffers) {
	pool.put(s.parts)
	s.parts, s.fragments = nil, 0
}

// header reads the header of a frame, and judges each octet of it as soon as it
// is there.
func (s *frames) header(b []byte) (h frame, err error) {
	if len(b) == 0 {
		return h, nil
	}
	h.op, h.fin = opcode(b[0]&bitsOpcode), b[0]&bitFin != 0
	if err := s.judge(h, b[0]); err != nil || len(b) < 2 {
		return h, err
	}
	short := int(b[1] & bitsLength)
	switch {
	case b[1]&bitMasked == 0:
		return h, errNotMasked
	case h.op >= opClose && short > maxControl:
		return h, errLongControl
	}
	size, err := s.length(b, short, &h)
	if err != nil || size == 0 {
		return h, err
	}
	if h.op < opClose && h.length > s.most-s.gathered() {
		return h, errTooLong
	}
	if len(b) < size+4 {
		return h, nil
	}
	h.key = binary.LittleEndian.Uint32(b[size:])
	h.head = size + 4
	return h, nil
}

// judge looks at the first octet of a frame.
func (s *frames) judge(h frame, first byte) error {
	control := h.op >= opClose
	switch {
	case first&bitsRSV != 0:
		return errReserved // no extension was negotiated
	case h.op > opBinary && h.op < opClose, h.op > opPong:
		return errOpcode
	case control && !h.fin:
		return errControlFragment
	case control:
		return nil
	case h.op == opContinuation && !s.inside():
		return errNoStart
	case h.op != opContinuation && s.inside():
		return errInside
	case s.fragments >= maxFragments+s.gathered()/fragmentShare:
		return errFragments
	}
	return nil
}

// length reads how long the payload is, and returns where the mask begins, 0 if
// that is not there yet. The shortest form is obligatory (RFC 6455 §5.2).
func (s *frames) length(b []byte, short int, h *frame) (size int, err error) {
	switch short {
	case length16:
		if len(b) < 4 {
			return 0, nil
		}
		h.length = int(binary.BigEndian.Uint16(b[2:]))
		if h.length < length16 {
			return 0, errLength
		}
		return 4, nil
	case length64:
		if len(b) < 10 {
			return 0, nil
		}
		n := binary.BigEndian.Uint64(b[2:])
		switch {
		case n>>63 != 0 || n < 1<<16:
			return 0, errLength
		case n > uint64(s.most):
			return 0, errTooLong
		}
		h.length = int(n)
		return 10, nil
	}
	h.length = short
	return 2, nil
}

// unmask takes the mask off b (RFC 6455 §5.3).
func unmask(b []byte, key uint32) {
	if key == 0 {
		return
	}
	long := uint64(key)<<32 | uint64(key)
	for ; len(b) >= 32; b = b[32:] {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^long)
		binary.LittleEndian.PutUint64(b[8:], binary.LittleEndian.Uint64(b[8:])^long)
		binary.LittleEndian.PutUint64(b[16:], binary.LittleEndian.Uint64(b[16:])^long)
		binary.LittleEndian.PutUint64(b[24:], binary.LittleEndian.Uint64(b[24:])^long)
	}
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^long)
	}
	for i := range b {
		b[i] ^= byte(key >> (8 * (i & 3)))
	}
}

// A server's frames are not masked (RFC 6455 §5.1). maxFrameHead is what the
// longest header takes.
const maxFrameHead = 10

// usualHead is the length of the header of most messages.
const usualHead = 4

// appendFrame appends a frame with this payload.
func appendFrame(dst []byte, op opcode, payload []byte) []byte {
	var head [maxFrameHead]byte
	n := frameHead(&head, op, len(payload))
	return append(append(dst, head[:n]...), payload...)
}

// appendMessage appends octets as a message of their own.
func appendMessage(dst, octets []byte) []byte {
	return appendFrame(dst, messageOp(octets), octets)
}

// messageOp is text if it can be: RFC 7118 §4.2 demands binary for what is not
// UTF-8, and web pages like text better.
func messageOp(octets []byte) opcode {
	if utf8.Valid(octets) {
		return opText
	}
	return opBinary
}

// openFrame leaves room for the header of a message that is written behind it,
// and closeFrame, which is told where that room begins, fills it in.
func openFrame(dst []byte) []byte { return append(dst, 0, 0, 0, 0) }

func closeFrame(dst []byte, start int) []byte {
	payload := dst[start+usualHead:]
	length := len(payload)
	var head [maxFrameHead]byte
	n := frameHead(&head, messageOp(payload), length)
	if n > usualHead {
		dst = append(dst, head[usualHead:n]...) // only for the room
	}
	if n != usualHead {
		copy(dst[start+n:], dst[start+usualHead:start+usualHead+length])
	}
	copy(dst[start:], head[:n])
	return dst[:start+n+length]
}

// frameHead writes the header of a frame of ours, the length in its shortest
// form, and returns how long it is.
func frameHead(head *[maxFrameHead]byte, op opcode, length int) int {
	head[0] = bitFin | byte(op)
	switch {
	case length < length16:
		head[1] = byte(length)
		return 2
	case length < 1<<16:
		head[1] = length16
		binary.BigEndian.PutUint16(head[2:], uint16(length))
		return 4
	}
	head[1] = length64
	binary.BigEndian.PutUint64(head[2:], uint64(length))
	return 10
}
