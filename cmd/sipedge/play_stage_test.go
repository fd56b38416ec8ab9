package main

import (
	"os"
	"strings"
	"testing"
)

// openTestStage is a stage for tests that go through a table, where a script
// would say the same thing many times.
func openTestStage(t *testing.T) *stage {
	t.Helper()
	s := newStage(t.TempDir())
	vars := map[string]string{"WORK": s.dir}
	s.env = func(key string) string { return vars[key] }
	s.set = func(key, value string) { vars[key] = value }
	s.deferred = t.Cleanup
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// play does lines of the language of plays, one by one.
func (s *stage) play(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := s.line(line); err != nil {
			t.Fatalf("%s: %v%s", line, err, s.tails())
		}
	}
}

// line does one line of the language, whose words have no blanks in them.
func (s *stage) line(line string) error {
	var words []string
	for _, w := range strings.Fields(line) {
		filled, err := s.fill(w)
		if err != nil {
			return err
		}
		words = append(words, filled)
	}
	if words[0] == "peers" {
		for _, name := range words[1:] {
			s.addPeer(name)
		}
		return nil
	}
	if p := s.peers[words[0]]; p != nil {
		return p.act(s, words[1:])
	}
	return verbs()[words[0]](s, words[1:])
}

// write makes a file of the play.
func (s *stage) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
