package locate

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/miekg/dns"
)

// Bounds of one message.
const (
	headerSize = 12
	maxCNAMEs  = 64 // that are looked at: no honest chain comes near
)

// A message is an answer from a resolver: an index over its octets. Of 64 KiB of
// records, with names that unfold to fifty times their size, only those that
// were asked for are ever read, and one at a time.
type message struct {
	raw       []byte
	rcode     int
	truncated bool
	authentic bool  // the resolver says that all of it is signed and checked (RFC 4035 §3.2.3)
	cnames    []int // where the records begin that are aliases
	answers   []int // and those of the type asked for
	authority int   // how many records there are in that section
	soa       int   // where its first SOA record begins; 0: there is none
}

// section numbers the parts of a message that hold records (RFC 1035 §4.1).
type section int

const (
	answerSection section = iota
	authoritySection
	additionalSection
)

var errMalformed = errors.New("malformed message")

// readMessage reads an answer to q. Ok is false if it is none: it says something
// else, or to somebody else.
func readMessage(raw []byte, q *dns.Msg) (m *message, ok bool, err error) {
	if len(raw) < headerSize || binary.BigEndian.Uint16(raw) != q.Id {
		return nil, false, nil
	}
	bits := binary.BigEndian.Uint16(raw[2:])
	const response, opcode, truncated, authentic, rcode = 1 << 15, 0xf << 11, 1 << 9, 1 << 5, 0xf
	if bits&response == 0 || bits&opcode != 0 {
		return nil, false, nil
	}
	m = &message{raw: raw, rcode: int(bits & rcode), truncated: bits&truncated != 0, authentic: bits&authentic != 0}
	at, ok, err := m.question(q.Question[0])
	if !ok || err != nil {
		return nil, ok, err
	}
	if m.truncated {
		return m, true, nil // it may end within a record; TCP brings all of it
	}
	if err := m.index(at, q.Question[0].Qtype); err != nil {
		return nil, true, err
	}
	return m, true, nil
}

// question compares the question in the answer with ours, and returns where it
// ends. An error without any question is believed too: some resolvers send
// FORMERR and SERVFAIL that way.
func (m *message) question(q dns.Question) (end int, ok bool, err error) {
	switch binary.BigEndian.Uint16(m.raw[4:]) {
	case 0:
		return headerSize, m.rcode != dns.RcodeSuccess && m.rcode != dns.RcodeNameError, nil
	case 1:
	default:
		return 0, false, nil
	}
	name, at, err := dns.UnpackDomainName(m.raw, headerSize)
	if err != nil || len(m.raw) < at+4 {
		return 0, true, errMalformed
	}
	kind, class := binary.BigEndian.Uint16(m.raw[at:]), binary.BigEndian.Uint16(m.raw[at+2:])
	return at + 4, kind == q.Qtype && class == q.Qclass && strings.EqualFold(name, q.Name), nil
}

// index walks over all records and notes where those are that are needed. What
// the additional section says about other names is nobody's business here: it
// is where forged addresses come in (RFC 5452 §6).
func (m *message) index(at int, qtype uint16) error {
	for s := answerSection; s <= additionalSection; s++ {
		for range binary.BigEndian.Uint16(m.raw[6+2*int(s):]) {
			begin := at
			at = skipName(m.raw, at)
			if at < 0 || len(m.raw) < at+10 {
				return errMalformed
			}
			fixed := m.raw[at : at+10]
			at += 10 + int(binary.BigEndian.Uint16(fixed[8:]))
			if at > len(m.raw) {
				return errMalformed
			}
			m.note(s, begin, qtype, fixed)
		}
	}
	return nil
}

// note keeps where a record begins if it is one that is needed. Fixed is its
// type, class, TTL and length.
func (m *message) note(s section, begin int, qtype uint16, fixed []byte) {
	kind, class := binary.BigEndian.Uint16(fixed), binary.BigEndian.Uint16(fixed[2:])
	switch {
	case s == additionalSection && kind == dns.TypeOPT:
		m.rcode |= int(fixed[4]) << 4 // EXTENDED-RCODE (RFC 6891 §6.1.3)
	case s == authoritySection:
		m.authority++
		if kind == dns.TypeSOA && m.soa == 0 {
			m.soa = begin
		}
	case s != answerSection || class != dns.ClassINET:
	case kind == dns.TypeCNAME:
		m.cnames = append(m.cnames, begin)
	case kind == qtype:
		m.answers = append(m.answers, begin)
	}
}

// record reads the record that begins at an octet.
func (m *message) record(at int) (dns.RR, error) {
	rr, _, err := dns.UnpackRR(m.raw, at)
	if err != nil {
		return nil, errMalformed
	}
	return rr, nil
}

// skipName returns where the name at an octet ends, or a negative number. A
// pointer leads to "a prior occurrence" (RFC 1035 §4.1.4), so not to itself.
func skipName(raw []byte, at int) int {
	for begin := at; at < len(raw); {
		switch c := int(raw[at]); {
		case c == 0:
			return at + 1
		case c < 64:
			at += 1 + c
		case c >= 0xc0 && at+1 < len(raw) && int(binary.BigEndian.Uint16(raw[at:])&0x3fff) < begin:
			return at + 2
		default:
			return -1
		}
	}
	return -1
}
