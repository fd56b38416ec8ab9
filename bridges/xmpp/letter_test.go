package xmpp

import (
	"testing"
	"time"
)

func TestDatesAreWrittenAndRead(t *testing.T) {
	want := time.Date(2002, 9, 10, 23, 8, 25, 0, time.UTC)
	const value = "Tue, 10 Sep 2002 23:08:25 GMT"
	if got := date(want.In(time.FixedZone("", 7200))); got != value {
		t.Errorf("date = %s", got)
	}
	if got, ok := parseDate(value); !ok || !got.Equal(want) {
		t.Errorf("parseDate = %v, %v", got, ok)
	}
	for _, no := range []string{"Tue, 10 Sep 2002 23:08:25 +0200", "Sat, 01 Jan 0000 00:00:00 GMT"} {
		if got, ok := parseDate(no); ok {
			t.Errorf("parseDate(%q) = %v", no, got)
		}
	}
}
