package home

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestWhatHasHadItsTimeEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := Start(Config{Domain: "example.com", Users: map[string]string{"alice": "a", "bob": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	user := func(name, password string) *User {
		u, err := SignIn(ctx, UserConfig{Name: name, Domain: "example.com", Password: password, Servers: []string{s.UserAddr().String()}})
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	alice, bob := user("alice", "a"), user("bob", "b")
	defer alice.Close()
	defer bob.Close()
	if a, err := bob.Publish(ctx, true, "soon over"); err != nil || a.Status != 200 {
		t.Fatal(a, err)
	}
	w, _, err := alice.Watch(ctx, bob.URI())
	if err != nil {
		t.Fatal(err)
	}
	next := func(what, state, note string) {
		t.Helper()
		// What was said before may be said once more: a watcher is told at
		// its SUBSCRIBE, and of each change.
		for {
			n, err := w.Next(ctx)
			if err != nil {
				t.Fatalf("%s: %v; want %s with %q", what, err, state, note)
			}
			if strings.HasPrefix(n.State, state) && n.Presence.Note == note {
				return
			}
		}
	}
	next("at first", "active", "soon over")

	s.expirePresence(time.Now().Add(maxExpires + time.Second))
	next("after its time", "terminated;reason=timeout", "")
	if n := len(s.presence.watchers) + len(s.presence.documents); n != 0 {
		t.Errorf("%d subscriptions and publications are left", n)
	}
	if users := s.registrar.expire(time.Now().Add(maxExpires + time.Second)); len(users) != 2 {
		t.Errorf("sign-ins that ended: %v, want both", users)
	}
	if a, err := alice.Message(ctx, bob.URI(), "hello"); err != nil || a.Status != 480 {
		t.Errorf("MESSAGE to who is gone: %d, %v, want 480", a.Status, err)
	}
}

func TestAttemptsAreBoundedAndEnd(t *testing.T) {
	a := attempts{list: map[string]attempt{}}
	for i := range 2 * maxAttempts {
		req := parsed("")
		req.Via().Params.Add("branch", fmt.Sprint(magicCookie, i))
		a.begin(nil, hop{came: req}, req)
	}
	if len(a.list) != maxAttempts {
		t.Errorf("%d attempts are remembered, want %d", len(a.list), maxAttempts)
	}
	if _, ok := a.end(magicCookie + "0"); !ok || len(a.list) != maxAttempts-1 {
		t.Errorf("the first was remembered: %v; %d are left", ok, len(a.list))
	}
	a.expire(time.Now().Add(attemptTime + time.Second))
	if len(a.list) != 0 {
		t.Errorf("%d attempts are left after their time", len(a.list))
	}
}
