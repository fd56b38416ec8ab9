package sip

import "bytes"

// A Kind is what stands at the front of a stream.
type Kind int

// The zero Kind asks for more octets.
const (
	Incomplete Kind = iota // nothing can be consumed yet
	Blank                  // one CRLF between messages (RFC 3261 §7.5), or half a ping
	Ping                   // the CRLF CRLF of RFC 5626 §3.5.1 is complete: answer with one CRLF
	Complete               // one message
)

// A Framer finds the ends of messages on a stream. It remembers how far it
// looked, so that a message that comes octet by octet costs no more than one
// that comes at once. The zero Framer is ready, with the default limits.
type Framer struct {
	Limits Limits

	scanned int  // octets of the current header block that hold no end
	need    int  // length of the whole message, once known
	half    bool // the last thing consumed was one CRLF
}

// Next judges buf, which begins at the first octet that was not consumed, and
// says how many octets to consume. On Complete, m indexes them and m.Fault says
// what is wrong with the message if anything is.
//
// An error means that the framing is lost: m then holds what could be read
// before the fault. Answer if m.Answerable, and close the connection.
func (f *Framer) Next(buf []byte, m *Message) (k Kind, n int, err error) {
	if f.need > 0 {
		if len(buf) < f.need {
			return Incomplete, 0, nil
		}
		return f.complete(buf, m)
	}
	if len(buf) == 0 {
		return Incomplete, 0, nil
	}
	if f.scanned == 0 {
		switch c := buf[0]; {
		case c == '\r' || c == '\n':
			return f.blank(buf, m)
		case !tokenChar.has(c):
			return f.lose(buf, m, 0, Faultf(StatusBadRequest, "Not SIP"))
		}
		f.half = false
	}
	if f.scanned == 0 {
		// Most messages come whole: reading the fields finds their end as well.
		return f.measure(buf, m)
	}
	from := max(0, f.scanned-3)
	if bytes.Contains(buf[from:], []byte("\r\n\r\n")) {
		return f.measure(buf, m)
	}
	return f.wait(buf, m)
}

// measure reads the header block and finds the end of the message.
func (f *Framer) measure(buf []byte, m *Message) (Kind, int, error) {
	m.reset(buf)
	switch done, err := m.index(buf[:min(len(buf), f.Limits.header())], f.Limits); {
	case err != nil:
		return Incomplete, 0, f.forget(m, err)
	case !done:
		return f.wait(buf, m)
	}
	n, err := m.contentLength()
	if err != nil {
		return Incomplete, 0, f.forget(m, err)
	}
	if n > uint64(f.Limits.body()) {
		return Incomplete, 0, f.forget(m, Faultf(StatusMessageTooLarge, "Body too large"))
	}
	need := m.head + int(n)
	if len(buf) < need {
		f.need = need
		return Incomplete, 0, nil
	}
	m.raw = buf[:need]
	f.scanned, f.need = 0, 0
	return Complete, need, nil
}

// complete indexes a message that was measured before its body came. The index
// is made again: m may have served another message in between.
func (f *Framer) complete(buf []byte, m *Message) (Kind, int, error) {
	f.need = 0
	return f.measure(buf, m)
}

// wait looks at a header block without an end. A line end that no message may
// have is refused now and not at the deadline.
func (f *Framer) wait(buf []byte, m *Message) (Kind, int, error) {
	if len(buf) >= f.Limits.header() {
		return f.lose(buf, m, f.Limits.header(), Faultf(StatusMessageTooLarge, "Header fields too large"))
	}
	at, ok := stray(buf, f.scanned)
	if !ok {
		return f.lose(buf, m, len(buf), Faultf(StatusBadRequest, "Bare CR or LF"))
	}
	f.scanned = at
	return Incomplete, 0, nil
}

// stray looks for a CR or LF that is not part of a CRLF in buf[at:] and returns
// where to go on: behind all that was seen, or at a CR whose LF is still to come.
func stray(buf []byte, at int) (next int, ok bool) {
	for {
		cr := bytes.IndexByte(buf[at:], '\r')
		line := buf[at:]
		if cr >= 0 {
			line = line[:cr]
		}
		if bytes.IndexByte(line, '\n') >= 0 {
			return 0, false
		}
		if cr < 0 {
			return len(buf), true
		}
		if at += cr; at+1 == len(buf) {
			return at, true
		}
		if buf[at+1] != '\n' {
			return 0, false
		}
		at += 2
	}
}

// blank consumes CRLF between messages. The two halves of a ping may come
// apart: the first is then a Blank, and the second completes the Ping.
func (f *Framer) blank(buf []byte, m *Message) (Kind, int, error) {
	switch {
	case buf[0] == '\r' && len(buf) == 1:
		return Incomplete, 0, nil
	case buf[0] != '\r' || buf[1] != '\n':
		return f.lose(buf, m, 0, Faultf(StatusBadRequest, "Bare CR or LF"))
	case f.half:
		f.half = false
		return Ping, 2, nil
	case len(buf) >= 4 && buf[2] == '\r' && buf[3] == '\n':
		return Ping, 4, nil
	}
	f.half = true
	return Blank, 2, nil
}

// Pong says that the Blank just read was the answer to a ping of ours, and not
// the first half of one of theirs.
func (f *Framer) Pong() { f.half = false }

// Need returns the length of the current message if it is known, else 0.
func (f *Framer) Need() int { return f.need }

// lose indexes what can be read of the first n octets, for the answer.
func (f *Framer) lose(buf []byte, m *Message, n int, err *Error) (Kind, int, error) {
	m.reset(buf[:min(n, len(buf))])
	if n > 0 {
		_, _ = m.index(m.raw, f.Limits) // err is the fault; this only serves the answer
	}
	return Incomplete, 0, f.forget(m, err)
}

// forget ends the current message with the fault that lost the framing.
func (f *Framer) forget(m *Message, err *Error) error {
	*f = Framer{Limits: f.Limits}
	return m.lose(err)
}
