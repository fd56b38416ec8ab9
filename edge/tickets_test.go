package edge

import (
	"os"
	"testing"
	"time"
)

func TestTicketKeysAreKeptForADayAndBelievedForAnother(t *testing.T) {
	f := ticketFile(t.TempDir())
	now := time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC)
	turn := func(at time.Time, anew bool) []ticketKey {
		t.Helper()
		keys, err := f.turn(at, anew)
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	first := turn(now, false)
	if len(first) != 1 {
		t.Fatalf("%d keys at first", len(first))
	}
	if again := turn(now.Add(23*time.Hour), false); len(again) != 1 || again[0] != first[0] {
		t.Error("the key is another one within its day")
	}
	second := turn(now.Add(25*time.Hour), false)
	if len(second) != 2 || second[1] != first[0] || second[0].key == first[0].key {
		t.Error("the key of yesterday is not believed, or still makes tickets")
	}
	third := turn(now.Add(50*time.Hour), false)
	if len(third) != 2 || third[1] != second[0] {
		t.Error("a key lives longer than two days")
	}
	if anew := turn(now.Add(51*time.Hour), true); len(anew) != 1 || anew[0].key == third[0].key {
		t.Error("what was made before a change of certificates is still believed")
	}
	info, err := os.Stat(f.name())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	for _, text := range []string{"", "rubbish\n", "2026-11-28T10:00:00Z 00\n", "2999-01-01T00:00:00Z " + string(make([]byte, 64)) + "\n"} {
		if err := os.WriteFile(f.name(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if keys := turn(now, false); len(keys) != 1 {
			t.Errorf("%q makes %d keys", text, len(keys))
		}
	}
}
