package s2s

import (
	"math"
	"sync/atomic"
	"time"
)

// A meter is what a stream is read from. It counts what comes before anything
// is proved, and sees to it that an element that has begun comes to its end.
type meter struct {
	st    *stream
	left  atomic.Int64 // octets that may come before anything is proved
	begun time.Time    // when the first octets of an element came that is not complete
	armed bool
}

// elementTime is how long one element may take from its first octets to its last.
const elementTime = time.Minute

// Read reads from the connection.
func (m *meter) Read(p []byte) (int, error) {
	if !m.begun.IsZero() && !m.armed {
		m.armed = true
		m.st.set(func() { m.st.elementBy = m.begun.Add(elementTime) })
	}
	n, err := m.st.conn.Read(p)
	if n > 0 {
		if m.left.Load() != math.MaxInt64 && m.left.Add(-int64(n)) < 0 {
			return 0, &fault{condition: "policy-violation", text: "too much before authentication"}
		}
		if m.begun.IsZero() && !blank(p[:n]) {
			m.begun = time.Now()
		}
	}
	return n, err
}

// complete says that an element is there.
func (m *meter) complete() {
	m.begun = time.Time{}
	if m.armed {
		m.armed = false
		m.st.set(func() { m.st.elementBy = time.Time{} })
	}
}

// unlimited is for streams on which something is proved.
func (m *meter) unlimited() { m.left.Store(math.MaxInt64) }

// blank reports whether there is nothing but the white space between elements
// (RFC 6120 §11.7), such as keepalives.
func blank(p []byte) bool {
	for _, c := range p {
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}
