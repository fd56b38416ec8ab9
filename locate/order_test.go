package locate

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

func TestTargetsComeByPriorityAndThenByWeight(t *testing.T) {
	// The example of RFC 2782: three quarters go to the fast box.
	targets := []target{
		{host: "server", priority: 1}, {host: "slow", weight: 1}, {host: "fast", weight: 3}, {host: "sysadmins", priority: 1},
	}
	r := rand.New(rand.NewPCG(1, 2))
	first, backup := map[string]int{}, map[string]int{}
	const draws = 10_000
	for range draws {
		got := order(targets, r.IntN)
		for i, p := range []uint16{0, 0, 1, 1} {
			if got[i].priority != p {
				t.Fatalf("order %v", got)
			}
		}
		first[got[0].host]++
		backup[got[2].host]++
	}
	// RFC 2782 draws from 0 to the sum inclusive, so slow gets two of five.
	if share := float64(first["fast"]) / draws; share < 0.55 || share > 0.80 {
		t.Errorf("fast is first in %.2f", share)
	}
	if backup["server"]+backup["sysadmins"] != draws {
		t.Errorf("backups %v", backup)
	}
	if targets[0].host != "server" {
		t.Error("the records given have been changed")
	}
}

func TestATargetWithoutWeightHasASmallChance(t *testing.T) {
	targets := []target{{host: "heavy", weight: 99}, {host: "none"}}
	r := rand.New(rand.NewPCG(3, 4))
	n := 0
	for range 10_000 {
		if order(targets, r.IntN)[0].host == "none" {
			n++
		}
	}
	if n < 50 || n > 200 {
		t.Errorf("none is first in %d of 10,000, want about 100", n)
	}
}

func TestEveryTargetIsThereOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		var targets []target
		for i := range r.IntN(40) {
			targets = append(targets, target{host: "t", port: uint16(i), priority: uint16(r.IntN(3)), weight: uint16(r.IntN(4) * r.IntN(65536) / 4)})
		}
		got := order(targets, r.IntN)
		if !slices.IsSortedFunc(got, func(a, b target) int { return int(a.priority) - int(b.priority) }) {
			t.Fatalf("order %v", got)
		}
		slices.SortFunc(got, func(a, b target) int { return int(a.port) - int(b.port) })
		slices.SortFunc(targets, func(a, b target) int { return int(a.port) - int(b.port) })
		if !slices.Equal(got, targets) {
			t.Fatalf("got %v, want %v", got, targets)
		}
	}
}

func TestFamiliesAreInterleaved(t *testing.T) {
	var in []netip.Addr
	for _, s := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"} {
		in = append(in, netip.MustParseAddr(s))
	}
	got := interleave(in, rand.IntN)
	for i, four := range []bool{false, true, true, true} {
		if got[i].Is4() != four {
			t.Fatalf("interleave = %v", got)
		}
	}
}
