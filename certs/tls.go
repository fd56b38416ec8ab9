package certs

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"sync/atomic"
)

// PeerCertificate says what a listener asks of those who connect. The zero
// value demands a certificate that holds.
type PeerCertificate int

const (
	Required  PeerCertificate = iota // without one that holds, the handshake fails
	Requested                        // one that holds proves an identity; none, or one that does not, proves nothing
	NotAsked                         // no certificate is asked for
)

// ServerOptions say how we answer a TLS handshake.
type ServerOptions struct {
	Keypair  *Keypair        // what we show
	Peer     PeerCertificate // what we ask for
	Verifier *Verifier       // who is trusted; nil trusts nobody
	// Hints returns the authorities to name in the request for a certificate;
	// nil, or a nil pool, names none. It is a Roots' Hints.
	Hints func() *x509.CertPool
	// Accept looks at an identity that holds; an error refuses it, as
	// NameNotCovered unless it is a *VerifyError itself. It runs in the
	// handshake, on resumed sessions too, and before the peer has proved that it
	// holds the key: what it does must not outlive a handshake that fails. Nil
	// accepts.
	Accept func(Identity) error
	// Refused is told about each certificate that is refused, in the handshake.
	// Nil is told nothing. What crypto/tls refuses by itself comes out of the
	// handshake only: see ProblemOf.
	Refused func(*VerifyError)
	// Protocols are the application protocols (ALPN, RFC 7301) that we know. Of
	// those that a client offers the first that is among them is chosen. A client
	// that offers none of them is welcome, and gets no answer to its offer.
	Protocols []string
	// Unasked are those of Protocols whose clients are not asked for a certificate
	// that is only Requested. Browsers have none, and give up a WebSocket when they
	// are asked.
	Unasked []string
}

// ServerConfig makes the settings of a listener. The handshake has verified the
// peer when it returns; Verifier.Identify then gives the identity for the price
// of a hash.
func ServerConfig(o ServerOptions) *tls.Config {
	c := baseConfig()
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return o.Keypair.Certificate(), nil }
	if o.Peer == NotAsked {
		return perClient(c, o)
	}
	// Not RequireAndVerifyClientCert: it refuses certificates without the
	// client usage. These two verify nothing; VerifyConnection does.
	c.ClientAuth = tls.RequireAnyClientCert
	if o.Peer == Requested {
		c.ClientAuth = tls.RequestClientCert
	}
	c.VerifyConnection = o.verify
	if o.Verifier != nil {
		c.Time = o.Verifier.Now // a ticket ends with the certificate in it
	}
	return perClient(c, o)
}

// verify is the server's check of a connection, also of a resumed one.
func (o *ServerOptions) verify(cs tls.ConnectionState) error {
	v := o.Verifier
	if v == nil {
		v = &Verifier{}
	}
	p, err := v.prove(cs.PeerCertificates)
	if err == nil {
		// crypto/tls keeps this very slice as long as the connection lives.
		// With the shared certificates in it, which are the same octet for
		// octet, its own parsed copies can go: 3 KiB and more for each. Not
		// on the client's side, where sessions share the slice.
		copy(cs.PeerCertificates, p.certs)
		err = accept(o.Accept, p.id)
	}
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*VerifyError](err); ok && o.Refused != nil && (o.Peer == Required || e.Problem != NoneSent) {
		o.Refused(e)
	}
	if o.Peer == Requested {
		return nil
	}
	return err
}

func accept(f func(Identity) error, id *Identity) error {
	if f == nil {
		return nil
	}
	err := f(*id)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*VerifyError](err); ok {
		return e
	}
	return &VerifyError{Problem: NameNotCovered, Peer: id.String(), Err: err}
}

// perClient names the authorities in the handshake, those of this moment, and
// the protocol of this client: crypto/tls refuses clients that offer only others
// than it was told. Nil hints name no authorities, nor do those of a listener that
// asks for no certificate.
//
// A config that GetConfigForClient returns uses the ticket keys of the one it was
// called on, as long as it never had its own: so the inner ones are cloned from
// a config that nobody rotates.
func perClient(base *tls.Config, o ServerOptions) *tls.Config {
	hints, protocols := o.Hints, o.Protocols
	if o.Peer == NotAsked {
		hints = nil
	}
	if hints == nil && len(protocols) == 0 {
		return base
	}
	last := make([]atomic.Pointer[tls.Config], len(protocols)+1)
	outer := base.Clone()
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		var pool *x509.CertPool
		if hints != nil {
			pool = hints()
		}
		at := chosen(protocols, hello.SupportedProtos)
		if pool == nil && at == len(protocols) {
			return nil, nil
		}
		if c := last[at].Load(); c != nil && c.ClientCAs == pool {
			return c, nil
		}
		c := base.Clone()
		c.ClientCAs = pool
		if at < len(protocols) {
			c.NextProtos = protocols[at : at+1]
			if o.Peer == Requested && slices.Contains(o.Unasked, protocols[at]) {
				c.ClientAuth = tls.NoClientCert
			}
		}
		last[at].Store(c)
		return c, nil
	}
	return outer
}

// chosen is the place of the first offer that is known, len(known) if none is.
func chosen(known, offers []string) int {
	for _, o := range offers {
		if at := slices.Index(known, o); at >= 0 {
			return at
		}
	}
	return len(known)
}

// Rotate gives a server config a new ticket key, and voids every ticket made
// before. Without a call crypto/tls rotates by itself once a day; after the
// first call it no longer does, so then it is to be called at least daily.
func Rotate(c *tls.Config) {
	var key [32]byte
	rand.Read(key[:]) // never fails
	c.SetSessionTicketKeys([][32]byte{key})
}

// SetTicketKeys gives a server config the ticket keys that it is to use; the first makes
// tickets, all of them open some. Whoever calls it once sees to it from then on that keys
// do not live too long.
func SetTicketKeys(c *tls.Config, keys [][32]byte) { c.SetSessionTicketKeys(keys) }

// ClientOptions say how we connect to a server.
type ClientOptions struct {
	Keypair  *Keypair  // what we show; nil shows nothing
	Verifier *Verifier // who is trusted; nil trusts nobody
	// ServerName is the name that is verified, sent as SNI (an address is not).
	ServerName string
	// Accept looks at an identity that holds, for instance with CoversHost; an
	// error refuses it. Nil demands that it covers ServerName as a host.
	Accept func(Identity) error
}

// ClientConfig makes the settings for connections to one partner or pool.
// Sessions are remembered with the config: two partners must never share one,
// or a session made with the first would be offered to the second.
func ClientConfig(o ClientOptions) *tls.Config {
	c := baseConfig()
	c.ServerName = o.ServerName
	c.InsecureSkipVerify = true // VerifyConnection does it, on resumed sessions too
	c.VerifyConnection = o.verify
	if o.Verifier != nil {
		c.Time = o.Verifier.Now
	}
	c.ClientSessionCache = &sessions{keypair: o.Keypair, cache: tls.NewLRUClientSessionCache(maxSessions)}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if o.Keypair == nil {
			return &tls.Certificate{}, nil
		}
		// Whatever authorities the server names: its list is often wrong, and
		// without a certificate we are refused anyway.
		return o.Keypair.Certificate(), nil
	}
	return c
}

func (o *ClientOptions) verify(cs tls.ConnectionState) error {
	v := o.Verifier
	if v == nil {
		v = &Verifier{}
	}
	id, err := v.Identify(cs)
	if err != nil {
		return err
	}
	f := o.Accept
	if f == nil {
		f = func(id Identity) error {
			if id.CoversHost(o.ServerName) {
				return nil
			}
			return errors.New("not " + o.ServerName)
		}
	}
	return accept(f, id)
}

// maxSessions is how many sessions are remembered for one partner: one for each
// name of its servers.
const maxSessions = 8

// sessions forgets the sessions that were made with another certificate of
// ours: a renewed one would otherwise not be seen until they end.
type sessions struct {
	keypair *Keypair
	cache   tls.ClientSessionCache
}

func (s *sessions) Get(key string) (*tls.ClientSessionState, bool) {
	return s.cache.Get(s.mark() + key)
}

func (s *sessions) Put(key string, cs *tls.ClientSessionState) { s.cache.Put(s.mark()+key, cs) }

func (s *sessions) mark() string {
	if s.keypair == nil {
		return ""
	}
	return string(s.keypair.Leaf().Signature)
}

func baseConfig() *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS12,
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256},
		// For TLS 1.2: forward secrecy and AEAD only. TLS 1.3 has nothing else.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		Renegotiation: tls.RenegotiateNever,
		// SIP can use nothing before a message is whole, so small first records
		// would only cost.
		DynamicRecordSizingDisabled: true,
	}
}
