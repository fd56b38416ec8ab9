package account

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/address"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

const (
	dialTime  = 10 * time.Second
	loginTime = 45 * time.Second // for all of one target
)

// A watcher hears of each step on the way to a session. A nil one does not.
type watcher func(step string, err error, detail string)

func (w watcher) saw(step string, err error, format string, args ...any) {
	if w != nil {
		w(step, err, fmt.Sprintf(format, args...))
	}
}

// connect makes a stream of which the login is done, at the first target at which
// that succeeds. A server that says that the credentials are wrong is believed.
func (a *Account) connect(ctx context.Context, w watcher) (*stream, string, error) {
	bare, domain, err := a.address()
	if err != nil {
		return nil, "", err
	}
	targets, err := a.targets(ctx, domain)
	if err != nil {
		w.saw("DNS", err, "")
		return nil, "", err
	}
	var last error
	for _, t := range targets {
		s, full, err := a.at(ctx, t, bare, domain, w)
		if err == nil {
			return s, full, nil
		}
		last = fmt.Errorf("%s: %w", t.address(), err)
		if errors.Is(err, ErrCredentials) || ctx.Err() != nil {
			break
		}
	}
	return nil, "", last
}

// at tries one target.
func (a *Account) at(ctx context.Context, t target, bare address.JID, domain string, w watcher) (s *stream, full string, err error) {
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	conn, err := a.dial(ctx, t)
	w.saw("connect "+t.address(), err, "")
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		if !stop() && err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			conn.Close()
			s = nil
		}
	}()
	secure, err := a.secure(ctx, conn, t, bare, domain)
	if err != nil {
		w.saw("TLS", err, "")
		return nil, "", err
	}
	state := secure.ConnectionState()
	w.saw("TLS", nil, "%s, certificate of %s", tls.VersionName(state.Version), domain)
	s = newStream(secure)
	full, how, err := a.login(ctx, s, bare)
	w.saw("login", err, "as %s with %s", full, how)
	if err != nil {
		return nil, "", err
	}
	s.reader.SetLimits(stanza.Limits{Stanza: maxStanza})
	return s, full, nil
}

func (a *Account) dial(ctx context.Context, t target) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	dial := a.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return dial(ctx, "tcp", t.address())
}

// secure makes a connection one with TLS, at once or by STARTTLS. There is no
// session without.
func (a *Account) secure(ctx context.Context, conn net.Conn, t target, bare address.JID, domain string) (*tls.Conn, error) {
	conf := new(tls.Config)
	if a.TLS != nil {
		conf = a.TLS.Clone()
	}
	conf.ServerName = domain // never the name that DNS led to (RFC 6120 §13.7.2.1)
	conf.MinVersion = max(conf.MinVersion, tls.VersionTLS12)
	if t.direct {
		conf.NextProtos = []string{"xmpp-client"} // XEP-0368 §4
	} else if err := a.startTLS(newStream(conn), bare.Domainpart()); err != nil {
		return nil, err
	}
	secure := tls.Client(conn, conf)
	err := secure.HandshakeContext(ctx)
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &verification):
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	case err != nil:
		return nil, fmt.Errorf("%w: TLS: %w", ErrUnreachable, err)
	}
	return secure, nil
}

// startTLS asks for TLS (RFC 6120 §5.4). Our user is not named before.
func (a *Account) startTLS(s *stream, domain string) error {
	e, err := s.proceed(domain)
	switch {
	case err != nil:
		return fmt.Errorf("%w: STARTTLS: %w", ErrUnreachable, err)
	case e == nil:
		return fmt.Errorf("%w: STARTTLS is not offered", ErrUntrusted)
	case !e.Is(nsTLS, "proceed"):
		return fmt.Errorf("%w: STARTTLS is answered with <%s/>", ErrUntrusted, e.Local)
	case s.reader.Buffered() > 0: // somebody else's (RFC 6120 §5.4.3.1)
		return fmt.Errorf("%w: there is more behind <proceed/>", ErrUntrusted)
	}
	return nil
}

// proceed returns the answer to STARTTLS; nil if it is not offered.
func (s *stream) proceed(domain string) (*stanza.Element, error) {
	if err := s.begin(attr("to", domain), attr("version", "1.0")); err != nil {
		return nil, err
	}
	offered, err := s.features()
	if err != nil || offered.Child(nsTLS, "starttls") == nil {
		return nil, err
	}
	if err := s.write(stanza.New(nsTLS, "starttls")); err != nil {
		return nil, err
	}
	return s.next()
}
