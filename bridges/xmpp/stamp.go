package xmpp

import (
	"net/http"
	"strings"
	"time"
)

// parseStamp reads a point in time as XMPP, CPIM and presence documents write it
// (RFC 3339 §5.6, XEP-0082).
func parseStamp(s string) (time.Time, bool) { return parseTime(time.RFC3339, s) }

// parseTime reads a point in time that can be written again: an offset may lead out of
// the years that have four digits, and none is called 0000 in XML.
func parseTime(layout, s string) (time.Time, bool) {
	t, err := time.Parse(layout, strings.TrimSpace(s))
	if t = t.UTC(); err != nil || t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, false
	}
	return t, true
}

// stamp writes a point in time for XMPP (XEP-0082): UTC, to the second.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// parseDate reads the value of a Date field, which is always GMT (RFC 3261 §20.17).
func parseDate(s string) (time.Time, bool) { return parseTime(http.TimeFormat, s) }

// date writes the value of a Date field.
func date(t time.Time) string { return t.UTC().Format(http.TimeFormat) }
