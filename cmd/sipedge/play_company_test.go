package main

import (
	"os"
	"strings"
)

// company sets the usual scene, for plays that are about something else: an
// authority, certificates, ports, and an edge for example.com with one pool.
// What the play brings itself stays: company .
//
//	EDGE_EXT   our edge, where partners come     edge1.example.com
//	EDGE_INT   our edge, where our servers come  edge1.example.com
//	HOME1      our home server                   sip.example.com
//	FABRIKAM   a partner's edge                  edge.fabrikam.example
//	CONTOSO    another partner's edge            edge.contoso.example
//	GONE       where nobody listens
func (s *stage) company(args []string) error {
	if err := s.ports([]string{"EDGE_EXT", "EDGE_INT", "HOME1", "HOME2", "FABRIKAM", "CONTOSO", "GONE"}); err != nil {
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
	} {
		if err := s.certificate(strings.Fields(line)); err != nil {
			return err
		}
	}
	for _, name := range []string{"sipedge.toml", "partners.toml"} {
		if _, err := os.Stat(s.path(name)); err == nil {
			continue
		}
		text, err := os.ReadFile("testdata/company/" + name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.path(name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
