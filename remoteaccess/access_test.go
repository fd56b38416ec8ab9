package remoteaccess

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sipedge/sipedge/allowlists"
)

var decidedAt = time.Date(2026, 11, 22, 9, 14, 0, 0, time.UTC)

func decide(user string, allow bool) Decision {
	return Decision{User: user, Allow: allow, At: decidedAt, By: "anna"}
}

// rules makes the rules of a section in a line; allow is "yes", "no" or "".
func rules(line int, allow string, kinds ...string) Rules {
	r := Rules{Line: line, Kinds: kinds}
	if allow != "" {
		may := allow == "yes"
		r.Allow = &may
	}
	return r
}

func compile(t *testing.T, f File, with With) *Access {
	t.Helper()
	a, errs := Compile(f, []string{"example.com", "bücher.example"}, with)
	if errs != nil {
		t.Fatal(errs)
	}
	return a
}

// terms asks about an address.
func (a *Access) terms(address string, groups ...string) Terms {
	user, domain, _ := strings.Cut(address, "@")
	return a.Terms([]byte(user), []byte(domain), groups)
}

const salesDN = "cn=sales,ou=groups,dc=example,dc=com"

// company is a file in which everything is said.
func company() File {
	f := File{
		Default: rules(1, "", "im", "presence"),
		LDAP:    LDAPConfig{URL: "ldaps://dc.example.com", Base: "dc=example,dc=com"},
		Groups: map[string]GroupConfig{
			"leavers": {Members: []string{"gone-*"}, Rules: rules(10, "no")},
			"sales":   {DN: "CN=Sales, OU=Groups,dc=example,dc=com", Members: []string{"sally@example.com"}, Rules: rules(20, "yes", "im", "calls")},
			"staff":   {DN: "cn=staff,dc=example,dc=com", Rules: rules(30, "yes")},
		},
		Users: map[string]UserConfig{
			"alice@example.com":       {Rules: rules(40, "yes")},
			"Mallory@example.com":     {Rules: rules(50, "no")},
			"bob":                     {Rules: rules(60, "yes", "files")},
			"sales-*@example.com":     {Rules: rules(70, "yes")},
			"sales-temp-*":            {Rules: rules(80, "no")},
			"*-x@example.com":         {Rules: rules(90, "", "im")},
			"carol@example.com":       {Rules: Rules{Devices: 2, Line: 100}},
			"anonymous@example.com":   {Rules: rules(110, "yes")},
			"+1-555-0100@example.com": {Rules: rules(120, "yes")},
			"kate@Bücher.example":     {Rules: rules(130, "yes")},
			"odd;one@example.com":     {Rules: rules(140, "yes")},
		},
	}
	alice := f.Users["alice@example.com"]
	alice.Federation = new(bool)
	f.Users["alice@example.com"] = alice
	return f
}

func TestUserBeforeGroupBeforeDefault(t *testing.T) {
	a := compile(t, company(), With{})
	staff := "cn=staff,dc=example,dc=com"
	for _, tt := range []struct {
		name    string
		address string
		groups  []string
		allow   bool
		kinds   string
		rule    string
	}{
		{"one who is named may", "alice@example.com", nil, true, "im+presence", "user alice@example.com (remote.toml:40)"},
		{"case counts for nothing", "ALICE@example.com", nil, true, "im+presence", "user alice@example.com (remote.toml:40)"},
		{"nor do escapes", "%61lice@example.com", nil, true, "im+presence", "user alice@example.com (remote.toml:40)"},
		{"one who is denied may not, whatever the groups", "mallory@example.com", []string{salesDN, staff}, false, "im+calls", "user mallory@example.com (remote.toml:50)"},
		{"a name without a domain is in each of ours", "bob@xn--bcher-kva.example", nil, true, "files", "user bob (remote.toml:60)"},
		{"a pattern", "sales-7@example.com", nil, true, "im+presence", "user sales-*@example.com (remote.toml:70)"},
		{"the pattern that names more wins", "sales-temp-7@example.com", nil, false, "im+presence", "user sales-temp-* (remote.toml:80)"},
		{"what one leaves out the next says", "sales-x@example.com", nil, true, "im", "user sales-*@example.com (remote.toml:70)"},
		{"a member by pattern", "sally@example.com", nil, true, "im+calls", "group sales (remote.toml:20)"},
		{"a member by the directory", "dave@example.com", []string{"cn=other", salesDN}, true, "im+calls", "group sales (remote.toml:20)"},
		{"the first group that says it wins", "gone-dave@example.com", []string{staff}, false, "im+presence", "group leavers (remote.toml:10)"},
		{"of two groups each says what the other leaves out", "dave@example.com", []string{staff}, true, "im+presence", "group staff (remote.toml:30)"},
		{"a section that is silent leaves it to the groups", "carol@example.com", []string{staff}, true, "im+presence", "group staff (remote.toml:30)"},
		{"everybody else may not", "dave@example.com", nil, false, "im+presence", "default (remote.toml:1)"},
		{"a number is the same with separators", "+15550100@example.com", nil, true, "im+presence", "user +15550100@example.com (remote.toml:120)"},
		{"an international domain", "kate@xn--bcher-kva.example", nil, true, "im+presence", "user kate@xn--bcher-kva.example (remote.toml:130)"},
		{"anonymous never", "Anonymous@example.com", nil, false, "", "nobody is anonymous outside"},
		{"nor in its own domain", "alice@anonymous.invalid", nil, false, "", "nobody is anonymous outside"},
		{"a domain that is not ours", "bob@fabrikam.example", nil, false, "", "not a domain of ours"},
		{"no user", "@example.com", nil, false, "", "no user"},
		{"a user that is too long", strings.Repeat("x", maxUser+1) + "@example.com", nil, false, "", "no user"},
		{"parameters hide nobody", "sales-7;x=y@example.com", []string{staff}, false, "im+presence", "a user with parameters, escapes or letters beyond ASCII that no section names (remote.toml)"},
		{"nor does an escaped NUL", "sales-7%00@example.com", []string{staff}, false, "im+presence", "a user with parameters, escapes or letters beyond ASCII that no section names (remote.toml)"},
		{"nor a blank", "sales-7%20@example.com", []string{staff}, false, "im+presence", "a user with parameters, escapes or letters beyond ASCII that no section names (remote.toml)"},
		{"nor a domain of Windows", "sales-%5c7@example.com", []string{staff}, false, "im+presence", "a user with parameters, escapes or letters beyond ASCII that no section names (remote.toml)"},
		{"nor a letter that a directory takes for another", "s%C3%A1les-7@example.com", []string{staff}, false, "im+presence", "a user with parameters, escapes or letters beyond ASCII that no section names (remote.toml)"},
		{"nor one that is not escaped", "ｓales-7@example.com", []string{staff}, false, "im+presence", "a user with parameters, escapes or letters beyond ASCII that no section names (remote.toml)"},
		{"but whom a section names as a whole may", "odd;one@example.com", nil, true, "im+presence", "user odd;one@example.com (remote.toml:140)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := a.terms(tt.address, tt.groups...)
			if got.Allow != tt.allow || got.Kinds.String() != tt.kinds || got.Rule.String() != tt.rule {
				t.Errorf("Terms(%s) = %v, %s by %s, want %v, %s by %s", tt.address, got.Allow, got.Kinds, got.Rule, tt.allow, tt.kinds, tt.rule)
			}
		})
	}
	if got := a.terms("alice@example.com"); got.Federation || !got.Bridges || got.Devices != 8 {
		t.Errorf("alice: %+v", got)
	}
	if got := a.terms("carol@example.com"); !got.Federation || got.Devices != 2 {
		t.Errorf("carol: %+v", got)
	}
}

func TestWhatIsDecidedGoesBeforeAllButTheUsersSection(t *testing.T) {
	with := With{Decisions: []Decision{
		decide("dave@example.com", true), decide("sally@example.com", false), decide("alice@example.com", false),
		decide("carol@example.com", true), decide("bob@example.com", false), decide("new@fabrikam.example", true),
		decide("sales-*@example.com", true), decide("*", true),
	}}
	a := compile(t, company(), with)
	for address, want := range map[string]string{
		"dave@example.com":                   "true user dave@example.com (decided by anna 2026-11-22T09:14:00Z)",
		"sally@example.com":                  "false user sally@example.com (decided by anna 2026-11-22T09:14:00Z)",
		"carol@example.com":                  "true user carol@example.com (decided by anna 2026-11-22T09:14:00Z)",
		"alice@example.com":                  "true user alice@example.com (remote.toml:40)",
		"bob@example.com":                    "true user bob (remote.toml:60)",
		"new@fabrikam.example":               "false not a domain of ours",
		"dave@xn--bcher-kva.example":         "false default (remote.toml:1)",
		"sales-temp-1@xn--bcher-kva.example": "false user sales-temp-* (remote.toml:80)",
	} {
		if got := a.terms(address); fmt.Sprint(got.Allow, " ", got.Rule) != want {
			t.Errorf("%s: %v %s, want %s", address, got.Allow, got.Rule, want)
		}
	}
	var got []string
	for _, w := range a.Warnings() {
		got = append(got, w.Error())
	}
	for _, want := range []string{
		"remote.toml:40: conflict: user alice@example.com and the decision to deny (decided by anna 2026-11-22T09:14:00Z); the file wins",
		"remote.toml:60: conflict: user bob and the decision to deny (decided by anna 2026-11-22T09:14:00Z); the file wins",
		"decisions: the decision to allow new@fabrikam.example (decided by anna 2026-11-22T09:14:00Z) is about a domain that is not ours, and not in force",
		"decisions: the decision to allow * (decided by anna 2026-11-22T09:14:00Z) is not understood",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no warning %q in\n%s", want, strings.Join(got, "\n"))
		}
	}
}

func TestDamagedDecisionsLeaveOnlyThoseWhoAreNamed(t *testing.T) {
	a := compile(t, company(), With{Decisions: []Decision{decide("dave@example.com", true)}, Shut: "/x"})
	for address, want := range map[string]bool{
		"alice@example.com": true, "bob@example.com": true, "dave@example.com": true,
		"sally@example.com": false, "sales-7@example.com": false,
	} {
		if got := a.terms(address); got.Allow != want || !want && got.Rule.String() != "damaged decisions (/x)" {
			t.Errorf("%s: %v by %s", address, got.Allow, got.Rule)
		}
	}
}

func TestNobodyMayWithoutAFile(t *testing.T) {
	var nobody *Access
	for _, a := range []*Access{nobody, {}} {
		if got := a.terms("alice@example.com", salesDN); got.Allow || got.Rule.Name != noFile {
			t.Errorf("%+v", got)
		}
		if a.AsksGroups() || len(a.Warnings()) > 0 || len(a.Entries()) > 0 {
			t.Error("an Access of nothing has something")
		}
	}
	a := compile(t, File{Absent: true}, With{Decisions: []Decision{decide("alice@example.com", true)}})
	if got := a.terms("bob@example.com"); got.Allow || got.Rule.String() != noFile {
		t.Errorf("bob: %+v", got)
	}
	if got := a.terms("alice@example.com"); !got.Allow || got.Kinds != AllKinds || !got.Federation || got.Devices != 8 {
		t.Errorf("alice, whom somebody allowed by command: %+v", got)
	}
	if w := a.Warnings(); w != nil {
		t.Errorf("warnings of no file: %v", w)
	}
}

func TestAllFaultsAreToldAtOnce(t *testing.T) {
	f := File{
		Default: Rules{Devices: 65, Kinds: []string{"im", "IM", "im"}, Line: 1},
		LDAP:    LDAPConfig{URL: "http://dc.example.com", Line: 2},
		Groups: map[string]GroupConfig{
			"a": {DN: "nonsense", Rules: rules(3, "")},
			"b": {Rules: rules(4, "yes")},
			"c": {DN: salesDN, Rules: rules(5, "yes")},
			"d": {DN: strings.ToUpper(salesDN), Members: []string{}, Rules: rules(6, "yes")},
			"e": {Members: []string{"x@fabrikam.example", "sip:x", "ok"}, Rules: Rules{Kinds: []string{}, Line: 7}},
		},
		Users: map[string]UserConfig{
			"alice@example.com":    {Rules: rules(8, "yes")},
			"ALICE@Example.COM":    {Rules: rules(9, "yes")},
			"s**@example.com":      {Rules: rules(10, "yes")},
			"S*@example.com.":      {Rules: rules(11, "yes")},
			"alice@*":              {Rules: rules(12, "yes")},
			"bob@fabrikam.example": {Rules: Rules{Devices: -1, Line: 13}},
			"a b":                  {Rules: rules(14, "yes")},
		},
	}
	a, errs := Compile(f, []string{"example.com"}, With{})
	want := []string{
		`remote.toml:1: [default]: devices must be 1 to 64, not 65`,
		`remote.toml:1: [default]: kinds "IM" is none of "im", "presence", "calls", "files"`,
		`remote.toml:1: [default]: kinds has "im" twice`,
		`remote.toml:2: [ldap]: url "http://dc.example.com" begins with neither ldaps:// nor ldap://`,
		`remote.toml:2: [ldap]: base is missing: where users are looked for, like "dc=example,dc=com"`,
		`remote.toml:3: group "a": dn "nonsense": not a DN, like "cn=sales,dc=example,dc=com": DN ended with incomplete type, value pair`,
		`remote.toml:4: group "b" has nobody in it: it needs dn, members, or both`,
		`remote.toml:6: group "d": members is empty; leave it out`,
		`remote.toml:6: group "d" has the same dn as group "c"`,
		`remote.toml:7: group "e": kinds is empty; leave it out for everything`,
		`remote.toml:7: group "e": members "x@fabrikam.example": fabrikam.example is no domain of ours`,
		`remote.toml:7: group "e": members "sip:x": not a user: it is written without sip:, password or blanks`,
		`remote.toml:9: user "ALICE@Example.COM" is the same as in line 8: alice@example.com`,
		`remote.toml:11: user "S*@example.com." is the same as in line 10: s*@example.com`,
		`remote.toml:12: user "alice@*": the domain must be a name; leave it out for any`,
		`remote.toml:13: user "bob@fabrikam.example": devices must be 1 to 64, not -1`,
		`remote.toml:13: user "bob@fabrikam.example": fabrikam.example is no domain of ours`,
		`remote.toml:14: user "a b": not a user: it is written without sip:, password or blanks`,
	}
	var got []string
	for _, err := range errs {
		got = append(got, err.Error())
	}
	if a != nil || !slices.Equal(got, want) {
		t.Errorf("Compile (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func TestAGroupOfTheDirectoryNeedsOne(t *testing.T) {
	_, errs := Compile(File{Groups: map[string]GroupConfig{"a": {DN: "cn=a", Rules: rules(3, "yes")}}}, nil, With{})
	if len(errs) != 1 || errs[0].Error() != `remote.toml:3: group "a" has a dn, and there is no [ldap] to ask who is in it` {
		t.Error(errs)
	}
}

func TestFaultsOfTheDirectorysSection(t *testing.T) {
	good := LDAPConfig{URL: "ldaps://dc.example.com", Base: "dc=example,dc=com"}
	for _, tt := range []struct {
		want   string // "": none
		change func(*LDAPConfig)
	}{
		{"", func(l *LDAPConfig) {}},
		{"", func(l *LDAPConfig) { l.URL, l.StartTLS = "ldap://dc.example.com:1389", true }},
		{"", func(l *LDAPConfig) { l.URL, l.Plain = "ldap://[::1]/", true }},
		{"", func(l *LDAPConfig) { l.GroupFilter = "(&(objectClass=posixGroup)(memberUid={user}))" }},
		{"url is missing", func(l *LDAPConfig) { l.URL = "" }},
		{"is not \"ldaps://HOST\"", func(l *LDAPConfig) { l.URL = "dc.example.com" }},
		{"is not \"ldaps://HOST\"", func(l *LDAPConfig) { l.URL = "ldaps://dc.example.com/dc=example" }},
		{"port is not a number", func(l *LDAPConfig) { l.URL = "ldaps://dc.example.com:99999" }},
		{"needs starttls = true", func(l *LDAPConfig) { l.URL = "ldap://dc.example.com" }},
		{"exclude each other", func(l *LDAPConfig) { l.URL, l.Plain, l.StartTLS = "ldap://dc.example.com", true, true }},
		{"TLS from the start", func(l *LDAPConfig) { l.StartTLS = true }},
		{"bind_dn needs password_file", func(l *LDAPConfig) { l.BindDN = "cn=edge" }},
		{"password_file needs bind_dn", func(l *LDAPConfig) { l.PasswordFile = "x" }},
		{"bind_dn \"edge\"", func(l *LDAPConfig) { l.BindDN, l.PasswordFile = "edge", "x" }},
		{"base \"x\"", func(l *LDAPConfig) { l.Base = "x" }},
		{"is no LDAP filter", func(l *LDAPConfig) { l.Filter = "(mail={address}" }},
		{"finds the same for every user", func(l *LDAPConfig) { l.Filter = "(mail=*)" }},
		{"none of {address}", func(l *LDAPConfig) { l.Filter = "(|(uid={user})(mail={adress}))" }},
		{"not known before", func(l *LDAPConfig) { l.Filter = "(&(mail={address})(x={dn}))" }},
		{"leave one of them out", func(l *LDAPConfig) { l.Nested, l.GroupFilter = true, "(member={dn})" }},
		{"no name of an attribute", func(l *LDAPConfig) { l.Attribute = "member of" }},
		{"timeout must be", func(l *LDAPConfig) { l.Timeout = time.Hour }},
		{"cache must be", func(l *LDAPConfig) { l.Cache = -1 }},
	} {
		l := good
		tt.change(&l)
		errs := l.check()
		if tt.want == "" && errs == nil {
			continue
		}
		if tt.want == "" || len(errs) != 1 || !strings.Contains(errs[0].Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", l, errs, tt.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	f := File{
		Default: rules(1, "yes"),
		LDAP:    LDAPConfig{URL: "ldap://dc.example.com", Plain: true, Base: "dc=example", GroupBase: "dc=x", Line: 2},
		Groups:  map[string]GroupConfig{"a": {Members: []string{"x"}, Rules: Rules{Line: 3}}},
		Users: map[string]UserConfig{
			"bob":       {Rules: Rules{Line: 4}},
			"anonymous": {Rules: rules(5, "yes")},
			"carol":     {Rules: rules(6, "no", "im")},
		},
	}
	want := []string{
		"remote.toml:1: [default]: allow = true: every user of our domains may sign in from outside, and every name may be tried",
		"remote.toml:2: [ldap] does nothing: no group has a dn",
		"remote.toml:2: [ldap]: plain = true: passwords and answers go over the network in the clear",
		"remote.toml:2: [ldap]: group_base does nothing without group_filter or nested",
		"remote.toml:3: group a does nothing: it has no rules",
		"remote.toml:4: user bob does nothing: it has no rules",
		"remote.toml:5: user anonymous does nothing: nobody is anonymous outside",
		"remote.toml:6: user carol: with allow = false the other keys do nothing",
	}
	var got []string
	for _, w := range compile(t, f, With{}).Warnings() {
		got = append(got, w.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("Warnings (-want +got):\n%s", cmp.Diff(want, got))
	}
	if w := compile(t, File{}, With{}).Warnings(); len(w) != 1 || !strings.Contains(w[0].Text, "nobody may sign in") {
		t.Errorf("of an empty file: %v", w)
	}
}

func TestExplainSaysWhoSaidWhat(t *testing.T) {
	a := compile(t, company(), With{Decisions: []Decision{decide("dave@example.com", true)}})
	got := a.Explain([]byte("dave"), []byte("example.com"), []string{salesDN})
	want := []Said{
		{"allow", "true", allowlists.Rule{Name: "user dave@example.com", File: "decided by anna 2026-11-22T09:14:00Z"}},
		{"kinds", "im, calls", allowlists.Rule{Name: "group sales", File: "remote.toml", Line: 20}},
		{"federation", "true", allowlists.Rule{Name: "default", File: "remote.toml", Line: 1}},
		{"bridges", "true", allowlists.Rule{Name: "default", File: "remote.toml", Line: 1}},
		{"devices", "8", allowlists.Rule{Name: "default", File: "remote.toml", Line: 1}},
	}
	if !slices.Equal(got, want) {
		t.Errorf("Explain (-want +got):\n%s", cmp.Diff(want, got))
	}
	if got := a.Explain([]byte("anonymous"), []byte("example.com"), nil); len(got) != 1 || got[0].Value != "false" {
		t.Errorf("Explain of anonymous = %v", got)
	}
	if got := a.Member([]byte("gone-sally"), []byte("example.com"), []string{salesDN}); !slices.Equal(got, []string{"leavers", "sales"}) {
		t.Errorf("Member = %v", got)
	}
	var names []string
	for _, e := range a.Entries() {
		names = append(names, e.Kind+" "+e.Name)
	}
	for _, want := range []string{"user alice@example.com", "decision dave@example.com", "pattern sales-*@example.com", "group sales", "default default"} {
		if !slices.Contains(names, want) {
			t.Errorf("Entries has no %q: %q", want, names)
		}
	}
}

func TestTheDirectoryIsAskedWhereItMakesADifference(t *testing.T) {
	f := company()
	all := rules(200, "yes", "im")
	all.Federation, all.Bridges, all.Devices = new(bool), new(bool), 1
	f.Users["erin@example.com"] = UserConfig{Rules: all}
	a := compile(t, f, With{Decisions: []Decision{decide("frank@example.com", false), decide("grace@example.com", true)}})
	for address, want := range map[string]bool{
		"erin@example.com":      false, // all is said
		"alice@example.com":     true,  // a group may say her kinds
		"mallory@example.com":   false, // may not
		"frank@example.com":     false,
		"grace@example.com":     true,
		"dave@example.com":      true,
		"gone-dave@example.com": false, // a group that names him denies before
		"bob@example.com":       false, // the groups say nothing but allow and kinds
		"dave;x@example.com":    false,
		"dave@fabrikam.example": false,
		"anonymous@example.com": false,
	} {
		user, domain, _ := strings.Cut(address, "@")
		if got := a.AsksGroupsOf([]byte(user), []byte(domain)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	var none *Access
	if none.AsksGroupsOf([]byte("alice"), []byte("example.com")) {
		t.Error("no file asks the directory")
	}
}

func TestTermsAllocateNothing(t *testing.T) {
	a := compile(t, company(), With{Decisions: []Decision{decide("dave@example.com", true)}})
	user, domain, groups := []byte("sales-7"), []byte("example.com"), []string{"cn=other", salesDN}
	if n := testing.AllocsPerRun(100, func() { a.Terms(user, domain, groups) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzAccess makes files of all sorts and asks about one user: who is denied by name
// is never allowed, whatever else is said, and nobody is by nothing.
func FuzzAccess(f *testing.F) {
	f.Add("alice@example.com", "*", "a*@example.com", "cn=x,dc=y", "ALICE", uint64(1))
	f.Add("al%69ce", "%61*", "alice;x", "CN = X+OU=y", "alice%00", uint64(2))
	f.Add("+1-555", "+1*5", "+*", "cn=a\\,b", "+1(555)", uint64(3))
	f.Fuzz(func(t *testing.T, denied, pattern, member, dn, user string, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		file := File{
			Default: rules(1, "yes"),
			LDAP:    LDAPConfig{URL: "ldaps://dc.example.com", Base: "dc=example"},
			Groups: map[string]GroupConfig{
				"m": {Members: []string{member}, Rules: rules(2, "yes")},
				"d": {DN: dn, Rules: rules(3, "yes")},
			},
			Users: map[string]UserConfig{denied: {Rules: rules(4, "no")}},
		}
		if !strings.Contains(pattern, "*") {
			pattern += "*" // another section may name the user with more of the address
		}
		for range random.IntN(3) {
			file.Users[pattern] = UserConfig{Rules: rules(5, "yes")}
			pattern += "*"
		}
		var with With
		for range random.IntN(3) {
			with.Decisions = append(with.Decisions, decide(user+"@example.com", random.IntN(2) == 0))
		}
		canonical, _ := canonicalDN(dn)
		a, errs := Compile(file, []string{"example.com"}, with)
		if a == nil != (errs != nil) {
			t.Fatalf("Compile: %v and %v", a, errs)
		}
		if a == nil {
			if got := a.Terms([]byte(user), []byte("example.com"), []string{canonical}); got.Allow {
				t.Fatal("nothing allows")
			}
			return
		}
		p, err := allowlists.NewPattern(denied)
		if err != nil {
			t.Fatalf("Compile took %q: %v", denied, err)
		}
		for _, u := range []string{user, strings.ToUpper(user), denied} {
			u, _, _ = strings.Cut(u, "@")
			got := a.Terms([]byte(u), []byte("example.com"), []string{canonical})
			name, ok := allowlists.AppendUser(make([]byte, 0, maxUser), []byte(u))
			if ok && p.Exact() && p.Match(name, []byte("example.com")) && got.Allow {
				t.Fatalf("%q is denied by %s, and allowed as %q by %s", u, p, name, got.Rule)
			}
			if without := a.Terms([]byte(u), []byte("example.com"), nil); !a.AsksGroupsOf([]byte(u), []byte("example.com")) && without.Allow != got.Allow {
				t.Fatalf("the groups of %q make a difference", u)
			}
			if said := a.Explain([]byte(u), []byte("example.com"), []string{canonical}); said[0].Value != fmt.Sprint(got.Allow) || said[0].Rule != got.Rule {
				t.Fatalf("Explain says %v, Terms %v", said[0], got)
			}
		}
	})
}
