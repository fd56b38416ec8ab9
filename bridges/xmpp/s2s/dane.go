package s2s

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"fmt"

	"github.com/sipedge/sipedge/locate"
)

// pinned finds what signed DNS says about the certificates of a server (RFC 7673
// §3). An error is that this cannot be known: nobody must connect then as if there
// was nothing.
func (s *Server) pinned(ctx context.Context, secure bool, t locate.XMPPTarget) ([]locate.TLSA, error) {
	if !secure || !t.Secure {
		return nil, nil
	}
	// With an alias, what stands at its end comes first (RFC 7671 §7).
	for _, host := range []string{t.Alias, t.Host} {
		if host == "" {
			continue
		}
		records, signed, err := s.c.Finder.TLSA(ctx, host, t.Port)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		if signed && len(records) > 0 {
			return records, nil
		}
	}
	return nil, nil
}

// matches reports whether a certificate is one that records name, and whether any of
// them says something that we understand.
func matches(records []locate.TLSA, leaf *x509.Certificate) (ok, usable bool) {
	for _, r := range records {
		raw := leaf.Raw
		if r.Selector == 1 {
			raw = leaf.RawSubjectPublicKeyInfo
		}
		switch r.Matching {
		case 0:
		case 1:
			h := sha256.Sum256(raw)
			raw = h[:]
		case 2:
			h := sha512.Sum512(raw)
			raw = h[:]
		default:
			continue
		}
		if r.Usage != 3 || r.Selector > 1 {
			continue
		}
		usable = true
		if subtle.ConstantTimeCompare(raw, r.Data) == 1 {
			return true, true
		}
	}
	return false, usable
}

// vouchedFor reports whether signed DNS names the certificate of a stream that a
// domain has opened as that of one of the domain's servers: which connects shows the
// same one (RFC 7712 §4.2, step 6).
func (s *Server) vouchedFor(st *stream, domain string) bool {
	certificates := st.tls.ConnectionState().PeerCertificates
	if len(certificates) == 0 || !s.allows(domain) {
		return false
	}
	ctx, cancel := context.WithTimeout(s.base, connectTime)
	defer cancel()
	name, _ := ascii(domain)
	records, err := s.c.Finder.XMPP(ctx, name)
	if err != nil || !records.Secure {
		return false
	}
	for i, t := range records.Targets {
		if i == maxTries {
			break
		}
		if pins, err := s.pinned(ctx, true, t); err == nil {
			if ok, _ := matches(pins, certificates[0]); ok {
				return true
			}
		}
	}
	return false
}
