package edge

import (
	"bytes"
	"testing"
)

func TestANameThatIsLearntStaysTheSame(t *testing.T) {
	s := newSigner([][]byte{bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)})
	for i := range 2 {
		main, other := s.name(i, "main"), s.name(i, "other")
		s.learn([]string{"main", "192.0.2.1:5061"})
		if s.name(i, "main") != main || s.name(i, "other") != other || main == other {
			t.Errorf("key %d: names are %x and %x, were %x and %x", i, s.name(i, "main"), s.name(i, "other"), main, other)
		}
	}
	if s.name(0, "main") == s.name(1, "main") {
		t.Error("two keys give a pool one name")
	}
	if n := testing.AllocsPerRun(100, func() { s.name(1, "192.0.2.1:5061") }); n != 0 {
		t.Errorf("a name costs %g allocations", n)
	}
}
