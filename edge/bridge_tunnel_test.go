package edge

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/sip"
)

func TestAddressesOfOthersUnderADomainOfTheBridgeAreJudgedAsWhatTheyMean(t *testing.T) {
	for _, tt := range []struct {
		name, to string
		want     allowlists.Reason
	}{
		{"a listed domain", "juliet%40xmpp.example@gw.example.com", ""},
		{"in any case", "juliet%40XMPP.example@GW.example.com", ""},
		{"whose entry names SIP servers", "x%40fabrikam.example@gw.example.com", allowlists.BridgeNetwork},
		{"a blocked one", "x%40spam.example@gw.example.com", allowlists.PartnerBlocked},
		{"an unlisted one", "x%40other.example@gw.example.com", allowlists.PartnerNotAllowed},
		{"nobody's", "juliet@gw.example.com", allowlists.PartnerNotAllowed},
		{"no user", "%40xmpp.example@gw.example.com", allowlists.PartnerNotAllowed},
		{"one of ours", "x%40example.com@gw.example.com", allowlists.PartnerNotAllowed},
		{"a user that the entry does not have", "romeo%40xmpp.example@gw.example.com", allowlists.PartnerUser},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {TheirUsers: []string{"juliet"}}})
				f.e.tunnels = map[string]*bridge{"gw.example.com": f.e.bridges[0]}
				f.from(f.homes[0], toXMPP("MESSAGE", "bob@example.com", tt.to, "m1"))
				if tt.want == "" {
					f.hears("MESSAGE sip:" + tt.to + " SIP/2.0")
					return
				}
				f.expect(f.homes[0], "SIP/2.0 403 Forbidden")
				f.reason(tt.want)
			})
		})
	}
}

func TestADialogWithSuchAnAddressGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, map[string]federation.PartnerConfig{"xmpp.example": {}, "other.example": {}})
		f.e.tunnels = map[string]*bridge{"gw.example.com": f.e.bridges[0]}
		const juliet = "juliet%40xmpp.example@gw.example.com"
		f.from(f.homes[0], toXMPP("SUBSCRIBE", "bob@example.com", juliet, "s1"))
		m := f.hears("SUBSCRIBE sip:" + juliet + " SIP/2.0")
		f.says(answer(m, 200, "Contact: <sip:c9@edge1.example.com:5062>\nExpires: 600\n"), bridges.ProofNone)
		f.expect(f.homes[0], "SIP/2.0 200 OK")
		notify := bridgeWithin("NOTIFY", "sip:bob@10.0.0.50:5070", juliet, "b", "bob@example.com", "b", "s1", f.routesOf(m, false))
		f.says(notify, bridges.ProofDialback)
		n := f.expect(f.homes[0], "NOTIFY sip:bob@10.0.0.50:5070 SIP/2.0")
		if uri, _ := n.FromURI(); string(uri.User) != "juliet%40xmpp.example" {
			t.Errorf("From is %s", n.Value(sip.From))
		}
		f.says(strings.NewReplacer("juliet%40xmpp", "juliet%40other", "z9hG4bK", "z9hG4bKx").Replace(notify), bridges.ProofDialback)
		f.hears("SIP/2.0 403 Forbidden")
		f.reason(allowlists.RouteTokenInvalid)
	})
}
