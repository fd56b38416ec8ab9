package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/remoteaccess"
)

// banCommand is what administrators do about those who guess passwords. All of it
// speaks with the running edge.
type banCommand struct {
	List banListCommand `cmd:"" help:"List who may not sign in for now, and how much is guessed."`
	Add  banAddCommand  `cmd:"" help:"Keep a user, an address, a network, or a user from there, from signing in."`
	Lift banLiftCommand `cmd:"" help:"Lift a ban, made by hand or not."`
}

type banListCommand struct {
	configFlag
	JSON bool   `name:"json" help:"Print JSON."`
	Word string `arg:"" optional:"" help:"Only those in whose entry this occurs: part of a name or address, \"user\", \"source\", \"pair\", who made it."`
}

// Run lists bans.
func (c banListCommand) Run(s streams) error {
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		list, err := edge.Bans(ctx, c.Word)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(s.out, list)
		case len(list.Bans) == 0 && c.Word != "":
			return exit{exitNotFound, fmt.Errorf("no ban's entry has %q in it", c.Word)}
		}
		p := newPage(s.out)
		if len(list.Bans) > 0 {
			banTable(p, list.Bans)
			fmt.Fprintln(p.out)
			p.step(plural(len(list.Bans), "ban")+". To lift one: ", c.command("ban", "lift", "BAN"))
		} else {
			p.text("", "", "Nobody is banned.")
		}
		fmt.Fprintln(p.out)
		guessing(p, list)
		return nil
	})
}

// longestBan is how long a ban may be to stand in its column: a user at an address.
const longestBan = 44

// banTable has a line for each ban, and below it why.
func banTable(p *page, bans []remoteaccess.Ban) {
	t := table{page: p, head: []string{"BAN", "SINCE (UTC)", "UNTIL (UTC)", "FAILURES", "BY"}, state: -1, right: map[int]bool{3: true}, longest: longestBan}
	for _, b := range bans {
		count, until := "", "for ever"
		if b.Count > 0 {
			count = fmt.Sprint(b.Count)
		}
		if !b.Until.IsZero() {
			until = minute(b.Until)
		}
		r := t.row("", b.Key, minute(b.Since), until, count, b.By)
		if b.Reason != "" {
			r.below = append(r.below, b.Reason)
		}
	}
	t.print()
}

// guessing says how much is guessed, and how it goes with the directory.
func guessing(p *page, list admin.BanList) {
	g := list.Guard
	var f facts
	failures := "nobody failed to sign in from a new place"
	if g.Users > 0 {
		failures = fmt.Sprintf("%s failed from %s, where they had not signed in before", plural(g.Users, "user"), plural(g.Sources, "source"))
	}
	if d, err := time.ParseDuration(g.Window); err == nil {
		failures += ", within " + inShort(d)
	}
	f.add("guessing", failures)
	spray := "no sign that one password is tried on many users"
	if g.Spray {
		spray = "since " + minute(g.SpraySince) + " UTC it looks as if one password is tried on many users: limits are stricter for who comes from a new place"
	}
	f.add("", spray)
	f.add("known", knownPlaces(g.Known))
	if d := list.Directory; d != nil {
		text := d.Server + " answers"
		if !d.Away.IsZero() {
			text = d.Server + " is away since " + minute(d.Away) + " UTC: " + d.Trouble
		}
		f.add("directory", fmt.Sprintf("%s; groups of %s are known", text, plural(d.Known, "user")))
	}
	f.print(p)
}

// knownPlaces says what it is good for to have signed in somewhere.
func knownPlaces(users int) string {
	switch users {
	case 0:
		return "nobody has signed in lately; from where somebody has, guesses made elsewhere do not keep them out"
	case 1:
		return "1 user has signed in lately; from the same places guesses made elsewhere do not keep them out"
	}
	return fmt.Sprint(users, " users have signed in lately; from the same places guesses made elsewhere do not keep them out")
}

// banEffect says what a ban means for a user whom it is about.
func banEffect(b remoteaccess.Ban) string {
	text, unless := "may not sign in", ""
	switch {
	case b.SignedIn:
		text = "may not show the password again"
	case b.ByHand || b.Kind == remoteaccess.BanPair: // wherever he has been before
	case b.Kind == remoteaccess.BanUser:
		text += " from where they have not before"
	case b.Kind == remoteaccess.BanSource:
		unless = " unless they have before"
	}
	if b.Source.IsValid() {
		_, source, both := strings.Cut(b.Key, " from ")
		if !both {
			source = b.Key
		}
		text += " from " + source
	}
	text += unless + ", " + untilWhen(b.Until)
	if b.Reason != "" {
		text += " (" + b.Reason + ")"
	}
	return plain(text)
}

// untilWhen is "until 2026-11-22 14:26 UTC".
func untilWhen(t time.Time) string {
	if t.IsZero() {
		return "for ever"
	}
	return "until " + minute(t) + " UTC"
}

// banWords are the words of a command that name a ban: "alice@example.com from
// 203.0.113.7" is several.
func banWords(key string) string {
	words := strings.Fields(key)
	for i, w := range words {
		words[i] = shellWord(w)
	}
	return strings.Join(words, " ")
}

// banArg is whom a ban is about.
type banArg struct {
	Key []string `arg:"" name:"ban" placeholder:"BAN" help:"alice@example.com, 203.0.113.7, 203.0.113.0/24, 2001:db8::/48, or alice@example.com from 203.0.113.7."`
}

func (a banArg) key() string { return strings.Join(a.Key, " ") }

type banAddCommand struct {
	configFlag
	banArg
	For string `placeholder:"TIME" help:"For how long: 30m, 24h, 7d. Default: for ever."`
	noteFlag
}

// Run bans somebody.
func (c banAddCommand) Run(s streams) error {
	w := admin.BanWish{Note: c.Note}
	if c.For != "" {
		d, err := readSpan(c.For)
		if err != nil {
			return exit{exitUsage, fmt.Errorf("--for: %w", err)}
		}
		w.Until = time.Now().Add(d).UTC().Truncate(time.Second)
	}
	if err := checkBan(c.key()); err != nil {
		return exit{exitUsage, err}
	}
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		a, err := edge.Ban(ctx, c.key(), w)
		if err != nil {
			return err
		}
		warn(s.err, a.Warnings)
		p, before := newPage(s.out), ""
		if a.Previous != nil {
			before = fmt.Sprintf(" (it was banned by %s %s)", plain(a.Previous.By), untilWhen(a.Previous.Until))
		}
		p.text("", "", fmt.Sprintf("%s may not sign in %s, in force now%s.", plain(a.Ban.Key), untilWhen(a.Ban.Until), before))
		c.signedIn(p, a.SignedIn)
		p.step("To lift it: ", c.command("ban", "lift", banWords(a.Ban.Key)))
		return nil
	})
}

// signedIn says who is banned and signed in all the same.
func (c banAddCommand) signedIn(p *page, in []admin.SignIn) {
	const most = 10
	for i, s := range in {
		if i == most {
			p.text("  ", "  ", fmt.Sprintf("and %d more", len(in)-most))
			break
		}
		p.text("  ", "  ", "still signed in: "+namedUser(s.User)+" from "+s.Remote)
	}
	if len(in) > 0 {
		p.step("To sign one out: ", c.command("user", "kick", "USER@DOMAIN"))
	}
}

// readSpan reads a time as people write it: what Go takes, and days.
func readSpan(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(min(n, 100*365)) * 24 * time.Hour
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is no time like 30m, 24h or 7d", text)
	}
	return d, nil
}

// checkBan looks whether a ban can be one, before the edge is asked.
func checkBan(key string) error {
	if user, open := strings.CutSuffix(key, " from"); open {
		return fmt.Errorf("from wants an address or a network behind it, as in %s from 203.0.113.7", user)
	}
	user, source, both := strings.Cut(key, " from ")
	switch isUser := strings.ContainsAny(user, `@\`); {
	case !isUser && both:
		return fmt.Errorf("%q is not the address of a user, as in alice@example.com from 203.0.113.7", user)
	case !isUser:
		source = user
	case strings.Contains(user, "@"):
		if _, err := remoteaccess.NormalUser(user); err != nil {
			return fmt.Errorf("%q is not the address of a user: %w", user, err)
		}
		if !both {
			return nil
		}
	case !both:
		return nil
	}
	if _, err := remoteaccess.ParseSource(source); err != nil {
		return errors.New(err.Error() + ", or a user like alice@example.com")
	}
	return nil
}

type banLiftCommand struct {
	configFlag
	banArg
}

// Run lifts a ban.
func (c banLiftCommand) Run(s streams) error {
	return c.talk(func(ctx context.Context, edge *admin.Client) error {
		b, err := edge.Lift(ctx, c.key())
		if err != nil {
			return err
		}
		p := newPage(s.out)
		text := fmt.Sprintf("%s may sign in again, in force now (it was banned by %s since %s UTC", plain(b.Key), plain(b.By), minute(b.Since))
		if b.Reason != "" {
			text += ": " + plain(b.Reason)
		}
		p.text("", "", text+").")
		p.step("To ban it again: ", c.command("ban", "add", strings.Replace(banWords(b.Key), " signed in from ", " from ", 1)))
		return nil
	})
}
