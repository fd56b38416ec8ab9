package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"time"
)

// An Authority is a small private authority for the demo, for tests and for
// trying out. It keeps its key in memory and no record of what it issued.
type Authority struct {
	cert  *x509.Certificate
	key   crypto.Signer
	above []*x509.Certificate // those between cert and the root, cert first; empty for a root
	pool  *x509.CertPool      // cert alone
}

// A KeyType is the kind of key that a Leaf gets. The zero KeyType is ECDSA P-256.
type KeyType int

const (
	P256 KeyType = iota
	P384
	Ed25519
	RSA2048
)

// A Leaf describes a certificate to issue. Names and URIs go into the
// certificate octet for octet, also what no name may have: tests need it.
type Leaf struct {
	CN        string   // subject common name
	Names     []string // SAN dNSName
	URIs      []string // SAN uniformResourceIdentifier, such as "sip:example.com"
	IPs       []string // SAN iPAddress
	SRVNames  []string // SAN SRVName, such as "_xmpp-server.example.com"
	XMPPAddrs []string // SAN XmppAddr, such as "example.com"
	NotBefore time.Time
	NotAfter  time.Time // zero: a year
	// Usages are the extended key usages. Nil means client and server; an
	// empty slice means no such extension.
	Usages     []x509.ExtKeyUsage
	MoreUsages []asn1.ObjectIdentifier // usages that crypto/x509 has no name for
	KeyType    KeyType
	Key        crypto.Signer // the key to certify; nil makes a new one of KeyType
}

// NewAuthority makes a root authority.
func NewAuthority(name string) (*Authority, error) {
	t, err := caTemplate(name)
	if err != nil {
		return nil, err
	}
	key, err := newKey(P256)
	if err != nil {
		return nil, err
	}
	cert, err := sign(t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make authority %q: %w", name, err)
	}
	return &Authority{cert: cert, key: key, pool: poolOf(cert)}, nil
}

// Intermediate makes an authority below a. What it issues carries the chain up
// to the root.
func (a *Authority) Intermediate(name string) (*Authority, error) {
	t, err := caTemplate(name)
	if err != nil {
		return nil, err
	}
	return a.below(t)
}

func (a *Authority) below(t *x509.Certificate) (*Authority, error) {
	key, err := newKey(P256)
	if err != nil {
		return nil, err
	}
	cert, err := sign(t, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("make authority %q: %w", t.Subject.CommonName, err)
	}
	return &Authority{cert: cert, key: key, pool: poolOf(cert), above: append([]*x509.Certificate{cert}, a.above...)}, nil
}

// Certificate returns the authority's own certificate.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// PEM returns the authority's own certificate as it stands in a file of roots.
func (a *Authority) PEM() []byte { return encode("CERTIFICATE", a.cert.Raw) }

// Pool returns a pool with the authority as its only root, always the same one:
// it can be a Verifier's Roots.
func (a *Authority) Pool() *x509.CertPool { return a.pool }

func poolOf(c *x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c)
	return pool
}

// Issue makes a certificate and returns it with its chain, and its key, as PEM.
func (a *Authority) Issue(l Leaf) (certPEM, keyPEM []byte, err error) {
	key := l.Key
	if key == nil {
		if key, err = newKey(l.KeyType); err != nil {
			return nil, nil, err
		}
	}
	t, err := l.template()
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("issue certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("issue certificate: %w", err)
	}
	certPEM = encode("CERTIFICATE", der)
	for _, c := range a.above {
		certPEM = append(certPEM, encode("CERTIFICATE", c.Raw)...)
	}
	return certPEM, encode("PRIVATE KEY", pkcs8), nil
}

// SelfSigned makes a certificate that nobody vouches for but itself, and DNS if its
// record is there ([RecordOf]).
func SelfSigned(l Leaf) (*Keypair, error) {
	key := l.Key
	if key == nil {
		var err error
		if key, err = newKey(l.KeyType); err != nil {
			return nil, err
		}
	}
	t, err := l.template()
	if err != nil {
		return nil, err
	}
	cert, err := sign(t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return NewKeypair(encode("CERTIFICATE", cert.Raw), encode("PRIVATE KEY", pkcs8))
}

// Keypair issues a certificate to use at once.
func (a *Authority) Keypair(l Leaf) (*Keypair, error) {
	cert, key, err := a.Issue(l)
	if err != nil {
		return nil, err
	}
	return NewKeypair(cert, key)
}

// Revoke makes a revocation list, as PEM, of the certificates given.
func (a *Authority) Revoke(certs ...*x509.Certificate) ([]byte, error) {
	t := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().AddDate(0, 1, 0)}
	for _, c := range certs {
		t.RevokedCertificateEntries = append(t.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, t, a.cert, a.key)
	if err != nil {
		return nil, fmt.Errorf("make revocation list: %w", err)
	}
	return encode("X509 CRL", der), nil
}

func (l Leaf) template() (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber:       serial,
		Subject:            pkix.Name{CommonName: l.CN},
		NotBefore:          l.NotBefore,
		NotAfter:           l.NotAfter,
		KeyUsage:           x509.KeyUsageDigitalSignature,
		ExtKeyUsage:        l.Usages,
		UnknownExtKeyUsage: l.MoreUsages,
	}
	if t.NotBefore.IsZero() {
		t.NotBefore = time.Now().Add(-time.Hour)
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = time.Now().AddDate(1, 0, 0)
	}
	if l.Usages == nil && l.MoreUsages == nil {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	san, err := l.alternativeNames()
	if err != nil {
		return nil, err
	}
	if san != nil {
		t.ExtraExtensions = []pkix.Extension{{Id: oidSubjectAltName, Value: san, Critical: l.CN == ""}}
	}
	return t, nil
}

// alternativeNames writes the extension by hand (RFC 5280 §4.2.1.6):
// crypto/x509 would refuse names that tests need.
func (l Leaf) alternativeNames() ([]byte, error) {
	var values []asn1.RawValue
	add := func(tag int, octets []byte) {
		values = append(values, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: octets})
	}
	for _, n := range l.Names {
		add(2, []byte(n))
	}
	for _, u := range l.URIs {
		add(6, []byte(u))
	}
	for _, s := range l.IPs {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("issue certificate: %w", err)
		}
		add(7, slices.Clone(ip.AsSlice()))
	}
	others := [...]struct {
		kind  asn1.ObjectIdentifier
		tag   int
		names []string
	}{{oidSRVName, asn1.TagIA5String, l.SRVNames}, {oidXMPPAddr, asn1.TagUTF8String, l.XMPPAddrs}}
	for _, o := range others {
		for _, n := range o.names {
			der, err := marshalOther(o.kind, asn1.RawValue{Tag: o.tag, Bytes: []byte(n)})
			if err != nil {
				return nil, fmt.Errorf("issue certificate: %w", err)
			}
			values = append(values, der)
		}
	}
	if values == nil {
		return nil, nil
	}
	return asn1.Marshal(values)
}

// marshalOther writes an otherName as it stands among other names (RFC 5280 §4.2.1.6).
func marshalOther(kind asn1.ObjectIdentifier, value asn1.RawValue) (asn1.RawValue, error) {
	octets, err := asn1.Marshal(kind)
	if err != nil {
		return asn1.RawValue{}, err
	}
	v, err := asn1.Marshal(value)
	if err != nil {
		return asn1.RawValue{}, err
	}
	v, err = asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: v})
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: append(octets, v...)}, err
}

func caTemplate(name string) (*x509.Certificate, error) {
	t, err := Leaf{CN: name, Usages: []x509.ExtKeyUsage{}, NotAfter: time.Now().AddDate(10, 0, 0)}.template()
	if err != nil {
		return nil, err
	}
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return t, nil
}

func sign(t, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func newKey(t KeyType) (crypto.Signer, error) {
	switch t {
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// TLS returns a's certificate for l in the form that crypto/tls takes.
func (a *Authority) TLS(l Leaf) (tls.Certificate, error) {
	k, err := a.Keypair(l)
	if err != nil {
		return tls.Certificate{}, err
	}
	return *k.Certificate(), nil
}
