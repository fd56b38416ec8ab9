package federation

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
)

var decidedAt = time.Date(2026, 11, 22, 9, 14, 0, 0, time.UTC)

func decide(domain string, action Action) Decision {
	return Decision{Domain: domain, Action: action, At: decidedAt, By: "anna"}
}

func TestDecisionsAreInForceWhereTheFileIsSilent(t *testing.T) {
	i := newIssuer(t)
	f := file()
	f.Federation.Unlisted = "discover"
	p, errs := Compile(f, []string{"example.com"}, With{Decisions: []Decision{
		decide("new.example", ActionAllow),
		decide("bad.example", ActionBlock),
		decide("whatever.example", ActionIgnore),
		decide("fabrikam.example", ActionBlock),
		decide("spam.example", ActionAllow),
		decide("contoso.example", ActionIgnore),
		decide("example.com", ActionAllow),
		{Domain: "card.example", Action: ActionAllow, By: "uid 0\nforged=1", Partner: &PartnerConfig{Methods: []string{"MESSAGE"}, Servers: []string{"edge.card.example"}}},
		{Domain: "broken.example", Action: ActionAllow, Partner: &PartnerConfig{Methods: []string{"message"}, Servers: []string{}}},
		decide("not a domain", ActionBlock),
		decide("odd.example", "approve"),
		{Domain: "twice.example", Action: ActionBlock, At: decidedAt.Add(time.Hour)},
		{Domain: "TWICE.example", Action: ActionAllow, At: decidedAt},
	}})
	if errs != nil {
		t.Fatal(errs)
	}
	for _, tt := range []struct {
		domain, method string
		want           allowlists.Reason
		rule           string
	}{
		{"new.example", "MESSAGE", allowlists.PartnerAllowed, "partner new.example (decided by anna 2026-11-22T09:14:00Z)"},
		{"bad.example", "MESSAGE", allowlists.PartnerBlocked, "blocked bad.example (decided by anna 2026-11-22T09:14:00Z)"},
		{"whatever.example", "MESSAGE", allowlists.PartnerDiscovered, "[federation] unlisted (partners.toml:2)"},
		{"fabrikam.example", "MESSAGE", allowlists.PartnerAllowed, "partner fabrikam.example (partners.toml:4)"},
		{"spam.example", "MESSAGE", allowlists.PartnerBlocked, "blocked spam.example (partners.toml:26)"},
		{"example.com", "MESSAGE", allowlists.IdentityOwnDomain, "our own domain example.com"},
		{"card.example", "MESSAGE", allowlists.PartnerAllowed, "partner card.example (decided by uid 0?forged=1)"},
		{"card.example", "INVITE", allowlists.PartnerMethod, "partner card.example (decided by uid 0?forged=1)"},
		{"twice.example", "MESSAGE", allowlists.PartnerBlocked, "blocked twice.example (decided 2026-11-22T10:14:00Z)"},
	} {
		g := p.Admit(i.names(tt.domain), asked(tt.domain, tt.method))
		if g.Reason != tt.want || g.Rule.String() != tt.rule {
			t.Errorf("%s of %s: %s by %s, want %s by %s", tt.method, tt.domain, g.Reason, g.Rule, tt.want, tt.rule)
		}
	}
	if g := p.Admit(i.names("broken.example"), asked("broken.example", "MESSAGE")); g.Tier != TierDiscovered {
		t.Errorf("a decision that does not compile makes a partner %s", g.Tier)
	}
	var got []string
	for _, w := range p.noticed {
		got = append(got, w.Error())
	}
	slices.Sort(got)
	want := []string{
		"decisions: the decision to allow broken.example (decided) is not in force: method \"message\" must be written \"MESSAGE\": case counts",
		"decisions: the decision to allow broken.example (decided) is not in force: servers is empty; leave it out to find them by DNS",
		"decisions: the decision to allow example.com (decided by anna 2026-11-22T09:14:00Z) is of a domain of our own, and not in force",
		"decisions: the decision to approve odd.example (decided by anna 2026-11-22T09:14:00Z) is not understood",
		"decisions: the decision to block not a domain (decided by anna 2026-11-22T09:14:00Z) is not understood",
		"partners.toml:26: conflict: blocked spam.example and the decision to allow it (decided by anna 2026-11-22T09:14:00Z); the file wins",
		"partners.toml:4: conflict: partner fabrikam.example and the decision to block it (decided by anna 2026-11-22T09:14:00Z); the file wins",
	}
	if !slices.Equal(got, want) {
		t.Errorf("warnings (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func TestADecisionsTermsEnd(t *testing.T) {
	i := newIssuer(t)
	d := decide("card.example", ActionAllow)
	d.Partner = &PartnerConfig{Until: Date{2026, 12, 31}, Note: "from the card"}
	at := func(now time.Time) *Partners {
		p, errs := Compile(File{}, nil, With{Decisions: []Decision{d}, Now: now})
		if errs != nil {
			t.Fatal(errs)
		}
		return p
	}
	id := i.names("card.example")
	if g := at(decidedAt).Admit(id, asked("card.example", "MESSAGE")); !g.Allowed() {
		t.Errorf("before its end: %s", g.Reason)
	}
	if g := at(d.Partner.Until.End()).Admit(id, asked("card.example", "MESSAGE")); g.Reason != allowlists.PartnerExpired {
		t.Errorf("at its end: %s", g.Reason)
	}
}

// clearing is closed federation with a clearing house.
func clearing(unlisted string) File {
	return File{
		Federation: Section{Unlisted: unlisted, Upstream: []string{"edge.clearing.example:5061", "192.0.2.53"}, UpstreamName: "edge.clearing.example", Line: 1},
		Partners: map[string]PartnerConfig{
			"fabrikam.example": {Line: 4},
			"strict.example":   {PeerUsage: "strict", Line: 6},
			"direct.example":   {Servers: []string{"edge.direct.example"}, Line: 8},
		},
		Blocked: map[string]BlockedConfig{"spam.example": {Line: 10}},
	}
}

func TestTheClearingHouseSpeaksForPartnersWithoutServers(t *testing.T) {
	i := newIssuer(t)
	house, own := i.names("edge.clearing.example"), i.names("stranger.example")
	for _, tt := range []struct {
		name, unlisted string
		id             *certs.Identity
		domain         string
		want           allowlists.Reason
		tier           Tier
	}{
		{"for a partner", "", house, "fabrikam.example", allowlists.PartnerAllowed, TierAllowed},
		{"who may speak for itself", "", i.names("fabrikam.example"), "fabrikam.example", allowlists.PartnerAllowed, TierAllowed},
		{"not for one with servers", "", house, "direct.example", allowlists.IdentityDomainMismatch, TierDirect},
		{"not for who is not listed", "", house, "stranger.example", allowlists.PartnerNotAllowed, TierNone},
		{"unless the file says so", "upstream", house, "stranger.example", allowlists.PartnerUpstream, TierUpstream},
		{"who may not speak for itself", "upstream", own, "stranger.example", allowlists.IdentityDomainMismatch, TierUpstream},
		{"nor for who is blocked", "upstream", house, "spam.example", allowlists.PartnerBlocked, TierNone},
		{"nor for us", "upstream", house, "example.com", allowlists.IdentityOwnDomain, TierNone},
		{"nor for an address", "upstream", house, "192.0.2.1", allowlists.PartnerNotAllowed, TierNone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := compiled(t, clearing(tt.unlisted)).Admit(tt.id, asked(tt.domain, "MESSAGE"))
			if g.Reason != tt.want || g.Tier != tt.tier || g.Search {
				t.Errorf("Admit = %s, tier %s, search %v; want %s, tier %s", g.Reason, g.Tier, g.Search, tt.want, tt.tier)
			}
		})
	}
	p := compiled(t, clearing("upstream"))
	if !p.Knows(house) || p.Knows(own) || !p.Knows(i.names("fabrikam.example")) {
		t.Error("Knows the wrong ones of clearing house, stranger and partner")
	}
}

func TestTheWayToTheClearingHouseIsOne(t *testing.T) {
	i, p := newIssuer(t), compiled(t, clearing("upstream"))
	keys := make(map[string][]string)
	for _, domain := range []string{"fabrikam.example", "strict.example", "direct.example", "a.example", "b.example"} {
		r, ok := p.Dial([]byte(domain))
		if !ok || !r.Direct() {
			t.Fatalf("Dial(%s) = %+v, %v", domain, r, ok)
		}
		keys[r.Key] = append(keys[r.Key], domain)
		if again, ok := p.Dial([]byte(r.Key)); !ok || again.Key != r.Key || !again.Same(r) {
			t.Errorf("by its key %q the way to %s is %+v, %v", r.Key, domain, again, ok)
		}
	}
	want := map[string][]string{
		upstreamKey: {"fabrikam.example", "a.example", "b.example"}, "strict.example": {"strict.example"}, "direct.example": {"direct.example"},
	}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	r, _ := p.Dial([]byte("a.example"))
	if err := r.Accept("192.0.2.53")(*i.names("edge.clearing.example")); err != nil {
		t.Errorf("the clearing house is refused: %v", err)
	}
	if err := r.Accept("edge.clearing.example")(*i.names("a.example")); certs.ProblemOf(err) != certs.NameNotCovered {
		t.Errorf("somebody else at its place is taken: %v", err)
	}
	moved := clearing("upstream")
	moved.Federation.Upstream = []string{"edge2.clearing.example"}
	if again, _ := compiled(t, moved).Dial([]byte(r.Key)); again.Same(r) {
		t.Error("other servers are the same way")
	}
	if _, ok := p.Dial([]byte("spam.example")); ok {
		t.Error("there is a way to a blocked domain")
	}
	if _, ok := compiled(t, file()).Dial([]byte(upstreamKey)); ok {
		t.Error("there is a way to a clearing house that is none")
	}
}

// FuzzPartners holds what must be so for any lists, decisions and requests.
func FuzzPartners(f *testing.F) {
	i := newIssuer(f)
	ids := map[string]*certs.Identity{}
	domains := []string{"a.example", "b.example", "c.example", "example.com"}
	for _, d := range append(domains, "edge.clearing.example") {
		ids[d] = i.names(d)
	}
	now := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
	unlisted := []string{"refuse", "discover", "upstream"}
	f.Add(uint16(0b101), uint16(0b10), uint16(0b1001), "alice", "alice", "MESSAGE", false)
	f.Add(uint16(0b111), uint16(0), uint16(0xffff), "a*", "ALICE", "INVITE", true)
	f.Fuzz(func(t *testing.T, what, listed, decided uint16, pattern, user, method string, dialog bool) {
		file := File{Federation: Section{Unlisted: unlisted[int(what)%3]}, Partners: map[string]PartnerConfig{}, Blocked: map[string]BlockedConfig{}}
		if what&4 != 0 || file.Federation.Unlisted == "upstream" {
			file.Federation.Upstream = []string{"edge.clearing.example"}
		}
		with := With{Now: now}
		state := make(map[string]uint16)
		for n, d := range domains[:3] {
			state[d] = listed >> (3 * n) & 7
			switch state[d] {
			case 1:
				file.Blocked[d] = BlockedConfig{}
			case 2:
				file.Partners[d] = PartnerConfig{}
			case 3:
				file.Partners[d] = PartnerConfig{Until: Date{2026, 6, 14}}
			case 4:
				file.Partners[d] = PartnerConfig{Until: Date{2026, 6, 15}}
			case 5:
				file.Partners[d] = PartnerConfig{Users: []string{pattern}}
			case 6:
				file.Partners[d] = PartnerConfig{Servers: []string{"edge." + d}}
			}
			if a := []Action{"", ActionAllow, ActionBlock, ActionIgnore}[decided>>(2*n)&3]; a != "" {
				with.Decisions = append(with.Decisions, Decision{Domain: d, Action: a})
			}
		}
		p, errs := Compile(file, []string{"example.com"}, with)
		if errs != nil {
			return
		}
		p.Warnings()
		for _, d := range domains {
			for _, id := range ids {
				q := asked(d, method)
				q.Us.User, q.Dialog = []byte(user), dialog
				in, out := p.Admit(id, q), p.Permit(q)
				switch s := state[d]; {
				case d == "example.com" && in.Allowed():
					t.Errorf("our own domain comes in from outside")
				case s == 1 && (in.Allowed() || out.Allowed() || in.Reason != allowlists.PartnerBlocked):
					t.Errorf("%s is blocked in the file and %s", d, in.Reason)
				case s == 3 && (in.Allowed() || out.Allowed()):
					t.Errorf("%s has ended and %s", d, in.Reason)
				case s >= 2 && s <= 6 && (in.Reason == allowlists.PartnerBlocked || strings.HasPrefix(in.Rule.File, "decided")):
					t.Errorf("%s is in the file, and a decision counts: %s by %s", d, in.Reason, in.Rule)
				case s == 5 && !dialog && in.Allowed() && !p.matches(t, pattern, q.Us):
					t.Errorf("%q is none of %q and passes", user, pattern)
				}
				if in.Allowed() && d != "edge.clearing.example" && !id.Covers(d) && id != ids["edge.clearing.example"] {
					t.Errorf("%s speaks for %s", id, d)
				}
			}
		}
	})
}

// matches asks the list alone.
func (p *Partners) matches(t *testing.T, pattern string, a Address) bool {
	u, errs := allowlists.NewUsers("users", normalPatterns([]string{pattern}))
	if errs != nil {
		t.Fatal(errs)
	}
	return u.Match(a)
}
