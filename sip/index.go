package sip

import "bytes"

// index reads the header block at the front of b into the field table; done is
// false if b holds no end of it. An error loses the framing: after it nobody can
// say where the message ends, and what was indexed serves the answer only. A fault
// that leaves the framing intact is kept for Fault.
func (m *Message) index(b []byte, lim Limits) (done bool, err *Error) {
	at, err := lineEnd(b, 0)
	if at == 0 {
		return false, err
	}
	if at == 2 {
		return false, Faultf(StatusBadRequest, "Empty start line")
	}
	m.startLine(b[:at-2])
	folded := at < len(b) && isBlank(b[at])
	limit := lim.fields()
	lines := 2
	for ; ; lines++ {
		if at+1 < len(b) && b[at] == '\r' && b[at+1] == '\n' {
			break
		}
		end, err := lineEnd(b, at)
		if end == 0 {
			return false, err
		}
		for ; end < len(b) && isBlank(b[end]); lines++ {
			fold := end
			if end, err = lineEnd(b, fold); end == 0 {
				return false, err
			}
			if skipLWS(b[:end-2], fold) == end-2 {
				m.blame(StatusBadRequest, "Blank line in a header field")
			}
		}
		m.field(b, at, end, limit)
		at = end
	}
	m.head = at + 2
	// Each line ends in CRLF and LF ends each line, so any more CR is a bare one.
	if bytes.Count(b[:m.head], []byte{'\r'}) != lines {
		return true, Faultf(StatusBadRequest, "Bare CR")
	}
	if folded {
		// A reader that knows no fold of the start line would take it for a field,
		// or for the end of the fields.
		return true, Faultf(StatusBadRequest, "Folded start line")
	}
	return true, m.checkNUL(b[:m.head])
}

// lineEnd returns the offset behind the CRLF of the line that begins at b[i], 0
// if it does not end or ends in LF alone.
func lineEnd(b []byte, i int) (int, *Error) {
	n := bytes.IndexByte(b[i:], '\n')
	if n < 0 {
		return 0, nil
	}
	if n == 0 || b[i+n-1] != '\r' {
		return 0, Faultf(StatusBadRequest, "Bare LF")
	}
	return i + n + 1, nil
}

// field adds the field whose lines are head[start:end].
func (m *Message) field(head []byte, start, end, limit int) {
	stop := end - 2
	colon := bytes.IndexByte(head[start:stop], ':')
	if colon < 0 {
		m.blame(StatusBadRequest, "Header field without colon")
		return
	}
	colon += start
	nameEnd := colon
	for nameEnd > start && isBlank(head[nameEnd-1]) {
		nameEnd-- // RFC 3261 §25.1, HCOLON; but no other control counts as a blank
	}
	id := HeaderNamed(head[start:nameEnd])
	if id == HeaderOther && !isToken(head[start:nameEnd]) {
		m.blame(StatusBadRequest, "Malformed header field name")
	}
	value := skipLWS(head[:stop], colon+1)
	valueEnd := trimEnd(head, value, stop)
	if len(m.fields) >= limit {
		m.blame(StatusBadRequest, "Too many header fields")
		if m.count[id]++; id != ContentLength || m.count[id] > 1 {
			return // the length alone still matters: it keeps the framing
		}
		m.count[id]--
	}
	m.fields = append(m.fields, span{
		uint32(start), uint32(nameEnd), uint32(value), uint32(valueEnd), uint32(end), id,
	})
	if m.count[id]++; m.first[id] == 0 {
		m.first[id] = uint16(len(m.fields))
	}
	if id == Via {
		m.lastVia = len(m.fields) - 1
	}
}

// blame keeps the first fault that leaves the framing intact.
func (m *Message) blame(status int, reason string) {
	if m.fault == nil {
		m.fault = Faultf(status, "%s", reason)
	}
}

// checkNUL refuses a NUL anywhere but in a quoted pair, where RFC 4475 §3.1.1.2
// has a valid one: software that ends strings there would read another message.
func (m *Message) checkNUL(head []byte) *Error {
	if bytes.IndexByte(head, 0) < 0 {
		return nil
	}
	at := 0
	for i := range m.fields {
		s := &m.fields[i]
		if bytes.IndexByte(head[at:s.value], 0) >= 0 || nakedNUL(head[s.value:s.valueEnd]) {
			return Faultf(StatusBadRequest, "NUL in a header field")
		}
		at = int(s.valueEnd)
	}
	if bytes.IndexByte(head[at:], 0) >= 0 {
		return Faultf(StatusBadRequest, "NUL in a header field")
	}
	return nil
}

// nakedNUL reports whether b holds a NUL that is not in a quoted pair of a
// quoted string.
func nakedNUL(b []byte) bool {
	for i, quoted := 0, false; i < len(b); i++ {
		switch c := b[i]; {
		case c == 0:
			return true
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		}
	}
	return false
}

// startLine reads a Request-Line or a Status-Line (RFC 3261 §7.1, §7.2).
func (m *Message) startLine(line []byte) {
	if len(line) >= 4 && equalFold(line[:4], "sip/") {
		m.response = true
		m.statusLine(line)
		return
	}
	method := bytes.IndexByte(line, ' ')
	if method < 0 {
		m.blame(StatusBadRequest, "Malformed Request-Line")
		return
	}
	m.method = line[:method]
	version := bytes.LastIndexByte(line, ' ')
	if version > method {
		m.target = line[method+1 : version]
	}
	m.version = line[version+1:]
	switch {
	case !isToken(m.method):
		m.blame(StatusBadRequest, "Malformed method")
	case len(m.target) == 0 || !isVersion(m.version):
		m.blame(StatusBadRequest, "Malformed Request-Line")
	case string(m.version) != "SIP/2.0" && !equalFold(m.version, "sip/2.0"):
		m.blame(StatusVersionNotSupported, "Version Not Supported")
	}
}

// statusLine reads a Status-Line. The space before an empty reason is often
// missing; nothing depends on it.
func (m *Message) statusLine(line []byte) {
	sp := bytes.IndexByte(line, ' ')
	if sp < 0 {
		m.blame(StatusBadRequest, "Malformed Status-Line")
		return
	}
	m.version = line[:sp]
	rest := line[sp+1:]
	if !equalFold(m.version, "sip/2.0") {
		m.blame(StatusVersionNotSupported, "Version Not Supported")
		return
	}
	code := rest
	if len(rest) > 3 && rest[3] == ' ' {
		code, m.reason = rest[:3], rest[4:]
	}
	// Exactly three digits: 4294967301 must not wrap to 5 (RFC 4475 §3.1.2.19).
	n, ok := number(code, 699)
	if len(code) != 3 || !ok || n < 100 {
		m.blame(StatusBadRequest, "Malformed status code")
		return
	}
	m.status = int(n)
}

// isVersion reports whether b is "SIP/" 1*DIGIT "." 1*DIGIT.
func isVersion(b []byte) bool {
	if len(b) < 7 || !equalFold(b[:4], "sip/") {
		return false
	}
	major, minor, ok := bytes.Cut(b[4:], []byte{'.'})
	_, okMajor := number(major, 1<<31)
	_, okMinor := number(minor, 1<<31)
	return ok && okMajor && okMinor
}

// contentLength returns the length of the body, which must be said exactly once,
// in digits. An equal second one is refused as well: which of two a reader takes
// is how requests are smuggled.
func (m *Message) contentLength() (uint64, *Error) {
	switch m.count[ContentLength] {
	case 0:
		return 0, Faultf(StatusBadRequest, "Missing Content-Length")
	case 1:
	default:
		return 0, Faultf(StatusBadRequest, "Repeated Content-Length")
	}
	n, ok := number(m.Value(ContentLength), 1<<31-1)
	if !ok {
		return 0, Faultf(StatusBadRequest, "Malformed Content-Length")
	}
	return n, nil
}
