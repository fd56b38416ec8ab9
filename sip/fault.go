package sip

import "bytes"

// Fault returns the first fault of a message whose framing is intact, nil if
// there is none. It judges what is mandatory (RFC 3261 §8.1.1) and what routing
// or policy reads; everything else is the endpoints' business.
func (m *Message) Fault() *Error {
	if !m.judged {
		m.judged = true
		if m.fault == nil {
			m.fault = m.judge()
		}
	}
	return m.fault
}

func (m *Message) judge() *Error {
	if err := m.judgeMethod(); err != nil {
		return err
	}
	if err := m.judgeCounts(); err != nil {
		return err
	}
	if err := m.judgeCSeq(); err != nil {
		return err
	}
	if err := m.judgeVias(); err != nil {
		return err
	}
	if err := m.judgeParties(); err != nil || m.response {
		return err
	}
	if _, _, err := m.MaxForwards(); err != nil {
		return malformed(MaxForwards, err)
	}
	if _, _, err := m.MaxBreadth(); err != nil {
		return malformed(MaxBreadth, err)
	}
	if err := m.judgeAddresses(); err != nil {
		return err
	}
	return m.judgeTarget()
}

// methods are those that doors ask about, and all others that have a meaning of their
// own to some server.
var methods = [...]string{
	"ack", "benotify", "bye", "cancel", "info", "invite", "message", "negotiate", "notify", "options", "prack",
	"publish", "refer", "register", "service", "subscribe", "update",
}

// judgeMethod refuses a method that is another one to who does not tell case apart.
//
// COMPAT(Kamailio): case counts in methods (RFC 3261 §7.1), but "register" is a REGISTER
// to it, so that no rule for REGISTER would have been asked.
func (m *Message) judgeMethod() *Error {
	for _, c := range m.method {
		if c-'a' > 'z'-'a' {
			continue
		}
		for _, name := range methods {
			if equalFold(m.method, name) {
				return Faultf(StatusBadRequest, "Method is not in capitals")
			}
		}
		return nil
	}
	return nil
}

func malformed(h Header, err error) *Error {
	return Faultf(StatusBadRequest, "Malformed %s: %v", h, err)
}

// judgeCounts refuses a missing or repeated header of which there is exactly
// one: which of two From a reader takes would be its own choice.
func (m *Message) judgeCounts() *Error {
	if m.count[Via] == 0 {
		return Faultf(StatusBadRequest, "Missing Via")
	}
	for _, h := range [...]Header{From, To, CallID, CSeq} {
		if m.count[h] == 0 {
			return Faultf(StatusBadRequest, "Missing %s", h)
		}
	}
	for _, h := range [...]Header{From, To, CallID, CSeq, MaxForwards, MaxBreadth, ContentLength} {
		if m.count[h] > 1 {
			return Faultf(StatusBadRequest, "Repeated %s", h)
		}
	}
	return nil
}

// judgeCSeq also holds the method against that of the request
// (RFC 3261 §8.1.1.5).
func (m *Message) judgeCSeq() *Error {
	_, method, err := m.CSeq()
	if err != nil {
		return malformed(CSeq, err)
	}
	if !m.response && !bytes.Equal(method, m.method) {
		return Faultf(StatusBadRequest, "CSeq method is not the request method")
	}
	return nil
}

// judgeVias reads every Via value: the answer of each hop below depends on them.
func (m *Message) judgeVias() *Error {
	top := &m.values.via
	top.read = true
	var below viaSpan
	s := &top.v
	for i := int(m.first[Via]) - 1; i <= m.lastVia; i++ {
		if m.fields[i].id != Via {
			continue
		}
		value := m.value(i)
		for at := 0; at <= len(value); at++ {
			end, err := s.scan(value, skipLWS(value, at))
			if err != nil {
				if s == &top.v {
					top.err = err
				}
				return malformed(Via, err)
			}
			s, at = &below, end
		}
	}
	return nil
}

// judgeParties reads From, To and Call-ID. From of a request must have an
// identity that the doors can judge: RFC 4475 §3.3.4 has one from http.
func (m *Message) judgeParties() *Error {
	if !isWord(m.CallID()) {
		return malformed(CallID, errWord)
	}
	if err := m.address(From, &m.values.from).err; err != nil {
		return malformed(From, err)
	}
	if err := m.address(To, &m.values.to).err; err != nil {
		return malformed(To, err)
	}
	if m.response {
		return nil
	}
	from := m.addressURI(From, &m.values.from, &m.values.fromURI)
	if from.err != nil {
		return malformed(From, from.err)
	}
	if !from.v.IsSIP() && !from.v.IsTel() {
		return malformed(From, errScheme)
	}
	if err := m.addressURI(To, &m.values.to, &m.values.toURI).err; err != nil {
		return malformed(To, err)
	}
	return nil
}

// isWord reports whether b is visible ASCII. Call-IDs hold more than the grammar
// allows, and nobody looks into them.
func isWord(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(b) > 0
}

// judgeAddresses reads the lists of addresses that routing touches.
func (m *Message) judgeAddresses() *Error {
	for _, h := range [...]Header{Route, RecordRoute, Contact} {
		if m.count[h] == 0 {
			continue
		}
		for i := int(m.first[h]) - 1; i < len(m.fields); i++ {
			if m.fields[i].id != h {
				continue
			}
			value := m.value(i)
			if h == Contact && string(value) == "*" {
				continue // RFC 3261 §10.2.2
			}
			if err := checkAddresses(value, h != Contact); err != nil {
				return malformed(h, err)
			}
		}
	}
	return nil
}

// checkAddresses reads a list of addresses without an empty member; angled asks
// for brackets around each (RFC 3261 §20.30, §20.34).
func checkAddresses(b []byte, angled bool) error {
	var n NameAddr
	for i := 0; ; {
		end, err := n.scan(b, skipLWS(b, i))
		if err != nil {
			return err
		}
		if angled && !n.angled {
			return errBracket
		}
		if end == len(b) {
			return nil
		}
		i = end + 1
	}
}

// judgeTarget reads the Request-URI. Headers in it would become header fields of
// the next request (RFC 3261 §19.1.1 forbids them there); a scheme that nobody
// can route is told apart from a malformed URI, and last (RFC 3261 §16.3).
func (m *Message) judgeTarget() *Error {
	k := m.uri()
	if err := k.err; err != nil {
		return Faultf(StatusBadRequest, "Malformed Request-URI: %v", err)
	}
	if k.v.Headers != nil {
		return Faultf(StatusBadRequest, "Headers in Request-URI")
	}
	if !k.v.IsSIP() && !k.v.IsTel() {
		return Faultf(StatusUnsupportedScheme, "Unsupported URI Scheme")
	}
	return nil
}
