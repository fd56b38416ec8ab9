package remoteaccess

import (
	"net/netip"
	"time"
)

const (
	// maxTickets is how many attempts may be under way at once.
	maxTickets = 1 << 15
	// ticketLife is longer than any transaction but INVITE waits for its answer
	// (RFC 3261 §17.1.2.2), and an INVITE that rings has got past the challenge.
	ticketLife = 40 * time.Second
	// signedUnderWay is how many requests with credentials one signed-in pair may
	// have under way. A client asks for the presence of all its contacts at once.
	signedUnderWay = 64
)

// A slot is what a ticket stands for.
type slot struct {
	facts
	who [1 + 2*maxNames]subject      // the user, who the credentials name besides, and who they may mean
	ids [2*(1+2*maxNames) + 1]uint64 // counted as under way

	turn       uint64 // how many tickets there were before
	serial     uint32 // of the ticket; changes when it is given back
	prev, next uint32 // in the order of at; 0: none
}

// Facts are what is known of an attempt beside who is named, and what it counts as.
type facts struct {
	n          int // of who
	named      int // of them without the last
	m          int // of ids
	prefix     netip.Prefix
	source     uint64 // 0: none
	sourceHash uint64
	place      uint64
	trusted    bool // all of who are
	signed     bool
	bare       bool // there is nothing that could be a guess
	mixed      bool // nobody knows which of who the home server has looked at
	at         time.Time
}

// A desk gives out tickets. All have the same life, so that they end in the order
// in which they began.
type desk struct {
	slots    []slot // of a ticket; the first is none
	most     int
	free     []uint32
	first    uint32
	last     uint32
	turns    uint64
	underWay map[uint64]int32 // by pair, user and source; never 0
}

func newDesk(most int) desk {
	return desk{slots: make([]slot, 1), most: most, underWay: make(map[uint64]int32)}
}

// len returns how many tickets are out.
func (d *desk) len() int { return len(d.slots) - 1 - len(d.free) }

// take gives out a ticket for s, if there is one left.
func (d *desk) take(s *slot) (Ticket, bool) {
	var i uint32
	switch {
	case len(d.free) > 0:
		i = d.free[len(d.free)-1]
		d.free = d.free[:len(d.free)-1]
	case len(d.slots) <= d.most:
		i = uint32(len(d.slots))
		d.slots = append(d.slots, slot{})
	default:
		return Ticket{}, false
	}
	d.turns++
	to := &d.slots[i]
	to.set(s)
	to.turn, to.prev, to.next = d.turns, d.last, 0
	if d.last != 0 {
		d.slots[d.last].next = i
	} else {
		d.first = i
	}
	d.last = i
	for _, id := range s.ids[:s.m] {
		d.underWay[id]++
	}
	return Ticket{slot: i, turn: to.serial}, true
}

// set makes s what another one is, but for what is the desk's alone. Of the two lists
// only what is used is copied: they are most of a slot, and this is done for each
// REGISTER.
func (s *slot) set(from *slot) {
	s.facts = from.facts
	copy(s.who[:from.n], from.who[:from.n])
	copy(s.ids[:from.m], from.ids[:from.m])
}

// give takes a ticket back, and returns what it stood for: until the next is given out.
// Whoever has looked at that forgets it.
func (d *desk) give(t Ticket) (*slot, bool) {
	if t.slot == 0 || int(t.slot) >= len(d.slots) || d.slots[t.slot].serial != t.turn {
		return nil, false
	}
	s := &d.slots[t.slot]
	if s.prev != 0 {
		d.slots[s.prev].next = s.next
	} else {
		d.first = s.next
	}
	if s.next != 0 {
		d.slots[s.next].prev = s.prev
	} else {
		d.last = s.prev
	}
	s.serial++
	d.free = append(d.free, t.slot)
	for _, id := range s.ids[:s.m] {
		if d.underWay[id]--; d.underWay[id] <= 0 {
			delete(d.underWay, id)
		}
	}
	return s, true
}

// forget drops the names of who has given back the ticket.
func (s *slot) forget() {
	clear(s.who[:s.n])
	s.facts = facts{}
}

// expire takes back what nobody has settled.
func (d *desk) expire(now time.Time) {
	for d.first != 0 && now.Sub(d.slots[d.first].at) > ticketLife {
		if s, ok := d.give(Ticket{slot: d.first, turn: d.slots[d.first].serial}); ok {
			s.forget()
		}
	}
}
