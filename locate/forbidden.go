package locate

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// rules say where a partner's DNS may send us.
type rules struct {
	allowed []netip.Prefix
	own     func() []netip.AddrPort
}

// notPublic are the ranges that no partner's edge can have on the Internet, and
// that lead to us, to our inside, or nowhere (RFC 6890 and its registries).
// Documentation ranges are not among them: nothing is there to protect.
var notPublic = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),      // this host on this network
	netip.MustParsePrefix("10.0.0.0/8"),     // private
	netip.MustParsePrefix("100.64.0.0/10"),  // carrier-grade NAT
	netip.MustParsePrefix("127.0.0.0/8"),    // loopback
	netip.MustParsePrefix("169.254.0.0/16"), // link-local, with the clouds' metadata
	netip.MustParsePrefix("172.16.0.0/12"),  // private
	netip.MustParsePrefix("192.0.0.0/24"),   // protocol assignments
	netip.MustParsePrefix("192.168.0.0/16"), // private
	netip.MustParsePrefix("198.18.0.0/15"),  // benchmarks
	netip.MustParsePrefix("224.0.0.0/4"),    // multicast
	netip.MustParsePrefix("240.0.0.0/4"),    // reserved, broadcast
	netip.MustParsePrefix("::/128"),         // unspecified
	netip.MustParsePrefix("::1/128"),        // loopback
	netip.MustParsePrefix("64:ff9b:1::/48"), // local NAT64
	netip.MustParsePrefix("100::/64"),       // discard
	netip.MustParsePrefix("2001::/32"),      // Teredo: an IPv4 address, scrambled
	netip.MustParsePrefix("fc00::/7"),       // unique local
	netip.MustParsePrefix("fe80::/10"),      // link-local
	netip.MustParsePrefix("fec0::/10"),      // site-local, once
	netip.MustParsePrefix("ff00::/8"),       // multicast
}

// carriers are IPv6 ranges with an IPv4 address inside, at the octet given.
var carriers = [...]struct {
	netip.Prefix
	at int
}{
	{netip.MustParsePrefix("::ffff:0:0/96"), 12}, // mapped
	{netip.MustParsePrefix("::/96"), 12},         // compatible
	{netip.MustParsePrefix("64:ff9b::/96"), 12},  // NAT64
	{netip.MustParsePrefix("2002::/16"), 2},      // 6to4
}

// ranges reads allowed_ranges; a single address is a range of one.
func (c Config) ranges() ([]netip.Prefix, error) {
	var ranges []netip.Prefix
	var errs []error
	for _, s := range c.AllowedRanges {
		p, err := netip.ParsePrefix(s)
		if ip, ok := parseIP(s); ok {
			p, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("allowed range %q: not a range of addresses", s))
			continue
		}
		ranges = append(ranges, p.Masked())
	}
	return ranges, errors.Join(errs...)
}

// check returns an error around ErrForbiddenAddress unless addr may be dialled
// because a partner's DNS says so. Our own listeners never may: allowed ranges
// are for other machines, and a request that comes back to us is a loop.
func (r *rules) check(addr netip.AddrPort) error {
	ip := addr.Addr().Unmap().WithZone("")
	if r.isOwn(netip.AddrPortFrom(ip, addr.Port())) {
		return fmt.Errorf("%w: we listen there", ErrForbiddenAddress)
	}
	for _, p := range r.allowed {
		if p.Contains(ip) {
			return nil
		}
	}
	if !isPublic(ip) {
		return fmt.Errorf("%w: not a public address, and not in allowed_ranges of [dns]", ErrForbiddenAddress)
	}
	return nil
}

func isPublic(ip netip.Addr) bool {
	if !ip.IsValid() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(ip) {
			return false
		}
	}
	for _, c := range carriers {
		if c.Contains(ip) {
			b := ip.As16()
			return isPublic(netip.AddrFrom4([4]byte(b[c.at : c.at+4])))
		}
	}
	return true
}

// isOwn knows a listener on all addresses by each address of this machine.
func (r *rules) isOwn(addr netip.AddrPort) bool {
	if r.own == nil {
		return false
	}
	for _, o := range r.own() {
		if o.Port() != addr.Port() {
			continue
		}
		ip := o.Addr().Unmap().WithZone("")
		if ip == addr.Addr() || ip.IsUnspecified() && isLocal(addr.Addr()) {
			return true
		}
	}
	return false
}

func isLocal(ip netip.Addr) bool {
	if ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if have, ok := netip.AddrFromSlice(n.IP); ok && have.Unmap() == ip {
				return true
			}
		}
	}
	return false
}

// Control returns the check for net.Dialer's Control: it sees the address that
// is dialled, so that no second answer can slip in between check and use. For a
// server that the admin wrote down everything is allowed.
func (l *Locator) Control(h Hop) func(network, address string, c syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		if !h.FromDNS {
			return nil
		}
		addr, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: %q", ErrForbiddenAddress, address)
		}
		return l.rules.check(addr)
	}
}
