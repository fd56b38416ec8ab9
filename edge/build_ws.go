package edge

import (
	"fmt"
	"net"
	"strings"
)

// Transports of a listener for users that carry WebSocket.
const (
	transportWSS    = "wss"     // a port of its own
	transportShared = "tls+wss" // beside SIP by TLS
)

// webSocket makes what a listener needs to know of WebSocket, and complains of
// keys that make no sense.
func (b *builder) webSocket(c ListenerConfig, section string) (s wsSettings) {
	switch c.Transport {
	case transportWSS:
		s.mode = wsAlways
	case transportShared:
		s.mode = wsShared
	default:
		if len(c.Origins) > 0 || c.WithoutOrigin {
			b.complain(c.Line, "%s: origins and without_origin are for transport = \"wss\" or \"tls+wss\"", section)
		}
		return s
	}
	s.withoutOrigin = c.WithoutOrigin
	for _, text := range c.Origins {
		b.origin(&s, c, section, text)
	}
	if len(c.Origins) == 0 {
		s.origins = b.ownOrigins(c)
	}
	return s
}

// origin adds one of the list.
func (b *builder) origin(s *wsSettings, c ListenerConfig, section, text string) {
	if text == "*" {
		s.anyOrigin = true
		b.warnWebSocket(section, "origins has \"*\": any web page that a user of ours looks at can connect in their browser")
		return
	}
	o, err := parseOrigin(text)
	if err != nil {
		b.complain(c.Line, "%s: origins has %q, which is not an origin such as \"https://app.example.com\": %s", section, text,
			strings.TrimPrefix(err.Error(), "origin "))
		return
	}
	if o.scheme == "http" {
		b.warnWebSocket(section, "origins has %q: whoever is on the way to that page can change what it does", text)
	}
	s.origins = append(s.origins, o)
}

// ownOrigins are the pages that come from where the listener is: its host, at
// its own port and at that of HTTPS.
func (b *builder) ownOrigins(c ListenerConfig) []origin {
	host, _, err := net.SplitHostPort(c.Advertise)
	if err != nil {
		host = b.e.name
	}
	_, own, _ := net.SplitHostPort(c.Address)
	if _, p, err := net.SplitHostPort(c.Advertise); err == nil {
		own = p
	}
	host = strings.ToLower(host)
	list := []origin{{"https", host, "443"}}
	if port(own) != 0 && own != "443" {
		list = append(list, origin{"https", host, own})
	}
	return list
}

// warnWebSocket notes what is no error and should be known.
func (b *builder) warnWebSocket(section, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.e.log.Warn(logWebWarning, keyTarget, section, keyErr, text)
	b.e.warnings = append(b.e.warnings, section+": "+text)
}
