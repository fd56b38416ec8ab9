package edge

import (
	"testing"

	"github.com/sipedge/sipedge/federation"
)

func TestTheEdgeThatIsAskedForComesFirst(t *testing.T) {
	links := []*link{{host: "edge1.fabrikam.example"}, {host: "edge2.fabrikam.example"}, {host: "backup.example"}}
	for _, tt := range []struct {
		name string
		hint *edgeHint
		want []string
	}{
		{"nobody asks", nil, []string{"edge1.fabrikam.example", "edge2.fabrikam.example", "backup.example"}},
		{"the second", &edgeHint{host: "edge2.fabrikam.example"}, []string{"edge2.fabrikam.example", "edge1.fabrikam.example", "backup.example"}},
		{"the last, which must be one", &edgeHint{host: "backup.example", must: true}, []string{"backup.example", "edge1.fabrikam.example", "edge2.fabrikam.example"}},
		{"one that there is not", &edgeHint{host: "edge9.fabrikam.example"}, []string{"edge1.fabrikam.example", "edge2.fabrikam.example", "backup.example"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := way{links: links, hint: tt.hint}
			if w.astray() {
				t.Fatal("it is astray")
			}
			for i, want := range tt.want {
				l := w.nextLink()
				if l == nil || l.host != want {
					t.Fatalf("hop %d is %v, want %s", i, l, want)
				}
			}
			if l := w.nextLink(); l != nil {
				t.Errorf("there is one more: %s", l.host)
			}
		})
	}
	w := way{links: links, hint: &edgeHint{host: "edge.elsewhere.example", must: true}}
	if !w.astray() {
		t.Error("a hint that leads elsewhere is followed")
	}
	if w.links = nil; w.astray() {
		t.Error("a hint is judged before the hops are known")
	}
}

func TestTheWordForHowAPartnerIsKnown(t *testing.T) {
	for tier, want := range map[federation.Tier]string{
		federation.TierDirect: "DirectPartner", federation.TierAllowed: "DirectPartner",
		federation.TierUpstream: "AuthorizedServer", federation.TierDiscovered: "AutoFederation", federation.TierNone: "AutoFederation",
	} {
		if got := sourceType(tier); got != want {
			t.Errorf("a partner that is %s is called %s, want %s", tier, got, want)
		}
	}
}

func TestThePeersNameIsOneThatItProved(t *testing.T) {
	id := identity(t, "edge.fabrikam.example")
	if got := peerHost(&id); got != "edge.fabrikam.example" {
		t.Errorf("peer %q, want edge.fabrikam.example", got)
	}
	if got := peerHost(nil); got != "" {
		t.Errorf("a peer that proved nothing is %q", got)
	}
}
