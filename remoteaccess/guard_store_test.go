package remoteaccess

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sipedge/sipedge/store"
)

// copied is the store as it is on the disk now, as if the edge ended here.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func (s *sentry) flushed() {
	s.t.Helper()
	if err := s.flush(); err != nil {
		s.t.Fatal(err)
	}
}

var prefixes = cmpopts.EquateComparable(netip.Prefix{})

func TestBansSurviveARestart(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	dir := t.TempDir()
	s.openIn(dir)
	a := digest(alice, "203.0.113.7")
	s.fails(a)
	s.fails(a.signed())
	for i := range 8 {
		s.try(digest(user(i), "2001:db8::1"), OutcomeFailed)
	}
	for i := range 50 {
		s.try(digest(bob, addr(i+1)), OutcomeFailed)
	}
	s.flushed()
	if err := s.Add(Ban{User: "Eve@example.com", Reason: "left", By: "root"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(Ban{Source: netip.MustParsePrefix("198.51.100.77/24"), Until: s.watch.now().Add(time.Hour), By: "root"}); err != nil {
		t.Fatal(err)
	}
	want := s.List()
	if len(want) != 6 {
		t.Errorf("%d bans, want 6: %+v", len(want), want)
	}
	s.openIn(copied(t, dir))
	if diff := cmp.Diff(want, s.List(), prefixes); diff != "" {
		t.Errorf("after a restart:\n%s", diff)
	}
	s.want("the pair", a, Stop)
	s.want("the flow", a.signed(), Stop)
	s.want("the source", digest("carol@example.com", "2001:db8::2:3"), Stop)
	s.want("the user", digest(bob, "203.0.113.8"), Stop)
	s.want("the user by hand", digest("eve@example.com", "203.0.113.8"), Stop)
	s.want("the network", digest("carol@example.com", "198.51.100.4"), Stop)
	s.pass(time.Hour)
	s.want("the pair later", a, Pass)
	s.want("the network later", digest("carol@example.com", "198.51.100.4"), Pass)
	s.fails(a)
	if b := s.Judge(a).Ban; b.Until.Sub(b.Since) != 30*time.Minute {
		t.Errorf("the second lock is for %v", b.Until.Sub(b.Since))
	}
}

func TestKnownPlacesSurviveARestart(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	dir := t.TempDir()
	s.openIn(dir)
	home := digest(alice, "203.0.113.7")
	s.try(home, OutcomeAccepted)
	s.flushed()
	if text := everything(t, dir); strings.Contains(text, "alice") || strings.Contains(text, "203.0.113") {
		t.Errorf("the store says who was where: %q", text)
	}
	s.openIn(copied(t, dir))
	for i := range 60 {
		s.try(digest(alice, addr(i)), OutcomeFailed)
	}
	s.want("at home", home, Pass)
	s.want("elsewhere", digest(alice, addr(1)), Stop)
	s.pass(29 * 24 * time.Hour)
	for i := range 60 {
		s.try(digest(alice, addr(i)), OutcomeFailed)
	}
	s.want("29 days later", home, Pass)
	s.pass(24 * time.Hour)
	for i := range 60 {
		s.try(digest(alice, addr(i)), OutcomeFailed)
	}
	s.want("30 days later", home, Stop)
	s.forget(s.watch.now())
	s.flushed()
	if n := s.places.Len(); n != 1 {
		t.Errorf("%d records are left, want the secret", n)
	}
}

func everything(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, path))
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func TestRunWritesWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sentry{t: t, watch: &watch{at: time.Now()}}
		dir := t.TempDir()
		s.openIn(dir)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Run(ctx)
		}()
		s.fails(digest(alice, "203.0.113.7"))
		time.Sleep(time.Second)
		synctest.Wait()
		if s.bucket.Len() != 1 {
			t.Errorf("%d bans in the store", s.bucket.Len())
		}
		s.try(digest(bob, "203.0.113.7"), OutcomeAccepted)
		s.pass(2 * 24 * time.Hour)
		time.Sleep(time.Second)
		synctest.Wait()
		if s.bucket.Len() != 0 || s.places.Len() != 2 {
			t.Errorf("%d bans and %d records in the store", s.bucket.Len(), s.places.Len())
		}
		s.fails(digest(alice, "203.0.113.7"))
		cancel()
		<-done
		if s.bucket.Len() != 1 {
			t.Errorf("%d bans in the store at the end", s.bucket.Len())
		}
		(*Guard)(nil).Run(t.Context())
	})
}

func TestABanByHandStopsEverybody(t *testing.T) {
	for _, tt := range []struct {
		name string
		ban  Ban
		key  string
		kind string
		who  Attempt
		not  Attempt
	}{
		{"a network", Ban{Source: netip.MustParsePrefix("203.0.113.0/24")}, "203.0.113.0/24", BanSource, digest(alice, "203.0.113.7"), digest(alice, "203.0.114.7")},
		{"an address", Ban{Source: netip.MustParsePrefix("203.0.113.7/32")}, "203.0.113.7", BanSource, digest(alice, "203.0.113.7"), digest(alice, "203.0.113.8")},
		{"a wide network of IPv6", Ban{Source: netip.MustParsePrefix("2001:db8::/32")}, "2001:db8::/32", BanSource, digest(alice, "2001:db8:1:2::3"), digest(alice, "2001:db9::1")},
		{"a user", Ban{User: "ALICE@example.com"}, alice, BanUser, digest(alice, "203.0.113.7"), digest(bob, "203.0.113.7")},
		{"a user with a name that has escapes", Ban{User: "a%3Bb@example.com"}, "a%3bb@example.com", BanUser, digest("a%3Bb@example.com", "203.0.113.7"), digest(bob, "203.0.113.7")},
		{"a user with a star", Ban{User: "%2A97@example.com"}, "%2a97@example.com", BanUser, digest("%2A97@example.com", "203.0.113.7").as("%2a97@example.com"), digest(bob, "203.0.113.7")},
		{"a user somewhere", Ban{User: alice, Source: netip.MustParsePrefix("203.0.113.7/32")}, "alice@example.com from 203.0.113.7", BanPair, digest(alice, "203.0.113.7"), digest(alice, "203.0.113.8")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSentry(t, GuardConfig{})
			s.openIn(t.TempDir())
			s.try(tt.who, OutcomeAccepted)
			if err := s.Add(tt.ban); err != nil {
				t.Fatal(err)
			}
			s.want("who is known", tt.who, Stop)
			s.want("who is signed in", tt.who.signed(), Stop)
			s.want("another", tt.not, Pass)
			if s.bucket.Len() != 1 {
				t.Error("it is not on the disk")
			}
			if got := s.Judge(tt.who).Ban; got.Key != tt.key || got.Kind != tt.kind || !got.ByHand {
				t.Errorf("banned %+v", got)
			}
			if b, err := s.Lift(" " + strings.ToUpper(tt.key)); err != nil || b.Key != tt.key {
				t.Errorf("Lift = %+v, %v", b, err)
			}
			if s.bucket.Len() != 0 {
				t.Error("it is still on the disk")
			}
			s.want("when it is lifted", tt.who, Pass)
			if _, err := s.Lift(tt.key); !errors.Is(err, ErrNoBan) {
				t.Errorf("lifted again: %v", err)
			}
		})
	}
}

func TestWhatIsNoBan(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	for _, tt := range []struct {
		name string
		ban  Ban
	}{
		{"of nobody", Ban{}},
		{"of everybody", Ban{Source: netip.MustParsePrefix("0.0.0.0/0")}},
		{"of nearly everybody", Ban{Source: netip.MustParsePrefix("2000::/3")}},
		{"of less than a source", Ban{Source: netip.MustParsePrefix("2001:db8::1/128")}},
		{"of IPv4 in IPv6", Ban{Source: netip.MustParsePrefix("::ffff:203.0.113.7/128")}},
		{"that has ended", Ban{User: alice, Until: s.watch.now()}},
		{"of a name without a domain", Ban{User: "alice"}},
		{"of a name with a blank", Ban{User: "alice smith@example.com"}},
		{"of a long name", Ban{User: strings.Repeat("a", maxName) + "@example.com"}},
		{"with a long reason", Ban{User: alice, Reason: strings.Repeat("a", maxReason+1)}},
		{"by somebody with a long name", Ban{User: alice, By: strings.Repeat("a", maxBy+1)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if s.Add(tt.ban) == nil || len(s.List()) != 0 {
				t.Error("it is one")
			}
		})
	}
}

func TestParseSource(t *testing.T) {
	for text, want := range map[string]string{
		"203.0.113.7": "203.0.113.7/32", "203.0.113.7/24": "203.0.113.0/24", "::ffff:203.0.113.7": "203.0.113.7/32", "::ffff:203.0.113.0/120": "203.0.113.0/24",
		"2001:db8::1": "2001:db8::/64", "2001:db8::/48": "2001:db8::/48", "fe80::1%eth0": "fe80::/64",
		"alice": "", "203.0.113.0/33": "", "0.0.0.0/0": "", "2001:db8::1/65": "", "": "",
	} {
		got, err := ParseSource(text)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("ParseSource(%q) = %v, %v, want %q", text, got, err, want)
		}
	}
}

func TestLiftForgetsWhatWasCounted(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	s.openIn(t.TempDir())
	a := digest(alice, "203.0.113.7")
	s.fails(a)
	b := s.Judge(a).Ban
	s.pass(time.Hour)
	s.fails(a) // twice as long
	s.flushed()
	if _, err := s.Lift(b.Key); err != nil {
		t.Fatal(err)
	}
	if n := s.fails(a); n != 5 {
		t.Errorf("after it is lifted %d guesses pass, want 5", n)
	}
	if b := s.Judge(a).Ban; b.Until.Sub(b.Since) != 15*time.Minute {
		t.Errorf("the next one is for %v", b.Until.Sub(b.Since))
	}
	s.flushed()
	if s.bucket.Len() != 1 {
		t.Errorf("%d bans in the store", s.bucket.Len())
	}
}

// What the disk does not take, an administrator hears, and what failures bring
// about is written when it takes it again.
func TestADiskThatDoesNotWrite(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	dir := t.TempDir()
	s.openIn(dir)
	s.fails(digest(alice, "203.0.113.7"))
	s.flushed()
	ro, err := store.OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	bans, known, err := GuardBuckets(ro)
	if err != nil {
		t.Fatal(err)
	}
	s.open(GuardConfig{}, bans, known)
	if len(s.List()) != 1 {
		t.Errorf("read: %+v", s.List())
	}
	if err := s.Add(Ban{User: bob}); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Add: %v", err)
	}
	if _, err := s.Lift("alice@example.com from 203.0.113.7"); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Lift: %v", err)
	}
	if got := s.List(); len(got) != 1 || got[0].User != alice {
		t.Errorf("banned are %+v", got)
	}
	s.fails(digest(bob, "203.0.113.8"))
	s.try(digest(bob, "203.0.113.9"), OutcomeAccepted)
	for range 3 {
		if err := s.flush(); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("flush: %v", err)
		}
	}
	if len(s.bans.dirty) != 1 || len(s.known.dirty) != 1 || !s.unsaved {
		t.Errorf("%d bans and %d places wait", len(s.bans.dirty), len(s.known.dirty))
	}
}

// A ban by hand that the disk has spoilt stands until somebody has looked.
func TestADamagedBanStands(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	dir := t.TempDir()
	s.openIn(dir)
	for _, b := range []Ban{{User: "eve@example.com"}, {Source: netip.MustParsePrefix("198.51.100.0/24")}, {User: bob, Source: netip.MustParsePrefix("203.0.113.7/32")}} {
		b.Reason = "unlike"
		if err := s.Add(b); err != nil {
			t.Fatal(err)
		}
	}
	s.store.Close()
	path := filepath.Join(dir, "bans.journal")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "unlike", "uNlike")), 0o600); err != nil {
		t.Fatal(err)
	}
	s.openIn(dir)
	s.want("the user", digest("eve@example.com", "203.0.113.8"), Stop)
	s.want("the network", digest(alice, "198.51.100.4"), Stop)
	s.want("the pair", digest(bob, "203.0.113.7"), Stop)
	s.want("another", digest(bob, "203.0.113.8"), Pass)
}

func TestWhatIsNoRecordIsLeftOut(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	dir := t.TempDir()
	s.openIn(dir)
	for key, value := range map[string]string{
		automaticPrefix + "a":     `{`,
		automaticPrefix + "b":     `{"key":"c","kind":"user","user":"b"}`,
		automaticPrefix + bob:     `{"key":"bob@example.com","kind":"user","user":"bob@example.com"}`, // without an end
		byHandPrefix + "d":        `{"key":"d","kind":"user","user":"d"}`,                             // not by hand
		"e":                       `{"key":"e","kind":"thing","user":"e","by_hand":true}`,
		byHandPrefix + "f@f.test": `{"key":"f@f.test","kind":"user","user":"f@f.test","by_hand":true}`,
	} {
		if err := s.bucket.Put(key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"x", homePrefix + "zz", homePrefix + strings.Repeat("0", 33)} {
		if err := s.places.Put(key, []byte("1234567890123456789")); err != nil {
			t.Fatal(err)
		}
	}
	s.openIn(dir)
	if got := s.List(); len(got) != 1 || got[0].Key != "f@f.test" {
		t.Errorf("banned are %+v", got)
	}
	if n := s.known.homes.Len(); n != 0 {
		t.Errorf("%d are known", n)
	}
}

func TestEveryBoundIsReached(t *testing.T) {
	s := newSentry(t, GuardConfig{NoSources: true, SprayUsers: maxFailing})
	for i := range maxFailing + 10 {
		s.try(digest(user(i), addr(i)), OutcomeFailed)
	}
	if p, u := s.pairs.Len(), s.users.Len(); p != maxPairs || u != maxUsers {
		t.Errorf("%d pairs and %d users are counted", p, u)
	}
	if v := s.View(); v.Users != maxFailing || v.Sources != maxFailing || !v.Spray {
		t.Errorf("View = %+v", v)
	}
	if err := s.Configure(GuardConfig{SprayUsers: maxFailing}); err != nil {
		t.Fatal(err)
	}
	s.spray = newSpray(maxFailing)
	for i := range maxSources + 10 {
		s.try(digest(alice, addr(i)).as(user(i)), OutcomeProgress)
		s.try(Attempt{Credentials: digest("", addr(i)).Credentials, Source: digest("", addr(i)).Source}, OutcomeFailed)
	}
	if n, r := s.sources.Len(), s.endless.Len(); n != maxSources || r != maxPairs {
		t.Errorf("%d sources and %d exchanges are counted", n, r)
	}
}

func TestTheBoundOfTickets(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	var last Ticket
	for i := range maxTickets {
		j := s.Judge(digest(user(i), addr(i)))
		if j.Action != Pass {
			t.Fatal(i, j)
		}
		last = j.Ticket
	}
	a := digest(alice, "203.0.113.7")
	s.want("one more", a, Wait)
	s.want("one that is no guess", Attempt{User: alice, Source: a.Source}, Pass)
	last.Settle(OutcomeNone)
	s.want("when one is back", a, Pass)
	s.pass(time.Minute)
	if v := s.View(); v.UnderWay != 0 || len(s.desk.underWay) != 0 || len(s.desk.slots) != maxTickets+1 {
		t.Errorf("View = %+v", v)
	}
}

func TestTheBoundOfBans(t *testing.T) {
	s := newSentry(t, GuardConfig{PairFailures: 1, NoSources: true, SprayUsers: maxFailing})
	s.openIn(t.TempDir())
	s.Configure(GuardConfig{PairFailures: 1, NoSources: true, SprayUsers: maxFailing})
	for i := range maxByHand {
		b := Ban{User: user(i) + ".hand", By: "root", Kind: BanUser, ByHand: true, Since: s.watch.now()}
		b.Key = b.key()
		s.bans.byHand[s.numberOf(&b)] = &held{Ban: b} // as Add does, but for the disk
	}
	if err := s.Add(Ban{User: alice}); !errors.Is(err, ErrBanFull) {
		t.Errorf("one more by hand: %v", err)
	}
	if err := s.Add(Ban{User: user(1) + ".hand", Until: s.watch.now().Add(time.Minute)}); err != nil {
		t.Errorf("one in the place of another: %v", err)
	}
	for i := range maxAutomatic {
		s.try(digest(user(i), addr(i)), OutcomeFailed)
		s.pass(time.Millisecond)
	}
	s.flushed()
	if n := len(s.bans.automatic); n != maxAutomatic {
		t.Errorf("%d bans", n)
	}
	for i := range 10 {
		s.try(digest(user(i), addr(i+maxAutomatic)), OutcomeFailed)
	}
	if n := len(s.bans.automatic); n != maxAutomatic-maxAutomatic/banShare+10 {
		t.Errorf("%d bans after the bound", n)
	}
	s.want("the first one", digest(user(0), addr(0)), Pass)
	s.want("the latest one", digest(user(maxAutomatic-1), addr(maxAutomatic-1)), Stop)
	s.want("one by hand", digest(user(7)+".hand", addr(1)), Stop)
	s.flushed()
	if n := s.bucket.Len(); n != len(s.bans.automatic)+1 {
		t.Errorf("%d bans in the store, want %d", n, len(s.bans.automatic)+1)
	}
	s.pass(time.Minute)
	if err := s.Add(Ban{User: alice}); err != nil {
		t.Errorf("when one has ended: %v", err)
	}
}

func TestTheBoundsOfWhatIsKnown(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	s.openIn(t.TempDir())
	for i := range maxPlaces + 3 {
		s.try(digest(alice, addr(i)), OutcomeAccepted)
	}
	knows := func(a Attempt) bool {
		var one slot
		s.identify(&one, &a)
		return s.known.has(one.who[0].key, one.place, 30*24*time.Hour, s.watch.now())
	}
	if knows(digest(alice, addr(2))) || !knows(digest(alice, addr(3))) || !knows(digest(alice, addr(maxPlaces+2))) {
		t.Error("not the latest places are known")
	}
	s.flushed()
	for i := range maxKnown {
		s.try(digest(user(i), addr(1)), OutcomeAccepted)
	}
	if n := s.known.homes.Len(); n != maxKnown || knows(digest(alice, addr(3))) {
		t.Errorf("%d are known", n)
	}
	s.flushed()
	if n := s.places.Len(); n != maxKnown+1 {
		t.Errorf("%d records in the store", n)
	}
}

func TestABanIsLogged(t *testing.T) {
	var text strings.Builder
	s := newSentry(t, GuardConfig{SprayUsers: 3})
	s.log = slog.New(slog.NewTextHandler(&text, nil))
	s.fails(digest(alice, "203.0.113.7"))
	for i := range 5 {
		s.try(digest(user(i), addr(i)), OutcomeFailed)
	}
	for _, want := range []string{"sign-in banned", "kind=pair user=alice@example.com source=203.0.113.7", "one password seems to be tried on many users"} {
		if n := strings.Count(text.String(), want); n != 1 {
			t.Errorf("%q is logged %d times in\n%s", want, n, text.String())
		}
	}
}

// A name may be anything that a stranger has sent, and its ban is lifted all the
// same, as it is listed, also after a restart.
func TestABanOfAnyNameIsLifted(t *testing.T) {
	for _, name := range []string{"\xff\x00 \n@Example.com", "203.0.113.7", "a from 203.0.113.7", strings.Repeat("ä", 300) + "@example.com", "JÄSON@example.com", `CONTOSO\ä b`} {
		s := newSentry(t, GuardConfig{})
		dir := t.TempDir()
		s.openIn(dir)
		a := digest(name, "203.0.113.7")
		s.fails(a)
		s.flushed()
		want := s.List()
		s.openIn(copied(t, dir))
		if diff := cmp.Diff(want, s.List(), prefixes); diff != "" || len(want) != 1 {
			t.Fatalf("%q after a restart: %s", name, diff)
		}
		s.want(name, a, Stop)
		if _, err := s.Lift(want[0].Key); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		s.want(name, a, Pass)
	}
}
