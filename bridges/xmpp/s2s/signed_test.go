package s2s

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/locate/locatetest"
)

// A lateFinder is one whose DNS server comes later.
type lateFinder struct{ *locate.Locator }

// xmppRecords are the records of an XMPP domain, "" in its own zone, whose server is
// at a port of this machine.
func xmppRecords(addr string, tlsa certs.TLSA) string {
	_, port, _ := strings.Cut(addr, ":")
	return fmt.Sprintf("_xmpp-server._tcp SRV 0 0 %[1]s xmpp\nxmpp A 127.0.0.1\n_%[1]s._tcp.xmpp TLSA %[2]s\n", port, tlsa)
}

// signedDNS runs real name servers, or skips the test where there are none.
func signedDNS(t *testing.T, zones ...locatetest.SignedZone) *locatetest.SignedServer {
	t.Helper()
	if testing.Short() {
		t.Skip("real peers take their time")
	}
	s, err := locatetest.ServeSigned(t.TempDir(), zones...)
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") == "" && os.Getenv("SIPEDGE_INTEROP") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Prosody and we know each other by nothing but signed DNS: NSD serves the zones,
// Unbound checks them for us, and libunbound does in Prosody, which insists on
// certificates.
func TestProsodyAndSignedDNS(t *testing.T) {
	const ours, theirs = "sip.example", "prosody.example"
	for _, tt := range []struct {
		name string
		zone func(z *locatetest.SignedZone, records *certs.TLSA) // of ours
		back func(z *locatetest.SignedZone, records *certs.TLSA) // of theirs
		take bool                                                // they take our certificate
		know bool                                                // we take theirs
	}{
		{"both are signed", nil, nil, true, true},
		{"ours is not signed", func(z *locatetest.SignedZone, _ *certs.TLSA) { z.Unsigned = true }, nil, false, true},
		{"theirs is not signed", nil, func(z *locatetest.SignedZone, _ *certs.TLSA) { z.Unsigned = true }, true, false},
		{"ours names another certificate", func(_ *locatetest.SignedZone, r *certs.TLSA) { r.Data[0] ^= 1 }, nil, false, true},
		{"theirs names another certificate", nil, func(_ *locatetest.SignedZone, r *certs.TLSA) { r.Data[0] ^= 1 }, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			needProgram(t, "prosody")
			w := newWorld(t)
			f := &lateFinder{}
			a := w.site(ours, func(c *Config) {
				c.Keypair, c.Verifier, c.Dialback, c.Finder = selfSigned(t, ours), nil, nil, f
			})
			cert, key, err := w.ca.Issue(certs.Leaf{Names: []string{theirs}})
			if err != nil {
				t.Fatal(err)
			}
			block, _ := pem.Decode(cert)
			leaf, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			addr := freePort(t)
			z1, z2 := locatetest.SignedZone{Name: ours}, locatetest.SignedZone{Name: theirs}
			r1, r2 := certs.RecordOf(a.c.Keypair.Leaf()), certs.RecordOf(leaf)
			if tt.zone != nil {
				tt.zone(&z1, &r1)
			}
			if tt.back != nil {
				tt.back(&z2, &r2)
			}
			z1.Text, z2.Text = xmppRecords(a.plain.Addr().String(), r1), xmppRecords(addr, r2)
			dns := signedDNS(t, z1, z2)
			if f.Locator, err = locate.New(locate.Config{Servers: []string{dns.Addr}, AllowedRanges: []string{"127.0.0.0/8"}}, nil, nil); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(f.Close)
			p := w.prosody(t, newZone(t), theirs, addr, luaServer{
				strict: true, distrust: true, modules: `"smacks", "hello"`,
				checks: dns.Addr, anchor: dns.Anchor, more: fmt.Sprintf("use_dane = true\nhello_to = %q\n", ours),
				files: map[string][]byte{"cert.pem": cert, "key.pem": key, "mod_hello.lua": []byte(hello)},
			})
			steps := a.Test(t.Context(), theirs)
			proved := false
			for _, s := range steps {
				proved = proved || s.OK && s.Name == "certificate" && strings.HasPrefix(s.Detail, "proved by dane")
			}
			if proved != tt.know {
				t.Errorf("we take their certificate: %v, want %v: %+v", proved, tt.know, steps)
			}
			if !tt.take {
				until(t, "they say that our certificate is not trusted", func() bool {
					log, _ := os.ReadFile(p.log)
					for line := range strings.Lines(string(log)) {
						// Not of the stream that we have opened: nobody looks in DNS there.
						if strings.Contains(line, " s2sout") && strings.Contains(line, "Forbidding insecure connection to/from "+ours+" because its certificate is") {
							return true
						}
					}
					return false
				})
				a.nothing()
				return
			}
			if !tt.know {
				until(t, "we say that their certificate is not good", func() bool {
					return said(a.log.String(), `msg="domain not proved" remote=`+theirs, "a certificate that proves the domain is needed")
				})
				a.nothing()
				return
			}
			if e := a.receive(); e.From != theirs || e.Proof != bridges.ProofDANE {
				t.Errorf("%s speaks with proof %s", e.From, e.Proof)
			}
		})
	}
}

// hello is a module of Prosody that sends one message.
const hello = `
local st = require "util.stanza"
module:add_timer(0.2, function ()
	module:send(st.message({ from = module.host, to = module:get_option_string("hello_to"), type = "chat" }, "hello"))
end)
`
