package stanza

import (
	"strings"
	"time"
)

// ParseStamp reads a point in time as XMPP, CPIM and presence documents write it
// (RFC 3339 §5.6, XEP-0082).
func ParseStamp(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(s))
	return t.UTC(), err == nil && !t.IsZero()
}

// Stamp writes a point in time for XMPP (XEP-0082): UTC, to the second.
func Stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
