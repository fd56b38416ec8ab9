package main

import (
	"fmt"

	"github.com/sipedge/sipedge/locate/locatetest"
)

// dns runs the name server of a play: dns serves ZONE, which puts its address
// into DNS; dns breaks NAME HOW.
func (s *stage) dns(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: dns serves ZONE, dns breaks NAME HOW")
	}
	switch args[0] {
	case "serves":
		return s.serveZone(args[1])
	case "breaks":
		fault, ok := map[string]locatetest.Fault{
			"servfail": locatetest.Servfail, "silence": locatetest.Silence, "truncate": locatetest.Truncate,
			"forge": locatetest.Forge, "honest": locatetest.Honest,
		}[args[2]]
		if !ok || s.names == nil {
			return fmt.Errorf("dns cannot %v", args)
		}
		s.names.Misbehave(args[1], fault)
		return nil
	}
	return fmt.Errorf("dns cannot %q", args[0])
}

// serveZone starts the name server, or gives it another zone.
func (s *stage) serveZone(file string) error {
	zone, err := s.fillFile(file)
	if err != nil {
		return err
	}
	if s.names != nil {
		return s.names.SetZone(zone)
	}
	if s.names, err = locatetest.Serve(zone); err != nil {
		return err
	}
	s.deferred(s.names.Close)
	s.set("DNS", s.names.Addr())
	return nil
}
