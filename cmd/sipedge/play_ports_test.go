package main

import "fmt"

// ports finds free ports of the kernel's choice and puts host:port into
// variables: ports [-6] NAME... They stay ours for the whole play.
func (s *stage) ports(names []string) error {
	host := "127.0.0.1"
	for _, name := range names {
		if name == "-6" {
			host = "::1"
			continue
		}
		addr, release, err := holdPort(host)
		if err != nil {
			return fmt.Errorf("hold a port of %s: %w", host, err)
		}
		s.deferred(release)
		s.set(name, addr.String())
		s.set(name+"_PORT", fmt.Sprint(addr.Port()))
	}
	return nil
}
