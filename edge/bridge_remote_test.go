package edge

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate/locatetest"
	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

// Whether a user outside may use bridges is a question of its own, beside whether she
// may talk to partners.
func TestUsersOutsideUseBridgesOnlyIfTheirTermsSaySo(t *testing.T) {
	dns, err := locatetest.Serve(zoneOfNobody)
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	dns.Misbehave("_sipfederationtls._tcp.sick.example", locatetest.Servfail)
	for _, tt := range []struct {
		federation, bridges bool
		domain              string
		want                allowlists.Reason
	}{
		{true, true, "pinned.example", ""},
		{true, true, "sip.example", ""},
		{false, true, "pinned.example", ""},
		{true, false, "pinned.example", allowlists.AccessBridges},
		{false, false, "pinned.example", allowlists.AccessBridges},
		{true, false, "fabrikam.example", ""}, // it has servers
		{false, true, "fabrikam.example", allowlists.AccessFederation},
		// DNS has to say it.
		{true, false, "xmpp.example", allowlists.AccessBridges},
		{false, true, "xmpp.example", ""},
		{true, false, "sip.example", ""},
		{false, true, "sip.example", allowlists.AccessFederation},
		{false, true, "sick.example", allowlists.AccessFederation},
		{false, false, "other.example", allowlists.AccessFederation},
	} {
		t.Run(fmt.Sprintf("federation %v bridges %v to %s", tt.federation, tt.bridges, tt.domain), func(t *testing.T) {
			f := newFarAsking(t, dns.Addr(), map[string]federation.PartnerConfig{
				"pinned.example": {Network: "xmpp"}, "xmpp.example": {}, "sip.example": {}, "sick.example": {},
			})
			yes := true
			rules := remoteaccess.Rules{Allow: &yes, Federation: &tt.federation, Bridges: &tt.bridges}
			access, errs := remoteaccess.Compile(remoteaccess.File{Default: rules}, []string{"example.com"}, remoteaccess.With{})
			if errs != nil {
				t.Fatal(errs)
			}
			f.e.SetAccess(access)
			alice := f.remote()
			path := f.signsIn(alice, 1)
			f.from(alice, toXMPP("MESSAGE", "alice@example.com", "juliet@"+tt.domain, "m1"))
			if tt.want == "" {
				f.expect(f.homes[0], "MESSAGE sip:juliet@"+tt.domain+" SIP/2.0")
			} else {
				f.expect(alice, "SIP/2.0 403 Forbidden")
				f.reason(tt.want)
			}
			if tt.domain != "pinned.example" {
				return
			}
			// And back: the mark says that it came by a bridge.
			text := fromXMPP("MESSAGE", "juliet@"+tt.domain, "alice@example.com", "m2")
			f.from(f.homes[0], strings.Replace(text, "From:", "Route: "+path+"\nFrom:", 1))
			lines, m := f.sent(alice)
			if got := len(lines) > 0; got != (tt.want == "") {
				t.Errorf("alice is sent %q", lines)
			}
			if m != nil && m.Count(sip.SipedgeBridge) > 0 {
				t.Error("alice reads the mark, which is for home servers")
			}
		})
	}
}
