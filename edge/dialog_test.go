package edge

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sipedge/sipedge/sip"
)

// A call is a dialog that the partner began, as the partner knows it.
type call struct {
	routes []string // its Route set
	target string
}

// dial makes a call from the partner to bob, whose home server stays in the
// path behind another proxy inside.
func (b *bench) dial() call {
	b.t.Helper()
	b.from(b.partner, request1("INVITE", "i1"))
	m := b.expect(b.homes[0], "INVITE"+requestLine)
	inside := "Record-Route: <sip:10.0.0.9;lr>\nRecord-Route: <sip:sip1.example.com:5061;transport=tls;lr>\n"
	text := answer(m, 200, "Contact: <sip:bob@10.0.0.50:5070>\n")
	// What is nearer to the callee stands above ours.
	text = strings.Replace(text, "Record-Route:", inside+"Record-Route:", 1)
	b.from(b.homes[0], text)
	ok := b.expect(b.partner, "SIP/2.0 200 OK")
	c := call{target: "sip:bob@10.0.0.50:5070"}
	elems := ok.Elements(sip.RecordRoute)
	for {
		elem, more := elems.Next()
		if !more {
			break
		}
		c.routes = append([]string{string(elem)}, c.routes...) // RFC 3261 §12.1.2
	}
	return c
}

// in is a request within the call.
func (c call) in(method, branch, from string) string {
	routes := ""
	for _, r := range c.routes {
		routes += "Route: " + r + "\n"
	}
	return fmt.Sprintf("%s %s SIP/2.0\nVia: SIP/2.0/TLS 192.0.2.7;branch=z9hG4bK%s\nMax-Forwards: 70\n%s"+
		"From: <sip:alice@%s>;tag=a\nTo: <sip:bob@example.com>;tag=b\nCall-ID: call-1\nCSeq: 2 %s\nContent-Length: 0\n\n",
		method, c.target, branch, routes, from, method)
}

func TestADialogFollowsItsRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		c := b.dial()
		if len(c.routes) != 4 {
			t.Fatalf("route set %q, want two of ours and two inside", c.routes)
		}
		b.from(b.partner, c.in("ACK", "a1", "fabrikam.example"))
		b.expect(b.homes[0], "ACK "+c.target+" SIP/2.0")
		b.from(b.partner, c.in("BYE", "b1", "fabrikam.example"))
		m := b.expect(b.homes[0], "BYE "+c.target+" SIP/2.0")
		if got := string(m.Value(sip.Route)); got != "<sip:sip1.example.com:5061;transport=tls;lr>" {
			t.Errorf("Route on top is %q, want the home server's", got)
		}
		b.from(b.homes[0], answer(m, 200, ""))
		b.expect(b.partner, "SIP/2.0 200 OK")
	})
}

func TestADialogIsBoundToWhoMadeIt(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*call)
		from   string
		want   string
	}{
		{"nothing changed", func(*call) {}, "fabrikam.example", ""},
		{"a made-up To tag and no Route", func(c *call) { c.routes = nil }, "fabrikam.example", "SIP/2.0 481 Call/Transaction Does Not Exist"},
		{"the target changed", func(c *call) { c.target = "sip:root@10.0.0.5:22" }, "fabrikam.example", "SIP/2.0 403 Forbidden"},
		{"a Route added", func(c *call) { c.routes = append(c.routes, "<sip:10.0.0.5:22;lr>") }, "fabrikam.example", "SIP/2.0 403 Forbidden"},
		{"a Route left out", func(c *call) { c.routes = c.routes[:3] }, "fabrikam.example", "SIP/2.0 403 Forbidden"},
		{"a token changed", func(c *call) {
			c.routes[0] = strings.Replace(c.routes[0], "e.", "e.A", 1)
		}, "fabrikam.example", "SIP/2.0 403 Forbidden"},
		{"someone else's From", func(*call) {}, "contoso.example", "SIP/2.0 403 Forbidden"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 1)
				c := b.dial()
				tt.change(&c)
				b.from(b.partner, c.in("BYE", "b1", tt.from))
				if tt.want == "" {
					b.expect(b.homes[0], "BYE "+c.target+" SIP/2.0")
					return
				}
				b.expect(b.partner, tt.want)
				b.expect(b.homes[0])
			})
		})
	}
}

// move lets the callee of a call answer from sip:bob@10.0.0.77 from now on.
func (b *bench) move(c call) {
	b.t.Helper()
	b.from(b.partner, c.in("INVITE", "i2", "fabrikam.example"))
	m := b.expect(b.homes[0], "INVITE "+c.target+" SIP/2.0")
	b.from(b.homes[0], answer(m, 200, "Contact: <sip:bob@10.0.0.77>\n"))
	b.expect(b.partner, "SIP/2.0 200 OK")
}

func TestATargetThatMovedIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		c := b.dial()
		b.move(c)
		c.target = "sip:bob@10.0.0.77"
		b.from(b.partner, c.in("BYE", "b2", "fabrikam.example"))
		b.expect(b.homes[0], "BYE "+c.target+" SIP/2.0")
	})
}

func TestTheHomeServerReachesThePartnerWithinTheDialog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.from(b.partner, request1("INVITE", "i1"))
		m := b.expect(b.homes[0], "INVITE"+requestLine)
		routes := ""
		elems := m.Elements(sip.RecordRoute)
		for {
			elem, more := elems.Next()
			if !more {
				break
			}
			routes += "Route: " + string(elem) + "\n" // RFC 3261 §12.1.1: in order
		}
		bye := "BYE sip:alice@192.0.2.7 SIP/2.0\nVia: SIP/2.0/TLS sip1.example.com;branch=z9hG4bKhome\nMax-Forwards: 70\n" + routes +
			"From: <sip:bob@example.com>;tag=b\nTo: <sip:alice@fabrikam.example>;tag=a\nCall-ID: call-1\nCSeq: 1 BYE\nContent-Length: 0\n\n"
		b.from(b.homes[0], bye)
		got := b.expect(b.partner, "BYE sip:alice@192.0.2.7 SIP/2.0")
		if got.Count(sip.Route) != 0 {
			t.Errorf("our Routes went out: %s", got.Raw())
		}
		// Another home domain's server has no part in it.
		b.e.byDomain["other.example"] = &pool{edge: b.e, name: "other"}
		b.homes[0].state.pools = append(b.homes[0].state.pools, b.e.byDomain["other.example"])
		b.from(b.homes[0], strings.ReplaceAll(bye, "bob@example.com", "bob@other.example"))
		b.expect(b.homes[0], "SIP/2.0 403 Forbidden")
	})
}

func TestRecordRouteNamesBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.from(b.partner, request1("SUBSCRIBE", "s1"))
		m := b.expect(b.homes[0], "SUBSCRIBE"+requestLine)
		var hosts []string
		elems := m.Elements(sip.RecordRoute)
		for {
			elem, more := elems.Next()
			if !more {
				break
			}
			uri, ok := elementURI(elem)
			if !ok {
				t.Fatalf("Record-Route %q", elem)
			}
			hosts = append(hosts, fmt.Sprintf("%s:%d", uri.Host, uri.Port))
		}
		want := "edge1.example.com:5062 edge1.example.com:5061" // RFC 5658: the next hop's side on top
		if got := strings.Join(hosts, " "); got != want {
			t.Errorf("Record-Route %q, want %q", got, want)
		}
	})
}

func TestATokenIsOpenedByItsKeysOnly(t *testing.T) {
	old, now := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	k := token{kind: tokenPartner, pool: 1, server: 2, flow: 3, routes: 4, target: 5, party: []byte("fabrikam.example")}
	text := newSigner([][]byte{old}).seal(nil, &k)
	got, key, err := newSigner([][]byte{now, old}).open(text)
	if err != nil || key != 1 || got.flow != 3 || string(got.party) != "fabrikam.example" {
		t.Errorf("open during a rotation = %+v, %d, %v", got, key, err)
	}
	if _, _, err := newSigner([][]byte{now}).open(text); err == nil {
		t.Error("a token of a key that is gone was believed")
	}
	for i := range text {
		bad := bytes.Clone(text)
		bad[i] ^= 4
		if k2, _, err := newSigner([][]byte{old}).open(bad); err == nil {
			t.Fatalf("octet %d changed, and still %+v was believed", i, k2)
		}
	}
}

func FuzzToken(f *testing.F) {
	s := newSigner([][]byte{bytes.Repeat([]byte{1}, 32)})
	f.Add(s.seal(nil, &token{kind: tokenPartner, party: []byte("fabrikam.example")}))
	f.Add([]byte("e."))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, _, err := s.open(text)
		if err != nil {
			return
		}
		if again := s.seal(nil, &k); !bytes.Equal(again, text) {
			t.Errorf("%q opens, and is not what we seal: %q", text, again)
		}
	})
}

func TestOneSpellingOfAURI(t *testing.T) {
	for uri, want := range map[string]string{
		"SIP:Bob@EXAMPLE.com":                           "sip:Bob@example.com",
		"sip:bob:pw@example.com:05061":                  "sip:bob:pw@example.com:5061",
		"sip:b@h;LR=on;Transport=TLS;x;Y=Z;method=A":    "sip:b@h;lr;transport=tls;x=;y=Z",
		"sips:[2001:DB8::1]:5061;maddr=H.Example;USER=": "sips:[2001:db8::1]:5061;maddr=h.example;user=",
		"tel:+1-212;Ext=5":                              "tel:+1-212;Ext=5",
		"no uri":                                        "no uri",
	} {
		if got := spelling([]byte(uri)); string(got) != want {
			t.Errorf("spelling(%q) = %q, want %q", uri, got, want)
		}
	}
}
