package edge

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// A wsMode says whether a listener speaks WebSocket. The zero wsMode does not.
type wsMode int

const (
	wsNever  wsMode = iota
	wsAlways        // and nothing else
	wsShared        // beside SIP by TLS, on one port
)

// wsSettings say how a listener speaks WebSocket, and for which web pages. The
// zero value is for none.
type wsSettings struct {
	mode    wsMode
	origins []origin
	// "*" is in the list: pages from anywhere.
	anyOrigin bool
	// Clients that name no origin may come, too: those that are no browsers.
	withoutOrigin bool
}

// An origin is where a web page comes from (RFC 6454 §4), in normal form.
type origin struct {
	scheme, host, port string
}

// String is the origin as a browser writes it.
func (o origin) String() string {
	host := bracketed(o.host)
	if o.port != defaultPort(o.scheme) {
		host = net.JoinHostPort(o.host, o.port)
	}
	return o.scheme + "://" + host
}

func defaultPort(scheme string) string {
	switch scheme {
	case "https":
		return "443"
	case "http":
		return "80"
	}
	return ""
}

// parseOrigin reads an origin: a scheme, a host and perhaps a port, and nothing
// else. "null" is none (RFC 6454 §6.2): any page can make itself send it.
func parseOrigin(s string) (origin, error) {
	u, err := url.Parse(s)
	if err != nil {
		return origin{}, fmt.Errorf("origin is malformed")
	}
	o := origin{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Hostname()), port: u.Port()}
	if o.port == "" {
		o.port = defaultPort(o.scheme)
	}
	switch {
	case strings.ContainsFunc(s, func(r rune) bool { return r > 0x7e }):
		return origin{}, fmt.Errorf("origin has letters that a browser writes otherwise (xn--)")
	case !strings.Contains(s, "://"):
		return origin{}, fmt.Errorf("origin has no scheme")
	case o.host == "" || strings.ContainsAny(o.host, "*% "):
		return origin{}, fmt.Errorf("origin has no host")
	case o.port == "" || port(o.port) == 0:
		return origin{}, fmt.Errorf("origin has no port, and its scheme implies none")
	case !strings.EqualFold(s, u.Scheme+"://"+u.Host):
		return origin{}, fmt.Errorf("origin is more than scheme, host and port")
	}
	return o, nil
}

// mayCome reports whether a client with these Origin fields may come, or why
// not. Browsers always send one, and a page cannot choose it (RFC 6455 §10.2):
// it keeps foreign pages from using what a browser has of its user.
func (s *wsSettings) mayCome(fields []string) *refusal {
	switch {
	case len(fields) == 0 && s.withoutOrigin:
		return nil
	case len(fields) == 0:
		return refuseUpgrade(403, "no origin")
	case len(fields) > 1:
		return refuseUpgrade(400, "more than one origin")
	case fields[0] == "null":
		return refuseUpgrade(403, "origin is null")
	}
	o, err := parseOrigin(fields[0])
	if err != nil {
		return refuseUpgrade(403, err.Error())
	}
	if s.anyOrigin || slices.Contains(s.origins, o) {
		return nil
	}
	return refuseUpgrade(403, "origin "+o.String()+" is not in the list")
}
