//go:build !linux

package main

import (
	"net"
	"net/netip"
)

// holdPort finds a port that was free a moment ago.
func holdPort(host string) (netip.AddrPort, func(), error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String()), func() {}, nil
}
