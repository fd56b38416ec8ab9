package federation

import (
	"fmt"
	"math"
	"testing"
	"time"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// passed counts how many of n that come at once may pass.
func passed(n int, take func() bool) int {
	got := 0
	for range n {
		if take() {
			got++
		}
	}
	return got
}

func TestAllowance(t *testing.T) {
	type look struct {
		at   time.Duration
		want int // of 100 at once
	}
	for _, tt := range []struct {
		name  string
		rate  float64
		looks []look
	}{
		{"a second's worth at once, and no more", 20, []look{{0, 20}, {0, 0}}},
		{"it grows with time", 20, []look{{0, 20}, {50 * time.Millisecond, 1}, {250 * time.Millisecond, 4}}},
		{"to a second's worth", 20, []look{{0, 20}, {time.Hour, 20}}},
		{"less than one a second is one now and then", 0.1, []look{{0, 1}, {9 * time.Second, 0}, {10 * time.Second, 1}, {time.Hour, 1}}},
		{"one and a half", 1.5, []look{{0, 1}, {time.Second, 1}, {2 * time.Second, 1}}},
		{"two goroutines that read the clock crosswise gain nothing", 20, []look{{time.Second, 20}, {999 * time.Millisecond, 0}, {time.Second, 0}, {999 * time.Millisecond, 0}, {time.Second, 0}}},
		{"a clock that was set back takes nothing away for long", 20, []look{{24 * time.Hour, 20}, {0, 0}, {time.Second, 20}}},
		{"none is none", 0, []look{{0, 0}, {time.Hour, 0}}},
		{"less than none is none", -5, []look{{0, 0}, {time.Hour, 0}}},
		{"what is no number is none", math.NaN(), []look{{0, 0}, {time.Hour, 0}}},
		{"endless is endless", math.Inf(1), []look{{0, 100}, {0, 100}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var a allowance
			for _, l := range tt.looks {
				if got := passed(100, func() bool { return a.take(tt.rate, noon.Add(l.at)) }); got != l.want {
					t.Errorf("at %v %d pass, want %d", l.at, got, l.want)
				}
			}
		})
	}
}

func TestMeter(t *testing.T) {
	var m Meter
	take := func(domain string, rate float64, at time.Duration) int {
		return passed(100, func() bool { return m.Take([]byte(domain), rate, noon.Add(at)) })
	}
	if got := take("fabrikam.example", 5, 0); got != 5 {
		t.Errorf("%d pass, want 5", got)
	}
	if got := take("contoso.example", 7, 0); got != 7 {
		t.Errorf("another partner: %d pass, want 7", got)
	}
	if got := take("fabrikam.example", 10, time.Second); got != 10 {
		t.Errorf("a second later, with a new entry: %d pass, want 10", got)
	}
	if got := take("free.example", 0, 0); got != 100 {
		t.Errorf("without a rate %d pass, want all", got)
	}
	if got := take("bad.example", -1, 0); got != 0 {
		t.Errorf("with a rate below zero %d pass, want none", got)
	}
}

// However many partners there are, the Meter knows so many; and nobody gets a
// second allowance because others came, but when all are at their limits.
func TestAMeterIsBounded(t *testing.T) {
	var m Meter
	one := []byte("fabrikam.example")
	for i := range maxMetered - 1 {
		m.Take(fmt.Appendf(nil, "p%d.example", i), 1, noon.Add(-2*time.Second))
	}
	m.Take(one, 1, noon)
	for i := range 1000 {
		m.Take(fmt.Appendf(nil, "r%d.example", i), 1, noon)
	}
	if m.Take(one, 1, noon) {
		t.Error("partners that are long silent took the place of one that is not")
	}
	for i := range 2 * maxMetered {
		m.Take(fmt.Appendf(nil, "q%d.example", i), 1, noon)
		if n := len(m.partners); n > maxMetered {
			t.Fatalf("%d partners, want at most %d", n, maxMetered)
		}
	}
}

func TestAMeterAllocatesNothing(t *testing.T) {
	var m Meter
	domain := []byte("fabrikam.example")
	now := noon
	m.Take(domain, 5, now)
	if got := testing.AllocsPerRun(100, func() {
		now = now.Add(time.Millisecond)
		m.Take(domain, 5, now)
	}); got != 0 {
		t.Errorf("%v allocations, want none", got)
	}
}
