package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// A TLSA is what DNS says about the certificate of a server (RFC 6698 §2.1). Whether
// DNS can be believed is for others to say: the record must be signed, and all that
// led to it.
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// Usages, selectors and matching types (RFC 7218 §2).
const (
	pkixTA, pkixEE, daneTA, daneEE = 0, 1, 2, 3
	wholeCert, publicKey           = 0, 1
	inFull, asSHA256, asSHA512     = 0, 1, 2
)

// RecordOf returns what to publish about a certificate: its key, so that the record
// holds until the key changes, whatever else does (RFC 7671 §5.1).
func RecordOf(cert *x509.Certificate) TLSA {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return TLSA{Usage: daneEE, Selector: publicKey, Matching: asSHA256, Data: sum[:]}
}

// Line is the record as a zone file has it, for the server at a host and port.
func (r TLSA) Line(host string, port int) string {
	return fmt.Sprintf("_%d._tcp.%s. IN TLSA %s", port, strings.TrimSuffix(host, "."), r)
}

func (r TLSA) String() string {
	return fmt.Sprintf("%d %d %d %s", r.Usage, r.Selector, r.Matching, hex.EncodeToString(r.Data))
}

// usable reports whether the record says something that we know, and that a
// certificate can fit (RFC 6698 §4.1).
func (r TLSA) usable() bool {
	if r.Usage > daneEE || r.Selector > publicKey {
		return false
	}
	switch r.Matching {
	case inFull:
		der := r.Data
		_, ok := element(&der, asn1.ClassUniversal, asn1.TagSequence)
		return ok && len(der) == 0
	case asSHA256:
		return len(r.Data) == sha256.Size
	case asSHA512:
		return len(r.Data) == sha512.Size
	}
	return false
}

// Usable returns the records that count: those that can be used, and of digests of
// one usage and selector only the strongest (RFC 7671 §9). If there is none, all is
// as if there were no records (RFC 7673 §4.1).
func Usable(records []TLSA) []TLSA {
	var usable []TLSA
	for _, r := range records {
		if r.usable() {
			usable = append(usable, r)
		}
	}
	stronger := func(r TLSA) bool {
		return r.Matching == asSHA256 && slices.ContainsFunc(usable, func(s TLSA) bool {
			return s.Usage == r.Usage && s.Selector == r.Selector && s.Matching == asSHA512
		})
	}
	var best []TLSA
	for _, r := range usable {
		if !stronger(r) {
			best = append(best, r)
		}
	}
	return best
}

// names reports whether the record is about a certificate.
func (r TLSA) names(c *x509.Certificate) bool {
	octets := c.Raw
	if r.Selector == publicKey {
		octets = c.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case asSHA256:
		sum := sha256.Sum256(octets)
		octets = sum[:]
	case asSHA512:
		sum := sha512.Sum512(octets)
		octets = sum[:]
	}
	return bytes.Equal(octets, r.Data)
}

// DANE returns the first of the usable records that the peer's certificate fits
// (RFC 7671 §5). With usage 3 nothing but the certificate or its key counts: neither
// names nor dates nor who signed it. With usage 2 the record names an authority that
// the peer has shown, or that it holds in full. With usages 0 and 1 the certificate
// must be good without it. But for usage 3 it must also be one that covers takes.
//
// A record of usage 2 with nothing but the authority's key is of use only if the
// peer shows the authority's certificate, as it must (RFC 7671 §5.2.3).
//
// The error is a *VerifyError.
func (v *Verifier) DANE(cs tls.ConnectionState, records []TLSA, covers func(Identity) bool) (TLSA, error) {
	certs := cs.PeerCertificates
	if len(certs) == 0 {
		return TLSA{}, &VerifyError{Problem: NoneSent}
	}
	leaf := certs[0]
	if err := checkBounds(certs); err != nil {
		return TLSA{}, refusal(Malformed, leaf, err)
	}
	records = Usable(records)
	for _, r := range records {
		if r.Usage == daneEE && r.names(leaf) {
			return r, nil
		}
	}
	var err error
	for _, r := range records {
		ok, e := false, error(nil)
		switch {
		case r.Usage == daneTA:
			ok, e = v.anchored(certs, r, covers)
		case r.Usage == pkixEE && r.names(leaf), r.Usage == pkixTA:
			ok, e = v.limited(certs, r, covers)
		}
		if ok {
			return r, nil
		}
		if e != nil {
			err = e
		}
	}
	if err == nil {
		err = refusal(KeyNotPinned, leaf, fmt.Errorf("none of the %d that dns names", len(records)))
	}
	return TLSA{}, err
}

// anchored reports whether a chain leads to an authority that a record names
// (DANE-TA). That may be any that was shown, whether it signed itself or not.
func (v *Verifier) anchored(certs []*x509.Certificate, r TLSA, covers func(Identity) bool) (bool, error) {
	above := slices.DeleteFunc(slices.Clone(certs[1:]), func(c *x509.Certificate) bool { return !r.names(c) })
	if r.Selector == wholeCert && r.Matching == inFull {
		if c, err := x509.ParseCertificate(r.Data); err == nil {
			above = append(above, c)
		}
	}
	pool, found := x509.NewCertPool(), false
	for _, c := range above {
		if !c.Equal(certs[0]) { // nobody's own authority
			pool.AddCert(c)
			found = true
		}
	}
	if !found {
		return false, nil
	}
	p := &proof{certs: certs, roots: pool}
	if v.Revoked != nil {
		p.revoked = v.Revoked()
	}
	if err := p.check(v.now()); err != nil {
		return false, err
	}
	return p.is(covers)
}

// limited reports whether a certificate that is good without a record is good with
// it (PKIX-TA, PKIX-EE).
func (v *Verifier) limited(certs []*x509.Certificate, r TLSA, covers func(Identity) bool) (bool, error) {
	p, err := v.prove(certs)
	if err != nil {
		return false, err
	}
	if r.Usage == pkixTA {
		chains, err := p.chains(v.now())
		if err != nil {
			return false, err
		}
		if !slices.ContainsFunc(chains, func(chain []*x509.Certificate) bool { return slices.ContainsFunc(chain[1:], r.names) }) {
			return false, nil
		}
	}
	return p.is(covers)
}

func (p *proof) is(covers func(Identity) bool) (bool, error) {
	if covers(*p.id) {
		return true, nil
	}
	return false, &VerifyError{Problem: NameNotCovered, Peer: p.id.String()}
}
