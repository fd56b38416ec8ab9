package edge

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

// newRemoteBench is newBench with users who may sign in from outside.
func newRemoteBench(t testing.TB, rules string) *bench {
	t.Helper()
	b := newBench(t, 1)
	b.e.SetAccess(accessOf(t, rules))
	b.e.msft = b.e.pools[0].msft
	return b
}

// remote opens a flow of somebody outside.
func (b *bench) remote() *Flow {
	f := b.flow(RoleRemote)
	f.state.side = newSide("edge1.example.com:443", "tls", "TLS")
	f.state.account = new(account)
	b.e.openedRemote(f)
	return f
}

// register is a REGISTER of a user, with more header fields.
func register(user, branch, more string) string {
	return "REGISTER sip:example.com SIP/2.0\nVia: SIP/2.0/TLS 10.0.0.9:5061;branch=z9hG4bK" + branch +
		"\nMax-Forwards: 70\nFrom: <sip:" + user + "@example.com>;tag=r\nTo: <sip:" + user + "@example.com>\nCall-ID: reg-" + user +
		"\nCSeq: 1 REGISTER\n" + more + "Content-Length: 0\n\n"
}

// device is the Contact of a device with an instance.
func device(n int) string {
	return fmt.Sprintf("Supported: path, outbound\nContact: <sip:alice@10.0.0.9:5061;transport=tls>;reg-id=1;+sip.instance=\"<urn:uuid:%d>\"\n", n)
}

// signsIn lets alice sign in on a flow, and returns her Path.
func (b *bench) signsIn(f *Flow, n int) (path string) {
	b.t.Helper()
	b.from(f, register("alice", fmt.Sprintf("in%d.%d", n, f.ID), device(n)))
	m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
	path = string(m.Value(sip.Path))
	b.from(b.homes[0], answer(m, 200, "Require: outbound\n"+strings.Replace(device(n), "reg-id", "expires=600;reg-id", 1)))
	b.expect(f, "SIP/2.0 200 OK")
	if f.user(time.Now()) == nil {
		b.t.Fatalf("alice is not signed in:\n%s", b.log.String())
	}
	return path
}

// fromAlice is a request of alice to somebody.
func fromAlice(method, to, branch string) string {
	return method + " sip:" + to + " SIP/2.0\nVia: SIP/2.0/TLS 10.0.0.9:5061;branch=z9hG4bK" + branch +
		"\nMax-Forwards: 70\nFrom: <sip:alice@example.com>;tag=a\nTo: <sip:" + to + ">\nCall-ID: call-" + branch +
		"\nCSeq: 1 " + method + "\nContact: <sip:alice@10.0.0.9:5061;transport=tls>\nContent-Length: 0\n\n"
}

// toAlice is a request of a home server to alice, by her Path.
func toAlice(method, path, branch string) string {
	return method + " sip:alice@10.0.0.9:5061;transport=tls SIP/2.0\nVia: SIP/2.0/TLS sip1.example.com;branch=z9hG4bK" + branch +
		"\nMax-Forwards: 70\nRoute: " + path + "\nFrom: <sip:bob@fabrikam.example>;tag=b\nTo: <sip:alice@example.com>\nCall-ID: in-" + branch +
		"\nCSeq: 1 " + method + "\nContact: <sip:bob@192.0.2.7>\nContent-Length: 0\n\n"
}

func TestAUserSignsInAndSpeaksAndIsSpokenTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, `[default]
allow = true`)
		f := b.remote()
		b.from(f, register("alice", "1", device(1)))
		m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
		path := string(m.Value(sip.Path))
		if !strings.HasPrefix(path, "<sip:e.") || !strings.HasSuffix(path, "@edge1.example.com:5062;transport=tls;lr;ob>") {
			t.Errorf("Path is %q", path)
		}
		// The challenge goes back untouched, and signs nobody in.
		b.from(b.homes[0], answer(m, 401, "WWW-Authenticate: Digest realm=\"example.com\", nonce=\"1\"\n"))
		if m = b.expect(f, "SIP/2.0 401 Unauthorized"); string(m.Value(sip.WWWAuthenticate)) != `Digest realm="example.com", nonce="1"` {
			t.Errorf("challenge is %q", m.Value(sip.WWWAuthenticate))
		}
		b.from(f, fromAlice("MESSAGE", "bob@example.com", "early"))
		b.expect(f, "SIP/2.0 403 Forbidden")
		path = b.signsIn(f, 1)

		b.from(f, fromAlice("MESSAGE", "bob@example.com", "m1"))
		m = b.expect(b.homes[0], "MESSAGE sip:bob@example.com SIP/2.0")
		b.from(b.homes[0], answer(m, 200, ""))
		b.expect(f, "SIP/2.0 200 OK")

		b.from(b.homes[0], toAlice("MESSAGE", path, "m2"))
		m = b.expect(f, "MESSAGE sip:alice@10.0.0.9:5061;transport=tls SIP/2.0")
		if m.Count(sip.Route) != 0 {
			t.Errorf("our Route stays on: %q", m.Value(sip.Route))
		}
		b.from(f, answer(m, 200, ""))
		b.expect(b.homes[0], "SIP/2.0 200 OK")
	})
}

func TestAnUnknownFlowMayRegisterAndNothingElse(t *testing.T) {
	swap := func(text string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(text) }
	for _, tt := range []struct {
		name, text string
		want       string // "": it goes to the home server
	}{
		{"a REGISTER", register("alice", "1", "Contact: <sip:alice@10.0.0.5>\n"), ""},
		{"one that asks", register("alice", "1", ""), ""},
		{"a contact on loopback is an address of the device", register("alice", "1", "Contact: <sip:alice@127.0.0.1>\n"), ""},
		{"MESSAGE", fromAlice("MESSAGE", "bob@example.com", "1"), "SIP/2.0 403 Forbidden"},
		{"SUBSCRIBE", fromAlice("SUBSCRIBE", "bob@example.com", "1"), "SIP/2.0 403 Forbidden"},
		{"PUBLISH", fromAlice("PUBLISH", "alice@example.com", "1"), "SIP/2.0 403 Forbidden"},
		{"INVITE", fromAlice("INVITE", "bob@example.com", "1"), "SIP/2.0 403 Forbidden"},
		{"SERVICE", fromAlice("SERVICE", "alice@example.com", "1"), "SIP/2.0 403 Forbidden"},
		{"INFO", fromAlice("INFO", "bob@example.com", "1"), "SIP/2.0 403 Forbidden"},
		{"OPTIONS to the edge", fromAlice("OPTIONS", "edge1.example.com", "1"), "SIP/2.0 403 Forbidden"},
		{"an unknown method", fromAlice("FROBNICATE", "bob@example.com", "1"), "SIP/2.0 403 Forbidden"},
		{"a made-up To tag is no proof", swap(fromAlice("MESSAGE", "bob@example.com", "1"), "To: <sip:bob@example.com>", "To: <sip:bob@example.com>;tag=x"), "SIP/2.0 403 Forbidden"},
		{"nor is a Route of ours", swap(fromAlice("MESSAGE", "bob@example.com", "1"), "From:", "Route: <sip:edge1.example.com:443;lr>\nFrom:"), "SIP/2.0 403 Forbidden"},
		{"a REGISTER for a foreign domain", swap(register("alice", "1", ""), "REGISTER sip:example.com", "REGISTER sip:fabrikam.example"), "SIP/2.0 403 Forbidden"},
		{"one to a user", swap(register("alice", "1", ""), "REGISTER sip:example.com", "REGISTER sip:alice@example.com"), "SIP/2.0 403 Forbidden"},
		{"a third party's", swap(register("alice", "1", ""), "From: <sip:alice@", "From: <sip:boss@"), "SIP/2.0 403 Forbidden"},
		{"To of a foreign domain", swap(register("alice", "1", ""), "alice@example.com", "alice@fabrikam.example"), "SIP/2.0 403 Forbidden"},
		{"a Contact that is another user", register("alice", "1", "Contact: <sip:boss@example.com>\n"), "SIP/2.0 403 Forbidden"},
		{"a preloaded Route", swap(register("alice", "1", ""), "From:", "Route: <sip:10.0.0.5:22;lr>\nFrom:"), "SIP/2.0 403 Forbidden"},
		{"all contacts, and not ended", register("alice", "1", "Contact: *\nExpires: 3600\n"), "SIP/2.0 400 Bad Request"},
		{"too many contacts", register("alice", "1", strings.Repeat("Contact: <sip:alice@10.0.0.5>\n", 11)), "SIP/2.0 400 Bad Request"},
		{"two flows at a time", register("alice", "1", strings.Repeat("Contact: <sip:alice@10.0.0.5>;reg-id=1;+sip.instance=\"<urn:uuid:1>\"\n", 2)), "SIP/2.0 400 Bad Request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRemoteBench(t, "[default]\nallow = true")
				f := b.remote()
				b.from(f, tt.text)
				if tt.want == "" {
					b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
					return
				}
				b.expect(f, tt.want)
				b.expect(b.homes[0])
			})
		})
	}
}

func TestAUserSpeaksAsHimselfOnly(t *testing.T) {
	base := fromAlice("MESSAGE", "bob@example.com", "1")
	for _, tt := range []struct{ name, old, new, want string }{
		{"as himself", "", "", ""},
		{"in another spelling", "From: <sip:alice@example.com>", "From: <sip:%41lice@EXAMPLE.com>", ""},
		{"as another", "From: <sip:alice@", "From: <sip:boss@", "403"},
		{"as one of a partner", "From: <sip:alice@example.com>", "From: <sip:alice@fabrikam.example>", "403"},
		{"anonymously", "From: <sip:alice@example.com>", "From: \"Anonymous\" <sip:anonymous@anonymous.invalid>", "403"},
		{"preferring himself", "Call-ID:", "P-Preferred-Identity: \"Alice\" <sip:alice@example.com>\nCall-ID:", ""},
		{"preferring another", "Call-ID:", "P-Preferred-Identity: <sip:boss@example.com>\nCall-ID:", "403"},
		{"preferring a number", "Call-ID:", "P-Preferred-Identity: <tel:+15550100>\nCall-ID:", "403"},
		{"referred by another", "Call-ID:", "Referred-By: <sip:boss@example.com>\nCall-ID:", "403"},
		{"referred by another, in short", "Call-ID:", "b: <sip:boss@example.com>\nCall-ID:", "403"},
		{"a Contact of another", "Contact: <sip:alice@10.0.0.9:5061;transport=tls>", "Contact: <sip:boss@example.com>", "403"},
		{"a public GRUU of his own", "Contact: <sip:alice@10.0.0.9:5061;transport=tls>", "Contact: <sip:alice@example.com;gr=urn:uuid:1>", ""},
		{"a temporary GRUU of his own", "Contact: <sip:alice@10.0.0.9:5061;transport=tls>", "Contact: <sip:tgruu.7@example.com;gr>", ""},
		{"one that nobody gave him", "Contact: <sip:alice@10.0.0.9:5061;transport=tls>", "Contact: <sip:tgruu.8@example.com;gr>", "403"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRemoteBench(t, "[default]\nallow = true")
				f := b.remote()
				b.from(f, register("alice", "1", device(1)))
				m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
				b.from(b.homes[0], answer(m, 200, "Contact: <sip:alice@10.0.0.9:5061;transport=tls>;expires=60;reg-id=1;+sip.instance=\"<urn:uuid:1>\""+
					";pub-gruu=\"sip:alice@example.com;gr=urn:uuid:1\";temp-gruu=\"sip:tgruu.7@example.com;gr\"\n"))
				b.expect(f, "SIP/2.0 200 OK")
				b.from(f, strings.Replace(base, tt.old, tt.new, 1))
				if tt.want == "" {
					b.expect(b.homes[0], "MESSAGE sip:bob@example.com SIP/2.0")
					return
				}
				b.expect(f, "SIP/2.0 403 Forbidden")
				b.expect(b.homes[0])
			})
		})
	}
}

func TestARegistrationEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(b *bench, f *Flow)
	}{
		{"by its time", func(b *bench, f *Flow) { time.Sleep(600 * time.Second) }},
		{"by the user", func(b *bench, f *Flow) {
			out := strings.Replace(device(1), "reg-id", "expires=0;reg-id", 1)
			b.from(f, register("alice", "out", out))
			m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
			b.from(b.homes[0], answer(m, 200, ""))
			b.expect(f, "SIP/2.0 200 OK")
		}},
		{"by the user, who does not name the device again", func(b *bench, f *Flow) {
			b.from(f, register("alice", "out", "Contact: <sip:alice@10.0.0.9:5061;transport=tls>;expires=0\n"))
			m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
			b.from(b.homes[0], answer(m, 200, ""))
			b.expect(f, "SIP/2.0 200 OK")
		}},
		{"all of them by the user", func(b *bench, f *Flow) {
			b.from(f, register("alice", "out", "Contact: *\nExpires: 0\n"))
			m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
			b.from(b.homes[0], answer(m, 200, ""))
			b.expect(f, "SIP/2.0 200 OK")
		}},
		{"by the registrar", func(b *bench, f *Flow) {
			b.from(f, register("alice", "again", device(1)))
			m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
			b.from(b.homes[0], answer(m, 200, strings.Replace(device(1), "reg-id", "expires=0;reg-id", 1)))
			b.expect(f, "SIP/2.0 200 OK")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRemoteBench(t, "[default]\nallow = true")
				f := b.remote()
				path := b.signsIn(f, 1)
				tt.end(b, f)
				b.from(f, fromAlice("MESSAGE", "bob@example.com", "late"))
				b.expect(f, "SIP/2.0 403 Forbidden")
				b.from(b.homes[0], toAlice("MESSAGE", path, "late"))
				b.expect(b.homes[0], "SIP/2.0 430 Flow Failed")
				b.e.expireSignIns()
				if flows, users := b.e.users.Len(); flows != 0 || users != 0 {
					t.Errorf("%d flows of %d users are left", flows, users)
				}
			})
		})
	}
}

func TestTakingAnotherDeviceBackEndsOnlyThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		f := b.remote()
		b.signsIn(f, 1)
		b.from(f, register("alice", "other", strings.Replace(device(7), "reg-id", "expires=0;reg-id", 1)))
		m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
		b.from(b.homes[0], answer(m, 200, device(1)))
		b.expect(f, "SIP/2.0 200 OK")
		b.from(f, fromAlice("MESSAGE", "bob@example.com", "m"))
		b.expect(b.homes[0], "MESSAGE sip:bob@example.com SIP/2.0")
		if n := strings.Count(b.log.String(), logNoPath); n != 1 {
			t.Errorf("a registrar that does not repeat Path is warned of %d times", n)
		}
	})
}

func TestEachDeviceHasItsFlowAndADialogFollowsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		phone, laptop := b.remote(), b.remote()
		phonePath, laptopPath := b.signsIn(phone, 1), b.signsIn(laptop, 2)
		for _, tt := range []struct {
			path string
			f    *Flow
		}{{phonePath, phone}, {laptopPath, laptop}} {
			b.from(b.homes[0], toAlice("MESSAGE", tt.path, fmt.Sprintf("m%d", tt.f.ID)))
			b.from(tt.f, answer(b.expect(tt.f, "MESSAGE sip:alice@10.0.0.9:5061;transport=tls SIP/2.0"), 200, ""))
			b.expect(b.homes[0], "SIP/2.0 200 OK")
		}
		// A call to the phone, which then comes back from another network.
		b.from(b.homes[0], toAlice("INVITE", phonePath, "call"))
		m := b.expect(phone, "INVITE sip:alice@10.0.0.9:5061;transport=tls SIP/2.0")
		b.from(phone, answer(m, 200, "Contact: <sip:alice@10.0.0.9:5061;transport=tls>\n"))
		ok := b.expect(b.homes[0], "SIP/2.0 200 OK")
		moved := b.remote()
		b.signsIn(moved, 1)
		if !phone.closed() {
			t.Error("the old flow of the phone stays open")
		}
		routes := ""
		uris := recordRoutes(ok, nil)
		for i := len(uris) - 1; i >= 0; i-- {
			routes += "Route: <" + string(uris[i]) + ">\n"
		}
		bye := strings.NewReplacer("Route: "+phonePath+"\n", routes, "To: <sip:alice@example.com>", "To: <sip:alice@example.com>;tag=b",
			"CSeq: 1", "CSeq: 2").Replace(toAlice("BYE", phonePath, "bye"))
		b.from(b.homes[0], strings.Replace(bye, "Call-ID: in-bye", "Call-ID: in-call", 1))
		b.expect(moved, "BYE sip:alice@10.0.0.9:5061;transport=tls SIP/2.0")
		b.expect(laptop)
		// What begins anew follows the Path, and the flow that it names is gone.
		b.from(b.homes[0], toAlice("MESSAGE", phonePath, "gone"))
		b.expect(b.homes[0], "SIP/2.0 430 Flow Failed")
	})
}

func TestASecureRegistrationHasASecurePath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		f := b.remote()
		secure := strings.NewReplacer("REGISTER sip:", "REGISTER sips:", "INVITE sip:", "INVITE sips:", "<sip:alice@", "<sips:alice@", ";transport=tls", "")
		b.from(f, secure.Replace(register("alice", "1", device(1))))
		m := b.expect(b.homes[0], "REGISTER sips:example.com SIP/2.0")
		path := string(m.Value(sip.Path))
		if !strings.HasPrefix(path, "<sips:e.") || !strings.HasSuffix(path, "@edge1.example.com:5062;lr;ob>") {
			t.Errorf("Path is %q", path)
		}
		b.from(b.homes[0], answer(m, 200, secure.Replace(device(1))))
		b.expect(f, "SIP/2.0 200 OK")
		b.from(b.homes[0], secure.Replace(toAlice("INVITE", path, "2")))
		m = b.expect(f, "INVITE sips:alice@10.0.0.9:5061 SIP/2.0")
		for _, uri := range recordRoutes(m, nil) {
			if !strings.HasPrefix(string(uri), "sips:") {
				t.Errorf("Record-Route is %q", uri)
			}
		}
	})
}

func TestWithinADialogAUserHasTheNameThatHeWasCalledBy(t *testing.T) {
	for _, tt := range []struct{ name, from, callID, want string }{
		{"his own", "<sip:alice@example.com>", "in-call", ""}, // RFC 4916 §4.4.1
		{"what he was called", "<sip:sales@example.com>", "in-call", ""},
		{"another", "<sip:boss@example.com>", "in-call", "403"},
		{"in another dialog", "<sip:sales@example.com>", "in-other", "403"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRemoteBench(t, "[default]\nallow = true")
				f := b.remote()
				path := b.signsIn(f, 1)
				b.from(b.homes[0], strings.Replace(toAlice("INVITE", path, "call"), "To: <sip:alice@", "To: <sip:sales@", 1))
				m := b.expect(f, "INVITE sip:alice@10.0.0.9:5061;transport=tls SIP/2.0")
				routes := ""
				for _, uri := range recordRoutes(m, nil) {
					routes += "Route: <" + string(uri) + ">\n"
				}
				b.from(f, answer(m, 200, "Contact: <sip:alice@10.0.0.9:5061;transport=tls>\n"))
				b.expect(b.homes[0], "SIP/2.0 200 OK")
				bye := strings.NewReplacer("BYE sip:bob@fabrikam.example", "BYE sip:bob@192.0.2.7", "From: <sip:alice@example.com>", routes+"From: "+tt.from,
					"To: <sip:bob@fabrikam.example>", "To: <sip:bob@fabrikam.example>;tag=b", "call-bye", tt.callID)
				b.from(f, bye.Replace(fromAlice("BYE", "bob@fabrikam.example", "bye")))
				if tt.want != "" {
					b.expect(f, "SIP/2.0 403 Forbidden")
					return
				}
				b.expect(b.homes[0], "BYE sip:bob@192.0.2.7 SIP/2.0")
			})
		})
	}
}

func TestAPathIsForHomeServersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		f, g := b.remote(), b.remote()
		path := b.signsIn(f, 1)
		b.from(g, toAlice("MESSAGE", path, "1"))
		b.expect(g, "SIP/2.0 403 Forbidden")
		b.from(b.partner, toAlice("MESSAGE", path, "2"))
		b.expect(b.partner, "SIP/2.0 403 Forbidden")
		b.from(f, strings.Replace(fromAlice("MESSAGE", "bob@example.com", "3"), "From:", "Route: "+path+"\nFrom:", 1))
		b.expect(f, "SIP/2.0 403 Forbidden")
		b.expect(b.homes[0])
	})
}

func TestTermsSayWhatAUserMay(t *testing.T) {
	for _, tt := range []struct {
		name, rules, text string
		want              string
	}{
		{"nobody without a file", "", register("alice", "1", "Authorization: Digest username=\"alice\"\n"), "SIP/2.0 403 Forbidden"},
		{"who may not sign in, is challenged as others are", "", register("alice", "1", ""), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRemoteBench(t, tt.rules)
				f := b.remote()
				b.from(f, tt.text)
				if tt.want != "" {
					b.expect(f, tt.want)
					return
				}
				m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
				if m.Count(sip.Contact)+m.Count(sip.Path) != 0 {
					t.Errorf("it could be registered:\n%s", m.Raw())
				}
				// A home server that does not ask for a password signs nobody in either.
				b.from(b.homes[0], answer(m, 200, ""))
				b.expect(f, "SIP/2.0 403 Forbidden")
			})
		})
	}
}

func TestACallThatAUserMayNotMakeIsNotAcceptable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		f := b.remote()
		path := b.signsIn(f, 1)
		s, inner := *f.state.signed.Load(), *f.state.signed.Load().SignIn
		inner.Terms.Kinds = allowlists.KindIM
		s.SignIn = &inner
		f.state.signed.Store(&s)
		// So that clients offer less: a chat instead of a call. Others are just refused.
		b.from(f, fromAlice("INVITE", "bob@example.com", "1"))
		b.expect(f, "SIP/2.0 488 Not Acceptable Here")
		b.from(b.homes[0], toAlice("INVITE", path, "2"))
		b.expect(b.homes[0], "SIP/2.0 488 Not Acceptable Here")
		b.from(f, fromAlice("SUBSCRIBE", "bob@example.com", "3"))
		b.expect(f, "SIP/2.0 403 Forbidden")
	})
}

func TestANumberIsNoOtherCompany(t *testing.T) {
	for _, tt := range []struct {
		name, uri string
		want      string // "": it goes to the home server
	}{
		{"a telephone number", "tel:+15550100", ""},
		{"a number in a domain of ours", "sip:+15550100@example.com;user=phone", ""},
		{"one in a partner's", "sip:+15550100@fabrikam.example;user=phone", "SIP/2.0 403 Forbidden"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRemoteBench(t, "[default]\nallow = true")
				f := b.remote()
				b.signsIn(f, 1)
				s, inner := *f.state.signed.Load(), *f.state.signed.Load().SignIn
				inner.Terms.Federation = false
				s.SignIn = &inner
				f.state.signed.Store(&s)
				b.from(f, strings.ReplaceAll(fromAlice("INVITE", "bob@example.com", "1"), "sip:bob@example.com", tt.uri))
				if tt.want != "" {
					b.expect(f, tt.want)
					return
				}
				b.expect(b.homes[0], "INVITE "+tt.uri+" SIP/2.0")
			})
		})
	}
}

func TestWhatAUserSendsToAPartnerCrossesTheEdgeTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		b.outward()
		f := b.remote()
		b.signsIn(f, 1)
		b.from(f, fromAlice("INVITE", "bob@fabrikam.example", "1"))
		m := b.expect(b.homes[0], "INVITE sip:bob@fabrikam.example SIP/2.0")
		// The home server sends it on as it came.
		b.from(b.homes[0], forwarded(m))
		m = b.expect(b.partner, "INVITE sip:bob@fabrikam.example SIP/2.0")
		if n := len(recordRoutes(m, nil)); n != 4 {
			t.Errorf("%d Record-Routes, want two for each time", n)
		}
		// It loops when it comes the same way again.
		b.from(b.homes[0], forwarded(m))
		b.expect(b.homes[0], "SIP/2.0 482 Loop Detected")
	})
}

// forwarded is a request as a home server without a route of its own sends it on.
func forwarded(m *sip.Message) string {
	e := sip.Edit{PushVia: []byte("SIP/2.0/TLS sip1.example.com;branch=z9hG4bKhome"), MaxForwards: 60}
	return strings.ReplaceAll(string(m.Append(nil, &e)), "\r\n", "\n")
}

func TestServiceRouteIsTheOnlyRouteThatAUserMayBring(t *testing.T) {
	route := func(uri string) string {
		return strings.Replace(fromAlice("MESSAGE", "bob@example.com", "1"), "From:", "Route: <sip:127.0.0.1:443;lr>\nRoute: "+uri+"\nFrom:", 1)
	}
	for _, tt := range []struct{ name, uri, want string }{
		{"the one that the registrar gave", "<sip:sip1.example.com:5061;lr>", ""},
		{"another port", "<sip:sip1.example.com:22;lr>", "403"},
		{"another host", "<sip:10.0.0.5:5061;lr>", "403"},
		{"one more", "<sip:sip1.example.com:5061;lr>, <sip:10.0.0.5;lr>", "403"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRemoteBench(t, "[default]\nallow = true")
				f := b.remote()
				f.Local = netip.MustParseAddrPort("127.0.0.1:443")
				b.from(f, register("alice", "1", device(1)))
				m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
				b.from(b.homes[0], answer(m, 200, device(1)+"Service-Route: <sip:sip1.example.com:5061;lr>\n"))
				b.expect(f, "SIP/2.0 200 OK")
				b.from(f, route(tt.uri))
				if tt.want != "" {
					b.expect(f, "SIP/2.0 403 Forbidden")
					return
				}
				m = b.expect(b.homes[0], "MESSAGE sip:bob@example.com SIP/2.0")
				if got := string(m.Value(sip.Route)); got != tt.uri {
					t.Errorf("Route is %q", got)
				}
			})
		})
	}
}

func TestOneMoreDeviceThanAllowedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		guard, err := remoteaccess.OpenGuard(remoteaccess.GuardConfig{}, nil, nil, b.e.log, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		b.e.remote.Guard = guard
		for n := range 8 {
			b.signsIn(b.remote(), n)
		}
		f := b.remote()
		with := device(9) + "Authorization: Digest username=\"alice\", realm=\"example.com\", nonce=\"1\", uri=\"sip:example.com\", response=\"0\"\n"
		b.from(f, register("alice", "nine", with))
		b.expect(f, "SIP/2.0 403 Forbidden")
		for n := range 9 { // each time from a new connection: clients go on asking
			g := b.remote()
			b.from(g, strings.ReplaceAll(register("alice", fmt.Sprint("again", n), with), "CSeq: 1", fmt.Sprint("CSeq: ", n+2)))
			b.expect(g, "SIP/2.0 403 Forbidden")
		}
		if bans := guard.List(); len(bans) != 0 {
			t.Errorf("banned for asking again: %+v", bans)
		}
		b.signsIn(b.remote(), 3) // a device that is among them comes back
		// Two that ask at the same moment, and both get their yes.
		b.e.endSignIn(b.e.wire.flow(b.e.users.Of("alice@example.com")[0].Flow), nil)
		g := b.remote()
		b.from(f, register("alice", "ten", device(10)))
		one := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
		b.from(g, register("alice", "eleven", device(11)))
		two := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
		b.from(b.homes[0], answer(one, 200, device(10)))
		b.expect(f, "SIP/2.0 200 OK")
		b.from(b.homes[0], answer(two, 200, device(11)))
		b.expect(g, "SIP/2.0 403 Forbidden")
		if n := len(b.e.users.Of("alice@example.com")); n != 8 {
			t.Errorf("%d devices", n)
		}
	})
}

func TestAFlowIsNeverTwoUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		f := b.remote()
		b.from(f, register("alice", "1", device(1)))
		one := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
		b.from(f, register("carol", "2", "Contact: <sip:carol@10.0.0.9>\n"))
		two := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
		b.from(b.homes[0], answer(one, 200, device(1)))
		b.expect(f, "SIP/2.0 200 OK")
		b.from(f, register("carol", "3", "Contact: <sip:carol@10.0.0.9>\n"))
		b.expect(f, "SIP/2.0 403 Forbidden")
		b.from(b.homes[0], answer(two, 200, ""))
		if s := f.state.signed.Load(); s != nil && s.User != "alice@example.com" {
			t.Errorf("the flow is %s now", s.User)
		}
		if !f.closed() {
			t.Error("the flow stays open")
		}
	})
}

func TestMarksSayWhoIsOutside(t *testing.T) {
	for _, tt := range []struct {
		name            string
		msft            bool
		header          string
		inward, outward string // lines
	}{
		{"a plain pool", false, "", "", ""},
		{"a pool that wants a header", false, "X-Outside", "X-Outside: yes", ""},
		{"a pool that speaks the dialect", true, "", "ms-edge-proxy-message-trust: ms-source-type=InternetUser;ms-ep-fqdn=edge1.example.com;ms-source-verified-user=verified", "ms-user-logon-data: RemoteUser"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRemoteBench(t, "[default]\nallow = true")
				p := b.e.pools[0]
				p.msft, p.remoteHeader = tt.msft, tt.header
				if tt.header != "" {
					b.e.marks, b.e.dropMarks = []string{tt.header}, b.e.isMark
				}
				f := b.remote()
				b.signsIn(f, 1)
				lie := "x-outside: no\nms-edge-proxy-message-trust: ms-source-type=AuthorizedServer\nms-user-logon-data: LocalUser\nP-Asserted-Identity: <sip:boss@example.com>\n"
				b.from(f, strings.Replace(fromAlice("MESSAGE", "bob@example.com", "1"), "Call-ID:", lie+"Call-ID:", 1))
				m := b.expect(b.homes[0], "MESSAGE sip:bob@example.com SIP/2.0")
				text := string(m.Raw())
				if tt.inward != "" && !strings.Contains(text, "\r\n"+tt.inward+"\r\n") {
					t.Errorf("it is not told %q:\n%s", tt.inward, text)
				}
				if tt.header != "" && strings.Contains(text, "x-outside: no") || strings.Contains(text, "AuthorizedServer") || strings.Contains(text, "LocalUser") || strings.Contains(text, "boss") {
					t.Errorf("a lie went through:\n%s", text)
				}
				b.from(b.homes[0], answer(m, 200, ""))
				text = string(b.expect(f, "SIP/2.0 200 OK").Raw())
				if tt.outward != "" && !strings.Contains(text, tt.outward) || strings.Contains(text, "ms-user-logon-data") != tt.msft {
					t.Errorf("the client is not told %q:\n%s", tt.outward, text)
				}
			})
		})
	}
}

func TestAClientLearnsHowOftenToShowThatItLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		for _, tt := range []struct {
			more, want string
			silence    time.Duration // until the flow is given up; 0: no sooner than any other
		}{
			{"Require: outbound\n", "180", 235 * time.Second},
			{"Require: outbound\nFlow-Timer: 60\n", "60", 85 * time.Second},
			{"Require: outbound\nFlow-Timer: 600\n", "600", 760 * time.Second},
			{"", "", 0},
		} {
			f := b.remote()
			b.from(f, register("alice", "1", device(1)))
			m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
			b.from(b.homes[0], answer(m, 200, tt.more+device(1)))
			m = b.expect(f, "SIP/2.0 200 OK")
			if got := string(m.Value(sip.FlowTimer)); got != tt.want || m.Count(sip.FlowTimer) > 1 {
				t.Errorf("Flow-Timer is %q, want %q", got, tt.want)
			}
			if got := time.Duration(f.clocks.silence.Load()) * f.w.timeouts.tick(); got != tt.silence {
				t.Errorf("with Flow-Timer %q it may be silent for %v, want %v", tt.want, got, tt.silence)
			}
		}
	})
}

func TestABrowserNeedNotShowThatItLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		f := b.remote()
		f.ws = new(frames)
		f.limitSilence(f.maySilence(&signIn{SignIn: &remoteaccess.SignIn{Outbound: true}, timer: time.Second}))
		if got := f.clocks.silence.Load(); got != 0 {
			t.Errorf("it may be silent for %d ticks, want no bound: it is pinged", got)
		}
	})
}

func TestAPoolGetsNoMoreRegistersThanItWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		b.e.pools[0].registerRate = 10
		for i := range 150 {
			b.from(b.remote(), register(fmt.Sprint("u", i), fmt.Sprint(i), fmt.Sprintf("Contact: <sip:u%d@10.0.0.9>\n", i)))
		}
		count := func() int { lines, _ := b.sent(b.homes[0]); return len(lines) }
		if n := count(); n > 2 {
			t.Errorf("%d at once", n)
		}
		passed := 0
		for range 10 {
			time.Sleep(time.Second)
			n := count()
			if n < 8 || n > 12 {
				t.Errorf("%d in a second, want about 10", n)
			}
			passed += n
		}
		if passed < 90 || passed > 105 {
			t.Errorf("%d in ten seconds", passed)
		}
		busy := 0
		b.e.wire.each(func(f *Flow) bool {
			if f.Role == RoleRemote {
				if lines, m := b.sent(f); len(lines) > 0 && m.Status() == 503 && m.Count(sip.RetryAfter) == 1 {
					busy++
				}
			}
			return true
		})
		if busy < 40 || busy > 60 {
			t.Errorf("%d were asked to come later", busy)
		}
	})
}

func accessOf(t testing.TB, rules string) *remoteaccess.Access {
	t.Helper()
	file := remoteaccess.File{File: "remote.toml"}
	yes := true
	if rules != "" {
		file.Default.Allow = &yes
	}
	a, errs := remoteaccess.Compile(file, []string{"example.com"}, remoteaccess.With{})
	if errs != nil {
		t.Fatal(errs)
	}
	return a
}

func TestOneSourceHoldsNoMoreUnsignedFlowsThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		share := new(account)
		open := func() *Flow {
			f := b.flow(RoleRemote)
			f.state.side, f.state.account = newSide("edge1.example.com:443", "tls", "TLS"), share
			b.e.openedRemote(f)
			return f
		}
		first := open()
		b.signsIn(first, 1) // who has signed in does not count
		for range unsignedFlows {
			if f := open(); f.closed() {
				t.Fatal("closed too early")
			}
		}
		if f := open(); !f.closed() {
			t.Errorf("%d connections on which nobody has signed in", share.unsigned.Load())
		}
		b.e.endSignIn(first, nil)
		if n := share.unsigned.Load(); n != unsignedFlows+2 {
			t.Errorf("%d are counted, want %d", n, unsignedFlows+2)
		}
		b.e.wire.each(func(f *Flow) bool {
			if f.Role == RoleRemote {
				b.e.goneRemote(f)
			}
			return true
		})
		if n := share.unsigned.Load() + b.e.wire.unsigned.Load(); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

func TestUnfinishedMessagesOfStrangersAreBounded(t *testing.T) {
	l := newLab(t, wireSettings{}, newStub())
	li := l.also(listenerSettings{name: "remote", role: RoleRemote})
	// What they hold is counted where they wait; here somebody else holds nearly all.
	l.w.unfinished.Store(unsignedHeld - 1)
	c := l.raw(li)
	if _, err := c.Write([]byte("REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TCP x;branch=z9hG4bK1\r\n")); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the connection stays: %v", err)
	}
	l.end() // it has given back what it held
	if n := l.w.unfinished.Load(); n != unsignedHeld-1 {
		t.Errorf("%d octets are counted as unfinished after it, want %d", n, unsignedHeld-1)
	}
	l.w.unfinished.Store(0)
	c = l.raw(li)
	long := "REGISTER sip:example.com SIP/2.0\r\nX: " + strings.Repeat("x", unsignedHeader) + "\r\n"
	if _, err := c.Write([]byte(long)); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadAll(c); os.IsTimeout(err) {
		t.Errorf("a header block over the limit of strangers is waited for: %v", err)
	}
}

// Whoever is signed in is kept under the name that lists, decisions and bans have, and
// administrators ask for.
func TestWhoIsSignedInHasTheNameThatPeopleWrite(t *testing.T) {
	names := []string{"Alice", "*97", "+1-555-0100", "a;b", "alice%20smith%20", "j%c3%bcrgen", "a%C2%A0", strings.Repeat("%20", 80)}
	for c := range 256 {
		names = append(names, fmt.Sprintf("%%%02x", c), fmt.Sprintf("a%%%02xb", c))
	}
	for _, name := range names {
		uri, err := sip.ParseURI([]byte("sip:" + name + "@Example.com"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		written, err := remoteaccess.NormalUser(strings.ReplaceAll(name, "*", "%2A") + "@example.com")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if aor, ok := appendAOR(nil, &uri); !ok || string(aor) != written {
			t.Errorf("%s is signed in as %s, and written %s", name, aor, written)
		}
		if again, err := remoteaccess.NormalUser(written); again != written {
			t.Errorf("%s is written %s, and that %s, %v", name, written, again, err)
		}
	}
	uri, _ := sip.ParseURI([]byte("sip:" + strings.Repeat("%20", 81) + "@example.com"))
	if aor, ok := appendAOR(nil, &uri); ok {
		t.Errorf("a name too long for a token is %s", aor)
	}
}
