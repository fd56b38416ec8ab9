package federation

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
)

// issuer makes identities for tests, as a certificate's names prove them.
type issuer struct {
	t  testing.TB
	ca *certs.Authority
}

func newIssuer(t testing.TB) issuer {
	ca, err := certs.NewAuthority("test root")
	if err != nil {
		t.Fatal(err)
	}
	return issuer{t, ca}
}

func (i issuer) identity(l certs.Leaf) *certs.Identity {
	pair, err := i.ca.Keypair(l)
	if err != nil {
		i.t.Fatal(err)
	}
	id, err := certs.ReadIdentity(pair.Leaf())
	if err != nil {
		i.t.Fatal(err)
	}
	return &id
}

func (i issuer) names(names ...string) *certs.Identity { return i.identity(certs.Leaf{Names: names}) }

// file is what most tests ask. The lines are made up but told apart.
func file() File {
	return File{
		Federation: Section{Unlisted: "refuse", UnlistedLine: 2, Line: 1},
		Partners: map[string]PartnerConfig{
			"fabrikam.example": {Line: 4},
			"contoso.example": {
				Servers:  []string{"edge.contoso.example:5061", "192.0.2.7"},
				PeerName: "edge.contoso.example", Line: 6,
			},
			"hosts.example":   {Servers: []string{"a.hosts.example:5061", "[2001:db8::1]:5062"}, Line: 9},
			"im.wild.example": {AllowWildcard: true, Line: 11},
			"cn.example":      {AllowCN: true, Line: 13},
			"strict.example":  {PeerUsage: "strict", Line: 15},
			"msg.example":     {Methods: []string{"MESSAGE"}, Line: 17},
			"out.example":     {Direction: "out", Line: 19},
			"Bücher.example":  {Line: 21},
			"upper.EXAMPLE.":  {Line: 23},
		},
		Blocked: map[string]BlockedConfig{"spam.example": {Because: "unsolicited", Line: 26}},
	}
}

func compiled(t testing.TB, f File) *Partners {
	p, errs := Compile(f, []string{"example.com", "Example.NET."}, With{})
	if errs != nil {
		t.Fatal(errs)
	}
	return p
}

func TestAdmit(t *testing.T) {
	i, p := newIssuer(t), compiled(t, file())
	server := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, tt := range []struct {
		name   string
		id     *certs.Identity
		from   string
		method string
		reason allowlists.Reason
		rule   string
	}{
		{"a partner speaks for its domain", i.names("fabrikam.example"), "fabrikam.example", "MESSAGE", allowlists.PartnerAllowed, "partner fabrikam.example (partners.toml:4)"},
		{"and with a method that nobody knows", i.names("fabrikam.example"), "fabrikam.example", "NEW", allowlists.PartnerAllowed, "partner fabrikam.example (partners.toml:4)"},
		{"by a sip URI, too", i.identity(certs.Leaf{URIs: []string{"sip:fabrikam.example"}}), "fabrikam.example", "MESSAGE", allowlists.PartnerAllowed, "partner fabrikam.example (partners.toml:4)"},
		{"the domain is compared in one form", i.names("upper.example"), "upper.example", "MESSAGE", allowlists.PartnerAllowed, "partner upper.example (partners.toml:23)"},
		{"a domain with umlauts is its A-label", i.names("xn--bcher-kva.example"), "xn--bcher-kva.example", "MESSAGE", allowlists.PartnerAllowed, "partner xn--bcher-kva.example (partners.toml:21)"},

		{"a domain of ours from outside is a forgery", i.names("fabrikam.example"), "example.com", "MESSAGE", allowlists.IdentityOwnDomain, "our own domain example.com"},
		{"also with a certificate for it", i.names("example.net"), "example.net", "MESSAGE", allowlists.IdentityOwnDomain, "our own domain example.net"},
		{"nobody is refused", nil, "fabrikam.example", "MESSAGE", allowlists.IdentityNone, "[federation] unlisted (partners.toml:2)"},
		{"the zero identity is nobody", new(certs.Identity), "fabrikam.example", "MESSAGE", allowlists.IdentityNone, "[federation] unlisted (partners.toml:2)"},
		{"blocked is blocked, with any certificate", i.names("spam.example"), "spam.example", "MESSAGE", allowlists.PartnerBlocked, "blocked spam.example (partners.toml:26)"},
		{"a stranger is not listed", i.names("stranger.example"), "stranger.example", "MESSAGE", allowlists.PartnerNotAllowed, "[federation] unlisted (partners.toml:2)"},
		{"a partner does not speak for another", i.names("fabrikam.example"), "contoso.example", "MESSAGE", allowlists.IdentityDomainMismatch, "partner contoso.example (partners.toml:6)"},
		{"a subdomain does not speak for the domain", i.names("sip.fabrikam.example"), "fabrikam.example", "MESSAGE", allowlists.IdentityDomainMismatch, "partner fabrikam.example (partners.toml:4)"},
		{"nor the domain for a subdomain", i.names("fabrikam.example"), "sip.fabrikam.example", "MESSAGE", allowlists.PartnerNotAllowed, "[federation] unlisted (partners.toml:2)"},
		{"beside a sip URI, DNS names are no domains", i.identity(certs.Leaf{URIs: []string{"sip:evil.example"}, Names: []string{"fabrikam.example"}}), "fabrikam.example", "MESSAGE", allowlists.IdentityDomainMismatch, "partner fabrikam.example (partners.toml:4)"},

		{"a direct partner's server speaks for it", i.names("edge.contoso.example"), "contoso.example", "MESSAGE", allowlists.PartnerAllowed, "partner contoso.example (partners.toml:6)"},
		{"as does a certificate for the domain", i.names("contoso.example"), "contoso.example", "MESSAGE", allowlists.PartnerAllowed, "partner contoso.example (partners.toml:6)"},
		{"with peer_name, the address of a server proves nothing", i.identity(certs.Leaf{Names: []string{"x.example"}, IPs: []string{"192.0.2.7"}}), "contoso.example", "MESSAGE", allowlists.IdentityDomainMismatch, "partner contoso.example (partners.toml:6)"},
		{"without peer_name, the name of each server counts", i.names("a.hosts.example"), "hosts.example", "MESSAGE", allowlists.PartnerAllowed, "partner hosts.example (partners.toml:9)"},
		{"and an address on the certificate", i.identity(certs.Leaf{IPs: []string{"2001:db8::1"}}), "hosts.example", "MESSAGE", allowlists.PartnerAllowed, "partner hosts.example (partners.toml:9)"},

		{"a wildcard is nothing", i.names("*.wild.example"), "fabrikam.example", "MESSAGE", allowlists.IdentityDomainMismatch, "partner fabrikam.example (partners.toml:4)"},
		{"unless the entry says so", i.names("*.wild.example"), "im.wild.example", "MESSAGE", allowlists.PartnerAllowed, "partner im.wild.example (partners.toml:11)"},
		{"a common name is nothing", i.identity(certs.Leaf{CN: "fabrikam.example"}), "fabrikam.example", "MESSAGE", allowlists.IdentityDomainMismatch, "partner fabrikam.example (partners.toml:4)"},
		{"unless the entry says so", i.identity(certs.Leaf{CN: "cn.example"}), "cn.example", "MESSAGE", allowlists.PartnerAllowed, "partner cn.example (partners.toml:13)"},
		{"and there is no other name", i.identity(certs.Leaf{CN: "cn.example", Names: []string{"x.example"}}), "cn.example", "MESSAGE", allowlists.IdentityDomainMismatch, "partner cn.example (partners.toml:13)"},

		{"a certificate for servers is enough", i.identity(certs.Leaf{Names: []string{"fabrikam.example"}, Usages: server}), "fabrikam.example", "MESSAGE", allowlists.PartnerAllowed, "partner fabrikam.example (partners.toml:4)"},
		{"unless the entry is strict", i.identity(certs.Leaf{Names: []string{"strict.example"}, Usages: server}), "strict.example", "MESSAGE", allowlists.IdentityUsage, "partner strict.example (partners.toml:15)"},
		{"which takes one for clients", i.names("strict.example"), "strict.example", "MESSAGE", allowlists.PartnerAllowed, "partner strict.example (partners.toml:15)"},

		{"a method that is listed", i.names("msg.example"), "msg.example", "MESSAGE", allowlists.PartnerAllowed, "partner msg.example (partners.toml:17)"},
		{"a method that is not", i.names("msg.example"), "msg.example", "INVITE", allowlists.PartnerMethod, "partner msg.example (partners.toml:17)"},
		{"a partner that we alone may write to", i.names("out.example"), "out.example", "MESSAGE", allowlists.PartnerDirection, "partner out.example (partners.toml:19)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := p.Admit(tt.id, Request{Remote: []byte(tt.from), Method: []byte(tt.method)})
			if v.Reason != tt.reason || v.Rule.String() != tt.rule {
				t.Errorf("Admit = %s by %s, want %s by %s", v.Reason, v.Rule, tt.reason, tt.rule)
			}
			if allowed := tt.reason == allowlists.PartnerAllowed; v.Allowed() != allowed || !allowed && v.Code() != 403 {
				t.Errorf("Admit = %v %d", v.Action, v.Code())
			}
		})
	}
}

func TestSpeaksAsksForIdentityAlone(t *testing.T) {
	i, p := newIssuer(t), compiled(t, file())
	if v := p.Speaks(i.names("out.example"), []byte("out.example"), ""); !v.Allowed() {
		t.Errorf("a partner that may not begin does not speak for its domain: %+v", v)
	}
	if v := p.Speaks(i.names("fabrikam.example"), []byte("out.example"), ""); v.Reason != allowlists.IdentityDomainMismatch {
		t.Errorf("another partner speaks for it: %+v", v)
	}
}

func TestKnowsWhoIsAnyPartner(t *testing.T) {
	i, p := newIssuer(t), compiled(t, file())
	for _, tt := range []struct {
		name string
		id   *certs.Identity
		want bool
	}{
		{"a partner's domain", i.names("fabrikam.example"), true},
		{"a direct partner's server", i.names("edge.contoso.example"), true},
		{"a direct partner's address", i.identity(certs.Leaf{IPs: []string{"2001:db8::1"}}), true},
		{"a wildcard where it counts", i.names("*.wild.example"), true},
		{"a common name where it counts", i.identity(certs.Leaf{CN: "cn.example"}), true},
		{"a wildcard where it does not", i.names("*.fabrikam.example"), false},
		{"a blocked domain", i.names("spam.example"), false},
		{"a stranger", i.names("stranger.example"), false},
		{"nobody", nil, false},
	} {
		if got := p.Knows(tt.id); got != tt.want {
			t.Errorf("%s: Knows = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestPermit(t *testing.T) {
	p := compiled(t, file())
	for _, tt := range []struct {
		name, to, method string
		reason           allowlists.Reason
	}{
		{"to a partner", "fabrikam.example", "MESSAGE", allowlists.PartnerAllowed},
		{"to one that may not begin", "out.example", "MESSAGE", allowlists.PartnerAllowed},
		{"with a method that is not listed", "msg.example", "INVITE", allowlists.PartnerMethod},
		{"to a stranger", "stranger.example", "MESSAGE", allowlists.PartnerNotAllowed},
		{"to a blocked domain", "spam.example", "MESSAGE", allowlists.PartnerBlocked},
	} {
		if v := p.Permit(Request{Remote: []byte(tt.to), Method: []byte(tt.method)}); v.Reason != tt.reason {
			t.Errorf("%s: Permit = %s, want %s", tt.name, v.Reason, tt.reason)
		}
	}
}

func TestNoPartnersMeansNobody(t *testing.T) {
	id := newIssuer(t).names("fabrikam.example")
	from, method := []byte("fabrikam.example"), []byte("MESSAGE")
	for name, p := range map[string]*Partners{"nil": nil, "zero": {}, "empty": compiled(t, File{})} {
		if v := p.Admit(id, Request{Remote: from, Method: method}); v.Allowed() {
			t.Errorf("%s Partners admit: %+v", name, v)
		}
		if v := p.Permit(Request{Remote: from, Method: method}); v.Allowed() {
			t.Errorf("%s Partners permit: %+v", name, v)
		}
		if _, ok := p.Dial(from); ok {
			t.Errorf("%s Partners know a way", name)
		}
	}
}

func manyPartners(t testing.TB, n int) *Partners {
	f := File{Partners: make(map[string]PartnerConfig, n)}
	for i := range n {
		f.Partners[fmt.Sprintf("p%06d.partner.example", i)] = PartnerConfig{
			Servers: []string{"192.0.2.9:5061"}, PeerName: "p000000.partner.example", Line: i + 1,
		}
	}
	return compiled(t, f)
}

func TestAdmitAllocatesNothing(t *testing.T) {
	i, p := newIssuer(t), manyPartners(t, 10)
	id, method := i.names("p000000.partner.example"), []byte("MESSAGE")
	for _, from := range []string{"p000007.partner.example", "stranger.example", "example.com"} {
		b := []byte(from)
		if n := testing.AllocsPerRun(100, func() { p.Admit(id, Request{Remote: b, Method: method}) }); n != 0 {
			t.Errorf("Admit of %s allocates %v times, want none", from, n)
		}
	}
}

func BenchmarkAdmit(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			i, p := newIssuer(b), manyPartners(b, n)
			id, method := i.names("p000000.partner.example"), []byte("MESSAGE")
			from := fmt.Appendf(nil, "p%06d.partner.example", n/2)
			b.ReportAllocs()
			for b.Loop() {
				if !p.Admit(id, Request{Remote: from, Method: method}).Allowed() {
					b.Fatal("refused")
				}
			}
		})
	}
}

// FuzzAdmit holds what must be so for any From and any certificate: a domain of
// ours and a blocked one never pass, and who passes is listed and proved it.
func FuzzAdmit(f *testing.F) {
	i, p := newIssuer(f), compiled(f, file())
	ids := []*certs.Identity{
		nil, i.names("fabrikam.example"), i.names("edge.contoso.example"), i.names("*.wild.example"),
		i.names("spam.example", "example.com"), i.identity(certs.Leaf{CN: "cn.example"}),
	}
	for n := range ids {
		f.Add(uint8(n), "fabrikam.example", "MESSAGE")
		f.Add(uint8(n), "example.com", "INVITE")
		f.Add(uint8(n), "spam.example", "ACK")
	}
	f.Fuzz(func(t *testing.T, n uint8, from, method string) {
		id := ids[int(n)%len(ids)]
		v := p.Admit(id, Request{Remote: []byte(from), Method: []byte(method)})
		if v.Reason == allowlists.ReasonNone || v.Rule.Name == "" {
			t.Errorf("Admit(%q) has no reason or rule: %+v", from, v)
		}
		if !v.Allowed() {
			return
		}
		_, listed := p.lists.Partner([]byte(from))
		switch {
		case id == nil:
			t.Errorf("nobody speaks for %q", from)
		case !listed, from == "spam.example", from == "example.com", from == "example.net":
			t.Errorf("%q passes", from)
		case strings.ToLower(from) != from:
			t.Errorf("%q passes, which is not in normal form", from)
		}
	})
}
