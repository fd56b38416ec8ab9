package account

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// A target is one place where a server may be.
type target struct {
	host     string
	port     int
	direct   bool // TLS from the first octet on
	priority uint16
	weight   uint16
}

func (t target) address() string { return net.JoinHostPort(t.host, strconv.Itoa(t.port)) }

const (
	plainPort  = 5222
	directPort = 5223
	maxTargets = 8 // that are tried
)

// targets returns where to try, in this order.
func (a *Account) targets(ctx context.Context, domain string) ([]target, error) {
	if a.Server != "" {
		return a.named()
	}
	resolver := a.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	var found []target
	refused := false
	for _, service := range []string{"xmpps-client", "xmpp-client"} {
		_, records, err := resolver.LookupSRV(ctx, service, "tcp", domain)
		var dns *net.DNSError
		if err != nil && !(errors.As(err, &dns) && dns.IsNotFound) {
			return nil, fmt.Errorf("%w: SRV _%s._tcp.%s: %w", ErrUnreachable, service, domain, err)
		}
		for _, r := range records {
			host := strings.TrimSuffix(r.Target, ".")
			if host == "" { // the service is decidedly not there (RFC 2782)
				refused = true
				continue
			}
			found = append(found, target{host, int(r.Port), service == "xmpps-client", r.Priority, r.Weight})
		}
	}
	if len(found) == 0 {
		if refused {
			return nil, fmt.Errorf("%w: DNS says that %s has no server for clients", ErrUnreachable, domain)
		}
		return []target{{host: domain, port: plainPort}}, nil // RFC 6120 §3.2.2
	}
	// Both services are one list (XEP-0368 §3). The resolver has put those of equal
	// priority in an order by chance and weight, which is kept within a service.
	slices.SortStableFunc(found, func(x, y target) int { return cmp.Compare(x.priority, y.priority) })
	return found[:min(len(found), maxTargets)], nil
}

// named is the one target of Server.
func (a *Account) named() ([]target, error) {
	t := target{host: a.Server, port: plainPort, direct: a.Direct}
	if a.Direct {
		t.port = directPort
	}
	if host, port, err := net.SplitHostPort(a.Server); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || host == "" {
			return nil, fmt.Errorf("account: %s is no host and port", a.Server)
		}
		t.host, t.port = host, int(n)
	}
	t.host = strings.Trim(t.host, "[]")
	return []target{t}, nil
}
