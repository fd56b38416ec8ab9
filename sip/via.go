package sip

import "bytes"

// A ViaParm is one value of a Via list (RFC 3261 §25.1, via-parm).
type ViaParm struct {
	Transport []byte
	Host      []byte // sent-by
	Port      int    // 0 if there is none
	Params    []byte // without the first ";"
	Branch    []byte
	Received  []byte
	RPort     []byte // nil if there is none, empty if it asks to be filled (RFC 3581 §3)
	// Throttles: its sender asks to be told by how much it should send less, and
	// knows the loss-based way (RFC 7339 §5.1).
	Throttles bool
}

// Cookie begins every branch that RFC 3261 §8.1.1.7 makes unique.
const Cookie = "z9hG4bK"

// ParseVia reads the first value of a Via list; rest is what follows the comma,
// nil at the end of the list.
func ParseVia(b []byte) (v ViaParm, rest []byte, err error) {
	var s viaSpan
	end, err := s.scan(b, skipLWS(b, 0))
	if err != nil {
		return ViaParm{}, nil, err
	}
	if end < len(b) {
		rest = b[end+1:]
	}
	return s.of(b), rest, nil
}

// of returns the Via value that s marks in b.
func (s *viaSpan) of(b []byte) ViaParm {
	v := ViaParm{
		Transport: b[s.transport:s.transportEnd],
		Host:      b[s.host:s.hostEnd],
		Port:      s.port,
		Branch:    s.branch.bytes(b),
		Received:  s.received.bytes(b),
		Throttles: s.throttles(b),
	}
	if s.params < s.end {
		v.Params = b[s.params+1 : s.end]
	}
	if s.rport.start > 0 {
		if v.RPort = s.rport.bytes(b); v.RPort == nil {
			v.RPort = []byte{}
		}
	}
	return v
}

// Arrival reports what a server that the request came to from the address in text must
// note in its topmost Via, of which v is a reading: the address, unless it says the same
// (RFC 3261 §18.2.1), and the port, if it asks for that, with the address in any case
// (RFC 3581 §4). What the sender says there of the address himself must not stay.
func (v *ViaParm) Arrival(text []byte) (received, rport bool) {
	rport = v.RPort != nil && len(v.RPort) == 0
	return rport || v.Received != nil || !bytes.Equal(bytes.Trim(v.Host, "[]"), text), rport
}

// viaSpan is a Via value as offsets. A parameter that is not there is zero but
// for its value, which is -1.
type viaSpan struct {
	transport, transportEnd int
	host, hostEnd           int
	port                    int
	params, end             int // the first ";", and the end without white space
	branch, received, rport param
	rate, algo              param // "oc" and "oc-algo"
	notAsked                bool  // what is said of overload is not what a client says
}

// scan reads the Via value at b[i] and returns where it ends: at a comma or at
// the end of b.
func (s *viaSpan) scan(b []byte, i int) (end int, err error) {
	*s = viaSpan{}
	s.branch.value, s.received.value, s.rport.value = -1, -1, -1
	if err := s.sentProtocol(b, i); err != nil {
		return 0, err
	}
	s.host = skipLWS(b, s.transportEnd)
	if s.host == s.transportEnd {
		return 0, errProtocol
	}
	if s.hostEnd, err = scanHost(b, s.host); err != nil {
		return 0, err
	}
	s.end = s.hostEnd
	end = skipLWS(b, s.hostEnd)
	if end < len(b) && b[end] == ':' {
		if s.port, s.end, err = scanPort(b, skipLWS(b, end+1)); err != nil {
			return 0, err
		}
		end = skipLWS(b, s.end)
	}
	s.params = end
	for end < len(b) && b[end] == ';' {
		if end, err = s.param(b, end+1); err != nil {
			return 0, err
		}
	}
	if end < len(b) && b[end] != ',' {
		return 0, errTrailing
	}
	s.end = trimEnd(b, s.hostEnd, end)
	s.params = min(s.params, s.end)
	return end, nil
}

// sentProtocol reads "SIP/2.0/TLS" with white space around the slashes.
func (s *viaSpan) sentProtocol(b []byte, i int) error {
	if i+8 <= len(b) && string(b[i:i+8]) == "SIP/2.0/" && i+8 < len(b) && tokenChar.has(b[i+8]) {
		s.transport, s.transportEnd = i+8, tokenChar.run(b, i+8)
		return nil
	}
	for range 2 {
		end := tokenChar.run(b, i)
		slash := skipLWS(b, end)
		if end == i || slash == len(b) || b[slash] != '/' {
			return errProtocol
		}
		i = skipLWS(b, slash+1)
	}
	s.transport, s.transportEnd = i, tokenChar.run(b, i)
	if s.transport == s.transportEnd {
		return errProtocol
	}
	return nil
}

// param reads the parameter behind the ";" at b[i-1] and returns its end. The
// three that transaction matching and answers depend on may come once.
func (s *viaSpan) param(b []byte, i int) (end int, err error) {
	p, end, err := scanParam(b, i)
	if err != nil {
		return 0, err
	}
	var dst *param
	switch {
	case p.is(b, "branch"):
		// The bare cookie identifies nothing (RFC 4475 §3.2.1).
		if dst = &s.branch; equalFold(p.bytes(b), "z9hg4bk") {
			return 0, errBranch
		}
		if err := tokenish(p.bytes(b)); err != nil {
			return 0, err
		}
	case p.is(b, "received"):
		dst = &s.received
	case p.is(b, "rport"):
		dst = &s.rport
	default:
		s.noteOverload(b, p)
		return end, nil
	}
	if dst.start > 0 {
		return 0, errRepeated
	}
	*dst = p
	return end, nil
}
