package address

import (
	"fmt"
	"strings"
	"testing"
)

func ours(t *testing.T, users ...string) *Table {
	t.Helper()
	a := tunnel()
	s, err := newSpellings(a, users)
	if err != nil {
		t.Fatal(err)
	}
	a.spelled = s
	return a
}

func wantURI(t *testing.T, a *Table, address, want string) {
	t.Helper()
	j, err := Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if uri, err := a.URI(j); err != nil || uri != want {
		t.Errorf("URI(%s) = %q, %v; want %q", address, uri, err, want)
	}
}

func TestOurUsersGetTheirOwnSpellingBack(t *testing.T) {
	a := ours(t, "sip:Romeo@example.org", "sip:O%27Malley@example.net")
	wantURI(t, a, "romeo@example.org", "sip:Romeo@example.org")
	wantURI(t, a, "romeo@example.org/orchard", "sip:Romeo@example.org;gr=orchard")
	wantURI(t, a, `o\27malley\40example.net@sipgw.example.com`, "sip:O%27Malley@example.net")
	wantURI(t, a, "tybalt@example.org", "sip:tybalt@example.org")
}

func TestASpellingIsLearnedFromWhatTheUserSends(t *testing.T) {
	a := ours(t, "sip:Romeo@example.org")
	for _, tt := range []struct {
		uri  string
		same bool
	}{
		{"sip:Tybalt@example.org", true},
		{"sip:Tybalt@example.org:5061;transport=tls", true},
		{"sip:tybalt@example.org", false},
		{"sip:Romeo@example.org", true},
		{"sip:ROMEO@example.org", false},
		{"sip:paris@example.org", true},
		{"sip:Paris@example.org", false},
		{"sip:Mercutio@example.net", true},
		{"not an address", true},
	} {
		if same := a.Learn(tt.uri); same != tt.same {
			t.Errorf("Learn(%s) = %v, want %v", tt.uri, same, tt.same)
		}
	}
	wantURI(t, a, "tybalt@example.org", "sip:Tybalt@example.org")
	wantURI(t, a, "romeo@example.org", "sip:Romeo@example.org")
	wantURI(t, a, "paris@example.org", "sip:paris@example.org")
	wantURI(t, a, `mercutio\40example.net@sipgw.example.com`, "sip:Mercutio@example.net")
	if !new(Table).Learn("sip:Romeo@example.org") {
		t.Error("without a table everybody is the same")
	}
}

func TestTwoWhoDifferInCaseCannotBothBeThere(t *testing.T) {
	for _, users := range [][]string{
		{"sip:Romeo@example.org", "sip:romeo@example.org"},
		{"sip:Romeo@example.net", "sip:romeo@example.net"},
		{"sip:%EF%BC%A1@example.org", "sip:a@example.org"},
	} {
		if _, err := newSpellings(tunnel(), users); err == nil || !strings.Contains(err.Error(), "one and the same") {
			t.Errorf("newSpellings(%v) = %v, want an error", users, err)
		}
	}
	if _, err := newSpellings(tunnel(), []string{"sip:Romeo@example.org", "sip:Romeo@example.org", "sip:Romeo@example.net"}); err != nil {
		t.Errorf("the same user twice, and another: %v", err)
	}
	if _, err := newSpellings(tunnel(), []string{"sip:example.org"}); err == nil {
		t.Error("a domain is no user")
	}
}

func TestLearnedSpellingsAreBounded(t *testing.T) {
	a := ours(t)
	for i := range maxLearned + 10 {
		a.Learn(fmt.Sprintf("sip:U%d@example.org", i))
	}
	if n := a.spelled.learned.Len(); n != maxLearned {
		t.Errorf("%d spellings are held, want %d", n, maxLearned)
	}
	wantURI(t, a, "u0@example.org", "sip:u0@example.org")
	wantURI(t, a, fmt.Sprintf("u%d@example.org", maxLearned), fmt.Sprintf("sip:U%d@example.org", maxLearned))
}
