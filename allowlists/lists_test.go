package allowlists

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// terms compiles what an entry says, which must be well said.
func terms(a Allowed) *Terms {
	t, errs := NewTerms(a)
	if errs != nil {
		panic(fmt.Sprint(errs))
	}
	return t
}

// entries are the lists of most tests.
func entries() []Entry {
	rule := func(name string, line int) Rule { return Rule{Name: name, File: "partners.toml", Line: line} }
	return []Entry{
		{Domain: "fabrikam.example", Terms: terms(Allowed{}), Rule: rule("partner fabrikam.example", 4)},
		{Domain: "contoso.example", Terms: terms(Allowed{Methods: []string{"MESSAGE", "INVITE"}}), Rule: rule("partner contoso.example", 6)},
		{Domain: "in.example", Terms: terms(Allowed{Direction: "in"}), Rule: rule("partner in.example", 9)},
		{Domain: "out.example", Terms: terms(Allowed{Direction: "out"}), Rule: rule("partner out.example", 11)},
		{Domain: "spam.example", Blocked: true, Rule: rule("blocked spam.example", 14)},
	}
}

var unlisted = Rule{Name: "[federation] unlisted", File: "partners.toml", Line: 2}

func TestDecide(t *testing.T) {
	lists, problems := Compile(entries(), unlisted)
	if problems != nil {
		t.Fatal(problems)
	}
	for _, tt := range []struct {
		name      string
		direction Direction
		method    string
		remote    string
		action    Action
		reason    Reason
		rule      string
	}{
		{"a listed partner may", In, "MESSAGE", "fabrikam.example", Allow, PartnerAllowed, "partner fabrikam.example (partners.toml:4)"},
		{"a listed partner may do what nobody knows", In, "FROBNICATE", "fabrikam.example", Allow, PartnerAllowed, "partner fabrikam.example (partners.toml:4)"},
		{"we may go to a listed partner", Out, "MESSAGE", "fabrikam.example", Allow, PartnerAllowed, "partner fabrikam.example (partners.toml:4)"},
		{"blocked is blocked", In, "MESSAGE", "spam.example", Refuse, PartnerBlocked, "blocked spam.example (partners.toml:14)"},
		{"blocked is blocked outward, too", Out, "MESSAGE", "spam.example", Refuse, PartnerBlocked, "blocked spam.example (partners.toml:14)"},
		{"a subdomain is someone else", In, "MESSAGE", "im.fabrikam.example", Refuse, PartnerNotAllowed, "[federation] unlisted (partners.toml:2)"},
		{"a parent is someone else", In, "MESSAGE", "example", Refuse, PartnerNotAllowed, "[federation] unlisted (partners.toml:2)"},
		{"a name that ends alike is someone else", In, "MESSAGE", "notfabrikam.example", Refuse, PartnerNotAllowed, "[federation] unlisted (partners.toml:2)"},
		{"a name that is not in normal form is nobody's", In, "MESSAGE", "Fabrikam.example", Refuse, PartnerNotAllowed, "[federation] unlisted (partners.toml:2)"},
		{"no domain is nobody's", In, "MESSAGE", "", Refuse, PartnerNotAllowed, "[federation] unlisted (partners.toml:2)"},
		{"a listed method passes", In, "MESSAGE", "contoso.example", Allow, PartnerAllowed, "partner contoso.example (partners.toml:6)"},
		{"another method does not", In, "SUBSCRIBE", "contoso.example", Refuse, PartnerMethod, "partner contoso.example (partners.toml:6)"},
		{"methods are case-sensitive", In, "message", "contoso.example", Refuse, PartnerMethod, "partner contoso.example (partners.toml:6)"},
		{"who may call may hang up", In, "BYE", "contoso.example", Allow, PartnerAllowed, "partner contoso.example (partners.toml:6)"},
		{"a partner that may begin", In, "MESSAGE", "in.example", Allow, PartnerAllowed, "partner in.example (partners.toml:9)"},
		{"is one that we may not write to", Out, "MESSAGE", "in.example", Refuse, PartnerDirection, "partner in.example (partners.toml:9)"},
		{"a partner that may not begin", In, "MESSAGE", "out.example", Refuse, PartnerDirection, "partner out.example (partners.toml:11)"},
		{"is one that we may write to", Out, "MESSAGE", "out.example", Allow, PartnerAllowed, "partner out.example (partners.toml:11)"},
		{"a direction that is none refuses", Direction(7), "MESSAGE", "fabrikam.example", Refuse, PartnerDirection, "partner fabrikam.example (partners.toml:4)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := lists.Decide(Question{Direction: tt.direction, Method: []byte(tt.method), Remote: []byte(tt.remote)})
			if v.Action != tt.action || v.Reason != tt.reason || v.Rule.String() != tt.rule {
				t.Errorf("Decide = %v %s by %s, want %v %s by %s", v.Action, v.Reason, v.Rule, tt.action, tt.reason, tt.rule)
			}
			if !v.Allowed() && v.Code() != 403 {
				t.Errorf("Decide answers %d, want 403", v.Code())
			}
		})
	}
}

func TestTheZeroVerdictRefuses(t *testing.T) {
	var v Verdict
	if v.Allowed() || v.Code() != 403 {
		t.Errorf("the zero Verdict: allowed %v, code %d; want false, 403", v.Allowed(), v.Code())
	}
}

func TestEmptyListsAllowNothing(t *testing.T) {
	empty, _ := Compile(nil, unlisted)
	for name, lists := range map[string]*Lists{"nil": nil, "zero": {}, "empty": empty} {
		v := lists.Decide(Question{Method: []byte("MESSAGE"), Remote: []byte("fabrikam.example")})
		if v.Allowed() || v.Reason != PartnerNotAllowed {
			t.Errorf("%s Lists: %+v, want a refusal as %s", name, v, PartnerNotAllowed)
		}
	}
}

func TestCompileNamesAllProblems(t *testing.T) {
	rule := func(name string, line int) Rule { return Rule{Name: name, File: "p.toml", Line: line} }
	lists, problems := Compile([]Entry{
		{Domain: "a.example", Rule: rule("partner a.example", 1)},
		{Domain: "a.example", Blocked: true, Rule: rule("blocked a.example", 2)},
		{Rule: rule("partner ?", 7)},
	}, unlisted)
	want := []string{
		`p.toml:2: a.example is in two entries: this one and partner a.example (p.toml:1)`,
		`p.toml:7: partner ? has no domain`,
	}
	var got []string
	for _, p := range problems {
		got = append(got, p.Error())
	}
	if lists != nil || !slices.Equal(got, want) {
		t.Errorf("Compile says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEachReasonHasOneMeaning(t *testing.T) {
	seen := make(map[Reason]bool)
	for _, m := range Reasons() {
		if seen[m.Reason] || m.Reason == ReasonNone || m.Text == "" {
			t.Errorf("reason %q: twice %v, text %q", m.Reason, seen[m.Reason], m.Text)
		}
		seen[m.Reason] = true
		if m.Status == 0 && m.Reason.Status() != 0 || m.Status != 0 && (m.Status < 400 || m.Status > 699) {
			t.Errorf("reason %s has status %d", m.Reason, m.Status)
		}
	}
	if got := Reason("made.up").Status(); got != 403 {
		t.Errorf("a reason outside the list answers %d, want 403", got)
	}
}

// many returns lists with n partners, and the domain of one in the middle.
func many(n int) (*Lists, []byte) {
	list, shared := make([]Entry, n), terms(Allowed{})
	for i := range list {
		list[i].Terms = shared
		list[i].Domain = fmt.Sprintf("p%06d.partner.example", i)
	}
	lists, _ := Compile(list, unlisted)
	return lists, []byte(list[n/2].Domain)
}

func TestDecideAllocatesNothing(t *testing.T) {
	lists, listed := many(10)
	method, stranger := []byte("MESSAGE"), []byte("stranger.example")
	n := testing.AllocsPerRun(100, func() {
		lists.Decide(Question{Method: method, Remote: listed})
		lists.Decide(Question{Method: method, Remote: stranger})
	})
	if n != 0 {
		t.Errorf("Decide allocates %v times, want none", n)
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			lists, domain := many(n)
			q := Question{Method: []byte("MESSAGE"), Remote: domain}
			b.ReportAllocs()
			for b.Loop() {
				if !lists.Decide(q).Allowed() {
					b.Fatal("refused")
				}
			}
		})
	}
}

// FuzzLists holds what must be so whatever the lists say: blocked never allows,
// empty lists allow nothing, and who is allowed stands in the list by name.
func FuzzLists(f *testing.F) {
	f.Add("a.example b.example", "b.example", "b.example", "MESSAGE", true)
	f.Add("a.example", "", "A.example", "INVITE", false)
	f.Add("a.example", "a.example", "a.example", "ACK", false)
	f.Fuzz(func(t *testing.T, allowed, blocked, remote, method string, out bool) {
		q := Question{Method: []byte(method), Remote: []byte(remote)}
		if out {
			q.Direction = Out
		}
		var list []Entry
		for _, d := range strings.Fields(blocked) {
			list = append(list, Entry{Domain: d, Blocked: true})
		}
		for _, d := range strings.Fields(allowed) {
			list = append(list, Entry{Domain: d, Terms: terms(Allowed{})})
		}
		lists, problems := Compile(list, unlisted)
		v := lists.Decide(q)
		switch {
		case problems != nil && v.Allowed():
			t.Error("lists with problems allow")
		case slices.Contains(strings.Fields(blocked), remote) && v.Allowed():
			t.Errorf("%q is blocked and allowed", remote)
		case !slices.Contains(strings.Fields(allowed), remote) && v.Allowed():
			t.Errorf("%q is not listed and allowed", remote)
		}
		if empty, _ := Compile(nil, unlisted); empty.Decide(q).Allowed() {
			t.Error("empty lists allow")
		}
		if !bytes.Equal(q.Remote, []byte(remote)) {
			t.Error("Decide changed the question")
		}
	})
}
