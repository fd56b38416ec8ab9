package main

import (
	"fmt"

	"github.com/miekg/dns"

	"github.com/sipedge/sipedge/locate/locatetest"
)

// dnsFaults are the ways in which the name server of a play may answer.
var dnsFaults = map[string]locatetest.Fault{
	"servfail": locatetest.Servfail, "silence": locatetest.Silence, "truncate": locatetest.Truncate,
	"forge": locatetest.Forge, "forge-source": locatetest.ForgeSource, "poison": locatetest.Poison,
	"wrong-id": locatetest.WrongID, "wrong-question": locatetest.WrongQuestion, "garbage": locatetest.Garbage,
	"pointer-loop": locatetest.PointerLoop, "honest": locatetest.Honest,
}

// dns runs the name server of a play: dns serves ZONE..., which puts its address
// into DNS and answers from the zones in turn; dns breaks NAME HOW, where "." is
// all names; dns asked NAME, whether it was asked for that domain's servers.
func (s *stage) dns(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: dns serves ZONE..., dns breaks NAME HOW")
	}
	switch args[0] {
	case "serves":
		return s.serveZones(args[1:])
	case "asked":
		n := 0
		for _, service := range []string{"_sipfederationtls._tcp.", "_sips._tcp."} {
			n += s.names.QueriesFor(service+args[1], dns.TypeSRV)
		}
		if n == 0 {
			return fmt.Errorf("nobody asked for %s", args[1])
		}
		return nil
	case "breaks":
		fault, ok := dnsFaults[args[2]]
		if !ok || s.names == nil {
			return fmt.Errorf("dns cannot %v", args)
		}
		s.names.Misbehave(args[1], fault)
		return nil
	}
	return fmt.Errorf("dns cannot %q", args[0])
}

// serveZones starts the name server, or gives it other zones.
func (s *stage) serveZones(files []string) error {
	var zones []string
	for _, file := range files {
		zone, err := s.fillFile(file)
		if err != nil {
			return err
		}
		zones = append(zones, zone)
	}
	if s.names == nil {
		var err error
		if s.names, err = locatetest.Serve(""); err != nil {
			return err
		}
		s.deferred(s.names.Close)
		s.set("DNS", s.names.Addr())
	}
	return s.names.SetZones(zones...)
}
