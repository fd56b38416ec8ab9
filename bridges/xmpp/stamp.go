package xmpp

import (
	"strings"
	"time"
)

// parseStamp reads a point in time as XMPP, CPIM and presence documents write it
// (RFC 3339 §5.6, XEP-0082).
func parseStamp(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(s))
	return t.UTC(), err == nil && !t.IsZero()
}

// stamp writes a point in time for XMPP (XEP-0082): UTC, to the second.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
