package s2s

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/bridges"
)

func TestProsody(t *testing.T) {
	const theirs = "prosody.example"
	distrust := func(c *Config) { c.Verifier = nil }
	for _, tt := range []struct {
		name  string
		here  func(*Config)
		there luaServer
		acked bool
		back  bridges.Proof // of them, for us
	}{
		{"certificates", nil, luaServer{modules: `"smacks"`}, true, bridges.ProofCertificate},
		{"certificates for servers only", nil, luaServer{modules: `"smacks"`, usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, true, bridges.ProofCertificate},
		{"certificates, strict", nil, luaServer{modules: `"smacks"`, strict: true}, true, bridges.ProofCertificate},
		{"certificates, both ways", nil, luaServer{modules: `"smacks", "s2s_bidi"`}, true, bridges.ProofCertificate},
		{"certificates, nothing acknowledged", nil, luaServer{}, false, bridges.ProofCertificate},
		{"dialback", distrust, luaServer{modules: `"smacks"`, distrust: true}, false, bridges.ProofDialback},
		{"dialback, both ways", distrust, luaServer{modules: `"smacks", "s2s_bidi"`, distrust: true}, false, bridges.ProofDialback},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			z := newZone(t)
			a := w.site(us, tt.here)
			z.point(us, a.plain.Addr().String())
			w.prosody(t, z, theirs, freePort(t), tt.there)
			for i := range 3 {
				o, e := a.ping(theirs, fmt.Sprint("p", i))
				if o.Acked != tt.acked {
					t.Errorf("outcome %+v, want acknowledged %v", o, tt.acked)
				}
				if e.Proof != tt.back {
					t.Errorf("proof %s, want %s", e.Proof, tt.back)
				}
			}
		})
	}
}

func TestEjabberd(t *testing.T) {
	const theirs = "ejabberd.example"
	server := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	both := append(server, x509.ExtKeyUsageClientAuth)
	for _, tt := range []struct {
		name        string
		here        func(*Config)
		ours, peers []x509.ExtKeyUsage // of certificates
		back        bridges.Proof      // of them, for us
		log         string
	}{
		{"certificates for both sides of TLS", nil, both, both, bridges.ProofCertificate, "proof=certificate"},
		// This one refuses a client whose certificate is for servers.
		{"certificates for servers only", nil, server, server, bridges.ProofCertificate, "proof=certificate"},
		{"dialback", func(c *Config) { c.Verifier = nil }, server, server, bridges.ProofDialback, "proof=dialback"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			z := newZone(t)
			z.host = "localhost" // it asks the system for addresses
			a := w.site(us, func(c *Config) {
				c.Keypair = w.keypair(us, tt.ours...)
				if tt.here != nil {
					tt.here(c)
				}
			})
			z.point(us, a.plain.Addr().String())
			w.ejabberd(t, z, theirs, freePort(t), "", tt.peers...)
			for i := range 3 {
				_, e := a.ping(theirs, fmt.Sprint("p", i))
				if e.Proof != tt.back {
					t.Errorf("proof %s, want %s", e.Proof, tt.back)
				}
			}
			if log := a.log.String(); !strings.Contains(log, tt.log) {
				t.Errorf("the log does not say %q", tt.log)
			}
		})
	}
}
