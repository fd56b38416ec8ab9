package sip

import (
	"strings"
	"testing"
)

// message895 has the size and the fields of a MESSAGE as one edge gets it from
// another: two Vias, Record-Route, a tagged From.
var message895 = strings.ReplaceAll(`MESSAGE sip:bob@example.com SIP/2.0
Via: SIP/2.0/TLS edge.fabrikam.example:5061;branch=z9hG4bK6f3a9c1e0b7d4a52.1
Via: SIP/2.0/TLS 192.0.2.15:49213;branch=z9hG4bKa7c9e1f35b;received=192.0.2.15
Max-Forwards: 69
Record-Route: <sip:edge.fabrikam.example:5061;transport=tls;lr;t=Zm9vYmFyYmF6cXV4>
From: "Alice Liddell" <sip:alice@fabrikam.example>;tag=49583a7b;epid=01ab23cd45
To: <sip:bob@example.com>
Call-ID: 5f2c8e90a1b34d67@192.0.2.15
CSeq: 1 MESSAGE
Contact: <sip:alice@192.0.2.15:49213;transport=tls>
User-Agent: UCCAPI/16.0.12345.1000 OC/16.0.12345.1000 (Skype for Business)
Supported: ms-dialog-route-set-update, timer
Ms-Text-Format: text/plain; charset=UTF-8
Date: Thu, 12 Feb 2026 10:15:00 GMT
Content-Type: text/plain; charset=UTF-8
Content-Length: 100

`, "\n", "\r\n") + strings.Repeat("Hello, Bob ", 10)[:100]

func forwardEdit() *Edit {
	return &Edit{
		PushVia:         []byte("SIP/2.0/TLS edge1.example.com:5061;branch=z9hG4bK0123456789abcdef"),
		Received:        []byte("192.0.2.15"),
		RPort:           5061,
		MaxForwards:     68,
		PushRecordRoute: [][]byte{[]byte("<sip:edge1.example.com:5061;transport=tls;lr;e=0123456789>")},
		Drop:            NewSet(PAssertedIdentity, PPreferredIdentity, RemotePartyID, MSEdgeProxyMessageTrust),
	}
}

func BenchmarkIndex(b *testing.B) {
	buf, f := []byte(message895), new(Framer)
	var m Message
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if k, _, err := f.Next(buf, &m); k != Complete || err != nil {
			b.Fatal(k, err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	buf, f := []byte(message895), new(Framer)
	var m Message
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if k, _, err := f.Next(buf, &m); k != Complete || err != nil || m.Fault() != nil {
			b.Fatal(k, err, m.Fault())
		}
	}
}

func BenchmarkForward(b *testing.B) {
	buf, f, e := []byte(message895), new(Framer), forwardEdit()
	var m Message
	var out []byte
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, _, err := f.Next(buf, &m); err != nil || m.Fault() != nil {
			b.Fatal(err, m.Fault())
		}
		out = m.Append(out[:0], e)
	}
}
