package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"sync"
	"sync/atomic"
)

// SystemRoots is the file name that stands for the authorities of the system.
const SystemRoots = "system"

// maxHints is how many authorities are named to a client: with more, the
// message grows past what some TLS stacks take in one record.
const maxHints = 50

// Roots is a set of authorities and revocation lists read from files. It can be
// read again; what fails to load leaves the old set in place. The system's
// authorities are read once by crypto/x509: a new one needs a restart.
type Roots struct {
	file, crl string

	mu  sync.Mutex // serialises Reload
	now atomic.Pointer[rootSet]
}

type rootSet struct {
	pool, hints *x509.CertPool
	revoked     *Revocations
	sum         [sha256.Size]byte
}

// LoadRoots reads authorities from a PEM file, or the system's if file is
// [SystemRoots], and revocation lists from crl (PEM or DER) unless it is empty.
func LoadRoots(file, crl string) (*Roots, error) {
	r := &Roots{file: file, crl: crl}
	s, err := r.read()
	if err != nil {
		return nil, err
	}
	r.now.Store(s)
	return r, nil
}

// Pool returns the authorities; it is a Verifier's Roots.
func (r *Roots) Pool() *x509.CertPool { return r.now.Load().pool }

// Revoked returns the revocation lists, nil if there are none; it is a
// Verifier's Revoked.
func (r *Roots) Revoked() *Revocations { return r.now.Load().revoked }

// Verifier returns a Verifier that trusts what r holds at each moment.
func (r *Roots) Verifier() *Verifier { return &Verifier{Roots: r.Pool, Revoked: r.Revoked} }

// Hints returns the authorities to name to a client, nil for the system's: a
// client that finds none of its own among a hundred names sends nothing.
func (r *Roots) Hints() *x509.CertPool { return r.now.Load().hints }

// Reload reads the files again. On an error the old set stays.
func (r *Roots) Reload() (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.read()
	if err != nil {
		return false, err
	}
	if s.sum == r.now.Load().sum {
		return false, nil
	}
	r.now.Store(s)
	return true, nil
}

func (r *Roots) read() (*rootSet, error) {
	s := &rootSet{}
	h := sha256.New()
	if r.file == SystemRoots {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("load system authorities: %w", err)
		}
		s.pool = pool
	} else {
		data, err := os.ReadFile(r.file)
		if err != nil {
			return nil, fmt.Errorf("load authorities: %w", err)
		}
		n := 0
		if s.pool, n, err = parseRoots(data); err != nil {
			return nil, fmt.Errorf("load authorities %s: %w", r.file, err)
		}
		if n <= maxHints {
			s.hints = s.pool
		}
		h.Write(data)
	}
	if r.crl != "" {
		data, err := os.ReadFile(r.crl)
		if err != nil {
			return nil, fmt.Errorf("load revocation list: %w", err)
		}
		if s.revoked, err = ParseRevocations(data); err != nil {
			return nil, fmt.Errorf("load revocation list %s: %w", r.crl, err)
		}
		h.Write(data)
	}
	h.Sum(s.sum[:0])
	return s, nil
}

// parseRoots reads every certificate, unlike CertPool.AppendCertsFromPEM, which
// passes over the broken ones.
func parseRoots(data []byte) (*x509.CertPool, int, error) {
	pool, n := x509.NewCertPool(), 0
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, 0, fmt.Errorf("certificate %d: %w", n+1, err)
		}
		pool.AddCert(c)
		n++
	}
	if n == 0 {
		return nil, 0, errors.New("no certificate in it")
	}
	return pool, n, nil
}

// Revocations are revocation lists (RFC 5280 §5). A list that is past its next
// update still counts: what it revoked stays revoked.
type Revocations struct{ lists []revocationList }

type revocationList struct {
	list    *x509.RevocationList
	serials map[string]bool
}

// ParseRevocations reads lists in PEM, or one in DER. Who signed a list is
// checked when it is used, against the issuer of the certificate in question.
func ParseRevocations(data []byte) (*Revocations, error) {
	r := &Revocations{}
	if !bytes.Contains(data, []byte("-----BEGIN")) {
		return r, r.add(data)
	}
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			break
		}
		if b.Type != "X509 CRL" {
			continue
		}
		if err := r.add(b.Bytes); err != nil {
			return nil, err
		}
	}
	if len(r.lists) == 0 {
		return nil, errors.New("no revocation list in it")
	}
	return r, nil
}

func (r *Revocations) add(der []byte) error {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return err
	}
	serials := make(map[string]bool, len(list.RevokedCertificateEntries))
	for _, e := range list.RevokedCertificateEntries {
		serials[serial(e.SerialNumber)] = true
	}
	r.lists = append(r.lists, revocationList{list, serials})
	return nil
}

func serial(n *big.Int) string { return n.Text(62) }

// check returns an error if a certificate of the chain is on a list that its
// issuer signed.
func (r *Revocations) check(chain []*x509.Certificate) error {
	if r == nil {
		return nil
	}
	for i := range len(chain) - 1 {
		c, issuer := chain[i], chain[i+1]
		for _, l := range r.lists {
			if !l.serials[serial(c.SerialNumber)] || !bytes.Equal(l.list.RawIssuer, issuer.RawSubject) {
				continue
			}
			if l.list.CheckSignatureFrom(issuer) == nil {
				return fmt.Errorf("%s is on its issuer's list of %s", describe(c), l.list.ThisUpdate.UTC().Format("2006-01-02"))
			}
		}
	}
	return nil
}
