package stanza

import (
	"strings"
	"time"
)

// ParseStamp reads a point in time as XMPP, CPIM and presence documents write it
// (RFC 3339 §5.6, XEP-0082).
//
// It is one that can be written again: an offset may lead out of the years that have four
// digits, and none is called 0000 in XML.
func ParseStamp(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(s))
	if t = t.UTC(); err != nil || t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, false
	}
	return t, true
}

// Stamp writes a point in time for XMPP (XEP-0082): UTC, to the second.
func Stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
