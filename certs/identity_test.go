package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const partner = "fabrikam.example"

// authority makes an authority for a test.
func authority(t testing.TB) *Authority {
	t.Helper()
	a, err := NewAuthority("Test Authority")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// issue makes a certificate and returns it parsed, with its chain.
func issue(t testing.TB, a *Authority, l Leaf) []*x509.Certificate {
	t.Helper()
	rest, _, err := a.Issue(l)
	if err != nil {
		t.Fatal(err)
	}
	var certs []*x509.Certificate
	for {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return certs
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, c)
	}
}

func TestNamesInCertificatesProveDomainsAndHosts(t *testing.T) {
	ca := authority(t)
	for _, tt := range []struct {
		name    string
		leaf    Leaf
		domains []string
		hosts   []string
		cn      string
	}{
		{"a dns name is a domain and a host", Leaf{Names: []string{partner}}, []string{partner}, []string{partner}, ""},
		{"a sip uri is a domain, whatever the case of its scheme", Leaf{URIs: []string{"SIP:" + partner}}, []string{partner}, nil, ""},
		{"beside a sip uri dns names are hosts only", Leaf{URIs: []string{"sip:evil.example"}, Names: []string{partner}}, []string{"evil.example"}, []string{partner}, ""},
		{"several sip uris are several domains", Leaf{URIs: []string{"sip:a.example", "sip:b.example", "sip:a.example"}}, []string{"a.example", "b.example"}, nil, ""},
		{"a user is no domain", Leaf{URIs: []string{"sip:alice@" + partner}}, nil, nil, ""},
		{"a user keeps dns names from counting", Leaf{URIs: []string{"sip:alice@" + partner}, Names: []string{partner}}, nil, []string{partner}, ""},
		{"a port is no domain", Leaf{URIs: []string{"sip:" + partner + ":5061"}}, nil, nil, ""},
		{"a parameter is no domain", Leaf{URIs: []string{"sip:" + partner + ";x"}}, nil, nil, ""},
		{"port and parameter are no domain", Leaf{URIs: []string{"sip:" + partner + ":5061;x"}}, nil, nil, ""},
		{"a header is no domain", Leaf{URIs: []string{"sip:" + partner + "?Subject=x"}}, nil, nil, ""},
		{"an authority part is no sip uri", Leaf{URIs: []string{"sip://" + partner}}, nil, nil, ""},
		{"an address is no domain", Leaf{URIs: []string{"sip:192.0.2.1"}, IPs: []string{"192.0.2.1"}}, nil, nil, ""},
		{"sips is another scheme", Leaf{URIs: []string{"sips:" + partner}}, nil, nil, ""},
		{"sips beside a dns name does not matter", Leaf{URIs: []string{"sips:evil.example", "im:evil.example"}, Names: []string{partner}}, []string{partner}, []string{partner}, ""},
		{"capitals and a trailing dot are the same name", Leaf{Names: []string{"FABRIKAM.Example."}}, []string{partner}, []string{partner}, ""},
		{"the same in a uri", Leaf{URIs: []string{"sip:FABRIKAM.Example."}}, []string{partner}, nil, ""},
		{"a wildcard is no domain", Leaf{Names: []string{"*." + partner}}, nil, nil, ""},
		{"a star is no domain", Leaf{Names: []string{"*"}}, nil, nil, ""},
		{"a star in a label is no domain", Leaf{Names: []string{"s*p." + partner}}, nil, nil, ""},
		{"a windows name is passed over", Leaf{Names: []string{"old_server." + partner, partner}}, []string{partner}, []string{partner}, ""},
		{"an address as dns name is passed over", Leaf{Names: []string{"192.0.2.1", "0x7f.1", "2130706433", "a.0x7f"}}, nil, nil, ""},
		{"the common name alone is a fallback", Leaf{CN: partner}, nil, nil, partner},
		{"the common name beside any san is nothing", Leaf{CN: partner, IPs: []string{"192.0.2.1"}}, nil, nil, ""},
		{"the common name beside a dns name is nothing", Leaf{CN: "evil.example", Names: []string{partner}}, []string{partner}, []string{partner}, ""},
		{"a common name that is no name is nothing", Leaf{CN: "Fabrikam, Inc.\r\nX: y"}, nil, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := ReadIdentity(issue(t, ca, tt.leaf)[0])
			if err != nil {
				t.Fatal(err)
			}
			if got := id.Domains(); !slices.Equal(got, tt.domains) {
				t.Errorf("Domains = %q, want %q", got, tt.domains)
			}
			if got := id.Hosts(); !slices.Equal(got, tt.hosts) {
				t.Errorf("Hosts = %q, want %q", got, tt.hosts)
			}
			if got := id.CommonName(); got != tt.cn {
				t.Errorf("CommonName = %q, want %q", got, tt.cn)
			}
			for _, d := range tt.domains {
				if !id.Covers(d) || !id.Covers(strings.ToUpper(d)+".") {
					t.Errorf("Covers(%s) = false", d)
				}
			}
		})
	}
}

func TestACertificateWithANameThatReadersDifferOnProvesNothing(t *testing.T) {
	ca := authority(t)
	for _, tt := range []struct{ name, san string }{
		{"nul", partner + "\x00.evil.example"},
		{"line end", partner + "\r\nX: y"},
		{"blank", "fabrikam .example"},
		{"empty label", "fabrikam..example"},
		{"leading dot", "." + partner},
		{"two trailing dots", partner + ".."},
		{"empty name", ""},
		{"a dot", "."},
		{"at sign", "alice@" + partner},
		{"slash", partner + "/evil"},
		{"hyphen first", "-" + partner},
		{"label of 64 octets", strings.Repeat("a", 64) + ".example"},
		{"name of 254 octets", strings.Repeat("a.", 126) + "ab"},
		{"nul beside a star", "*.\x00." + partner},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := ReadIdentity(issue(t, ca, Leaf{Names: []string{tt.san, partner}})[0])
			if p := ProblemOf(err); p != Malformed {
				t.Fatalf("ReadIdentity = %v, %v, want malformed", id, err)
			}
			if !id.IsZero() || id.Covers(partner) {
				t.Errorf("identity %v, want none", id)
			}
			if s := err.Error(); !printable(s) {
				t.Errorf("error %q has octets that a log must not have", s)
			}
		})
	}
}

// What is not ASCII, or a control octet in a URI, does not even parse, so the
// handshake ends there.
func TestACertificateThatDoesNotParseIsMalformed(t *testing.T) {
	ca := authority(t)
	for _, l := range []Leaf{
		{Names: []string{"f\xe4brikam.example"}},
		{Names: []string{"f\u00e4brikam.example"}},
		{URIs: []string{"sip:" + partner + "\x00.evil.example"}},
		{URIs: []string{"sip:" + partner + "\r\n"}},
	} {
		cert, _, err := ca.Issue(l)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := pem.Decode(cert)
		if c, err := x509.ParseCertificate(b.Bytes); err == nil {
			if id, err := ReadIdentity(c); err == nil {
				t.Errorf("%q%q proves %v", l.Names, l.URIs, id)
			}
		}
	}
}

func TestMatchesAreExact(t *testing.T) {
	ca := authority(t)
	id, err := ReadIdentity(issue(t, ca, Leaf{
		Names: []string{partner, "*.wild.example", "*.example", "edge.contoso.example"}, IPs: []string{"192.0.2.7", "2001:db8::7"},
	})[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name                           string
		covers, wild, host, hostByWild bool
	}{
		{partner, true, true, true, true},
		{"im." + partner, false, false, false, false},
		{"example", false, false, false, false},
		{"xfabrikam.example", false, false, false, false},
		{"fabri\u212Aam.example", false, false, false, false}, // the Kelvin sign is not a k
		{"a.wild.example", false, true, false, true},
		{"a.b.wild.example", false, false, false, false},
		{"wild.example", false, false, false, false},
		{".wild.example", false, false, false, false},
		{"*.wild.example", false, true, false, true}, // a label like any other; no door asks it
		{"other.example", false, false, false, false},
		{"192.0.2.7", false, false, true, true},
		{"192.0.2.8", false, false, false, false},
		{"[2001:db8::7]", false, false, true, true},
		{"2001:DB8::7", false, false, true, true},
		{"::ffff:192.0.2.7", false, false, true, true},
		{"", false, false, false, false},
		{".", false, false, false, false},
	} {
		if got := id.Covers(tt.name); got != tt.covers {
			t.Errorf("Covers(%q) = %v", tt.name, got)
		}
		if got := id.CoversWild(tt.name); got != tt.wild {
			t.Errorf("CoversWild(%q) = %v", tt.name, got)
		}
		if got := id.CoversHost(tt.name); got != tt.host {
			t.Errorf("CoversHost(%q) = %v", tt.name, got)
		}
		if got := id.CoversHostWild(tt.name); got != tt.hostByWild {
			t.Errorf("CoversHostWild(%q) = %v", tt.name, got)
		}
	}
}

func TestBesideASipURIWildcardsAreForHostsOnly(t *testing.T) {
	id, err := ReadIdentity(issue(t, authority(t), Leaf{URIs: []string{"sip:evil.example"}, Names: []string{"*." + partner}})[0])
	if err != nil {
		t.Fatal(err)
	}
	if id.CoversWild("im." + partner) {
		t.Error("CoversWild = true")
	}
	if !id.CoversHostWild("im." + partner) {
		t.Error("CoversHostWild = false")
	}
}

func TestTheZeroIdentityProvesNothing(t *testing.T) {
	var id Identity
	if !id.IsZero() || id.Covers("") || id.CoversWild(partner) || id.CoversHost("") || id.CoversHostWild(partner) ||
		id.CommonName() != "" || id.Usage() != 0 || id.Fingerprint() != "" || !id.NotAfter().IsZero() || id.Domains() != nil || id.Hosts() != nil {
		t.Error("the zero Identity proves something")
	}
	if got := id.String(); got != "nobody" {
		t.Errorf("String = %q", got)
	}
}

func TestCoversAllocatesNothing(t *testing.T) {
	id, err := ReadIdentity(issue(t, authority(t), Leaf{Names: []string{"a.example", partner}})[0])
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _ = id.Covers("Fabrikam.Example.") && id.CoversHost(partner) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestUsagePolicies(t *testing.T) {
	for _, tt := range []struct {
		policy UsagePolicy
		usage  Usage
		want   bool
	}{
		{"", UsageServer, true},
		{UsageFederation, UsageClient, true},
		{UsageFederation, 0, false},
		{UsageStrict, UsageServer, false},
		{UsageStrict, UsageClient | UsageServer, true},
		{UsageStrict, UsageAny, true},
		{UsageStrict, UsageSIP, true},
		{UsageServerOnly, UsageClient, false},
		{UsageServerOnly, UsageServer, true},
		{"whatever", UsageAny, false},
	} {
		if got := tt.policy.Allows(tt.usage); got != tt.want {
			t.Errorf("%q.Allows(%s) = %v, want %v", tt.policy, tt.usage, got, tt.want)
		}
	}
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e })
}

func FuzzReadIdentity(f *testing.F) {
	f.Add(partner, "sip:"+partner, "Fabrikam")
	f.Add("*."+partner, "sip:alice@"+partner, partner)
	f.Add(partner+"\x00.evil.example", "sip:evil.example;x", "a\r\nb")
	f.Add("_sip._tcp.example", "sips:x", "\u212A.example")
	f.Fuzz(func(t *testing.T, name, uri, cn string) {
		c := &x509.Certificate{DNSNames: []string{name}, Subject: pkix.Name{CommonName: cn}, NotAfter: time.Unix(1, 0)}
		if u, err := url.Parse(uri); err == nil {
			c.URIs = []*url.URL{u}
		}
		id, err := ReadIdentity(c)
		if err != nil {
			var v *VerifyError
			if !errors.As(err, &v) || !id.IsZero() || !printable(err.Error()) {
				t.Fatalf("ReadIdentity = %v, %q", id, err)
			}
			return
		}
		if !printable(id.String()) {
			t.Errorf("String = %q", id.String())
		}
		for _, n := range slices.Concat(id.Domains(), id.Hosts(), []string{id.CommonName()}) {
			if strings.Trim(n, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || strings.Contains(n, "..") || strings.HasSuffix(n, ".") {
				t.Errorf("name %q", n)
			}
		}
		for _, d := range id.Domains() {
			if !id.Covers(d) {
				t.Errorf("does not cover its own domain %q", d)
			}
		}
	})
}

func TestIdentityKnowsItsKey(t *testing.T) {
	ca, err := NewAuthority("test root")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Keypair(Leaf{Names: []string{"fabrikam.example"}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := ReadIdentity(pair.Leaf())
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(pair.Leaf().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256(public); id.Key() != want {
		t.Errorf("Key = %x, want %x", id.Key(), want)
	}
	if got := (Identity{}).Key(); got != [sha256.Size]byte{} {
		t.Errorf("nobody has the key %x", got)
	}
}
