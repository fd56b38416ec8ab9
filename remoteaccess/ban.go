package remoteaccess

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// What a ban can be about.
const (
	BanSource = "source" // an address or network
	BanUser   = "user"   // a user, wherever he comes from
	BanPair   = "pair"   // a user at a source
)

// What can be wrong with a ban.
var (
	ErrNoBan    = errors.New("remoteaccess: no such ban")
	ErrBanFull  = errors.New("remoteaccess: too many bans made by hand")
	errBanEmpty = errors.New("remoteaccess: a ban needs a user or a source")
)

// Automatic is By of a ban that failures have brought about.
const Automatic = "sipedge"

// A Ban keeps somebody from signing in. One that failures have brought about
// ends, and leaves alone who has signed in before as its Kind allows; one made
// by hand stops everybody whom it names.
type Ban struct {
	Key      string       `json:"key"`  // what Lift takes
	Kind     string       `json:"kind"` // BanSource, BanUser or BanPair
	User     string       `json:"user,omitempty"`
	Source   netip.Prefix `json:"source,omitzero"`
	SignedIn bool         `json:"signed_in,omitempty"` // of a pair: on flows that are signed in as the user; others are counted apart
	Reason   string       `json:"reason"`
	Count    int          `json:"count,omitempty"` // failures
	Since    time.Time    `json:"since"`
	Until    time.Time    `json:"until,omitzero"` // zero: for ever
	By       string       `json:"by"`
	ByHand   bool         `json:"by_hand,omitempty"`
}

// ended reports whether the ban is over.
func (b *Ban) ended(now time.Time) bool { return !b.Until.IsZero() && !now.Before(b.Until) }

// key is how a ban is called: "alice@example.com", "203.0.113.7",
// "2001:db8::/64", "alice@example.com from 203.0.113.7".
func (b *Ban) key() string {
	switch {
	case b.Kind == BanSource:
		return sourceText(b.Source)
	case b.Kind == BanUser:
		return b.User
	case b.SignedIn:
		return b.User + " signed in from " + sourceText(b.Source)
	}
	return b.User + " from " + sourceText(b.Source)
}

// sourceText leaves out what goes without saying.
func sourceText(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return "unknown"
	case p.IsSingleIP():
		return p.Addr().String()
	}
	return p.String()
}

// ipv6Source is how much of an IPv6 address tells one source from another: a
// household or a laptop has all of the rest.
const ipv6Source = 64

// SourceOf returns the source that an address counts as: an IPv4 address, also
// where it is written as an IPv6 one, or an IPv6 /64.
func SourceOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = ipv6Source
	}
	p, _ := addr.Prefix(bits)
	return p
}

// ParseSource reads a source or network as a person writes it: "203.0.113.7",
// "203.0.113.0/24", "2001:db8::1" (which is its /64), "2001:db8::/48".
func ParseSource(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return SourceOf(addr), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%.80q is neither an address nor a network like 203.0.113.0/24", text)
	}
	if addr := p.Addr(); addr.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(addr.Unmap(), p.Bits()-96)
	}
	return p.Masked(), checkSource(p)
}

// checkSource refuses networks that are no source, and those that are nearly
// everybody.
func checkSource(p netip.Prefix) error {
	switch {
	case !p.IsValid() || p.Addr().Is4In6():
		return fmt.Errorf("%v is no network", p)
	case p.Addr().Is6() && p.Bits() > ipv6Source:
		return fmt.Errorf("%v is less than a source, which is a /%d", p, ipv6Source)
	case p.Addr().Is4() && p.Bits() < 8, p.Bits() < 16 && p.Addr().Is6():
		return fmt.Errorf("%v is too wide", p)
	}
	return nil
}

// The most that a ban may say.
const (
	maxReason = 1000
	maxBy     = 200
)

// ready completes a ban that is to be made by hand.
func (b *Ban) ready(now time.Time) error {
	b.User = strings.ToLower(strings.TrimSpace(b.User))
	if b.Source.IsValid() {
		if err := checkSource(b.Source); err != nil {
			return fmt.Errorf("ban a source: %w", err)
		}
		b.Source = b.Source.Masked()
	}
	b.ByHand, b.SignedIn, b.Count = true, false, 0
	switch {
	case b.User == "" && !b.Source.IsValid():
		return errBanEmpty
	case b.User == "":
		b.Kind = BanSource
	case b.Source.IsValid():
		b.Kind = BanPair
	default:
		b.Kind = BanUser
	}
	if b.User != "" && !strings.ContainsAny(b.User, `@\`) {
		return fmt.Errorf("ban a user: %.80q has no domain, as in alice@example.com", b.User)
	}
	if b.User != printable(b.User) || len(b.User) > maxName {
		return fmt.Errorf("ban a user: %.80q is no name of a user", b.User)
	}
	if len(b.Reason) > maxReason || len(b.By) > maxBy {
		return fmt.Errorf("ban %s: the note has more than %d octets, or the name of who bans more than %d", b.Kind, maxReason, maxBy)
	}
	if b.Since.IsZero() {
		b.Since = now
	}
	b.Since, b.Until = whole(b.Since), whole(b.Until)
	if b.ended(now) {
		return fmt.Errorf("ban %s: it has ended at %s", b.Kind, b.Until.Format(time.RFC3339))
	}
	b.Key = b.key()
	return nil
}

// whole is a time as the store gives it back: UTC, by the clock on the wall.
func whole(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Round(0)
}
