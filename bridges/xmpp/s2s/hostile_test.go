package s2s

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/certs"
)

const victim = "victim.example"

func body(from, to, text string) string {
	return fmt.Sprintf("<message from='%s' to='%s'><body>%s</body></message>", from, to, text)
}

// nothing checks that no stanza came to a site.
func (x *site) nothing() {
	x.t.Helper()
	if n := len(x.got); n > 0 {
		e := <-x.got
		x.t.Errorf("%d stanzas came, such as from %s: %s", n, e.From, stanza.Append(nil, e.Element))
	}
}

func TestWhoIsNotProvedIsRefused(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, nil)
	k := w.keypair(them, x509.ExtKeyUsageServerAuth)
	auth := func(p *raw, name string) *stanza.Element {
		p.write("<auth xmlns='%s' mechanism='EXTERNAL'>%s</auth>", nsSASL, name)
		return p.next()
	}
	isFailure := func(t *testing.T, e *stanza.Element, condition string) {
		t.Helper()
		if !e.Is(nsSASL, "failure") || e.Child(nsSASL, condition) == nil {
			t.Errorf("got %s, want %s", stanza.Append(nil, e), condition)
		}
	}
	for _, tt := range []struct {
		name string
		play func(t *testing.T, p *raw)
	}{
		{"a stanza before TLS", func(t *testing.T, p *raw) {
			p.open(them, us)
			p.write("%s", body("eve@"+them, "alice@"+us, "hi"))
			p.refused("policy-violation")
		}},
		{"SASL before TLS", func(t *testing.T, p *raw) {
			p.open(them, us)
			p.write("<auth xmlns='%s' mechanism='EXTERNAL'>=</auth>", nsSASL)
			p.refused("policy-violation")
		}},
		{"a stanza before SASL", func(t *testing.T, p *raw) {
			p.startTLS(k, them, us)
			p.write("%s", body("eve@"+them, "alice@"+us, "hi"))
			p.refused("not-authorized")
		}},
		{"a stanza in the same segment as STARTTLS", func(t *testing.T, p *raw) {
			p.open(them, us)
			p.write("<starttls xmlns='%s'/>%s", nsTLS, body("eve@"+them, "alice@"+us, "hi"))
			p.expect(nsTLS, "proceed")
			p.secure(k)
			p.open(them, us)
			p.write("<auth xmlns='%s' mechanism='EXTERNAL'>=</auth>", nsSASL)
			p.expect(nsSASL, "success")
		}},
		{"a header in the same segment as STARTTLS", func(t *testing.T, p *raw) {
			p.open(them, us)
			p.write("<starttls xmlns='%s'/>%s from='%s' to='%s'>", nsTLS, head, victim, us)
			p.expect(nsTLS, "proceed")
			p.secure(k)
			if _, f := p.open(them, us); f.Child(nsSASL, "mechanisms") == nil {
				t.Error("EXTERNAL is not offered")
			}
		}},
		{"a stanza of another domain", func(t *testing.T, p *raw) {
			p.login(k, them, us)
			p.write("%s", body("eve@"+victim, "alice@"+us, "hi"))
			p.refused("invalid-from")
		}},
		{"a stanza of a subdomain", func(t *testing.T, p *raw) {
			p.login(k, them, us)
			p.write("%s", body("eve@chat."+them, "alice@"+us, "hi"))
			p.refused("invalid-from")
		}},
		{"a stanza of ours", func(t *testing.T, p *raw) {
			p.login(k, them, us)
			p.write("%s", body("bob@"+us, "alice@"+us, "hi"))
			p.refused("invalid-from")
		}},
		{"a stanza for another domain", func(t *testing.T, p *raw) {
			p.login(k, them, us)
			p.write("%s", body("eve@"+them, "alice@"+victim, "hi"))
			p.refused("host-unknown")
		}},
		{"a stanza from nobody", func(t *testing.T, p *raw) {
			p.login(k, them, us)
			p.write("<message to='alice@%s'/>", us)
			p.refused("improper-addressing")
		}},
		{"a stanza to nobody", func(t *testing.T, p *raw) {
			p.login(k, them, us)
			p.write("<message from='eve@%s'/>", them)
			p.refused("improper-addressing")
		}},
		{"a name in SASL that is not the certificate's", func(t *testing.T, p *raw) {
			p.startTLS(k, them, us)
			isFailure(t, auth(p, encoded(victim)), "invalid-authzid")
			p.write("%s", body("eve@"+victim, "alice@"+us, "hi"))
			p.refused("not-authorized")
		}},
		{"a name in SASL with a resource", func(t *testing.T, p *raw) {
			p.startTLS(k, them, us)
			isFailure(t, auth(p, encoded(them+"/x")), "invalid-authzid")
		}},
		{"nonsense in SASL", func(t *testing.T, p *raw) {
			p.startTLS(k, them, us)
			isFailure(t, auth(p, "=="), "incorrect-encoding")
		}},
		{"another mechanism", func(t *testing.T, p *raw) {
			p.startTLS(k, them, us)
			p.write("<auth xmlns='%s' mechanism='PLAIN'>=</auth>", nsSASL)
			isFailure(t, p.next(), "invalid-mechanism")
		}},
		{"an answer that was not asked for", func(t *testing.T, p *raw) {
			p.startTLS(k, them, us)
			p.write("<response xmlns='%s'>=</response>", nsSASL)
			isFailure(t, p.next(), "malformed-request")
		}},
		{"too many attempts at SASL", func(t *testing.T, p *raw) {
			p.startTLS(nil, them, us)
			for range maxFailures {
				isFailure(t, auth(p, "="), "not-authorized")
			}
			p.refused("policy-violation")
		}},
		{"SASL again after success", func(t *testing.T, p *raw) {
			p.login(k, them, us)
			p.write("<auth xmlns='%s' mechanism='EXTERNAL'>=</auth>", nsSASL)
			p.refused("policy-violation")
		}},
		{"another name after SASL", func(t *testing.T, p *raw) {
			p.startTLS(k, them, us)
			p.write("<auth xmlns='%s' mechanism='EXTERNAL'>=</auth>", nsSASL)
			p.expect(nsSASL, "success")
			p.r.Reset(p.conn)
			p.write("%s from='%s' to='%s'>", head, victim, us)
			p.header()
			p.refused("invalid-from")
		}},
		{"a header from us", func(t *testing.T, p *raw) {
			p.write("%s from='%s' to='%s'>", head, us, us)
			p.header()
			p.refused("invalid-from")
		}},
		{"a header to somebody else", func(t *testing.T, p *raw) {
			p.write("%s from='%s' to='%s'>", head, them, victim)
			if h := p.header(); h.Attr("from") != us {
				t.Errorf("answered from %q", h.Attr("from"))
			}
			p.refused("host-unknown")
		}},
		{"a header to nobody", func(t *testing.T, p *raw) {
			p.write("%s from='%s'>", head, them)
			p.header()
			p.refused("improper-addressing")
		}},
		{"a header without version", func(t *testing.T, p *raw) {
			p.write("%s from='%s' to='%s'>", strings.Replace(head, " version='1.0'", "", 1), them, us)
			p.header()
			p.refused("unsupported-version")
		}},
		{"a header of a client", func(t *testing.T, p *raw) {
			p.write("%s from='%s' to='%s'>", strings.Replace(head, "jabber:server'", "jabber:client'", 1), them, us)
			p.header()
			p.refused("invalid-namespace")
		}},
		{"something else than a stream", func(t *testing.T, p *raw) {
			p.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			p.header()
			p.refused("bad-format")
		}},
		{"too much before TLS", func(t *testing.T, p *raw) {
			p.open(them, us)
			p.write("<starttls xmlns='%s' a='%s'/>", nsTLS, strings.Repeat("x", 9<<10))
			p.refused("policy-violation")
		}},
		{"too much before SASL", func(t *testing.T, p *raw) {
			p.startTLS(k, them, us)
			p.write("%s", strings.Repeat(" ", 9<<10))
			p.refused("policy-violation")
		}},
		{"too large a stanza", func(t *testing.T, p *raw) {
			p.login(k, them, us)
			go func() { _, _ = fmt.Fprint(p.conn, body("eve@"+them, "alice@"+us, strings.Repeat("x", 300<<10))) }()
			p.refused("policy-violation")
		}},
		{"an unknown element", func(t *testing.T, p *raw) {
			p.login(k, them, us)
			p.write("<x xmlns='urn:x'/>")
			p.refused("unsupported-stanza-type")
		}},
		{"a stream in a stream", func(t *testing.T, p *raw) {
			p.login(k, them, us)
			p.write("%s>", head)
			p.refused("bad-format")
		}},
		{"a stanza after the end", func(t *testing.T, p *raw) {
			p.login(k, them, us)
			p.write("</stream:stream>%s", body("eve@"+them, "alice@"+us, "hi"))
			p.ended()
		}},
		{"acknowledgement of what was never sent", func(t *testing.T, p *raw) {
			p.login(k, them, us)
			p.write("<enable xmlns='%s'/><a xmlns='%s' h='1'/>", nsManage, nsManage)
			p.refused("undefined-condition")
		}},
		{"acknowledgement of nonsense", func(t *testing.T, p *raw) {
			p.login(k, them, us)
			p.write("<enable xmlns='%s'/><a xmlns='%s' h='-1'/>", nsManage, nsManage)
			p.refused("invalid-xml")
		}},
		{"compression", func(t *testing.T, p *raw) {
			p.login(k, them, us)
			p.write("<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>")
			p.refused("unsupported-stanza-type")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, x.plain)
			tt.play(t, p)
			x.nothing()
		})
	}
}

func TestWhatACertificateMustBeForExternal(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, func(c *Config) { c.Dialback = nil })
	other, err := certs.NewAuthority("Somebody Else")
	if err != nil {
		t.Fatal(err)
	}
	strange, err := other.Keypair(certs.Leaf{Names: []string{them}})
	if err != nil {
		t.Fatal(err)
	}
	late, err := w.ca.Keypair(certs.Leaf{Names: []string{them}, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		k    *certs.Keypair
		from string
		want bool
	}{
		{"for servers", w.keypair(them, x509.ExtKeyUsageServerAuth), them, true},
		{"for both", w.keypair(them), them, true},
		{"for anything", w.keypair(them, x509.ExtKeyUsageAny), them, true},
		{"for clients only", w.keypair(them, x509.ExtKeyUsageClientAuth), them, false},
		{"for code", w.keypair(them, x509.ExtKeyUsageCodeSigning), them, false},
		{"of another domain", w.keypair(victim), them, false},
		{"of a wildcard", w.keypair("*." + them), "chat." + them, true},
		{"of a wildcard, for the domain itself", w.keypair("*." + them), them, false},
		{"of an unknown authority", strange, them, false},
		{"that has ended", late, them, false},
		{"none", nil, them, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := dial(t, x.plain)
			_, f := p.startTLS(tt.k, tt.from, us)
			if offered := f.Child(nsSASL, "mechanisms") != nil; offered != tt.want {
				t.Errorf("offered %v, want %v", offered, tt.want)
			}
			// Offered or not: who tries gets the same answer.
			p.write("<auth xmlns='%s' mechanism='EXTERNAL'>%s</auth>", nsSASL, encoded(tt.from))
			if e := p.next(); e.Is(nsSASL, "success") != tt.want {
				t.Errorf("answer %s, want success %v", stanza.Append(nil, e), tt.want)
			}
			// Dialback is forbidden here.
			if !tt.want {
				p.write("<db:result from='%s' to='%s'>key</db:result>", tt.from, us)
				if e := p.expect(stanza.NSDialback, "result"); !said(string(stanza.Append(nil, e)), "type='error'", "not-authorized") {
					t.Errorf("answer %s", stanza.Append(nil, e))
				}
			}
			x.nothing()
		})
	}
}

func TestTLSIsOfVersion12OrLater(t *testing.T) {
	w := newWorld(t)
	x := w.site(us, nil)
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", x.direct.Addr().String(), &tls.Config{
			InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, NextProtos: []string{alpn, "http/1.1"},
		})
		if (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			if p := conn.ConnectionState().NegotiatedProtocol; p != alpn {
				t.Errorf("%s: protocol %q", tls.VersionName(version), p)
			}
			_ = conn.Close()
		}
	}
}
