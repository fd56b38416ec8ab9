package main

import (
	"regexp"
	"strings"
	"testing"
)

// signedNames are the parts of what is signed ([MS-SIPAE] §3.2.5.1, version 3
// and later), in order. The last is for responses.
var signedNames = []string{
	"scheme", "rand", "num", "realm", "targetname", "Call-ID", "CSeq number", "CSeq method", "From URI", "From tag",
	"To URI", "To tag", "identity (sip)", "identity (tel)", "Expires", "status",
}

// signedParts are the parts of a message that are signed.
func signedParts(m *heard, random, number string) []string {
	number2, method, _ := strings.Cut(m.value("cseq"), " ")
	identity := m.value("p-asserted-identity")
	if identity == "" {
		identity = m.value("p-preferred-identity")
	}
	parts := []string{"NTLM", random, number, msftRealm, msftName, m.value("call-id"), number2, method}
	for _, name := range []string{"from", "to"} {
		v := m.value(name)
		parts = append(parts, between(v, "<", ">"), between(v+";", ";tag=", ";"))
	}
	parts = append(parts, between(identity, "<sip:", ">"), between(identity, "<tel:", ">"), m.value("expires"))
	for i, scheme := range []string{"sip:", "tel:"} {
		if p := &parts[12+i]; *p != "" {
			*p = scheme + *p
		}
	}
	if !m.isRequest() {
		parts = append(parts, m.what())
	}
	return parts
}

// signedText is what is signed.
func signedText(parts []string) string { return "<" + strings.Join(parts, "><") + ">" }

// ntlmParams are the parameters of a field of the scheme NTLM, nil for others.
func ntlmParams(value string) map[string]string {
	params, ok := strings.CutPrefix(value, "NTLM ")
	if !ok {
		return nil
	}
	found := make(map[string]string)
	for _, m := range regexp.MustCompile(`([\w-]+)=(?:"([^"]*)"|([^",\s]+))`).FindAllStringSubmatch(params, -1) {
		found[m[1]] = m[2] + m[3]
	}
	return found
}

// between is what stands between two texts, "" if they are not there.
func between(text, before, after string) string {
	_, rest, _ := strings.Cut(text, before)
	inside, _, found := strings.Cut(rest, after)
	if !found {
		return ""
	}
	return inside
}

// signedMessage is one with all that is signed, and more.
const signedMessage = "SUBSCRIBE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.9:58350\r\nMax-Forwards: 70\r\n" +
	"From: <sip:alice@example.com>;tag=a1;epid=e1\r\nTo: <sip:bob@example.com>;tag=b1;epid=e2\r\nCall-ID: c1\r\nCSeq: 7 SUBSCRIBE\r\n" +
	"Contact: <sip:192.0.2.9:58350>\r\nP-Asserted-Identity: <sip:alice@example.com>, <tel:+15550100>\r\nExpires: 600\r\nUser-Agent: play\r\n\r\n"

// TestASignatureHoldsForWhatIsSignedAndNoMore says what an edge must leave as it
// is between a client of the Microsoft dialect and its home server.
func TestASignatureHoldsForWhatIsSignedAndNoMore(t *testing.T) {
	var s ntlmSession
	s.exchange([]byte("a key of sixteen"))
	parts := signedParts(parseHeard([]byte(signedMessage)), "0123abcd", "1")
	signature := s.fromClient.mac(signedText(parts))
	for _, tt := range []struct {
		old, new string
		changed  string // the part that tells, "" if none is signed
	}{
		{"Call-ID: c1", "Call-ID: hidden", "Call-ID"},
		{"CSeq: 7", "CSeq: 8", "CSeq number"},
		{"CSeq: 7 SUBSCRIBE", "CSeq: 7 NOTIFY", "CSeq method"},
		{"<sip:alice@example.com>;tag", "<sip:alice@192.0.2.1>;tag", "From URI"},
		{"tag=a1", "tag=a2", "From tag"},
		{"<sip:bob@example.com>;tag", "<sip:bob@example.com:5061>;tag", "To URI"},
		{"tag=b1", "tag=b2", "To tag"},
		{"<sip:alice@example.com>, ", "", "identity (sip)"},
		{", <tel:+15550100>", "", "identity (tel)"},
		{"Expires: 600\r\n", "", "Expires"},
		{"Expires: 600", "Expires: 300", "Expires"},
		{"SUBSCRIBE sip:bob@example.com SIP", "SUBSCRIBE sip:bob@192.0.2.1 SIP", ""},
		{"Via:", "Via: SIP/2.0/TLS edge1.example.com;branch=z9hG4bK1\r\nRecord-Route: <sip:edge1.example.com;lr>\r\nVia:", ""},
		{"Max-Forwards: 70", "Max-Forwards: 69", ""},
		{";epid=e1", "", ""},
		{"<sip:192.0.2.9:58350>", "<sip:edge1.example.com>", ""},
		{"User-Agent: play\r\n", "", ""},
	} {
		changed := strings.Replace(signedMessage, tt.old, tt.new, 1)
		if changed == signedMessage {
			t.Fatalf("%q is not in the message", tt.old)
		}
		now := signedParts(parseHeard([]byte(changed)), "0123abcd", "1")
		if holds := s.fromClient.mac(signedText(now)) == signature; holds != (tt.changed == "") {
			t.Errorf("%q instead of %q: the signature holds: %v", tt.new, tt.old, holds)
		}
		var told string
		for i := range parts {
			if now[i] != parts[i] {
				told = signedNames[i]
			}
		}
		if told != tt.changed {
			t.Errorf("%q instead of %q is told as a change of %q, want %q", tt.new, tt.old, told, tt.changed)
		}
	}
}
