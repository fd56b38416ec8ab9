package edge

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

func TestSettingsOfWebSocket(t *testing.T) {
	for _, tt := range []struct {
		name    string
		c       ListenerConfig
		mode    wsMode
		origins string
		problem string
		warning string
	}{
		{"none by TLS", ListenerConfig{Address: "192.0.2.1:5061"}, wsNever, "[]", "", ""},
		{"its own host", ListenerConfig{Transport: "wss", Address: "192.0.2.1:8443"}, wsAlways,
			"[https://edge1.example.com https://edge1.example.com:8443]", "", ""},
		{"its own host at the port of HTTPS", ListenerConfig{Transport: "wss", Address: "192.0.2.1:443"}, wsAlways, "[https://edge1.example.com]", "", ""},
		{"its own host at any port", ListenerConfig{Transport: "wss", Address: "192.0.2.1:0"}, wsAlways, "[https://edge1.example.com]", "", ""},
		{"the host that it shows", ListenerConfig{Transport: "tls+wss", Address: "192.0.2.1:8443", Advertise: "Chat.example.com:443"}, wsShared, "[https://chat.example.com]", "", ""},
		{"a list", ListenerConfig{Transport: "tls+wss", Origins: []string{"https://App.example.com:443", "https://app.example.com:8443"}}, wsShared,
			"[https://app.example.com https://app.example.com:8443]", "", ""},
		{"a page that is not secure", ListenerConfig{Transport: "wss", Origins: []string{"http://app.example.com"}}, wsAlways,
			"[http://app.example.com]", "", "whoever is on the way"},
		{"any page", ListenerConfig{Transport: "wss", Origins: []string{"*"}}, wsAlways, "[]", "", "any web page"},
		{"a pattern", ListenerConfig{Transport: "wss", Origins: []string{"https://*.example.com"}}, wsAlways, "[]", "which is not an origin such as", ""},
		{"a path", ListenerConfig{Transport: "wss", Origins: []string{"https://app.example.com/"}}, wsAlways, "[]", "more than scheme, host and port", ""},
		{"null", ListenerConfig{Transport: "wss", Origins: []string{"null"}}, wsAlways, "[]", "has no scheme", ""},
		{"a host alone", ListenerConfig{Transport: "wss", Origins: []string{"phone.example.com:8443"}}, wsAlways, "[]", "has no scheme", ""},
		{"origins without WebSocket", ListenerConfig{Origins: []string{"https://app.example.com"}}, wsNever, "[]", "are for transport", ""},
		{"without_origin without WebSocket", ListenerConfig{Transport: "tls", WithoutOrigin: true}, wsNever, "[]", "are for transport", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := builder{e: &Edge{name: "edge1.example.com", log: slog.New(slog.DiscardHandler)}, config: &Config{}}
			s := b.webSocket(tt.c, "[listener.web]")
			if s.mode != tt.mode || fmt.Sprint(s.origins) != tt.origins {
				t.Errorf("mode %v, origins %v; want %v, %s", s.mode, s.origins, tt.mode, tt.origins)
			}
			if got := fmt.Sprint(b.errs); len(b.errs) > 1 || !strings.Contains(got, tt.problem) || (tt.problem == "") != (len(b.errs) == 0) {
				t.Errorf("complains %s, want %q", got, tt.problem)
			}
			if got := fmt.Sprint(b.e.warnings); len(b.e.warnings) > 1 || !strings.Contains(got, tt.warning) || (tt.warning == "") != (len(b.e.warnings) == 0) {
				t.Errorf("warns %s, want %q", got, tt.warning)
			}
		})
	}
	b := builder{e: &Edge{name: "edge1.example.com"}, config: &Config{}}
	if s := b.webSocket(ListenerConfig{Transport: "wss", WithoutOrigin: true}, ""); !s.withoutOrigin {
		t.Error("without_origin is not heard")
	}
	if s := b.webSocket(ListenerConfig{Transport: "tls+wss"}, ""); !slices.Equal(s.protocols(), []string{"http/1.1", "sip/2"}) || s.withoutOrigin {
		t.Errorf("settings %+v", s)
	}
}

func TestAWebSocketIsNamedAsTheStandardSays(t *testing.T) {
	b := builder{e: &Edge{name: "edge1.example.com", names: make(map[string]bool)}, config: &Config{}}
	for _, tt := range []struct {
		transport string
		over      Transport
		via       string
		route     string
		secure    string
	}{
		{"tls", TransportTLS, "SIP/2.0/TLS edge1.example.com:443;branch=", "<sip:t@edge1.example.com:443;transport=tls;lr>", "<sips:t@edge1.example.com:443;lr>"},
		{"wss", TransportWSS, "SIP/2.0/WSS edge1.example.com:443;branch=", "<sip:t@edge1.example.com:443;transport=ws;lr>", "<sips:t@edge1.example.com:443;transport=ws;lr>"},
		{"tls+wss", TransportTLS, "SIP/2.0/TLS edge1.example.com:443;branch=", "<sip:t@edge1.example.com:443;transport=tls;lr>", "<sips:t@edge1.example.com:443;lr>"},
		{"tls+wss", TransportWSS, "SIP/2.0/WSS edge1.example.com:443;branch=", "<sip:t@edge1.example.com:443;transport=ws;lr>", "<sips:t@edge1.example.com:443;transport=ws;lr>"},
	} {
		s := b.side(ListenerConfig{Transport: tt.transport, Address: "192.0.2.1:443"}, "").over(tt.over)
		route, secure := string(s.appendRoute(nil, []byte("t"), false)), string(s.appendRoute(nil, []byte("t"), true))
		if s.via != tt.via || route != tt.route || secure != tt.secure {
			t.Errorf("%s over %v: %s %s %s, want %s %s %s", tt.transport, tt.over, s.via, route, secure, tt.via, tt.route, tt.secure)
		}
	}
}
