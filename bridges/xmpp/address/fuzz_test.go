package address

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sipedge/sipedge/sip"
	"mellium.im/xmpp/jid"
)

// checkURI says whether a URI that was made is one, and one only.
func checkURI(t *testing.T, uri string) {
	t.Helper()
	u, err := sip.ParseURI([]byte(uri))
	if err != nil || !strings.HasPrefix(uri, "sip:") || u.Headers != nil || u.Password != nil {
		t.Errorf("%q is no URI: %v", uri, err)
	}
	if strings.ContainsAny(uri, "\r\n <>\"") {
		t.Errorf("%q would break a header", uri)
	}
}

// canonical is what a JID becomes when it goes to SIP and back: needless escapes of
// the backslash are gone.
func canonical(t *testing.T, j JID) (JID, bool) {
	t.Helper()
	raw, err := unescapeLocal(j.Localpart())
	if err != nil {
		return j, false
	}
	local, err := escapeUser(raw)
	if err != nil {
		t.Fatalf("%q cannot be escaped: %v", raw, err)
	}
	c, err := join(local, j.Domainpart(), j.Resourcepart())
	if err != nil {
		t.Fatalf("%q is no JID: %v", local, err)
	}
	return c, true
}

// FuzzJID: there and back gives the canonical form, in both modes.
func FuzzJID(f *testing.F) {
	for _, v := range toSIP {
		f.Add(v.jid)
	}
	for _, v := range toXMPP {
		f.Add(v.jid)
	}
	for _, s := range []string{`romeo\40example.net@sipgw.example.com`, `\2ḟ@a.b`, "a@b/\u00a0x", "Å@K.ß/ﷺ", "c\\3a\\5cc\\5c3\u0588a\\3a\\5c@example.com", "a0", "a@１９２.0.2.1", "\u0130@x.y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		j, err := Parse(s)
		var fault *Error
		if err != nil {
			if !errors.As(err, &fault) || j.String() != "" {
				t.Fatalf("Parse(%q) = %q, %v", s, j, err)
			}
			return
		}
		again, err := Parse(j.String())
		if err != nil || again != j {
			t.Fatalf("Parse(%q) = %q, and that is %q, %v", s, j, again, err)
		}
		if m, err := jid.Parse(j.String()); err != nil || m.String() != j.String() {
			t.Fatalf("for others %q is %q, %v", j, m, err)
		}
		if !utf8.ValidString(j.String()) {
			t.Fatalf("%q is not UTF-8", j)
		}
		var native Table
		uri, err := native.URI(j)
		want, ok := canonical(t, j)
		if ok != (err == nil) {
			t.Fatalf("URI(%q): %v", j, err)
		}
		if err == nil {
			checkURI(t, uri)
			if back, err := native.JID(uri); err != nil || back != want {
				t.Fatalf("%q -> %q -> %q, %v; want %q", j, uri, back, err, want)
			}
		}
		tunnelled := tunnel()
		uri, err = tunnelled.URI(j)
		if err != nil {
			return
		}
		checkURI(t, uri)
		back, err := tunnelled.JID(uri)
		if err != nil {
			t.Fatalf("tunnelled %q -> %q: %v", j, uri, err)
		}
		if uri2, err := tunnelled.URI(back); err != nil || uri2 != uri {
			t.Fatalf("tunnelled %q -> %q -> %q -> %q, %v", j, uri, back, uri2, err)
		}
		if j.Domainpart() != tunnelled.gateway && !tunnelled.native[j.Domainpart()] && back != j {
			t.Fatalf("tunnelled %q -> %q -> %q", j, uri, back)
		}
	})
}

// FuzzURI: what a SIP URI becomes is a JID that leads back to one and the same.
func FuzzURI(f *testing.F) {
	for _, v := range toXMPP {
		f.Add(v.uri)
	}
	for _, s := range []string{"sip:juliet%40example.com@xmpp.example.net", "sip:a*b.c@xmpp.example.net", "tel:+1-2;ext=3", "im:a@b.c", "sip:a%2F%CC%87@example.net", "sip:a%5C%EF%BC%92f@b.c", "sip:x%5C2f%CC%87@example.net"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, a := range []*Table{new(Table), tunnel()} {
			j, err := a.JID(s)
			var fault *Error
			if err != nil {
				if !errors.As(err, &fault) || fault.Status < 400 || fault.Condition == "" {
					t.Fatalf("JID(%q): %v", s, err)
				}
				continue
			}
			if again, err := Parse(j.String()); err != nil || again != j {
				t.Fatalf("JID(%q) = %q, which is %q, %v", s, j, again, err)
			}
			uri, err := a.URI(j)
			if err == errTunnel && j.Localpart() == "" {
				continue // a domain without a dot
			}
			if err != nil {
				t.Fatalf("JID(%q) = %q, and URI of that: %v", s, j, err)
			}
			checkURI(t, uri)
			if back, err := a.JID(uri); err != nil || back != j {
				t.Fatalf("%q -> %q -> %q -> %q, %v", s, j, uri, back, err)
			}
		}
	})
}

// FuzzPlain: what is taken as it stands is what the rules would have made of it.
func FuzzPlain(f *testing.F) {
	f.Add("romeo", "example.net", "orchard")
	f.Add("a-b_c.d+e", "a1-b.c2", "")
	f.Add(`c\5cd`, "x--y.z", `"Nick" <name>`)
	f.Fuzz(func(t *testing.T, local, domain, resource string) {
		if len(local) > maxPart || len(resource) > maxPart || len(domain) > maxPart {
			return
		}
		if isPlainDomain(domain) {
			if u, err := jid.New("", domain, ""); err != nil || u.String() != domain {
				t.Fatalf("%q is not plain: %q, %v", domain, u, err)
			}
			if !sip.ValidHost([]byte(domain)) {
				t.Fatalf("%q is no host", domain)
			}
		}
		if isPlain(local, &plainLocal) && isPlain(resource, &plainResource) {
			j, err := jid.New(local, "example.com", resource)
			if err != nil || j.Localpart() != local || j.Resourcepart() != resource {
				t.Fatalf("%q, %q are not plain: %q, %v", local, resource, j, err)
			}
		}
		if j, err := join(local, domain, resource); err == nil {
			if m, err := jid.New(local, domain, resource); err != nil || m.Bare().Domainpart() != j.Domainpart() && !strings.HasPrefix(domain, "[") {
				t.Fatalf("join(%q, %q, %q) = %q, but %q, %v", local, domain, resource, j, m, err)
			}
		}
		uri := "sip:" + local + "@" + domain
		if user, host, ok := plainURI(uri); ok {
			local, err := escapeUser(user)
			j, err2 := jid.New(local, host, "")
			if err != nil || err2 != nil || j.String() != user+"@"+host {
				t.Fatalf("%q is not plain: %q, %v, %v", uri, j, err, err2)
			}
			checkURI(t, uri)
		}
	})
}

func BenchmarkAddresses(b *testing.B) {
	var a Table
	for _, uri := range []string{"sip:romeo@example.net", "sip:Romeo@example.net;gr=orchard", "sip:o'malley@example.net", "sip:f%C3%BC@xn--bcher-kva.example;gr=%C3%9Cn"} {
		b.Run("jid/"+uri[4:9], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.JID(uri); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, address := range []string{"juliet@example.com/balcony", `o\27malley@example.com/a b`, "ü@bücher.example/Ünïcode ☃;=?"} {
		b.Run("parse+uri/"+address[:4], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				j, err := Parse(address)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := a.URI(j); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
