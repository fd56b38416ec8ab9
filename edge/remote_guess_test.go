package edge

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

// remoteFrom opens a flow of somebody outside at an address.
func (b *bench) remoteFrom(addr netip.Addr) *Flow {
	f := b.remote()
	f.Remote = netip.AddrPortFrom(addr, 40000)
	return f
}

// guess is a REGISTER of alice with a password, which stands where its digest would.
func guess(n int, password string) string {
	text := register("alice", fmt.Sprint("g", n), device(1)+
		"Authorization: Digest username=\"alice\", realm=\"example.com\", nonce=\"1\", uri=\"sip:example.com\", response=\""+password+"\"\n")
	return strings.Replace(text, "CSeq: 1 ", fmt.Sprintf("CSeq: %d ", n), 1)
}

// TestTenThousandGuessesGetNowhere guesses at a weak password, which is the thousandth
// that is tried. The home server sees a few of the guesses and not the right one; the
// user gets in from where he has been before.
func TestTenThousandGuessesGetNowhere(t *testing.T) {
	for _, tt := range []struct {
		name      string
		addresses int
		most      int // guesses that the home server may see
	}{
		{"from one address", 1, 5},
		{"from a thousand addresses", 1000, 50},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRemoteBench(t, "[default]\nallow = true")
				guard, err := remoteaccess.OpenGuard(remoteaccess.GuardConfig{}, nil, nil, b.e.log, time.Now)
				if err != nil {
					t.Fatal(err)
				}
				b.e.remote.Guard = guard
				hotel := netip.MustParseAddr("198.51.100.9")
				in := b.remoteFrom(hotel)
				b.signsIn(in, 1)

				seen, refused := 0, 0
				flows := make(map[int]*Flow)
				for n := range 10_000 {
					who := n % tt.addresses
					f := flows[who]
					if f == nil || f.closed() {
						f = b.remoteFrom(netip.AddrFrom4([4]byte{203, 0, byte(113 + who/250), byte(1 + who%250)}))
						flows[who] = f
					}
					password := fmt.Sprint("wrong", n)
					if n >= 999 {
						password = "weak"
					}
					b.from(f, guess(n+1, password))
					if lines, m := b.sent(b.homes[0]); len(lines) > 0 {
						seen++
						b.answerGuess(m)
					}
					if lines, m := b.sent(f); len(lines) == 1 && m.Status() == 403 {
						refused++
					}
					time.Sleep(20 * time.Millisecond) // no faster than the edge takes REGISTERs of one source
				}
				if seen > tt.most || refused < 10_000-2*tt.most {
					t.Errorf("the home server saw %d guesses, %d were refused", seen, refused)
				}
				if n := len(b.e.users.Of("alice@example.com")); n != 1 {
					t.Errorf("%d are signed in as the user", n)
				}
				b.from(in, fromAlice("MESSAGE", "bob@example.com", "m"))
				b.expect(b.homes[0], "MESSAGE sip:bob@example.com SIP/2.0")
				again := b.remoteFrom(hotel)
				b.from(again, guess(20_000, "weak"))
				_, m := b.sent(b.homes[0])
				b.answerGuess(m)
				b.expect(again, "SIP/2.0 200 OK")
			})
		})
	}
}

// answerGuess is the home server's word about a password.
func (b *bench) answerGuess(m *sip.Message) {
	b.t.Helper()
	if m == nil {
		b.t.Fatal("nothing reaches the home server")
	}
	if strings.Contains(string(m.Raw()), `response="weak"`) {
		b.from(b.homes[0], answer(m, 200, device(1)))
		return
	}
	b.from(b.homes[0], answer(m, 401, "WWW-Authenticate: Digest realm=\"example.com\", nonce=\"1\"\n"))
}

func TestOneSourceAsksNoFasterThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		passed, busy := 0, 0
		for n := range 1000 {
			f := b.remote()
			b.from(f, register(fmt.Sprint("u", n), fmt.Sprint(n), ""))
			if lines, m := b.sent(f); len(lines) == 1 && m.Status() == 503 && m.Count(sip.RetryAfter) == 1 {
				busy++
			}
			lines, _ := b.sent(b.homes[0])
			passed += len(lines)
		}
		if passed != registerBurst || busy != 1000-registerBurst {
			t.Errorf("%d go inside and %d are asked to come later, want %d and the rest", passed, busy, registerBurst)
		}
		other := b.remoteFrom(netip.MustParseAddr("198.51.100.9"))
		b.from(other, register("alice", "other", ""))
		b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
		time.Sleep(time.Second)
		b.from(b.remote(), register("alice", "later", ""))
		b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
	})
}
