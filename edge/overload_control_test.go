package edge

import (
	"cmp"
	"math"
	"slices"
	"testing"
	"time"
)

// A plant is an edge that can do so much, as the control sees one. What peers send
// waits until it is read; what is read is done, or refused for a tenth of the cost.
type plant struct {
	able    float64   // octets per second
	waits   []float64 // octets of each peer
	control control
	usual   float64
	best    float64
}

// What a tick of a plant shows: what each peer got per second, and how long work
// waited.
type shown struct {
	got   []float64
	delay time.Duration
}

// tick lets peers send so much, octets per second, and pools of ours as much
// inside.
func (p *plant) tick(outside, inside []float64) shown {
	const refusal = 0.1
	dt := overloadTick.Seconds()
	wants := append(slices.Clone(outside), inside...)
	if p.waits == nil {
		p.waits = make([]float64, len(wants))
	}
	done, waits := make([]float64, len(wants)), 0.0
	for i, want := range wants {
		p.waits[i] += want * dt
		waits += p.waits[i]
		done[i] = p.waits[i]
		if l := p.limit(i < len(outside)); l > 0 {
			done[i] = min(done[i], l*dt)
		}
	}
	budget, all := p.able*dt, sum(done)
	turns(done, budget)
	refused := 0.0
	if rest := waits - all; rest > 0 { // beyond the limits
		refused = min(1, max(0, budget-all)/refusal/rest)
	}
	var l load
	read := 0.0
	for i := range wants {
		away := (p.waits[i] - done[i]) * refused
		p.waits[i] -= done[i] + away
		read += done[i] + away
		d, limit := &l.outside, p.limit(true)
		if i >= len(outside) {
			d, limit = &l.inside, 0
		}
		d.largest, d.begun = max(d.largest, (done[i]+away)/dt), d.begun+done[i]/dt
		if 2*(done[i]+away) < limit*dt {
			d.little++
		}
		done[i] /= dt
	}
	l.delay = time.Duration(sum(p.waits) / max(read, 1) * float64(overloadTick))
	p.usual += newest * (l.outside.begun + l.inside.begun - p.usual)
	p.best = max(p.usual, p.best*remember)
	l.useful = p.usual / p.best
	p.control.step(l)
	return shown{done, l.delay}
}

// turns cuts what is to be done to the budget, as readers do that get turns of the
// same length.
func turns(done []float64, budget float64) {
	order := make([]int, len(done))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(done[i], done[j]) })
	for k, i := range order {
		done[i] = min(done[i], budget/float64(len(order)-k))
		budget -= done[i]
	}
}

// limit is what one peer may begin outside, or inside; 0: all it wants.
func (p *plant) limit(outside bool) float64 {
	if outside {
		return p.control.outside.limit
	}
	return p.control.inside.limit
}

// run lets ticks go by for d, and calls check for each after settle.
func (p *plant) run(d, settle time.Duration, outside, inside []float64, check func(shown)) {
	for at := time.Duration(0); at < d; at += overloadTick {
		if s := p.tick(outside, inside); at >= settle && check != nil {
			check(s)
		}
	}
}

func sum(list []float64) (all float64) {
	for _, v := range list {
		all += v
	}
	return all
}

const megabyte = 1e6

func TestNobodyIsLimitedWithoutOverload(t *testing.T) {
	p := plant{able: 10 * megabyte}
	p.run(10*time.Second, 0, []float64{4 * megabyte, 5 * megabyte}, []float64{0.5 * megabyte}, func(shown) {
		if p.control.on || p.control.outside.limit != 0 {
			t.Fatalf("limited: %+v", p.control)
		}
	})
}

func TestAMomentIsNoOverload(t *testing.T) {
	var c control
	for range 100 {
		c.step(load{delay: time.Second, outside: demands{largest: megabyte}})
		c.step(load{outside: demands{largest: megabyte}})
	}
	if c.on || c.outside.limit != 0 {
		t.Errorf("every other tick is late, and that counts as overload: %+v", c)
	}
}

func TestOverloadIsHeldAtWhatTheEdgeCanDo(t *testing.T) {
	for _, tt := range []struct {
		name    string
		outside []float64
		inside  []float64
	}{
		{"by one peer", []float64{30 * megabyte}, nil},
		{"by many", []float64{6 * megabyte, 6 * megabyte, 6 * megabyte, 6 * megabyte, 6 * megabyte}, nil},
		{"by some more than others", []float64{20 * megabyte, 9 * megabyte, 1 * megabyte}, nil},
		{"a little", []float64{11 * megabyte}, nil},
		{"by our own home servers", []float64{0.1 * megabyte}, []float64{25 * megabyte}},
		{"by both", []float64{15 * megabyte}, []float64{15 * megabyte}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := plant{able: 10 * megabyte}
			done, ticks, worst := 0.0, 0.0, time.Duration(0)
			p.run(20*time.Second, 3*time.Second, tt.outside, tt.inside, func(s shown) {
				done, ticks, worst = done+min(sum(s.got), p.able), ticks+1, max(worst, s.delay)
			})
			if mean := done / ticks; mean < 0.7*p.able {
				t.Errorf("%.1f MB/s are done in the mean, of %.0f that can be", mean/megabyte, p.able/megabyte)
			}
			if worst > 200*time.Millisecond {
				t.Errorf("work waits for up to %v", worst)
			}
		})
	}
}

func TestAFloodTakesNothingFromTheModest(t *testing.T) {
	outside := []float64{30 * megabyte}
	for range 10 {
		outside = append(outside, 0.2*megabyte)
	}
	p := plant{able: 10 * megabyte}
	p.run(20*time.Second, 0, outside, nil, func(s shown) {
		for i, got := range s.got[1:] {
			if got < 0.99*outside[i+1] {
				t.Fatalf("modest peer %d gets %.2f of %.2f MB/s", i, got/megabyte, outside[i+1]/megabyte)
			}
		}
	})
}

func TestThoseWhoWantMoreGetTheSame(t *testing.T) {
	p := plant{able: 10 * megabyte}
	p.run(20*time.Second, 3*time.Second, []float64{30 * megabyte, 12 * megabyte, 10 * megabyte}, nil, func(s shown) {
		if s.got[0] != s.got[1] && s.got[0] > 12*megabyte {
			t.Fatalf("shares %v", s.got)
		}
	})
	if l := p.control.outside.limit; l < 1.5*megabyte || l > 5*megabyte {
		t.Errorf("three share 10 MB/s, and each may begin %.1f", l/megabyte)
	}
}

func TestHomeServersAreCutLast(t *testing.T) {
	p := plant{able: 10 * megabyte}
	p.run(20*time.Second, 0, []float64{30 * megabyte}, []float64{3 * megabyte}, func(s shown) {
		if s.got[1] < 0.99*3*megabyte {
			t.Fatalf("home servers get %.1f of 3 MB/s because a partner floods", s.got[1]/megabyte)
		}
	})
}

func TestTheLimitGoesWhenTheFloodIsOver(t *testing.T) {
	p := plant{able: 10 * megabyte}
	p.run(5*time.Second, 0, []float64{100 * megabyte}, nil, nil)
	if p.control.outside.limit == 0 {
		t.Fatal("nobody is limited in a flood")
	}
	p.run(10*time.Second, 0, []float64{1 * megabyte}, nil, nil)
	if p.control.on || p.control.outside != (pace{peak: p.control.outside.peak}) {
		t.Errorf("still limited: %+v", p.control)
	}
}

func TestALimitNeverGoesToZero(t *testing.T) {
	// However late everything is and stays: time that others steal from the whole
	// machine is not won back by refusing.
	var c control
	least := math.Inf(1)
	for range 2000 {
		c.step(load{delay: time.Second, useful: 1, outside: demands{largest: 10 * megabyte}, inside: demands{largest: megabyte}})
		if c.outside.limit > 0 {
			least = min(least, c.outside.limit)
		}
	}
	if want := max(10*megabyte*leastPart, leastPace); least < want {
		t.Errorf("a peer may begin %.0f octets per second, and should always have %.0f", least, want)
	}
	if c.inside.limit < leastPace {
		t.Errorf("a pool may begin %.0f octets per second", c.inside.limit)
	}
}

func TestNothingMoreIsCutWhenLittleIsDone(t *testing.T) {
	var c control
	for range 100 {
		c.step(load{delay: time.Second, useful: leastUseful / 2, outside: demands{largest: megabyte}})
	}
	if c.outside.limit != 0 {
		t.Errorf("cut to %.0f while what waits are refusals", c.outside.limit)
	}
}

func TestRecoveryIsQuickBackToWhereItWasNearlyTooMuch(t *testing.T) {
	p := pace{limit: megabyte, known: 10 * megabyte, peak: 30 * megabyte}
	ticks := 0
	for p.limit < nearly*10*megabyte {
		p.grow()
		ticks++
	}
	if ticks > 30 {
		t.Errorf("it takes %d ticks to come back", ticks)
	}
	before := p.limit
	p.grow()
	if p.limit > before*1.03 {
		t.Errorf("and then it goes on by %.0f %%", 100*(p.limit/before-1))
	}
}
