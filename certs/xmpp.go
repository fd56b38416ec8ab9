package certs

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

var (
	oidXMPPAddr        = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5} // RFC 6120 §13.7.1.4
	oidSRVName         = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 7} // RFC 4985 §2
	oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}
)

// SpeaksXMPP reports whether the certificate is one of an XMPP domain, given in
// A-labels (RFC 6120 §13.7.1.2.1): a SAN dNSName is it, also with a star for its
// first label and also beside a sip URI, or a SRVName of the service xmpp-server, or
// an XmppAddr. A common name is not.
func (id Identity) SpeaksXMPP(domain string) bool {
	return id.p != nil && (contains(id.p.hosts, domain) || contains(id.p.xmpp, domain) || id.p.matchesWild(domain))
}

// addXMPP takes the domains that stand in SRVName and XmppAddr. What is no domain is
// passed over: it can only prove less.
func (p *proven) addXMPP(cert *x509.Certificate) {
	for _, e := range cert.Extensions {
		if !e.Id.Equal(oidSubjectAltName) {
			continue
		}
		for _, n := range otherNames(e.Value) {
			name, ok := n.xmppDomain()
			if ok && len(p.xmpp) < maxNames && !slices.Contains(p.xmpp, name) {
				p.xmpp = append(p.xmpp, name)
			}
		}
	}
}

// constrained reports whether an authority of the chain may not name everything.
// Constraints hold for names of their own kind only (RFC 5280 §4.2.1.10), and are
// written for dNSName: an authority that may name hosts of one company could put any
// domain into the other kinds.
func constrained(chain []*x509.Certificate) bool {
	for _, c := range chain[1:] {
		for _, e := range c.Extensions {
			if e.Id.Equal(oidNameConstraints) {
				return true
			}
		}
	}
	return false
}

// An otherName is a name of a kind that crypto/x509 does not read (RFC 5280
// §4.2.1.6).
type otherName struct {
	kind  asn1.ObjectIdentifier
	value asn1.RawValue
}

// otherNames finds those in a subjectAltName. It stops at what it cannot read.
func otherNames(der []byte) (names []otherName) {
	all, ok := element(&der, asn1.ClassUniversal, asn1.TagSequence)
	if !ok || len(der) > 0 {
		return nil
	}
	for rest := all.Bytes; len(rest) > 0; {
		var v asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &v); err != nil {
			return names
		}
		if v.Class != asn1.ClassContextSpecific || v.Tag != 0 || !v.IsCompound {
			continue
		}
		var n otherName
		inner, err := asn1.Unmarshal(v.Bytes, &n.kind)
		if err != nil {
			continue
		}
		if v, ok = element(&inner, asn1.ClassContextSpecific, 0); !ok || len(inner) > 0 {
			continue
		}
		if inner, err = asn1.Unmarshal(v.Bytes, &n.value); err == nil && len(inner) == 0 {
			names = append(names, n)
		}
	}
	return names
}

// element takes a constructed element from the front of der.
func element(der *[]byte, class, tag int) (v asn1.RawValue, ok bool) {
	rest, err := asn1.Unmarshal(*der, &v)
	*der = rest
	return v, err == nil && v.Class == class && v.Tag == tag && v.IsCompound
}

// xmppDomain returns the domain for which a name makes its owner an XMPP server, in
// the form in which names are compared.
func (n otherName) xmppDomain() (string, bool) {
	if n.value.Class != asn1.ClassUniversal || n.value.IsCompound || len(n.value.Bytes) > 4*maxName {
		return "", false
	}
	name, tag := string(n.value.Bytes), n.value.Tag
	switch {
	case n.kind.Equal(oidSRVName) && tag == asn1.TagIA5String:
		service, domain, _ := strings.Cut(name, ".")
		if lower(service) != "_xmpp-server" {
			return "", false
		}
		name = domain
	case n.kind.Equal(oidXMPPAddr) && tag == asn1.TagUTF8String:
		var ok bool
		if name, ok = aLabels(name); !ok {
			return "", false
		}
	default:
		return "", false
	}
	name, err := normalName(name)
	return name, err == nil
}

var xmppProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.VerifyDNSLength(true))

// aLabels returns a domain of an address in A-labels. One that comes back in another
// form was made to be read differently by different readers.
func aLabels(domain string) (string, bool) {
	plain := true
	for i := range len(domain) {
		plain = plain && domain[i] < 0x80
	}
	if plain {
		return domain, true
	}
	a, err := xmppProfile.ToASCII(domain)
	if err != nil {
		return "", false
	}
	back, err := xmppProfile.ToUnicode(a)
	return a, err == nil && back == domain
}
