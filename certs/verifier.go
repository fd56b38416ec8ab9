package certs

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// What a peer may send us before we look at it closer. crypto/tls has already
// bounded the message to 256 KiB.
const (
	maxChain   = 10   // certificates
	maxNames   = 1000 // names over all of them
	maxOctets  = 64 << 10
	maxRSABits = 8192
	maxProofs  = 4096     // chains that are remembered
	maxProof   = 16 << 10 // octets of one of them
)

// A Verifier decides whether a peer's certificate holds and what it proves. It
// remembers chains that held, so that thousands of connections with the same
// certificate share one Identity and one check. The zero Verifier has no roots
// and refuses everyone. It must not be copied after first use.
type Verifier struct {
	// Roots returns the authorities that are trusted now; nil trusts nobody.
	// A new pool voids what was remembered.
	Roots func() *x509.CertPool
	// Revoked returns the revocation lists that hold now; nil means none.
	Revoked func() *Revocations
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	once   sync.Once
	proofs *lru.Cache[[sha256.Size]byte, *proof]
}

// A proof is a chain that held, and as long as what it rested on.
type proof struct {
	id          *Identity
	certs       []*x509.Certificate // as the peer sent them
	roots       *x509.CertPool
	revoked     *Revocations
	from, until time.Time // when the whole chain is valid
}

// Identify checks the peer's certificate and returns what it proves. It is
// called by the handshake, and may be called again at any time: then it costs a
// hash, unless roots, revocation lists or the validity have changed. The
// Identity is shared and never nil; with an error it is the zero Identity.
//
// The error is always a *VerifyError.
func (v *Verifier) Identify(cs tls.ConnectionState) (*Identity, error) {
	p, err := v.prove(cs.PeerCertificates)
	if err != nil {
		return &Identity{}, err
	}
	return p.id, nil
}

func (v *Verifier) prove(certs []*x509.Certificate) (*proof, error) {
	if len(certs) == 0 {
		return nil, &VerifyError{Problem: NoneSent}
	}
	if err := checkBounds(certs); err != nil {
		return nil, refusal(Malformed, certs[0], err)
	}
	v.once.Do(v.init)
	p := &proof{certs: certs}
	if v.Roots != nil {
		p.roots = v.Roots()
	}
	if v.Revoked != nil {
		p.revoked = v.Revoked()
	}
	now := v.now()
	key := hashOf(certs)
	if old, ok := v.proofs.Get(key); ok && old.holds(p.roots, p.revoked, now) {
		return old, nil
	}
	if err := p.check(now); err != nil {
		return nil, err
	}
	// Only what held is remembered, and only if it is small: else whoever has
	// one good certificate could fill memory with it and varying ballast.
	if size(certs) <= maxProof {
		// The slice is the connection's, which goes on using it.
		p.certs = slices.Clone(certs)
		v.proofs.Add(key, p)
	}
	return p, nil
}

func (v *Verifier) now() time.Time {
	if v.Now == nil {
		return time.Now()
	}
	return v.Now()
}

func (v *Verifier) init() {
	v.proofs, _ = lru.New[[sha256.Size]byte, *proof](maxProofs) // fails only for a size below one
}

func (p *proof) holds(roots *x509.CertPool, revoked *Revocations, now time.Time) bool {
	return p.roots == roots && p.revoked == revoked && !now.Before(p.from) && !now.After(p.until)
}

// checkBounds keeps the work that follows small, whatever was sent.
func checkBounds(certs []*x509.Certificate) error {
	if len(certs) > maxChain {
		return fmt.Errorf("chain of %d certificates", len(certs))
	}
	if n := size(certs); n > maxOctets {
		return fmt.Errorf("chain of %d octets", n)
	}
	names := 0
	for _, c := range certs {
		names += len(c.DNSNames) + len(c.URIs) + len(c.IPAddresses) + len(c.EmailAddresses)
		if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > maxRSABits {
			return fmt.Errorf("RSA key of %d bits", k.N.BitLen())
		}
	}
	if names > maxNames {
		return fmt.Errorf("%d names", names)
	}
	return nil
}

func size(certs []*x509.Certificate) int {
	n := 0
	for _, c := range certs {
		n += len(c.Raw)
	}
	return n
}

func hashOf(certs []*x509.Certificate) (sum [sha256.Size]byte) {
	h := sha256.New()
	var n [4]byte
	for _, c := range certs {
		binary.BigEndian.PutUint32(n[:], uint32(len(c.Raw)))
		h.Write(n[:])
		h.Write(c.Raw)
	}
	h.Sum(sum[:0])
	return sum
}

// check verifies the chain as RFC 5922 §7.1 asks (by RFC 5280), and fills in
// what it proves.
func (p *proof) check(now time.Time) error {
	leaf := p.certs[0]
	if err := checkTime(leaf, leaf, now); err != nil {
		return err
	}
	if p.roots == nil {
		return refusal(UnknownIssuer, leaf, errors.New("no authority is trusted"))
	}
	chains, err := p.chains(now)
	if err != nil {
		return err
	}
	var chain []*x509.Certificate
	var usage Usage
	for _, c := range chains {
		if u := usageOfChain(c); u.Client() || u.Server() {
			chain, usage = c, u
			break
		}
	}
	if chain == nil {
		return refusal(WrongUsage, leaf, nil)
	}
	if err := p.revoked.check(chain); err != nil {
		return refusal(Revoked, leaf, err)
	}
	id, err := readIdentity(leaf, usage, !constrained(chain))
	if err != nil {
		return err
	}
	p.id = &id
	p.from, p.until = window(chain)
	return nil
}

// chains lets crypto/x509 find the ways from the leaf to a root. Usages are
// looked at by ourselves afterwards.
func (p *proof) chains(now time.Time) ([][]*x509.Certificate, error) {
	leaf := p.certs[0]
	between := x509.NewCertPool()
	for _, c := range p.certs[1:] {
		between.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots:         p.roots,
		Intermediates: between,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err == nil {
		return chains, nil
	}
	if _, ok := errors.AsType[x509.UnhandledCriticalExtension](err); ok {
		return nil, refusal(Malformed, leaf, err)
	}
	// x509 calls the issuer unknown when one between has expired; the admin
	// should not look for a missing root then.
	for _, c := range p.certs[1:] {
		if err := checkTime(c, leaf, now); err != nil {
			return nil, err
		}
	}
	return nil, refusal(UnknownIssuer, leaf, err)
}

func checkTime(c, leaf *x509.Certificate, now time.Time) error {
	who := "it"
	if c != leaf {
		who = describe(c)
	}
	switch {
	case now.Before(c.NotBefore):
		return refusal(NotYetValid, leaf, fmt.Errorf("%s is valid from %s", who, c.NotBefore.UTC().Format(time.RFC3339)))
	case now.After(c.NotAfter):
		return refusal(Expired, leaf, fmt.Errorf("%s ended %s", who, c.NotAfter.UTC().Format(time.RFC3339)))
	}
	return nil
}

func window(chain []*x509.Certificate) (from, until time.Time) {
	from, until = chain[0].NotBefore, chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotBefore.After(from) {
			from = c.NotBefore
		}
		if c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	return from, until
}
