package sip

import (
	"bytes"
	"net/netip"
	"strconv"
)

// AppendResponse appends the answer that we make ourselves to req
// (RFC 3261 §8.2.6): its Vias, From, To, Call-ID and CSeq as they came, toTag in
// To unless there is a tag or the answer is 100, the lines in extra, no body.
// An empty reason becomes the standard phrase.
//
// A faulty request is answered as well as it can be: what is missing or could
// break a line of the answer is left out.
func AppendResponse(dst []byte, req *Message, status int, reason, toTag string, extra []byte) []byte {
	return AppendAnswer(dst, req, status, reason, toTag, extra, TopVia{})
}

// A TopVia is what an answer of ours says in the topmost Via beside what its sender
// wrote there. The zero TopVia is nothing.
type TopVia struct {
	Source   netip.AddrPort // where the request came from (RFC 3261 §18.2.1, RFC 3581 §4)
	Throttle []byte         // parameters in place of what it says of overload (RFC 7339 §5.2); nil: as it came
}

// AppendAnswer appends what [AppendResponse] does, with the topmost Via as top says. A
// faulty request gets the Vias as they came.
func AppendAnswer(dst []byte, req *Message, status int, reason, toTag string, extra []byte, top TopVia) []byte {
	if reason == "" {
		reason = Phrase(status)
	} else {
		reason = safeReason(reason)
	}
	dst = append(dst, "SIP/2.0 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(append(append(dst, ' '), safeReason(reason)...), "\r\n"...)
	dst = req.appendVias(dst, top)
	dst = req.appendFirst(dst, From)
	dst = req.appendTo(dst, status, toTag)
	dst = req.appendFirst(dst, CallID)
	dst = req.appendFirst(dst, CSeq)
	if status == 100 {
		dst = req.appendFirst(dst, Timestamp) // RFC 3261 §8.2.6.1
	}
	dst = append(dst, extra...)
	return append(dst, "Content-Length: 0\r\n\r\n"...)
}

// appendAll appends the lines of every field of header h.
func (m *Message) appendAll(dst []byte, h Header) []byte {
	if m.count[h] == 0 {
		return dst
	}
	for i := int(m.first[h]) - 1; i < len(m.fields); i++ {
		if s := &m.fields[i]; s.id == h {
			dst = m.appendLine(dst, s)
		}
	}
	return dst
}

// appendFirst appends the lines of the first field of header h.
func (m *Message) appendFirst(dst []byte, h Header) []byte {
	if m.first[h] == 0 {
		return dst
	}
	return m.appendLine(dst, &m.fields[m.first[h]-1])
}

// appendLine appends one field, unless it holds what must not be echoed.
func (m *Message) appendLine(dst []byte, s *span) []byte {
	if m.fault != nil && !cleanLine(m.raw[s.start:s.end]) {
		return dst
	}
	return append(dst, m.raw[s.start:s.end]...)
}

// cleanLine reports whether a field holds no NUL and no CR or LF but those of its
// folds and its end. Only a message that lost its framing can.
func cleanLine(b []byte) bool {
	if nakedNUL(b) {
		return false
	}
	for i := range len(b) - 2 {
		if b[i] == '\r' && !foldAt(b, i) || b[i] == '\n' && (i == 0 || b[i-1] != '\r') {
			return false
		}
	}
	return true
}

// appendTo appends To, with a tag of ours if it has none (RFC 3261 §8.2.6.2).
func (m *Message) appendTo(dst []byte, status int, tag string) []byte {
	to, err := m.To()
	if status == 100 || tag == "" || err != nil || to.Tag() != nil {
		return m.appendFirst(dst, To)
	}
	s := &m.fields[m.first[To]-1]
	if m.fault != nil && !cleanLine(m.raw[s.start:s.end]) {
		return dst
	}
	dst = append(dst, m.raw[s.start:s.valueEnd]...)
	return append(append(append(dst, ";tag="...), tag...), "\r\n"...)
}

// AppendCancel appends the CANCEL for sent, an INVITE as we sent it
// (RFC 3261 §9.1): the same Request-URI, Call-ID, From, To, number in CSeq and
// Route, and only its top Via.
func AppendCancel(dst []byte, sent *Message) []byte {
	dst = sent.appendStart(dst, "CANCEL")
	dst = sent.appendFirst(dst, From)
	dst = sent.appendFirst(dst, To)
	return sent.appendEnd(dst, "CANCEL")
}

// AppendACK appends the ACK for resp, a final answer other than 2xx to sent
// (RFC 3261 §17.1.1.3): as CANCEL, but with To of the answer, whose tag it needs.
func AppendACK(dst []byte, sent, resp *Message) []byte {
	dst = sent.appendStart(dst, "ACK")
	dst = sent.appendFirst(dst, From)
	dst = resp.appendFirst(dst, To)
	return sent.appendEnd(dst, "ACK")
}

// appendStart appends the start of a request that follows m hop by hop.
func (m *Message) appendStart(dst []byte, method string) []byte {
	dst = append(append(dst, method...), ' ')
	dst = append(append(dst, m.target...), " SIP/2.0\r\nVia: "...)
	via := m.Value(Via)
	dst = append(dst, bytes.TrimRight(via[:elementEnd(via)], " \t\r\n")...)
	dst = append(dst, "\r\nMax-Forwards: 70\r\n"...)
	return m.appendAll(dst, Route)
}

// appendEnd appends the rest of a request that follows m hop by hop.
func (m *Message) appendEnd(dst []byte, method string) []byte {
	dst = m.appendFirst(dst, CallID)
	n, _, _ := m.CSeq()
	dst = strconv.AppendUint(append(dst, "CSeq: "...), uint64(n), 10)
	dst = append(append(append(dst, ' '), method...), "\r\n"...)
	return append(dst, "Content-Length: 0\r\n\r\n"...)
}
