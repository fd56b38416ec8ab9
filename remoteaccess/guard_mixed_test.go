package remoteaccess

import (
	"fmt"
	"net/netip"
	"testing"
)

// login is a REGISTER of alice with several sets of credentials, each under its own
// realm: the home server takes those for its own and does not look at the others.
func login(t *testing.T, from string, names ...string) Attempt {
	t.Helper()
	var lines []string
	for i, name := range names {
		lines = append(lines, `Authorization: Digest username="`+name+`", realm="r`+string(rune('0'+i))+`", nonce="1", uri="sip:example.com", response="0"`)
	}
	return Attempt{User: alice, Credentials: ReadCredentials(request(t, "REGISTER", lines...)), Source: SourceOf(netip.MustParseAddr(from))}
}

// Somebody has an account of his own, and names another one beside it.
func TestASuccessProvesNobodyWhoIsMerelyNamedBeside(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	n := 0
	for n < 100 && s.try(digest(bob, "203.0.113.7"), OutcomeFailed).Action == Pass {
		s.try(login(t, "203.0.113.7", "alice", "bob"), OutcomeAccepted)
		n++
	}
	if n != 5 {
		t.Errorf("%d guesses at one user passed beside successes of another, want 5", n)
	}
	// Nor is the other one known there, whom the ban of a source would not stop.
	for i := range 20 {
		s.try(digest(user(i%7), "203.0.113.9"), OutcomeFailed)
	}
	s.try(login(t, "203.0.113.9", "carol", "alice"), OutcomeAccepted)
	s.want("who was named", digest("carol@example.com", "203.0.113.9"), Stop)
	// One set of credentials under another name is that one's success.
	s.try(login(t, "203.0.113.8", `contoso\\alice`), OutcomeAccepted)
	for i := range 20 {
		s.try(digest(user(i%7), "203.0.113.8"), OutcomeFailed)
	}
	s.want("the only one who was named", digest(alice, "203.0.113.8").as(`contoso\alice`), Pass)
}

// Each guess is at another user, and one of a few names stands before it.
func TestASprayBehindAFewNamesIsSeen(t *testing.T) {
	guess := func(i int, from string) Attempt {
		a := login(t, from, fmt.Sprint("nobody", i%7), user(i))
		a.User = user(i)
		return a
	}
	s := newSentry(t, GuardConfig{})
	n := 0
	for s.try(guess(n, "203.0.113.7"), OutcomeFailed).Action == Pass {
		n++
	}
	if n > 8 {
		t.Errorf("guesses at %d users passed from one source, want 8 at most", n)
	}
	s = newSentry(t, GuardConfig{})
	for i := range 100 {
		s.try(guess(i, addr(i)), OutcomeFailed)
	}
	if v := s.View(); !v.Spray {
		t.Errorf("View = %+v", v)
	}
}

// Many a home server looks at the user in a name and not at the domain, and reads
// what stands before a colon as a scheme.
func TestAnAccountHasNotAsManyNamesAsThereAreDomains(t *testing.T) {
	for _, form := range []string{"alice@x%d.example", `x%d\\alice`, "x%d:alice", "x%d:alice@example.com"} {
		s := newSentry(t, GuardConfig{})
		guess := func(i int, from string) Attempt {
			a := login(t, from, fmt.Sprintf(form, i))
			a.User = user(i)
			return a
		}
		n := 0
		for n < 100 && s.try(guess(n, "203.0.113.7"), OutcomeFailed).Action == Pass {
			n++
		}
		if n != 5 {
			t.Errorf("%s: %d guesses at one user passed from one source, want 5", form, n)
		}
		for i := range 100 {
			s.try(guess(i, addr(i)), OutcomeFailed)
		}
		s.want(form+" from elsewhere", digest(alice, "198.51.100.1"), Stop)
	}
	// Who has a name in a directory of another domain gets in, and is known.
	s := newSentry(t, GuardConfig{})
	a := digest(alice, "203.0.113.7").as("a.smith@corp.example")
	for range 100 {
		if s.try(a, OutcomeFailed).Action != Pass || s.try(a, OutcomeAccepted).Action != Pass {
			t.Fatal("stopped")
		}
	}
	for i := range 20 {
		s.try(digest(user(i%7), "203.0.113.7"), OutcomeFailed)
	}
	s.want("herself", a, Pass)
	s.want("who may be meant", digest("a.smith@example.com", "203.0.113.7"), Stop)
}
