package certs

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"
)

// Usage is what a certificate's extended key usages allow, over its whole
// chain. The zero Usage allows nothing.
type Usage uint8

const (
	UsageClient Usage = 1 << iota // id-kp-clientAuth
	UsageServer                   // id-kp-serverAuth
	UsageSIP                      // id-kp-sipDomain (RFC 5924 §4)
	UsageAny                      // anyExtendedKeyUsage, or no restriction at all (RFC 5280 §4.2.1.12)
)

// oidSIPDomain is id-kp-sipDomain (RFC 5924 §4).
var oidSIPDomain = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 20}

// Client reports whether the certificate may be shown by a TLS client.
func (u Usage) Client() bool { return u&(UsageClient|UsageSIP|UsageAny) != 0 }

// Server reports whether the certificate may be shown by a TLS server.
func (u Usage) Server() bool { return u&(UsageServer|UsageSIP|UsageAny) != 0 }

// Web reports whether the certificate is one as public authorities issue them for
// servers, or not limited. Both sides of a stream between XMPP servers show such a
// one (RFC 6120 §13.7.1.2).
func (u Usage) Web() bool { return u&(UsageServer|UsageAny) != 0 }

// String lists the usages for logs: "client,server".
func (u Usage) String() string {
	var names []string
	for i, name := range []string{"client", "server", "sip", "any"} {
		if u&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ",")
}

// usageOf reads the usages that one certificate names.
func usageOf(c *x509.Certificate) Usage {
	if len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 {
		return UsageAny
	}
	var u Usage
	for _, e := range c.ExtKeyUsage {
		switch e {
		case x509.ExtKeyUsageAny:
			u |= UsageAny
		case x509.ExtKeyUsageClientAuth:
			u |= UsageClient
		case x509.ExtKeyUsageServerAuth:
			u |= UsageServer
		}
	}
	if slices.ContainsFunc(c.UnknownExtKeyUsage, oidSIPDomain.Equal) {
		u |= UsageSIP
	}
	return u
}

// usageOfChain is what the leaf may be used for when every certificate above
// it restricts it further, as x509.Verify does for the usages that it knows.
func usageOfChain(chain []*x509.Certificate) Usage {
	u := usageOf(chain[0])
	for _, c := range chain[1:] {
		switch above := usageOf(c); {
		case above&UsageAny != 0:
		case u&UsageAny != 0:
			u = above
		default:
			u &= above
		}
	}
	return u
}

// A UsagePolicy is what a partner's peer_usage asks of its certificates.
type UsagePolicy string

const (
	// UsageFederation takes the client or the server usage: public authorities
	// no longer issue the client usage. It is the default; "" means it too.
	UsageFederation UsagePolicy = "federation"
	// UsageStrict takes the client usage only, as RFC 5280 §4.2.1.12 has it.
	UsageStrict UsagePolicy = "strict"
	// UsageServerOnly takes the server usage only.
	UsageServerOnly UsagePolicy = "server"
)

// Valid reports whether p is one of the policies.
func (p UsagePolicy) Valid() bool {
	return p == "" || p == UsageFederation || p == UsageStrict || p == UsageServerOnly
}

// Allows reports whether a certificate with usage u satisfies p. An unknown
// policy allows nothing.
func (p UsagePolicy) Allows(u Usage) bool {
	switch p {
	case "", UsageFederation:
		return u.Client() || u.Server()
	case UsageStrict:
		return u.Client()
	case UsageServerOnly:
		return u.Server()
	}
	return false
}
