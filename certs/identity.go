package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// An Identity is what a peer's certificate proved. The zero Identity proves
// nothing. It is small, immutable and safe for concurrent use; copies share
// what they hold.
type Identity struct{ p *proven }

// proven is never changed once it is made.
type proven struct {
	domains     []string // domain identities (RFC 5922 §7.1), normal form
	hosts       []string // SAN DNS names, normal form
	xmpp        []string // domains in SRVName and XmppAddr, normal form
	wildcards   []string // what follows "*." in SAN DNS names, normal form
	wildDomains bool     // whether wildcards may stand for domains: no sip URI is there
	ips         []netip.Addr
	commonName  string
	usage       Usage
	fingerprint string
	key         [sha256.Size]byte // of the SubjectPublicKeyInfo
	notAfter    time.Time
	subject     string // safe to log
}

// IsZero reports whether nothing was proved.
func (id Identity) IsZero() bool { return id.p == nil }

// Covers reports whether the peer may speak for domain. The match is exact: no
// wildcards, no suffixes (RFC 5922 §7.2).
func (id Identity) Covers(domain string) bool {
	return id.p != nil && contains(id.p.domains, domain)
}

// CoversBytes is Covers for a name that is not a string, and copies nothing.
func (id Identity) CoversBytes(domain []byte) bool {
	if id.p == nil {
		return false
	}
	for _, d := range id.p.domains {
		if d == string(domain) {
			return true
		}
	}
	return false
}

// CoversWild is Covers, and "*.fabrikam.example" also stands for one label
// before fabrikam.example. RFC 5922 §7.2 forbids it, so it is only for partners
// whose entry says allow_wildcard.
//
// COMPAT(Microsoft): its hosted edges have nothing but wildcards for some names.
func (id Identity) CoversWild(domain string) bool {
	return id.Covers(domain) || id.p != nil && id.p.wildDomains && id.p.matchesWild(domain)
}

// CoversHost reports whether the certificate belongs to the server called host:
// SAN DNS names always count here, also beside a sip URI, and for an address the
// SAN addresses do.
func (id Identity) CoversHost(host string) bool {
	if id.p == nil {
		return false
	}
	if ip, ok := parseIP(host); ok {
		return slices.Contains(id.p.ips, ip)
	}
	return contains(id.p.hosts, host)
}

// CoversHostWild is CoversHost with wildcards, for partners with allow_wildcard.
func (id Identity) CoversHostWild(host string) bool {
	if id.CoversHost(host) {
		return true
	}
	_, isIP := parseIP(host)
	return id.p != nil && !isIP && id.p.matchesWild(host)
}

// HasHostIn reports whether the certificate names any host that is domain or lies
// in it: without one it cannot be that of a server there. Wildcards do not count.
func (id Identity) HasHostIn(domain []byte) bool {
	if id.p == nil {
		return false
	}
	for _, host := range id.p.hosts {
		if n := len(host) - len(domain); n >= 0 && host[n:] == string(domain) && (n == 0 || host[n-1] == '.') {
			return true
		}
	}
	return false
}

// CommonName returns the subject's common name if it is a domain and the
// certificate has no subjectAltName at all (RFC 5922 §7.1), else "". It counts
// only for partners whose entry says so.
func (id Identity) CommonName() string {
	if id.p == nil {
		return ""
	}
	return id.p.commonName
}

// Usage returns what the certificate may be used for.
func (id Identity) Usage() Usage {
	if id.p == nil {
		return 0
	}
	return id.p.usage
}

// Fingerprint returns the SHA-256 of the certificate in hexadecimal.
func (id Identity) Fingerprint() string {
	if id.p == nil {
		return ""
	}
	return id.p.fingerprint
}

// Key returns the SHA-256 of the certificate's public key (its
// SubjectPublicKeyInfo, as in RFC 7469 §2.4), or zeros.
func (id Identity) Key() [sha256.Size]byte {
	if id.p == nil {
		return [sha256.Size]byte{}
	}
	return id.p.key
}

// Subject says whose certificate it is, who issued it, and its serial number. It
// is safe to log.
func (id Identity) Subject() string {
	if id.p == nil {
		return ""
	}
	return id.p.subject
}

// NotAfter returns when the certificate ends.
func (id Identity) NotAfter() time.Time {
	if id.p == nil {
		return time.Time{}
	}
	return id.p.notAfter
}

// Domains returns the domains that the certificate speaks for. It is a copy.
func (id Identity) Domains() []string {
	if id.p == nil {
		return nil
	}
	return slices.Clone(id.p.domains)
}

// Hosts returns the host names in the certificate. It is a copy.
func (id Identity) Hosts() []string {
	if id.p == nil {
		return nil
	}
	return slices.Clone(id.p.hosts)
}

// String describes the identity for logs and people; nothing in it needs
// escaping any more.
func (id Identity) String() string {
	if id.p == nil {
		return "nobody"
	}
	names := id.p.domains
	if len(names) == 0 {
		names = id.p.hosts
	}
	if len(names) == 0 {
		return id.p.subject
	}
	const shown = 4
	if len(names) > shown {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ","), len(names)-shown)
	}
	return strings.Join(names, ",")
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if sameName(n, name) {
			return true
		}
	}
	return false
}

// matchesWild reports whether name is one label before a wildcard's suffix.
func (p *proven) matchesWild(name string) bool {
	_, suffix, ok := strings.Cut(name, ".")
	return ok && len(suffix)+1 < len(name) && contains(p.wildcards, suffix)
}

// ReadIdentity reads the names of a certificate (RFC 5922 §7.1). It does not
// ask who signed it: that is a Verifier's work. A certificate with a name that
// different readers would read differently (NUL, line ends, other octets that
// no name has) proves nothing at all.
func ReadIdentity(cert *x509.Certificate) (Identity, error) {
	return readIdentity(cert, usageOf(cert), true)
}

// readIdentity passes over the names that only XMPP knows unless xmpp says that they
// count.
func readIdentity(cert *x509.Certificate, usage Usage, xmpp bool) (Identity, error) {
	p := &proven{usage: usage, notAfter: cert.NotAfter, subject: describe(cert)}
	sum := sha256.Sum256(cert.Raw)
	p.key = sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	p.fingerprint = hex.EncodeToString(sum[:])
	sip, err := p.addURIs(cert.URIs)
	if err == nil {
		err = p.addHosts(cert.DNSNames)
	}
	if err != nil {
		return Identity{}, refusal(Malformed, cert, err)
	}
	for _, ip := range cert.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			p.ips = append(p.ips, a.Unmap())
		}
	}
	if !sip {
		// RFC 5922 §7.1: a DNS name is a domain "if and only if no other
		// identity is found that matches the sip URI type".
		p.domains, p.wildDomains = p.hosts, true
	}
	if xmpp {
		p.addXMPP(cert)
	}
	if !hasSAN(cert) {
		// RFC 5922 §7.1 point 2. A common name that is no domain is no fault:
		// most are people's words.
		p.commonName, _ = normalName(cert.Subject.CommonName)
	}
	return Identity{p}, nil
}

// addURIs takes the domains from sip URIs and reports whether there was any sip
// URI. One that names a user, a port or parameters gives no domain (RFC 5922
// §7.1), and still keeps DNS names from counting: who made that certificate
// meant it for SIP and did not mean the whole domain.
func (p *proven) addURIs(uris []*url.URL) (sip bool, err error) {
	for _, u := range uris {
		if u.Scheme != "sip" {
			continue
		}
		sip = true
		if u.Opaque == "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.ContainsAny(u.Opaque, "@:;/") {
			continue
		}
		switch name, err := normalName(u.Opaque); {
		case errors.Is(err, errIgnored):
		case err != nil:
			return sip, err
		case !slices.Contains(p.domains, name):
			p.domains = append(p.domains, name)
		}
	}
	return sip, nil
}

func (p *proven) addHosts(names []string) error {
	for _, raw := range names {
		if strings.Contains(raw, "*") {
			if err := p.addWildcard(raw); err != nil {
				return err
			}
			continue
		}
		switch name, err := normalName(raw); {
		case errors.Is(err, errIgnored):
		case err != nil:
			return err
		case !slices.Contains(p.hosts, name):
			p.hosts = append(p.hosts, name)
		}
	}
	return nil
}

// addWildcard keeps "*." before at least two labels. Any other star ("*",
// "s*p.fabrikam.example", "*.example") is passed over: it names nobody.
func (p *proven) addWildcard(raw string) error {
	// The stars stand for octets of a name: what is left must be one.
	if _, err := normalName(strings.ReplaceAll(raw, "*", "x")); err != nil && !errors.Is(err, errIgnored) {
		return err
	}
	suffix, ok := strings.CutPrefix(raw, "*.")
	if !ok || strings.Contains(suffix, "*") {
		return nil
	}
	name, err := normalName(suffix)
	if err != nil || !strings.Contains(name, ".") {
		return nil
	}
	p.wildcards = append(p.wildcards, name)
	return nil
}

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

func hasSAN(cert *x509.Certificate) bool {
	for _, e := range cert.Extensions {
		if e.Id.Equal(oidSubjectAltName) {
			return true
		}
	}
	return false
}
