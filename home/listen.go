package home

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/sipedge/sipedge/certs"
)

// TLS is the edge's side in mutual TLS: what we show and what we want to see.
type TLS struct {
	Keypair *certs.Keypair // ours
	Roots   *x509.CertPool // who may have signed the edge's certificate
	Edge    string         // the host name that it must prove
}

// accept takes connections of one side until the listener closes. admit judges
// each in a goroutine of its own, so that a slow handshake holds up nobody.
func (s *Server) accept(sd *side, admit func(net.Conn) (*flow, error)) {
	for {
		conn, err := sd.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of files: it passes
			s.log.Warn("accept failed", "error", err)
			select {
			case <-time.After(50 * time.Millisecond):
			case <-s.ctx.Done():
				return
			}
			continue
		}
		s.wg.Go(func() {
			f, err := admit(conn)
			if err != nil {
				conn.Close()
				s.log.Info("flow refused", "remote", conn.RemoteAddr().String(), "error", err)
				return
			}
			s.serve(f)
		})
	}
}

// admitUser takes anybody. What they may do before they sign in, handleRequest
// says.
func (s *Server) admitUser(conn net.Conn) (*flow, error) { return s.open(conn, s.userSide, false) }

// admitEdge takes the edge and nobody else: on its word we believe who a
// request is from.
func (s *Server) admitEdge(conn net.Conn) (*flow, error) {
	if s.cfg.TLS == nil {
		return s.admitAddress(conn)
	}
	secured := tls.Server(conn, s.tls)
	ctx, cancel := context.WithTimeout(s.ctx, handshakeTimeout)
	defer cancel()
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return s.open(secured, s.edgeSide, true)
}

// admitAddress is for plain TCP, where there is nothing to prove with.
func (s *Server) admitAddress(conn net.Conn) (*flow, error) {
	from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	if !slices.ContainsFunc(s.cfg.Peers, func(p netip.Prefix) bool { return p.Contains(from) }) {
		return nil, fmt.Errorf("%s is not the edge", from)
	}
	return s.open(conn, s.edgeSide, true)
}

// edgeTLS is our half of the handshakes that the edge begins. The name is
// checked in the handshake: another name gets no further.
func (s *Server) edgeTLS() *tls.Config {
	return certs.ServerConfig(certs.ServerOptions{
		Keypair:  s.cfg.TLS.Keypair,
		Verifier: s.verifier(),
		Accept:   s.isEdge,
	})
}

func (s *Server) verifier() *certs.Verifier {
	return &certs.Verifier{Roots: func() *x509.CertPool { return s.cfg.TLS.Roots }}
}

// isEdge wants the host name of the edge, exactly (RFC 6125 §6.4.1).
func (s *Server) isEdge(id certs.Identity) error {
	if !id.CoversHost(s.cfg.TLS.Edge) {
		return fmt.Errorf("certificate of %v is not for %s", id, s.cfg.TLS.Edge)
	}
	return nil
}

// edgeFlow is our own connection to the edge: the one that stands, or a new
// one. Requests go there and not back on a connection that the edge made,
// because the edge takes what arrives on those for answers.
func (s *Server) edgeFlow() (*flow, error) {
	s.dialing.Lock()
	defer s.dialing.Unlock()
	if s.out != nil && s.flow(s.out.id) != nil {
		return s.out, nil
	}
	s.mu.Lock()
	addr := s.edge
	s.mu.Unlock()
	if addr == "" {
		return nil, errors.New("no edge")
	}
	conn, err := s.dialEdge(addr)
	if err != nil {
		return nil, fmt.Errorf("dial the edge at %s: %w", addr, err)
	}
	if s.out, err = s.open(conn, s.edgeSide, true); err != nil {
		conn.Close()
		return nil, err
	}
	f := s.out
	s.wg.Go(func() { s.serve(f) })
	return f, nil
}

func (s *Server) dialEdge(addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, dialTimeout)
	defer cancel()
	// From our own address: where each company has its own, that is who calls.
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: s.edgeSide.addr.Addr().AsSlice()}}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil || s.cfg.TLS == nil {
		return conn, err
	}
	secured := tls.Client(conn, certs.ClientConfig(certs.ClientOptions{
		Keypair:    s.cfg.TLS.Keypair,
		Verifier:   s.verifier(),
		ServerName: s.cfg.TLS.Edge,
		Accept:     s.isEdge,
	}))
	if err = secured.HandshakeContext(ctx); err == nil {
		err = ping(ctx, secured)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

// ping waits until the edge has taken our certificate. In TLS 1.3 the handshake
// ends here before it does there, and what was sent to an edge that then
// refuses us would be lost without a word.
func ping(ctx context.Context, conn net.Conn) error {
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	defer conn.SetDeadline(time.Time{})
	if _, err := io.WriteString(conn, "\r\n\r\n"); err != nil {
		return err
	}
	var pong [2]byte
	if _, err := io.ReadFull(conn, pong[:]); err != nil {
		return err
	}
	if string(pong[:]) != "\r\n" {
		return errors.New("no pong (RFC 5626 §3.5.1)")
	}
	return nil
}
