package locate

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"
)

const (
	hostsFile    = "/etc/hosts"
	maxHostsFile = 1 << 20
)

// localHost returns the addresses that this machine itself gives a name: of
// localhost (RFC 6761 §6.3), and those in the hosts file, unless the admin has
// configured resolvers. It is for names that the admin wrote down, never for
// names that come from DNS.
func (l *Locator) localHost(name string) []netip.Addr {
	if name == "localhost" {
		return []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	if l.hosts == "" {
		return nil
	}
	f, err := os.Open(l.hosts)
	if err != nil {
		return nil
	}
	defer f.Close()
	return readHosts(io.LimitReader(f, maxHostsFile), name)
}

// readHosts finds a name in a hosts file (hosts(5)).
func readHosts(r io.Reader, name string) []netip.Addr {
	var addrs []netip.Addr
	for s := bufio.NewScanner(r); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		ip, ok := parseIP(fields[0])
		if !ok {
			continue
		}
		for _, alias := range fields[1:] {
			if strings.EqualFold(alias, name) && len(addrs) < maxHops {
				addrs = append(addrs, ip)
			}
		}
	}
	return addrs
}
