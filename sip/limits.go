package sip

// Limits bounds what one message may cost. A zero field takes its default.
type Limits struct {
	Header int // octets of start line and header fields, with the empty line
	Body   int // octets of the body
	Fields int // number of header fields
}

// The defaults lie well above what real messages need: the longest torture
// message (RFC 4475 §3.1.1.7) has 3,515 octets and 40 fields.
const (
	DefaultHeader = 64 << 10
	DefaultBody   = 1 << 20
	DefaultFields = 256
)

// maxFields keeps field numbers within the 16 bits that the index gives them.
const maxFields = 1<<15 - 1

func (l Limits) header() int {
	if l.Header > 0 {
		return l.Header
	}
	return DefaultHeader
}

func (l Limits) body() int {
	if l.Body > 0 {
		return l.Body
	}
	return DefaultBody
}

func (l Limits) fields() int {
	if l.Fields > 0 {
		return min(l.Fields, maxFields)
	}
	return DefaultFields
}
