package home

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// FuzzServe holds that nothing that arrives on a connection, from a user or
// from the edge, ends more than that connection.
func FuzzServe(f *testing.F) {
	const head = " SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.7;branch=z9hG4bK1\r\nFrom: <sip:alice@example.com>;tag=f\r\n" +
		"To: <sip:bob@example.com>\r\nCall-ID: 1\r\nCSeq: 1 "
	for _, seed := range []string{
		"OPTIONS sip:example.com" + head + "OPTIONS\r\nContent-Length: 0\r\n\r\n",
		"\r\n\r\nMESSAGE sip:bob@example.com" + head + "MESSAGE\r\nMax-Forwards: 0\r\nRoute: <sip:a;lr>, <sip:b;lr>\r\nl: 2\r\n\r\nhi",
		"REGISTER sip:example.com" + head + "REGISTER\r\nContact: *\r\nExpires: 0\r\n" +
			"Authorization: Digest username=\"bob\", realm=\"example.com\", nonce=\"1.2\"\r\nContent-Length: 0\r\n\r\n",
		"SUBSCRIBE sip:bob@example.com" + head + "SUBSCRIBE\r\no: presence;id=1\r\nContact: <sip:a@b>\r\nContent-Length: 0\r\n\r\n",
		"PUBLISH sip:bob@example.com" + head + "PUBLISH\r\nEvent: presence\r\nSIP-If-Match: x\r\nContent-Length: 0\r\n\r\n",
		"REGISTER sip:example.com" + head + "REGISTER\r\nPath: <sip:e.T@edge1.example.com;lr;ob>\r\nk: path, outbound\r\n" +
			"Authorization: Digest username=\"bob\", realm=\"example.com\", nonce=\"\", qop=auth, nc=00000001, cnonce=\"c\", uri=\"sip:example.com\"\r\n" +
			"Contact: <sip:b@h>;reg-id=1;+sip.instance=\"<urn:uuid:1>\"\r\nContent-Length: 0\r\n\r\n",
		"INVITE sip:alice@example.com;gr=urn:uuid:1" + head + "INVITE\r\nContact: <sip:a@b;ob>\r\nContent-Length: 0\r\n\r\n",
		"SIP/2.0 430 Flow Failed\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1-1-x\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
		"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK0-x\r\nCall-ID: 1\r\nCSeq: 1 NOTIFY\r\nContent-Length: 0\r\n\r\n",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	s, err := Start(Config{Domain: "example.com", Users: map[string]string{"alice": "a", "bob": "b"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	f.Fuzz(func(t *testing.T, octets []byte, fromEdge bool) {
		ours, theirs := net.Pipe()
		sd := s.userSide
		if fromEdge {
			sd = s.edgeSide
		}
		flow, err := s.open(ours, sd, fromEdge)
		if err != nil {
			t.Fatal(err)
		}
		flow.signIn("alice")
		go func() {
			theirs.Write(octets)
			theirs.Close()
		}()
		go io.Copy(io.Discard, theirs)
		s.serve(flow)
	})
}

// FuzzRegister holds that what a user who knows his password registers through
// the edge stays within bounds, and that a request to him carries just the Path
// that was registered, and no line more.
func FuzzRegister(f *testing.F) {
	for _, seed := range []string{
		"Path: <sip:e.T@edge1.example.com:5061;transport=tls;lr;ob>\r\nSupported: path, outbound, gruu\r\n" +
			"Contact: <sip:b@192.0.2.7>;+sip.instance=\"<urn:uuid:1>\";reg-id=1",
		"Path: <sip:a;lr>, \"x,y\" <sip:b;lr>\r\nContact: <sip:b@h>;expires=5, sip:c@h\r\nExpires: 0",
		"Path: <sip:a;lr>\r\n ,<sip:b;lr>;x\r\nContact: \"b\" <sip:bob@example.com>; expires = 9",
		"Contact: *\r\nExpires: 0",
	} {
		f.Add(seed)
	}
	s, err := Start(Config{Domain: "example.com", Users: map[string]string{"bob": "b"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	far, near := net.Pipe()
	go io.Copy(io.Discard, far)
	edge, err := s.open(near, s.edgeSide, true)
	if err != nil {
		f.Fatal(err)
	}
	s.out = edge
	f.Fuzz(func(t *testing.T, lines string) {
		req := parsed(lines)
		if req == nil {
			return
		}
		unknownExtensions(req)
		reg, fault := readRegistration(edge, req)
		if fault != nil || s.registrar.update("bob", edge, reg) != nil {
			return
		}
		for _, h := range s.granted("bob", req, reg) {
			if strings.ContainsAny(h.Value(), "\r\n") {
				t.Errorf("answered %q", h.Value())
			}
		}
		if n := len(s.registrar.bindings["bob"]); n > maxBindings {
			t.Errorf("%d bindings", n)
		}
		m := parsed("")
		m.Method, m.CSeq().MethodName = sip.MESSAGE, sip.MESSAGE
		to, fault := s.target(edge, m)
		if fault != nil {
			return
		}
		var routes []string
		for _, h := range m.GetHeaders("Route") {
			routes = append(routes, h.Value())
		}
		if b, _ := s.registrar.newest("bob", ""); to.flow != edge || !slices.Equal(routes, b.path) || len(routes) == 0 {
			t.Errorf("went along %q, registered was %q", routes, b.path)
		}
		if fault := s.forward(edge, to, m); fault != nil {
			t.Errorf("not forwarded: %v", fault)
		}
	})
}

// parsed is a request to bob with more lines, as a flow reads it; nil if it
// cannot.
func parsed(lines string) *sip.Request {
	if lines != "" {
		lines += "\r\n"
	}
	text := "REGISTER sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.7;branch=z9hG4bK1\r\nFrom: <sip:bob@example.com>;tag=f\r\n" +
		"To: <sip:bob@example.com>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n" + lines + "Content-Length: 0\r\n\r\n"
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		io.WriteString(far, text)
		far.Close()
	}()
	msg, err := newReader(&flow{conn: near}).next()
	if req, ok := msg.(*sip.Request); ok && err == nil && validate(req) == nil {
		return req
	}
	return nil
}
