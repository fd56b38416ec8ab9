package edge

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A crowd that comes and goes does not fill the log: what is left out is counted in the
// next line. Home servers, and what we dialled, have their lines in any case.
func TestLinesAboutFlowsFromOutsideAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		come := func(role Role) {
			f := b.flow(role)
			b.e.opened(f)
			b.e.gone(f, errors.New("gone"))
		}
		lines := func(words ...string) (n int) {
			for line := range strings.Lines(b.log.String()) {
				has := true
				for _, w := range words {
					has = has && strings.Contains(line, w)
				}
				if has {
					n++
				}
			}
			return n
		}
		for range refusedBurst + 50 {
			come(RoleFederation)
		}
		for range refusedBurst + 50 {
			come(RoleInternal)
		}
		for _, msg := range []string{logFlowOpened, logFlowClosed} {
			if n := lines(msg, "role=federation"); n != refusedBurst {
				t.Errorf("%d lines %q about a crowd, want %d", n, msg, refusedBurst)
			}
			if n := lines(msg, "role=internal"); n != refusedBurst+50 {
				t.Errorf("%d lines %q about home servers, want all", n, msg)
			}
			if n := lines(msg, keyMissed); n != 0 {
				t.Errorf("%d lines %q count what nobody missed", n, msg)
			}
		}
		b.after(time.Second)
		come(RoleFederation)
		for _, msg := range []string{logFlowOpened, logFlowClosed} {
			if n := lines(msg, fmt.Sprintf("%s=%d", keyMissed, 50)); n != 1 {
				t.Errorf("%d lines %q say that 50 are missing, want one", n, msg)
			}
		}
	})
}

func TestACrowdHidesNoPartnersConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		come := func(role Role, name string) {
			f := b.flow(role)
			if name != "" {
				id := identity(t, name)
				f.Peer = &id
			}
			b.e.opened(f)
			b.e.gone(f, errors.New("gone"))
		}
		for i := range refusedBurst + 50 {
			come([]Role{RoleFederation, RoleRemote}[i%2], "")
		}
		come(RoleFederation, "fabrikam.example")
		come(RoleFederation, "stranger.example")
		for _, msg := range []string{logFlowOpened, logFlowClosed} {
			for name, want := range map[string]int{"fabrikam": 1, "stranger": 0} {
				got := 0
				for line := range strings.Lines(b.log.String()) {
					if strings.Contains(line, msg) && strings.Contains(line, name) {
						got++
					}
				}
				if got != want {
					t.Errorf("%d lines %q about %s, want %d", got, msg, name, want)
				}
			}
		}
		// Nor does a partner fill the log.
		for range refusedBurst + 50 {
			come(RoleFederation, "fabrikam.example")
		}
		if n := strings.Count(b.log.String(), logFlowClosed); n != 2*refusedBurst {
			t.Errorf("%d lines about ends, want %d", n, 2*refusedBurst)
		}
	})
}

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
