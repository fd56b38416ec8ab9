package main

import (
	"net/netip"
	"syscall"
)

// holdPort finds a free port and keeps it for us: a socket that is bound but
// does not listen stops the kernel from giving the port to anybody who does
// not name it, and lets those listen who do and who set SO_REUSEADDR.
func holdPort(host string) (netip.AddrPort, func(), error) {
	ip := netip.MustParseAddr(host)
	family, where := syscall.AF_INET6, syscall.Sockaddr(&syscall.SockaddrInet6{Addr: ip.As16()})
	if ip.Is4() {
		family, where = syscall.AF_INET, &syscall.SockaddrInet4{Addr: ip.As4()}
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	addr, err := bindAnyPort(fd, ip, where)
	if err != nil {
		syscall.Close(fd)
		return netip.AddrPort{}, nil, err
	}
	return addr, func() { syscall.Close(fd) }, nil
}

// bindAnyPort binds a socket to a port of the kernel's choice.
func bindAnyPort(fd int, ip netip.Addr, where syscall.Sockaddr) (netip.AddrPort, error) {
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return netip.AddrPort{}, err
	}
	if err := syscall.Bind(fd, where); err != nil {
		return netip.AddrPort{}, err
	}
	got, err := syscall.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if v4, ok := got.(*syscall.SockaddrInet4); ok {
		return netip.AddrPortFrom(ip, uint16(v4.Port)), nil
	}
	return netip.AddrPortFrom(ip, uint16(got.(*syscall.SockaddrInet6).Port)), nil
}
