package edge

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate"
)

// What is open to a partner stays open when DNS names other servers, or none; a
// new connection is made only to those that it names now.
func TestAnOpenConnectionOutlivesTheRecordThatLedToIt(t *testing.T) {
	b := newBench(t, 1)
	b.lists(map[string]federation.PartnerConfig{"fabrikam.example": {}})
	p := &partnerEdge{edge: b.e, route: federation.Route{Domain: "fabrikam.example"}}
	hop := func(host string) locate.Hop {
		return locate.Hop{Host: host, Addr: netip.MustParseAddrPort("192.0.2.1:5061"), FromDNS: true}
	}
	now := time.Now()
	expect := func(what, want, gone string, old []*link) {
		t.Helper()
		var hosts []string
		for i, h := range p.hops {
			if i == p.named {
				hosts = append(hosts, "|")
			}
			hosts = append(hosts, h.Host)
		}
		if got := strings.Join(hosts, " "); got != want || len(old) != len(strings.Fields(gone)) || len(p.links) != len(p.hops) {
			t.Errorf("%s: %s and %d of no more use, want %s and %s", what, got, len(old), want, gone)
		}
		for i, l := range p.links {
			if l.closed != (i >= p.named) {
				t.Errorf("%s: link %d closed: %v", what, i, l.closed)
			}
		}
	}
	expect("found", "a b", "", p.replace([]locate.Hop{hop("a"), hop("b")}, now))
	a := p.links[0]
	a.up.Store(b.partner)
	expect("DNS is out", "| a", "b", p.replace(nil, now))
	if got := p.usable(); len(got) != 1 {
		t.Errorf("%d ways, want the open one", len(got))
	}
	expect("another", "c | a", "", p.replace([]locate.Hop{hop("c")}, now))
	if f, _ := a.take(nil); f != b.partner {
		t.Error("the open connection cannot be used")
	}
	expect("the first again", "a", "c", p.replace([]locate.Hop{hop("a")}, now))
	expect("gone for long", "| a", "", p.replace(nil, now))
	expect("for too long", "", "a", p.replace(nil, now.Add(retiredTime)))
	expect("found once more", "a", "", p.replace([]locate.Hop{hop("a")}, now))
	p.links[0].up.Store(b.partner)
	p.replace(nil, now)
	p.links[0].up.Store(nil) // it ended
	if got := p.usable(); got != nil {
		t.Errorf("%d ways to a server that DNS no longer names", len(got))
	}
	var hops []locate.Hop
	for range maxHops {
		hops = append(hops, hop("many"))
	}
	if p.replace(hops, now); len(p.links) != maxHops {
		t.Errorf("%d ways, want %d", len(p.links), maxHops)
	}
}
