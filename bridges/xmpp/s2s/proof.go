package s2s

import (
	"context"
	"crypto/tls"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/certs"
)

// serverTLS are the settings for those who connect. A certificate is asked for and
// never refused in the handshake: without proof there is dialback, and whoever
// only asks about a key needs none.
func (s *Server) serverSettings() *tls.Config {
	return certs.ServerConfig(certs.ServerOptions{
		Keypair: s.c.Keypair, Verifier: s.c.Verifier, Peer: certs.Requested, Protocols: []string{alpn},
	})
}

// alpn is the protocol of direct TLS (XEP-0368 §3).
const alpn = "xmpp-server"

// clientTLS are the settings for a connection to a domain's server. Its certificate
// is judged afterwards.
func (s *Server) clientTLS(domain string, direct bool) *tls.Config {
	name, _ := ascii(domain)
	c := certs.ClientConfig(certs.ClientOptions{Keypair: s.c.Keypair, Verifier: s.c.Verifier, ServerName: name})
	c.VerifyConnection = nil
	c.ClientSessionCache = nil
	if direct {
		c.NextProtos = []string{alpn}
	}
	return c
}

// identify returns what the certificate of the other side proves now.
func (s *Server) identify(cs tls.ConnectionState) (*certs.Identity, error) {
	v := s.c.Verifier
	if v == nil {
		v = &certs.Verifier{}
	}
	id, err := v.Identify(cs)
	if err != nil {
		return id, err
	}
	// Public authorities issue certificates for servers only, and both sides of a
	// stream are servers; one for clients only is somebody's else.
	if id.Usage()&(certs.UsageServer|certs.UsageAny) == 0 {
		return &certs.Identity{}, &certs.VerifyError{Problem: certs.WrongUsage, Peer: id.Subject()}
	}
	return id, nil
}

// speaks reports whether the certificate of a stream proves a domain.
func (s *Server) speaks(st *stream, domain string) bool {
	proof, _ := s.judge(st, domain)
	return proof >= bridges.ProofCertificate
}

// judge says what the certificate of the other side of a stream proves about a
// domain, and if nothing why.
func (s *Server) judge(st *stream, domain string) (bridges.Proof, string) {
	id, err := s.identify(st.tls.ConnectionState())
	if err != nil {
		return bridges.ProofNone, err.Error()
	}
	name, _ := ascii(domain)
	if !id.CoversWild(name) {
		return bridges.ProofNone, "certificate of " + id.String() + " is not one of " + domain
	}
	return bridges.ProofCertificate, ""
}

// judgeServer is judge for a server that we connected to, whose certificate DNS may
// vouch for (RFC 7712 §5.1, RFC 7673 §4). If it does, nothing else counts: then the
// domain has said which certificates are its own.
func (s *Server) judgeServer(ctx context.Context, st *stream, t Target, secure bool) (bridges.Proof, string) {
	if secure {
		records, ok, err := s.c.Finder.TLSA(ctx, t.Host, t.Port)
		if err == nil && ok && len(records) > 0 {
			leaf := st.tls.ConnectionState().PeerCertificates[0]
			for _, r := range records {
				if r.match(leaf) {
					return bridges.ProofDANE, ""
				}
			}
			return bridges.ProofNone, "its certificate is none of those that DNS names"
		}
	}
	return s.judge(st, st.remote)
}
