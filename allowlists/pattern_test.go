package allowlists

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAPatternIsShownAsItIsWritten(t *testing.T) {
	for _, tt := range []struct{ name, pattern, want string }{
		{"what needs no escape has none", "%61l%69ce%5f1@Example.COM.", "alice_1@example.com"},
		{"what is reserved keeps it", "a%3bb%40c", "a%3Bb%40c"},
		{"so does a percent sign", "100%25%32%30", "100%2520"},
		{"a star of a name is none of a pattern", "%2A9*", "%2A9*"},
		{"a blank", "alice%20", "alice%20"},
		{"blanks around", "%20alice%20smith%20@example.com", "%20alice%20smith%20@example.com"},
		{"a line end", "alice%0d%0A", "alice%0D%0A"},
		{"a letter beyond ASCII is written", "j%C3%BCrgen", "jürgen"},
		{"a blank beyond ASCII is not", "alice%c2%A0", "alice%C2%A0"},
		{"nor is what turns the rest around", "a%E2%80%AEb", "a%E2%80%AEb"},
		{"nor what has no width", "al%E2%80%8Bice", "al%E2%80%8Bice"},
		{"nor an octet of no letter", "%20%A0", "%20%A0"},
		{"nor half a letter", "j%C3*%bcrgen", "j%C3*%BCrgen"},
		{"nor what stands for such an octet", "a%EF%BF%BD", "a%EF%BF%BD"},
		{"a number with a blank is none", "+1%20-5", "+1%20-5"},
		{"a number with a star of its own is none", "+1-5%2a", "+1-5%2A"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, pattern := range []string{tt.pattern, tt.want} {
				p, err := NewPattern(pattern)
				if err != nil || p.String() != tt.want {
					t.Fatalf("%q becomes %v, %v; want %q", pattern, p, err, tt.want)
				}
			}
		})
	}
}

func TestEachOctetOfAUserIsShownSoThatItIsReadAgain(t *testing.T) {
	for c := range 256 {
		escape := fmt.Sprintf("%%%02x", c)
		for _, user := range []string{escape, "a" + escape + "*", "+1" + escape} {
			p, err := NewPattern(user)
			if err != nil {
				t.Fatalf("%q: %v", user, err)
			}
			again, err := NewPattern(p.String())
			if err != nil || again.Key() != p.Key() || again.String() != p.String() {
				t.Errorf("%q becomes %q, and that %v, %v", user, p, again, err)
			}
		}
	}
}

// FuzzPattern compares one pattern with a list of it alone, and holds that what it is
// shown as is text, says all there is, and is a pattern that is shown so.
func FuzzPattern(f *testing.F) {
	f.Add("alice@example.com", "ALICE")
	f.Add("sales-*@Example.COM.", "sales-%41")
	f.Add("**", "")
	f.Add("%2A*", "*x")
	f.Add("+1-5*", "+15(5)")
	f.Add("%%66666", "f666")
	f.Add("%20%A0", "\xa0")
	f.Add("%C2%A0*%C3*%BC", "j%C3%BC")
	f.Add("a%E2%80%AE%00%2a@xn--mnchen-3ya.example", "a")
	f.Fuzz(func(t *testing.T, pattern, user string) {
		p, err := NewPattern(pattern)
		if err != nil {
			return
		}
		list, errs := NewUsers("users", []string{p.String()})
		if errs != nil {
			t.Fatalf("%q becomes %q: %v", pattern, p, errs)
		}
		if again, err := NewPattern(p.String()); err != nil || again.Key() != p.Key() || again.String() != p.String() {
			t.Fatalf("%q becomes %q, and that something else", pattern, p)
		}
		if s := p.String(); !utf8.ValidString(s) || strings.ContainsFunc(s, unseen) {
			t.Fatalf("%q becomes %q, which not everybody can read", pattern, s)
		}
		name, ok := AppendUser(make([]byte, 0, longest), []byte(user))
		if !ok {
			return
		}
		for _, domain := range []string{"example.com", p.Domain()} {
			want := list.Match(Address{User: []byte(user), Domain: []byte(domain)})
			if got := p.Match(name, []byte(domain)); got != want {
				t.Fatalf("%q takes %q in %q: %v, the list says %v", p, user, domain, got, want)
			}
		}
	})
}
