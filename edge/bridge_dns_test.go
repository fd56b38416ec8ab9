package edge

import (
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate/locatetest"
)

// zoneOfNobody has domains without a SIP service, with one, and with one that leads
// nowhere.
const zoneOfNobody = `
xmpp.example. IN SOA ns.xmpp.example. root.xmpp.example. 1 60 60 60 60
_xmpp-server._tcp.xmpp.example. IN SRV 1 1 5269 x.xmpp.example.
sip.example. IN SOA ns.sip.example. root.sip.example. 1 60 60 60 60
_sipfederationtls._tcp.sip.example. IN SRV 1 1 1 edge.sip.example.
edge.sip.example. IN A 127.0.0.1
torn.example. IN SOA ns.torn.example. root.torn.example. 1 60 60 60 60
_sipfederationtls._tcp.torn.example. IN SRV 1 1 5061 gone.torn.example.
`

// soon waits until something is so.
func soon(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so in time: %s", what)
		}
	}
}

// outcome sends a MESSAGE out and says what became of it: "bridge", or the status.
func (f *far) outcome(to, branch string) string {
	f.t.Helper()
	f.from(f.homes[0], toXMPP("MESSAGE", "bob@example.com", to, branch))
	got := ""
	soon(f.t, "outcome for "+to, func() bool {
		f.mu.Lock()
		heard := len(f.got) > 0
		f.got = nil
		f.mu.Unlock()
		if heard {
			got = "bridge"
			return true
		}
		lines, _ := f.sent(f.homes[0])
		if len(lines) > 0 {
			got = strings.Fields(lines[len(lines)-1])[1]
		}
		return got != "" && got != "100"
	})
	return got
}

// reasonSoon waits for the log to say why: it does so after the answer has gone.
func (f *far) reasonSoon(want allowlists.Reason) {
	f.t.Helper()
	soon(f.t, "the log says "+string(want), func() bool { return strings.Contains(f.log.String(), "reason="+string(want)+" ") })
}

func TestABridgeIsTakenOnlyWhereThereIsNoSIPService(t *testing.T) {
	dns, err := locatetest.Serve(zoneOfNobody)
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	dns.Misbehave("_sipfederationtls._tcp.sick.example", locatetest.Servfail)
	dns.Misbehave("_sips._tcp.sick.example", locatetest.Servfail)
	for _, tt := range []struct {
		name, domain string
		config       federation.PartnerConfig
		want         string
		reason       allowlists.Reason
	}{
		{"DNS names no SIP service", "xmpp.example", federation.PartnerConfig{}, "bridge", ""},
		{"there is no such domain at all", "nowhere.example", federation.PartnerConfig{}, "bridge", ""},
		{"nor does it, but the entry wants SIP", "xmpp.example", federation.PartnerConfig{Network: "sip"}, "504", allowlists.RouteNoRecords},
		{"a SIP service takes no connections", "sip.example", federation.PartnerConfig{}, "504", allowlists.RouteUnreachable},
		{"but the entry wants the bridge", "sip.example", federation.PartnerConfig{Network: "xmpp"}, "bridge", ""},
		{"a SIP service is named that has no address", "torn.example", federation.PartnerConfig{}, "504", allowlists.RouteNoRecords},
		{"DNS fails", "sick.example", federation.PartnerConfig{}, "504", allowlists.RouteDNSFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFarAsking(t, dns.Addr(), map[string]federation.PartnerConfig{tt.domain: tt.config})
			for _, branch := range []string{"m1", "m2"} { // found, and remembered
				if got := f.outcome("juliet@"+tt.domain, branch); got != tt.want {
					t.Fatalf("%s: %s, want %s\n%s", branch, got, tt.want, f.log.String())
				}
				if tt.reason != "" {
					f.reasonSoon(tt.reason)
				}
			}
		})
	}
}

func TestDNSIsNotAskedAgainForEachMessageOfABridge(t *testing.T) {
	dns, err := locatetest.Serve(zoneOfNobody)
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	f := newFarAsking(t, dns.Addr(), map[string]federation.PartnerConfig{"xmpp.example": {}})
	f.outcome("juliet@xmpp.example", "m0")
	before := dns.Queries()
	for _, branch := range []string{"m1", "m2", "m3"} {
		f.from(f.homes[0], toXMPP("MESSAGE", "bob@example.com", "juliet@xmpp.example", branch))
		f.hears("MESSAGE sip:juliet@xmpp.example SIP/2.0") // at once
	}
	if n := dns.Queries() - before; n > 0 {
		t.Errorf("%d more queries", n)
	}
}

func TestWhoMayNotUseABridgeIsToldWhenItIsKnownThatItIsOne(t *testing.T) {
	dns, err := locatetest.Serve(zoneOfNobody)
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	f := newFarAsking(t, dns.Addr(), map[string]federation.PartnerConfig{"xmpp.example": {}, "sip.example": {}})
	f.e.SetBridgePolicy(nil)
	for _, branch := range []string{"m1", "m2"} {
		if got := f.outcome("juliet@xmpp.example", branch); got != "403" {
			t.Errorf("%s: %s, want 403", branch, got)
		}
		f.reasonSoon(allowlists.BridgeNotEnabled)
	}
	if got := f.outcome("juliet@sip.example", "m3"); got != "504" {
		t.Errorf("to a SIP partner: %s, want 504: a bridge is none of its business", got)
	}
}

func TestWithoutAListenerForPartnersBridgesWork(t *testing.T) {
	f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {}})
	f.e.outside = nil
	if got := f.outcome("juliet@xmpp.example", "m1"); got != "bridge" {
		t.Errorf("%s, want the bridge", got)
	}
	if got := f.outcome("alice@fabrikam.example", "m2"); got != "403" {
		t.Errorf("to a partner with servers: %s, want 403", got)
	}
}

func TestWhatASIPPartnerRejectsIsNotTriedByABridge(t *testing.T) {
	dns, err := locatetest.Serve(zoneOfNobody)
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	f := newFarAsking(t, dns.Addr(), map[string]federation.PartnerConfig{"sip.example": {}})
	// Its connection is open; DNS may say what it likes.
	p, _ := f.e.partnerEdge([]byte("sip.example"))
	out := f.flow(RoleFederation)
	out.state.side = f.e.outside.side
	l := &link{edge: f.e, name: "partner sip.example", role: RoleFederation}
	l.up.Store(out)
	out.state.link = l
	p.links, p.named, p.checked = []*link{l}, 1, time.Now()
	f.from(f.homes[0], toXMPP("MESSAGE", "bob@example.com", "juliet@sip.example", "m1"))
	m := f.expect(out, "MESSAGE sip:juliet@sip.example SIP/2.0")
	f.from(out, answer(m, 404, ""))
	f.expect(f.homes[0], "SIP/2.0 404 Not Found")
	f.hears()
}

func TestExplainSaysByWhichNetworkAndWhy(t *testing.T) {
	dns, err := locatetest.Serve(zoneOfNobody)
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	f := newFarAsking(t, dns.Addr(), map[string]federation.PartnerConfig{"xmpp.example": {}, "sip.example": {}, "pinned.example": {Network: "xmpp"}})
	f.e.bridges[0].Address = func(uri string) (string, error) { return strings.TrimPrefix(uri, "sip:"), nil }
	for _, tt := range []struct {
		name   string
		q      Query
		want   string // steps
		reason allowlists.Reason
		target string
	}{
		{"out, found by DNS", Query{From: "bob@example.com", To: "juliet@xmpp.example", Method: "MESSAGE", Inside: true},
			"network: xmpp: DNS names no SIP edge for the domain; opt-in: bob@example.com; address: juliet@xmpp.example", allowlists.PartnerAllowed, "bridge xmpp, for xmpp.example"},
		{"out, pinned", Query{From: "carol@example.com", To: "juliet@pinned.example", Method: "MESSAGE", Inside: true},
			"network: xmpp: network = xmpp; opt-in: carol@example.com; address: juliet@pinned.example", allowlists.BridgeNotEnabled, "bridge xmpp, for pinned.example"},
		{"out, by SIP", Query{From: "bob@example.com", To: "juliet@sip.example", Method: "MESSAGE", Inside: true},
			"next hop: edge.sip.example (127.0.0.1:1)", allowlists.PartnerAllowed, "partner sip.example"},
		{"in", Query{From: "juliet@xmpp.example", To: "bob@example.com", Method: "MESSAGE", Bridge: "xmpp", Proof: bridges.ProofDialback},
			"network: xmpp; any; opt-in: bob@example.com", allowlists.PartnerAllowed, "pool main, sip1.example.com:5061"},
		{"in, for who has not opted in", Query{From: "juliet@xmpp.example", To: "carol@example.com", Method: "MESSAGE", Bridge: "xmpp", Proof: bridges.ProofDialback},
			"network: xmpp; any; opt-in: carol@example.com", allowlists.BridgeNotEnabled, "pool main, sip1.example.com:5061"},
		{"in, from who is pinned to SIP", Query{From: "x@fabrikam.example", To: "bob@example.com", Method: "MESSAGE", Bridge: "xmpp", Proof: bridges.ProofCertificate},
			"network: xmpp; network = sip; opt-in: bob@example.com", allowlists.BridgeNetwork, "pool main, sip1.example.com:5061"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x, err := f.e.Explain(tt.q)
			if err != nil {
				t.Fatal(err)
			}
			var steps []string
			for _, s := range x.Steps {
				switch s.Name {
				case "network", "opt-in", "address", "next hop":
					steps = append(steps, s.Name+": "+s.Detail)
				}
			}
			if got := strings.Join(steps, "; "); got != tt.want {
				t.Errorf("steps %s\nwant  %s", got, tt.want)
			}
			if x.Verdict.Reason != tt.reason || x.Target != tt.target {
				t.Errorf("verdict %+v, target %q; want %s, %q", x.Verdict, x.Target, tt.reason, tt.target)
			}
		})
	}
	if _, err := f.e.Explain(Query{From: "a@b.example", To: "bob@example.com", Method: "MESSAGE", Bridge: "icq"}); err == nil {
		t.Error("a bridge is explained that there is not")
	}
}
