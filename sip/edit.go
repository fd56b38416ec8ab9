package sip

import (
	"bytes"
	"strconv"
)

// A Set is a set of headers. The zero Set is empty.
type Set [(numHeaders + 63) / 64]uint64

// NewSet returns the set of the given headers.
func NewSet(headers ...Header) *Set {
	s := new(Set)
	for _, h := range headers {
		s.Add(h)
	}
	return s
}

// Add adds h to the set. HeaderOther is no header and cannot be added.
func (s *Set) Add(h Header) {
	if h != HeaderOther && h < numHeaders {
		s[h/64] |= 1 << (h % 64)
	}
}

// Has reports whether h is in the set. A nil Set has nothing.
func (s *Set) Has(h Header) bool { return s != nil && s[h/64]>>(h%64)&1 != 0 }

// An Edit says how a message leaves. Everything that it does not name leaves
// octet for octet as it came; only Content-Length always leaves in one canonical
// form. The values given must be well-formed and hold no line end of their own,
// but for Add.
//
// The zero Edit sets Max-Forwards of a request to 0: nothing loops by accident.
// Say -1 to leave it.
type Edit struct {
	URI             []byte            // new Request-URI; nil: as it came
	PushVia         []byte            // Via value put on top; nil: none
	PopVia          bool              // remove the top Via value
	Received        []byte            // received= of the top Via that came (RFC 3261 §18.2.1); nil: none
	RPort           int               // fills an empty rport= of the top Via that came (RFC 3581 §4)
	DropViaParams   []string          // parameters, in lower case, to remove from the top Via that stays; nil: none
	AddViaParams    []byte            // ";a=b;c" put behind the parameters of the top Via that stays; nil: none
	PopRoutes       int               // number of Route values to remove from the top
	PushRoute       []byte            // Route value put on top; nil: none
	MaxForwards     int               // new value, added if absent; -1: as it came; no matter in a response
	MaxBreadth      int               // the same; 0: as it came
	PushRecordRoute [][]byte          // Record-Route values put on top, the first topmost
	PushPath        []byte            // Path value put on top (RFC 3327 §5.2); nil: none
	Drop            *Set              // headers to remove, in every spelling; never Via and Content-Length
	DropOther       func([]byte) bool // fields without identity to remove, by name; nil: none
	Replace         [2][]byte         // old and new text in Record-Route values; nil: none
	Add             []byte            // whole lines put behind all fields
	answer          bool              // PopVia removes nothing: the top Via that stays is that of a request that we answer
	Throttle        []byte            // of a response with PopVia: parameters of the Via that comes out on top, in place of what it says of overload (RFC 7339 §5.2); nil: as it came
}

// Append appends the edited message to dst.
func (m *Message) Append(dst []byte, e *Edit) []byte {
	w := splicer{dst: dst, raw: m.raw}
	if e.URI != nil && !m.response && len(m.target) > 0 {
		at := len(m.method) + 1
		w.replace(at, at+len(m.target), e.URI)
	}
	if m.lastVia < 0 {
		w.keep(m.startEnd())
		w.pushVia(e)
		m.push(&w, e)
	}
	routes := e.PopRoutes
	for i := range m.fields {
		s := &m.fields[i]
		switch s.id {
		case Via:
			m.appendVia(&w, e, i)
		case ContentLength:
			w.drop(int(s.start), int(s.end))
			w.dst = appendContentLength(w.dst, len(m.raw)-m.head)
		case HeaderOther:
			if e.DropOther != nil && e.DropOther(m.raw[s.start:s.nameEnd]) {
				w.drop(int(s.start), int(s.end))
			}
		case Route:
			routes = m.appendRoute(&w, e, i, routes)
		case RecordRoute:
			m.appendRecordRoute(&w, e, i)
		case Path:
			m.appendPath(&w, e, i)
		case MaxForwards:
			m.appendMaxForwards(&w, e, s)
		case MaxBreadth:
			m.appendMaxBreadth(&w, e, s)
		default:
			if e.Drop.Has(s.id) {
				w.drop(int(s.start), int(s.end))
			}
		}
	}
	end := max(m.head-2, 0)
	w.keep(end)
	w.dst = append(w.dst, e.Add...)
	if m.count[ContentLength] == 0 {
		w.dst = appendContentLength(w.dst, len(m.raw)-m.head)
	}
	w.keep(len(m.raw))
	return w.dst
}

// startEnd returns the offset behind the start line.
func (m *Message) startEnd() int { return bytes.IndexByte(m.raw, '\n') + 1 }

// push writes the lines that belong below the Vias when the message has no field
// of their kind.
func (m *Message) push(w *splicer, e *Edit) {
	if m.count[RecordRoute] == 0 {
		w.pushRecordRoutes(e)
	}
	if m.count[Route] == 0 {
		w.pushRoute(e)
	}
	if m.count[Path] == 0 {
		w.pushPath(e)
	}
	if m.count[MaxForwards] == 0 && e.MaxForwards >= 0 && !m.response {
		w.dst = append(w.dst, "Max-Forwards: "...)
		w.dst = strconv.AppendInt(w.dst, int64(e.MaxForwards), 10)
		w.dst = append(w.dst, "\r\n"...)
	}
	if m.count[MaxBreadth] == 0 && e.MaxBreadth > 0 && !m.response {
		w.dst = append(w.dst, "Max-Breadth: "...)
		w.dst = strconv.AppendInt(w.dst, int64(e.MaxBreadth), 10)
		w.dst = append(w.dst, "\r\n"...)
	}
}

// appendVia edits the Via field i: the topmost value is the first field's first.
// The top Via that stays is the one below it if that comes off.
func (m *Message) appendVia(w *splicer, e *Edit, i int) {
	s := &m.fields[i]
	value := m.raw[s.value:s.valueEnd]
	switch {
	case i == int(m.first[Via])-1:
		w.keep(int(s.start))
		w.pushVia(e)
		switch end := elementEnd(value); {
		case e.PopVia && end == len(value):
			w.drop(int(s.start), int(s.end))
			w.popped = true // what stays on top begins the next field
		case e.PopVia:
			next := skipLWS(value, end+1)
			w.drop(int(s.value), int(s.value)+next)
			w.viaBelow(e, int(s.value)+next, int(s.valueEnd))
		case e.Received != nil || e.RPort > 0 || e.DropViaParams != nil || e.AddViaParams != nil:
			if via := m.topVia(); via.err == nil {
				w.viaParams(e, &via.v, int(s.value))
			}
		}
	case w.popped:
		w.popped = false
		w.viaBelow(e, int(s.value), int(s.valueEnd))
	}
	if i == m.lastVia {
		w.keep(int(s.end))
		m.push(w, e)
	}
}

// appendRoute edits the Route field i and returns how many values are still to
// be removed.
func (m *Message) appendRoute(w *splicer, e *Edit, i, routes int) int {
	s := &m.fields[i]
	if i == int(m.first[Route])-1 && e.PushRoute != nil {
		w.keep(int(s.start))
		w.pushRoute(e)
	}
	if e.Drop.Has(Route) {
		w.drop(int(s.start), int(s.end))
		return 0
	}
	value := m.raw[s.value:s.valueEnd]
	at := 0
	for ; routes > 0 && at < len(value); routes-- {
		at = skipLWS(value, min(at+elementEnd(value[at:])+1, len(value)))
	}
	switch {
	case at == 0:
	case at >= len(value):
		w.drop(int(s.start), int(s.end))
	default:
		w.drop(int(s.value), int(s.value)+at)
	}
	return routes
}

// appendRecordRoute edits the Record-Route field i.
func (m *Message) appendRecordRoute(w *splicer, e *Edit, i int) {
	s := &m.fields[i]
	if i == int(m.first[RecordRoute])-1 && len(e.PushRecordRoute) > 0 {
		w.keep(int(s.start))
		w.pushRecordRoutes(e)
	}
	if e.Drop.Has(RecordRoute) {
		w.drop(int(s.start), int(s.end))
		return
	}
	old := e.Replace[0]
	if len(old) == 0 {
		return
	}
	for at := int(s.value); ; at += len(old) {
		n := bytes.Index(m.raw[at:s.valueEnd], old)
		if n < 0 {
			return
		}
		at += n
		w.replace(at, at+len(old), e.Replace[1])
	}
}

// appendPath edits the Path field i.
func (m *Message) appendPath(w *splicer, e *Edit, i int) {
	s := &m.fields[i]
	if i == int(m.first[Path])-1 && e.PushPath != nil {
		w.keep(int(s.start))
		w.pushPath(e)
	}
	if e.Drop.Has(Path) {
		w.drop(int(s.start), int(s.end))
	}
}

// appendMaxForwards edits the Max-Forwards field s.
func (m *Message) appendMaxForwards(w *splicer, e *Edit, s *span) {
	switch {
	case e.Drop.Has(MaxForwards):
		w.drop(int(s.start), int(s.end))
	case e.MaxForwards >= 0 && !m.response:
		w.drop(int(s.value), int(s.valueEnd))
		w.dst = strconv.AppendInt(w.dst, int64(e.MaxForwards), 10)
	}
}

// appendMaxBreadth edits the Max-Breadth field s.
func (m *Message) appendMaxBreadth(w *splicer, e *Edit, s *span) {
	switch {
	case e.Drop.Has(MaxBreadth):
		w.drop(int(s.start), int(s.end))
	case e.MaxBreadth > 0 && !m.response:
		w.drop(int(s.value), int(s.valueEnd))
		w.dst = strconv.AppendInt(w.dst, int64(e.MaxBreadth), 10)
	}
}

// appendContentLength appends Content-Length in its canonical form: a reader that
// knows only one spelling must find the same end as we did.
func appendContentLength(dst []byte, n int) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, "\r\n"...)
}

// A splicer copies raw to dst with changes; at is the first octet of raw that is
// neither copied nor left out.
type splicer struct {
	dst, raw []byte
	at       int
	popped   bool // a whole Via field came off: the next one has the value below
}

// keep copies up to offset end, unless that is done.
func (w *splicer) keep(end int) {
	if end > w.at {
		w.dst = append(w.dst, w.raw[w.at:end]...)
		w.at = end
	}
}

// drop leaves out raw[start:end].
func (w *splicer) drop(start, end int) {
	w.keep(start)
	w.at = max(w.at, end)
}

// replace writes b instead of raw[start:end].
func (w *splicer) replace(start, end int, b []byte) {
	w.drop(start, end)
	w.dst = append(w.dst, b...)
}

func (w *splicer) line(name string, value []byte) {
	w.dst = append(w.dst, name...)
	w.dst = append(w.dst, value...)
	w.dst = append(w.dst, "\r\n"...)
}

func (w *splicer) pushVia(e *Edit) {
	if e.PushVia != nil {
		w.line("Via: ", e.PushVia)
	}
}

func (w *splicer) pushRoute(e *Edit) {
	if e.PushRoute != nil {
		w.line("Route: ", e.PushRoute)
	}
}

func (w *splicer) pushPath(e *Edit) {
	if e.PushPath != nil {
		w.line("Path: ", e.PushPath)
	}
}

func (w *splicer) pushRecordRoutes(e *Edit) {
	for _, v := range e.PushRecordRoute {
		w.line("Record-Route: ", v)
	}
}

// viaBelow edits the Via value at raw[start] of the list that ends at end: the
// one below a Via that came off.
func (w *splicer) viaBelow(e *Edit, start, end int) {
	if e.DropViaParams == nil && e.AddViaParams == nil && e.Throttle == nil && e.Received == nil {
		return
	}
	var s viaSpan
	if _, err := s.scan(w.raw[:end], start); err == nil {
		w.viaParams(e, &s, 0)
	}
}

// viaParams edits the parameters of a Via value whose offsets are from base:
// where it really came from (RFC 3261 §18.2.1, RFC 3581 §4), and what else the
// Edit says of it. What the sender wrote there itself is no evidence and is
// replaced.
func (w *splicer) viaParams(e *Edit, s *viaSpan, base int) {
	came := !e.PopVia || e.answer // from its sender
	received := e.Received != nil && came
	throttle := e.Throttle != nil && e.PopVia
	at, end := base+s.params, base+s.end
	if s.received.start == 0 && s.rport.start == 0 && e.DropViaParams == nil && !throttle {
		at = end // there is nothing to find
	}
	for at < end {
		p, next, err := scanParam(w.raw[:end], at+1)
		if err != nil {
			break
		}
		switch name := w.raw[p.start:p.nameEnd]; {
		case e.dropsViaParam(name), throttle && isOverload(w.raw, p):
			w.drop(at, min(next, end))
		case received && equalFold(name, "received"):
			w.paramValue(p)
			w.dst = append(w.dst, e.Received...)
			received = false
		case e.RPort > 0 && came && equalFold(name, "rport") && len(p.bytes(w.raw)) == 0:
			w.paramValue(p)
			w.dst = strconv.AppendInt(w.dst, int64(e.RPort), 10)
		}
		at = next
	}
	w.keep(end)
	if received {
		w.dst = append(append(w.dst, ";received="...), e.Received...)
	}
	w.dst = append(w.dst, e.AddViaParams...)
	if throttle {
		w.dst = append(append(w.dst, ';'), e.Throttle...)
	}
}

// paramValue writes the name of a parameter and leaves out its value.
func (w *splicer) paramValue(p param) {
	w.keep(p.nameEnd)
	w.at = max(p.nameEnd, p.valueEnd)
	w.dst = append(w.dst, '=')
}

// dropsViaParam reports whether a parameter of the top Via that stays comes off.
func (e *Edit) dropsViaParam(name []byte) bool {
	for _, n := range e.DropViaParams {
		if equalFold(name, n) {
			return true
		}
	}
	return false
}
