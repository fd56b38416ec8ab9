package federation

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sipedge/sipedge/certs"
)

func TestCompileNamesAllFaults(t *testing.T) {
	_, errs := Compile(File{
		File:       "p.toml",
		Federation: Section{Unlisted: "anybody", Line: 1, UnlistedLine: 2},
		Partners: map[string]PartnerConfig{
			"a.example":         {Line: 3},
			"A.example.":        {Line: 4},
			"b.example":         {Line: 5},
			"example.com":       {Line: 7},
			"not a domain":      {Line: 8},
			"192.0.2.1":         {Line: 9},
			"-x.example":        {Line: 10},
			"server.example":    {Servers: []string{"x:y:z", "edge.example:0", "edge.example:70000", "ok.example"}, Line: 11},
			"peer.example":      {PeerName: "edge.example", Line: 12},
			"peername.example":  {Servers: []string{"edge.example"}, PeerName: "a b", Line: 13},
			"usage.example":     {PeerUsage: "lax", Line: 14},
			"direction.example": {Direction: "up", Line: 15},
			"empty.example":     {Servers: []string{}, Line: 16},
			"methods.example":   {Methods: []string{}, Line: 17},
		},
		Blocked: map[string]BlockedConfig{
			"b.example": {Line: 18},
			"b@d":       {Line: 19},
		},
	}, []string{"example.com"}, With{})
	want := []string{
		`p.toml:2: unlisted = "anybody" in [federation] is none of "refuse", "discover", "upstream"`,
		`p.toml:4: a.example is in two entries: this one and partner a.example (p.toml:3)`,
		`p.toml:7: partner "example.com" is a domain of our own: it lives in a pool`,
		`p.toml:8: partner "not a domain": not a domain name`,
		`p.toml:9: partner "192.0.2.1": not a domain name`,
		`p.toml:10: partner "-x.example": not a domain name`,
		`p.toml:11: partner "server.example": server "x:y:z": not a host name or address`,
		`p.toml:11: partner "server.example": server "edge.example:0": port is not a number from 1 to 65535`,
		`p.toml:11: partner "server.example": server "edge.example:70000": port is not a number from 1 to 65535`,
		`p.toml:12: partner "peer.example": peer_name needs servers; without them the certificate must name the domain`,
		`p.toml:13: partner "peername.example": peer_name "a b": not a host name or address`,
		`p.toml:14: partner "usage.example": peer_usage "lax" is none of "federation", "strict", "server"`,
		`p.toml:15: partner "direction.example": direction "up" is none of "both", "in", "out"`,
		`p.toml:16: partner "empty.example": servers is empty; leave it out to find them by DNS`,
		`p.toml:17: partner "methods.example": methods is empty; leave it out to allow all`,
		`p.toml:18: b.example is in two entries: this one and partner b.example (p.toml:5)`,
		`p.toml:19: blocked "b@d": not a domain name`,
	}
	var got []string
	for _, err := range errs {
		got = append(got, err.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("Compile (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func TestNormal(t *testing.T) {
	for in, want := range map[string]string{
		"fabrikam.example":                   "fabrikam.example",
		"Fabrikam.EXAMPLE.":                  "fabrikam.example",
		"bücher.example":                     "xn--bcher-kva.example",
		"BÜCHER.example":                     "xn--bcher-kva.example",
		"xn--bcher-kva.example":              "xn--bcher-kva.example",
		"XN--Bcher-kva.example":              "xn--bcher-kva.example",
		"a--b.example":                       "a--b.example",
		"ｆabrikam.example":                   "fabrikam.example", // full-width f
		"":                                   "",
		".":                                  "",
		"a..b":                               "",
		".a":                                 "",
		"a_b.example":                        "",
		"a b.example":                        "",
		"a\x00.example":                      "",
		"a.example:5061":                     "",
		"xn--\xff.example":                   "",
		"xn--a.example":                      "", // decodes to nothing that needs encoding
		"127.0.0.1":                          "",
		"2130706433":                         "",
		"0x7f.1":                             "",
		"a.0x7f":                             "",
		strings.Repeat("a", 64) + ".example": "",
		strings.Repeat("a.", 127) + "a":      "",
	} {
		got, err := Normal(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("Normal(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestDialKnowsTheWay(t *testing.T) {
	p := compiled(t, file())
	direct, ok := p.Dial([]byte("contoso.example"))
	want := []string{"edge.contoso.example:5061", "192.0.2.7:5061"}
	if !ok || !slices.Equal(direct.Servers, want) || direct.PeerName != "edge.contoso.example" || !direct.Direct() {
		t.Errorf("Dial = %+v, %v; want servers %v", direct, ok, want)
	}
	if r, ok := p.Dial([]byte("fabrikam.example")); !ok || r.Direct() {
		t.Errorf("Dial = %+v, %v; want a way by DNS", r, ok)
	}
	for _, domain := range []string{"stranger.example", "spam.example"} {
		if r, ok := p.Dial([]byte(domain)); ok {
			t.Errorf("Dial(%s) = %+v, want none", domain, r)
		}
	}
	if err := (Route{}).Accept("a.example")(certs.Identity{}); err == nil {
		t.Error("the zero Route accepts")
	}
}

func TestSameWay(t *testing.T) {
	way := func(change func(*PartnerConfig)) Route {
		f := file()
		p := f.Partners["contoso.example"]
		change(&p)
		f.Partners["contoso.example"] = p
		r, _ := compiled(t, f).Dial([]byte("contoso.example"))
		return r
	}
	before := way(func(*PartnerConfig) {})
	if !before.Same(way(func(p *PartnerConfig) { p.Line, p.Methods = 99, []string{"MESSAGE"} })) {
		t.Error("a moved line or another method makes another way")
	}
	for name, change := range map[string]func(*PartnerConfig){
		"servers":   func(p *PartnerConfig) { p.Servers = p.Servers[:1] },
		"peer_name": func(p *PartnerConfig) { p.PeerName = "other.contoso.example" },
		"usage":     func(p *PartnerConfig) { p.PeerUsage = "strict" },
		"wildcard":  func(p *PartnerConfig) { p.AllowWildcard = true },
	} {
		if before.Same(way(change)) {
			t.Errorf("another %s is the same way", name)
		}
	}
}

func TestAcceptAsksWhoAnswers(t *testing.T) {
	i, p := newIssuer(t), compiled(t, file())
	for _, tt := range []struct {
		name, domain, host string
		id                 *certs.Identity
		want               certs.Problem
	}{
		{"the partner's domain", "fabrikam.example", "edge.hoster.example", i.names("fabrikam.example"), ""},
		{"a host within the domain", "fabrikam.example", "sip.fabrikam.example.", i.names("sip.fabrikam.example"), ""},
		{"a host elsewhere", "fabrikam.example", "sip.evil.example", i.names("sip.evil.example"), certs.NameNotCovered},
		{"a host whose name ends alike", "fabrikam.example", "notfabrikam.example", i.names("notfabrikam.example"), certs.NameNotCovered},
		{"another host of the domain", "fabrikam.example", "sip.fabrikam.example", i.names("www.fabrikam.example"), certs.NameNotCovered},
		{"peer_name of a direct partner", "contoso.example", "192.0.2.7", i.names("edge.contoso.example"), ""},
		{"not the domain of a direct partner", "contoso.example", "edge.contoso.example", i.names("contoso.example"), certs.NameNotCovered},
		{"the host of a direct partner's server", "hosts.example", "a.hosts.example", i.names("a.hosts.example"), ""},
		{"the address of a direct partner's server", "hosts.example", "2001:db8::1", i.identity(certs.Leaf{IPs: []string{"2001:db8::1"}}), ""},
		{"nobody", "hosts.example", "a.hosts.example", new(certs.Identity), certs.NameNotCovered},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := p.Dial([]byte(tt.domain))
			err := r.Accept(tt.host)(*tt.id)
			if got := certs.ProblemOf(err); got != tt.want || (err == nil) != (tt.want == "") {
				t.Errorf("Accept(%s) = %v, want %q", tt.host, err, tt.want)
			}
		})
	}
}
