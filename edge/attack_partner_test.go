package edge

import (
	"strings"
	"testing"
	"testing/synctest"

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
