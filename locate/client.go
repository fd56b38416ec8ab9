package locate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	resolvConf = "/etc/resolv.conf"

	queryTime  = 1500 * time.Millisecond // one question to one resolver
	rounds     = 2                       // how often each resolver is asked
	ednsSize   = 1232                    // what a resolver may send by UDP without fragments (DNS flag day 2020)
	maxMessage = 4096                    // what is read of a datagram all the same
)

// client asks resolvers. It holds no connections.
type client struct {
	servers   []string
	validates bool         // they check signatures, and nobody is between them and us
	preferred atomic.Int32 // the one that answered last: a dead first one costs its time once
	timeout   time.Duration
}

// resolvers returns the addresses to ask.
func (c Config) resolvers() ([]string, error) {
	if len(c.Servers) == 0 {
		return systemResolvers(resolvConf), nil
	}
	var servers []string
	for _, s := range c.Servers {
		if ip, ok := parseIP(s); ok {
			servers = append(servers, netip.AddrPortFrom(ip, 53).String())
			continue
		}
		ap, err := netip.ParseAddrPort(s)
		if err != nil || ap.Port() == 0 {
			return nil, fmt.Errorf("dns server %q: not an address", s)
		}
		servers = append(servers, ap.String())
	}
	return servers, nil
}

// dockers is the resolver in Docker's containers.
var dockers = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// validates reports whether the word of the resolvers on signatures can be believed.
// "A security-aware stub resolver MUST NOT place any reliance on signature validation
// allegedly performed on its behalf" but "via a secure channel" (RFC 4035 §4.9.3).
// One of several that is elsewhere spoils it: whoever silences the others would
// choose what is signed.
func (c Config) validates(servers []string) (bool, error) {
	if c.Validating != nil && !*c.Validating {
		return false, nil
	}
	for _, s := range servers {
		ap, err := netip.ParseAddrPort(s)
		switch ip := ap.Addr().Unmap(); {
		case c.Validating == nil && ip == dockers:
			// COMPAT(Docker): it claims to have checked what somebody else may have.
			return false, nil
		case err == nil && ip.IsLoopback():
		case c.Validating == nil:
			return false, nil
		default:
			return false, fmt.Errorf("validating: dns server %s is not on loopback: anybody on the way could say that its answers are signed", s)
		}
	}
	return len(servers) > 0, nil
}

// Validates reports whether the resolvers check signatures, as far as we know.
func (l *Locator) Validates() bool { return l.dns.validates }

// systemResolvers reads the system's resolvers; without any it is the one on
// this machine, as everywhere (resolv.conf(5)).
func systemResolvers(file string) []string {
	var servers []string
	if c, err := dns.ClientConfigFromFile(file); err == nil {
		for _, s := range c.Servers {
			servers = append(servers, net.JoinHostPort(s, c.Port))
		}
	}
	if servers == nil {
		servers = []string{"127.0.0.1:53"}
	}
	return servers
}

// ask puts one question to the resolvers in turn until one gives an answer that
// can be believed: success or NXDOMAIN.
func (c *client) ask(ctx context.Context, name string, qtype uint16) (*message, error) {
	failed := make([]bool, len(c.servers)) // those that answered, badly: asking again helps nobody
	err := error(ErrTimeout)
	first := int(c.preferred.Load())
	for range rounds {
		for i := range c.servers {
			at := (first + i) % len(c.servers)
			if failed[at] {
				continue
			}
			m, e := c.exchange(ctx, c.servers[at], name, qtype)
			if e == nil {
				m.authentic = m.authentic && c.validates
				c.preferred.Store(int32(at))
				return m, nil
			}
			if ctx.Err() != nil {
				return nil, err
			}
			if !errors.Is(e, ErrTimeout) {
				failed[at], err = true, e
			}
		}
	}
	return nil, err
}

// exchange asks one resolver: by UDP, and by TCP if the answer was cut. One
// that does not know EDNS is asked without (RFC 6891 §7).
func (c *client) exchange(ctx context.Context, server, name string, qtype uint16) (*message, error) {
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	q.SetEdns0(ednsSize, false)
	q.AuthenticatedData = c.validates // asks to be told (RFC 6840 §5.7)
	m, err := c.once(ctx, "udp", server, q)
	if err == nil && m.rcode == dns.RcodeFormatError {
		q.Extra, q.Id = nil, dns.Id()
		m, err = c.once(ctx, "udp", server, q)
	}
	if err == nil && m.truncated {
		q.Id = dns.Id()
		if m, err = c.once(ctx, "tcp", server, q); err == nil && m.truncated {
			err = errors.New("cut over TCP too")
		}
	}
	if err != nil {
		return nil, classify(server, err)
	}
	if m.rcode != dns.RcodeSuccess && m.rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("%w: %s says %s", ErrServfail, server, dns.RcodeToString[m.rcode])
	}
	return m, nil
}

func classify(server string, err error) error {
	var t net.Error
	if errors.As(err, &t) && t.Timeout() || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %s", ErrTimeout, server)
	}
	return fmt.Errorf("%w: %s: %w", ErrServfail, server, err)
}

// once sends one message and waits for its answer, on a socket of its own: its
// port is one more thing that who forges an answer has to guess (RFC 5452 §4.5).
func (c *client) once(ctx context.Context, network, server string, q *dns.Msg) (*message, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	packed, err := q.Pack()
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The deadline of ctx, and its end by Close.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		return overTCP(conn, packed, q)
	}
	return overUDP(conn, packed, q)
}

// overUDP waits until an answer to q comes. Others are passed over: an answer
// to someone else, or a guess, must not keep the right one from being heard
// (RFC 5452 §9.1).
func overUDP(conn net.Conn, packed []byte, q *dns.Msg) (*message, error) {
	if _, err := conn.Write(packed); err != nil {
		return nil, err
	}
	buf := make([]byte, maxMessage)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		m, ok, err := readMessage(buf[:n], q)
		if ok {
			return m, err
		}
	}
}

func overTCP(conn net.Conn, packed []byte, q *dns.Msg) (*message, error) {
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(packed)))
	if _, err := conn.Write(append(framed, packed...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	// Grows with what comes, not with what is announced; 64 KiB at most.
	raw, err := io.ReadAll(io.LimitReader(conn, int64(binary.BigEndian.Uint16(size[:]))))
	if err != nil {
		return nil, err
	}
	m, ok, err := readMessage(raw, q)
	if !ok {
		return nil, errors.New("answer to another question")
	}
	return m, err
}
