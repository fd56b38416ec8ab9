package federation

import (
	"strings"
	"testing"

	"github.com/sipedge/sipedge/allowlists"
)

// somePin is the hash of some key.
const somePin = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

func TestOneEntryGovernsADomainWhicheverWayItIsReached(t *testing.T) {
	p := compiled(t, File{
		Partners: map[string]PartnerConfig{
			"any.example":    {Line: 1},
			"sip.example":    {Network: "sip", Line: 2},
			"xmpp.example":   {Network: "xmpp", Line: 3},
			"direct.example": {Servers: []string{"edge.direct.example"}, Line: 4},
			"pinned.example": {Pins: []string{somePin}, Line: 5},
			"out.example":    {Direction: "out", Line: 6},
			"few.example":    {Methods: []string{"INVITE"}, Line: 7},
			"ended.example":  {Until: Date{2020, 1, 1}, Line: 8},
			"small.example":  {MaxBody: 10, Line: 9},
		},
		Blocked: map[string]BlockedConfig{"spam.example": {Line: 10}},
	})
	for _, tt := range []struct {
		name   string
		domain string
		proof  Proof
		want   allowlists.Reason // ReasonNone: it may
	}{
		{"a listed partner may", "any.example", ProofStrong, ""},
		{"also on a weak proof", "any.example", ProofWeak, ""},
		{"but on none", "any.example", ProofNone, allowlists.IdentityNone},
		{"one that is pinned to SIP may not", "sip.example", ProofStrong, allowlists.BridgeNetwork},
		{"one that is pinned to the network may", "xmpp.example", ProofWeak, ""},
		{"servers are a pin", "direct.example", ProofStrong, allowlists.BridgeNetwork},
		{"so are keys, which nobody shows a bridge", "pinned.example", ProofStrong, allowlists.BridgeNetwork},
		{"blocked is blocked", "spam.example", ProofStrong, allowlists.PartnerBlocked},
		{"who is in no list is refused", "other.example", ProofStrong, allowlists.PartnerNotAllowed},
		{"our own domain comes from inside", "example.com", ProofStrong, allowlists.IdentityOwnDomain},
		{"direction counts", "out.example", ProofStrong, allowlists.PartnerDirection},
		{"methods count", "few.example", ProofStrong, allowlists.PartnerMethod},
		{"the end counts", "ended.example", ProofStrong, allowlists.PartnerExpired},
		{"size counts", "small.example", ProofStrong, allowlists.PartnerSize},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := Request{Method: []byte("MESSAGE"), Remote: []byte(tt.domain), Body: 11, Size: 500}
			g := p.AdmitBridged("xmpp", tt.proof, q)
			if g.Allowed() != (tt.want == "") || !g.Allowed() && g.Reason != tt.want {
				t.Errorf("AdmitBridged = %+v, want %q", g.Verdict, tt.want)
			}
			var first allowlists.Reason
			for _, f := range p.ExamineBridged(allowlists.In, "xmpp", tt.proof, q) {
				if !f.Verdict.Allowed() {
					first = f.Verdict.Reason
					break
				}
			}
			if first != tt.want {
				t.Errorf("ExamineBridged: first refusal %q, want %q", first, tt.want)
			}
		})
	}
}

func TestStrangersComeByABridgeAsTheListsSay(t *testing.T) {
	for _, tt := range []struct {
		section Section
		want    Tier
	}{
		{Section{}, TierNone},
		{Section{Unlisted: "discover"}, TierDiscovered},
		{Section{Unlisted: "upstream", Upstream: []string{"edge.clearing.example"}}, TierNone},
	} {
		p := compiled(t, File{Federation: tt.section})
		g := p.AdmitBridged("xmpp", ProofWeak, Request{Method: []byte("MESSAGE"), Remote: []byte("stranger.example")})
		if g.Allowed() != (tt.want != TierNone) || g.Allowed() && g.Tier != tt.want {
			t.Errorf("unlisted = %q: %+v, tier %v; want %v", tt.section.Unlisted, g.Verdict, g.Tier, tt.want)
		}
		if got := p.Bridges("xmpp", []byte("stranger.example")); got != g.Allowed() {
			t.Errorf("unlisted = %q: Bridges = %v", tt.section.Unlisted, got)
		}
	}
}

func TestServersAndABridgeExcludeEachOther(t *testing.T) {
	_, errs := Compile(File{Partners: map[string]PartnerConfig{
		"a.example": {Network: "xmpp", Servers: []string{"edge.a.example"}, Line: 1},
		"b.example": {Network: "xmpp", Pins: []string{somePin}, Line: 2},
		"c.example": {Network: "icq", Line: 3},
	}}, nil, With{})
	want := []string{
		`partners.toml:1: partner "a.example": network = "xmpp" and servers or pins exclude each other: those are of SIP`,
		`partners.toml:2: partner "b.example": network = "xmpp" and servers or pins exclude each other: those are of SIP`,
		`partners.toml:3: partner "c.example": network "icq" is none of "any", "sip", "xmpp"`,
	}
	var got []string
	for _, err := range errs {
		got = append(got, err.Error())
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAPartnerOnXMPPIsNotSentToTheClearingHouse(t *testing.T) {
	p := compiled(t, File{
		Federation: Section{Upstream: []string{"edge.clearing.example"}},
		Partners:   map[string]PartnerConfig{"x.example": {Network: "xmpp", Line: 1}, "s.example": {Line: 2}},
	})
	for domain, want := range map[string]string{"x.example": "xmpp", "s.example": "sip"} {
		r, ok := p.Dial([]byte(domain))
		if !ok || r.Network != want || r.Direct() != (want == "sip") {
			t.Errorf("Dial(%s) = %+v, want network %s", domain, r, want)
		}
	}
}
