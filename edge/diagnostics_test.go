package edge

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/allowlists"
)

// undiagnosed are the reasons that no number of [MS-OCER] fits: the status says
// it already, or it is nothing that a server of the dialect could tell anybody.
var undiagnosed = []allowlists.Reason{
	allowlists.SIPMalformed, allowlists.SIPTooLarge, allowlists.SIPUnsupported, allowlists.SIPTooManyHops,
	allowlists.SIPLoop, allowlists.SIPMaxBreadth, allowlists.SIPCanceled, allowlists.IdentityNone,
	allowlists.IdentityNotNamed, allowlists.PartnerSize, allowlists.PartnerUnmarked, allowlists.RouteChallenged,
	allowlists.AccessNotSignedIn, allowlists.AccessKind, allowlists.AccessDirectoryAway, allowlists.AccessFirstHop, allowlists.BridgeScheme, allowlists.BridgeAddress,
}

func TestEachReasonHasANumberOrIsNamedAsHavingNone(t *testing.T) {
	known := make(map[allowlists.Reason]bool)
	for _, m := range allowlists.Reasons() {
		known[m.Reason] = true
		d, numbered := diagnostics[m.Reason]
		switch none := slices.Contains(undiagnosed, m.Reason); {
		case m.Status == 0 && (numbered || none):
			t.Errorf("%s is no refusal and has a number, or is named as having none", m.Reason)
		case m.Status != 0 && numbered == none:
			t.Errorf("%s has a number: %v, is named as having none: %v", m.Reason, numbered, none)
		case numbered && (d.id < 1000 || d.id > 1999 && d.id/1000 != 4 || !isPublic([]byte(`1;reason="`+d.text+`"`))):
			t.Errorf("%s has %d %q, which is no diagnostic of a SIP stack or of user services", m.Reason, d.id, d.text)
		}
	}
	for r := range diagnostics {
		if !known[r] {
			t.Errorf("%s has a number and is no reason", r)
		}
	}
}

func TestWhichDiagnosticsMayCross(t *testing.T) {
	for _, tt := range []struct {
		value string
		want  bool
	}{
		{`4005;reason="Destination is not known"`, true},
		{`4005.12;reason="a, b; c=d <e>";component="x";SipResponseCode="404"`, true},
		{`1;Reason=""`, true},
		{`4005`, false},
		{`4005;`, false},
		{`4005;reason`, false},
		{`4005;reason=words`, false},
		{`4005;reason="open`, false},
		{`4005;reason="a";`, false},
		{`4005;reason="a"x`, false},
		{`4005;reason="a" ;b="c"`, false},
		{`4005;component="x"`, false},
		{`4005;reason="a";source="edge1.example.com"`, false},
		{`4005;Source="edge1.example.com";reason="a"`, false},
		{`4005;reason="a";sour ce="x"`, false},
		{`;reason="a"`, false},
		{`4005.;reason="a"`, false},
		{`.1;reason="a"`, false},
		{`-1;reason="a"`, false},
		{`1234567890;reason="a"`, false},
		{"4005;reason=\"a\tb\"", false},
		{"4005;reason=\"a\r\n b\"", false},
		{"4005;reason=\"\x1b[31m\"", false},
		{"4005;reason=\"caf\xc3\xa9\"", false},
		{`4005;reason="a\"b"`, false},
		{`4005;reason="` + strings.Repeat("a", maxPublic-14) + `"`, true},
		{`4005;reason="` + strings.Repeat("a", maxPublic-13) + `"`, false},
	} {
		if got := isPublic([]byte(tt.value)); got != tt.want {
			t.Errorf("%.60q may cross: %v, want %v", tt.value, got, tt.want)
		}
	}
}

// FuzzDiagnostics holds what must be so of whatever crosses: one line that
// anybody can print, and no source.
func FuzzDiagnostics(f *testing.F) {
	f.Add([]byte(`4005.1;reason="a";b="c"`))
	f.Add([]byte(`1;reason="a";source="b"`))
	f.Add([]byte(`1;reason="a";nsource="b"`))
	f.Fuzz(func(t *testing.T, value []byte) {
		if !isPublic(value) {
			return
		}
		if bytes.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) || len(value) > maxPublic {
			t.Errorf("%q may cross", value)
		}
		outside := slices.Collect(func(yield func([]byte) bool) {
			for i, part := range bytes.Split(value, []byte(`"`)) {
				if i%2 == 0 && !yield(bytes.ToLower(part)) {
					return
				}
			}
		})
		if joined := bytes.ReplaceAll(bytes.Join(outside, nil), []byte(" "), nil); bytes.Contains(joined, []byte(";source=")) {
			t.Errorf("%q names a source", value)
		}
	})
}
