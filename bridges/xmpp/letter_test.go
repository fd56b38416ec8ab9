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
	if got, ok := parseDate("Tue, 10 Sep 2002 23:08:25 +0200"); ok {
		t.Errorf("a date that is not GMT is %v", got)
	}
}
