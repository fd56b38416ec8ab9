package s2s

import (
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
func (st *stream) clientTLS() *tls.Config {
	s := st.s
	name, _ := ascii(st.remote)
	c := certs.ClientConfig(certs.ClientOptions{Keypair: s.c.Keypair, Verifier: s.c.Verifier, ServerName: name})
	c.VerifyConnection = nil
	c.ClientSessionCache = nil
	show := c.GetClientCertificate
	c.GetClientCertificate = func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if st.hide {
			return &tls.Certificate{}, nil
		}
		st.shown = true
		return show(asked)
	}
	if st.direct {
		c.NextProtos = []string{alpn}
	}
	return c
}

// identify returns what the certificate of the other side proves now.
func (s *Server) identify(cs tls.ConnectionState) (*certs.Identity, error) {
	id, err := s.c.Verifier.Identify(cs)
	if err != nil {
		return id, err
	}
	// Public authorities issue certificates for servers only, and both sides of a
	// stream are servers; one for clients only is somebody's else.
	if !id.Usage().Web() {
		return &certs.Identity{}, &certs.VerifyError{Problem: certs.WrongUsage, Peer: id.Subject()}
	}
	return id, nil
}

// judge says what the certificate of the other side of a stream proves about a
// domain, and if nothing why.
func (s *Server) judge(st *stream, domain string) (bridges.Proof, string) {
	if st.vouched != "" && st.vouched == domain {
		return bridges.ProofDANE, ""
	}
	id, err := s.identify(st.tls.ConnectionState())
	if err != nil {
		return bridges.ProofNone, err.Error()
	}
	name, _ := ascii(domain)
	if !id.SpeaksXMPP(name) {
		return bridges.ProofNone, "certificate of " + id.String() + " is not one of " + domain
	}
	return bridges.ProofCertificate, ""
}

// judgeServer is judge for a server that we connected to, for whose certificate signed
// DNS may vouch (RFC 7712 §5.1). If it says something that we understand, nothing else
// counts: then the domain has said which certificates are its own, and denied is that
// this is another (RFC 6698 §4.1). If it only says that this is one of the domain's
// servers, a certificate of the server will do (RFC 7673 §4.1).
func (s *Server) judgeServer(st *stream, t target) (proof bridges.Proof, why string, denied bool) {
	if len(t.pins.records) > 0 {
		if err := s.fit(st, t.pins, st.remote); err != nil {
			return bridges.ProofNone, err.Error(), true
		}
		return bridges.ProofDANE, "", false
	}
	proof, why = s.judge(st, st.remote)
	if proof == bridges.ProofNone && t.signed {
		if id, err := s.identify(st.tls.ConnectionState()); err == nil && id.CoversHostWild(t.Host) {
			return bridges.ProofCertificate, "", false
		}
	}
	return proof, why, false
}
