package edge

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/sip"
)

// A far is the far side of a bridge, as a test plays it.
type far struct {
	*bench
	seat *BridgeSeat

	mu     sync.Mutex
	got    [][]byte // guarded by mu
	full   bool     // it takes nothing, guarded by mu
	bug    bool     // taking panics, guarded by mu
	paused bool     // guarded by mu
}

func (f *far) receive(octets []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bug {
		panic("a bug in the bridge")
	}
	if !f.full {
		f.got = append(f.got, bytes.Clone(octets))
	}
	return !f.full
}

// set changes how the bridge is.
func (f *far) set(change func(*far)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// policy is who may use the bridge.
func policyOf(t testing.TB, users map[string]bridges.Rules) *bridges.Policy {
	t.Helper()
	file := bridges.File{Users: make(map[string]bridges.UserConfig)}
	for name, r := range users {
		file.Users[name] = bridges.UserConfig{Rules: r}
	}
	p, errs := bridges.Compile(file, []string{"example.com"}, bridges.With{})
	if errs != nil {
		t.Fatal(errs)
	}
	return p
}

var both = bridges.Rules{Inbound: []string{"xmpp"}, Outbound: []string{"xmpp"}}

// newFar makes an edge with one home server and a bridge to the network xmpp, which
// bob may use. The partners are as given, with fabrikam.example as a direct one; DNS
// says nothing, since nobody answers.
func newFar(t testing.TB, partners map[string]federation.PartnerConfig) *far {
	t.Helper()
	return newFarAsking(t, "127.0.0.1:1", partners)
}

// newFarAsking is newFar with a DNS server.
func newFarAsking(t testing.TB, servers string, partners map[string]federation.PartnerConfig) *far {
	t.Helper()
	f := &far{bench: newBench(t, 1)}
	file := federation.File{Partners: map[string]federation.PartnerConfig{"fabrikam.example": {Servers: []string{"edge.fabrikam.example:5061"}}},
		Blocked: map[string]federation.BlockedConfig{"spam.example": {}}}
	for domain, c := range partners {
		file.Partners[domain] = c
	}
	lists, errs := federation.Compile(file, []string{"example.com"}, federation.With{})
	if errs != nil {
		t.Fatal(errs)
	}
	f.e.partners.Store(lists)
	f.e.SetBridgePolicy(policyOf(t, map[string]bridges.Rules{"bob@example.com": both}))
	var err error
	if f.e.locator, err = locate.New(locate.Config{Servers: []string{servers}, AllowedRanges: []string{"127.0.0.0/8"}}, nil, nil); err != nil {
		t.Fatal(err)
	}
	f.seat = f.e.AddBridge(Bridge{
		Name: "xmpp", Domains: []string{"example.com"}, Receive: f.receive,
		Paused: func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.paused },
		Rule:   allowlists.Rule{Name: "[bridge.xmpp]"},
	})
	go f.e.bridges[0].run(f.e.ctx)
	return f
}

// says lets the bridge send a message.
func (f *far) says(text string, proof bridges.Proof) {
	f.t.Helper()
	if err := f.seat.Send([]byte(strings.ReplaceAll(text, "\n", "\r\n")), proof); err != nil {
		f.t.Fatalf("Send: %v", err)
	}
	synctest.Wait()
}

// hears fails unless exactly these start lines were handed to the bridge, and returns
// the last message.
func (f *far) hears(want ...string) *sip.Message {
	f.t.Helper()
	f.mu.Lock()
	got := f.got
	f.got = nil
	f.mu.Unlock()
	var lines []string
	for _, raw := range got {
		line, _, _ := strings.Cut(string(raw), "\r\n")
		lines = append(lines, line)
	}
	if !slices.Equal(lines, want) {
		f.t.Fatalf("the bridge heard %q, want %q\n%s", lines, want, f.log.String())
	}
	if len(got) == 0 {
		return nil
	}
	m := new(sip.Message)
	if err := m.Parse(got[len(got)-1], sip.Limits{Header: 1 << 20}); err != nil {
		f.t.Fatal(err)
	}
	return m
}

// fromXMPP is a request of juliet at a foreign domain to somebody here.
func fromXMPP(method, from, to, branch string) string {
	return fmt.Sprintf("%[1]s sip:%[3]s SIP/2.0\nVia: SIP/2.0/TLS edge1.example.com:5062;branch=z9hG4bK%[4]s\nMax-Forwards: 70\n"+
		"From: <sip:%[2]s>;tag=j\nTo: <sip:%[3]s>\nCall-ID: call-%[4]s\nCSeq: 1 %[1]s\nContact: <sip:c1@edge1.example.com:5062>\n"+
		"Sipedge-Bridge: xmpp;hops=1\nContent-Length: 0\n\n", method, from, to, branch)
}

// toXMPP is a request of one of ours to somebody at a foreign domain.
func toXMPP(method, from, to, branch string) string {
	return fmt.Sprintf("%[1]s sip:%[3]s SIP/2.0\nVia: SIP/2.0/TLS sip1.example.com:5061;branch=z9hG4bK%[4]s\nMax-Forwards: 70\n"+
		"From: <sip:%[2]s>;tag=b\nTo: <sip:%[3]s>\nCall-ID: call-%[4]s\nCSeq: 1 %[1]s\nContact: <sip:bob@10.0.0.50:5070>\nContent-Length: 0\n\n",
		method, from, to, branch)
}

// reason is what the log said last.
func (f *far) reason(want allowlists.Reason) {
	f.t.Helper()
	text := f.log.String()
	i := strings.LastIndex(text, "reason=")
	if i < 0 {
		f.t.Fatalf("no reason in the log:\n%s", text)
	}
	got, _, _ := strings.Cut(text[i+len("reason="):], " ")
	if got != string(want) {
		f.t.Errorf("reason %s, want %s", got, want)
	}
}

func TestAMessageComesByABridgeAndIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {}})
		f.says(fromXMPP("MESSAGE", "juliet@xmpp.example", "bob@example.com", "m1"), bridges.ProofCertificate)
		m := f.expect(f.homes[0], "MESSAGE sip:bob@example.com SIP/2.0")
		if got := string(m.Value(sip.SipedgeBridge)); got != "xmpp;hops=1" || m.Count(sip.SipedgeBridge) != 1 {
			t.Errorf("home server reads %d marks, %q", m.Count(sip.SipedgeBridge), got)
		}
		if got := string(m.Value(sip.PAssertedIdentity)); got != "<sip:juliet@xmpp.example>" {
			t.Errorf("P-Asserted-Identity %q, want juliet's: a certificate proves the server", got)
		}
		f.from(f.homes[0], answer(m, 200, ""))
		synctest.Wait()
		f.hears("SIP/2.0 200 OK")
		f.empty()
	})
}

func TestWhatABridgeBringsPassesTheDoors(t *testing.T) {
	for _, tt := range []struct {
		name     string
		from, to string
		proof    bridges.Proof
		want     string // the answer; "": it gets through
		reason   allowlists.Reason
		asserted bool
	}{
		{"a listed domain may", "juliet@xmpp.example", "bob@example.com", bridges.ProofCertificate, "", "", true},
		{"signed DNS is as good", "juliet@xmpp.example", "bob@example.com", bridges.ProofDANE, "", "", true},
		{"dialback lets in, and asserts nothing", "juliet@xmpp.example", "bob@example.com", bridges.ProofDialback, "", "", false},
		{"nor does somebody's account", "juliet@xmpp.example", "bob@example.com", bridges.ProofAccount, "", "", false},
		{"without a proof nobody may", "juliet@xmpp.example", "bob@example.com", bridges.ProofNone, "403", allowlists.IdentityNone, false},
		{"our own domain comes from inside", "alice@example.com", "bob@example.com", bridges.ProofCertificate, "403", allowlists.IdentityOwnDomain, false},
		{"blocked is blocked", "juliet@spam.example", "bob@example.com", bridges.ProofCertificate, "403", allowlists.PartnerBlocked, false},
		{"unlisted is refused", "juliet@other.example", "bob@example.com", bridges.ProofCertificate, "403", allowlists.PartnerNotAllowed, false},
		{"a partner with servers is SIP's alone", "juliet@fabrikam.example", "bob@example.com", bridges.ProofCertificate, "403", allowlists.BridgeNetwork, false},
		{"who has not opted in looks like nobody", "juliet@xmpp.example", "carol@example.com", bridges.ProofCertificate, "404", allowlists.BridgeNotEnabled, false},
		{"nothing is relayed", "juliet@xmpp.example", "x@fabrikam.example", bridges.ProofCertificate, "403", allowlists.RouteNotRelayed, false},
		{"nor from bridge to bridge", "juliet@xmpp.example", "x@xmpp.example", bridges.ProofCertificate, "403", allowlists.RouteNotRelayed, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {}})
				f.says(fromXMPP("MESSAGE", tt.from, tt.to, "m1"), tt.proof)
				if tt.want == "" {
					m := f.expect(f.homes[0], "MESSAGE sip:"+tt.to+" SIP/2.0")
					if got := m.Count(sip.PAssertedIdentity) > 0; got != tt.asserted {
						t.Errorf("an identity is asserted: %v, want %v", got, tt.asserted)
					}
					return
				}
				m := f.hears("SIP/2.0 " + tt.want + " " + sip.Phrase(code(tt.want)))
				if m.Count(sip.Warning) == 0 {
					t.Error("the refusal has no reference")
				}
				f.reason(tt.reason)
				f.expect(f.homes[0])
			})
		})
	}
}

func code(s string) (n int) {
	fmt.Sscan(s, &n)
	return n
}

func TestAVerifyingEntryDecidesWhatABridgeAsserts(t *testing.T) {
	for _, tt := range []struct {
		config federation.PartnerConfig
		proof  bridges.Proof
		want   string // "asserted", "silent", "refused"
	}{
		{federation.PartnerConfig{Verification: "never"}, bridges.ProofCertificate, "silent"},
		{federation.PartnerConfig{Verification: "always"}, bridges.ProofDialback, "silent"},
		{federation.PartnerConfig{Unmarked: "refuse"}, bridges.ProofCertificate, "asserted"},
		{federation.PartnerConfig{Unmarked: "refuse"}, bridges.ProofDialback, "refused"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": tt.config})
			f.says(fromXMPP("MESSAGE", "juliet@xmpp.example", "bob@example.com", "m1"), tt.proof)
			_, m := f.sent(f.homes[0])
			got := "refused"
			if m != nil {
				got = map[bool]string{true: "asserted", false: "silent"}[m.Count(sip.PAssertedIdentity) > 0]
			}
			if got != tt.want {
				t.Errorf("%+v by %v: %s, want %s", tt.config, tt.proof, got, tt.want)
			}
		})
	}
}

func TestAMessageLeavesByTheBridgeWhereTheEntrySaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {Network: "xmpp"}})
		f.from(f.homes[0], strings.Replace(toXMPP("MESSAGE", "bob@example.com", "juliet@xmpp.example", "m1"), "Content-Length",
			"P-Asserted-Identity: <sip:bob@example.com>\nContent-Length", 1))
		m := f.hears("MESSAGE sip:juliet@xmpp.example SIP/2.0")
		for _, h := range []sip.Header{sip.SipedgeBridge, sip.PAssertedIdentity, sip.RecordRoute} {
			if m.Count(h) > 0 {
				t.Errorf("the bridge is told %s: %s", h, m.Value(h))
			}
		}
		f.says(answer(m, 200, ""), bridges.ProofNone)
		f.expect(f.homes[0], "SIP/2.0 200 OK")
		if !strings.Contains(f.log.String(), `target="bridge xmpp"`) {
			t.Errorf("the log does not say that it went by the bridge:\n%s", f.log.String())
		}
		f.empty()
	})
}

func TestWhatMayNotLeaveByABridge(t *testing.T) {
	plain := toXMPP("MESSAGE", "bob@example.com", "juliet@xmpp.example", "m1")
	for _, tt := range []struct {
		name   string
		text   string
		set    func(*far)
		want   string
		reason allowlists.Reason
	}{
		{"who has not opted in", toXMPP("MESSAGE", "carol@example.com", "juliet@xmpp.example", "m1"), nil, "403 Forbidden", allowlists.BridgeNotEnabled},
		{"what wants TLS all the way", strings.ReplaceAll(plain, "sip:juliet", "sips:juliet"), nil, "403 Forbidden", allowlists.BridgeScheme},
		{"the same, in To alone", strings.Replace(plain, "To: <sip:", "To: <sips:", 1), nil, "403 Forbidden", allowlists.BridgeScheme},
		{"what came from a bridge", strings.Replace(plain, "Content-Length", "Sipedge-Bridge: xmpp;hops=1\nContent-Length", 1), nil, "403 Forbidden", allowlists.BridgeLoop},
		{"what goes to who is blocked", toXMPP("MESSAGE", "bob@example.com", "x@spam.example", "m1"), nil, "403 Forbidden", allowlists.PartnerBlocked},
		{"while it is paused", plain, func(f *far) { f.paused = true }, "480 Temporarily Unavailable", allowlists.BridgePaused},
		{"while it takes nothing", plain, func(f *far) { f.full = true }, "504 Server Time-out", allowlists.BridgeUnavailable},
		{"while it has a bug", plain, func(f *far) { f.bug = true }, "504 Server Time-out", allowlists.BridgeUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {Network: "xmpp"}})
				if tt.set != nil {
					f.set(tt.set)
				}
				f.from(f.homes[0], tt.text)
				f.expect(f.homes[0], "SIP/2.0 "+tt.want)
				f.reason(tt.reason)
				f.hears()
				f.empty()
				// And the home server's connection is none the worse for it.
				f.set(func(f *far) { f.paused, f.full, f.bug = false, false, false })
				f.from(f.homes[0], strings.ReplaceAll(plain, "m1", "m2"))
				f.hears("MESSAGE sip:juliet@xmpp.example SIP/2.0")
			})
		})
	}
}

// RFC 7247 §7 against RFC 4320 §4.2.
func TestThatAForeignServerIsSilentIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {Network: "xmpp"}})
		f.from(f.homes[0], toXMPP("MESSAGE", "bob@example.com", "juliet@xmpp.example", "m1"))
		f.says(answer(f.hears("MESSAGE sip:juliet@xmpp.example SIP/2.0"), 408, ""), bridges.ProofNone)
		f.expect(f.homes[0], "SIP/2.0 408 Request Timeout")
		f.empty()
	})
}

func TestAPartnerPinnedToABridgeDoesNotComeBySIP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, map[string]federation.PartnerConfig{"fabrikam.example": {Network: "xmpp"}})
		f.from(f.partner, request1("MESSAGE", "m1"))
		f.expect(f.partner, "SIP/2.0 403 Forbidden")
		f.reason(allowlists.BridgeNetwork)
	})
}

func TestADialogEndsWhenItsPartnerIsPinnedToAnotherNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {Network: "xmpp"}})
		f.from(f.homes[0], toXMPP("INVITE", "bob@example.com", "juliet@xmpp.example", "i1"))
		m := f.hears("INVITE sip:juliet@xmpp.example SIP/2.0")
		f.says(answer(m, 200, "Contact: <sip:c9@edge1.example.com:5062>\n"), bridges.ProofNone)
		ours := f.routesOf(f.expect(f.homes[0], "SIP/2.0 200 OK"), true)
		f.lists(map[string]federation.PartnerConfig{"xmpp.example": {Network: "sip"}, "fabrikam.example": {}})
		f.from(f.homes[0], bridgeWithin("MESSAGE", "sip:c9@edge1.example.com:5062", "bob@example.com", "b", "juliet@xmpp.example", "b", "i1", ours))
		f.expect(f.homes[0], "SIP/2.0 403 Forbidden")
		f.reason(allowlists.BridgeNetwork)
		f.says(bridgeWithin("MESSAGE", "sip:bob@10.0.0.50:5070", "juliet@xmpp.example", "b", "bob@example.com", "b", "i1", f.routesOf(m, false)), bridges.ProofCertificate)
		f.hears("SIP/2.0 403 Forbidden")
		f.reason(allowlists.BridgeNetwork)
	})
}

func TestNobodyOutsideCanSayThatSomethingCameByABridge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, nil)
		f.from(f.partner, strings.Replace(request1("MESSAGE", "m1"), "Content-Length", "Sipedge-Bridge: xmpp\nContent-Length", 1))
		if m := f.expect(f.homes[0], "MESSAGE"+requestLine); m.Count(sip.SipedgeBridge) != 0 {
			t.Errorf("the home server reads a mark of a partner's: %s", m.Value(sip.SipedgeBridge))
		}
	})
}

func TestADialogThatOursBeginsGoesOnBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {Network: "xmpp"}, "other.example": {}})
		f.from(f.homes[0], toXMPP("INVITE", "bob@example.com", "juliet@xmpp.example", "i1"))
		m := f.hears("INVITE sip:juliet@xmpp.example SIP/2.0")
		f.says(answer(m, 200, "Contact: <sip:c9@edge1.example.com:5062>\n"), bridges.ProofNone)
		ok := f.expect(f.homes[0], "SIP/2.0 200 OK")
		ours := f.routesOf(ok, true)
		f.from(f.homes[0], bridgeWithin("ACK", "sip:c9@edge1.example.com:5062", "bob@example.com", "b", "juliet@xmpp.example", "b", "i1", ours))
		f.hears("ACK sip:c9@edge1.example.com:5062 SIP/2.0")
		f.from(f.homes[0], bridgeWithin("MESSAGE", "sip:c9@edge1.example.com:5062", "bob@example.com", "b", "juliet@xmpp.example", "b", "i1", ours))
		f.hears("MESSAGE sip:c9@edge1.example.com:5062 SIP/2.0")
		// And back.
		theirs := f.routesOf(m, false)
		back := bridgeWithin("MESSAGE", "sip:bob@10.0.0.50:5070", "juliet@xmpp.example", "b", "bob@example.com", "b", "i1", theirs)
		f.says(back, bridges.ProofDialback)
		f.expect(f.homes[0], "MESSAGE sip:bob@10.0.0.50:5070 SIP/2.0")
		// Nobody else has part in it: another domain, a partner by SIP, another target.
		f.says(strings.ReplaceAll(strings.ReplaceAll(back, "xmpp.example", "other.example"), "branch=z9hG4bK", "branch=z9hG4bKx"), bridges.ProofCertificate)
		f.hears("SIP/2.0 403 Forbidden")
		f.reason(allowlists.RouteTokenInvalid)
		f.from(f.partner, strings.ReplaceAll(back, "xmpp.example", "fabrikam.example"))
		f.expect(f.partner, "SIP/2.0 403 Forbidden")
		f.says(strings.ReplaceAll(strings.ReplaceAll(back, "10.0.0.50", "10.0.0.51"), "branch=z9hG4bK", "branch=z9hG4bKy"), bridges.ProofCertificate)
		f.hears("SIP/2.0 403 Forbidden")
		f.expect(f.homes[0])
	})
}

func TestADialogOutlivesTheEdgeThatItBeganOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		partners := map[string]federation.PartnerConfig{"xmpp.example": {Network: "xmpp"}}
		f := newFar(t, partners)
		f.says(fromXMPP("SUBSCRIBE", "juliet@xmpp.example", "bob@example.com", "s1"), bridges.ProofCertificate)
		m := f.expect(f.homes[0], "SUBSCRIBE sip:bob@example.com SIP/2.0")
		f.from(f.homes[0], answer(m, 200, "Contact: <sip:sip1.example.com:5061>\nExpires: 3600\n"))
		synctest.Wait()
		f.hears("SIP/2.0 200 OK")
		routes := f.routesOf(m, false)

		// The same keys, and a bridge that knows nothing.
		f = newFar(t, partners)
		f.from(f.homes[0], bridgeWithin("NOTIFY", "sip:c1@edge1.example.com:5062", "bob@example.com", "b", "juliet@xmpp.example", "j", "s1", routes))
		n := f.hears("NOTIFY sip:c1@edge1.example.com:5062 SIP/2.0")
		f.says(strings.Replace(answer(n, 481, ""), ";tag=j;tag=b", ";tag=j", 1), bridges.ProofNone)
		f.expect(f.homes[0], "SIP/2.0 481 Call/Transaction Does Not Exist")
	})
}

// bridgeWithin is a request within a dialog.
func bridgeWithin(method, target, from, fromTag, to, toTag, call string, routes []string) string {
	text := fmt.Sprintf("%s %s SIP/2.0\nVia: SIP/2.0/TLS 192.0.2.9;branch=z9hG4bK%s%s%d\nMax-Forwards: 70\n", method, target, call, method, time.Now().UnixNano())
	for _, r := range routes {
		text += "Route: " + r + "\n"
	}
	return text + fmt.Sprintf("From: <sip:%s>;tag=%s\nTo: <sip:%s>;tag=%s\nCall-ID: call-%s\nCSeq: 2 %s\nContent-Length: 0\n\n", from, fromTag, to, toTag, call, method)
}

// routesOf is the Route set that Record-Route makes, for who sent the request or for
// who got it.
func (f *far) routesOf(m *sip.Message, caller bool) (routes []string) {
	elems := m.Elements(sip.RecordRoute)
	for elem, ok := elems.Next(); ok; elem, ok = elems.Next() {
		routes = append(routes, string(elem))
	}
	if caller { // RFC 3261 §12.1.2
		slices.Reverse(routes)
	}
	return routes
}

func TestWhoLosesTheRightLosesTheDialog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {Network: "xmpp"}})
		f.from(f.homes[0], toXMPP("SUBSCRIBE", "bob@example.com", "juliet@xmpp.example", "s1"))
		m := f.hears("SUBSCRIBE sip:juliet@xmpp.example SIP/2.0")
		f.says(answer(m, 200, "Contact: <sip:c9@edge1.example.com:5062>\nExpires: 600\n"), bridges.ProofNone)
		f.expect(f.homes[0], "SIP/2.0 200 OK")
		notify := func() string {
			return bridgeWithin("NOTIFY", "sip:bob@10.0.0.50:5070", "juliet@xmpp.example", "b", "bob@example.com", "b", "s1", f.routesOf(m, false))
		}
		// Whoever may only write to others gets what belongs to that.
		f.e.SetBridgePolicy(policyOf(t, map[string]bridges.Rules{"bob@example.com": {Outbound: []string{"xmpp"}}}))
		f.says(notify(), bridges.ProofCertificate)
		f.expect(f.homes[0], "NOTIFY sip:bob@10.0.0.50:5070 SIP/2.0")
		f.e.SetBridgePolicy(nil)
		time.Sleep(time.Millisecond) // another branch
		f.says(notify(), bridges.ProofCertificate)
		f.hears("SIP/2.0 403 Forbidden")
		f.reason(allowlists.BridgeNotEnabled)
	})
}

func TestARestartAnswersWhatTheBridgeWasAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {Network: "xmpp"}})
		f.from(f.homes[0], toXMPP("MESSAGE", "bob@example.com", "juliet@xmpp.example", "m1"))
		f.from(f.homes[0], toXMPP("INVITE", "bob@example.com", "juliet@xmpp.example", "i1"))
		f.hears("MESSAGE sip:juliet@xmpp.example SIP/2.0", "INVITE sip:juliet@xmpp.example SIP/2.0")
		f.says(fromXMPP("INVITE", "juliet@xmpp.example", "bob@example.com", "i2"), bridges.ProofCertificate)
		m := f.expect(f.homes[0], "INVITE sip:bob@example.com SIP/2.0")
		f.from(f.homes[0], answer(m, 180, ""))
		f.set(func(f *far) { f.full = true })
		f.seat.Restarted()
		synctest.Wait()
		lines, _ := f.sent(f.homes[0])
		slices.Sort(lines)
		if want := []string{"CANCEL sip:bob@example.com SIP/2.0", "SIP/2.0 504 Server Time-out", "SIP/2.0 504 Server Time-out"}; !slices.Equal(lines, want) {
			t.Errorf("home server heard %q, want %q", lines, want)
		}
	})
}

func TestWhatHasNoPlaceOnABridge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {}})
		f.says(strings.ReplaceAll(fromXMPP("REGISTER", "juliet@xmpp.example", "bob@example.com", "r1"), "sip:c1@", "sip:juliet@"), bridges.ProofCertificate)
		f.hears("SIP/2.0 403 Forbidden")
		f.reason(allowlists.PartnerMethod)
		f.says(strings.Replace(fromXMPP("MESSAGE", "juliet@xmpp.example", "bob@example.com", "m1"), "From:", "Route: <sip:10.0.0.5:22;lr>\nFrom:", 1), bridges.ProofCertificate)
		f.hears("SIP/2.0 403 Forbidden")
		f.reason(allowlists.RoutePreloaded)
		f.says(bridgeWithin("MESSAGE", "sip:bob@example.com", "juliet@xmpp.example", "j", "bob@example.com", "madeup", "m2", nil), bridges.ProofCertificate)
		f.hears("SIP/2.0 481 Call/Transaction Does Not Exist")
		f.says(fromXMPP("MESSAGE", "juliet@xmpp.example", "+15550100@example.com", "m3"), bridges.ProofCertificate)
		f.hears("SIP/2.0 403 Forbidden")
		f.reason(allowlists.PartnerNumber)
		f.expect(f.homes[0])
	})
}

// Whoever owns a domain has a thousand names in it, and a stream for each.
func TestStrangersOnABridgeAreHeldToTheirLimitsByOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, nil)
		lists, errs := federation.Compile(federation.File{Federation: federation.Section{Unlisted: "discover", DiscoveredAddresses: 3}}, []string{"example.com"}, federation.With{})
		if errs != nil {
			t.Fatal(errs)
		}
		f.e.partners.Store(lists)
		var err error
		if f.e.discovery, err = federation.OpenDiscovery(nil, nil, f.e.log); err != nil {
			t.Fatal(err)
		}
		p, errs := bridges.Compile(bridges.File{Default: both}, []string{"example.com"}, bridges.With{})
		if errs != nil {
			t.Fatal(errs)
		}
		f.e.SetBridgePolicy(p)
		for i := range 5 {
			from, to := fmt.Sprintf("x@d%d.evil.example", i), fmt.Sprintf("user%d@example.com", i)
			f.says(fromXMPP("MESSAGE", from, to, fmt.Sprint("m", i)), bridges.ProofDialback)
			if i < 3 {
				m := f.expect(f.homes[0], "MESSAGE sip:"+to+" SIP/2.0")
				if m.Count(sip.PAssertedIdentity) > 0 {
					t.Error("a stranger counts as verified")
				}
				continue
			}
			f.hears("SIP/2.0 403 Forbidden")
			f.reason(allowlists.PartnerWatched)
		}
		if r, ok := f.e.discovery.Record("d0.evil.example"); !ok || r.State != federation.StateWatched {
			t.Errorf("record %+v", r)
		}
	})
}

// FuzzBridge lets anything come from a bridge: whatever it is, the edge does not fall,
// and what is sent inside is well-formed and in the name of the domain that was proved.
func FuzzBridge(f *testing.F) {
	for _, method := range []string{"MESSAGE", "INVITE", "ACK", "CANCEL", "SUBSCRIBE", "FOO"} {
		f.Add([]byte(strings.ReplaceAll(fromXMPP(method, "juliet@xmpp.example", "bob@example.com", "x1"), "\n", "\r\n")))
	}
	f.Add([]byte("SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS edge1.example.com;branch=z9hG4bK0000000000000000000000000000000000\r\nContent-Length: 0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		x := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {}})
		b := &bridge{Bridge: x.e.bridges[0].Bridge, edge: x.e, flow: x.e.bridges[0].flow} // without a goroutine
		b.flow.bridge = b
		b.handle(letter{x.e.copied(raw), bridges.ProofCertificate})
		if n := x.e.wire.counts.panics.Load(); n > 0 {
			t.Fatalf("a panic:\n%s", x.log.String())
		}
		_, sent := x.sent(x.homes[0])
		if sent == nil || !sent.IsRequest() {
			return
		}
		uri, err := sent.FromURI()
		if fault := sent.Fault(); fault != nil || err != nil || string(sip.AppendDomain(nil, uri.Host)) != "xmpp.example" || sent.Count(sip.SipedgeBridge) != 1 {
			t.Fatalf("sent inside: %v, %v\n%q", fault, err, sent.Raw())
		}
	})
}

func TestABridgeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {}, "slow.example": {}})
		f.e.limits.Transactions = 3
		for i := range 5 {
			f.says(fromXMPP("MESSAGE", "juliet@slow.example", "bob@example.com", fmt.Sprint("s", i)), bridges.ProofCertificate)
		}
		f.hears("SIP/2.0 503 Service Unavailable", "SIP/2.0 503 Service Unavailable")
		f.reason(allowlists.LimitTransactions)
		f.sent(f.homes[0])
		// One domain that hangs leaves the others their share.
		f.says(fromXMPP("MESSAGE", "juliet@xmpp.example", "bob@example.com", "m1"), bridges.ProofCertificate)
		f.expect(f.homes[0], "MESSAGE sip:bob@example.com SIP/2.0")

		// Sending too much at once is refused, not waited for.
		b := f.e.bridges[0]
		b.mu.Lock()
		b.octets, b.inbox = f.e.wire.maxOut, append(b.inbox, letter{raw: f.e.copied([]byte("x"))})
		b.mu.Unlock()
		if err := f.seat.Send([]byte("MESSAGE"), bridges.ProofNone); err != ErrFlowFull {
			t.Errorf("Send = %v, want ErrFlowFull", err)
		}
	})
}

// Addresses under a domain of ours are of as many others as those of their own.
func TestWhoIsBehindATunnelHasAShareOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {}, "slow.example": {}})
		f.e.tunnels = map[string]*bridge{"gw.example.com": f.e.bridges[0]}
		f.e.limits.Transactions = 3
		for i := range 5 {
			f.says(fromXMPP("MESSAGE", "juliet%40slow.example@gw.example.com", "bob@example.com", fmt.Sprint("s", i)), bridges.ProofCertificate)
		}
		f.hears("SIP/2.0 503 Service Unavailable", "SIP/2.0 503 Service Unavailable")
		f.sent(f.homes[0])
		f.says(fromXMPP("MESSAGE", "juliet%40xmpp.example@gw.example.com", "bob@example.com", "m1"), bridges.ProofCertificate)
		f.expect(f.homes[0], "MESSAGE sip:bob@example.com SIP/2.0")
	})
}

func TestLinesAboutOneDomainBehindABridgeLeaveOutNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, nil)
		for i := range refusedBurst + 50 {
			f.says(fromXMPP("MESSAGE", fmt.Sprintf("x@d%d.evil.example", i), "bob@example.com", fmt.Sprint("m", i)), bridges.ProofDialback)
		}
		f.says(fromXMPP("MESSAGE", "y@other.example", "bob@example.com", "o1"), bridges.ProofDialback)
		if got := strings.Count(f.log.String(), "from=x@d"); got != refusedBurst {
			t.Errorf("%d lines about the one who floods, want %d", got, refusedBurst)
		}
		if got := strings.Count(f.log.String(), "from=y@other.example"); got != 1 {
			t.Errorf("%d lines about the other, want 1", got)
		}
	})
}

func TestWhatABridgeSendsThatIsNoMessageIsAnsweredIfItCanBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, nil)
		f.says("nonsense\n\n", bridges.ProofCertificate)
		f.hears("SIP/2.0 400 Malformed Request-Line")
		f.says(strings.Replace(fromXMPP("MESSAGE", "j@xmpp.example", "bob@example.com", "m1"), "Content-Length: 0", "Content-Length: 7", 1), bridges.ProofCertificate)
		f.hears("SIP/2.0 400 Content-Length does not fit")
		// The flow of a bridge has no end.
		f.says(fromXMPP("OPTIONS", "j@xmpp.example", "edge1.example.com", "o1"), bridges.ProofCertificate)
		f.hears("SIP/2.0 403 Forbidden")
	})
}

func TestAPoolKnowsWhatCameByABridgeAlsoFromAnotherPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, nil)
		text := strings.Replace(toXMPP("MESSAGE", "bob@example.com", "carol@example.com", "m1"), "Content-Length", "Sipedge-Bridge: xmpp;hops=1\nContent-Length", 1)
		f.from(f.homes[0], text)
		m := f.expect(f.homes[0], "MESSAGE sip:carol@example.com SIP/2.0")
		if got := string(m.Value(sip.SipedgeBridge)); got != "xmpp;hops=1" {
			t.Errorf("mark %q, want it as it came", got)
		}
	})
}

// What the bridge itself says when a subscription ends reaches the device of our user
// whoever may do what by then; nothing else does.
func TestTheEndOfASubscriptionReachesOurUser(t *testing.T) {
	const ends = "Subscription-State: terminated;reason=rejected\n"
	lists := map[string]federation.File{
		"blocked":    {Blocked: map[string]federation.BlockedConfig{"xmpp.example": {}}},
		"in no list": {},
		"not by presence": {Partners: map[string]federation.PartnerConfig{
			"xmpp.example": {Network: "xmpp", Kinds: []string{"im"}}}},
		"verified users only": {Partners: map[string]federation.PartnerConfig{
			"xmpp.example": {Network: "xmpp", Unmarked: "refuse"}}},
	}
	for _, tt := range []struct {
		name   string
		method string
		more   string
		change func(text string) string
		proof  bridges.Proof
		passes bool
	}{
		{"the bridge's own end", "NOTIFY", ends, nil, bridges.ProofBridge, true},
		{"an end that the other side has proved", "NOTIFY", ends, nil, bridges.ProofDialback, false},
		{"no end", "NOTIFY", "Subscription-State: active;expires=60\n", nil, bridges.ProofBridge, false},
		{"no state", "NOTIFY", "", nil, bridges.ProofBridge, false},
		{"two states", "NOTIFY", ends + "Subscription-State: active\n", nil, bridges.ProofBridge, false},
		{"another request", "MESSAGE", ends, nil, bridges.ProofBridge, false},
		{"an end with a document", "NOTIFY", ends, func(text string) string {
			return strings.Replace(text, "Content-Length: 0\n\n", "Content-Type: text/plain\nContent-Length: 2\n\nhi", 1)
		}, bridges.ProofBridge, false},
		{"an end in another one's dialog", "NOTIFY", ends, func(text string) string {
			return strings.ReplaceAll(text, "juliet@xmpp.example", "juliet@spam.example")
		}, bridges.ProofBridge, false},
		{"an end in no dialog", "NOTIFY", ends, func(text string) string {
			var lines []string
			for line := range strings.SplitAfterSeq(text, "\n") {
				if !strings.HasPrefix(line, "Route:") {
					lines = append(lines, line)
				}
			}
			return strings.Join(lines, "")
		}, bridges.ProofBridge, false},
	} {
		for what, file := range lists {
			t.Run(tt.name+", "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {Network: "xmpp"}})
					f.from(f.homes[0], toXMPP("SUBSCRIBE", "bob@example.com", "juliet@xmpp.example", "s1"))
					m := f.hears("SUBSCRIBE sip:juliet@xmpp.example SIP/2.0")
					f.says(answer(m, 200, "Contact: <sip:c9@edge1.example.com:5062>\nExpires: 600\n"), bridges.ProofNone)
					f.expect(f.homes[0], "SIP/2.0 200 OK")
					p, errs := federation.Compile(file, []string{"example.com"}, federation.With{})
					if errs != nil {
						t.Fatal(errs)
					}
					f.e.partners.Store(p)
					f.e.SetBridgePolicy(nil)
					text := bridgeWithin(tt.method, "sip:bob@10.0.0.50:5070", "juliet@xmpp.example", "b", "bob@example.com", "b", "s1", f.routesOf(m, false))
					text = strings.Replace(text, "CSeq:", "Event: presence\n"+tt.more+"CSeq:", 1)
					if tt.change != nil {
						text = tt.change(text)
					}
					f.says(text, tt.proof)
					lines, n := f.sent(f.homes[0])
					if got := len(lines) > 0; got != tt.passes {
						t.Fatalf("it passes: %v, want %v\n%s", got, tt.passes, f.log.String())
					}
					if n != nil && n.Count(sip.PAssertedIdentity)+len(n.Body()) > 0 {
						t.Errorf("more is said than that it is over:\n%s", n.Raw())
					}
				})
			})
		}
	}
}
