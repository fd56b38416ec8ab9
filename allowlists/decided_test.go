package allowlists

import (
	"strings"
	"testing"
	"time"
)

func TestOriginSaysWhoAndWhenOnOneLine(t *testing.T) {
	at := time.Date(2026, 3, 4, 6, 6, 7, 0, time.FixedZone("", 3600))
	for _, c := range []struct {
		by   string
		at   time.Time
		want string
	}{
		{"", time.Time{}, "decided"},
		{"ada", time.Time{}, "decided by ada"},
		{"ada", at, "decided by ada 2026-03-04T05:06:07Z"},
		{"a\n\x7fd\u202e", at, "decided by a??d? 2026-03-04T05:06:07Z"},
		{strings.Repeat("x", 99), time.Time{}, "decided by " + strings.Repeat("x", 64)},
	} {
		if got := Origin(c.by, c.at); got != c.want {
			t.Errorf("Origin(%q, %v) = %q, want %q", c.by, c.at, got, c.want)
		}
	}
}
