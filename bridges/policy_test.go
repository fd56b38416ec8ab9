package bridges_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
)

// lists are the rules of a section.
func lists(in, out []string) bridges.Rules { return bridges.Rules{Inbound: in, Outbound: out} }

var (
	xmpp = []string{"xmpp"}
	none = []string{}
)

func compile(t *testing.T, f bridges.File, with bridges.With) *bridges.Policy {
	t.Helper()
	p, errs := bridges.Compile(f, []string{"example.com", "Bücher.example"}, with)
	if errs != nil {
		t.Fatal(errs)
	}
	return p
}

func user(line int, r bridges.Rules) bridges.UserConfig {
	r.Line = line
	return bridges.UserConfig{Rules: r}
}

// decided is a decision to let or keep one of both ways.
func decided(name string, in, out *bool) bridges.Decision {
	return bridges.Decision{User: name, Network: "xmpp", Inbound: in, Outbound: out, At: time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC), By: "root"}
}

func TestWhoMayUseANetwork(t *testing.T) {
	yes, no := true, false
	f := bridges.File{
		Default: lists(nil, xmpp),
		Users: map[string]bridges.UserConfig{
			"alice@example.com":   user(1, lists(xmpp, xmpp)),
			"bob":                 user(2, lists(none, nil)),
			"sales-*@example.com": user(3, lists(xmpp, none)),
			"sales-n*":            user(4, lists(none, nil)),
			"carol@example.com":   user(5, lists(nil, none)),
			"*@bücher.example":    user(6, lists(xmpp, nil)),
			"a;x@example.com":     user(7, lists(xmpp, nil)),
		},
	}
	with := bridges.With{Decisions: []bridges.Decision{
		decided("dave@example.com", &yes, nil), decided("sales-1@example.com", nil, &yes), decided("erin@example.com", &no, &no), decided("alice@example.com", &no, nil),
	}}
	p := compile(t, f, with)
	for _, tt := range []struct {
		name, user string
		in, out    bool
		rule       string // of the way in
	}{
		{"named by its address", "alice@example.com", true, true, "user alice@example.com"},
		{"upper and lower case are equal", "ALICE@Example.COM", true, true, "user alice@example.com"},
		{"a decision about who is named counts for nothing", "alice@example.com", true, true, "user alice@example.com"},
		{"named in any domain; what the section leaves out, the default says", "bob@example.com", false, true, "user bob"},
		{"taken by a pattern", "sales-2@example.com", true, false, "user sales-*@example.com"},
		{"by that which names more", "sales-north@example.com", false, false, "user sales-n*"},
		{"a decision goes before a pattern, key by key", "sales-1@example.com", true, true, "user sales-*@example.com"},
		{"and before the default", "dave@example.com", true, true, "user dave@example.com"},
		{"also where it denies", "erin@example.com", false, false, "user erin@example.com"},
		{"nobody said anything: the default", "frank@example.com", false, true, "default"},
		{"the section says nothing of this way", "carol@example.com", false, false, "default"},
		{"whoever may be somebody else is nobody", "frank;x@example.com", false, false, "a user with parameters, escapes or letters beyond ASCII that no section names"},
		{"unless a section names all of it", "a;x@example.com", true, false, "user a;x@example.com"},
		{"a domain beyond ASCII", "grete@bücher.example", true, true, "user *@xn--bcher-kva.example"},
		{"another domain is not ours", "alice@fabrikam.example", false, false, "not a domain of ours"},
		{"without a user nobody", "@example.com", false, false, "no user"},
		{"nor without an address", "alice", false, false, "no user"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, out := p.May(tt.user, "xmpp", true), p.May(tt.user, "xmpp", false)
			if in.Allowed() != tt.in || out.Allowed() != tt.out || in.Rule.Name != tt.rule {
				t.Errorf("in %v by %q, out %v; want %v by %q, %v", in.Allowed(), in.Rule.Name, out.Allowed(), tt.in, tt.rule, tt.out)
			}
			if !in.Allowed() && (in.Reason != allowlists.BridgeNotEnabled || in.Code() != 403) {
				t.Errorf("refused by %+v", in)
			}
			if p.May(tt.user, "icq", true).Allowed() || p.May(tt.user, "", false).Allowed() {
				t.Error("a network is allowed that there is not")
			}
		})
	}
	if n := testing.AllocsPerRun(100, func() { p.Decide("xmpp", []byte("frank"), []byte("example.com"), allowlists.In) }); n != 0 {
		t.Errorf("Decide makes %v allocations", n)
	}
}

func TestNobodyMayWithoutAPolicy(t *testing.T) {
	for name, p := range map[string]*bridges.Policy{"nil": nil, "zero": {}, "no file": compile(t, bridges.File{Absent: true}, bridges.With{})} {
		v := p.May("alice@example.com", "xmpp", true)
		if v.Allowed() || v.Rule.Name != "no bridges.toml" {
			t.Errorf("%s: %+v", name, v)
		}
	}
	p := compile(t, bridges.File{Default: lists(xmpp, xmpp), Users: map[string]bridges.UserConfig{"alice@example.com": user(1, lists(xmpp, nil))}},
		bridges.With{Shut: "bridge-decisions.journal"})
	if p.May("bob@example.com", "xmpp", true).Allowed() || !p.May("alice@example.com", "xmpp", true).Allowed() {
		t.Error("with damaged decisions only who is named should get in")
	}
}

func TestFaultsOfBridgesToml(t *testing.T) {
	_, errs := bridges.Compile(bridges.File{
		Default: bridges.Rules{Outbound: []string{"msn"}, Line: 1},
		Users: map[string]bridges.UserConfig{
			"alice@fabrikam.example": user(2, lists(xmpp, nil)),
			"bob@example.com":        user(3, lists([]string{"xmpp", "xmpp"}, nil)),
			"BOB@example.com":        user(4, lists(xmpp, nil)),
			"":                       user(5, lists(xmpp, nil)),
			"s-*":                    user(6, lists(xmpp, nil)),
			"S-**":                   user(7, lists(xmpp, nil)),
		},
		Accounts: map[string]bridges.AccountConfig{
			"alice":             {Network: "xmpp", JID: "a@j.example", PasswordFile: "f", Line: 8},
			"bob@example.com":   {Network: "icq", JID: "j.example", Line: 9},
			"carol@example.com": {Network: "xmpp", JID: "c@j.example", PasswordFile: "f", Line: 10},
			"Carol@example.com": {Network: "xmpp", JID: "d@j.example", PasswordFile: "f", Line: 11},
		},
	}, []string{"example.com"}, bridges.With{})
	want := []string{
		`bridges.toml:1: [default]: outbound "msn" is no network; there is "xmpp"`,
		`bridges.toml:2: user "alice@fabrikam.example": fabrikam.example is no domain of ours`,
		`bridges.toml:3: user "bob@example.com": inbound has "xmpp" twice`,
		`bridges.toml:4: user "BOB@example.com" is the same as in line 3: bob@example.com`,
		`bridges.toml:5: user "": names no user; * is all of them`,
		`bridges.toml:7: user "S-**" is the same as in line 6: s-*`,
		`bridges.toml:8: account "alice" is one user's: write it as user@domain`,
		`bridges.toml:9: account "bob@example.com": network "icq" is no network; there is "xmpp"`,
		`bridges.toml:9: account "bob@example.com": jid "j.example" is no address of an account, like "alice@jabber.example"`,
		`bridges.toml:9: account "bob@example.com": password_file is missing`,
		`bridges.toml:11: account "Carol@example.com" is the same user as in line 10`,
	}
	var got []string
	for _, err := range errs {
		got = append(got, err.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("faults (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func TestWarningsOfBridgesToml(t *testing.T) {
	yes := true
	p := compile(t, bridges.File{
		Default: bridges.Rules{Inbound: xmpp, Line: 1},
		Users: map[string]bridges.UserConfig{
			"alice@example.com": user(2, lists(xmpp, nil)),
			"bob@example.com":   user(3, lists(nil, nil)),
			"dora@example.com":  user(4, lists(none, none)),
		},
		Accounts: map[string]bridges.AccountConfig{"dora@example.com": {Network: "xmpp", JID: "d@j.example", PasswordFile: "f", Line: 5}},
	}, bridges.With{Decisions: []bridges.Decision{
		decided("alice@example.com", &yes, &yes), decided("bob@example.com", &yes, nil), decided("x@fabrikam.example", &yes, nil), {User: "*", Network: "xmpp"},
	}})
	var got []string
	for _, w := range p.Warnings() {
		got = append(got, w.Error())
	}
	want := []string{
		`decisions: the decision to allow xmpp inbound for x@fabrikam.example (decided by root 2026-11-28T09:00:00Z) is about a domain that is not ours, and not in force`,
		`decisions: the decision to do nothing about xmpp for * (decided) is not understood`,
		`bridges.toml:1: [default]: inbound: every user of our domains may be written to by anybody there, and every name may be tried`,
		`bridges.toml:2: conflict: user alice@example.com and the decision to allow xmpp (decided by root 2026-11-28T09:00:00Z); the file wins`,
		`bridges.toml:3: user bob@example.com does nothing: it has no rules`,
		`bridges.toml:5: account dora@example.com does nothing: its user may not use xmpp`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("warnings (-want +got):\n%s", cmp.Diff(want, got))
	}
	if w := compile(t, bridges.File{}, bridges.With{}).Warnings(); len(w) != 1 || !strings.Contains(w[0].Text, "nobody may use a bridge") {
		t.Errorf("an empty file: %v", w)
	}
}

func TestEntriesComeInTheOrderInWhichTheyCount(t *testing.T) {
	no := false
	p := compile(t, bridges.File{
		Default: lists(nil, xmpp),
		Users:   map[string]bridges.UserConfig{"alice@example.com": user(2, lists(xmpp, none)), "s*": user(1, lists(xmpp, nil))},
	}, bridges.With{Decisions: []bridges.Decision{decided("bob@example.com", nil, &no)}})
	var got []string
	for _, e := range p.Entries() {
		got = append(got, strings.Join([]string{e.Kind, e.Name, "in", strings.Join(e.Inbound, ","), strings.Join(e.NotInbound, ","),
			"out", strings.Join(e.Outbound, ","), strings.Join(e.NotOutbound, ",")}, " "))
	}
	want := []string{
		"user alice@example.com in xmpp  out  xmpp", "decision bob@example.com in   out  xmpp", "pattern s* in xmpp  out  ", "default default in  xmpp out xmpp ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("entries (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func TestAccountsAreThoseOfTheirNetwork(t *testing.T) {
	p := compile(t, bridges.File{Dir: "/etc/sipedge", Accounts: map[string]bridges.AccountConfig{
		"bob@example.com":   {Network: "xmpp", JID: "b@j.example", PasswordFile: "/run/b", Line: 1},
		"Alice@example.com": {Network: "xmpp", JID: "a@j.example", PasswordFile: "a.password", Server: "j.example:5222", Mechanism: "SCRAM-SHA-1", Line: 2},
	}}, bridges.With{})
	a := p.Accounts("xmpp")
	if len(a) != 2 || a[0].User != "alice@example.com" || a[0].PasswordFile != "/etc/sipedge/a.password" || a[1].PasswordFile != "/run/b" || a[0].Server != "j.example:5222" {
		t.Errorf("accounts %+v", a)
	}
	if _, ok := p.Account("bob@example.com", "xmpp"); !ok {
		t.Error("bob has no account")
	}
	if _, ok := p.Account("carol@example.com", "xmpp"); ok || len(p.Accounts("icq")) != 0 || (*bridges.Policy)(nil).Accounts("xmpp") != nil {
		t.Error("somebody has an account who has none")
	}
}
