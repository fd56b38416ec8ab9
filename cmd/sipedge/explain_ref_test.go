package main

import (
	"errors"
	"strings"
	"testing"
)

func TestReferencesAreReadAsPeopleTypeThem(t *testing.T) {
	for _, tt := range []struct{ typed, want string }{
		{"8QK2ZD1C", "8QK2ZD1C"},
		{" ref=8qk2zd1c\"", "8QK2ZD1C"},
		{"8QK2-ZDIC", "8QK2ZD1C"},
		{"OOOOlllU", "0000111V"},
		{"8QK2ZD1", ""},
		{"8QK2ZD1CC", ""},
		{"8QK2ZD1?", ""},
		{"", ""},
	} {
		got, err := readRef(tt.typed)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q is %q, %v; want %q", tt.typed, got, err, tt.want)
		}
	}
}

func TestReferencesAreFoundInLogsOfEachForm(t *testing.T) {
	const text = `time=2026-11-22T13:32:53.500Z level=INFO msg="flow opened" flow=1
Nov 22 13:32:54 edge1 sipedge[7]: time=2026-11-22T13:32:54.500Z level=WARN msg="request refused" flow=7 method=MESSAGE from="a b@spam.example" to=alice@example.com status=403 reason=partner.blocked rule="blocked spam.example (partners.toml:9)" ref=AAAAAAAA peer="x \"y\"" missed=3 call_id=one
{"time":"2026-11-22T13:32:55Z","level":"WARN","msg":"request refused","status":488,"reason":"partner.kind","ref":"BBBBBBBB","call_id":"AAAAAAAA"}
{"time":"2026-11-22T13:32:56Z","ref":"CCCCCC
`
	a, err := findRef(strings.NewReader(text), "AAAAAAAA")
	if err != nil || a.From != "a b@spam.example" || a.Status != 403 || a.Rule != "blocked spam.example (partners.toml:9)" ||
		a.Peer != `x "y"` || a.Missed != 3 || a.Time.Minute() != 32 {
		t.Errorf("found %+v, %v", a, err)
	}
	b, err := findRef(strings.NewReader(text), "BBBBBBBB")
	if err != nil || b.Status != 488 || b.CallID != "AAAAAAAA" {
		t.Errorf("found %+v, %v", b, err)
	}
	if _, err := findRef(strings.NewReader(text), "CCCCCCCC"); !errors.Is(err, errNoRecord) {
		t.Errorf("what is not there: %v", err)
	}
}

func TestExplainOfAReferenceHasItsExitCodes(t *testing.T) {
	s := newSite(t)
	for _, tt := range []struct {
		line string
		code int
	}{
		{"--ref AAAAAAAA --log $DIR/log", exitDone},
		{"--ref AAAAAAAA --log $DIR/log --json", exitDone},
		{"--ref BBBBBBBB --log $DIR/log", exitNotFound},
		{"--ref BBBBBBBB", exitNotFound},
		{"--ref B", exitUsage},
		{"--ref AAAAAAAA --from a@b.example", exitUsage},
		{"--from a@fabrikam.example --to bob@example.com --log $DIR/log", exitUsage},
		{"--ref AAAAAAAA --log $DIR/absent", exitFailed},
	} {
		s.write("log", `time=2026-11-22T13:32:54.500Z level=WARN msg="request refused" role=federation method=INVITE from="\x1b[2J\u202e@fabrikam.example" to=alice@example.com status=403 reason=partner.method rule=r ref=AAAAAAAA peer=fabrikam.example`+"\n")
		code, out, errs := s.run("explain -c $DIR/sipedge.toml " + tt.line)
		if code != tt.code {
			t.Errorf("%s: exit %d, want %d: %s", tt.line, code, tt.code, errs)
		}
		if strings.ContainsAny(out+errs, "\x1b\u202e") {
			t.Errorf("%s: prints an escape sequence: %q", tt.line, out)
		}
	}
}
