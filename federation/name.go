package federation

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/sipedge/sipedge/allowlists"
)

// defaultPort is where a partner's edge listens if nothing else is written
// (RFC 3261 §19.1.2, sips over TLS).
const defaultPort = "5061"

// Normal brings a domain as a person writes it into the one form that
// policy and routing compare: A-labels (RFC 5891 §4), lower case, no trailing
// dot.
func Normal(s string) (string, error) { return allowlists.NormalDomain(s) }

// Unicode returns a domain in normal form as people read it, or as it is if its
// A-labels mean nothing.
func Unicode(domain string) string { return allowlists.UnicodeDomain(domain) }

// hostname reports whether s is a domain in normal form, or could be.
func hostname(s string) bool { return allowlists.IsHostname(s) }

// normalHost is Normal for the name of a server, which may be an IP
// address.
func normalHost(s string) (string, error) {
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil && addr.Zone() == "" {
		return addr.Unmap().String(), nil
	}
	host, err := Normal(s)
	if err != nil {
		return "", errors.New("not a host name or address")
	}
	return host, nil
}

// normalServer reads "host", "host:port", "[address]" or "[address]:port" and
// returns the host and the address to dial.
func normalServer(s string) (host, address string, err error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = s, defaultPort
	}
	host, err = normalHost(host)
	if err != nil {
		return "", "", err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", errors.New("port is not a number from 1 to 65535")
	}
	return host, net.JoinHostPort(host, port), nil
}
