package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sipedge/sipedge/federation"
)

// proposal shows what would be allowed, and how that differs from what is.
func (a *adding) proposal() {
	terms := a.terms()
	fmt.Fprintln(a.out)
	a.page.title("Would be allowed")
	var f facts
	hosted := a.card.Hosted()
	for i, d := range a.card.Domains {
		text := named(d)
		if slices.Contains(hosted, d) {
			text += "  (NOT on their certificate)"
		}
		f.add([]string{"domains", ""}[min(i, 1)], text)
	}
	for i, s := range terms.Servers {
		if notPublic(s) {
			s += "  (NOT a public address)"
		}
		f.add([]string{"servers", ""}[min(i, 1)], s)
	}
	f.add("must prove", cmp.Or(terms.PeerName, "the host of each server"))
	for i, p := range terms.Pins {
		f.add([]string{"keys", ""}[min(i, 1)], p)
	}
	if terms.Pins == nil {
		f.add("keys", "any")
	} else {
		f.add("", "(no other key; --no-pins takes any)")
	}
	f.print(a.page)
	if n := len(hosted); n > 0 {
		fmt.Fprintln(a.out)
		a.page.text("", "", fmt.Sprintf("Their certificate does not name %s of these domains: that the edge answers for them is only what the card says. "+
			"Ask those whose domains they are.", number(n)))
	}
	for _, d := range a.card.Domains {
		if p, ok := a.known[d]; ok && p.Decision != nil && p.Decision.Partner != nil {
			a.difference(d, *p.Decision, *terms)
		}
	}
	fmt.Fprintln(a.out)
}

// notPublic reports whether a server of a card is an address that leads to us, or
// to our inside. The administrator may want that, and must know.
func notPublic(server string) bool {
	a, err := netip.ParseAddrPort(server)
	ip := a.Addr()
	return err == nil && (ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast())
}

// number is a small number in figures, and one as a word.
func number(n int) string {
	if n == 1 {
		return "one"
	}
	return fmt.Sprint(n)
}

// difference shows what a new card changes for a partner that is known.
func (a *adding) difference(domain string, have federation.Decision, after federation.PartnerConfig) {
	before := *have.Partner
	var lines []string
	lines = changes(lines, "servers", before.Servers, after.Servers)
	lines = changes(lines, "must prove", []string{before.PeerName}, []string{after.PeerName})
	lines = changes(lines, "keys", before.Pins, after.Pins)
	if lines == nil {
		fmt.Fprintf(a.out, "\n%s is allowed with the same terms already.\n", named(domain))
		return
	}
	fmt.Fprintf(a.out, "\n%s is allowed already; this card changes:\n", named(domain))
	for _, l := range lines {
		fmt.Fprintln(a.out, l)
	}
	if len(before.Pins) > 0 && !slices.ContainsFunc(after.Pins, func(p string) bool { return slices.Contains(before.Pins, p) }) {
		fmt.Fprintln(a.out, "All its keys are new. Do not take it without comparing the fingerprint.")
	}
	if a.card.Issued.Before(have.At.Truncate(time.Second)) {
		a.page.text("", "", "The card was written before that was decided ("+minute(a.card.Issued)+" and "+minute(have.At)+" UTC): "+
			"somebody may have sent an old one again, with keys that no longer count. Ask for a new one if you did not expect that.")
	}
}

// changes adds a line for each that is gone or new.
func changes(lines []string, name string, before, after []string) []string {
	for _, b := range before {
		if !slices.Contains(after, b) {
			lines = append(lines, fmt.Sprintf("  - %-10s  %s", name, plain(b)))
		}
	}
	for _, b := range after {
		if !slices.Contains(before, b) {
			lines = append(lines, fmt.Sprintf("  + %-10s  %s", name, plain(b)))
		}
	}
	return lines
}
