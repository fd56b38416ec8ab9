package edge

import (
	"math/bits"
	"sync"
)

// Sizes of pooled buffers: powers of two, 1 KiB to 64 KiB. Larger ones are
// made for one message and left to the garbage collector.
const (
	smallestBuffer = 1 << 10
	largestBuffer  = smallestBuffer << (bufferClasses - 1)
	bufferClasses  = 7
)

// A buffer is a slice that goes back to a pool. The struct exists so that
// putting it back allocates nothing, and so that whoever fills it may let
// append move it.
type buffer struct{ b []byte }

// buffers are the pools that all flows share. An idle flow holds none of them;
// that is what keeps an idle connection small.
type buffers struct{ pools [bufferClasses]sync.Pool }

// get returns an empty buffer with room for n octets or more.
func (p *buffers) get(n int) *buffer {
	class := bits.Len(uint(max(n, 1)-1) / smallestBuffer)
	if class >= bufferClasses {
		return &buffer{make([]byte, 0, n)}
	}
	if b, ok := p.pools[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{make([]byte, 0, smallestBuffer<<class)}
}

// put gives b back. Nothing may use b or its octets afterwards.
func (p *buffers) put(b *buffer) {
	if b == nil || cap(b.b) < smallestBuffer || cap(b.b) > 2*largestBuffer {
		return
	}
	// The class that b can serve in full: append may have left an odd size.
	class := min(bits.Len(uint(cap(b.b))/smallestBuffer)-1, bufferClasses-1)
	b.b = b.b[:0]
	p.pools[class].Put(b)
}
