package admin

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/remoteaccess"
)

// remoteFile is who may sign in from outside in these tests.
func remoteFile() remoteaccess.File {
	yes, no := true, false
	return remoteaccess.File{
		File: "remote.toml",
		Groups: map[string]remoteaccess.GroupConfig{
			"sales": {Members: []string{"sales-*"}, Rules: remoteaccess.Rules{Allow: &yes, Kinds: []string{"im"}, Line: 2}},
		},
		Users: map[string]remoteaccess.UserConfig{
			"alice@example.com": {Rules: remoteaccess.Rules{Allow: &yes, Line: 5}},
			"mallory":           {Rules: remoteaccess.Rules{Allow: &no, Line: 8}},
			"carol@example.com": {Rules: remoteaccess.Rules{Devices: 2, Line: 11}},
		},
	}
}

// signs makes a user signed in on a flow that there is not.
func (d *desk) signs(user string, flow uint64, remote string) {
	d.Helper()
	s := &remoteaccess.SignIn{
		User: user, Flow: flow, Device: "<urn:uuid:" + flowID(flow) + ">", Agent: "Phone/1", Transport: "tls",
		Remote: netip.MustParseAddrPort(remote), Since: time.Now(), Refreshed: time.Now(), Until: time.Now().Add(time.Hour),
	}
	if _, ok := d.server.Edge.Users().Put(s, 8); !ok {
		d.Fatal("not signed in")
	}
}

func TestADecisionAboutAUserIsInForceWhenItIsAnswered(t *testing.T) {
	d := open(t)
	const bob = "bob@example.com"
	may := func() bool { return d.lists.access.Terms([]byte("bob"), []byte("example.com"), nil).Allow }
	a, err := d.client.DecideAccess(t.Context(), "BOB@example.com", AccessWish{Decision: AccessAllow, Note: "why"})
	if err != nil || a.Previous != nil || a.Decision.User != bob || a.User.State != StateAllowed || !may() {
		t.Fatalf("DecideAccess = %+v, %v", a, err)
	}
	if len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], "no listener for users") {
		t.Errorf("warnings %q", a.Warnings)
	}
	u, err := d.client.User(t.Context(), bob)
	if err != nil || u.State != StateAllowed || u.Overruled || u.Decision.Note != "why" || !strings.HasPrefix(u.Rule.File, "decided by ") {
		t.Errorf("User = %+v, %v", u, err)
	}
	a, err = d.client.DecideAccess(t.Context(), bob, AccessWish{Decision: AccessDeny})
	if err != nil || a.Previous == nil || !a.Previous.Allow || a.User.State != StateDenied || may() {
		t.Errorf("the second DecideAccess = %+v, %v", a, err)
	}
	if a, err = d.client.RevokeAccess(t.Context(), bob); err != nil || a.Previous.Allow || a.Decision != nil || a.User.Rule.Name != "default" {
		t.Errorf("RevokeAccess = %+v, %v", a, err)
	}
	if _, err = d.client.RevokeAccess(t.Context(), bob); code(err) != CodeNotFound {
		t.Errorf("RevokeAccess of nothing: %v", err)
	}
	for _, want := range []string{`msg="user allowed" user=bob@example.com by=`, "note=why", `msg="user denied" user=bob@example.com`, `msg="user forgotten" user=bob@example.com`} {
		if !strings.Contains(d.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, d.log)
		}
	}
}

func TestWhatCannotBeDecidedAboutUsers(t *testing.T) {
	d := open(t)
	for _, tt := range []struct {
		name, user string
		wish       AccessWish
		want       string
	}{
		{"whom the file allows", "alice@example.com", AccessWish{Decision: AccessDeny}, CodeInFile},
		{"whom it denies in any domain", "mallory@example.com", AccessWish{Decision: AccessAllow}, CodeInFile},
		{"a stranger", "bob@fabrikam.example", AccessWish{Decision: AccessAllow}, CodeNotFound},
		{"everybody", "*@example.com", AccessWish{Decision: AccessAllow}, CodeMalformed},
		{"nobody", "example.com", AccessWish{Decision: AccessAllow}, CodeMalformed},
		{"who does not say who he is", "anonymous@example.com", AccessWish{Decision: AccessAllow}, CodeUnsound},
		{"nothing", "bob@example.com", AccessWish{}, CodeMalformed},
		{"a long note", "bob@example.com", AccessWish{Decision: AccessAllow, Note: strings.Repeat("x", maxNote+1)}, CodeMalformed},
	} {
		if _, err := d.client.DecideAccess(t.Context(), tt.user, tt.wish); code(err) != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	if n := len(d.server.Decisions.List()); n != 0 {
		t.Errorf("%d decisions are kept", n)
	}
	// A section that names the user and leaves the question open leaves it to a decision.
	if a, err := d.client.DecideAccess(t.Context(), "carol@example.com", AccessWish{Decision: AccessAllow}); err != nil || a.User.State != StateAllowed {
		t.Errorf("carol: %+v, %v", a, err)
	}
}

func TestWhatIsKeptAboutUsersIsWhatIsInForce(t *testing.T) {
	d := open(t)
	if _, err := d.client.DecideAccess(t.Context(), "bob@example.com", AccessWish{Decision: AccessDeny}); err != nil {
		t.Fatal(err)
	}
	d.lists.fault = errors.New("the disk is on fire")
	for _, user := range []string{"bob@example.com", "dave@example.com"} {
		if _, err := d.client.DecideAccess(t.Context(), user, AccessWish{Decision: AccessAllow}); code(err) != CodeFailed {
			t.Errorf("%s: %v", user, err)
		}
	}
	if _, err := d.client.RevokeAccess(t.Context(), "bob@example.com"); code(err) != CodeFailed {
		t.Errorf("RevokeAccess: %v", err)
	}
	have := d.server.Decisions.List()
	if len(have) != 1 || have[0].User != "bob@example.com" || have[0].Allow {
		t.Errorf("decisions %+v, want the one that is in force", have)
	}
}

func TestAUserIsShownWithAllThatIsSaidOfHim(t *testing.T) {
	d := open(t)
	d.signs("sales-1@example.com", 7, "203.0.113.7:40000")
	d.signs("sales-1@example.com", 8, "[2001:db8::1]:40000")
	for _, key := range []string{"sales-1@example.com", "203.0.113.0/24", "198.51.100.1", "sales-1@example.com from 192.0.2.1", "alice@example.com"} {
		if _, err := d.client.Ban(t.Context(), key, BanWish{}); err != nil {
			t.Fatal(err)
		}
	}
	u, err := d.client.User(t.Context(), "sales-1@example.com")
	if err != nil {
		t.Fatal(err)
	}
	var terms, bans []string
	for _, term := range u.Terms {
		terms = append(terms, term.Key+" "+term.Value+" "+term.Rule.String())
	}
	for _, b := range u.Bans {
		bans = append(bans, b.Key)
	}
	if got, want := strings.Join(terms, "|"), "allow true group sales (remote.toml:2)|kinds im group sales (remote.toml:2)|"+
		"federation true default (remote.toml)|bridges true default (remote.toml)|devices 8 default (remote.toml)"; got != want {
		t.Errorf("terms %s\nwant  %s", got, want)
	}
	if got := strings.Join(bans, "|"); got != "203.0.113.0/24|sales-1@example.com|sales-1@example.com from 192.0.2.1" {
		t.Errorf("bans %s", got)
	}
	if strings.Join(u.Groups, " ") != "sales" || len(u.SignIns) != 2 || u.SignIns[0].Flow != "7" || u.SignIns[0].Software != "Phone/1" ||
		u.SignIns[1].Remote != "[2001:db8::1]:40000" || u.State != StateAllowed {
		t.Errorf("User = %+v", u)
	}
	for user, want := range map[string]string{"bob@fabrikam.example": CodeNotFound, "nobody": CodeMalformed, "a b@example.com": CodeMalformed} {
		if _, err := d.client.User(t.Context(), user); code(err) != want {
			t.Errorf("%s: %v, want %s", user, err, want)
		}
	}
}

func TestTheListHasWhoIsSignedInNamedOrDecidedAbout(t *testing.T) {
	d := open(t)
	d.signs("sales-1@example.com", 7, "203.0.113.7:40000")
	if _, err := d.client.DecideAccess(t.Context(), "bob@example.com", AccessWish{Decision: AccessDeny, Note: "left us"}); err != nil {
		t.Fatal(err)
	}
	if err := d.server.Decisions.Decide(remoteaccess.Decision{User: "alice@example.com", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := d.lists.RefreshRemote(); err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]string{
		"": "alice@example.com allowed 0 conflict|bob@example.com denied 0|carol@example.com denied 0|sales-1@example.com allowed 1|" +
			"user mallory|group sales|default",
		"PHONE":    "sales-1@example.com allowed 1",
		"left":     "bob@example.com denied 0",
		"conflict": "alice@example.com allowed 0 conflict",
		"sales":    "sales-1@example.com allowed 1|group sales",
		"nothing":  "",
	} {
		a, err := d.client.Users(t.Context(), word)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, u := range a.Users {
			text := u.User + " " + u.State + " " + map[int]string{0: "0", 1: "1"}[len(u.SignIns)]
			if u.Overruled {
				text += " conflict"
			}
			got = append(got, text)
		}
		for _, s := range a.Sections {
			got = append(got, s.Rule.Name)
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%q: got\n%s, want\n%s", word, strings.Join(got, "|"), want)
		}
	}
}

func TestWhereTheDirectoryWouldHaveToBeAskedAListSaysSo(t *testing.T) {
	d := open(t)
	yes := true
	d.lists.remote.LDAP = remoteaccess.LDAPConfig{URL: "ldaps://dc.example.com", Base: "dc=example,dc=com"}
	d.lists.remote.Groups["staff"] = remoteaccess.GroupConfig{DN: "cn=staff,dc=example,dc=com", Rules: remoteaccess.Rules{Allow: &yes, Line: 20}}
	if err := d.lists.RefreshRemote(); err != nil {
		t.Fatal(err)
	}
	a, err := d.client.Users(t.Context(), "")
	if err != nil || len(a.Users) != 2 || a.Users[0].State != StateAllowed || a.Users[1].State != StateByGroup {
		t.Errorf("Users = %+v, %v; want alice allowed, and carol by group", a.Users, err)
	}
}

func TestWhoIsNotSignedInIsNotKicked(t *testing.T) {
	d := open(t)
	if _, err := d.client.Kick(t.Context(), "alice@example.com"); code(err) != CodeNotFound {
		t.Errorf("Kick = %v", err)
	}
	d.signs("alice@example.com", 7, "203.0.113.7:40000")
	a, err := d.client.Kick(t.Context(), "alice@example.com")
	if err != nil || len(a.SignedOut) != 1 || !a.MaySignInAgain || !strings.Contains(d.log.String(), `msg="user kicked" user=alice@example.com by=`) {
		t.Errorf("Kick = %+v, %v\n%s", a, err, d.log)
	}
}

func TestFlowsThatAreNotThere(t *testing.T) {
	d := open(t)
	if a, err := d.client.Flows(t.Context(), ""); err != nil || a.Flows == nil || len(a.Flows) != 0 {
		t.Errorf("Flows = %+v, %v", a, err)
	}
	for id, want := range map[string]string{"7": CodeNotFound, "seven": CodeMalformed, "-1": CodeMalformed, "18446744073709551616": CodeMalformed} {
		if _, err := d.client.Flow(t.Context(), id); code(err) != want {
			t.Errorf("Flow(%s): %v, want %s", id, err, want)
		}
		if _, err := d.client.Drop(t.Context(), id); code(err) != want {
			t.Errorf("Drop(%s): %v, want %s", id, err, want)
		}
	}
}

func TestBansAreMadeAndLiftedByHand(t *testing.T) {
	d := open(t)
	d.signs("alice@example.com", 7, "203.0.113.7:40000")
	d.signs("%2A97@example.com", 8, "198.51.100.1:40000")
	until := time.Now().Add(time.Hour)
	for _, tt := range []struct {
		key, kind, as string
		in            int // signed in
	}{
		{"Alice@EXAMPLE.com", remoteaccess.BanUser, "alice@example.com", 1},
		{"%2A97@example.com", remoteaccess.BanUser, "%2a97@example.com", 1},
		{"203.0.113.7", remoteaccess.BanSource, "203.0.113.7", 1},
		{"203.0.113.9/24", remoteaccess.BanSource, "203.0.113.0/24", 1},
		{"2001:db8::1", remoteaccess.BanSource, "2001:db8::/64", 0},
		{"alice@example.com from 203.0.113.7", remoteaccess.BanPair, "alice@example.com from 203.0.113.7", 1},
		{"alice@example.com from 203.0.113.8", remoteaccess.BanPair, "alice@example.com from 203.0.113.8", 0},
		{`EXAMPLE\alice`, remoteaccess.BanUser, `example\alice`, 0},
	} {
		a, err := d.client.Ban(t.Context(), tt.key, BanWish{Until: until, Note: "why"})
		if err != nil || a.Ban.Key != tt.as || a.Ban.Kind != tt.kind || !a.Ban.ByHand || a.Ban.Reason != "why" || !a.Ban.Until.Equal(until) || len(a.SignedIn) != tt.in {
			t.Errorf("Ban(%s) = %+v, %v", tt.key, a, err)
		}
	}
	a, err := d.client.Bans(t.Context(), "alice")
	if err != nil || len(a.Bans) != 4 || a.Guard.Bans != 8 || a.Directory != nil {
		t.Errorf("Bans = %+v, %v", a, err)
	}
	again, err := d.client.Ban(t.Context(), "203.0.113.7", BanWish{})
	if err != nil || again.Previous == nil || !again.Ban.Until.IsZero() {
		t.Errorf("the second Ban = %+v, %v", again, err)
	}
	b, err := d.client.Lift(t.Context(), "203.0.113.200/24")
	if err != nil || b.Key != "203.0.113.0/24" {
		t.Errorf("Lift = %+v, %v", b, err)
	}
	if _, err := d.client.Lift(t.Context(), "203.0.113.0/24"); code(err) != CodeNotFound {
		t.Errorf("Lift of nothing: %v", err)
	}
	for _, want := range []string{`msg="ban added" ban=203.0.113.7 kind=source`, `msg="ban lifted" ban=203.0.113.0/24`, "note=why"} {
		if !strings.Contains(d.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, d.log)
		}
	}
}

func TestWhatCannotBeBanned(t *testing.T) {
	d := open(t)
	for _, tt := range []struct {
		name, key string
		wish      BanWish
	}{
		{"nearly everybody", "0.0.0.0/0", BanWish{}},
		{"less than a source", "2001:db8::1/128", BanWish{}},
		{"a name", "alice", BanWish{}},
		{"a pattern", "*@example.com", BanWish{}},
		{"a user from nowhere", "alice@example.com from somewhere", BanWish{}},
		{"what has ended", "203.0.113.7", BanWish{Until: time.Now().Add(-time.Hour)}},
		{"with a long note", "203.0.113.7", BanWish{Note: strings.Repeat("x", maxNote+1)}},
	} {
		if a, err := d.client.Ban(t.Context(), tt.key, tt.wish); code(err) != CodeMalformed {
			t.Errorf("%s: %+v, %v", tt.name, a, err)
		}
	}
	a, err := d.client.Ban(t.Context(), "bob@fabrikam.example", BanWish{})
	if err != nil || len(a.Warnings) != 1 {
		t.Errorf("a name of another domain: %+v, %v; want a warning", a, err)
	}
}

func TestTheStatusCountsUsersFlowsAndBans(t *testing.T) {
	d := open(t)
	d.signs("alice@example.com", 7, "203.0.113.7:40000")
	d.signs("alice@example.com", 8, "203.0.113.7:40001")
	if _, err := d.client.Ban(t.Context(), "203.0.113.7", BanWish{}); err != nil {
		t.Fatal(err)
	}
	s, err := d.client.Status(t.Context())
	if err != nil || s.Users != 1 || s.Devices != 2 || s.Bans != 1 || s.Flows == nil {
		t.Errorf("Status = %+v, %v", s, err)
	}
}
