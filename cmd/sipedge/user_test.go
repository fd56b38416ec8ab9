package main

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/remoteaccess"
)

const siteRemote = `
[listener.remote]
role        = "remote"
address     = "127.0.0.1:0"
certificate = "edge"
`

// TestUserCodes asks a running edge in the same process.
func TestUserCodes(t *testing.T) {
	s := newSite(t)
	s.write("sipedge.toml", siteConfig+siteRemote)
	s.write("remote.toml", "[user.\"alice@example.com\"]\nallow = true\n")
	ask := func(line string, want int, says string) {
		t.Helper()
		code, out, errs := s.run(line + " -c $DIR/sipedge.toml")
		if code != want || !strings.Contains(out+errs, says) {
			t.Errorf("sipedge %s: exit %d, says %q and %q; want %d and %q", line, code, out, errs, want, says)
		}
	}
	ask("user list", exitUnreachable, "$DIR/state/control.sock")
	ctx, stop := context.WithCancel(t.Context())
	err := serve(ctx, filepath.Join(s.dir, "sipedge.toml"), slog.New(slog.DiscardHandler), nil, io.Discard, func(*edge.Edge) {
		defer stop()
		ask("user allow bob", exitUsage, "not the address of a user")
		ask("user show a@b@c", exitUsage, "not the address of a user")
		ask("flow show x", exitUsage, "not the number of a flow")
		ask("ban add nonsense", exitUsage, "neither an address nor a network")
		ask("ban add nonsense from 203.0.113.7", exitUsage, "not the address of a user")
		ask("ban add alice@example.com from", exitUsage, "from wants an address")
		ask("ban add 203.0.113.7 --for soon", exitUsage, "no time like")
		ask("user list", exitDone, "alice@example.com  allowed  remote.toml:1")
		ask("user list nobody", exitNotFound, "no user's entry")
		ask("user list --json", exitDone, `"users": [`)
		ask("user show sip:Alice@example.com", exitDone, "allowed, not signed in")
		ask("user show --json alice@example.com", exitDone, `"sign_ins": []`)
		ask("user show bob@fabrikam.example", exitNotFound, "no domain of ours")
		ask("user deny alice@example.com", exitConflict, "remote.toml:1")
		ask("user allow bob@example.com", exitDone, "in force now")
		ask("user forget bob@example.com", exitDone, "Now denied, by default")
		ask("user forget bob@example.com", exitNotFound, "no decision")
		ask("user kick bob@example.com", exitNotFound, "not signed in")
		ask("flow list", exitDone, "No connection is open")
		ask("flow list --json", exitDone, `"flows": []`)
		ask("flow drop 1", exitNotFound, "no flow 1")
		ask("ban list", exitDone, "Nobody is banned")
		ask("ban add 203.0.113.0/24 --for 7d", exitDone, "in force now")
		ask("ban list --json", exitDone, `"key": "203.0.113.0/24"`)
		ask("ban list nobody", exitNotFound, "no ban's entry")
		ask("ban lift 203.0.113.9/24", exitDone, "may sign in again")
		ask("ban lift 203.0.113.0/24", exitNotFound, "no ban of")
	})
	if err != nil {
		t.Error(err)
	}
}

func TestCheckSaysWhatIsMissingForUsersOutside(t *testing.T) {
	s := newSite(t)
	check := func(want string) {
		t.Helper()
		if _, _, errs := s.run("check -c $DIR/sipedge.toml"); errs != want {
			t.Errorf("check says %q, want %q", errs, want)
		}
	}
	s.write("remote.toml", "[user.\"alice@example.com\"]\nallow = true\n")
	check("remote.toml: warning: users may sign in, and there is no listener for them: none has role = \"remote\" or \"outside\"\n")
	s.write("sipedge.toml", siteConfig+siteRemote)
	check("")
	s.write("remote.toml", "[default]\nallow = true\n")
	check("remote.toml:1: warning: [default]: allow = true: every user of our domains may sign in from outside, and every name may be tried\n")
}

func TestCheckSaysThatAnAccountHasNoPassword(t *testing.T) {
	s := newSite(t)
	s.write("sipedge.toml", siteConfig+"\n[bridge.xmpp]\naddress = [\"127.0.0.1:0\"]\ncertificate = \"edge\"\n")
	s.write("bridges.toml", "[account.\"alice@example.com\"]\nnetwork = \"xmpp\"\njid = \"alice@jabber.example\"\npassword_file = \"alice.password\"\n")
	want := "bridges.toml:1: warning: account alice@example.com: no file $DIR/alice.password holds its password: the account is left out\n"
	if _, _, errs := s.run("check -c $DIR/sipedge.toml"); !strings.Contains(errs, want) {
		t.Errorf("check says %q, want %q in it", errs, want)
	}
	s.write("alice.password", "secret\n")
	if _, _, errs := s.run("check -c $DIR/sipedge.toml"); strings.Contains(errs, "password") {
		t.Errorf("check says %q of a password that is there", errs)
	}
}

func TestWordsOfOthersAreOneWordForAShell(t *testing.T) {
	for word, want := range map[string]string{
		"alice@example.com": "alice@example.com", "a;reboot@example.com": "'a;reboot@example.com'", "o'neil@example.com": `'o'\''neil@example.com'`,
		"$(reboot)@example.com": "'$(reboot)@example.com'", "a\x1b[2J@example.com": "'a?[2J@example.com'",
	} {
		if got := shellWord(word); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", word, got, want)
		}
	}
	if got := banWords("a;b@example.com from 203.0.113.7"); got != "'a;b@example.com' from 203.0.113.7" {
		t.Errorf("banWords = %s", got)
	}
}

func TestHowLongABanIs(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30m": 30 * time.Minute, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "1h30m": 90 * time.Minute,
		"": 0, "0d": 0, "-1d": 0, "d": 0, "7 days": 0, "99999999999999999999d": 0, "-1h": 0,
	} {
		if got, err := readSpan(text); got != want || (err == nil) != (want > 0) {
			t.Errorf("readSpan(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestABanIsToldByWhatItMeans(t *testing.T) {
	source, err := remoteaccess.ParseSource("203.0.113.7")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		ban  remoteaccess.Ban
		want string
	}{
		{remoteaccess.Ban{Kind: remoteaccess.BanPair, Source: source, Key: "a@example.com from 203.0.113.7", Reason: "why"}, "may not sign in from 203.0.113.7, for ever (why)"},
		{remoteaccess.Ban{Kind: remoteaccess.BanPair, Source: source, SignedIn: true, Key: "a@example.com signed in from 203.0.113.7"}, "may not show the password again from 203.0.113.7, for ever"},
		{remoteaccess.Ban{Kind: remoteaccess.BanUser, Key: "a@example.com"}, "may not sign in from where they have not before, for ever"},
		{remoteaccess.Ban{Kind: remoteaccess.BanUser, Key: "a@example.com", ByHand: true}, "may not sign in, for ever"},
		{remoteaccess.Ban{Kind: remoteaccess.BanSource, Source: source, Key: "203.0.113.7", Until: time.Unix(0, 0)}, "may not sign in from 203.0.113.7 unless they have before, until 1970-01-01 00:00 UTC"},
		{remoteaccess.Ban{Kind: remoteaccess.BanSource, Source: source, Key: "203.0.113.7", ByHand: true}, "may not sign in from 203.0.113.7, for ever"},
	} {
		if got := banEffect(tt.ban); got != tt.want {
			t.Errorf("banEffect = %q, want %q", got, tt.want)
		}
	}
}
