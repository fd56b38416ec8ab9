package allowlists

import (
	"strings"
	"time"
)

// Origin says who decided something by command, and when: it stands where a rule of a
// file has its place.
func Origin(by string, at time.Time) string {
	text := "decided"
	if by != "" {
		text += " by " + OneLine(by)
	}
	if at.IsZero() {
		return text
	}
	return text + " " + at.UTC().Format(time.RFC3339)
}

// OneLine makes what somebody typed fit for one line of a log: printable ASCII, and not
// more than 64 characters of it.
func OneLine(s string) string {
	const most = 64
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > 0x7e {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), most)]
}
