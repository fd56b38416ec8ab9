package edge

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sipedge/sipedge/sip"
)

// ntlm is what a client of the Microsoft dialect proves itself with ([MS-SIPAE]).
func ntlm(more string) string {
	return `Authorization: NTLM qop="auth", realm="SIP Communications Service", targetname="sip.example.com", version=4` + more + "\n"
}

// authenticate is the beginning of the message with the proof, which is as much as we
// read of it.
const authenticate = `, opaque="0A17B7FE", gssapi-data="TlRMTVNTUAADAAAAGAAYAFYAAACMAIwAbgAAAAAAAABIAAAACgAKAEgAAAAEAAQAUgAAABAAEAD6AAAAVYKYYgUBKAoAAAAPYQBsAGkAYwBlAFYATQA="`

func TestWhoMayNotSignInLearnsItNoSoonerThanAGuesser(t *testing.T) {
	for _, tt := range []struct {
		name, credentials string
		goesIn            bool
	}{
		{"without credentials", "", true},
		{"an NTLM exchange that begins", ntlm(`, gssapi-data=""`), true},
		{"an NTLM exchange that ends", ntlm(authenticate), false},
		{"digest", `Authorization: Digest username="alice", realm="example.com", nonce="1", uri="sip:example.com", response="00000000000000000000000000000000"` + "\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRemoteBench(t, "")
				f := b.remote()
				b.from(f, register("alice", "1", device(1)+tt.credentials))
				if !tt.goesIn {
					b.expect(f, "SIP/2.0 403 Forbidden")
					return
				}
				m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
				if m.Count(sip.Contact) != 0 {
					t.Errorf("it can bind %q", m.Value(sip.Contact))
				}
				b.from(b.homes[0], answer(m, 401, `WWW-Authenticate: NTLM realm="SIP Communications Service", opaque="0A17B7FE", gssapi-data="TlRMTVNTUAACAAAA"`+"\n"))
				m = b.expect(f, "SIP/2.0 401 Unauthorized")
				if !strings.Contains(string(m.Value(sip.WWWAuthenticate)), "TlRMTVNTUAACAAAA") {
					t.Errorf("challenge is %q", m.Value(sip.WWWAuthenticate))
				}
			})
		})
	}
}

func TestWhoSignsOutAndHangsUpIsNotRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		f := b.remote()
		b.signsIn(f, 1)
		b.from(f, register("alice", "out", "Contact: *\nExpires: 0\n"))
		m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
		f.gate.Store(flowClosed)
		b.e.goneRemote(f)
		b.from(b.homes[0], answer(m, 200, ""))
		if log := b.log.String(); strings.Contains(log, "status=403") || !strings.Contains(log, "user signed out") {
			t.Errorf("the log says:\n%s", log)
		}
	})
}
