package main

import (
	"context"
	"fmt"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/home"
)

// homeServer runs our own small home server in the place of a real one, and
// signs its users in, each of whom rings and accepts when called: homeserver
// USER=PASSWORD... It is at $HOME1, and for its users at $HOME_TCP.
func (s *stage) homeServer(args []string) error {
	pair, err := certs.Load(s.path("home.pem"), s.path("home.key"))
	if err != nil {
		return err
	}
	h, err := home.Start(home.Config{
		Domain: "example.com", Users: options(args),
		Listen: s.env("HOME1"), UserListen: s.env("HOME_TCP"), Edge: s.env("EDGE_INT"),
		TLS: &home.TLS{Keypair: pair, Roots: s.authorities["ca"].Pool(), Edge: "edge1.example.com"},
	})
	if err != nil {
		return fmt.Errorf("home server: %w", err)
	}
	s.deferred(func() { h.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for name, password := range options(args) {
		u, err := home.SignIn(ctx, home.UserConfig{
			Name: name, Domain: "example.com", Password: password, Servers: []string{s.env("HOME_TCP")},
		})
		if err != nil {
			return fmt.Errorf("sign in %s: %w", name, err)
		}
		s.deferred(func() { u.Close() })
	}
	return nil
}
