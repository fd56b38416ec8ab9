package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEachAttackIsShownByATest holds docs/attacks.md against what there is: each
// row names at least one test or play, all of them exist, and no row of the
// numbered ones is missing.
func TestEachAttackIsShownByATest(t *testing.T) {
	text, err := os.ReadFile("../../docs/attacks.md")
	if err != nil {
		t.Fatal(err)
	}
	proofs := knownProofs(t)
	rows := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) < 3 || !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| what") || strings.HasPrefix(line, "| | what") {
			continue
		}
		rows[strings.TrimSpace(cells[0])]++
		names := quotedName.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if names == nil {
			t.Errorf("nothing shows: %s", line)
		}
		for _, name := range names {
			if !proofs[name[1]] {
				t.Errorf("there is no test or play %s, of row: %s", name[1], line)
			}
		}
	}
	for _, id := range numberedAttacks() {
		if rows[id] != 1 {
			t.Errorf("row %s is there %d times, want once", id, rows[id])
		}
	}
}

var (
	quotedName   = regexp.MustCompile("`([A-Za-z0-9_]+)`")
	testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9]+)\(`)
)

// knownProofs are the names of all tests, fuzz targets and plays.
func knownProofs(t *testing.T) map[string]bool {
	proofs := make(map[string]bool)
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != "..":
			return fs.SkipDir
		case strings.HasSuffix(path, ".txtar"):
			proofs[strings.TrimSuffix(d.Name(), ".txtar")] = true
		case strings.HasSuffix(path, "_test.go"):
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range testFunction.FindAllSubmatch(text, -1) {
				proofs[string(m[1])] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return proofs
}

// numberedAttacks are the rows that must be there.
func numberedAttacks() (ids []string) {
	for _, group := range []struct {
		letter string
		last   int
		not    []int
	}{
		{"S", 24, nil},
		{"I", 22, nil},
		{"X", 10, nil},
		{"R", 10, nil},
		{"D", 13, nil},
		{"W", 1, nil},
		{"F", 21, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 17, 18, 20}}, // figures, and not attacks
	} {
		for n := 1; n <= group.last; n++ {
			if !slices.Contains(group.not, n) {
				ids = append(ids, fmt.Sprintf("%s-%02d", group.letter, n))
			}
		}
	}
	return ids
}
