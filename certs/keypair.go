package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config is a section [certificate.NAME]: one of our certificates.
type Config struct {
	// Cert is a PEM file: our certificate, then those between it and the
	// authority.
	Cert string `toml:"cert"`
	// Key is a PEM file with the certificate's private key.
	Key string `toml:"key"`

	Line int `toml:",line"`
}

// soon is how long before its end a certificate is complained about.
const soon = 14 * 24 * time.Hour

// A Keypair is one of our certificates with its key, read from files. It can be
// read again while in use; files that do not hold together leave the old one in
// place. It is safe for concurrent use.
type Keypair struct {
	certFile, keyFile string

	mu  sync.Mutex // serialises Reload
	now atomic.Pointer[tls.Certificate]
}

// Load reads a certificate chain and its key.
func Load(cert, key string) (*Keypair, error) {
	k := &Keypair{certFile: cert, keyFile: key}
	c, err := k.read()
	if err != nil {
		return nil, err
	}
	k.now.Store(c)
	return k, nil
}

// NewKeypair makes a Keypair from PEM in memory, for the demo and tests. Reload
// does nothing.
func NewKeypair(certPEM, keyPEM []byte) (*Keypair, error) {
	c, err := parseKeypair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	k := &Keypair{}
	k.now.Store(c)
	return k, nil
}

// Certificate returns what is shown to peers now.
func (k *Keypair) Certificate() *tls.Certificate { return k.now.Load() }

// Leaf returns our certificate itself.
func (k *Keypair) Leaf() *x509.Certificate { return k.now.Load().Leaf }

// Reload reads the files again and reports whether the certificate is another
// one. On an error the old one stays.
func (k *Keypair) Reload() (changed bool, err error) {
	if k.certFile == "" {
		return false, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	c, err := k.read()
	if err != nil {
		return false, err
	}
	if sameChain(c, k.now.Load()) {
		return false, nil
	}
	k.now.Store(c)
	return true, nil
}

func sameChain(a, b *tls.Certificate) bool {
	if len(a.Certificate) != len(b.Certificate) {
		return false
	}
	for i := range a.Certificate {
		if !bytes.Equal(a.Certificate[i], b.Certificate[i]) {
			return false
		}
	}
	return true
}

// Warnings returns what the admin should know about a certificate that works:
// its end is near, or partners that insist on the client usage will refuse it.
func (k *Keypair) Warnings(now time.Time) []string {
	var w []string
	leaf := k.Leaf()
	switch left := leaf.NotAfter.Sub(now); {
	case left <= 0:
		w = append(w, "expired "+leaf.NotAfter.UTC().Format(time.RFC3339))
	case left < soon:
		w = append(w, fmt.Sprintf("expires in %d days", int(left.Hours()/24)))
	}
	if now.Before(leaf.NotBefore) {
		w = append(w, "not valid before "+leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if u := usageOf(leaf); !u.Client() {
		w = append(w, "has no client usage: partners that insist on it will refuse us")
	} else if !u.Server() {
		w = append(w, "has no server usage: peers that connect to us will refuse it")
	}
	if _, err := ReadIdentity(leaf); err != nil {
		w = append(w, err.Error())
	}
	return w
}

func (k *Keypair) read() (*tls.Certificate, error) {
	cert, err := os.ReadFile(k.certFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	key, err := os.ReadFile(k.keyFile)
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	c, err := parseKeypair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("load certificate %s with key %s: %w", k.certFile, k.keyFile, err)
	}
	return c, nil
}

// parseKeypair checks that the key belongs to the first certificate and that
// every certificate after it can be read.
func parseKeypair(certPEM, keyPEM []byte) (*tls.Certificate, error) {
	if encrypted(keyPEM) {
		return nil, errors.New("the key is encrypted, and nobody is there to be asked for its password: keep it without one")
	}
	c, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	if c.Leaf == nil {
		return nil, errors.New("certs: no certificate in it")
	}
	for i, der := range c.Certificate[1:] {
		if _, err := x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+2, err)
		}
	}
	return &c, nil
}

// encrypted reports whether a password protects the key, by its label (PKCS #8)
// or by the header that older programs write.
func encrypted(keyPEM []byte) bool {
	for block, rest := pem.Decode(keyPEM); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.HasSuffix(block.Headers["Proc-Type"], ",ENCRYPTED") {
			return true
		}
	}
	return false
}
