package sip

// A Message is an index over the octets of one message. Every slice that it
// returns points into those octets and lives as long as they do.
//
// The zero Message is ready; a Message that is used again keeps its tables. It
// is not safe for concurrent use.
type Message struct {
	raw  []byte
	head int // length of start line and fields with the empty line

	response bool
	method   []byte
	target   []byte // Request-URI
	version  []byte
	status   int
	reason   []byte

	fields  []span
	first   [numHeaders]uint16 // field number of the first of its kind, plus one
	count   [numHeaders]uint32
	lastVia int

	fault  *Error // the first fault, found while indexing or by judge
	judged bool
	values values
}

// A span is one field: offsets into raw, so that the index holds no pointers.
type span struct {
	start, nameEnd  uint32
	value, valueEnd uint32
	end             uint32
	id              Header
}

// A Field is one header field as it came. Value is trimmed and keeps its folds;
// Line is all of the field with its continuation lines and the last CRLF.
type Field struct {
	ID    Header
	Name  []byte
	Value []byte
	Line  []byte
}

// Parse indexes raw, which holds exactly one message: one that a Framer
// measured before, or one that came in a datagram or a WebSocket frame. It fails
// where a Framer would lose the framing, or when the length does not fit;
// without Content-Length the body is the rest (RFC 3261 §18.3).
func (m *Message) Parse(raw []byte, lim Limits) error {
	m.reset(raw)
	done, err := m.index(raw[:min(len(raw), lim.header())], lim)
	if err == nil && !done {
		err = Faultf(StatusBadRequest, "Header fields do not end")
	}
	if err != nil {
		return m.lose(err)
	}
	if m.count[ContentLength] == 0 {
		return nil
	}
	n, err := m.contentLength()
	if err != nil {
		return m.lose(err)
	}
	if n != uint64(len(raw)-m.head) {
		return m.lose(Faultf(StatusBadRequest, "Content-Length does not fit"))
	}
	return nil
}

// lose notes the fault that ends the framing, so that Fault says the same.
func (m *Message) lose(err *Error) error {
	m.fault, m.judged = err, true
	return err
}

// reset empties the index and keeps its tables.
func (m *Message) reset(raw []byte) {
	fields := m.fields[:0]
	*m = Message{}
	m.raw, m.fields, m.lastVia = raw, fields, -1
}

// Raw returns all octets of the message.
func (m *Message) Raw() []byte { return m.raw }

// IsRequest reports whether the message is a request.
func (m *Message) IsRequest() bool { return !m.response }

// Method returns the method of a request. Case matters (RFC 3261 §7.1).
func (m *Message) Method() []byte { return m.method }

// RequestURI returns the Request-URI as it came.
func (m *Message) RequestURI() []byte { return m.target }

// Status returns the status code of a response, 0 if it is none.
func (m *Message) Status() int { return m.status }

// Reason returns the reason phrase of a response.
func (m *Message) Reason() []byte { return m.reason }

// Body returns the body.
func (m *Message) Body() []byte {
	if m.head == 0 {
		return nil // the fields have no end
	}
	return m.raw[m.head:]
}

// Fields returns the number of header fields.
func (m *Message) Fields() int { return len(m.fields) }

// Field returns the header field number i, in the order of the message.
func (m *Message) Field(i int) Field {
	s := &m.fields[i]
	return Field{
		ID:    s.id,
		Name:  m.raw[s.start:s.nameEnd],
		Value: m.raw[s.value:s.valueEnd],
		Line:  m.raw[s.start:s.end],
	}
}

// Find returns the first field of header h.
func (m *Message) Find(h Header) (Field, bool) {
	if h == HeaderOther || m.first[h] == 0 {
		return Field{}, false
	}
	return m.Field(int(m.first[h]) - 1), true
}

// Value returns the value of the first field of header h, nil if there is none.
func (m *Message) Value(h Header) []byte {
	if h == HeaderOther || m.first[h] == 0 {
		return nil
	}
	return m.value(int(m.first[h]) - 1)
}

// value returns the value of field i.
func (m *Message) value(i int) []byte {
	s := &m.fields[i]
	return m.raw[s.value:s.valueEnd]
}

// Count returns the number of fields of header h.
func (m *Message) Count(h Header) int { return int(m.count[h]) }

// Answerable reports whether an answer to the message can reach anyone: it is a
// request other than ACK and says where it came from (RFC 3261 §17.1.1.3, §18.2.2).
func (m *Message) Answerable() bool {
	return !m.response && m.count[Via] > 0 && string(m.method) != "ACK"
}
