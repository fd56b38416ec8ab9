package s2s

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
)

// A pins is what signed DNS says about the certificates of a server. The zero pins
// is that it says nothing, or nothing that we understand.
type pins struct {
	records []certs.TLSA
	hosts   []string // names of the server: one of them, or the domain's, must be in its certificate where names count
}

// pinned asks DNS for the pins of a server. Secure is whether the records are signed
// that lead to it. An error is that this cannot be known: then nobody must connect
// as if there was nothing (RFC 7673 §3.4).
func (s *Server) pinned(ctx context.Context, secure bool, t locate.XMPPTarget) (pins, error) {
	if !secure || !t.Secure {
		return pins{}, nil
	}
	// With an alias, what stands at its end comes first (RFC 7671 §7).
	for _, host := range []string{t.Alias, t.Host} {
		if host == "" {
			continue
		}
		records, signed, err := s.c.Finder.TLSA(ctx, host, t.Port)
		if err != nil {
			return pins{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		if !signed || len(records) == 0 {
			continue
		}
		p := pins{hosts: []string{host, t.Host}}
		for _, r := range records {
			p.records = append(p.records, certs.TLSA(r))
		}
		p.records = certs.Usable(p.records)
		return p, nil
	}
	return pins{}, nil
}

// fit returns why the certificate of the other side of a stream is none of those
// that DNS names for a domain's server, or nil.
func (s *Server) fit(st *stream, p pins, domain string) error {
	name, _ := ascii(domain)
	_, err := s.c.Verifier.DANE(st.tls.ConnectionState(), p.records, func(id certs.Identity) bool {
		return id.Usage().Web() && (id.SpeaksXMPP(name) || slices.ContainsFunc(p.hosts, id.CoversHostWild))
	})
	return err
}

// vouchedFor reports whether signed DNS names the certificate of the other side of a
// stream as that of one of a domain's servers: which connects shows the same one
// (RFC 7712 §4.2 step 6). That it does not name it is no harm where another proof
// is: records are about servers, and not about all who speak for a domain. An error
// is that it cannot be known.
func (s *Server) vouchedFor(ctx context.Context, st *stream, domain string) (bool, error) {
	if len(st.tls.ConnectionState().PeerCertificates) == 0 || !s.allows(domain) {
		return false, nil
	}
	from := source(st.addr)
	if !s.vouches.take(from) {
		return false, errBusy
	}
	defer s.vouches.leave(from)
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	name, _ := ascii(domain)
	found, err := s.c.Finder.XMPP(ctx, name)
	switch {
	case errors.Is(err, locate.ErrNoRecords), errors.Is(err, locate.ErrForbiddenAddress):
		return false, nil
	case err != nil:
		return false, err
	}
	for _, t := range found.Targets {
		p, e := s.pinned(ctx, found.Secure, t)
		if e != nil {
			err = e
			continue
		}
		if len(p.records) > 0 && s.fit(st, p, domain) == nil {
			return true, nil
		}
	}
	return false, err
}

// errBusy is that nobody could look.
var errBusy = errors.New("too many to look for in dns")

// proofOf is judge, and asks DNS if the certificate proves nothing without. It waits
// for that.
func (s *Server) proofOf(st *stream, domain string) (bridges.Proof, string) {
	proof, why := s.judge(st, domain)
	if proof != bridges.ProofNone {
		return proof, why
	}
	ok, err := s.vouchedFor(s.base, st, domain)
	switch {
	case ok:
		return bridges.ProofDANE, ""
	case err != nil:
		why += ", and dns does not say whether it is"
	}
	return bridges.ProofNone, why
}
