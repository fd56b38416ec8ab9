package address

import (
	"strings"
)

// xmppOctets may stand in a URI of XMPP as they are (RFC 5122 §2.2).
var xmppOctets = octetSet(alphanumeric + "-._~!$()*+,;=")

// ParseXMPPURI reads a URI of XMPP (RFC 5122 §2.2), or a JID as it stands, as older
// servers write it. The error is an *Error.
func ParseXMPPURI(s string) (JID, error) {
	const scheme = "xmpp:"
	if len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
		rest, _, _ := strings.Cut(s[len(scheme):], "?")
		if strings.HasPrefix(rest, "//") {
			return JID{}, ErrJID // the account to use, which is not ours to choose (RFC 5122 §2.2)
		}
		var ok bool
		if s, ok = unescapePercent(rest); !ok {
			return JID{}, ErrJID
		}
	}
	return Parse(s)
}

// XMPPURI returns the URI of XMPP of a JID (RFC 5122 §2.2).
func XMPPURI(j JID) string {
	b := []byte("xmpp:")
	if local := j.Localpart(); local != "" {
		b = append(appendPercent(b, local, &xmppOctets), '@')
	}
	if domain := j.Domainpart(); strings.HasPrefix(domain, "[") {
		b = append(b, domain...)
	} else {
		b = appendPercent(b, domain, &xmppOctets)
	}
	if resource := j.Resourcepart(); resource != "" {
		b = append(b, '/')
		b = appendPercent(b, resource, &xmppOctets)
	}
	return string(b)
}
