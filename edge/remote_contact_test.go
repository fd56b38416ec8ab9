package edge

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

func TestOfParametersWithOneNameTheFirstCounts(t *testing.T) {
	p := readContactParams([]byte(`Expires=60;expires=90;REG-ID=2;reg-id=1;+SIP.Instance="<urn:uuid:A;1>";+sip.instance="b";temp-gruu="sip:x@example.com;gr";temp-gruu="c"`))
	if string(p.expires) != "60" || string(p.regID) != "2" || string(p.instance) != `"<urn:uuid:A;1>"` || string(p.gruu) != `"sip:x@example.com;gr"` {
		t.Errorf("read %+v", p)
	}
	if got := p.lifetime(time.Hour); got != time.Minute {
		t.Errorf("it holds for %v", got)
	}
	if p := readContactParams([]byte("expires;temp-gruu;reg-id;\u212aeg-id=1")); p.lifetime(time.Hour) != time.Hour || !p.limited || !p.numbered || p.gruu == nil || p.tracked {
		t.Errorf("without values: %+v", p)
	}
	if p := readContactParams(nil); p.limited || p.numbered || p.tracked || p.gruu != nil || p.lifetime(time.Hour) != time.Hour {
		t.Errorf("of nothing: %+v", p)
	}
}

func TestWhatOnlyLooksSafeIsMadeSafe(t *testing.T) {
	for _, text := range []string{"", "a phone 1.0", `a\b`, `a\\b`, `"c"`, "\x1b[31m"} {
		safe := clean(text)
		if got := kept(safe, []byte(text)); got != safe {
			t.Errorf("%q is kept as %q, want %q", text, got, safe)
		}
		if got, want := kept(safe, []byte(safe)), clean(safe); got != want {
			t.Errorf("%q is kept as %q, want %q", safe, got, want)
		}
	}
}

// What is kept of the last REGISTER of a flow must not be taken for what another says.
func TestAnotherDeviceOnTheSameFlowHasAPathOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true\ndevices = 5")
		f := b.remote()
		// What the device is, and what it is called.
		said := []struct{ contact, device string }{
			{device(1), "instance urn:uuid:1 1"},
			{device(1), "instance urn:uuid:1 1"},
			{device(2), "instance urn:uuid:2 1"},
			{strings.Replace(device(2), "reg-id=1", "reg-id=2", 1), "instance urn:uuid:2 2"},
			{strings.Replace(device(2), "urn:uuid:2", "URN:UUID:2", 1), "instance urn:uuid:2 1"},
			{strings.Replace(device(2), "reg-id=1;", "", 1), "instance urn:uuid:2"},
			{"Contact: <sip:alice@10.0.0.9>\n", "contact sip:alice@10.0.0.9"},
			{"Contact: <sip:alice@10.0.0.9;x=%22>\n", "contact sip:alice@10.0.0.9;x=%22"},
			{device(1), "instance urn:uuid:1 1"},
		}
		paths := make(map[string]string) // by device
		for i, tt := range said {
			b.from(f, register("alice", "p"+string(rune('a'+i)), tt.contact+"User-Agent: a\\b \"c\"\n"))
			m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
			path := string(m.Value(sip.Path))
			b.from(b.homes[0], answer(m, 200, "Require: outbound\nExpires: 600\n"+tt.contact))
			b.expect(f, "SIP/2.0 200 OK")
			s := f.user(time.Now())
			if s == nil || s.Device != tt.device {
				t.Fatalf("%q is signed in as %+v, want %q", tt.contact, s, tt.device)
			}
			if want := `a\\b \"c\"`; s.Agent != want {
				t.Errorf("it calls itself %s, want %s", s.Agent, want)
			}
			for device, other := range paths {
				if (device == tt.device) != (other == path) {
					t.Errorf("the Path of %q is %q, that of %q is %q", tt.device, path, device, other)
				}
			}
			paths[tt.device] = path
			user := strings.TrimPrefix(path[:strings.IndexByte(path, '@')], "<sip:")
			k, _, err := b.e.tokens.open([]byte(user))
			if err != nil || k.flow != f.ID || string(k.party) != "alice@example.com" || k.device != b.e.tokens.digest(0, k.party, []byte(tt.device)) {
				t.Errorf("the Path of %q says %+v, %v", tt.device, k, err)
			}
		}
	})
}

// Between question and answer remote.toml may have changed: what was kept of it counts
// no longer.
func TestTheTermsOfASignInAreThoseOfNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRemoteBench(t, "[default]\nallow = true")
		yes := true
		seven, errs := remoteaccess.Compile(remoteaccess.File{Default: remoteaccess.Rules{Allow: &yes, Devices: 7}}, []string{"example.com"}, remoteaccess.With{})
		if errs != nil {
			t.Fatal(errs)
		}
		f := b.remote()
		b.from(f, register("alice", "1", device(1)))
		m := b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
		b.e.SetAccess(seven)
		b.from(b.homes[0], answer(m, 200, "Require: outbound\n"+device(1)))
		b.expect(f, "SIP/2.0 200 OK")
		if s := f.user(time.Now()); s == nil || s.Terms.Devices != 7 {
			t.Errorf("signed in as %+v", s)
		}
		f = b.remote()
		b.from(f, register("alice", "2", device(2)))
		m = b.expect(b.homes[0], "REGISTER sip:example.com SIP/2.0")
		b.e.SetAccess(accessOf(t, "")) // nobody
		b.from(b.homes[0], answer(m, 200, "Require: outbound\n"+device(2)))
		b.expect(f, "SIP/2.0 403 Forbidden")
		if s := f.user(time.Now()); s != nil {
			t.Errorf("signed in as %+v", s)
		}
	})
}

func TestRegisteringAgainAllocatesLittle(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	x := newRemoteBench(t, "[default]\nallow = true")
	r := x.registrants(1)[0]
	var turn turn
	m := new(sip.Message)
	n := 0
	if got := testing.AllocsPerRun(200, func() {
		n++
		x.registers(&turn, r, n, m)
	}); got > 12 {
		t.Errorf("%v allocations", got)
	}
}
