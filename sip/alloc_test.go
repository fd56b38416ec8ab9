package sip

import "testing"

func TestTheHotPathDoesNotAllocate(t *testing.T) {
	buf, f, e := []byte(message895), new(Framer), forwardEdit()
	var m Message
	out := make([]byte, 0, 4096)
	uri := []byte("sip:alice:x@[2001:db8::1]:5061;lr?a=b")
	addr := []byte(`"A" <sip:a@b.example;lr>;tag=1;x="y"`)
	via := []byte("SIP / 2.0 / TLS a.example : 5 ; branch=x ; rport, b")
	domain := make([]byte, 0, 64)
	if _, _, err := f.Next(buf, &m); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		do   func()
	}{
		{"Next", func() { f.Next(buf, &m) }},
		{"Next in two parts", func() { f.Next(buf[:500], &m); f.Next(buf, &m) }},
		{"Fault", func() { f.Next(buf, &m); m.Fault() }},
		{"Parse", func() { m.Parse(buf, Limits{}) }},
		{"the readers", func() {
			m.TopVia()
			m.From()
			m.To()
			m.FromURI()
			m.ToURI()
			m.URI()
			m.CSeq()
			m.MaxForwards()
			m.MaxBreadth()
			m.Vias()
		}},
		{"Find", func() { m.Find(UserAgent); m.Count(Route); m.Value(Date) }},
		{"Elements", func() {
			for e := m.Elements(Supported); ; {
				if _, ok := e.Next(); !ok {
					break
				}
			}
		}},
		{"ParseURI", func() { ParseURI(uri) }},
		{"ParseVia", func() { ParseVia(via) }},
		{"ParseNameAddr", func() { ParseNameAddr(addr) }},
		{"Param", func() { Param([]byte(`lr;x="y";tag=1`), "tag") }},
		{"AppendDomain", func() { domain = AppendDomain(domain[:0], []byte("Example.COM.")) }},
		{"Append", func() { out = m.Append(out[:0], e) }},
		{"AppendResponse", func() { out = AppendResponse(out[:0], &m, 200, "", "tag", nil) }},
		{"AppendCancel", func() { out = AppendCancel(out[:0], &m) }},
		{"AppendACK", func() { out = AppendACK(out[:0], &m, &m) }},
	} {
		if n := testing.AllocsPerRun(100, tt.do); n != 0 {
			t.Errorf("%s allocates %v times", tt.name, n)
		}
	}
}
