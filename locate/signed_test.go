package locate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/locate/locatetest"
)

// signedZones runs real servers of signed DNS, or skips the test where there are none.
func signedZones(t *testing.T, zones ...locatetest.SignedZone) *locatetest.SignedServer {
	t.Helper()
	if testing.Short() {
		t.Skip("real name servers take their time")
	}
	s, err := locatetest.ServeSigned(t.TempDir(), zones...)
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("SIPEDGE_INTEROP") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if t.Failed() {
			t.Log(s.Log())
		}
	})
	return s
}

// NSD serves, Unbound checks, and what it says is what we make of it.
func TestInteropOfSignedZones(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	tlsa := "TLSA 3 1 1 " + digest + "\n"
	server := func(domain string) string {
		return fmt.Sprintf("_xmpp-server._tcp.%[1]s SRV 0 0 5269 xmpp.%[1]s\nxmpp.%[1]s A 192.0.2.1\n", domain)
	}
	s := signedZones(t,
		locatetest.SignedZone{
			Name: "fabrikam.example",
			Text: server("good") + "_5269._tcp.xmpp.good " + tlsa +
				server("none") +
				"bare A 192.0.2.2\n_5269._tcp.bare " + tlsa +
				server("badsrv") + server("badaddr") + server("badtlsa") + "_5269._tcp.xmpp.badtlsa " + tlsa +
				server("badproof") +
				"_xmpp-server._tcp.alias SRV 0 0 5269 xmpp.alias\nxmpp.alias CNAME xmpp.good\n" +
				"_xmpp-server._tcp.hosted SRV 0 0 5269 xmpp.contoso.example.\n" +
				"_xmpp-server._tcp.away SRV 0 0 5269 xmpp.away\nxmpp.away CNAME xmpp.contoso.example.\n",
			Damaged: []string{"_xmpp-server._tcp.badsrv SRV", "xmpp.badaddr A", "_5269._tcp.xmpp.badtlsa TLSA", "xmpp.badproof NSEC"},
		},
		locatetest.SignedZone{
			Name: "contoso.example", Unsigned: true,
			Text: "_xmpp-server._tcp SRV 0 0 5269 xmpp.good.fabrikam.example.\nxmpp A 192.0.2.3\n_5269._tcp.xmpp " + tlsa,
		},
		locatetest.SignedZone{
			Name: "expired.example", Expired: true,
			Text: "_xmpp-server._tcp SRV 0 0 5269 xmpp\nxmpp A 192.0.2.4\n_5269._tcp.xmpp " + tlsa,
		},
	)
	found := "3 1 1 " + digest
	for _, tt := range []struct {
		domain  string
		secure  bool
		targets string
		err     error // of the servers
		tlsa    string
		signed  bool
		tlsaErr error
	}{
		{"good.fabrikam.example", true, "xmpp.good.fabrikam.example:5269! 192.0.2.1", nil, found, true, nil},
		{"none.fabrikam.example", true, "xmpp.none.fabrikam.example:5269! 192.0.2.1", nil, "", true, nil},
		{"bare.fabrikam.example", true, "bare.fabrikam.example:5269! 192.0.2.2", nil, found, true, nil},
		{"alias.fabrikam.example", true, "xmpp.alias.fabrikam.example=xmpp.good.fabrikam.example:5269! 192.0.2.1", nil, found, true, nil},
		{"hosted.fabrikam.example", true, "xmpp.contoso.example:5269 192.0.2.3", nil, found, false, nil},
		{"away.fabrikam.example", true, "xmpp.away.fabrikam.example=xmpp.contoso.example:5269 192.0.2.3", nil, found, false, nil},
		{"contoso.example", false, "xmpp.good.fabrikam.example:5269! 192.0.2.1", nil, found, true, nil},
		{"badsrv.fabrikam.example", false, "", ErrServfail, "", false, nil},
		{"badaddr.fabrikam.example", false, "", ErrServfail, "", false, nil},
		{"badtlsa.fabrikam.example", true, "xmpp.badtlsa.fabrikam.example:5269! 192.0.2.1", nil, "", false, ErrServfail},
		{"badproof.fabrikam.example", true, "xmpp.badproof.fabrikam.example:5269! 192.0.2.1", nil, "", false, ErrServfail},
		{"expired.example", false, "", ErrServfail, "", false, nil},
		{"gone.fabrikam.example", false, "", ErrNoRecords, "", false, nil},
	} {
		t.Run(tt.domain, func(t *testing.T) {
			for _, validating := range []bool{true, false} {
				l := locator(t, Config{Servers: []string{s.Addr}, Validating: &validating})
				r, err := l.XMPP(context.Background(), tt.domain)
				targets := tt.targets
				if !validating {
					targets = strings.ReplaceAll(targets, "!", "")
				}
				if got := targetsString(r.Targets); !errors.Is(err, tt.err) || r.Secure != (tt.secure && validating) || got != targets {
					t.Errorf("validating %v: got  %v %s (%v)\nwant %v %s (%v)", validating, r.Secure, got, err, tt.secure, targets, tt.err)
				}
				if len(r.Targets) == 0 {
					continue
				}
				host := r.Targets[0].Host
				if a := r.Targets[0].Alias; a != "" {
					host = a
				}
				records, signed, err := l.TLSA(context.Background(), host, 5269)
				if got := tlsaString(records); !errors.Is(err, tt.tlsaErr) || got != tt.tlsa || signed != (tt.signed && validating) {
					t.Errorf("validating %v: TLSA %v %s (%v), want %v %s (%v)", validating, signed, got, err, tt.signed, tt.tlsa, tt.tlsaErr)
				}
			}
		})
	}
}
