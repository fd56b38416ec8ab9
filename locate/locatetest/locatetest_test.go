package locatetest_test

import (
	"testing"

	"github.com/miekg/dns"
	"github.com/sipedge/sipedge/locate/locatetest"
)

const zone = `$ORIGIN fabrikam.example.
@     60 IN SOA ns admin 1 60 60 60 5
www   60 IN CNAME edge
edge  60 IN A 192.0.2.1
`

func TestTheServerAnswersAsAResolverWould(t *testing.T) {
	s, err := locatetest.Serve(zone)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, tt := range []struct {
		name           string
		qtype          uint16
		rcode, answers int
		authority      int
	}{
		{"edge.fabrikam.example.", dns.TypeA, dns.RcodeSuccess, 1, 0},
		{"WWW.fabrikam.example.", dns.TypeA, dns.RcodeSuccess, 2, 0},
		{"edge.fabrikam.example.", dns.TypeAAAA, dns.RcodeSuccess, 0, 1},
		{"gone.fabrikam.example.", dns.TypeA, dns.RcodeNameError, 0, 1},
		{"contoso.example.", dns.TypeA, dns.RcodeNameError, 0, 0},
	} {
		for _, network := range []string{"udp", "tcp"} {
			c := dns.Client{Net: network}
			m, _, err := c.Exchange(new(dns.Msg).SetQuestion(tt.name, tt.qtype), s.Addr())
			if err != nil || m.Rcode != tt.rcode || len(m.Answer) != tt.answers || len(m.Ns) != tt.authority {
				t.Errorf("%s by %s: %v, %v", tt.name, network, m, err)
			}
		}
	}
	if n := s.QueriesFor("gone.fabrikam.example", dns.TypeA); n != 2 {
		t.Errorf("QueriesFor = %d", n)
	}
	if n := s.Queries(); n != 10 {
		t.Errorf("Queries = %d", n)
	}
}

func TestABrokenZoneIsRefused(t *testing.T) {
	if s, err := locatetest.Serve("edge IN A nonsense"); err == nil {
		s.Close()
		t.Error("no error")
	}
	s, err := locatetest.Serve("")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetZone("edge IN SRV"); err == nil {
		t.Error("no error")
	}
}
