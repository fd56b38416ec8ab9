package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sipedge/sipedge/certs"
)

// authority makes authorities: authority NAME... Each lies in NAME.pem.
func (s *stage) authority(names []string) error {
	for _, name := range names {
		a, err := certs.NewAuthority("Authority " + name)
		if err != nil {
			return err
		}
		s.authorities[name] = a
		if err := os.WriteFile(s.path(name+".pem"), a.PEM(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// certificate makes NAME.pem and NAME.key, and sets NAME_PIN to the hash of its
// key: certificate NAME [ca=NAME]
// [dns=A,B] [uri=A,B] [ip=A] [cn=A] [usage=both|server|client|code|none]
// [expired] [early].
func (s *stage) certificate(args []string) error {
	name, o := args[0], options(args[1:])
	a := s.authorities["ca"]
	if o["ca"] != "" {
		a = s.authorities[o["ca"]]
	}
	if a == nil {
		return fmt.Errorf("certificate %s: no such authority", name)
	}
	cert, key, err := a.Issue(leaf(o))
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path(name+".key"), key, 0o600); err != nil {
		return err
	}
	block, _ := pem.Decode(cert)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	s.set(strings.ToUpper(name)+"_PIN", "sha256/"+base64.StdEncoding.EncodeToString(sum[:]))
	return os.WriteFile(s.path(name+".pem"), cert, 0o644)
}

// revoke writes ca.crl, in which the certificates named are revoked.
func (s *stage) revoke(names []string) error {
	var revoked []*x509.Certificate
	for _, name := range names {
		text, err := os.ReadFile(s.path(name + ".pem"))
		if err != nil {
			return err
		}
		block, _ := pem.Decode(text)
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err
		}
		revoked = append(revoked, c)
	}
	crl, err := s.authorities["ca"].Revoke(revoked...)
	if err != nil {
		return err
	}
	return os.WriteFile(s.path("ca.crl"), crl, 0o644)
}

// leaf is a certificate as a play describes it.
func leaf(o map[string]string) certs.Leaf {
	l := certs.Leaf{CN: o["cn"], Names: list(o["dns"]), URIs: list(o["uri"]), IPs: list(o["ip"]), Usages: usages(o["usage"])}
	l.NotBefore, l.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(0, 3, 0)
	if o["expired"] != "" {
		l.NotAfter = time.Now().Add(-time.Minute)
	}
	if o["early"] != "" {
		l.NotBefore = time.Now().Add(30 * time.Minute)
	}
	return l
}

// usages are the extended key usages of a word.
func usages(word string) []x509.ExtKeyUsage {
	switch word {
	case "server":
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case "client":
		return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	case "code":
		return []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	case "none":
		return []x509.ExtKeyUsage{}
	}
	return nil // client and server
}

// list splits A,B.
func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// tlsConfig is a peer's side of TLS, as server and as client: it trusts ca=NAME
// (default ca), shows cert=NAME (default none), and expects the name to=HOST. As
// a server it demands a certificate, unless unasked says that it does not.
func (s *stage) tlsConfig(p *peer, o map[string]string) (*tls.Config, error) {
	ca := "ca"
	if o["ca"] != "" {
		ca = o["ca"]
	}
	text, err := os.ReadFile(s.path(ca + ".pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	c := &tls.Config{
		RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		ServerName: "edge1.example.com", ClientSessionCache: tls.NewLRUClientSessionCache(4),
	}
	if o["to"] != "" {
		c.ServerName = o["to"]
	}
	switch o["tls"] {
	case "1.2":
		c.MaxVersion = tls.VersionTLS12
	case "1.1": // what nobody should speak any more
		c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	}
	if o["unasked"] != "" {
		c.ClientAuth = tls.NoClientCert
	}
	if o["cert"] == "" {
		return c, nil
	}
	pair, err := tls.LoadX509KeyPair(s.path(o["cert"]+".pem"), s.path(o["cert"]+".key"))
	if err != nil {
		return nil, err
	}
	c.Certificates = []tls.Certificate{pair}
	// Shown even where the other side's list of authorities does not name its
	// issuer: attackers do not read that list.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return c, nil
}
