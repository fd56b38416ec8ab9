package allowlists

import "testing"

// FuzzPattern compares one pattern with a list of it alone.
func FuzzPattern(f *testing.F) {
	f.Add("alice@example.com", "ALICE")
	f.Add("sales-*@Example.COM.", "sales-%41")
	f.Add("**", "")
	f.Add("%2A*", "*x")
	f.Add("+1-5*", "+15(5)")
	f.Add("%%66666", "f666")
	f.Fuzz(func(t *testing.T, pattern, user string) {
		p, err := NewPattern(pattern)
		if err != nil {
			return
		}
		list, errs := NewUsers("users", []string{p.String()})
		if errs != nil {
			t.Fatalf("%q becomes %q: %v", pattern, p, errs)
		}
		if again, err := NewPattern(p.String()); err != nil || again.Key() != p.Key() {
			t.Fatalf("%q becomes %q, and that something else", pattern, p)
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
