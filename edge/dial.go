package edge

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"syscall"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
)

// dial connects to hop and shakes hands; conf nil means plain TCP. control sees
// the address that is really dialled, just before it is. The flow does nothing
// before start, so that its owner can put it where it belongs.
func (w *wire) dial(ctx context.Context, hop locate.Hop, conf *tls.Config, role Role,
	control func(network, address string, c syscall.RawConn) error) (*Flow, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeouts.handshake)
	defer cancel()
	d := net.Dialer{Control: control}
	nc, err := d.DialContext(ctx, "tcp", hop.Addr.String())
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", hop.Host, err)
	}
	c := newConn(w, nc.(*net.TCPConn), conf != nil)
	loseAfter(c.raw, w.timeouts.write)
	w.shake(c)
	f, err := w.greet(ctx, c, conf)
	if err != nil {
		w.drop(c)
		return nil, fmt.Errorf("dial %s: %w", hop.Host, err)
	}
	f.Role = role
	f.clocks.dialled = true
	w.counts.dialled.Add(1)
	return f, nil
}

// greet is our side of the handshake.
func (w *wire) greet(ctx context.Context, c *conn, conf *tls.Config) (*Flow, error) {
	if conf == nil {
		return w.newFlow(c, nil), nil
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	t := tls.Client(c, conf)
	err := t.Handshake()
	if !stop() {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	f := w.newFlow(c, t)
	peers := t.ConnectionState().PeerCertificates
	if len(peers) == 0 {
		return f, nil
	}
	id, err := certs.ReadIdentity(peers[0])
	f.Peer = &id
	return f, err
}
