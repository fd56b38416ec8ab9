package remoteaccess

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/store"
)

// plain is how tests ask where it does not matter how.
func (s *slapd) plain() LDAPConfig {
	return LDAPConfig{
		URL: "ldap://" + s.address, Plain: true, Base: "dc=example,dc=com", Filter: "(mail={address})",
		BindDN: slapdAdmin, PasswordFile: "password", Timeout: 5 * time.Second,
	}
}

// asking is an Access that wants to know who is in the group.
func asking(t *testing.T, l LDAPConfig) *Access {
	t.Helper()
	return compile(t, File{LDAP: l, Groups: map[string]GroupConfig{
		"sales": {DN: `cn=Inside \2B  Sales , dc=Example,dc=com`, Rules: rules(1, "yes")},
	}}, With{})
}

func open(t *testing.T, a *Access, path func(string) string, bucket *store.Bucket) *Directory {
	t.Helper()
	d, errs := OpenDirectory(a, path, bucket, slog.New(slog.DiscardHandler))
	if errs != nil {
		t.Fatal(errs)
	}
	t.Cleanup(d.Close)
	return d
}

// clock lets a test set the time.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func (d *Directory) set(c *clock) *clock {
	c.at = time.Now()
	d.now = c.now
	return c
}

// may says what a user may, as the door would decide it.
func may(t *testing.T, d *Directory, a *Access, user string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	groups, err := d.Groups(ctx, user, "example.com")
	if err != nil && !errors.Is(err, ErrDirectoryAway) {
		t.Fatalf("Groups(%q): %v", user, err)
	}
	if err != nil {
		return "away"
	}
	if a.Terms([]byte(user), []byte("example.com"), groups).Allow {
		return "may"
	}
	return "may not"
}

func TestMembersOfAGroupGetIn(t *testing.T) {
	s := newSlapd(t)
	for _, tt := range []struct {
		name   string
		change func(*LDAPConfig)
	}{
		{"in the clear, if that is wanted", func(l *LDAPConfig) {}},
		{"with TLS from the start", func(l *LDAPConfig) { l.URL, l.Plain, l.CA = "ldaps://"+s.secured, false, "ca.pem" }},
		{"with TLS that begins later", func(l *LDAPConfig) { l.Plain, l.StartTLS, l.CA = false, true, "ca.pem" }},
		{"where groups name their members", func(l *LDAPConfig) { l.GroupFilter = "(&(objectClass=groupOfNames)(member={dn}))" }},
		{"with a filter on the name", func(l *LDAPConfig) { l.Filter = "(uid={user})" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := s.plain()
			tt.change(&l)
			a := asking(t, l)
			d := open(t, a, s.path, nil)
			for user, want := range map[string]string{
				"alice": "may", "ALICE": "may", "%61lice": "may", "bob": "may", "carol": "may not", "nobody": "may not",
			} {
				if got := may(t, d, a, user); got != want {
					t.Errorf("%s %s, want %s", user, got, want)
				}
			}
			if v := d.View(); v.Failures != 0 || v.Known != 3 {
				t.Errorf("View = %+v", v)
			}
		})
	}
}

func TestADirectoryThatIsNotTrustedIsNotAsked(t *testing.T) {
	s := newSlapd(t)
	other, err := certs.NewAuthority("other")
	if err != nil {
		t.Fatal(err)
	}
	s.write("other.pem", other.PEM())
	s.write("wrong", []byte("wrong"))
	_, port, _ := strings.Cut(s.secured, ":")
	for name, change := range map[string]func(*LDAPConfig){
		"another authority":        func(l *LDAPConfig) { l.URL, l.Plain, l.CA = "ldaps://"+s.secured, false, "other.pem" },
		"the same, later":          func(l *LDAPConfig) { l.Plain, l.StartTLS, l.CA = false, true, "other.pem" },
		"another name":             func(l *LDAPConfig) { l.URL, l.Plain, l.CA = "ldaps://localhost:"+port, false, "ca.pem" },
		"a password that is wrong": func(l *LDAPConfig) { l.PasswordFile = "wrong" },
		"nobody may look":          func(l *LDAPConfig) { l.BindDN, l.PasswordFile = "", "" },
	} {
		l := s.plain()
		change(&l)
		a := asking(t, l)
		d := open(t, a, s.path, nil)
		if got := may(t, d, a, "alice"); got == "may" || name != "nobody may look" && got != "away" {
			t.Errorf("%s: alice %s", name, got)
		}
	}
}

func TestNamesOfUsersAreNoFilters(t *testing.T) {
	s := newSlapd(t)
	for _, filter := range []string{"(mail={address})", "(uid={user})", "(|(uid={user})(mail={user}@{domain}))"} {
		l := s.plain()
		l.Filter = filter
		a := asking(t, l)
		d := open(t, a, s.path, nil)
		for _, user := range []string{
			"*", "a*", "alice*", "alice)(mail=*", ")(|(uid=*)", "alice)(|(uid=*", "\\2a", "alice\x00", "\x00", "%00", "alice%00", "(", ")", "\\", "&", "|(uid=*)",
			"{user}", "{dn}", "alice;x", "alice@example.com", "", strings.Repeat("a", 10_000), "\xff\xfe", "éé",
		} {
			if got := may(t, d, a, user); got != "may not" {
				t.Errorf("%s: %q %s", filter, user, got)
			}
			m, err := d.link.ask(t.Context(), user, "example.com", d.wanted) // also where the doors before it do not hold
			if err != nil || m.found || m.groups != nil {
				t.Errorf("%s: %q finds %+v, %v", filter, user, m, err)
			}
		}
	}
}

func TestKnownUsersStayWhileTheDirectoryIsAway(t *testing.T) {
	s := newSlapd(t)
	a := asking(t, s.plain())
	d := open(t, a, s.path, nil)
	c := d.set(new(clock))
	if got := may(t, d, a, "alice") + ", " + may(t, d, a, "carol") + ", " + may(t, d, a, "nobody"); got != "may, may not, may not" {
		t.Fatal(got)
	}
	s.stop()
	if got := may(t, d, a, "bob"); got != "away" {
		t.Errorf("one whom it has not seen: %s", got)
	}
	if got := may(t, d, a, "nobody"); got != "may not" {
		t.Errorf("one whom the directory did not know a moment ago: %s", got)
	}
	c.pass(29 * 24 * time.Hour)
	if got := may(t, d, a, "alice") + ", " + may(t, d, a, "carol") + ", " + may(t, d, a, "nobody"); got != "may, may not, away" {
		t.Errorf("29 days later: %s", got)
	}
	before := d.View()
	for range 100 {
		may(t, d, a, "alice")
		may(t, d, a, "bob")
	}
	if v := d.View(); v.Searches != before.Searches || v.Trouble == "" || v.Away.IsZero() {
		t.Errorf("it was asked %d times in no time: %+v", v.Searches-before.Searches, v)
	}
	c.pass(2 * 24 * time.Hour)
	if got := may(t, d, a, "alice"); got != "away" {
		t.Errorf("31 days later: %s", got)
	}
	s.start()
	c.pass(retryAfter)
	if got := may(t, d, a, "alice") + ", " + may(t, d, a, "bob") + ", " + may(t, d, a, "carol"); got != "may, may, may not" {
		t.Errorf("when it is back: %s", got)
	}
	if v := d.View(); v.Trouble != "" {
		t.Errorf("View = %+v", v)
	}
}

func TestADirectoryThatStartedAnewIsAskedOnANewConnection(t *testing.T) {
	s := newSlapd(t)
	a := asking(t, s.plain())
	d := open(t, a, s.path, nil)
	may(t, d, a, "alice")
	s.stop()
	s.start()
	if got := may(t, d, a, "bob"); got != "may" || d.View().Failures != 0 {
		t.Errorf("bob %s, %+v", got, d.View())
	}
}

func TestADirectoryThatHangsHoldsUpNobodyTwice(t *testing.T) {
	s := newSlapd(t)
	l := s.plain()
	a := asking(t, l)
	d := open(t, a, s.path, nil)
	c := d.set(new(clock))
	may(t, d, a, "alice")
	l.Timeout = 200 * time.Millisecond
	a = asking(t, l)
	if errs := d.Follow(a); errs != nil {
		t.Fatal(errs)
	}
	c.pass(time.Hour)
	if err := s.process.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer s.process.Process.Signal(syscall.SIGCONT)
	if got := may(t, d, a, "alice") + ", " + may(t, d, a, "bob"); got != "may, away" {
		t.Error(got)
	}
	if v := d.View(); v.Failures != 1 {
		t.Errorf("it was waited for %d times", v.Failures)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.pass(time.Minute)
	if groups, err := d.Groups(ctx, "alice", "example.com"); err != nil || len(groups) != 1 {
		t.Errorf("who does not wait: %v, %v", groups, err)
	}
	if _, err := d.Groups(ctx, "bob", "example.com"); !errors.Is(err, ErrDirectoryAway) || !errors.Is(err, context.Canceled) {
		t.Errorf("who does not wait and is not known: %v", err)
	}
}

func TestWhatTheDirectorySaysCountsForAWhile(t *testing.T) {
	s := newSlapd(t)
	a := asking(t, s.plain())
	d := open(t, a, s.path, nil)
	c := d.set(new(clock))
	may(t, d, a, "alice")
	may(t, d, a, "dave")
	s.admin(func(conn *ldap.Conn) error {
		r := ldap.NewModifyRequest("cn=Inside \\2B Sales,dc=example,dc=com", nil)
		r.Delete("member", []string{"uid=alice,dc=example,dc=com"})
		return conn.Modify(r)
	})
	s.person("dave", "dave@example.com")
	if got := may(t, d, a, "alice") + ", " + fmt.Sprint(d.View().Known); got != "may, 1" {
		t.Errorf("at once: %s", got)
	}
	c.pass(unknownFor)
	may(t, d, a, "dave")
	if n := d.View().Known; n != 2 {
		t.Errorf("a user who is new is known after %v: %d known", unknownFor, n)
	}
	c.pass(defaultCache - unknownFor)
	if got := may(t, d, a, "alice"); got != "may not" {
		t.Errorf("later: alice %s", got)
	}
	s.admin(func(conn *ldap.Conn) error { return conn.Del(ldap.NewDelRequest("uid=bob,dc=example,dc=com", nil)) })
	if may(t, d, a, "bob"); d.View().Known != 2 {
		t.Errorf("%d known", d.View().Known)
	}
}

func TestAUserWhoIsThereTwiceIsNone(t *testing.T) {
	s := newSlapd(t)
	a := asking(t, s.plain())
	d := open(t, a, s.path, nil)
	if m, err := d.link.ask(t.Context(), "twin", "example.com", d.wanted); err != nil || !m.ambiguous || m.found {
		t.Errorf("%+v, %v", m, err)
	}
	if got := may(t, d, a, "twin"); got != "may not" {
		t.Error(got)
	}
}

func TestAThousandWhoAskMakeFewSearches(t *testing.T) {
	s := newSlapd(t)
	a := asking(t, s.plain())
	d := open(t, a, s.path, nil)
	users := []string{"alice", "bob", "carol", "nobody", "dave", "erin", "frank", "grace", "heidi", "ivan"}
	var group sync.WaitGroup
	results := make([]string, 1000)
	for i := range results {
		group.Go(func() { results[i] = may(t, d, a, users[i%len(users)]) })
	}
	group.Wait()
	for i, got := range results {
		want := "may not"
		if i%len(users) < 2 {
			want = "may"
		}
		if got != want {
			t.Errorf("%s %s", users[i%len(users)], got)
		}
	}
	if v := d.View(); v.Searches > len(users) || v.Failures > 0 {
		t.Errorf("%+v", v)
	}
}

func buckets(t *testing.T, dir string) (decisions, groups *store.Bucket, s *store.Store) {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	decisions, err = DecisionsBucket(s)
	if err != nil {
		t.Fatal(err)
	}
	if groups, err = GroupsBucket(s); err != nil {
		t.Fatal(err)
	}
	return decisions, groups, s
}

func TestWhoIsKnownIsKnownAfterARestart(t *testing.T) {
	s := newSlapd(t)
	a, dir := asking(t, s.plain()), t.TempDir()
	_, bucket, st := buckets(t, dir)
	d := open(t, a, s.path, bucket)
	may(t, d, a, "alice")
	may(t, d, a, "carol")
	may(t, d, a, "nobody")
	ctx, stop := context.WithCancel(t.Context())
	stop()
	d.Run(ctx)
	st.Close()
	s.stop()

	_, bucket, st = buckets(t, dir)
	defer st.Close()
	d = open(t, a, s.path, bucket)
	c := d.set(new(clock))
	c.pass(time.Hour)
	if got := may(t, d, a, "alice") + ", " + may(t, d, a, "carol") + ", " + may(t, d, a, "bob"); got != "may, may not, away" {
		t.Error(got)
	}
	other := s.plain()
	other.Filter = "(uid={user})"
	if errs := d.Follow(asking(t, other)); errs != nil {
		t.Fatal(errs)
	}
	if got := may(t, d, a, "alice"); got != "away" {
		t.Errorf("what was said to another question counts: alice %s", got)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	s := newSlapd(t)
	a := asking(t, s.plain())
	_, bucket, st := buckets(t, t.TempDir())
	defer st.Close()
	d, errs := openDirectory(a, s.path, bucket, slog.New(slog.DiscardHandler), 2, 3)
	if errs != nil {
		t.Fatal(errs)
	}
	defer d.Close()
	may(t, d, a, "alice")
	for i := range 20 {
		may(t, d, a, fmt.Sprintf("guess%d", i))
	}
	if v := d.View(); v.Known != 1 || d.unknown.Len() != 3 {
		t.Errorf("guesses drove out who is known: %+v, %d unknown", v, d.unknown.Len())
	}
	may(t, d, a, "bob")
	if err := d.flush(); err != nil {
		t.Fatal(err)
	}
	may(t, d, a, "carol")
	if err := d.flush(); err != nil {
		t.Fatal(err)
	}
	if v := d.View(); v.Known != 2 || bucket.Len() != 2 || len(d.dirty) != 0 {
		t.Errorf("%+v, %d in the store", v, bucket.Len())
	}
}

func TestFilesOfTheDirectorysSection(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return dir + "/" + name }
	for name, mode := range map[string]os.FileMode{"open": 0o644, "good": 0o600, "empty": 0o600} {
		data := "x\n"
		if name == "empty" {
			data = "\n"
		}
		if err := os.WriteFile(path(name), []byte(data), mode); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{"open": "others can read or change it", "empty": "is empty", "none": "no such file", "": ""} {
		l := LDAPConfig{URL: "ldaps://dc.example.com", Base: "dc=example", BindDN: "cn=edge", PasswordFile: "good", CA: "missing.pem", Line: 7}
		if file != "" {
			l.CA, l.PasswordFile = "system", file
		}
		_, errs := OpenDirectory(asking(t, l), path, nil, slog.New(slog.DiscardHandler))
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), want) || !strings.HasPrefix(errs[0].Error(), "remote.toml:7: [ldap]: ") {
			t.Errorf("%s: %v", file, errs)
		}
	}
}

func TestNobodyIsAskedWithoutADirectory(t *testing.T) {
	var none *Directory
	none.Run(t.Context())
	none.Close()
	for _, d := range []*Directory{none, open(t, nil, nil, nil), open(t, compile(t, File{}, With{}), nil, nil)} {
		if groups, err := d.Groups(t.Context(), "alice", "example.com"); groups != nil || err != nil || d.View().Server != "" {
			t.Errorf("%v, %v", groups, err)
		}
	}
}

func TestDNsThatMeanTheSame(t *testing.T) {
	for _, same := range [][]string{
		{"cn=sales,dc=example,dc=com", "CN=Sales, DC=Example ,dc=COM", "cn = sales,dc=example;dc=com"},
		{`cn=a\,b,dc=x`, `CN=A\2Cb,dc=x`, `cn=a\2cB , dc=x`},
		{`cn=a+ou=b,dc=x`, `OU=B+CN=A,dc=x`},
		{`cn=two  blanks,dc=x`, `cn=Two blanks,dc=x`},
		{`cn=Büro,dc=x`, `cn=b\C3\BCro,dc=x`, `CN=BÜRO,dc=x`},
	} {
		first, err := canonicalDN(same[0])
		for _, s := range same {
			if got, e := canonicalDN(s); err != nil || e != nil || got != first {
				t.Errorf("canonicalDN(%s) = %s, %v, want %s", s, got, e, first)
			}
		}
		if got, err := canonicalDN(first); got != first || err != nil {
			t.Errorf("canonicalDN(%s) = %s, %v", first, got, err)
		}
	}
	for _, s := range []string{"", " ", "sales", "cn=a,", "cn=\"", "cn=" + strings.Repeat("x", longestDN)} {
		if got, err := canonicalDN(s); err == nil {
			t.Errorf("canonicalDN(%.20q) = %s", s, got)
		}
	}
}

func TestManyGroupsAreNotHalfKnown(t *testing.T) {
	a := asking(t, LDAPConfig{URL: "ldaps://dc.example.com", Base: "dc=x"})
	dn := slices.Collect(func(yield func(string) bool) {
		for dn := range a.byDN {
			yield(dn)
		}
	})[0]
	wanted := map[string]bool{dn: true}
	entry := ldap.NewEntry("uid=x", map[string][]string{"memberOf;range=0-1499": {dn}})
	if m := named(entry, "memberOf", wanted); m.unclear == "" || m.found {
		t.Errorf("%+v", m)
	}
	entry = ldap.NewEntry("uid=x", map[string][]string{"MEMBEROF": {"nonsense", "cn=other", strings.ToUpper(dn)}})
	if m := named(entry, "memberOf", wanted); !m.found || !slices.Equal(m.groups, []string{dn}) {
		t.Errorf("%+v", m)
	}
}

func TestNestedGroupsAreFollowedByTheDirectory(t *testing.T) {
	l := LDAPConfig{URL: "ldaps://dc.example.com", Base: "dc=example,dc=com", Nested: true}
	if errs := l.check(); errs != nil {
		t.Fatal(errs)
	}
	l = l.defaults()
	got := placeholders("alice", "example.com", "cn=a(b)*,dc=example,dc=com").Replace(l.GroupFilter)
	want := `(member:1.2.840.113556.1.4.1941:=cn=a\28b\29\2a,dc=example,dc=com)`
	if _, err := ldap.CompileFilter(got); got != want || err != nil || l.GroupBase != l.Base {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}
