package federation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// warnings returns the texts of what is to be said about a file.
func warnings(t testing.TB, f File, with With) []string {
	p, errs := Compile(f, []string{"example.com"}, with)
	if errs != nil {
		t.Fatal(errs)
	}
	var list []string
	for _, w := range p.Warnings() {
		list = append(list, w.Error())
	}
	return list
}

func TestWarnsOfNamesThatLookAlike(t *testing.T) {
	for _, tt := range []struct {
		name, domain, want string
	}{
		{"an accent", "exámple.com", "partner exámple.com (xn--exmple-qta.com) looks like our own domain example.com"},
		{"a digit", "examp1e.com", "partner examp1e.com looks like our own domain example.com"},
		{"two letters for one", "exarnple.com", "partner exarnple.com looks like our own domain example.com"},
		{"another partner", "fabr1kam.example", "partner fabr1kam.example looks like partner fabrikam.example (partners.toml:1)"},
		{"letters of other scripts in each label", "ехаmрlе.com", "partner ехаmрlе.com (xn--ml-6kctd8d6a.com) mixes Cyrillic and Latin in one label"},
		{"letters of another script alone", "соре.example", "partner соре.example (xn--e1argc.example) looks like partner cope.example (partners.toml:2)"},
		{"Greek", "ροτατο.example", "partner ροτατο.example (xn--mxa1abfqb.example) looks like partner potato.example (partners.toml:3)"},
		{"a domain written in A-labels", "xn--exmple-qta.com", "partner exámple.com (xn--exmple-qta.com) looks like our own domain example.com"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := warnings(t, File{Partners: map[string]PartnerConfig{
				"fabrikam.example": {Line: 1}, "cope.example": {Line: 2}, "potato.example": {Line: 3}, tt.domain: {Line: 9},
			}}, With{})
			if want := "partners.toml:9: " + tt.want; !slices.Contains(got, want) {
				t.Errorf("Warnings:\n%s\nwant among them\n%s", strings.Join(got, "\n"), want)
			}
		})
	}
	for _, domain := range []string{"bücher.example", "example.org", "москва.example", "例え.example", "xn--fiq228c.example", "ελλάδα.example"} {
		if got := warnings(t, File{Partners: map[string]PartnerConfig{domain: {Line: 9}, "fabrikam.example": {Line: 1}}}, With{}); got != nil {
			t.Errorf("%s is warned of: %v", domain, got)
		}
	}
	blocked := File{Partners: map[string]PartnerConfig{"fabrikam.example": {Line: 1}}, Blocked: map[string]BlockedConfig{"fabr1kam.example": {Line: 2}}}
	if got := warnings(t, blocked, With{}); got != nil {
		t.Errorf("who blocks what looks like a partner is warned: %v", got)
	}
}

func TestWarnsOfEntriesThatEnd(t *testing.T) {
	now := time.Date(2026, 12, 1, 23, 0, 0, 0, time.UTC)
	got := warnings(t, File{Partners: map[string]PartnerConfig{
		"a.example": {Until: Date{2026, 11, 30}, Line: 1},
		"b.example": {Until: Date{2026, 12, 1}, Line: 2},
		"c.example": {Until: Date{2026, 12, 2}, Line: 3},
		"d.example": {Until: Date{2026, 12, 31}, Line: 4},
		"e.example": {Until: Date{2027, 1, 1}, Line: 5},
		"f.example": {Line: 6},
	}}, With{Now: now})
	want := []string{
		"partners.toml:1: partner a.example: ended on 2026-11-30, and is refused since",
		"partners.toml:2: partner b.example: ends today, 2026-12-01, at midnight UTC",
		"partners.toml:3: partner c.example: ends tomorrow, 2026-12-02, at midnight UTC",
		"partners.toml:4: partner d.example: ends in 30 days, on 2026-12-31",
	}
	if !slices.Equal(got, want) {
		t.Errorf("Warnings (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func TestWarningsAreCountedNotListed(t *testing.T) {
	f := File{Federation: Section{Unlisted: "discover"}, Blocked: make(map[string]BlockedConfig)}
	for i := range mostFindings + 7 {
		f.Blocked[fmt.Sprintf("b%d.example", i)] = BlockedConfig{Line: i + 1}
	}
	got := warnings(t, f, With{})
	if n := len(got); n != mostFindings+1 {
		t.Fatalf("%d warnings, want %d", n, mostFindings+1)
	}
	if want := "partners.toml: 7 more such warnings: blocked domains without their subdomains"; got[len(got)-1] != want {
		t.Errorf("the last is %q, want %q", got[len(got)-1], want)
	}
}

func BenchmarkWarnings(b *testing.B) {
	f := File{Partners: make(map[string]PartnerConfig)}
	for i := range 100_000 {
		name := fmt.Sprintf("p%d.example", i)
		if i%4 == 0 {
			name = fmt.Sprintf("bücher%d.example", i)
		}
		f.Partners[name] = PartnerConfig{Line: i}
	}
	p, errs := Compile(f, nil, With{})
	if errs != nil {
		b.Fatal(errs)
	}
	for b.Loop() {
		p.Warnings()
	}
}

func BenchmarkCompile(b *testing.B) {
	f := File{Partners: make(map[string]PartnerConfig)}
	for i := range 100_000 {
		f.Partners[fmt.Sprintf("p%d.example", i)] = PartnerConfig{
			Servers: []string{"192.0.2.9:5061"}, Methods: []string{"MESSAGE"}, Users: []string{"alice@example.com", "sales-*"}, Line: i, Owner: "somebody",
		}
	}
	for b.Loop() {
		if _, errs := Compile(f, nil, With{}); errs != nil {
			b.Fatal(errs)
		}
	}
}

func TestWhatIsNoTextIsNoDomain(t *testing.T) {
	var many strings.Builder
	for i := range 10_000 {
		many.WriteRune(rune(0x4e00 + i))
	}
	for _, name := range []string{"\xff.example", "a\x00.example", "a\u202e.example", many.String(), many.String()[:1<<10-1]} {
		began := time.Now()
		if got, err := Normal(name); err == nil {
			t.Errorf("Normal(%.40q) = %s", name, got)
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("%d octets took %v", len(name), took)
		}
	}
}
