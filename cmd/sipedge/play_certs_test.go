package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"strings"
	"time"
)

// An authority is a private CA of a play. Unlike package certs it also signs
// what no honest authority would.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// authority makes authorities: authority NAME... Each lies in NAME.pem.
func (s *stage) authority(names []string) error {
	for _, name := range names {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Authority " + name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			return err
		}
		a := &authority{key: key}
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			return err
		}
		s.authorities[name] = a
		if err := os.WriteFile(s.path(name+".pem"), pemOf("CERTIFICATE", der), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// certificate makes NAME.pem and NAME.key: certificate NAME [ca=NAME]
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
	template, err := leaf(name, o)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path(name+".key"), pemOf("PRIVATE KEY", keyDER), 0o600); err != nil {
		return err
	}
	return os.WriteFile(s.path(name+".pem"), pemOf("CERTIFICATE", der), 0o644)
}

// leaf is a certificate as a play describes it.
func leaf(name string, o map[string]string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: o["cn"], Organization: []string{name}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: list(o["dns"]), ExtKeyUsage: usages(o["usage"]),
	}
	if o["expired"] != "" {
		c.NotAfter = time.Now().Add(-time.Minute)
	}
	if o["early"] != "" {
		c.NotBefore = time.Now().Add(30 * time.Minute)
	}
	for _, u := range list(o["uri"]) {
		parsed, err := url.Parse(u)
		if err != nil {
			return nil, err
		}
		c.URIs = append(c.URIs, parsed)
	}
	for _, ip := range list(o["ip"]) {
		c.IPAddresses = append(c.IPAddresses, net.ParseIP(ip))
	}
	return c, nil
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
		return nil
	}
	return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
}

// list splits A,B.
func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// pemOf writes one block.
func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// tlsConfig is a peer's side of TLS, as server and as client: it trusts ca=NAME
// (default ca), shows cert=NAME (default none), and expects the name to=HOST.
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
	if o["tls"] == "1.2" {
		c.MaxVersion = tls.VersionTLS12
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
