package sip_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	other "github.com/emiago/sipgo/sip"

	"github.com/sipedge/sipedge/sip"
)

// FuzzDifferential holds our reading against that of an independent parser: for
// what we accept, both must find the same method, From, To, Call-ID and CSeq, or
// the difference is one of those that known lists.
func FuzzDifferential(f *testing.F) {
	files, err := filepath.Glob("testdata/rfc*/*.dat")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m sip.Message
		k, n, err := new(sip.Framer).Next(raw, &m)
		if k != sip.Complete || err != nil || m.Fault() != nil || !m.IsRequest() {
			return
		}
		theirs, err := other.ParseMessage(bytes.Clone(raw[:n]))
		if err != nil {
			return // it refuses much that is valid
		}
		req, ok := theirs.(*other.Request)
		if !ok {
			t.Fatalf("a request to us, %T to them", theirs)
		}
		if why := known(&m); why != "" {
			t.Skip(why)
		}
		compare(t, &m, req)
	})
}

// known names the inputs that the other parser is known to misread.
func known(m *sip.Message) string {
	for i := range m.Fields() {
		f := m.Field(i)
		if i := bytes.IndexByte(f.Line, '\r'); i < len(f.Line)-2 {
			return "it loses or keeps the octets of a fold"
		}
		switch f.ID {
		case sip.From, sip.To:
			if bytes.ContainsAny(f.Value, "\"'\\") {
				return "it ends quoted strings elsewhere"
			}
			if bytes.Contains(f.Value, []byte(" ;")) || bytes.Contains(f.Value, []byte("\t;")) {
				return "it takes a blank before the parameters for the end of the host"
			}
		}
	}
	return ""
}

func compare(t *testing.T, m *sip.Message, req *other.Request) {
	t.Helper()
	// It raises the method to upper case.
	if string(m.Method()) != string(req.Method) && !strings.EqualFold(string(m.Method()), string(req.Method)) {
		t.Errorf("method %q to us, %q to them", m.Method(), req.Method)
	}
	if h := req.CallID(); h == nil || h.Value() != string(m.CallID()) {
		t.Errorf("Call-ID %q to us, %v to them", m.CallID(), h)
	}
	n, method, _ := m.CSeq()
	// It keeps blanks before the method.
	if h := req.CSeq(); h == nil || h.SeqNo != n || strings.TrimSpace(string(h.MethodName)) != string(method) {
		t.Errorf("CSeq %d %s to us, %v to them", n, method, h)
	}
	from, err := m.FromURI()
	if h := req.From(); err == nil && from.IsSIP() && (h == nil || h.Address.Host != string(from.Host)) {
		t.Errorf("From host %q to us, %v to them", from.Host, h)
	}
	to, err := m.ToURI()
	if h := req.To(); err == nil && to.IsSIP() && (h == nil || h.Address.Host != string(to.Host)) {
		t.Errorf("To host %q to us, %v to them", to.Host, h)
	}
}
