package stanza

import (
	"testing"
	"time"
)

func TestTimesAreWrittenAndRead(t *testing.T) {
	want := time.Date(2002, 9, 10, 23, 8, 25, 0, time.UTC)
	for _, s := range []string{"2002-09-10T23:08:25Z", "2002-09-11T01:08:25+02:00", " 2002-09-10T23:08:25Z "} {
		if got, ok := ParseStamp(s); !ok || !got.Equal(want) {
			t.Errorf("ParseStamp(%s) = %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "20020910T23:08:25", "2002-09-10", "yesterday", "0001-01-01T00:00:00Z",
		"9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00", "0000-06-01T00:00:00Z"} {
		if got, ok := ParseStamp(s); ok || !got.IsZero() {
			t.Errorf("ParseStamp(%q) = %v", s, got)
		}
	}
	if got := Stamp(want.In(time.FixedZone("", 7200))); got != "2002-09-10T23:08:25Z" {
		t.Errorf("Stamp = %s", got)
	}
}

func TestCleanTextIsWhatXMLCarries(t *testing.T) {
	for s, want := range map[string]string{
		"":                          "",
		"Größe\t\n":                 "Größe\t\n",
		"a\r\nb\rc\r":               "a\nb\nc\n",
		"a\x00\x1bb\x7f":            "a\ufffd\ufffdb\x7f",
		"\xff \uFFFE \uFFFF \uFFFD": "\ufffd \ufffd \ufffd \ufffd",
	} {
		got := Clean(s)
		if got != want {
			t.Errorf("Clean(%q) = %q, want %q", s, got, want)
		}
		e := New(NS, "body")
		e.Text = got
		if again, err := Parse(Append(nil, e), Limits{}); err != nil || again.Text != want {
			t.Errorf("%q read again: %v, %v", want, again, err)
		}
	}
}
