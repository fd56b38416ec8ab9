package edge

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

// guessing is a line with credentials of a user.
func guessing(user string) string {
	return `Authorization: Digest username="` + user + `", realm="example.com", nonce="1", uri="sip:example.com", response="0"` + "\n"
}

// guarded gives a bench a Guard.
func (b *bench) guarded() *remoteaccess.Guard {
	b.t.Helper()
	g, err := remoteaccess.OpenGuard(remoteaccess.GuardConfig{}, nil, nil, slog.New(slog.NewTextHandler(io.Discard, nil)), time.Now)
	if err != nil {
		b.t.Fatal(err)
	}
	b.e.remote.Guard = g
	return g
}

// Kamailio reads "register" as REGISTER: one that is not judged as such would go there
// without a Path, and in anybody's name.
func TestARegisterInSmallLettersIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		f := b.remote()
		b.signsIn(f, 1)
		for _, from := range []*Flow{f, b.remote()} {
			text := register("alice", fmt.Sprint(from.ID), "Contact: <sip:alice@10.0.0.5:22>\n")
			b.from(from, strings.ReplaceAll(text, "REGISTER", "register"))
			b.expect(from, "SIP/2.0 400 Method is not in capitals")
		}
		text := strings.ReplaceAll(request1("MESSAGE", "1"), "MESSAGE", "register")
		b.from(b.partner, text)
		b.expect(b.partner, "SIP/2.0 400 Method is not in capitals")
		b.expect(b.homes[0])
	})
}

// Without credentials nobody learns who may sign in, also not by what a home server
// says before it asks for a password: 483 to who let it have no hop left, 420 to who
// requires what it does not know.
func TestWhatAHomeServerSaysBeforeItAsksForAPasswordTellsNobodyWhoMay(t *testing.T) {
	for _, status := range []int{401, 403, 404, 407, 420, 423, 483, 500, 600} {
		for _, rules := range []string{"", "[default]\nallow = true"} {
			synctest.Test(t, func(t *testing.T) {
				b := newRemoteBench(t, rules)
				f := b.remote()
				b.from(f, strings.Replace(register("alice", "1", device(1)), "Max-Forwards: 70", "Max-Forwards: 1", 1))
				m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
				b.from(b.homes[0], answer(m, status, ""))
				b.expect(f, fmt.Sprintf("SIP/2.0 %d %s", status, sip.Phrase(status)))
				if f.closed() {
					t.Errorf("%d ends the flow", status)
				}
			})
		}
	}
}

func TestWhoMayNoLongerIsNotSignedInByAnAnswerThatWasOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		f := b.remote()
		b.from(f, register("alice", "1", device(1)))
		m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
		b.e.SetAccess(accessOf(t, ""))
		b.from(b.homes[0], answer(m, 200, device(1)))
		b.expect(f, "SIP/2.0 403 Forbidden")
		if f.state.signed.Load() != nil || len(b.e.users.Of("alice@example.com")) != 0 {
			t.Error("she is signed in")
		}
	})
}

// Credentials that were not tried are no guess that failed: who has a device too many, or
// comes while the directory is away, must not be locked out for it.
func TestWhatIsNotTriedIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		for n := range 8 {
			b.signsIn(b.remote(), n)
		}
		g := b.guarded()
		f := b.remote()
		for n := range 10 {
			b.from(f, register("alice", fmt.Sprint("nine", n), device(9)+guessing("alice")))
			b.expect(f, "SIP/2.0 403 Forbidden")
		}
		if v := g.View(); v.Bans != 0 || v.Users != 0 {
			t.Errorf("View = %+v", v)
		}
	})
}

// A directory that is away keeps out who is not known; it locks nobody out, and ends
// nothing that has begun.
func TestADirectoryThatIsAwayIsNobodysFault(t *testing.T) {
	b := newRemoteBench(t, "[default]\nallow = true")
	f := b.remote()
	b.signsIn(f, 1)
	const dn = "cn=outside,dc=example,dc=com"
	yes := true
	a, errs := remoteaccess.Compile(remoteaccess.File{
		File:   "remote.toml",
		LDAP:   remoteaccess.LDAPConfig{URL: "ldap://127.0.0.1:1", Plain: true, Base: "dc=example,dc=com"},
		Groups: map[string]remoteaccess.GroupConfig{"outside": {DN: dn, Rules: remoteaccess.Rules{Allow: &yes}}},
	}, []string{"example.com"}, remoteaccess.With{})
	if errs != nil {
		t.Fatal(errs)
	}
	f.state.signed.Load().Groups = []string{dn}
	b.e.SetAccess(a)
	b.e.remote.Directory, errs = remoteaccess.OpenDirectory(a, func(p string) string { return p }, nil, slog.New(slog.DiscardHandler))
	if errs != nil {
		t.Fatal(errs)
	}
	t.Cleanup(b.e.remote.Directory.Close)
	g := b.guarded()
	for n := range 10 {
		stranger := b.remote()
		b.from(stranger, register("carol", fmt.Sprint("c", n), "Contact: <sip:carol@10.0.0.5>\n"+guessing("carol")))
		b.expect(stranger, "SIP/2.0 503 Service Unavailable")
	}
	if v := g.View(); v.Bans != 0 || v.Users != 0 {
		t.Errorf("View = %+v", v)
	}
	b.from(f, register("alice", "again", device(1)))
	m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
	b.from(b.homes[0], answer(m, 200, device(1)))
	b.expect(f, "SIP/2.0 200 OK")
	if f.user(time.Now()) == nil {
		t.Error("she is no longer signed in")
	}
}

func TestATokenIsNoWayForARegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		f := b.remote()
		b.signsIn(f, 1)
		b.from(f, fromAlice("SUBSCRIBE", "bob@example.com", "s"))
		m := b.expect(b.homes[0], "SUBSCRIBE sip:bob@example.com SIP/2.0")
		b.from(b.homes[0], answer(m, 200, "Contact: <sip:example.com>\n"))
		routes := ""
		for _, uri := range recordRoutes(b.expect(f, "SIP/2.0 200 OK"), nil) {
			routes = "Route: <" + string(uri) + ">\n" + routes
		}
		text := strings.NewReplacer("reg-alice", "call-s", "To: <sip:alice@example.com>", "To: <sip:alice@example.com>;tag=b").
			Replace(register("alice", "r", routes+device(1)))
		for _, from := range []*Flow{f, b.remote()} {
			b.from(from, text)
			b.expect(from, "SIP/2.0 403 Forbidden")
		}
		b.expect(b.homes[0])
	})
}

// To a home server that takes the domain of the Request-URI, alice@example.org is who
// registers here, with her own password.
func TestARegisterIsForTheDomainOfItsUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		b.e.byDomain["example.org"] = b.e.pools[0]
		f := b.remote()
		b.from(f, strings.Replace(register("alice", "1", device(1)), "REGISTER sip:example.com", "REGISTER sip:example.org", 1))
		b.expect(f, "SIP/2.0 403 Forbidden")
		b.expect(b.homes[0])
	})
}

// A registrar that sends parameters of a Contact back as they came must not make them
// names that it has given (RFC 5627 §5.1).
func TestNobodyGivesHimselfATemporaryName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		f := b.remote()
		lie := strings.Replace(device(1), "reg-id", `temp-gruu="sip:boss@example.com;gr";reg-id`, 1)
		b.from(f, register("alice", "1", lie))
		m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
		b.from(b.homes[0], answer(m, 200, lie))
		b.expect(f, "SIP/2.0 200 OK")
		b.from(f, strings.Replace(fromAlice("INVITE", "bob@example.com", "i"), "Contact: <sip:alice@10.0.0.9:5061;transport=tls>", "Contact: <sip:boss@example.com;gr>", 1))
		b.expect(f, "SIP/2.0 403 Forbidden")
		b.expect(b.homes[0])
	})
}

// What a home server would connect to without asking anybody.
func TestAUserDoesNotSendHisHomeServerToAddresses(t *testing.T) {
	for _, tt := range []struct{ uri, want string }{
		{"sip:bob@fabrikam.example", ""},
		{"sip:bob@example.com:5061", ""},
		{"sip:x@10.0.0.5:22", "403"},
		{"sip:x@127.0.0.1", "403"},
		{"sip:x@[::1]", "403"},
		{"sip:x@169.254.169.254;transport=tcp", "403"},
		{"sip:x@localhost", "403"},
		{"sip:bob@fabrikam.example;maddr=10.0.0.5", "403"},
		{"sip:bob@example.com;maddr=10.0.0.5", "403"},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newRemoteBench(t, "[default]\nallow = true")
			f := b.remote()
			b.signsIn(f, 1)
			b.from(f, strings.Replace(fromAlice("MESSAGE", "bob@example.com", "1"), "MESSAGE sip:bob@example.com", "MESSAGE "+tt.uri, 1))
			if tt.want == "" {
				b.expect(b.homes[0], "MESSAGE "+tt.uri+" SIP/2.0")
				return
			}
			b.expect(f, "SIP/2.0 403 Forbidden")
			b.expect(b.homes[0])
		})
	}
}

// A home server that stands behind us may write us into its Service-Route.
func TestAServiceRouteMayBeginWithUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		f := b.remote()
		b.from(f, register("alice", "1", device(1)))
		m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
		b.from(b.homes[0], answer(m, 200, device(1)+"Service-Route: <sip:edge1.example.com:443;transport=tls;lr>, <sip:sip1.example.com:5061;lr>\n"))
		b.expect(f, "SIP/2.0 200 OK")
		b.from(f, strings.Replace(fromAlice("MESSAGE", "bob@example.com", "1"), "From:", "Route: <sip:edge1.example.com:443;transport=tls;lr>, <sip:sip1.example.com:5061;lr>\nFrom:", 1))
		m = b.expect(b.homes[0], "MESSAGE sip:bob@example.com SIP/2.0")
		if got := string(m.Value(sip.Route)); got != "<sip:sip1.example.com:5061;lr>" {
			t.Errorf("Route is %q", got)
		}
	})
}

// Whoever calls follows the Record-Routes of an answer, whether it has a Contact or not.
func TestAnAnswerWithoutContactLeadsNoCallerAstray(t *testing.T) {
	for _, status := range []int{180, 200} {
		synctest.Test(t, func(t *testing.T) {
			b := newRemoteBench(t, "[default]\nallow = true")
			f := b.remote()
			path := b.signsIn(f, 1)
			b.from(b.homes[0], toAlice("INVITE", path, "i"))
			m := b.expect(f, "INVITE sip:alice@10.0.0.9:5061;transport=tls SIP/2.0")
			text := answer(m, status, "")
			for _, uri := range recordRoutes(m, nil) {
				text = strings.Replace(text, "<"+string(uri)+">", "<sip:10.0.0.5:22;lr>", 1)
			}
			b.from(f, text)
			if status == 180 {
				b.expect(b.homes[0])
				return
			}
			b.expect(b.homes[0], "SIP/2.0 502 Bad Gateway")
		})
	}
}

// Anybody can have a certificate of some domain. On a listener for partners and users it
// earns its address no better treatment than none.
func TestACertificateOfNobodyMakesNoAddressKnown(t *testing.T) {
	for _, tt := range []struct {
		role Role
		want bool
	}{{RoleRemote, false}, {RoleFederation, true}} {
		t.Run(tt.role.String(), func(t *testing.T) {
			l := newLab(t, wireSettings{}, newStub())
			l.listener = l.also(listenerSettings{
				name: "outside", role: RoleOutside, tls: l.server, identify: l.verifier.Identify,
				sort: func(_ *listener, f *Flow, _ error) { f.Role = tt.role },
			})
			l.dial()
			if f := l.flow(); f.Peer == nil || l.w.admission.isKnown(f.Remote.Addr()) != tt.want {
				t.Errorf("peer %v; the address is known: %v", f.Peer, !tt.want)
			}
		})
	}
}

// Who was called by another name goes on under that within the call (RFC 3261
// §12.2.1.1), and nowhere else.
func TestWhoWasCalledByAnotherNameAnswersToIt(t *testing.T) {
	const number = "<sip:+15550100@example.com;user=phone>"
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		f, g := b.remote(), b.remote()
		path := b.signsIn(f, 1)
		b.signsIn(g, 2)
		b.from(b.homes[0], strings.Replace(toAlice("INVITE", path, "i"), "To: <sip:alice@example.com>", "To: "+number, 1))
		m := b.expect(f, "INVITE sip:alice@10.0.0.9:5061;transport=tls SIP/2.0")
		routes := ""
		for _, uri := range recordRoutes(m, nil) {
			routes += "Route: <" + string(uri) + ">\n"
		}
		b.from(f, answer(m, 200, "Contact: <sip:alice@10.0.0.9:5061>\n"))
		b.expect(b.homes[0], "SIP/2.0 200 OK")
		bye := func(from, call, routes, branch string) string {
			return "BYE sip:bob@192.0.2.7 SIP/2.0\nVia: SIP/2.0/TLS 10.0.0.9:5061;branch=z9hG4bK" + branch + "\nMax-Forwards: 70\n" + routes +
				"From: " + from + ";tag=b\nTo: <sip:bob@fabrikam.example>;tag=b\nCall-ID: " + call + "\nCSeq: 1 BYE\nContent-Length: 0\n\n"
		}
		for i, text := range []string{
			bye("<sip:boss@example.com>", "in-i", routes, "1"),
			bye(number, "in-other", routes, "2"),
			bye(number, "in-i", "", "3"),
			strings.ReplaceAll(bye(number, "in-i", "", "4"), "BYE", "MESSAGE"),
		} {
			b.from(f, text)
			if lines, _ := b.sent(b.homes[0]); len(lines) != 0 {
				t.Errorf("%d passes: %q", i, lines)
			}
			b.sent(f)
		}
		b.from(f, bye(number, "in-i", routes, "5"))
		b.expect(b.homes[0], "BYE sip:bob@192.0.2.7 SIP/2.0")
	})
}

// aboutToSignIn is what a home server's yes makes of a flow.
func aboutToSignIn(b *bench, f *Flow, user string, a *remoteaccess.Access) *signIn {
	return &signIn{
		SignIn: &remoteaccess.SignIn{
			User: user + "@example.com", Flow: f.ID, Device: "phone", Until: time.Now().Add(time.Hour),
			Terms: a.Terms([]byte(user), []byte("example.com"), nil),
		},
		domain: []byte("example.com"), pool: b.e.pools[0],
	}
}

// The home server says yes in the very moment in which remote.toml says no.
func TestWhoSignsInWhileTheListChangesIsJudgedByTheNewOne(t *testing.T) {
	b := newRemoteBench(t, "")
	everybody, nobody := accessOf(t, "[default]\nallow = true"), accessOf(t, "")
	for i := range 3000 {
		b.e.SetAccess(everybody)
		var all sync.WaitGroup
		var flows []*Flow
		for n := range 20 {
			f := b.remote()
			s := aboutToSignIn(b, f, fmt.Sprint("user", n), everybody)
			flows = append(flows, f)
			all.Go(func() { _ = b.e.signIn(f, s, everybody, contactParams{}) })
		}
		for range i % 53 * 20 { // another moment each time
			_ = time.Now()
		}
		b.e.SetAccess(nobody)
		all.Wait()
		for _, f := range flows {
			if s := f.state.signed.Load(); s != nil {
				t.Fatalf("%s is signed in", s.User)
			}
		}
	}
}

func TestNobodyIsSignedInOnAFlowThatHasEnded(t *testing.T) {
	b := newRemoteBench(t, "[default]\nallow = true")
	f, a := b.remote(), b.e.access.Load()
	f.finish(errKicked)
	b.e.goneRemote(f)
	if err := b.e.signIn(f, aboutToSignIn(b, f, "alice", a), a, contactParams{}); err != nil {
		t.Errorf("signIn = %v: there is nobody to be told", err)
	}
	if list := b.e.users.All(); len(list) != 0 || f.state.signed.Load() != nil {
		t.Errorf("%d are signed in", len(list))
	}
}
