package allowlists

import (
	"slices"
	"strings"
	"testing"
)

func TestTermsRestrictARequest(t *testing.T) {
	us, them := address("alice@example.com"), address("bob@fabrikam.example")
	for _, tt := range []struct {
		name    string
		allowed Allowed
		q       Question
		want    Reason
	}{
		{"nothing said is everything", Allowed{}, Question{Method: []byte("NEW"), Kinds: KindOther, Size: 1 << 30}, ReasonNone},
		{"the wrong way", Allowed{Direction: "out"}, Question{Method: []byte("MESSAGE")}, PartnerDirection},
		{"within a dialog ways do not count", Allowed{Direction: "out"}, Question{Method: []byte("MESSAGE"), Dialog: true}, ReasonNone},
		{"but one that is none does", Allowed{}, Question{Direction: 7, Dialog: true}, PartnerDirection},

		{"SUBSCRIBE brings NOTIFY", Allowed{Methods: []string{"SUBSCRIBE"}}, Question{Method: []byte("NOTIFY"), Dialog: true}, ReasonNone},
		{"and BENOTIFY", Allowed{Methods: []string{"SUBSCRIBE"}}, Question{Method: []byte("BENOTIFY"), Dialog: true}, ReasonNone},
		{"as does REFER", Allowed{Methods: []string{"REFER"}}, Question{Method: []byte("NOTIFY"), Dialog: true}, ReasonNone},
		{"but not a NOTIFY out of the blue", Allowed{Methods: []string{"SUBSCRIBE"}}, Question{Method: []byte("NOTIFY")}, PartnerMethod},
		{"INVITE does not", Allowed{Methods: []string{"INVITE"}}, Question{Method: []byte("NOTIFY"), Dialog: true}, PartnerMethod},
		{"INVITE brings BYE", Allowed{Methods: []string{"INVITE"}}, Question{Method: []byte("BYE"), Dialog: true}, ReasonNone},

		{"a kind that is listed", Allowed{Kinds: []string{"im", "files"}}, Question{Method: []byte("MESSAGE"), Kinds: KindIM}, ReasonNone},
		{"two of them", Allowed{Kinds: []string{"im", "files"}}, Question{Method: []byte("INVITE"), Kinds: KindIM | KindFiles}, ReasonNone},
		{"one that is not beside it", Allowed{Kinds: []string{"im"}}, Question{Method: []byte("INVITE"), Kinds: KindIM | KindCalls}, PartnerKind},
		{"what is no kind", Allowed{Kinds: []string{"im"}}, Question{Method: []byte("NEW"), Kinds: KindOther}, PartnerKind},
		{"what carries nothing", Allowed{Kinds: []string{"im"}}, Question{Method: []byte("OPTIONS")}, ReasonNone},
		{"within a dialog, too", Allowed{Kinds: []string{"im"}}, Question{Method: []byte("INVITE"), Kinds: KindCalls, Dialog: true}, PartnerKind},
		{"the end of one passes", Allowed{Kinds: []string{"im"}}, Question{Method: []byte("BYE"), Kinds: KindOther, Dialog: true}, ReasonNone},
		{"but is no way to begin one", Allowed{Kinds: []string{"im"}}, Question{Method: []byte("BYE"), Kinds: KindOther}, PartnerKind},
		{"an UPDATE that changes nothing passes", Allowed{Kinds: []string{"im"}}, Question{Method: []byte("UPDATE"), Dialog: true}, ReasonNone},
		{"one that brings a call along does not", Allowed{Kinds: []string{"im"}}, Question{Method: []byte("UPDATE"), Kinds: KindCalls, Body: 9, Dialog: true}, PartnerKind},

		{"our user that is listed", Allowed{Users: []string{"alice@example.com"}}, Question{Us: us, Them: them}, ReasonNone},
		{"one that is not", Allowed{Users: []string{"carol@example.com"}}, Question{Us: us, Them: them}, PartnerUser},
		{"their user that is listed", Allowed{TheirUsers: []string{"b*"}}, Question{Us: us, Them: them}, ReasonNone},
		{"one that is not", Allowed{TheirUsers: []string{"a*"}}, Question{Us: us, Them: them}, PartnerUser},
		{"both must be", Allowed{Users: []string{"alice"}, TheirUsers: []string{"a*"}}, Question{Us: us, Them: them}, PartnerUser},
		{"within a dialog nobody asks", Allowed{Users: []string{"carol"}}, Question{Us: us, Them: them, Dialog: true}, ReasonNone},
		{"a request for nobody in particular is not for one who is listed", Allowed{Users: []string{"alice"}}, Question{}, PartnerUser},

		{"a message that just fits", Allowed{MaxMessage: 100}, Question{Size: 100}, ReasonNone},
		{"one that does not", Allowed{MaxMessage: 100}, Question{Size: 101}, PartnerSize},
		{"a body that just fits", Allowed{MaxBody: 10}, Question{Size: 100, Body: 10}, ReasonNone},
		{"one that does not", Allowed{MaxBody: 10}, Question{Size: 100, Body: 11}, PartnerSize},
		{"sizes count within dialogs", Allowed{MaxBody: 10}, Question{Body: 11, Dialog: true}, PartnerSize},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := terms(tt.allowed); got.Open() && got.judge(&tt.q) != ReasonNone && tt.q.Direction <= Out {
				t.Error("the terms are open and refuse")
			}
			if got := terms(tt.allowed).judge(&tt.q); got != tt.want {
				t.Errorf("%+v of %+v = %q, want %q", tt.q, tt.allowed, got, tt.want)
			}
		})
	}
	if !terms(Allowed{}).Open() {
		t.Error("terms that say nothing are not open")
	}
	for name, none := range map[string]*Terms{"nil": nil, "zero": {}} {
		if none.Open() {
			t.Errorf("%s Terms are open", name)
		}
		if got := none.judge(&Question{Method: []byte("MESSAGE")}); got == ReasonNone {
			t.Errorf("%s Terms allow", name)
		}
	}
}

func TestTermsNamesAllFaults(t *testing.T) {
	for _, tt := range []struct {
		allowed Allowed
		want    []string
	}{
		{Allowed{
			Methods: []string{"NO SPACE", "message", "", "NEW"}, Direction: "sideways", Kinds: []string{"video", "other", "im"},
			MaxBody: -1, Users: []string{"@x"}, TheirUsers: []string{"y@"},
		}, []string{
			`direction "sideways" is none of "both", "in", "out"`,
			`method "NO SPACE" is not a SIP method name`,
			`method "message" must be written "MESSAGE": case counts`,
			`method "" is not a SIP method name`,
			`kind "video" is none of "im", "presence", "calls", "files"`,
			`kind "other" is none of "im", "presence", "calls", "files"`,
			`max_message and max_body must be more than 0; leave them out for the default`,
			`users "@x": names no user; * is all of them`,
			`their_users "y@": names no domain after the @`,
		}},
		{Allowed{Methods: []string{}, Kinds: []string{}, Users: []string{}, TheirUsers: []string{}}, []string{
			`methods is empty; leave it out to allow all`,
			`kinds is empty; leave it out to allow all`,
			`users is empty; leave it out for everybody`,
			`their_users is empty; leave it out for everybody`,
		}},
	} {
		terms, errs := NewTerms(tt.allowed)
		var got []string
		for _, err := range errs {
			got = append(got, err.Error())
		}
		if terms != nil || !slices.Equal(got, tt.want) {
			t.Errorf("NewTerms says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
		}
	}
}

func TestLintFindsWhatDoesNothing(t *testing.T) {
	for _, tt := range []struct {
		name    string
		allowed Allowed
		want    []string
	}{
		{"nothing", Allowed{Methods: []string{"MESSAGE", "OPTIONS", "BYE"}, Kinds: []string{"im"}, Users: []string{"alice", "b*", "c@example.com"}, MaxMessage: 9, MaxBody: 8}, nil},
		{"methods of Microsoft", Allowed{Methods: []string{"SERVICE", "BENOTIFY"}}, nil},
		{"a method that nobody knows", Allowed{Methods: []string{"MESAGE"}}, []string{
			"the method MESAGE is none that is known: only what is spelled so passes"}},
		{"a method that carries nothing of it", Allowed{Methods: []string{"INVITE", "SUBSCRIBE"}, Kinds: []string{"im"}}, []string{
			"the method SUBSCRIBE never passes: it carries nothing of what kinds lists"}},
		{"a kind that nothing carries", Allowed{Methods: []string{"SUBSCRIBE"}, Kinds: []string{"files", "presence"}}, []string{
			`the kind "files" never passes: none of methods carries it`}},
		{"a limit behind another", Allowed{MaxMessage: 8, MaxBody: 9}, []string{"max_body = 9 is never reached: max_message = 8 is"}},
		{"twice the same", Allowed{Users: []string{"alice@example.com", "ALICE@example.com"}}, []string{`users "ALICE@example.com" does nothing: "alice@example.com" covers it`}},
		{"a pattern in a wider one", Allowed{Users: []string{"sales-*", "sales-n*@example.com"}}, []string{`users "sales-n*@example.com" does nothing: "sales-*" covers it`}},
		{"a name in a pattern", Allowed{TheirUsers: []string{"*@x.example", "bob@x.example"}}, []string{`their_users "bob@x.example" does nothing: "*@x.example" covers it`}},
		{"everybody", Allowed{Users: []string{"*"}}, []string{`users lets everybody through: "*" is as good as no list`}},
		{"many", Allowed{Users: []string{"a*", "a1", "a2", "a3", "a4", "a5"}}, []string{
			`users "a1" does nothing: "a*" covers it`, `users "a2" does nothing: "a*" covers it`, `users "a3" does nothing: "a*" covers it`,
			"users has 2 more that others cover"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.allowed.Lint(); !slices.Equal(got, tt.want) {
				t.Errorf("Lint:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}
