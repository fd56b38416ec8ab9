package s2s

import (
	"context"
	"fmt"

	"github.com/sipedge/sipedge/certs"
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

// matches says what records make of a stream's certificate, which is to be that of a
// domain or of one of its servers. An error is that it is none of those that they
// name; without a record that says something usable there is neither.
func (s *Server) matches(st *stream, domain string, t locate.XMPPTarget, records []locate.TLSA) (ok bool, err error) {
	pins := make([]certs.TLSA, len(records))
	for i, r := range records {
		pins[i] = certs.TLSA(r)
	}
	if len(certs.Usable(pins)) == 0 {
		return false, nil
	}
	name, _ := ascii(domain)
	_, err = s.verifier().DANE(st.tls.ConnectionState(), pins, func(id certs.Identity) bool {
		return id.SpeaksXMPP(name) || id.CoversHost(t.Host) || t.Alias != "" && id.CoversHost(t.Alias)
	})
	return err == nil, err
}

// vouchedFor reports whether signed DNS names the certificate of a stream that a
// domain has opened as that of one of the domain's servers: which connects shows the
// same one (RFC 7712 §4.2, step 6).
func (s *Server) vouchedFor(st *stream, domain string) bool {
	if len(st.tls.ConnectionState().PeerCertificates) == 0 || !s.allows(domain) {
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
			if ok, _ := s.matches(st, domain, t, pins); ok {
				return true
			}
		}
	}
	return false
}
