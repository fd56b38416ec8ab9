package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// jabberd is a server of the XMPP network as prosody is, with jabberd2: jabberd NAME
// proof=certificate|dialback. It asks for no certificate and believes dialback; the proof
// is what we have of it. Everybody has an account, with any password. It is the programs
// NAME-router, NAME-sm, NAME-c2s and NAME, which speaks with other servers.
func (s *stage) jabberd(args []string) error {
	authority := map[string]string{"proof=certificate": "ca", "proof=dialback": "stranger"}
	if len(args) != 2 || authority[args[1]] == "" {
		return fmt.Errorf("usage: jabberd NAME proof=certificate|dialback")
	}
	name := args[0]
	dir, err := s.xmppServer(name, authority[args[1]])
	if err != nil {
		return err
	}
	s.set("XMPP_MODULES", jabberdFolder())
	for _, part := range []string{"accounts", "users.xml", "router.xml", "sm.xml", "c2s.xml", "s2s.xml"} {
		err = errors.Join(err, s.part("jabberd-"+part, dir))
	}
	// Its store makes no folder but the last.
	if err = errors.Join(err, os.MkdirAll(filepath.Join(dir, "storage"), 0o755), os.Chmod(filepath.Join(dir, "jabberd-accounts"), 0o700)); err != nil {
		return err
	}
	router, ports := name+"-router", strings.ToUpper(name)
	run := func(program, part string) error {
		// The name server is told to its resolver, which is no libc's.
		return s.startProgram(program, []string{"env", "NAMESERVERS=127.0.0.1", "RES_OPTIONS=port:" + s.env("XMPP_DNS_PORT"),
			"jabberd2-" + part, "-c", filepath.Join(dir, "jabberd-"+part+".xml")})
	}
	if err := run(router, "router"); err != nil {
		return err
	}
	if err := s.programs[router].awaitListener(s.env(ports+"_COMPONENT"), ""); err != nil {
		return err
	}
	if err := errors.Join(run(name+"-sm", "sm"), run(name+"-c2s", "c2s"), run(name, "s2s")); err != nil {
		return err
	}
	// It takes connections before it knows the others.
	return errors.Join(s.awaitPorts(name, "S2S"), s.programs[name+"-c2s"].awaitListener(s.env(ports+"_C2S"), ""),
		s.programs[router].says([]string{`\[` + regexp.QuoteMeta(name+".example") + `\] online`}))
}

// jabberdFolder is where Debian has put its modules, "" if nowhere.
func jabberdFolder() string {
	found, _ := filepath.Glob("/usr/lib/*/jabberd2")
	if found == nil {
		return ""
	}
	return found[0]
}
