package edge

import "testing"

func TestReferencesAreNeverTheSameAndTellNothing(t *testing.T) {
	b := newBench(t, 1)
	const many = 200_000
	seen := make(map[string]bool, many)
	var steps [8]int // how often a letter is the same as in the one before
	last := b.e.reference()
	for range many {
		ref := b.e.reference()
		if seen[ref] {
			t.Fatalf("%s comes twice", ref)
		}
		seen[ref] = true
		for i := range ref {
			if ref[i] == last[i] {
				steps[i]++
			}
		}
		last = ref
	}
	for i, n := range steps {
		if n < many/32*8/10 || n > many/32*12/10 {
			t.Errorf("letter %d is that of the one before %d times in %d", i, n, many)
		}
	}
}

func TestTextOfAPeerIsOneForAnyLog(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "",
		"Linphone/5.2 (Debian)": "Linphone/5.2 (Debian)",
		`a "b" \c`:              `a \"b\" \\c`,
		"a\r\nb\x00":            `a\r\nb\x00`,
		"é\u202e\x7f":           `\u00e9\u202e\x7f`,
	} {
		if got := clean(text); got != want {
			t.Errorf("clean(%q) = %q, want %q", text, got, want)
		}
	}
}
