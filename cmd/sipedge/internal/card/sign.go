package card

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// algorithms are those that a card may be signed with. There is one for each
// kind of key, so the key says which it must be and the card has no choice.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA}

// algorithmOf returns the algorithm that goes with a public key.
func algorithmOf(key any) (jose.SignatureAlgorithm, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n >= 2048 && n <= 8192 {
			return jose.RS256, nil
		}
		return "", errors.New("an RSA key for cards has 2048 to 8192 bits")
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return jose.ES256, nil
		}
	case ed25519.PublicKey:
		return jose.EdDSA, nil
	}
	return "", errors.New("cards are signed with RSA, ECDSA P-256 or Ed25519, and the key of the certificate is none of them")
}

// What stands around a card in a file or a mail. Lines are folded so that no
// mail program does it.
const (
	begin     = "-----BEGIN PARTNER CARD-----"
	end       = "-----END PARTNER CARD-----"
	lineWidth = 64
	mediaType = "sipedge-card"
)

// Sign makes the file of a card, signed with the key of a certificate of ours.
// The version is filled in.
func Sign(c Card, pair *tls.Certificate) ([]byte, error) {
	c.Version = version
	if err := c.Valid(); err != nil {
		return nil, err
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return signPayload(payload, pair)
}

func signPayload(payload []byte, pair *tls.Certificate) ([]byte, error) {
	alg, err := algorithmOf(pair.Leaf.PublicKey)
	if err != nil {
		return nil, err
	}
	chain := make([]string, len(pair.Certificate))
	for i, der := range pair.Certificate {
		chain[i] = base64.StdEncoding.EncodeToString(der) // RFC 7515 §4.1.6: not base64url here
	}
	options := new(jose.SignerOptions).WithType(mediaType).WithHeader("x5c", chain)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: pair.PrivateKey}, options)
	if err != nil {
		return nil, fmt.Errorf("sign card: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return nil, fmt.Errorf("sign card: %w", err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		return nil, fmt.Errorf("sign card: %w", err)
	}
	return armor(text), nil
}

func armor(text string) []byte {
	var b strings.Builder
	b.WriteString(begin + "\n")
	for len(text) > 0 {
		n := min(lineWidth, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	b.WriteString(end + "\n")
	return []byte(b.String())
}

// PrivateAuthority finds the authority of our certificate among candidates, nil
// if it is one that everybody has or none of them signed it. System is what
// everybody has; nil: nothing.
func PrivateAuthority(pair *tls.Certificate, system *x509.CertPool, candidates []*x509.Certificate) (ca *x509.Certificate, known bool) {
	between := x509.NewCertPool()
	var chain []*x509.Certificate
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
			chain = append(chain, c)
		}
	}
	signedBy := func(roots *x509.CertPool) bool {
		if roots == nil {
			return false
		}
		_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		return err == nil
	}
	if signedBy(system) {
		return nil, true
	}
	for _, c := range append(chain, candidates...) {
		one := x509.NewCertPool()
		one.AddCert(c)
		if selfSigned(c) && signedBy(one) {
			return c, true
		}
	}
	return nil, false
}

func selfSigned(c *x509.Certificate) bool {
	return c.IsCA && string(c.RawSubject) == string(c.RawIssuer) && c.CheckSignatureFrom(c) == nil
}
