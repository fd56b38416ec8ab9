package edge

import (
	"errors"
	"strings"
	"testing"
)

// asUpgrade is the request of RFC 7118 §4.1, from a page of ours.
const asUpgrade = "GET / HTTP/1.1\r\nHost: sip-ws.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://app.example.com\r\n" +
	"Sec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\r\n"

// for pages of app.example.com.
func forApp(without bool) *wsSettings {
	return &wsSettings{mode: wsAlways, origins: []origin{{"https", "app.example.com", "443"}}, withoutOrigin: without}
}

// statusOf is the status of what judge answers.
func statusOf(t *testing.T, s *wsSettings, head string) int {
	t.Helper()
	accept, err := s.judge([]byte(head))
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.status
	}
	if err != nil || !strings.HasPrefix(accept, "HTTP/1.1 101 ") {
		t.Fatalf("answered %q, %v", accept, err)
	}
	return 101
}

func TestTheUpgradeIsThatOfTheStandard(t *testing.T) {
	got, err := forApp(false).judge([]byte(asUpgrade))
	want := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
	if got != want || err != nil {
		t.Errorf("answered %q, %v; want %q", got, err, want)
	}
}

func TestUpgradesAreJudgedStrictly(t *testing.T) {
	for _, tt := range []struct {
		name     string
		old, new string
		want     int
	}{
		{"as it should be", "", "", 101},
		{"names in other letters", "Upgrade: websocket\r\nConnection: Upgrade", "uPGRADE: WebSocket\r\nconnection: keep-alive, upgrade", 101},
		{"a path", "GET / ", "GET /sip?room=1 ", 101},
		{"a whole address", "GET / ", "GET https://sip-ws.example.com/ ", 101},
		{"another address", "GET / ", "GET sip:alice@example.com ", 400},
		{"no resource", "GET / ", "GET ", 505},
		{"several subprotocols", "Protocol: sip", "Protocol: msrp, sip", 101},
		{"subprotocols in two fields", "Protocol: sip", "Protocol: msrp\r\nSec-WebSocket-Protocol: sip", 101},
		{"compression is offered", "\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 101},
		{"a cookie", "\r\n\r\n", "\r\nCookie: a=b\r\n\r\n", 101},
		{"a key with bits behind its end", "dGhlIHNhbXBsZSBub25jZQ==", "AQIDBAUGBwgJCgsMDQ4PEC==", 101},
		{"POST", "GET", "POST", 405},
		{"get", "GET", "get", 405},
		{"HTTP/1.0", "HTTP/1.1", "HTTP/1.0", 505},
		{"HTTP/2", "HTTP/1.1", "HTTP/2.0", 505},
		{"no version", " HTTP/1.1", "", 505},
		{"SIP", "HTTP/1.1", "SIP/2.0", 505},
		{"no host", "Host: sip-ws.example.com\r\n", "", 400},
		{"an empty host", "Host: sip-ws.example.com", "Host: ", 400},
		{"two hosts", "Host:", "Host: a\r\nHost:", 400},
		{"no Upgrade", "Upgrade: websocket\r\n", "", 400},
		{"an upgrade to something else", "websocket", "h2c", 400},
		{"no Connection", "Connection: Upgrade\r\n", "", 400},
		{"a connection that is not upgraded", "Connection: Upgrade", "Connection: close", 400},
		{"no key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400},
		{"an empty key", "dGhlIHNhbXBsZSBub25jZQ==", "", 400},
		{"a short key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==", 400},
		{"a key that is no base64", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j!Q==", 400},
		{"two keys", "Sec-WebSocket-Key:", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key:", 400},
		{"version 8", "Version: 13", "Version: 8", 426},
		{"two versions", "Version: 13", "Version: 13, 8", 426},
		{"no version of WebSocket", "Sec-WebSocket-Version: 13\r\n", "", 426},
		{"no subprotocol", "Sec-WebSocket-Protocol: sip\r\n", "", 400},
		{"another subprotocol", "Protocol: sip", "Protocol: msrp", 400},
		{"a subprotocol that begins like it", "Protocol: sip", "Protocol: sipx", 400},
		{"a subprotocol in other letters", "Protocol: sip", "Protocol: SIP", 400},
		{"a body", "\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n", 400},
		{"a length of nothing", "\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n", 101},
		{"a chunked body", "\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"a bare LF", "Upgrade: websocket\r\n", "Upgrade: websocket\n", 400},
		{"a bare CR", "Upgrade: websocket\r\n", "Upgrade: websocket\rX: y\r\n", 400},
		{"a fold", "Upgrade: websocket\r\n", "Upgrade:\r\n websocket\r\n", 400},
		{"a NUL", "Host: sip", "Host: \x00sip", 400},
		{"a field without colon", "Upgrade: websocket\r\n", "Upgrade: websocket\r\nnonsense\r\n", 400},
		{"a blank before the colon", "Origin:", "Origin :", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(asUpgrade, tt.old) {
				t.Fatalf("%q is not there to be changed", tt.old)
			}
			if got := statusOf(t, forApp(false), strings.Replace(asUpgrade, tt.old, tt.new, 1)); got != tt.want {
				t.Errorf("answered %d, want %d", got, tt.want)
			}
		})
	}
}

func TestOriginsAreComparedExactly(t *testing.T) {
	line := "Origin: https://app.example.com\r\n"
	for _, tt := range []struct {
		name   string
		fields string
		want   int
	}{
		{"the one in the list", line, 101},
		{"with its port", "Origin: https://app.example.com:443\r\n", 101},
		{"in capitals", "Origin: HTTPS://App.Example.com\r\n", 101},
		{"another port", "Origin: https://app.example.com:8443\r\n", 403},
		{"another scheme", "Origin: http://app.example.com\r\n", 403},
		{"another scheme with that port", "Origin: http://app.example.com:443\r\n", 403},
		{"a foreign one", "Origin: https://evil.example\r\n", 403},
		{"a subdomain", "Origin: https://x.app.example.com\r\n", 403},
		{"one that ends like it", "Origin: https://evilapp.example.com\r\n", 403},
		{"one that begins like it", "Origin: https://app.example.com.evil.example\r\n", 403},
		{"a dot behind it", "Origin: https://app.example.com.\r\n", 403},
		{"a path", "Origin: https://app.example.com/\r\n", 403},
		{"a user", "Origin: https://app.example.com@evil.example\r\n", 403},
		{"our user elsewhere", "Origin: https://x@app.example.com\r\n", 403},
		{"null", "Origin: null\r\n", 403},
		{"empty", "Origin: \r\n", 403},
		{"a star", "Origin: *\r\n", 403},
		{"a star for a host", "Origin: https://*\r\n", 403},
		{"two in a field", "Origin: https://app.example.com https://evil.example\r\n", 403},
		{"two fields", line + "Origin: https://evil.example\r\n", 400},
		{"none", "", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			head := strings.Replace(asUpgrade, line, tt.fields, 1)
			if got := statusOf(t, forApp(false), head); got != tt.want {
				t.Errorf("answered %d, want %d", got, tt.want)
			}
		})
	}
	without := strings.Replace(asUpgrade, line, "", 1)
	null := strings.Replace(asUpgrade, line, "Origin: null\r\n", 1)
	foreign := strings.Replace(asUpgrade, line, "Origin: https://evil.example\r\n", 1)
	if got := statusOf(t, forApp(true), without); got != 101 {
		t.Errorf("none, where that may be: %d", got)
	}
	if got := statusOf(t, forApp(true), null); got != 403 {
		t.Errorf("null is not none: %d", got)
	}
	everybody := &wsSettings{mode: wsAlways, anyOrigin: true}
	if got := statusOf(t, everybody, foreign); got != 101 {
		t.Errorf("a foreign one, where all may come: %d", got)
	}
	if got := statusOf(t, everybody, null); got != 403 {
		t.Errorf("null, where all may come: %d", got)
	}
	if got := statusOf(t, new(wsSettings), asUpgrade); got != 403 {
		t.Errorf("the zero settings let in: %d", got)
	}
}

func TestOriginsHaveOneForm(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"https://app.example.com", "https://app.example.com"},
		{"https://App.example.com:443", "https://app.example.com"},
		{"http://app.example.com:80", "http://app.example.com"},
		{"http://app.example.com:443", "http://app.example.com:443"},
		{"https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"},
		{"https://[2001:db8::1]", "https://[2001:db8::1]"},
		{"app://sip:1", "app://sip:1"},
		{"app://sip", ""}, {"app.example.com", ""}, {"https://", ""}, {"https://app.example.com/", ""},
		{"https://app.example.com?x", ""}, {"https://app.example.com:99999", ""}, {"https://*.example.com", ""}, {"https://bücher.example", ""}, {"https://xn--bcher-kva.example", "https://xn--bcher-kva.example"}, {"null", ""}, {"", ""},
	} {
		got, err := parseOrigin(tt.text)
		if err == nil != (tt.want != "") || err == nil && got.String() != tt.want {
			t.Errorf("%q: %v, %v; want %q", tt.text, got, err, tt.want)
		}
	}
}

func FuzzUpgrade(f *testing.F) {
	f.Add([]byte(asUpgrade))
	f.Add([]byte(strings.Replace(asUpgrade, "\r\n", "\n", 1)))
	f.Fuzz(func(t *testing.T, head []byte) {
		accept, err := forApp(false).judge(head)
		if _, refused := errors.AsType[*refusal](err); refused == (accept != "") || (err != nil) != refused {
			t.Errorf("answered %q, %v", accept, err)
		}
		if accept != "" && strings.Count(accept, "\r\n") != 6 {
			t.Errorf("answered %q", accept)
		}
	})
}
