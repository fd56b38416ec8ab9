package edge

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/sip"
)

// marked is a request with these lines.
func marked(t testing.TB, lines string) *sip.Message {
	text := strings.Replace(request1("MESSAGE", "m1"), "Contact:", lines+"Contact:", 1)
	return indexed(t, []byte(strings.ReplaceAll(text, "\n", "\r\n")))
}

func TestAMarkIsReadInAnyOrderAndOnce(t *testing.T) {
	const name = "ms-asserted-verification-level: "
	for _, tt := range []struct {
		name  string
		lines string
		want  mark
	}{
		{"none", "", markNone},
		{"verified", name + "ms-source-verified-user=verified\n", markVerified},
		{"unverified", name + "ms-source-verified-user=unverified\n", markUnverified},
		{"in another case, quoted, among others", "MS-Asserted-Verification-Level : a=b ; Ms-Source-Verified-User = \"VERIFIED\" ; c\n", markVerified},
		{"folded", name + "\n a=b;\n\tms-source-verified-user=verified\n", markVerified},
		{"empty", name + "\n", markNone},
		{"about something else", name + "ms-source-network=federation\n", markNone},
		{"without a value", name + "ms-source-verified-user\n", markUnverified},
		{"a word that begins alike", name + "ms-source-verified-user=verified2\n", markUnverified},
		{"twice the same", name + "ms-source-verified-user=verified\n" + name + "ms-source-verified-user=verified\n", markUnverified},
		{"twice in a list", name + "ms-source-verified-user=verified,ms-source-verified-user=verified\n", markUnverified},
		{"contradicting itself", name + "ms-source-verified-user=verified;ms-source-verified-user=unverified\n", markUnverified},
		{"another field", "ms-source-verified-user: verified\n", markNone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := readMark(marked(t, tt.lines)); got != tt.want {
				t.Errorf("mark %d, want %d", got, tt.want)
			}
		})
	}
}

func TestWhoIsVerified(t *testing.T) {
	lines := map[string]string{
		"verified":   "ms-asserted-verification-level: ms-source-verified-user=verified\n",
		"unverified": "ms-asserted-verification-level: ms-source-verified-user=unverified\n",
		"unmarked":   "",
	}
	for _, tt := range []struct {
		verify federation.Verification
		tier   federation.Tier
		marks  string
	}{
		{federation.VerifyAlways, federation.TierAllowed, "verified unverified unmarked"},
		{federation.VerifyAlways, federation.TierDirect, "verified unverified unmarked"},
		{federation.VerifySource, federation.TierAllowed, "verified"},
		{federation.VerifySource, federation.TierUpstream, "verified"},
		{federation.VerifyNever, federation.TierDirect, ""},
		{federation.VerifyAlways, federation.TierDiscovered, ""},
		{federation.VerifySource, federation.TierDiscovered, ""},
		{federation.VerifyAlways, federation.TierNone, ""},
	} {
		for name, line := range lines {
			b := border{tier: uint8(tt.tier), verify: uint8(tt.verify)}
			want := false
			for word := range strings.FieldsSeq(tt.marks) {
				want = want || word == name
			}
			if got := b.verifies(marked(t, line)); got != want {
				t.Errorf("verification %s of a %s partner, message %s: verified %v, want %v", tt.verify, tt.tier, name, got, want)
			}
		}
	}
}

// forged are the spellings in which an outsider may try to say what only we may
// say: S-10 and S-11 of docs/attacks.md.
func forged() (lines string) {
	for _, name := range []string{
		"P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "P-Asserted-Service", "ms-edge-proxy-message-trust",
		"ms-user-logon-data", "ms-split-domain-info", "ms-internal-info", "ms-asserted-verification-level",
		"ms-diagnostics", "ms-diagnostics-public", "ms-client-diagnostics",
	} {
		swapped := strings.ToUpper(name[:3]) + strings.ToLower(name[3:])
		for _, spelled := range []string{name + ":", name + " :", strings.ToUpper(name) + "\t:", swapped + "  \t:", name + ":\n "} {
			lines += spelled + " <sip:ceo@example.com>;ceo=1,\n\t<sip:ceo@example.net>;ms-source-verified-user=verified\n"
		}
	}
	return "X-First: 1\n" + lines + "X-Last: 1\n"
}

// ours counts the lines of a message that begin so, in any case.
func ours(m *sip.Message, name string) int {
	return bytes.Count(bytes.ToLower(m.Raw()), []byte("\r\n"+strings.ToLower(name)))
}

func TestNothingForgedCrossesTheBorderAndOursIsTheOnlyOne(t *testing.T) {
	for _, tt := range []struct {
		name       string
		msft       bool
		discovered bool
		// How often each may be in: a request inwards, an answer inwards, an
		// error inwards, a request outwards, an answer outwards.
		trust, level, asserted, diagnostics [5]int
	}{
		{name: "plain pool, listed partner", asserted: [5]int{1}},
		{name: "plain pool, discovered partner", discovered: true},
		{name: "dialect, listed partner", msft: true, trust: [5]int{1, 1, 1}, level: [5]int{1, 1, 1, 1, 1}, diagnostics: [5]int{2: 1}},
		{name: "dialect, discovered partner", msft: true, discovered: true, trust: [5]int{1, 1, 1}, level: [5]int{1, 1, 1}, diagnostics: [5]int{2: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 1)
				if tt.discovered {
					b = discovering(t)
				} else {
					b.lists(map[string]federation.PartnerConfig{"fabrikam.example": {Servers: []string{"edge.fabrikam.example:5061"}, Verification: "always"}})
				}
				b.e.msft, b.e.pools[0].msft = tt.msft, tt.msft
				b.outward()
				partner, home := b.partner, b.homes[0]
				ask := func(text string) string { return strings.Replace(text, "Contact:", forged()+"Contact:", 1) }
				var seen [5]*sip.Message
				b.from(partner, ask(request1("OPTIONS", "in")))
				_, seen[0] = b.sent(home)
				b.from(home, answer(seen[0], 404, forged()))
				_, seen[4] = b.sent(partner)
				b.from(home, ask(outgoing("OPTIONS", "out1")))
				_, seen[3] = b.sent(partner)
				b.from(partner, answer(seen[3], 200, forged()))
				_, seen[1] = b.sent(home)
				b.from(home, ask(outgoing("OPTIONS", "out2")))
				_, m := b.sent(partner)
				b.from(partner, answer(m, 404, forged()))
				_, seen[2] = b.sent(home)
				for i, m := range seen {
					if m == nil {
						t.Fatalf("message %d did not arrive: %s", i, b.log.String())
					}
					if bytes.Contains(m.Raw(), []byte("ceo")) {
						t.Errorf("message %d carries what was forged:\n%s", i, m.Raw())
					}
					if ours(m, "X-First: 1\r\n") != 1 || ours(m, "X-Last: 1\r\n") != 1 {
						t.Errorf("message %d has lost what is nobody's:\n%s", i, m.Raw())
					}
					for name, want := range map[string]int{
						"ms-edge-proxy-message-trust: ": tt.trust[i], "ms-asserted-verification-level: ": tt.level[i],
						"p-asserted-identity: ": tt.asserted[i], "ms-diagnostics: ": tt.diagnostics[i],
						"p-": tt.asserted[i], "remote": 0, "ms-": tt.trust[i] + tt.level[i] + tt.diagnostics[i],
					} {
						if got := ours(m, name); got != want {
							t.Errorf("message %d has %d of %s, want %d:\n%s", i, got, name, want, m.Raw())
						}
					}
				}
			})
		})
	}
}

func TestTheConnectionIsNamedInsideOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.e.msft, b.e.pools[0].msft = true, true
		via := "Via: SIP/2.0/TLS 192.0.2.7;ms-received-cid=1D5400;branch=z9hG4bKm1;MS-Received-Port=1;x=y"
		b.from(b.partner, strings.Replace(request1("MESSAGE", "m1"), "Via: SIP/2.0/TLS 192.0.2.7;branch=z9hG4bKm1", via, 1))
		m := b.expect(b.homes[0], "MESSAGE"+requestLine)
		vias := m.Elements(sip.Via)
		vias.Next()
		got, _ := vias.Next()
		want := fmt.Sprintf("SIP/2.0/TLS 192.0.2.7;branch=z9hG4bKm1;x=y;ms-received-port=40000;ms-received-cid=%x", b.partner.ID)
		if string(got) != want {
			t.Errorf("inside the Via is\n%s\nwant\n%s", got, want)
		}
		b.from(b.homes[0], answer(m, 200, ""))
		m = b.expect(b.partner, "SIP/2.0 200 OK")
		if got, want := string(m.Value(sip.Via)), "SIP/2.0/TLS 192.0.2.7;branch=z9hG4bKm1;x=y"; got != want {
			t.Errorf("outside the Via is\n%s\nwant\n%s", got, want)
		}
	})
}

func TestAnIdentityThatIsTooLongIsNotAsserted(t *testing.T) {
	from := "<sip:" + strings.Repeat("a", maxAsserted+1) + "@fabrikam.example>"
	text := strings.Replace(request1("MESSAGE", "m1"), "<sip:alice@fabrikam.example>", from, 1)
	m := indexed(t, []byte(strings.ReplaceAll(text, "\n", "\r\n")))
	if got := appendAsserted(nil, m); len(got) > 0 {
		t.Errorf("asserted %d octets, want none", len(got))
	}
	text = strings.Replace(text, "aa@", "@", 1)
	m = indexed(t, []byte(strings.ReplaceAll(text, "\n", "\r\n")))
	if got := appendAsserted(nil, m); !bytes.HasPrefix(got, []byte("P-Asserted-Identity: <sip:aaa")) {
		t.Errorf("asserted %q, want the identity", got)
	}
}

// FuzzBorder lets any message come from a partner of a pool that speaks the
// dialect: whatever it is, what goes inside says once where it is from.
func FuzzBorder(f *testing.F) {
	for _, method := range []string{"MESSAGE", "INVITE", "ACK", "BENOTIFY", "NEGOTIATE", "BYE"} {
		text := strings.Replace(request1(method, "x1"), "Contact:", "ms-diagnostics-public: 1;reason=\"a\"\n"+forged()+"Contact:", 1)
		f.Add([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b := newBench(t, 1)
		b.e.msft, b.e.pools[0].msft = true, true
		b.lists(map[string]federation.PartnerConfig{"fabrikam.example": {Verification: "always", Servers: []string{"edge.fabrikam.example:5061"}}})
		var framer sip.Framer
		m := new(sip.Message)
		if kind, _, err := framer.Next(raw, m); err != nil || kind != sip.Complete {
			return
		}
		var turn turn
		b.e.message(&turn, b.partner, m)
		_, sent := b.sent(b.homes[0])
		switch {
		case sent == nil:
			return
		case string(sent.Method()) == "NEGOTIATE":
			t.Errorf("sent inside what is between neighbours:\n%s", sent.Raw())
		case sent.Fault() != nil:
			t.Errorf("sent inside what is no good: %v\n%s", sent.Fault(), sent.Raw())
		}
		for h, want := range map[sip.Header]int{
			sip.MSEdgeProxyMessageTrust: 1, sip.MSAssertedVerificationLevel: 1, sip.PAssertedIdentity: 0,
			sip.MSDiagnostics: 0, sip.MSUserLogonData: 0,
		} {
			if got := sent.Count(h); got != want {
				t.Errorf("sent inside %d of %s, want %d:\n%s", got, h, want, sent.Raw())
			}
		}
	})
}
