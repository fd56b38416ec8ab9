package s2s

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/locate/locatetest"
)

func port(addr net.Addr) int { return addr.(*net.TCPAddr).Port }

// finder is a Locator that asks a DNS server of the test's own.
func finder(t *testing.T, dns *locatetest.Server, ranges ...string) *locate.Locator {
	t.Helper()
	l, err := locate.New(locate.Config{Servers: []string{dns.Addr()}, AllowedRanges: ranges}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func TestServersAreFoundInDNS(t *testing.T) {
	w := newWorld(t)
	b := w.site(them, nil)
	_, dead, _ := net.SplitHostPort(freePort(t))
	srv := func(service, priority string, port any, host string) string {
		return fmt.Sprintf("_%s._tcp.%s. 60 IN SRV %s 1 %v %s.\n", service, them, priority, port, host)
	}
	const host = "xmpp." + them
	addr := host + ". 60 IN A 127.0.0.1\n"
	plain, direct := port(b.plain.Addr()), port(b.direct.Addr())
	for _, tt := range []struct {
		name, zone string
		ranges     []string
		want       error
		detail     string
	}{
		{"STARTTLS", srv("xmpp-server", "1", plain, host) + addr, []string{"127.0.0.0/8"}, nil, "TLS 1.3, both ways"},
		{"direct TLS", srv("xmpps-server", "1", direct, host) + addr, []string{"127.0.0.0/8"}, nil, "TLS 1.3, direct"},
		{"both, direct TLS is better", srv("xmpp-server", "2", plain, host) + srv("xmpps-server", "1", direct, host) + addr, []string{"127.0.0.0/8"}, nil, "direct"},
		{"both, STARTTLS is better", srv("xmpp-server", "1", plain, host) + srv("xmpps-server", "2", direct, host) + addr, []string{"127.0.0.0/8"}, nil, "TLS 1.3, both ways"},
		{"the better one is dead", srv("xmpps-server", "1", dead, host) + srv("xmpp-server", "2", plain, host) + addr, []string{"127.0.0.0/8"}, nil, "TLS 1.3, both ways"},
		{"no service", srv("xmpp-server", "0", 0, ""), []string{"127.0.0.0/8"}, ErrNoServer, ""},
		{"no direct TLS", srv("xmpps-server", "0", 0, "") + srv("xmpp-server", "1", plain, host) + addr, []string{"127.0.0.0/8"}, nil, "TLS 1.3, both ways"},
		{"no domain", "", nil, ErrNoServer, ""},
		{"inside addresses", srv("xmpp-server", "1", plain, host) + addr, nil, ErrUnreachable, ""},
		{"the domain itself, where nobody listens at 5269", them + ". 60 IN A 127.77.77.77\n", []string{"127.0.0.0/8"}, ErrUnreachable, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dns, err := locatetest.Serve(tt.zone)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(dns.Close)
			a := w.site(us, func(c *Config) { c.Finder = finder(t, dns, tt.ranges...) })
			o := wait(t, a.send(them, "hi"), "the outcome")
			if !errors.Is(o.Err, tt.want) || o.Acked != (tt.want == nil) {
				t.Fatalf("outcome %+v, want %v", o, tt.want)
			}
			if tt.want == nil {
				if l := a.Links(); len(l) != 1 || !strings.HasPrefix(l[0].Detail, tt.detail) && !said(l[0].Detail, tt.detail) {
					t.Errorf("links %+v, want %s", l, tt.detail)
				}
			}
		})
	}
}

// Both sides show certificates that nobody vouches for but DNS.
func TestTwoServersThatOnlySignedDNSProves(t *testing.T) {
	for _, signed := range []bool{true, false} {
		t.Run(fmt.Sprint("signed ", signed), func(t *testing.T) {
			w := newWorld(t)
			dns, err := locatetest.Serve("")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(dns.Close)
			if signed {
				dns.Sign(us, them)
			}
			zone := ""
			site := func(domain string) *site {
				k, err := certs.SelfSigned(certs.Leaf{Names: []string{"other.invalid"}})
				if err != nil {
					t.Fatal(err)
				}
				x := w.site(domain, func(c *Config) {
					c.Keypair, c.Dialback, c.Finder = k, nil, finder(t, dns, "127.0.0.0/8")
				})
				host, port := "xmpp."+domain, port(x.plain.Addr())
				zone += fmt.Sprintf("_xmpp-server._tcp.%[1]s. 60 IN SRV 1 1 %[2]d %[3]s.\n%[3]s. 60 IN A 127.0.0.1\n_%[2]d._tcp.%[3]s. 60 IN TLSA %[4]s\n",
					domain, port, host, certs.RecordOf(k.Leaf()))
				return x
			}
			a, b := site(us), site(them)
			if err := dns.SetZone(zone); err != nil {
				t.Fatal(err)
			}
			o := wait(t, a.send(them, "hi"), "the outcome")
			if !signed {
				if !errors.Is(o.Err, ErrUntrusted) {
					t.Errorf("outcome %+v", o)
				}
				return
			}
			if !o.Acked {
				t.Fatalf("outcome %+v", o)
			}
			if e := b.receive(); e.Proof != bridges.ProofDANE {
				t.Errorf("we are proved by %s", e.Proof)
			}
			if l := a.Links(); len(l) != 1 || l[0].Proof != bridges.ProofDANE {
				t.Errorf("links %+v", l)
			}
		})
	}
}
