package home

import (
	"io"
	"net"
	"testing"
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
