package certs

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"
	"testing"
)

func TestWhatProvesAnXMPPDomain(t *testing.T) {
	ca := authority(t)
	for _, tt := range []struct {
		name   string
		leaf   Leaf
		domain string
		want   bool
	}{
		{"a dns name", Leaf{Names: []string{partner}}, partner, true},
		{"a dns name, in capitals and with a dot", Leaf{Names: []string{"Fabrikam.EXAMPLE"}}, "fabrikam.example.", true},
		{"a dns name beside a sip uri", Leaf{Names: []string{partner}, URIs: []string{"sip:contoso.example"}}, partner, true},
		{"a sip uri", Leaf{URIs: []string{"sip:" + partner}}, partner, false},
		{"an xmpp uri", Leaf{URIs: []string{"xmpp:" + partner}}, partner, false},
		{"a common name", Leaf{CN: partner}, partner, false},
		{"an address", Leaf{IPs: []string{"192.0.2.1"}}, "192.0.2.1", false},
		{"the domain above", Leaf{Names: []string{partner}}, "chat." + partner, false},
		{"the domain below", Leaf{Names: []string{"chat." + partner}}, partner, false},
		{"a star for the first label", Leaf{Names: []string{"*." + partner}}, "chat." + partner, true},
		{"a star for two labels", Leaf{Names: []string{"*." + partner}}, "a.chat." + partner, false},
		{"a star for no label", Leaf{Names: []string{"*." + partner}}, partner, false},
		{"a star for a part of a label", Leaf{Names: []string{"ch*." + partner}}, "chat." + partner, false},
		{"a star for the second label", Leaf{Names: []string{"chat.*.example"}}, "chat." + partner, false},
		{"a star below the root", Leaf{Names: []string{"*.example"}}, partner, false},
		{"a star beside a sip uri", Leaf{Names: []string{"*." + partner}, URIs: []string{"sip:contoso.example"}}, "chat." + partner, true},

		{"a SRVName", Leaf{SRVNames: []string{"_xmpp-server." + partner}}, partner, true},
		{"a SRVName in capitals", Leaf{SRVNames: []string{"_XMPP-Server.Fabrikam.example"}}, partner, true},
		{"a SRVName of another service", Leaf{SRVNames: []string{"_xmpp-client." + partner}}, partner, false},
		{"a SRVName of sip", Leaf{SRVNames: []string{"_sips." + partner}}, partner, false},
		{"a SRVName with a protocol", Leaf{SRVNames: []string{"_xmpp-server._tcp." + partner}}, partner, false},
		{"a SRVName without domain", Leaf{SRVNames: []string{"_xmpp-server"}}, "", false},
		{"a SRVName with a star", Leaf{SRVNames: []string{"_xmpp-server.*." + partner}}, "chat." + partner, false},
		{"a SRVName with more behind a NUL", Leaf{SRVNames: []string{"_xmpp-server." + partner + "\x00.contoso.example"}}, partner, false},

		{"an XmppAddr", Leaf{XMPPAddrs: []string{partner}}, partner, true},
		{"an XmppAddr of a user", Leaf{XMPPAddrs: []string{"juliet@" + partner}}, partner, false},
		{"an XmppAddr with a resource", Leaf{XMPPAddrs: []string{partner + "/balcony"}}, partner, false},
		{"an XmppAddr with a star", Leaf{XMPPAddrs: []string{"*." + partner}}, "chat." + partner, false},
		{"an XmppAddr in another script", Leaf{XMPPAddrs: []string{"bücher.example"}}, "xn--bcher-kva.example", true},
		{"an XmppAddr in A-labels", Leaf{XMPPAddrs: []string{"xn--bcher-kva.example"}}, "xn--bcher-kva.example", true},
		{"an XmppAddr with wide dots", Leaf{XMPPAddrs: []string{"fabrikam。example"}}, partner, false},
		{"an XmppAddr with the sign for Kelvin", Leaf{XMPPAddrs: []string{"fabri\u212Aam.example"}}, partner, false},
		{"an XmppAddr that is no UTF-8", Leaf{XMPPAddrs: []string{"b\xfccher.example"}}, "xn--bcher-kva.example", false},
		{"no XmppAddr is too long", Leaf{XMPPAddrs: []string{strings.Repeat("a.", 10_000) + partner}}, partner, false},
		{"one of many", Leaf{Names: []string{"a.example"}, SRVNames: []string{"_xmpp-server.b.example"}, XMPPAddrs: []string{"c.example", partner}}, partner, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.leaf.CN == "" {
				tt.leaf.CN = "somebody"
			}
			id, err := trusting(ca).Identify(state(issue(t, ca, tt.leaf)))
			if err != nil {
				t.Fatal(err)
			}
			if got := id.SpeaksXMPP(tt.domain); got != tt.want {
				t.Errorf("SpeaksXMPP(%q) = %v", tt.domain, got)
			}
			if len(tt.leaf.SRVNames)+len(tt.leaf.XMPPAddrs) > 0 && (id.Covers(partner) || id.CoversHost(partner)) {
				t.Error("what is for XMPP counts for SIP")
			}
		})
	}
	if (Identity{}).SpeaksXMPP(partner) {
		t.Error("nobody speaks")
	}
}

func TestUsagesOfXMPPServers(t *testing.T) {
	ca := authority(t)
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	for _, tt := range []struct {
		name   string
		usages []x509.ExtKeyUsage
		want   bool
	}{
		{"for servers", []x509.ExtKeyUsage{server}, true},
		{"for clients", []x509.ExtKeyUsage{client}, false},
		{"for both", []x509.ExtKeyUsage{server, client}, true},
		{"for anything", []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, true},
		{"not limited", []x509.ExtKeyUsage{}, true},
		{"for mail", []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, _ := trusting(ca).Identify(state(issue(t, ca, Leaf{Names: []string{partner}, Usages: tt.usages})))
			if got := id.Usage().Web(); got != tt.want {
				t.Errorf("usage %s: %v", id.Usage(), got)
			}
		})
	}
}

// Who may name the hosts of one company only must not name the domain of another as
// something else.
func TestALimitedAuthorityNamesHostsOnly(t *testing.T) {
	ca := authority(t)
	limited := func(names ...string) *Authority {
		t.Helper()
		c, err := caTemplate("Limited Authority")
		if err != nil {
			t.Fatal(err)
		}
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = names, true
		sub, err := ca.below(c)
		if err != nil {
			t.Fatal(err)
		}
		return sub
	}
	leaf := Leaf{Names: []string{partner}, SRVNames: []string{"_xmpp-server.contoso.example"}, XMPPAddrs: []string{"contoso.example"}}
	for _, tt := range []struct {
		name  string
		ca    *Authority
		ok    bool
		names string
	}{
		{"an authority without limits", ca, true, "fabrikam.example contoso.example"},
		{"one that may name the host", limited(partner), true, "fabrikam.example"},
		{"one that may not", limited("contoso.example"), false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := trusting(ca).Identify(state(issue(t, tt.ca, leaf)))
			if (err == nil) != tt.ok {
				t.Fatalf("error %v", err)
			}
			var names []string
			for _, d := range []string{partner, "contoso.example"} {
				if id.SpeaksXMPP(d) {
					names = append(names, d)
				}
			}
			if got := strings.Join(names, " "); got != tt.names {
				t.Errorf("speaks for %q, want %q", got, tt.names)
			}
		})
	}
}

func FuzzOtherNames(f *testing.F) {
	for _, l := range []Leaf{
		{SRVNames: []string{"_xmpp-server." + partner}, XMPPAddrs: []string{partner, "bücher.example"}},
		{Names: []string{partner}, URIs: []string{"sip:" + partner}, IPs: []string{"192.0.2.1"}, XMPPAddrs: []string{"a@b/c"}},
	} {
		der, err := l.alternativeNames()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
		f.Add(der[:len(der)-3])
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		whole := slices.Clone(der)
		for _, n := range otherNames(der) {
			name, ok := n.xmppDomain()
			if !ok {
				continue
			}
			if again, err := normalName(name); err != nil || again != name {
				t.Errorf("name %q is not in normal form: %q, %v", name, again, err)
			}
			if strings.ContainsAny(name, "@/_*:") {
				t.Errorf("name %q", name)
			}
			if !n.kind.Equal(oidXMPPAddr) && !n.kind.Equal(oidSRVName) || n.value.Tag != asn1.TagUTF8String && n.value.Tag != asn1.TagIA5String {
				t.Errorf("name %q of kind %v", name, n.kind)
			}
		}
		if !slices.Equal(der, whole) {
			t.Error("changed what it read")
		}
	})
}
