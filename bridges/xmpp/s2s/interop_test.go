package s2s

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
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

// A strict Prosody says in words why it refuses us, and they reach sender, log and
// links.
func TestProsodysWordsAreTold(t *testing.T) {
	const theirs = "prosody.example"
	w := newWorld(t)
	z := newZone(t)
	a := w.site(us, nil)
	z.point(us, a.plain.Addr().String())
	w.prosody(t, z, theirs, freePort(t), luaServer{distrust: true, strict: true})
	o := wait(t, a.send(theirs, "hi"), "the outcome")
	const words = "it says not-authorized: Your server's certificate is not trusted"
	if !errors.Is(o.Err, ErrRefused) || !strings.Contains(o.Err.Error(), words) {
		t.Errorf("outcome %v", o.Err)
	}
	if !strings.Contains(a.log.String(), words) {
		t.Error("the log does not say it")
	}
	if l := a.Links(); len(l) != 1 || !strings.Contains(l[0].Detail, words) {
		t.Errorf("links %+v", l)
	}
	steps := a.Test(t.Context(), theirs)
	if last := steps[len(steps)-1]; last.OK || !strings.Contains(last.Detail, words) {
		t.Errorf("steps %+v", steps)
	}
	// They cannot prove themselves to us either, while dialback is forbidden.
	a.nothing()
}

// A wire to Prosody is cut again and again: each ping that it has acknowledged is
// answered.
func TestNothingThatProsodyAcknowledgesIsLost(t *testing.T) {
	const theirs = "prosody.example"
	const n = 300
	w := newWorld(t)
	z := newZone(t)
	a := w.site(us, func(c *Config) { c.Limits.Queue, c.Limits.Pause = n, time.Millisecond })
	z.point(us, a.plain.Addr().String())
	addr := freePort(t)
	w.prosody(t, z, theirs, addr, luaServer{modules: `"smacks"`})
	cuts := 0
	c := newWire(t, addr, func() int {
		if cuts++; cuts > 12 {
			return -1
		}
		return 6000 + 700*cuts
	})
	w.point(theirs, c.ln.Addr().String())
	outcomes := make([]chan Outcome, n)
	for i := range n {
		outcomes[i] = make(chan Outcome, 2)
		e := stanza.New(stanza.NS, "iq", attr("type", "get"), attr("id", fmt.Sprint(i)), attr("from", us), attr("to", theirs))
		e.Add(stanza.New("urn:xmpp:ping", "ping"))
		a.Send(e, func(o Outcome) { outcomes[i] <- o })
	}
	acked := make(map[string]bool)
	for i, c := range outcomes {
		if o := wait(t, c, "an outcome"); o.Acked {
			acked[fmt.Sprint(i)] = true
		}
	}
	if len(acked) < n/2 {
		t.Errorf("%d of %d were acknowledged", len(acked), n)
	}
	for len(acked) > 0 {
		delete(acked, a.receive().Attr("id"))
	}
	if !strings.Contains(a.log.String(), "stream closed") {
		t.Error("nothing was cut")
	}
}
