package sip

import "bytes"

// Elements walks the members of a comma list over all fields of one header, in
// the order of the message (RFC 3261 §7.3.1).
type Elements struct {
	m     *Message
	id    Header
	field int
	rest  []byte
}

// Elements returns an iterator over the list members of header h.
func (m *Message) Elements(h Header) Elements {
	e := Elements{m: m, id: h}
	if h == HeaderOther || m.first[h] == 0 {
		e.field = len(m.fields)
	} else {
		e.field = int(m.first[h]) - 1
	}
	return e
}

// Next returns the next member without the white space around it. It skips empty
// members; where they are a fault, Message.Fault says so.
func (e *Elements) Next() (elem []byte, ok bool) {
	for {
		for len(e.rest) > 0 {
			elem, e.rest = cutElement(e.rest)
			if elem = trimLWS(elem); len(elem) > 0 {
				return elem, true
			}
		}
		for e.field < len(e.m.fields) && e.m.fields[e.field].id != e.id {
			e.field++
		}
		if e.field >= len(e.m.fields) {
			return nil, false
		}
		s := &e.m.fields[e.field]
		e.rest = e.m.raw[s.value:s.valueEnd]
		e.field++
	}
}

// cutElement cuts b at its first comma that is neither quoted nor in brackets.
func cutElement(b []byte) (elem, rest []byte) {
	end := elementEnd(b)
	if end == len(b) {
		return b, nil
	}
	return b[:end], b[end+1:]
}

// elementEnd returns the offset of the comma that ends the first member of the
// list b, or the end of b.
func elementEnd(b []byte) int {
	comma := bytes.IndexByte(b, ',')
	if comma < 0 {
		return len(b)
	}
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case ',':
			return i
		case '"':
			end, ok := skipQuoted(b, i)
			if !ok {
				return len(b)
			}
			i = end - 1
		case '<':
			n := bytes.IndexByte(b[i:], '>')
			if n < 0 {
				return len(b)
			}
			i += n
		}
	}
	return len(b)
}
