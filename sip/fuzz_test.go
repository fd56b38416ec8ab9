package sip

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"testing"
)

func seedMessages(f *testing.F, add func(raw []byte)) {
	for _, tt := range tortureSet(f) {
		add(tt.raw)
	}
	add([]byte(message895))
	add(crlf(odd))
	add(crlf(plain))
	for _, line := range fidelity {
		add([]byte(request(line+"\r\n"+length0, "")))
	}
}

// FuzzFramer: how a stream is cut into reads changes nothing, and nothing is
// consumed that is not there. What breaks the framing and is too long besides is
// refused for what was seen first.
func FuzzFramer(f *testing.F) {
	seedMessages(f, func(raw []byte) { f.Add(raw, uint8(7)) })
	f.Add([]byte("\r\n\r\n\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, step uint8) {
		lim := Limits{Header: 4096, Body: 1024, Fields: 64}
		whole := fate(&Framer{Limits: lim}, [][]byte{stream})
		var parts [][]byte
		for rest := stream; len(rest) > 0; {
			n := min(int(step)+1, len(rest))
			parts, rest = append(parts, rest[:n]), rest[n:]
		}
		either := strings.NewReplacer("513+close", "400+close")
		if got := fate(&Framer{Limits: lim}, parts); either.Replace(got) != either.Replace(whole) {
			t.Errorf("%q in parts of %d: %s, whole: %s", stream, int(step)+1, got, whole)
		}
	})
}

// FuzzMessage: what is accepted reads the same again, and an answer to anything
// with a Via is a message without a line of the stranger's making.
func FuzzMessage(f *testing.F) {
	seedMessages(f, func(raw []byte) { f.Add(raw) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m Message
		k, n, err := new(Framer).Next(raw, &m)
		if k != Complete && err == nil {
			return
		}
		if m.Answerable() {
			checkAnswer(t, &m)
		}
		if err != nil || m.Fault() != nil {
			return
		}
		var again Message
		if err := again.Parse(raw[:n], Limits{}); err != nil || again.Fault() != nil {
			t.Fatalf("accepted, then not: %v %v", err, again.Fault())
		}
		if m.Fields() != again.Fields() || !bytes.Equal(m.Body(), again.Body()) {
			t.Error("read differently the second time")
		}
		checkSpans(t, &m)
		if !m.IsRequest() {
			return
		}
		from, err := m.FromURI()
		if err != nil || from.IsSIP() && !ValidHost(from.Host) {
			t.Errorf("accepted with From %q: %v", from.Host, err)
		}
	})
}

// checkSpans holds that the fields cover the header block without gap or overlap.
func checkSpans(t *testing.T, m *Message) {
	t.Helper()
	at := m.startEnd()
	for i := range m.Fields() {
		s := m.fields[i]
		if int(s.start) != at || s.nameEnd < s.start || s.value <= s.nameEnd || s.valueEnd < s.value || s.end < s.valueEnd+2 {
			t.Fatalf("field %d is %+v, the last ended at %d", i, s, at)
		}
		at = int(s.end)
	}
	if at+2 != m.head {
		t.Errorf("fields end at %d, the header block at %d", at, m.head)
	}
}

func checkAnswer(t *testing.T, m *Message) {
	t.Helper()
	out := AppendResponse(nil, m, 400, "", "ours", nil)
	var r Message
	if k, n, err := new(Framer).Next(out, &r); k != Complete || n != len(out) || err != nil {
		t.Fatalf("the answer is no message: %v %v\n%q", k, err, out)
	}
	for i := range r.Fields() {
		switch f := r.Field(i); f.ID {
		case Via, From, To, CallID, CSeq, ContentLength:
		default:
			t.Fatalf("the answer has a field %q", f.Line)
		}
	}
	if f := r.Fault(); m.Fault() == nil && f != nil {
		t.Errorf("the answer to a good request: %v\n%q", f, out)
	}
}

// FuzzURI: what is accepted is the sum of its parts, and its host has one form.
func FuzzURI(f *testing.F) {
	for _, s := range []string{"sip:example.com", "sips:a:b@[::1]:5061;x=y?z=1", "tel:+1", "sip:a%40b@1.2.3.4", "sip:[1::2:3.4.5.6]", "sip:a@b.c;x;y=z", "soap.beep://x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := ParseURI(b)
		if err != nil {
			return
		}
		if got := join(u); !bytes.Equal(got, trimPort(b, u)) {
			t.Errorf("%q read as %q", b, got)
		}
		if !u.IsSIP() {
			return
		}
		norm := AppendDomain(nil, u.Host)
		if !ValidHost(u.Host) || !ValidHost(norm) || !bytes.Equal(norm, AppendDomain(nil, norm)) {
			t.Errorf("host %q has the form %q", u.Host, norm)
		}
		if bytes.ContainsAny(b, " \t\r\n\x00<>\"") {
			t.Errorf("accepted %q", b)
		}
	})
}

// join writes a URI again, with 0 for its port.
func join(u URI) []byte {
	var b []byte
	part := func(before string, s []byte) {
		if s != nil {
			b = append(append(b, before...), s...)
		}
	}
	b = append(append(b, u.Scheme...), ':')
	part("", u.Opaque)
	part("", u.User)
	part(":", u.Password)
	if u.User != nil {
		b = append(b, '@')
	}
	part("", u.Host)
	if u.Port != 0 {
		b = append(b, ":0"...)
	}
	part(";", u.Params)
	part("?", u.Headers)
	return b
}

// trimPort returns the text of u with 0 for its port.
func trimPort(b []byte, u URI) []byte {
	if u.Port == 0 {
		return b
	}
	// From the end, where nothing can look like a port that is none.
	tail := len(b)
	for _, part := range [][]byte{u.Params, u.Headers} {
		if part != nil {
			tail -= 1 + len(part)
		}
	}
	end := tail
	for end > 0 && isDigit(b[end-1]) {
		end--
	}
	return append(append(append([]byte{}, b[:end]...), '0'), b[tail:]...)
}

// FuzzVia: the values of a list add up to it, and each reads alone as in the list.
func FuzzVia(f *testing.F) {
	for _, s := range []string{"SIP/2.0/TLS a.example:5061;branch=x", "SIP / 2.0 / UDP [::1] ; rport , SIP/2.0/TCP b", "SIP/2.0/TLS a;received=::1;x=\"a,b\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, rest, err := ParseVia(b)
		if err != nil {
			return
		}
		one := b
		if rest != nil {
			one = b[:len(b)-len(rest)-1]
		}
		w, none, err := ParseVia(one)
		if err != nil || none != nil || !bytes.Equal(v.Host, w.Host) || !bytes.Equal(v.Branch, w.Branch) || !bytes.Equal(v.Params, w.Params) {
			t.Errorf("%q reads differently alone: %v", one, err)
		}
		if !ValidHost(v.Host) || !isToken(v.Transport) {
			t.Errorf("host %q, transport %q", v.Host, v.Transport)
		}
		if got, ok := Param(v.Params, "branch"); ok != (v.Branch != nil) || !bytes.Equal(got, v.Branch) {
			t.Errorf("Param finds the branch %q, ParseVia %q", got, v.Branch)
		}
		if elem, _ := cutElement(b); len(elem) != len(one) {
			t.Errorf("the list splitter ends %q elsewhere: %q", one, elem)
		}
	})
}

// FuzzNameAddr: there is one URI, and the list splitter agrees where it ends.
func FuzzNameAddr(f *testing.F) {
	for _, s := range []string{"<sip:a@b>;tag=1", `"A, <B>" <sip:a@b;lr>;x="y,z"`, "sip:a@b;tag=1", "a b <x:y>"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := ParseNameAddr(b)
		if err != nil {
			return
		}
		if !isVisible(n.URI) || !bytes.Contains(b, n.URI) {
			t.Errorf("%q has the URI %q", b, n.URI)
		}
		if elem, rest := cutElement(trimLWS(b)); rest != nil {
			t.Errorf("one address is a list: %q", elem)
		}
		if tag, _ := Param(n.Params, "tag"); !bytes.Equal(tag, n.Tag()) {
			t.Errorf("Param finds the tag %q, Tag %q", tag, n.Tag())
		}
		list := append(append(append([]byte{}, b...), ','), b...)
		if _, err := ParseNameAddr(list); err == nil {
			t.Errorf("a list is one address: %q", list)
		}
		if err := checkAddresses(list, false); err != nil {
			t.Errorf("%q alone, but not in a list: %v", b, err)
		}
	})
}

// FuzzAppend: what is not edited is unchanged, and what is edited reads back.
func FuzzAppend(f *testing.F) {
	seedMessages(f, func(raw []byte) { f.Add(raw, uint16(0xffff), uint8(1)); f.Add(raw, uint16(0), uint8(0)) })
	f.Fuzz(func(t *testing.T, raw []byte, what uint16, routes uint8) {
		var m Message
		if k, _, err := new(Framer).Next(raw, &m); k != Complete || err != nil || m.Fault() != nil {
			return
		}
		e := fuzzEdit(what, routes)
		out := m.Append(nil, e)
		var r Message
		if k, n, err := new(Framer).Next(out, &r); k != Complete || n != len(out) || err != nil {
			t.Fatalf("no message: %v %v\n%q", k, err, out)
		}
		if f := r.Fault(); f != nil && !(e.PopVia && r.Vias() == 0) {
			t.Fatalf("%v\n%q\n%q", f, raw, out)
		}
		checkEdited(t, &m, &r, e)
	})
}

func fuzzEdit(what uint16, routes uint8) *Edit {
	e := &Edit{MaxForwards: -1, PopRoutes: int(routes)}
	set := func(bit int) bool { return what>>bit&1 != 0 }
	if set(0) {
		e.URI = []byte("sip:new.example.com")
	}
	if set(1) {
		e.PushVia = []byte("SIP/2.0/TLS us.example.com;branch=z9hG4bKus")
	}
	if set(2) {
		e.PopVia = true
	} else if set(3) {
		e.Received, e.RPort = []byte("192.0.2.99"), 4099
	}
	if set(4) {
		e.MaxForwards = 42
	}
	if set(5) {
		e.PushRecordRoute = [][]byte{[]byte("<sip:rr1.example.com;lr>"), []byte("<sip:rr2.example.com;lr>")}
	}
	if set(6) {
		e.Drop = NewSet(PAssertedIdentity, Subject, Contact)
	}
	if set(7) {
		e.Add = []byte("X-Added: 1\r\n")
	}
	if set(8) {
		e.PushRoute = []byte("<sip:route.example.com;lr>")
	}
	if set(9) {
		e.MaxBreadth = 60
	}
	if set(10) {
		e.PushPath = []byte("<sip:path.example.com;lr;ob>")
	}
	return e
}

// touched are the headers that an edit may change.
var touched = NewSet(Via, Route, RecordRoute, Path, MaxForwards, MaxBreadth, ContentLength)

func checkEdited(t *testing.T, m, r *Message, e *Edit) {
	t.Helper()
	if !bytes.Equal(m.Body(), r.Body()) || !bytes.Equal(m.Method(), r.Method()) || m.Status() != r.Status() {
		t.Error("body, method or status changed")
	}
	var want, got [][]byte
	for i := range m.Fields() {
		if f := m.Field(i); !touched.Has(f.ID) && !e.Drop.Has(f.ID) {
			want = append(want, f.Line)
		}
	}
	for i := range r.Fields() {
		if f := r.Field(i); !touched.Has(f.ID) {
			got = append(got, f.Line)
		}
	}
	if e.Add != nil {
		want = append(want, e.Add)
	}
	if a, b := bytes.Join(want, nil), bytes.Join(got, nil); !bytes.Equal(a, b) {
		t.Errorf("fields changed:\n%q\n%q", a, b)
	}
	vias := elements(m, Via)
	if e.PopVia {
		vias = vias[1:]
	}
	if e.PushVia != nil {
		vias = append([][]byte{e.PushVia}, vias...)
	}
	after := elements(r, Via)
	if e.Received != nil {
		v, rest, err := ParseVia(after[min(len(after), len(vias))-len(elements(m, Via))])
		if err != nil || rest != nil || !bytes.Equal(v.Received, e.Received) || v.RPort != nil && len(v.RPort) == 0 {
			t.Errorf("received is %q: %v", v.Received, err)
		}
	} else if !equal(vias, after) {
		t.Errorf("Vias are %q, want %q", after, vias)
	}
	routes := elements(m, Route)
	routes = routes[min(e.PopRoutes, len(routes)):]
	if e.PushRoute != nil {
		routes = append([][]byte{e.PushRoute}, routes...)
	}
	if after := elements(r, Route); !equal(routes, after) {
		t.Errorf("Routes are %q, want %q", after, routes)
	}
	if after := elements(r, RecordRoute); !equal(append(slices.Clone(e.PushRecordRoute), elements(m, RecordRoute)...), after) {
		t.Errorf("Record-Routes are %q", after)
	}
	paths := elements(m, Path)
	if e.PushPath != nil {
		paths = append([][]byte{e.PushPath}, paths...)
	}
	if after := elements(r, Path); !equal(paths, after) {
		t.Errorf("Paths are %q, want %q", after, paths)
	}
	if n, _, _ := r.MaxForwards(); e.MaxForwards >= 0 && m.IsRequest() && n != e.MaxForwards {
		t.Errorf("Max-Forwards is %d", n)
	}
	before, _, _ := m.MaxBreadth()
	if n, _, _ := r.MaxBreadth(); m.IsRequest() && n != cmp.Or(e.MaxBreadth, before) {
		t.Errorf("Max-Breadth is %d", n)
	}
	if f, _ := r.Find(ContentLength); !bytes.Equal(f.Line, appendContentLength(nil, len(m.Body()))) {
		t.Errorf("length written as %q", f.Line)
	}
}

func elements(m *Message, h Header) (all [][]byte) {
	for e := m.Elements(h); ; {
		elem, ok := e.Next()
		if !ok {
			return all
		}
		all = append(all, elem)
	}
}

func equal(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}
