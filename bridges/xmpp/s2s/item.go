package s2s

import "time"

// An item is a stanza on its way out, written once and for all: its sender may do
// with the element what he likes.
type item struct {
	octets  []byte
	done    func(Outcome) // may be nil
	route   *route
	until   time.Time // when it has waited for a stream for too long; zero while it is on one
	end     uint64    // where its last octet is among all that its stream wrote
	counted bool      // its stream acknowledges it
	born    time.Time
	held    bool // its route's holding has it
	written bool // it was on a stream
	ends    int  // how many of them the other side ended with an error
}

// A queue holds items in their order. The zero queue is empty.
type queue struct {
	ring   []item
	head   int
	n      int
	octets int
}

func (q *queue) at(i int) *item { return &q.ring[(q.head+i)&(len(q.ring)-1)] }

func (q *queue) grow() {
	if q.n < len(q.ring) {
		return
	}
	ring := make([]item, max(8, 2*len(q.ring))) // a power of two
	for i := range q.n {
		ring[i] = *q.at(i)
	}
	q.ring, q.head = ring, 0
}

func (q *queue) push(it *item) {
	q.grow()
	q.n++
	*q.at(q.n - 1) = *it
	q.octets += len(it.octets)
}

func (q *queue) pushFront(it *item) {
	q.grow()
	q.head = (q.head - 1) & (len(q.ring) - 1)
	q.n++
	*q.at(0) = *it
	q.octets += len(it.octets)
}

func (q *queue) pop() item {
	it := *q.at(0)
	*q.at(0) = item{}
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	q.octets -= len(it.octets)
	if q.n == 0 && len(q.ring) > 256 {
		*q = queue{} // a burst is over
	}
	return it
}

// take returns the first n items and forgets them.
func (q *queue) take(n int) []item {
	if n == 0 {
		return nil
	}
	items := make([]item, n)
	for i := range items {
		items[i] = q.pop()
	}
	return items
}
