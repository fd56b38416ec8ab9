package allowlists

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func users(t testing.TB, patterns ...string) *Users {
	u, errs := NewUsers("users", patterns)
	if errs != nil {
		t.Fatal(errs)
	}
	return u
}

func address(a string) Address {
	user, domain, _ := strings.Cut(a, "@")
	return Address{[]byte(user), []byte(domain)}
}

func TestUsersMatch(t *testing.T) {
	for _, tt := range []struct {
		name, pattern, address string
		want                   bool
	}{
		{"a name is itself", "alice@example.com", "alice@example.com", true},
		{"and nobody else", "alice@example.com", "alice2@example.com", false},
		{"nor in another domain", "alice@example.com", "alice@example.org", false},
		{"without a domain it is in any", "bob", "bob@example.org", true},
		{"and still nobody else", "bob", "bobby@example.org", false},
		{"case does not count", "Alice@example.com", "aLICE@example.com", true},
		{"nor whether an octet is escaped", "alice@example.com", "%61lic%65@example.com", true},
		{"also in the list", "%61lice@example.com", "alice@example.com", true},
		{"an escaped @ is none", "alice", "alice%40example.com@example.com", false},
		{"but is equal to itself", "alice%40x@example.com", "alice%40x@example.com", true},
		{"in any case of its digits", "a%3Bb", "a%3bb@example.com", true},
		{"a semicolon is no escaped one", "a%3Bb", "a;b@example.com", false},
		{"parameters belong to the user", "alice", "alice;day=tuesday@example.com", false},
		{"and can be listed", "alice;day=tuesday", "alice;Day=tuesday@example.com", true},
		{"a star is any characters", "sales-*@example.com", "sales-north@example.com", true},
		{"or none", "sales-*@example.com", "sales-@example.com", true},
		{"but not what is before it", "sales-*@example.com", "presales-north@example.com", false},
		{"a star at the front", "*-bot@example.com", "echo-bot@example.com", true},
		{"stars around", "*ops*", "devops-2@example.com", true},
		{"parts do not overlap", "aba*aba", "ababa@example.com", false},
		{"parts may touch", "aba*aba", "abaaba@example.com", true},
		{"each part in its order", "*a*b*", "xbxa@example.com", false},
		{"all of a domain", "*@example.com", "anybody;at=all@example.com", true},
		{"also without a user", "*@example.com", "@example.com", true},
		{"and of no other", "*@example.com", "anybody@example.org", false},
		{"everybody", "*", "anybody@example.org", true},
		{"a star itself is escaped", "%2A97", "*97@example.com", true},
		{"and then takes only itself", "%2A97", "897@example.com", false},
		{"a global number without separators", "+1-555-0100", "+15550100@example.com", true},
		{"or with others", "+15550100", "+1(555)01.00@example.com", true},
		{"in a pattern", "+1-555-*", "+1(555)0199@example.com", true},
		{"whose parameters count", "+15550100", "+1-555-0100;ext=7@example.com", false},
		{"but have no separators", "+15550100;phone-context=a.b", "+1-555-0100;phone-context=a.b@example.com", true},
		{"what is no number keeps its hyphens", "+a-b", "+ab@example.com", false},
		{"nor do local numbers lose them", "555-0100", "5550100@example.com", false},
		{"a blank is written as its octet", "alice%20smith", "alice%20Smith@example.com", true},
		{"UTF-8 is octets", "jürgen", "j%C3%BCrgen@example.com", true},
		{"a user that is too long is in no list of names", "a*", "a" + strings.Repeat("b", longest) + "@example.com", false},
		{"one that just fits is", "a*", "a" + strings.Repeat("b", longest-1) + "@example.com", true},
		{"a user with an @ in it cannot be taken for another", "alice@example.com", "alice@example.com@", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := users(t, tt.pattern).Match(address(tt.address)); got != tt.want {
				t.Errorf("%q takes %q: %v, want %v", tt.pattern, tt.address, got, tt.want)
			}
		})
	}
	if !(*Users)(nil).Match(address("a@b")) {
		t.Error("no list has not everybody in it")
	}
	if u := users(t, "alice"); u.Match(Address{User: []byte("alice@")}) {
		t.Error("a user with an @ is taken for one without")
	}
}

func TestUsersNamesAllFaults(t *testing.T) {
	list := []string{"@example.com", "alice@", "", "a@*.example", "a@*", "sip:alice@example.com", "a b", "a\x00", "alice\u00a0", "a\u202eb", "a\xff", "100%", "%4", "%4x", "a@b@c", strings.Repeat("a", longest+1)}
	for i := range mostPatterns + 1 {
		list = append(list, fmt.Sprintf("a%d*", i))
	}
	_, errs := NewUsers("users", list)
	var got []string
	for _, err := range errs {
		got = append(got, err.Error())
	}
	want := []string{
		`users "@example.com": names no user; * is all of them`,
		`users "alice@": names no domain after the @`,
		`users "": names no user; * is all of them`,
		`users "a@*.example": the domain must be a name; leave it out for any`,
		`users "a@*": the domain must be a name; leave it out for any`,
		`users "sip:alice@example.com": not a user: it is written without sip:, password or blanks`,
		`users "a b": not a user: it is written without sip:, password or blanks`,
		`users "a\x00": not a user: it is written without sip:, password or blanks`,
		`users "alice\u00a0": not a user: what cannot be seen is written as its octets, as in %C2%A0`,
		`users "a\u202eb": not a user: what cannot be seen is written as its octets, as in %C2%A0`,
		`users "a\xff": not a user: what cannot be seen is written as its octets, as in %C2%A0`,
		`users "100%": not a user: behind a % stand two hexadecimal digits, as in %2A for a star`,
		`users "%4": not a user: behind a % stand two hexadecimal digits, as in %2A for a star`,
		`users "%4x": not a user: behind a % stand two hexadecimal digits, as in %2A for a star`,
		`users "a@b@c": the domain must be a name; leave it out for any`,
		fmt.Sprintf(`users "%s": the user is longer than 256 octets`, strings.Repeat("a", longest+1)),
		`users has 257 patterns with a star; more than 256 would slow every request down`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("NewUsers says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, errs := NewUsers("users", []string{}); len(errs) != 1 {
		t.Errorf("an empty list: %v, want one fault", errs)
	}
}

func TestUsersMatchAllocatesNothing(t *testing.T) {
	u := users(t, "alice@example.com", "sales-*@example.com", "+1-555-*", "bob")
	for _, s := range []string{"al%69ce@example.com", "sales-1@example.com", "+1-555-1@x.example", "nobody@example.com", strings.Repeat("n", 999) + "@example.com"} {
		a := address(s)
		if n := testing.AllocsPerRun(100, func() { u.Match(a) }); n != 0 {
			t.Errorf("Match of %s allocates %v times, want none", s, n)
		}
	}
}

func BenchmarkUsers(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			list := []string{"sales-*@example.com"}
			for i := range n {
				list = append(list, fmt.Sprintf("user%d@example.com", i))
			}
			u, a := users(b, list...), address("user7@example.com")
			b.ReportAllocs()
			for b.Loop() {
				u.Match(a)
			}
		})
	}
	b.Run("worst", func(b *testing.B) {
		var list []string
		for i := range mostPatterns {
			list = append(list, fmt.Sprintf("*a*a*a*a*a*a*a*a*b%d", i))
		}
		u, a := users(b, list...), address(strings.Repeat("a", longest)+"@example.com")
		for b.Loop() {
			u.Match(a)
		}
	})
}

// reference says slowly, by a regular expression, whether a pattern takes an
// address.
func reference(pattern string, a Address) bool {
	user, domain, at := strings.Cut(pattern, "@")
	if at && domain != string(a.Domain) {
		return false
	}
	expr := ""
	for part := range strings.SplitSeq(slowForm(strings.ReplaceAll(user, "*", "\x00")), "\x00") {
		if expr != "" {
			expr += `(?s:.*)`
		}
		expr += `(?:` + latin(part) + `)`
	}
	return regexp.MustCompile(`\A` + expr + `\z`).MatchString(asRunes(slowForm(string(a.User))))
}

// asRunes makes a rune of each octet: expressions are about runes.
func asRunes(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

func latin(s string) string { return regexp.QuoteMeta(asRunes(s)) }

// slowForm is normalUser, written another way.
func slowForm(user string) string {
	user = regexp.MustCompile(`%[0-9A-Fa-f]{2}`).ReplaceAllStringFunc(user, func(esc string) string {
		n, _ := strconv.ParseUint(esc[1:], 16, 8)
		if n < ' ' || n == 0x7f || strings.ContainsRune(";/?:@&=+$,%", rune(n)) {
			return "\x01" + esc[1:] // for later: a % may be made here, too
		}
		return string([]byte{byte(n)})
	})
	var b strings.Builder
	for i := 0; i < len(user); i++ {
		switch c := user[i]; {
		case c == 1 && i+2 < len(user):
			b.WriteString("%" + strings.ToUpper(user[i+1:i+3]))
			i += 2
		case 'A' <= c && c <= 'Z':
			b.WriteByte(c | 0x20)
		default:
			b.WriteByte(c)
		}
	}
	s := b.String()
	if m := regexp.MustCompile(`(?s)\A(\+[-.()0-9\x00]+)(;.*)?\z`).FindStringSubmatch(s); m != nil {
		s = strings.NewReplacer("-", "", ".", "", "(", "", ")", "").Replace(m[1]) + m[2]
	}
	return s
}

// FuzzUsers holds that a list takes an address if one of its patterns does by the
// slow reference, and that no other address is in it.
func FuzzUsers(f *testing.F) {
	f.Add("alice@example.com bob", "ALICE", "example.com")
	f.Add("sales-*@example.com *x*y*", "sales-%41", "example.com")
	f.Add("+1-555-* %2A97", "+1(555)01", "example.com")
	f.Add("a*b*c aba*aba", "ababa;x=%40", "")
	f.Fuzz(func(t *testing.T, patterns, user, domain string) {
		list := strings.Fields(patterns)
		if strings.ContainsAny(patterns+user, "\x00\x01") || len(slowForm(user)) > longest {
			return // no octet of a URI
		}
		if len(domain) > 255 {
			return // no domain: nobody there is in a list
		}
		u, errs := NewUsers("users", list)
		if errs != nil || u == nil {
			return
		}
		a := Address{[]byte(user), []byte(domain)}
		want := slices.ContainsFunc(list, func(p string) bool { return reference(p, a) })
		if got := u.Match(a); got != want {
			t.Errorf("%q takes %q at %q: %v, want %v", list, user, domain, got, want)
		}
		for _, text := range lintUsers("users", list) {
			_ = text // it must not panic
		}
	})
}

// FuzzCovers holds that who is warned of a pattern that does nothing may take it
// out: nobody is lost.
func FuzzCovers(f *testing.F) {
	f.Add("a*b", "*b", "ab", "x")
	f.Add("*a*@x", "aa*@x", "aab", "x")
	f.Fuzz(func(t *testing.T, wide, narrow, user, domain string) {
		both, errs := NewUsers("users", []string{wide, narrow})
		if errs != nil || strings.ContainsRune(user, 0) {
			return
		}
		u, d, _ := ParsePattern(narrow)
		one, _ := NewUsers("users", []string{wide})
		a := Address{[]byte(user), []byte(domain)}
		if by := both.coveredBy(u, d); by != "" && both.Match(a) && !one.Match(a) {
			t.Errorf("%q covers %q, but not %q at %q", by, narrow, user, domain)
		}
	})
}
