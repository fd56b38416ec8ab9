package federation

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
)

// asked is a request of bob's at a domain for alice.
func asked(domain, method string) Request {
	return Request{
		Method: []byte(method), Remote: []byte(domain),
		Them: Address{User: []byte("bob"), Domain: []byte(domain)},
		Us:   Address{User: []byte("alice"), Domain: []byte("example.com")},
	}
}

func pin(id *certs.Identity) string {
	key := id.Key()
	return "sha256/" + base64.StdEncoding.EncodeToString(key[:])
}

func TestEntriesNameAllFaults(t *testing.T) {
	_, errs := Compile(File{
		Federation: Section{Unlisted: "upstream", UpstreamName: "edge.clearing.example", DiscoveredRate: -1, Line: 1, UnlistedLine: 2},
		Partners: map[string]PartnerConfig{
			"a.example": {SRVTarget: "all", Verification: "sometimes", Unmarked: "drop", Line: 3},
			"b.example": {Pins: []string{"", "sha256/AAAA", "md5/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}, Line: 4},
			"c.example": {Pins: []string{}, Rate: -1, Subscriptions: -1, MaxBody: -1, Line: 5},
			"d.example": {Users: []string{"a@b c", "@x"}, TheirUsers: []string{"a@192.0.2.1"}, Kinds: []string{"video"}, Line: 6},
		},
		Blocked: map[string]BlockedConfig{"Example.com": {Line: 7}},
	}, []string{"example.com"}, With{})
	want := []string{
		`partners.toml:1: upstream_name in [federation] needs upstream`,
		`partners.toml:1: discovered_rate, suspicious_rate and discovered_addresses in [federation] must be more than 0; leave them out for the default`,
		`partners.toml:2: unlisted = "upstream" in [federation] needs upstream, the servers of the clearing house`,
		`partners.toml:3: partner "a.example": srv_target "all" is none of "in_domain", "any"`,
		`partners.toml:3: partner "a.example": verification "sometimes" is none of "source", "always", "never"`,
		`partners.toml:3: partner "a.example": unmarked "drop" is none of "unverified", "refuse"`,
		`partners.toml:4: partner "b.example": pin "" is not "sha256/" and the 44 characters of the key's SHA-256 in base64`,
		`partners.toml:4: partner "b.example": pin "sha256/AAAA" is not "sha256/" and the 44 characters of the key's SHA-256 in base64`,
		`partners.toml:4: partner "b.example": pin "md5/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" is not "sha256/" and the 44 characters of the key's SHA-256 in base64`,
		`partners.toml:5: partner "c.example": max_message and max_body must be more than 0; leave them out for the default`,
		`partners.toml:5: partner "c.example": rate must be more than 0; leave it out for the default`,
		`partners.toml:5: partner "c.example": subscriptions must be more than 0; leave it out for the default`,
		`partners.toml:5: partner "c.example": pins is empty; leave it out for any key`,
		`partners.toml:6: partner "d.example": users "a@b c": its domain is not a domain name`,
		`partners.toml:6: partner "d.example": their_users "a@192.0.2.1": its domain is not a domain name`,
		`partners.toml:6: partner "d.example": kind "video" is none of "im", "presence", "calls", "files"`,
		`partners.toml:6: partner "d.example": users "@x": names no user; * is all of them`,
		`partners.toml:7: blocked "Example.com" is a domain of our own: nobody outside may speak for it anyhow`,
	}
	var got []string
	for _, err := range errs {
		got = append(got, err.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("Compile (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func TestAClearingHouseAndDiscoveryExcludeEachOther(t *testing.T) {
	for _, tt := range []struct {
		section Section
		want    string
	}{
		{Section{Unlisted: "discover", Upstream: []string{"edge.clearing.example"}, Line: 1}, `partners.toml:1: unlisted = "discover" and upstream in [federation] exclude each other`},
		{Section{Upstream: []string{}, Line: 1, UpstreamLine: 3}, `partners.toml:3: upstream in [federation] is empty`},
		{Section{Upstream: []string{"a b"}, Line: 1, UpstreamLine: 3}, `partners.toml:3: upstream in [federation]: "a b": not a host name or address`},
		{Section{Upstream: []string{"a.example"}, UpstreamName: "-", Line: 1, UpstreamLine: 3}, `partners.toml:3: upstream_name in [federation]: "-": not a host name or address`},
	} {
		_, errs := Compile(File{Federation: tt.section}, nil, With{})
		if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), tt.want) {
			t.Errorf("%+v: %v, want %s", tt.section, errs, tt.want)
		}
	}
}

func TestAdmitAsksWhatTheEntrySays(t *testing.T) {
	i := newIssuer(t)
	pinned, other := i.names("pinned.example"), i.names("pinned.example")
	p := compiled(t, File{Partners: map[string]PartnerConfig{
		"users.example":  {Users: []string{"Alice@EXAMPLE.com."}, TheirUsers: []string{"bob", "ops-*@users.example"}, Line: 1},
		"kinds.example":  {Kinds: []string{"im"}, Line: 2},
		"sizes.example":  {MaxMessage: 1000, MaxBody: 100, Line: 3},
		"pinned.example": {Pins: []string{pin(pinned), "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}, Line: 4},
		"any.example":    {SRVTarget: "any", Line: 5},
		"idn.example":    {Users: []string{"alice@bücher.example"}, Line: 6},
	}})
	for _, tt := range []struct {
		name   string
		id     *certs.Identity
		domain string
		change func(*Request)
		want   allowlists.Reason
	}{
		{"users who are listed", i.names("users.example"), "users.example", func(*Request) {}, allowlists.PartnerAllowed},
		{"in any spelling", i.names("users.example"), "users.example", func(q *Request) { q.Us.User, q.Them.User = []byte("%41LICE"), []byte("OPS-1") }, allowlists.PartnerAllowed},
		{"another of ours", i.names("users.example"), "users.example", func(q *Request) { q.Us.User = []byte("carol") }, allowlists.PartnerUser},
		{"another of theirs", i.names("users.example"), "users.example", func(q *Request) { q.Them.User = []byte("carol") }, allowlists.PartnerUser},
		{"who does not prove the domain is not told about users", i.names("other.example"), "users.example", func(q *Request) { q.Us.User = []byte("carol") }, allowlists.IdentityDomainMismatch},
		{"a domain of users in Unicode", i.names("idn.example"), "idn.example", func(q *Request) { q.Us.Domain = []byte("xn--bcher-kva.example") }, allowlists.PartnerAllowed},
		{"a kind that is listed", i.names("kinds.example"), "kinds.example", func(q *Request) { q.Kinds = allowlists.KindIM }, allowlists.PartnerAllowed},
		{"one that is not", i.names("kinds.example"), "kinds.example", func(q *Request) { q.Kinds = allowlists.KindCalls }, allowlists.PartnerKind},
		{"a size that fits", i.names("sizes.example"), "sizes.example", func(q *Request) { q.Size, q.Body = 1000, 100 }, allowlists.PartnerAllowed},
		{"one that does not", i.names("sizes.example"), "sizes.example", func(q *Request) { q.Size = 1001 }, allowlists.PartnerSize},
		{"a key that is pinned", pinned, "pinned.example", func(*Request) {}, allowlists.PartnerAllowed},
		{"one that is not", other, "pinned.example", func(*Request) {}, allowlists.IdentityPin},
		{"who does not prove the domain is not told about pins", i.names("other.example"), "pinned.example", func(*Request) {}, allowlists.IdentityDomainMismatch},
		{"an SRV target elsewhere where the entry says so", i.names("edge.hoster.example"), "any.example", func(q *Request) { q.Target = "edge.hoster.example" }, allowlists.PartnerAllowed},
		{"and nowhere else", i.names("edge.hoster.example"), "kinds.example", func(q *Request) { q.Target = "edge.hoster.example" }, allowlists.IdentityDomainMismatch},
		{"one in the domain", i.names("edge.kinds.example"), "kinds.example", func(q *Request) { q.Target = "edge.kinds.example" }, allowlists.PartnerAllowed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := asked(tt.domain, "MESSAGE")
			tt.change(&q)
			if g := p.Admit(tt.id, q); g.Reason != tt.want || g.Allowed() != (tt.want == allowlists.PartnerAllowed) {
				t.Errorf("Admit = %s by %s, want %s", g.Reason, g.Rule, tt.want)
			}
		})
	}
	if !p.AsksKinds() || compiled(t, file()).AsksKinds() {
		t.Error("AsksKinds does not say whether an entry lists kinds")
	}
	route, _ := p.Dial([]byte("pinned.example"))
	if err := route.Accept("edge.pinned.example")(*pinned); err != nil {
		t.Errorf("the pinned key is refused when we dial: %v", err)
	}
	if err := route.Accept("edge.pinned.example")(*other); certs.ProblemOf(err) != certs.KeyNotPinned {
		t.Errorf("another key when we dial: %v, want %s", err, certs.KeyNotPinned)
	}
	route, _ = p.Dial([]byte("any.example"))
	if err := route.Accept("edge.hoster.example")(*i.names("edge.hoster.example")); err != nil {
		t.Errorf("a server outside of the domain is refused although srv_target says any: %v", err)
	}
}

func TestEntriesEnd(t *testing.T) {
	i := newIssuer(t)
	f := File{
		Federation: Section{Unlisted: "discover"},
		Partners: map[string]PartnerConfig{
			"a.example":      {Until: Date{2026, 2, 28}, Line: 1},
			"b.example":      {Until: Date{2027, 12, 31}, Servers: []string{"192.0.2.1"}, Line: 2},
			"direct.example": {Until: Date{2026, 2, 28}, Servers: []string{"edge.direct.example"}, Line: 3},
		},
	}
	at := func(now time.Time) *Partners {
		p, errs := Compile(f, nil, With{Now: now})
		if errs != nil {
			t.Fatal(errs)
		}
		return p
	}
	last, over := time.Date(2026, 2, 28, 23, 59, 59, 0, time.UTC), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	p, id := at(last), i.names("a.example")
	if g := p.Admit(id, asked("a.example", "MESSAGE")); !g.Allowed() {
		t.Errorf("on its last day: %s", g.Reason)
	}
	if !p.Changes().Equal(over) {
		t.Errorf("Changes = %v, want %v", p.Changes(), over)
	}
	p = at(over)
	if g := p.Admit(id, asked("a.example", "MESSAGE")); g.Reason != allowlists.PartnerExpired || g.Allowed() || g.Rule.Line != 1 {
		t.Errorf("the day after: %s by %s, want %s", g.Reason, g.Rule, allowlists.PartnerExpired)
	}
	if g := p.Permit(asked("a.example", "MESSAGE")); g.Reason != allowlists.PartnerExpired || g.Allowed() {
		t.Errorf("the day after, outward: %s", g.Reason)
	}
	if _, ok := p.Dial([]byte("a.example")); ok {
		t.Error("there is a way to who has ended")
	}
	if want := time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC); !p.Changes().Equal(want) {
		t.Errorf("Changes = %v, want %v", p.Changes(), want)
	}
	f.Federation.Unlisted = ""
	if p := at(over); p.Knows(id) || p.Knows(i.names("edge.direct.example")) || !p.Knows(i.identity(certs.Leaf{IPs: []string{"192.0.2.1"}})) {
		t.Error("who has ended is known, or who has not is not")
	}
	if p := compiled(t, f); p.Admit(id, asked("a.example", "MESSAGE")).Allowed() && time.Now().After(over) {
		t.Error("without a clock nothing ends")
	}
}

func TestGrantSaysWhatFollows(t *testing.T) {
	i := newIssuer(t)
	p := compiled(t, File{
		Federation: Section{Unlisted: "discover", DiscoveredRate: 7},
		Partners: map[string]PartnerConfig{
			"plain.example": {Line: 1},
			"all.example":   {Rate: 0.5, Subscriptions: 3, Verification: "always", Unmarked: "refuse", Line: 2},
		},
	})
	type what struct {
		tier          Tier
		rate          float64
		subscriptions int
		verification  Verification
		unmarked      Unmarked
	}
	for domain, want := range map[string]what{
		"plain.example":    {TierAllowed, 0, 0, VerifySource, UnmarkedUnverified},
		"all.example":      {TierAllowed, 0.5, 3, VerifyAlways, UnmarkedRefused},
		"stranger.example": {TierDiscovered, 0, 0, VerifyNever, UnmarkedUnverified},
	} {
		g := p.Admit(i.names(domain), asked(domain, "MESSAGE"))
		if got := (what{g.Tier, g.Rate(), g.Subscriptions(), g.Verification(), g.Unmarked()}); got != want || !g.Allowed() {
			t.Errorf("%s: %+v (%s), want %+v", domain, got, g.Reason, want)
		}
	}
	if g := (Grant{}); g.Allowed() || g.Verification() != VerifyNever || g.Unmarked() != UnmarkedRefused {
		t.Errorf("the zero Grant: %+v", g)
	}
	if got, want := p.Discovery(), (DiscoveryLimits{7, 1, 1000}); got != want {
		t.Errorf("Discovery = %+v, want %+v", got, want)
	}
}

func TestEntriesThatSayTheSameShareTheirTerms(t *testing.T) {
	p := compiled(t, File{Partners: map[string]PartnerConfig{
		"a.example": {Methods: []string{"MESSAGE"}, Owner: "one", Until: Date{2999, 1, 1}, Line: 1},
		"b.example": {Methods: []string{"MESSAGE"}, Owner: "two", Note: "x", Line: 2},
		"c.example": {Methods: []string{"INVITE"}, Line: 3},
	}})
	a, b, c := p.known[0].terms, p.known[1].terms, p.known[2].terms
	if a != b || a == c || a.lists != b.lists {
		t.Errorf("terms of a %p, b %p, c %p: a and b say the same, c does not", a, b, c)
	}
}

func TestDescribeTellsAll(t *testing.T) {
	f := File{
		Partners: map[string]PartnerConfig{
			"bücher.example":   {Owner: "anna", Ticket: "CHG-1", Note: "books", Until: Date{2999, 12, 31}, Methods: []string{"MESSAGE"}, Line: 1},
			"contoso.example":  {Servers: []string{"edge.contoso.example"}, Line: 2},
			"fabrikam.example": {Until: Date{2020, 1, 1}, Line: 3},
		},
		Blocked: map[string]BlockedConfig{"spam.example": {Because: "unsolicited", Line: 4}},
	}
	decision := Decision{Domain: "new.example", Action: ActionAllow, By: "root", At: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}
	p, errs := Compile(f, nil, With{Decisions: []Decision{decision}})
	if errs != nil {
		t.Fatal(errs)
	}
	plain := PartnerConfig{Network: "any", Direction: "both", PeerUsage: "federation", Verification: "source", Unmarked: "unverified"}
	with := func(change func(*PartnerConfig)) PartnerConfig { c := plain; change(&c); return c }
	want := []Description{
		{Domain: "contoso.example", State: "direct", Rule: "partner contoso.example", File: "partners.toml", Line: 2, Way: "servers",
			Config: with(func(c *PartnerConfig) { c.Servers, c.Network = []string{"edge.contoso.example:5061"}, "sip" })},
		{Domain: "fabrikam.example", State: "expired", Rule: "partner fabrikam.example", File: "partners.toml", Line: 3, Way: "dns", Ends: time.Date(2020, 1, 2, 0, 0, 0, 0, time.UTC),
			Config: with(func(c *PartnerConfig) { c.SRVTarget, c.Until = "in_domain", Date{2020, 1, 1} })},
		{Domain: "new.example", State: "allowed", Rule: "partner new.example", File: "decided by root 2026-11-22T09:00:00Z", Way: "dns", Decision: &decision,
			Config: with(func(c *PartnerConfig) { c.SRVTarget = "in_domain" })},
		{Domain: "spam.example", State: "blocked", Rule: "blocked spam.example", File: "partners.toml", Line: 4, Note: "unsolicited"},
		{Domain: "xn--bcher-kva.example", Unicode: "bücher.example", State: "allowed", Rule: "partner xn--bcher-kva.example", File: "partners.toml", Line: 1, Way: "dns", Ends: time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC),
			Config: with(func(c *PartnerConfig) {
				c.SRVTarget, c.Owner, c.Ticket, c.Note, c.Until, c.Methods = "in_domain", "anna", "CHG-1", "books", Date{2999, 12, 31}, []string{"MESSAGE"}
			})},
	}
	if diff := cmp.Diff(want, slices.Collect(p.All())); diff != "" {
		t.Errorf("All (-want +got):\n%s", diff)
	}
	if d, ok := p.Describe("spam.example"); !ok || d.State != "blocked" {
		t.Errorf("Describe = %+v, %v", d, ok)
	}
	if _, ok := p.Describe("stranger.example"); ok {
		t.Error("Describe knows a stranger")
	}
}

func TestConfigsGoThroughJSON(t *testing.T) {
	in := PartnerConfig{
		Servers: []string{"edge.example:5061"}, Pins: []string{"sha256/x"}, Rate: 0.5, MaxBody: 7, Users: []string{}, AllowCN: true,
		Until: Date{2026, 12, 31}, Verification: "never",
	}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"servers":["edge.example:5061"],"users":[],"max_body":7,"rate":0.5,"pins":["sha256/x"],"verification":"never","allow_cn":true,"until":"2026-12-31"}`; string(text) != want {
		t.Errorf("Marshal:\n%s\nwant\n%s", text, want)
	}
	var out PartnerConfig
	if err := json.Unmarshal(text, &out); err != nil || !cmp.Equal(in, out) {
		t.Errorf("Unmarshal: %v\n%s", err, cmp.Diff(in, out))
	}
	for _, bad := range []string{`{"until":"31.12.2026"}`, `{"until":"2026-02-30"}`, `{"until":"2026-12-31T00:00:00Z"}`} {
		if err := json.Unmarshal([]byte(bad), &out); err == nil {
			t.Errorf("%s is taken for a date", bad)
		}
	}
}

func TestAdmitAsksUsersWithoutAllocating(t *testing.T) {
	i := newIssuer(t)
	f := File{Partners: map[string]PartnerConfig{"a.example": {
		Kinds: []string{"im"}, Users: []string{"alice@example.com", "x*"}, TheirUsers: []string{"b*@a.example"}, MaxBody: 9, Pins: []string{pin(i.names("x.example"))},
	}}}
	id := i.names("a.example")
	c := f.Partners["a.example"]
	c.Pins = []string{pin(id)}
	f.Partners["a.example"] = c
	p, q := compiled(t, f), asked("a.example", "MESSAGE")
	q.Kinds = allowlists.KindIM
	if n := testing.AllocsPerRun(100, func() {
		if !p.Admit(id, q).Allowed() {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("Admit allocates %v times, want none", n)
	}
}

func BenchmarkAdmitUsers(b *testing.B) {
	list := make([]string, 1000)
	for n := range list {
		list[n] = fmt.Sprintf("user%d@example.com", n)
	}
	i := newIssuer(b)
	p := compiled(b, File{Partners: map[string]PartnerConfig{"a.example": {Users: append(list, "alice@example.com"), TheirUsers: []string{"b*"}}}})
	id, q := i.names("a.example"), asked("a.example", "MESSAGE")
	b.ReportAllocs()
	for b.Loop() {
		if !p.Admit(id, q).Allowed() {
			b.Fatal("refused")
		}
	}
}
