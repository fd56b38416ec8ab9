package remoteaccess

import (
	"cmp"
	"fmt"
	"time"
)

// GuardConfig is the section [guard]: how many failed sign-ins are guesses. A
// failure is an answer of the home server that refuses credentials; a challenge
// to a request without any, or in the course of an exchange, is none.
type GuardConfig struct {
	// Failures of one user from one source (an IPv4 address, or an IPv6 /64)
	// within pair_window after which that user is locked there. Default 5.
	PairFailures int `toml:"pair_failures,positive"`
	// Default 15m.
	PairWindow time.Duration `toml:"pair_window,positive"`
	// How long a user is locked at a source for the first time. Each further lock
	// is twice as long as the one before, up to longest_lock. Default 15m.
	PairLock time.Duration `toml:"pair_lock,positive"`
	// Failures of all users from one source within source_window after which the
	// source is banned. Users who have signed in from there before still get in.
	// Default 20.
	SourceFailures int `toml:"source_failures,positive"`
	// Different users who fail from one source within source_window after which
	// it is banned. Default 8.
	SourceUsers int `toml:"source_users,positive"`
	// Default 15m.
	SourceWindow time.Duration `toml:"source_window,positive"`
	// How long a source is banned for the first time; doubled like pair_lock.
	// Default 1h.
	SourceLock time.Duration `toml:"source_lock,positive"`
	// Failures of one user from all sources within user_window after which the
	// user is locked everywhere but where he has signed in before. Default 50.
	UserFailures int `toml:"user_failures,positive"`
	// Default 1h.
	UserWindow time.Duration `toml:"user_window,positive"`
	// How long a user is locked for the first time; doubled like pair_lock.
	// Default 15m.
	UserLock time.Duration `toml:"user_lock,positive"`
	// The longest lock that failures bring about. Default 24h.
	LongestLock time.Duration `toml:"longest_lock,positive"`
	// How long it is remembered that a user has signed in from a source. Default
	// 720h (30 days).
	Remember time.Duration `toml:"remember,positive"`
	// Different users who fail within spray_window, each from where he has not
	// signed in before, after which it looks as if one password is tried on
	// many users. While it does, limits are less than half for everybody who
	// signs in from a new place. Default 100.
	SprayUsers int `toml:"spray_users,positive"`
	// Default 24h.
	SprayWindow time.Duration `toml:"spray_window,positive"`

	// NoSources: sources are not counted or banned, because they say nothing, as
	// behind a balancer that hides them; those banned by hand are.
	NoSources bool `toml:"-"`

	Line int `toml:",line"`
}

// mostFailures is the largest limit: each failure is remembered with its time.
const mostFailures = 1000

// Defaults returns c with the default in place of every zero.
func (c GuardConfig) Defaults() GuardConfig {
	c.PairFailures = cmp.Or(c.PairFailures, 5)
	c.PairWindow = cmp.Or(c.PairWindow, 15*time.Minute)
	c.PairLock = cmp.Or(c.PairLock, 15*time.Minute)
	c.SourceFailures = cmp.Or(c.SourceFailures, 20)
	c.SourceUsers = cmp.Or(c.SourceUsers, 8)
	c.SourceWindow = cmp.Or(c.SourceWindow, 15*time.Minute)
	c.SourceLock = cmp.Or(c.SourceLock, time.Hour)
	c.UserFailures = cmp.Or(c.UserFailures, 50)
	c.UserWindow = cmp.Or(c.UserWindow, time.Hour)
	c.UserLock = cmp.Or(c.UserLock, 15*time.Minute)
	c.LongestLock = cmp.Or(c.LongestLock, 24*time.Hour)
	c.Remember = cmp.Or(c.Remember, 30*24*time.Hour)
	c.SprayUsers = cmp.Or(c.SprayUsers, 100)
	c.SprayWindow = cmp.Or(c.SprayWindow, 24*time.Hour)
	return c
}

// Check returns what is wrong with c; zeros are defaults.
func (c GuardConfig) Check() (errs []error) {
	c = c.Defaults()
	for _, n := range []struct {
		key   string
		value int
		most  int
	}{
		{"pair_failures", c.PairFailures, mostFailures},
		{"source_failures", c.SourceFailures, mostFailures},
		{"source_users", c.SourceUsers, mostFailures},
		{"user_failures", c.UserFailures, mostFailures},
		{"spray_users", c.SprayUsers, maxFailing},
	} {
		if n.value < 1 || n.value > n.most {
			errs = append(errs, fmt.Errorf("%s = %d in [guard] is not between 1 and %d", n.key, n.value, n.most))
		}
	}
	const year = 365 * 24 * time.Hour
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"pair_window", c.PairWindow}, {"pair_lock", c.PairLock},
		{"source_window", c.SourceWindow}, {"source_lock", c.SourceLock},
		{"user_window", c.UserWindow}, {"user_lock", c.UserLock},
		{"longest_lock", c.LongestLock}, {"remember", c.Remember}, {"spray_window", c.SprayWindow},
	} {
		if d.value < time.Second || d.value > year {
			errs = append(errs, fmt.Errorf("%s = %v in [guard] is not between a second and a year", d.key, d.value))
		}
	}
	return errs
}

// A limit says how many failures within a window bring a lock.
type limit struct {
	failures int
	users    int // different ones; 0: they do not matter
	window   time.Duration
	lock     time.Duration // the first
}

func (c *GuardConfig) pair() limit {
	return limit{c.PairFailures, 0, c.PairWindow, c.PairLock}
}

func (c *GuardConfig) user() limit {
	return limit{c.UserFailures, 0, c.UserWindow, c.UserLock}
}

func (c *GuardConfig) source() limit {
	return limit{c.SourceFailures, c.SourceUsers, c.SourceWindow, c.SourceLock}
}

// strict is the limit while a spray is suspected. Who sprays tries once at each
// user, and has time: fewer tries are not enough, they count for longer.
func (l limit) strict() limit {
	l.failures = less(l.failures)
	if l.users > 0 {
		l.users = less(l.users)
	}
	l.window *= 4
	return l
}

// less is two fifths, and never nothing.
func less(n int) int { return max(n*2/5, 1) }
