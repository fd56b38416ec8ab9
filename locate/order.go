package locate

import (
	"cmp"
	"net/netip"
	"slices"
)

// target is one SRV record.
type target struct {
	host             string // normal form
	port             uint16
	priority, weight uint16
	direct           bool // of a service with TLS from the first octet (XEP-0368)
}

// order puts targets in the order in which they are to be tried: by priority,
// and within one by weighted chance (RFC 2782, "Weight"). random(n) is in [0,n).
func order(targets []target, random func(n int) int) []target {
	targets = slices.Clone(targets)
	// "all those with weight 0 are placed at the beginning of the list", so
	// that they have a small chance and not none.
	slices.SortStableFunc(targets, func(a, b target) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(min(a.weight, 1), min(b.weight, 1)))
	})
	for from := 0; from < len(targets); {
		to := from
		for to < len(targets) && targets[to].priority == targets[from].priority {
			to++
		}
		draw(targets[from:to], random)
		from = to
	}
	return targets
}

// draw orders targets of one priority: again and again the first whose running
// sum of weights reaches a random number of [0, sum] moves to the front.
func draw(targets []target, random func(n int) int) {
	sum := 0
	for _, t := range targets {
		sum += int(t.weight)
	}
	for ; len(targets) > 1; targets = targets[1:] {
		at, chosen, running := 0, random(sum+1), 0
		for i, t := range targets {
			if running += int(t.weight); running >= chosen {
				at = i
				break
			}
		}
		// Those before it keep their order: the ones without weight stay first.
		t := targets[at]
		copy(targets[1:at+1], targets[:at])
		targets[0] = t
		sum -= int(t.weight)
	}
}

// interleave mixes the families, IPv6 first, each in random order: a family
// that does not work costs one try and not all (RFC 8305 §4).
func interleave(addrs []netip.Addr, random func(n int) int) []netip.Addr {
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	shuffle(v4, random)
	shuffle(v6, random)
	mixed := make([]netip.Addr, 0, len(addrs))
	for i := range max(len(v4), len(v6)) {
		if i < len(v6) {
			mixed = append(mixed, v6[i])
		}
		if i < len(v4) {
			mixed = append(mixed, v4[i])
		}
	}
	return mixed
}

func shuffle(addrs []netip.Addr, random func(n int) int) {
	for i := len(addrs) - 1; i > 0; i-- {
		j := random(i + 1)
		addrs[i], addrs[j] = addrs[j], addrs[i]
	}
}
