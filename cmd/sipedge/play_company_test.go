package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// company sets the usual scene, for plays that are about something else: an
// authority, certificates, ports, and an edge for example.com with one pool.
//
//	EDGE_EXT   our edge, where partners come     edge1.example.com
//	EDGE_INT   our edge, where our servers come  edge1.example.com
//	HOME1      our home server                   sip.example.com
//	FABRIKAM   a partner's edge                  edge.fabrikam.example
//	CONTOSO    another partner's edge            edge.contoso.example
//	GONE       where nobody listens
//
// With the word "remote" users may sign in from outside, all of them unless the play
// says otherwise in remote.toml:
//
//	EDGE_REMOTE  our edge, where users come    edge1.example.com
//
// With the word "xmpp" it has a bridge to XMPP, which alice may use unless the play says
// otherwise in bridges.toml:
//
//	EDGE_XMPP  our edge, where XMPP servers come  example.com
func (s *stage) company(args []string) error {
	remote, xmpp := slices.Contains(args, "remote"), slices.Contains(args, "xmpp")
	if err := s.ports([]string{"EDGE_EXT", "EDGE_INT", "EDGE_REMOTE", "EDGE_XMPP", "HOME1", "HOME2", "FABRIKAM", "CONTOSO", "GONE"}); err != nil {
		return err
	}
	if err := s.authority([]string{"ca", "stranger"}); err != nil {
		return err
	}
	for _, line := range []string{
		"edge dns=edge1.example.com",
		"home dns=sip.example.com",
		"fabrikam dns=edge.fabrikam.example,fabrikam.example uri=sip:fabrikam.example",
		"contoso dns=edge.contoso.example,contoso.example uri=sip:contoso.example",
		"spam dns=spam.example uri=sip:spam.example",
		"xmpp dns=example.com",
	} {
		if err := s.certificate(strings.Fields(line)); err != nil {
			return err
		}
	}
	return s.companyFiles(remote, xmpp)
}

// companyFiles puts together the two files of the edge. What the play brings
// goes before what lies in testdata/company: sipedge.toml, or parts of it by
// the name of their section, and partners.toml.
func (s *stage) companyFiles(remote, xmpp bool) error {
	sections := []string{"edge.toml", "listener.toml", "pool.toml", "limits.toml", "dns.toml"}
	if remote {
		sections = append(sections, "listener_remote.toml")
		access, err := s.ownOrCompany("remote.toml")
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.path("remote.toml"), access, 0o644); err != nil {
			return err
		}
	}
	if xmpp {
		sections = append(sections, "bridge.toml")
		users, err := s.ownOrCompany("bridges.toml")
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.path("bridges.toml"), users, 0o644); err != nil {
			return err
		}
	}
	var config []byte
	for _, section := range sections {
		text, err := s.ownOrCompany(section)
		if err != nil {
			return err
		}
		config = append(append(config, text...), '\n')
	}
	partners, err := s.ownOrCompany("partners.toml")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path("partners.toml"), partners, 0o644); err != nil {
		return err
	}
	if _, err := os.Stat(s.path("sipedge.toml")); err == nil {
		return nil
	}
	return os.WriteFile(s.path("sipedge.toml"), config, 0o644)
}

// ownOrCompany is a file of the play, else of testdata/company, else empty.
func (s *stage) ownOrCompany(name string) ([]byte, error) {
	text, err := os.ReadFile(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		text, err = os.ReadFile(filepath.Join("testdata", "company", name))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}
