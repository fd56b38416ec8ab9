package edge

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/sip"
)

// A token is for the dialog that it was made in. Without a To tag a request
// would begin something new, and nobody would have asked who may begin what.
func TestATokenBeginsNothing(t *testing.T) {
	for _, method := range []string{"INVITE", "MESSAGE", "SUBSCRIBE"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 1)
			c := b.dial()
			b.lists(map[string]federation.PartnerConfig{"fabrikam.example": {
				Servers: []string{"edge.fabrikam.example:5061"}, Direction: "out", TheirUsers: []string{"carol"},
			}})
			b.from(b.partner, c.in("INFO", "n1", "fabrikam.example"))
			b.expect(b.homes[0], "INFO "+c.target+" SIP/2.0")
			b.from(b.partner, strings.Replace(c.in(method, "n2", "fabrikam.example"), "bob@example.com>;tag=b", "bob@example.com>", 1))
			b.expect(b.partner, "SIP/2.0 403 Forbidden")
			b.expect(b.homes[0])
		})
	}
}

func TestWhatIsATelephoneNumber(t *testing.T) {
	long := strings.Repeat("-.", 60)
	for _, tt := range []struct {
		uri  string
		want bool
	}{
		{"sip:+1900555@example.com", true},
		{"sip:+1" + long + "900555@example.com", true},
		{"sip:+" + long + "1900555@example.com", true},
		{"sip:" + strings.Repeat("%2D", 100) + "+1900555@example.com", true},
		{"sip:+1%20900%20555@example.com", true},
		{"sip:%20+1900555@example.com", true},
		{"sip:%2b1900555@example.com", true},
		{"sip:+(1)900555@example.com", true},
		{"sip:+1900555*7@example.com", true},
		{"sip:+1900555;ext=7@example.com", true},
		{"sip:+%31900555@example.com", true},
		{"sip:900555@example.com;user=phone", true},
		{"sip:1001@example.com", false},
		{"sip:+alice1@example.com", false},
		{"sip:bob+1@example.com", false},
		{"sip:+@example.com", false},
		{"sip:+;1@example.com", false},
		{"sip:example.com", false},
	} {
		u, err := sip.ParseURI([]byte(tt.uri))
		if err != nil {
			t.Errorf("%s: %v", tt.uri, err)
			continue
		}
		if got := telephone(&u); got != tt.want {
			t.Errorf("telephone(%s) = %v, want %v", tt.uri, got, tt.want)
		}
	}
}

// An ACK gets no answer, so nobody would notice; but each reaches the home server.
func TestAcksAreHeldToARateToo(t *testing.T) {
	for _, listed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := discovering(t)
			if listed {
				b.lists(map[string]federation.PartnerConfig{"fabrikam.example": {Rate: 20}})
			}
			c := b.dial()
			flood := func(n int) (passed int) {
				for i := range n {
					b.from(b.partner, c.in("ACK", fmt.Sprint("a", i), "fabrikam.example"))
				}
				lines, _ := b.sent(b.homes[0])
				return len(lines)
			}
			if got := flood(100); got != 20 {
				t.Errorf("listed %v: %d ACKs passed at once, want 20", listed, got)
			}
			b.after(time.Second)
			if got := flood(100); got < 19 || got > 21 {
				t.Errorf("listed %v: %d ACKs passed a second later, want 20", listed, got)
			}
			b.after(time.Second)
			for i := range 20 { // who used up its requests may confirm them all the same
				b.guess(i, "bob", 200)
			}
			if got := flood(20); got != 20 {
				t.Errorf("listed %v: %d ACKs passed after 20 requests, want 20", listed, got)
			}
		})
	}
}

func TestMoreCertificatesAreNoLargerShare(t *testing.T) {
	b := newBench(t, 1)
	b.lists(map[string]federation.PartnerConfig{
		"fabrikam.example": {},
		"contoso.example":  {Servers: []string{"edge.contoso.example:5061"}},
	})
	account := func(name string) *account {
		f := b.flow(RoleFederation)
		id := identity(t, name)
		f.Peer = &id
		return b.e.account(f)
	}
	for _, tt := range []struct {
		one, other string
		same       bool
	}{
		{"fabrikam.example", "fabrikam.example", true},
		{"edge.contoso.example", "edge.contoso.example", true},
		{"edge1.fabrikam.example", "edge2.fabrikam.example", true},
		{"im.stranger.example", "sip.stranger.example", true},
		{"fabrikam.example", "contoso.example", false},
		{"stranger.example", "nobody.example", false},
		// Others may have names in a partner's domain.
		{"fabrikam.example", "tenant.fabrikam.example", false},
	} {
		if got := account(tt.one) == account(tt.other); got != tt.same {
			t.Errorf("%s and %s share an account: %v, want %v", tt.one, tt.other, got, tt.same)
		}
	}
}

// A home server that trusts the edge may not ask for a password.
func TestNobodyOutsideRegistersOurUsers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		listed *federation.PartnerConfig
		want   string
	}{
		{"a stranger", nil, "403"},
		{"a partner", &federation.PartnerConfig{}, "403"},
		{"a partner whose entry is about something else", &federation.PartnerConfig{PhoneNumbers: true, MaxBody: 100}, "403"},
		{"a partner whose entry names it", &federation.PartnerConfig{Methods: []string{"REGISTER"}}, "200"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := discovering(t)
				if tt.listed != nil {
					b.lists(map[string]federation.PartnerConfig{"fabrikam.example": *tt.listed})
				}
				b.from(b.partner, request1("REGISTER", "r1"))
				if _, m := b.sent(b.homes[0]); m != nil {
					b.from(b.homes[0], answer(m, 200, ""))
				}
				if lines, _ := b.sent(b.partner); len(lines) != 1 || strings.Fields(lines[0])[1] != tt.want {
					t.Errorf("the answer is %q, want %s", lines, tt.want)
				}
			})
		})
	}
}
