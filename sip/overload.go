package sip

import (
	"bytes"
	"slices"
)

// overloadNames are the parameters of a Via that carry overload control
// (RFC 7339 §4).
var overloadNames = [...]string{"oc", "oc-algo", "oc-validity", "oc-seq"}

// isOverload reports whether p is one of them. Nearly all Vias have none, and a
// look at two octets tells.
func isOverload(b []byte, p param) bool {
	if p.nameEnd-p.start < 2 || b[p.start]|0x20 != 'o' || b[p.start+1]|0x20 != 'c' {
		return false
	}
	return slices.ContainsFunc(overloadNames[:], func(name string) bool { return p.is(b, name) })
}

// noteOverload keeps p if it is about overload. What breaks the grammar there is
// no fault of the message: its sender is not heard, that is all.
func (s *viaSpan) noteOverload(b []byte, p param) {
	if !isOverload(b, p) {
		return
	}
	switch {
	case p.is(b, "oc") && s.rate.start == 0 && p.value < 0:
		s.rate = p
	case p.is(b, "oc-algo") && s.algo.start == 0:
		s.algo = p
	default:
		s.notAsked = true
	}
}

// throttles reports whether the parameters are what a client must write that
// takes part (RFC 7339 §4.1, §4.2): "oc" without a value, a list of algorithms
// with "loss" among them, and nothing that belongs to a server.
func (s *viaSpan) throttles(b []byte) bool {
	return s.rate.start > 0 && s.algo.start > 0 && !s.notAsked && namesLoss(s.algo.bytes(b))
}

// namesLoss reports whether "loss" is in a quoted list of algorithms
// (RFC 7339 §9).
func namesLoss(quoted []byte) bool {
	if len(quoted) < 2 || quoted[0] != '"' || quoted[len(quoted)-1] != '"' {
		return false
	}
	list := quoted[1 : len(quoted)-1]
	found := false
	for more := true; more; {
		var name []byte
		name, list, more = bytes.Cut(list, []byte(","))
		name = trimLWS(name)
		if alnumChar.run(name, 0) < len(name) {
			return false
		}
		found = found || equalFold(name, "loss")
	}
	return found
}

// appendVias appends the Via lines, the topmost value with what top says.
func (m *Message) appendVias(dst []byte, top TopVia) []byte {
	if m.fault != nil || m.count[Via] == 0 {
		return m.appendAll(dst, Via)
	}
	e := Edit{PopVia: true, answer: true, Throttle: top.Throttle} // as if ours had come off
	var room [64]byte
	if via, err := m.TopVia(); err == nil && top.Source.IsValid() {
		from := top.Source.Addr().Unmap().AppendTo(room[:0])
		received, rport := via.Arrival(from)
		if received {
			e.Received = from
		}
		if rport {
			e.RPort = int(top.Source.Port())
		}
	}
	if e.Received == nil && e.Throttle == nil {
		return m.appendAll(dst, Via)
	}
	first := int(m.first[Via]) - 1
	s := &m.fields[first]
	w := splicer{dst: dst, raw: m.raw, at: int(s.start)}
	w.viaBelow(&e, int(s.value), int(s.valueEnd))
	w.keep(int(s.end))
	dst = w.dst
	for i := first + 1; i < len(m.fields); i++ {
		if s := &m.fields[i]; s.id == Via {
			dst = m.appendLine(dst, s)
		}
	}
	return dst
}
