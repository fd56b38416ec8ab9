package sip

// values keeps what the strict readers found, because the doors, the router and
// the log ask for the same few values.
type values struct {
	via            known[viaSpan]
	from, to       known[NameAddr]
	fromURI, toURI known[URI]
	target         known[URI]
	maxForwards    known[int]
	maxBreadth     known[int]
	seq            known[sequence]
}

// A sequence is the value of CSeq.
type sequence struct {
	number uint32
	method []byte
}

// known is a value that was read, or the reason why it could not be.
type known[T any] struct {
	v    T
	err  error
	read bool
}

// TopVia returns the first Via value.
func (m *Message) TopVia() (ViaParm, error) {
	k := m.topVia()
	if k.err != nil {
		return ViaParm{}, k.err
	}
	return k.v.of(m.Value(Via)), nil
}

func (m *Message) topVia() *known[viaSpan] {
	k := &m.values.via
	if !k.read {
		k.read = true
		_, k.err = k.v.scan(m.Value(Via), 0)
	}
	return k
}

// Vias returns the number of Via values over all Via fields.
func (m *Message) Vias() int {
	n := 0
	for e := m.Elements(Via); ; n++ {
		if _, ok := e.Next(); !ok {
			return n
		}
	}
}

// From returns the value of From.
func (m *Message) From() (NameAddr, error) {
	k := m.address(From, &m.values.from)
	return k.v, k.err
}

// To returns the value of To.
func (m *Message) To() (NameAddr, error) {
	k := m.address(To, &m.values.to)
	return k.v, k.err
}

// address reads the one address of header h.
func (m *Message) address(h Header, k *known[NameAddr]) *known[NameAddr] {
	if !k.read {
		k.read = true
		k.err = k.v.read(m.Value(h))
	}
	return k
}

// FromURI returns the URI of From.
func (m *Message) FromURI() (URI, error) {
	k := m.addressURI(From, &m.values.from, &m.values.fromURI)
	return k.v, k.err
}

// ToURI returns the URI of To.
func (m *Message) ToURI() (URI, error) {
	k := m.addressURI(To, &m.values.to, &m.values.toURI)
	return k.v, k.err
}

// addressURI reads the URI of the one address of header h.
func (m *Message) addressURI(h Header, addr *known[NameAddr], k *known[URI]) *known[URI] {
	if !k.read {
		k.read = true
		if k.err = m.address(h, addr).err; k.err == nil {
			k.err = k.v.read(addr.v.URI)
		}
	}
	return k
}

// URI returns the Request-URI, read.
func (m *Message) URI() (URI, error) {
	k := m.uri()
	return k.v, k.err
}

func (m *Message) uri() *known[URI] {
	k := &m.values.target
	if !k.read {
		k.read = true
		k.err = k.v.read(m.target)
	}
	return k
}

// CallID returns the value of Call-ID, nil if there is none.
func (m *Message) CallID() []byte { return m.Value(CallID) }

// CSeq returns the number and the method of CSeq.
func (m *Message) CSeq() (number uint32, method []byte, err error) {
	k := &m.values.seq
	if !k.read {
		k.read = true
		k.v, k.err = parseCSeq(m.Value(CSeq))
	}
	return k.v.number, k.v.method, k.err
}

// parseCSeq reads a CSeq value, whose number must be less than 2**31
// (RFC 3261 §8.1.1.5).
func parseCSeq(b []byte) (sequence, error) {
	end := 0
	for end < len(b) && isDigit(b[end]) {
		end++
	}
	n, ok := number(b[:end], 1<<31-1)
	if !ok {
		return sequence{}, errNumber
	}
	method := b[skipLWS(b, end):]
	if len(method)+end == len(b) || !isToken(method) {
		return sequence{}, errMethod
	}
	return sequence{uint32(n), method}, nil
}

// MaxForwards returns the value of Max-Forwards; ok is false if there is none.
// What is above 255 is a fault (RFC 3261 §20.22).
func (m *Message) MaxForwards() (n int, ok bool, err error) {
	if m.count[MaxForwards] == 0 {
		return 0, false, nil
	}
	k := &m.values.maxForwards
	if !k.read {
		k.read = true
		v, ok := number(m.Value(MaxForwards), 255)
		if k.v = int(v); !ok {
			k.v, k.err = 0, errRange
		}
	}
	return k.v, k.err == nil, k.err
}

// mostBreadth is more than any request has a use for.
const mostBreadth = 1 << 16

// MaxBreadth returns the value of Max-Breadth; ok is false if there is none. The
// grammar has no largest one (RFC 5393 §5.8): beyond mostBreadth all are equal.
func (m *Message) MaxBreadth() (n int, ok bool, err error) {
	if m.count[MaxBreadth] == 0 {
		return 0, false, nil
	}
	k := &m.values.maxBreadth
	if !k.read {
		k.read = true
		k.v, k.err = saturated(m.Value(MaxBreadth), mostBreadth)
	}
	return k.v, k.err == nil, k.err
}

// saturated reads a number in digits; above most it is most.
func saturated(b []byte, most int) (n int, err error) {
	for _, c := range b {
		if !isDigit(c) {
			return 0, errRange
		}
		n = min(n*10+int(c-'0'), most)
	}
	if len(b) == 0 {
		return 0, errRange
	}
	return n, nil
}
